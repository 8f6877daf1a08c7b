//! Instants and spans, and the seam through which time comes in.
//!
//! Pure code takes `now: DateTime<Utc>` as an argument. What runs asks a [`Clock`].

use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Tells the time.
///
/// # Contract
///
/// `now` never panics and does not block. It may jump, forwards and backwards: a clock is set by people and
/// by NTP. Everything in this crate is written to stay correct when it does.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use ringback::time::Clock;
///
/// #[derive(Debug)]
/// struct Frozen(DateTime<Utc>);
///
/// impl Clock for Frozen {
///     fn now(&self) -> DateTime<Utc> {
///         self.0
///     }
/// }
/// ```
pub trait Clock: Debug + Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> DateTime<Utc>;
}

/// `instant + span`, stopping at the end of time instead of overflowing.
pub fn after(instant: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(span)
        .ok()
        .and_then(|span| instant.checked_add_signed(span))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `instant - span`, stopping at the beginning of time instead of overflowing.
pub fn before(instant: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(span)
        .ok()
        .and_then(|span| instant.checked_sub_signed(span))
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// From `earlier` to `later`; zero if the clock ran backwards.
pub fn elapsed(earlier: DateTime<Utc>, later: DateTime<Utc>) -> Duration {
    later.signed_duration_since(earlier).to_std().unwrap_or_default()
}

/// Whether less than `span` lies between the two, whichever comes first: those who call at the same time have not
/// looked at the clock in order, and a clock that was set back must not make a span long.
#[cfg(any(feature = "engine", feature = "jws"))]
pub(crate) fn is_within(since: DateTime<Utc>, span: Duration, now: DateTime<Utc>) -> bool {
    let apart = now.signed_duration_since(since).abs();
    apart.to_std().is_ok_and(|apart| apart < span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends_of_time() {
        assert_eq!(
            after(DateTime::<Utc>::MAX_UTC, Duration::from_secs(1)),
            DateTime::<Utc>::MAX_UTC
        );
        assert_eq!(
            after(DateTime::<Utc>::UNIX_EPOCH, Duration::MAX),
            DateTime::<Utc>::MAX_UTC
        );
        assert_eq!(
            before(DateTime::<Utc>::MIN_UTC, Duration::from_secs(1)),
            DateTime::<Utc>::MIN_UTC
        );
        assert_eq!(
            elapsed(DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::UNIX_EPOCH),
            Duration::ZERO
        );
    }
}
