//! Digests: updates gathered over an interval into notifications.
//!
//! An update says that something about a user changed, and nothing more. Those of one scope and one [`Digest`] are
//! gathered in [`Window`]s of time, merged by user; when a window is over it is sealed, and its users are sent in
//! notifications of at most so many. A notification is an ordinary [`Event`](super::Event) with ordinary deliveries.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::id::{EventType, Scope, Subject};
use crate::time::{after, before};

/// A kind of update that is gathered, and how.
///
/// Its name is the type of its notifications, which webhooks are registered for. All that record updates of it and all
/// that send its notifications should have the same; where the interval differs, such as while a service is being
/// restarted with another, windows are cut so that they touch and do not overlap.
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::time::Duration;
/// use bytes::Bytes;
/// use ringback::delivery::{Digest, DigestEntry, DigestForm, Interval, Window};
/// use ringback::id::Scope;
///
/// /// A list of names.
/// #[derive(Debug)]
/// struct Names;
///
/// impl DigestForm for Names {
///     fn body(&self, _: &Scope, _: &Window, users: &[DigestEntry]) -> Bytes {
///         let names: Vec<_> = users.iter().map(|user| user.subject.as_str()).collect();
///         serde_json::json!({ "changed": names }).to_string().into()
///     }
/// }
///
/// let hourly = Interval::of(Duration::from_secs(60 * 60))?;
/// let digest = Digest::new("users.changed", hourly, Names).with_max_users(NonZeroUsize::new(100).unwrap());
/// # Ok::<(), ringback::delivery::IntervalError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Digest {
    name: EventType,
    interval: Interval,
    max_users: NonZeroUsize,
    form: Arc<dyn DigestForm>,
}

impl Digest {
    /// Updates of this name, gathered over this interval, at most 2000 users in a notification: Yodlee's limit, and a
    /// body of some hundred kilobytes.
    pub fn new(name: impl Into<EventType>, interval: Interval, form: impl DigestForm) -> Self {
        Self {
            name: name.into(),
            interval,
            max_users: const { NonZeroUsize::new(2000).unwrap() },
            form: Arc::new(form),
        }
    }

    /// Goes by another name.
    #[must_use]
    pub fn named(self, name: impl Into<EventType>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Over which interval updates are gathered.
    #[must_use]
    pub fn with_interval(self, interval: Interval) -> Self {
        Self { interval, ..self }
    }

    /// How many users a notification has at most. So many are held in memory at once.
    #[must_use]
    pub fn with_max_users(self, max_users: NonZeroUsize) -> Self {
        Self { max_users, ..self }
    }

    /// Its name, and the type of its notifications.
    pub fn name(&self) -> &EventType {
        &self.name
    }

    /// Over which interval updates are gathered.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// How many users a notification has at most.
    pub fn max_users(&self) -> NonZeroUsize {
        self.max_users
    }

    /// How its notifications are written.
    pub fn form(&self) -> &dyn DigestForm {
        &*self.form
    }
}

/// How the users of a window are written into the body of a notification, which is JSON.
///
/// # Contract
///
/// A form is pure: same arguments, same bytes. `users` has at least one and at most as many as the digest allows, each
/// once, in the order of their names. A form that panics keeps the window from being sent, and nothing else; it is
/// tried again later. So does a webhook of its scope whose profile cannot send the body, or is not known to the process. What
/// a provider's [`Profile`](super::Profile) adds to a body, such as an id, is not the form's to write.
///
/// [`Digest`] has an example.
pub trait DigestForm: Debug + Send + Sync + 'static {
    /// The body of a notification.
    fn body(&self, scope: &Scope, window: &Window, users: &[DigestEntry]) -> Bytes;
}

/// A user, with all updates of one window merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestEntry {
    /// The user.
    pub subject: Subject,
    /// How many updates there were.
    pub updates: u64,
    /// When the first of them was recorded. It can be before the window: see
    /// [`Interval::gathering_window`].
    pub first: DateTime<Utc>,
    /// When the last of them was recorded.
    pub last: DateTime<Utc>,
}

impl DigestEntry {
    /// A user with one update.
    pub fn new(subject: Subject, at: DateTime<Utc>) -> Self {
        Self {
            subject,
            updates: 1,
            first: at,
            last: at,
        }
    }

    /// Merges another update of the user.
    pub fn merge(&mut self, at: DateTime<Utc>) {
        self.updates = self.updates.saturating_add(1);
        self.first = self.first.min(at);
        self.last = self.last.max(at);
    }
}

/// A span of time, from its start up to and without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Window {
    /// From `start` up to and without `end`.
    pub fn new(start: DateTime<Utc>, end: DateTime<Utc>) -> Self {
        Self { start, end }
    }

    /// The first instant.
    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    /// The first instant after.
    pub fn end(&self) -> DateTime<Utc> {
        self.end
    }

    /// Whether the instant is within.
    pub fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.start <= instant && instant < self.end
    }
}

/// How long windows are. They begin at the same times each day, counted from midnight UTC.
///
/// Stores keep what was gathered; which window an update goes to and when one is over, they ask here.
///
/// ```
/// use std::time::Duration;
/// use chrono::{DateTime, Utc};
/// use ringback::delivery::Interval;
///
/// let interval = Interval::of(Duration::from_secs(15 * 60))?;
/// let at: DateTime<Utc> = "2024-03-04T10:14:59.999Z".parse().unwrap();
/// let window = interval.window(at);
/// assert_eq!(window.start(), "2024-03-04T10:00:00Z".parse::<DateTime<Utc>>().unwrap());
/// assert_eq!(window.end(), "2024-03-04T10:15:00Z".parse::<DateTime<Utc>>().unwrap());
/// # Ok::<(), ringback::delivery::IntervalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    seconds: u32,
}

/// The interval is not a whole number of seconds that divides a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the interval is not a whole number of seconds that divides a day")]
pub struct IntervalError;

const SECONDS_A_DAY: u32 = 24 * 60 * 60;

impl Interval {
    /// A quarter of an hour, as Yodlee has it.
    pub const QUARTER_HOUR: Self = Self { seconds: 15 * 60 };

    /// Windows of that length.
    ///
    /// # Errors
    ///
    /// [`IntervalError`] unless a day is a whole number of such windows.
    pub fn of(span: Duration) -> Result<Self, IntervalError> {
        let seconds = u32::try_from(span.as_secs()).map_err(|_| IntervalError)?;
        match SECONDS_A_DAY.checked_rem(seconds) {
            Some(0) if span.subsec_nanos() == 0 => Ok(Self { seconds }),
            _ => Err(IntervalError),
        }
    }

    /// How long windows are.
    pub fn span(self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// The window around an instant.
    pub fn window(self, instant: DateTime<Utc>) -> Window {
        let seconds = instant.timestamp();
        let start = seconds.saturating_sub(seconds.rem_euclid(self.seconds.into()));
        let start = DateTime::from_timestamp(start, 0).unwrap_or(DateTime::<Utc>::MIN_UTC);
        Window {
            start,
            end: after(start, self.span()),
        }
    }

    /// The window that an update goes to that is recorded now, where windows up to `closed` are sealed and these are
    /// open.
    ///
    /// It is the window of now. Where that is sealed already, since a clock is behind or a process was slow, it is the
    /// next one. Windows that were opened by another interval are filled as they are, and those beside them are cut
    /// short: no two overlap.
    ///
    /// A window that was sealed a whole interval ahead of now, or further, was sealed by a clock that has been set back
    /// since. It holds nothing up: windows then begin anew, and may have the bounds of one that was sealed before.
    pub fn gathering_window(
        self,
        now: DateTime<Utc>,
        closed: Option<DateTime<Utc>>,
        open: &[Window],
    ) -> Window {
        let closed = closed.filter(|closed| *closed <= after(now, self.span()));
        let at = closed.map_or(now, |closed| closed.max(now));
        // The last window of all has no end but the end of time, which must be within.
        let at = at.min(before(DateTime::<Utc>::MAX_UTC, Duration::from_secs(1)));
        if let Some(window) = open.iter().find(|window| window.contains(at)) {
            return *window;
        }
        let Window { start, end } = self.window(at);
        let ends = open.iter().map(|window| window.end).chain(closed);
        let starts = open.iter().map(|window| window.start);
        Window {
            start: ends.filter(|end| *end <= at).fold(start, DateTime::max),
            end: starts.filter(|start| *start > at).fold(end, DateTime::min),
        }
    }

    /// Whether a window is to be sealed: its end has come, or else its start is so far ahead that it must have been
    /// opened by a clock that has been set back since.
    pub fn is_over(self, window: &Window, now: DateTime<Utc>) -> bool {
        window.end <= now || self.is_ahead(window, now)
    }

    /// Up to when windows are sealed once this one is too.
    pub fn closed_by(
        self,
        window: &Window,
        closed: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        if self.is_ahead(window, now) {
            return closed;
        }
        let still_holds = |closed: &DateTime<Utc>| *closed <= after(now, self.span());
        let closed = closed.filter(still_holds);
        Some(closed.map_or(window.end, |closed| closed.max(window.end)))
    }

    fn is_ahead(self, window: &Window, now: DateTime<Utc>) -> bool {
        window.start > after(now, self.span())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2024-03-04T{text}Z").parse().unwrap()
    }

    fn window(start: &str, end: &str) -> Window {
        Window::new(at(start), at(end))
    }

    const QUARTER: Interval = Interval::QUARTER_HOUR;

    fn hour() -> Interval {
        Interval::of(Duration::from_secs(60 * 60)).unwrap()
    }

    #[test]
    fn windows_are_half_open_and_aligned() {
        for (instant, start) in [
            ("2024-03-04T10:00:00Z", "2024-03-04T10:00:00Z"),
            ("2024-03-04T10:14:59.999999999Z", "2024-03-04T10:00:00Z"),
            ("2024-03-04T10:15:00Z", "2024-03-04T10:15:00Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:45:00Z"),
        ] {
            let instant: DateTime<Utc> = instant.parse().unwrap();
            assert_eq!(
                QUARTER.window(instant).start(),
                start.parse::<DateTime<Utc>>().unwrap()
            );
            assert!(QUARTER.window(instant).contains(instant));
        }
    }

    #[test]
    fn intervals_must_divide_a_day() {
        assert_eq!(Interval::of(Duration::from_secs(900)), Ok(QUARTER));
        assert_eq!(Interval::of(Duration::from_secs(86_400)).unwrap().seconds, 86_400);
        for seconds in [0, 7 * 60, 86_401, 172_800, u64::MAX] {
            assert_eq!(
                Interval::of(Duration::from_secs(seconds)),
                Err(IntervalError),
                "{seconds}"
            );
        }
        assert_eq!(Interval::of(Duration::from_millis(1_500)), Err(IntervalError));
    }

    #[test]
    fn what_is_late_goes_to_the_window_after_the_sealed_one() {
        let closed = Some(at("10:15:00"));
        let next = window("10:15:00", "10:30:00");
        for now in ["10:14:59.9", "10:05:00", "10:00:00", "10:15:00", "10:29:59"] {
            assert_eq!(QUARTER.gathering_window(at(now), closed, &[]), next, "{now}");
        }
        assert_eq!(
            QUARTER.gathering_window(at("10:14:59"), None, &[]),
            window("10:00:00", "10:15:00")
        );
    }

    #[test]
    fn a_clock_set_back_by_more_than_a_window_begins_anew() {
        let tomorrow = Window::new(
            at("10:00:00") + TimeDelta::days(1),
            at("10:15:00") + TimeDelta::days(1),
        );
        let now = at("10:01:00");
        let closed = QUARTER.closed_by(&tomorrow, None, tomorrow.end());
        assert_eq!(closed, Some(tomorrow.end()));
        let here = window("10:00:00", "10:15:00");
        assert_eq!(QUARTER.gathering_window(now, closed, &[tomorrow]), here);
        assert!(
            QUARTER.is_over(&tomorrow, now),
            "what was recorded by the wrong clock need not wait for it"
        );
        assert_eq!(
            QUARTER.closed_by(&tomorrow, Some(at("10:00:00")), now),
            Some(at("10:00:00"))
        );
        assert_eq!(QUARTER.closed_by(&here, closed, here.end()), Some(here.end()));
    }

    #[test]
    fn another_interval_cuts_windows_short() {
        let quarter = window("10:15:00", "10:30:00");
        assert_eq!(hour().gathering_window(at("10:16:00"), None, &[quarter]), quarter);
        assert_eq!(
            hour().gathering_window(at("10:30:00"), None, &[quarter]),
            window("10:30:00", "11:00:00")
        );
        assert_eq!(
            hour().gathering_window(at("10:01:00"), None, &[quarter]),
            window("10:00:00", "10:15:00")
        );
        assert_eq!(
            hour().gathering_window(at("10:40:00"), Some(at("10:30:00")), &[]),
            window("10:30:00", "11:00:00")
        );
    }

    #[test]
    fn the_ends_of_time_are_instants() {
        for end in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let window = QUARTER.gathering_window(end, Some(end), &[]);
            assert_eq!(QUARTER.gathering_window(end, Some(end), &[window]), window);
            assert!(QUARTER.is_over(&window, DateTime::<Utc>::MAX_UTC));
        }
    }

    proptest! {
        /// However clocks and intervals differ, windows of one digest never overlap.
        #[test]
        fn windows_never_overlap(
            steps in proptest::collection::vec((0_i64..7200, 0_usize..4, any::<bool>()), 1..40)
        ) {
            let intervals = [60, 900, 960, 3600].map(|s| Interval::of(Duration::from_secs(s)).unwrap());
            let (mut open, mut sealed, mut closed) = (Vec::<Window>::new(), Vec::<Window>::new(), None);
            let mut latest = 0;
            for (seconds, interval, seals) in steps {
                // A clock may be behind, but by less than any window.
                latest = latest.max(seconds);
                let now = at("10:00:00") + TimeDelta::seconds(seconds.max(latest - 30));
                let interval = intervals[interval];
                let window = interval.gathering_window(now, closed, &open);
                if !open.contains(&window) {
                    for other in open.iter().chain(&sealed) {
                        prop_assert!(window.end() <= other.start() || other.end() <= window.start(), "{window:?} {other:?}");
                    }
                    prop_assert!(window.start() < window.end());
                    open.push(window);
                }
                if seals {
                    let (over, still): (Vec<_>, Vec<_>) = open.iter().partition(|window| window.end() <= now);
                    for window in &over {
                        closed = interval.closed_by(window, closed, now);
                    }
                    sealed.extend(over);
                    open = still;
                }
            }
        }
    }
}
