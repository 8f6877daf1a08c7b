use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use thiserror::Error;

use crate::delivery::Window;
use crate::json::Timestamp;

/// As Yodlee writes windows.
impl Window {
    /// The start as a `fromDate`: whole seconds, with `Z`.
    pub fn from_date(&self) -> Timestamp {
        whole_seconds(self.start())
    }

    /// The end as a `toDate` to ask with.
    pub fn to_date(&self) -> Timestamp {
        whole_seconds(self.end())
    }

    /// The last second within as a `toDate`, which is how notifications print it: `10:14:59` for a window that
    /// ends at 10:15.
    pub fn last_second(&self) -> Timestamp {
        let last = self
            .end()
            .checked_sub_signed(TimeDelta::seconds(1))
            .unwrap_or(self.start());
        whole_seconds(last.max(self.start()))
    }
}

fn whole_seconds(instant: DateTime<Utc>) -> Timestamp {
    Timestamp::from(instant.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// How far back events can be polled for \[YP\].
const POLL_REACH: TimeDelta = TimeDelta::days(7);

/// The longest window of one poll \[YP\].
const POLL_WINDOW: TimeDelta = TimeDelta::minutes(60);

/// The calls that recover the events of an outage: windows of at most 60 minutes, at most 7 days back \[YP\].
///
/// The windows touch and cover everything that can still be had. Whether Yodlee counts an event at the very end
/// of a window to it is not documented, so an event there may come twice, but not be lost.
///
/// ```
/// use chrono::{TimeDelta, DateTime, Utc};
/// use ringback::provider::yodlee::PollPlan;
///
/// let now: DateTime<Utc> = "2024-03-11T12:00:00Z".parse().unwrap();
/// let plan = PollPlan::new(now - TimeDelta::minutes(150), now, now)?;
/// let spans: Vec<_> = plan.windows().map(|w| (w.end() - w.start()).num_minutes()).collect();
/// assert_eq!(spans, [60, 60, 30]);
/// assert_eq!(plan.lost(), None);
/// assert_eq!(
///     plan.windows().next().unwrap().from_date().as_str(),
///     "2024-03-11T09:30:00Z",
/// );
/// # Ok::<(), ringback::provider::yodlee::PollError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollPlan {
    lost: Option<Window>,
    reachable: Window,
}

/// Why there is nothing to poll for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PollError {
    /// The end is before the start.
    #[error("the end is before the start")]
    EndBeforeStart,
    /// The end is in the future, which Yodlee refuses.
    #[error("the end is in the future")]
    InTheFuture,
}

impl PollPlan {
    /// Plans to poll for the events from `start` to `end`. Both are cut to whole seconds, so the next plan
    /// should start from [`PollPlan::end`]. The plan is for now: what is 7 days old is refused a second later.
    ///
    /// # Errors
    ///
    /// [`PollError`] if the end is before the start or in the future.
    pub fn new(start: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) -> Result<Self, PollError> {
        if end < start {
            return Err(PollError::EndBeforeStart);
        }
        if end > now {
            return Err(PollError::InTheFuture);
        }
        let (start, end) = (floor_second(start), floor_second(end));
        // Rounded up, so that the first window never begins before what can be had.
        let oldest = now
            .checked_sub_signed(POLL_REACH)
            .map_or(DateTime::<Utc>::MIN_UTC, ceil_second);
        let first = start.max(oldest).min(end);
        let lost = (start < first).then_some(Window::new(start, first));
        Ok(Self {
            lost,
            reachable: Window::new(first, end),
        })
    }

    /// What is too old to be had any more.
    pub fn lost(&self) -> Option<Window> {
        self.lost
    }

    /// Where the plan ends, and the next one should start.
    pub fn end(&self) -> DateTime<Utc> {
        self.reachable.end()
    }

    /// The windows to poll, oldest first; at most 169.
    pub fn windows(&self) -> impl Iterator<Item = Window> + use<> {
        let end = self.reachable.end();
        let mut start = self.reachable.start();
        std::iter::from_fn(move || {
            if start >= end {
                return None;
            }
            let next = start.checked_add_signed(POLL_WINDOW);
            let window = Window::new(start, next.map_or(end, |next| next.min(end)));
            start = window.end();
            Some(window)
        })
    }
}

/// The last whole second that is not after the instant.
fn floor_second(instant: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(instant.timestamp(), 0).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

fn ceil_second(instant: DateTime<Utc>) -> DateTime<Utc> {
    let floored = floor_second(instant);
    if floored == instant {
        instant
    } else {
        floored + TimeDelta::seconds(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_older_than_a_week_is_lost() {
        let now = at("2024-03-11T12:00:00.5Z");
        let plan = PollPlan::new(now - TimeDelta::days(8), now, now).unwrap();
        let windows: Vec<_> = plan.windows().collect();
        assert_eq!(windows.len(), 168);
        assert_eq!(windows[0].start(), at("2024-03-04T12:00:01Z"));
        assert_eq!(plan.end(), at("2024-03-11T12:00:00Z"));
        assert_eq!(plan.lost().unwrap().end(), windows[0].start());

        let gone = PollPlan::new(now - TimeDelta::days(9), now - TimeDelta::days(8), now).unwrap();
        assert_eq!(gone.windows().count(), 0);
        assert_eq!(gone.lost().unwrap().end(), at("2024-03-03T12:00:00Z"));
    }

    #[test]
    fn impossible_spans_are_refused() {
        let now = at("2024-03-11T12:00:00Z");
        assert_eq!(
            PollPlan::new(now, now - TimeDelta::seconds(1), now),
            Err(PollError::EndBeforeStart)
        );
        assert_eq!(
            PollPlan::new(now, now + TimeDelta::seconds(1), now),
            Err(PollError::InTheFuture)
        );
        assert_eq!(PollPlan::new(now, now, now).unwrap().windows().count(), 0);
        let all = PollPlan::new(
            DateTime::<Utc>::MIN_UTC,
            DateTime::<Utc>::MIN_UTC,
            DateTime::<Utc>::MIN_UTC,
        );
        assert_eq!(all.unwrap().windows().count(), 0);
    }

    proptest! {
        #[test]
        fn plans_cover_all_that_can_be_had(back in 0_i64..2_000_000_000, length in 0_i64..2_000_000_000, nanos in 0_i64..1_000_000_000) {
            let now = at("2024-03-11T12:00:00.25Z");
            let end = now - TimeDelta::milliseconds(back.min(length)) - TimeDelta::nanoseconds(nanos);
            let plan = PollPlan::new(end - TimeDelta::milliseconds(length), end, now).unwrap();
            let mut next = plan.lost().map_or(plan.reachable.start(), |lost| lost.end());
            for window in plan.windows() {
                prop_assert_eq!(window.start(), next);
                prop_assert!(window.end() - window.start() <= POLL_WINDOW);
                prop_assert!(window.start() >= now - POLL_REACH);
                next = window.end();
            }
            prop_assert_eq!(next, plan.end());
        }
    }
}
