//! Powens' flusher: failed deliveries wait for a regular run.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::id::DeliveryId;
use crate::time::{after, elapsed};

/// How failed deliveries of a webhook are tried again in regular runs, as Powens does.
///
/// First sends are no part of it: they go at once, whatever the state of the webhook. A delivery that has failed
/// waits for the next run. A [`Run`] tries what waits one by one, oldest first, and stops early over a receiver
/// that is down; what is left waits for the run after. Nothing is ever discarded.
///
/// This is the published rule, taken literally, and it has a limit: where as many deliveries as stop a run are the oldest
/// and are refused each time, whatever the receiver does with others, no run gets past them. They have to be found in
/// history and dealt with by hand.
///
/// Powens publishes the two limits, 10 consecutive failures or 2 timeouts, and leaves the period open.
///
/// ```
/// use std::time::Duration;
/// use ringback::retry::Flusher;
///
/// let flusher = Flusher::default().with_period(Duration::from_secs(60))?;
/// assert_eq!(flusher.period(), Duration::from_secs(60));
/// # Ok::<(), ringback::retry::ZeroPeriod>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flusher {
    #[serde(deserialize_with = "period")]
    period: Duration,
    max_consecutive_failures: NonZeroU32,
    max_timeouts: NonZeroU32,
}

/// A flusher's period must be longer than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a flusher's period must be longer than zero")]
pub struct ZeroPeriod;

impl Default for Flusher {
    /// Every 5 minutes; a run stops after 10 consecutive failures or 2 timeouts.
    fn default() -> Self {
        Self {
            period: Duration::from_secs(5 * 60),
            max_consecutive_failures: NonZeroU32::MIN.saturating_add(9),
            max_timeouts: NonZeroU32::MIN.saturating_add(1),
        }
    }
}

impl Flusher {
    /// The same flusher with another time from one run's start to the next. 5 minutes by default.
    ///
    /// # Errors
    ///
    /// The period is zero.
    pub fn with_period(self, period: Duration) -> Result<Self, ZeroPeriod> {
        if period.is_zero() {
            return Err(ZeroPeriod);
        }
        Ok(Self { period, ..self })
    }

    /// The same flusher with another number of failures in a row that stop a run. 10 by default.
    #[must_use]
    pub fn with_max_consecutive_failures(self, max_consecutive_failures: NonZeroU32) -> Self {
        Self {
            max_consecutive_failures,
            ..self
        }
    }

    /// The same flusher with another number of timeouts, in a row or not, that stop a run. 2 by default.
    #[must_use]
    pub fn with_max_timeouts(self, max_timeouts: NonZeroU32) -> Self {
        Self { max_timeouts, ..self }
    }

    /// The time from one run's start to the next.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// How many failures in a row stop a run.
    pub fn max_consecutive_failures(&self) -> NonZeroU32 {
        self.max_consecutive_failures
    }

    /// How many timeouts, in a row or not, stop a run.
    pub fn max_timeouts(&self) -> NonZeroU32 {
        self.max_timeouts
    }

    /// When the next run over a webhook is due: the first tick later than now, where ticks are a period apart
    /// and counted from the last run's start, or from now if there was none.
    ///
    /// Asked when a run is over, it never answers with an instant before that, however long the run took.
    pub fn next_run(&self, last_start: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
        let since_start = last_start.map_or(Duration::ZERO, |start| elapsed(start, now));
        let since_tick = Duration::from_nanos_u128(since_start.as_nanos() % self.period.as_nanos());
        after(now, self.period.saturating_sub(since_tick))
    }

    /// Starts a run over one webhook. `newest` is the latest delivery there is: what arrives from here on is
    /// left to the next run.
    ///
    /// Keep at most one run for a webhook, so that runs never overlap.
    pub fn start(&self, newest: DeliveryId, now: DateTime<Utc>) -> Run {
        Run {
            flusher: *self,
            started_at: now,
            newest,
            position: None,
            consecutive_failures: 0,
            timeouts: 0,
        }
    }
}

/// One run of a [`Flusher`] over one webhook. It holds no delivery and no clock, so a store can keep it.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use ringback::id::DeliveryId;
/// use ringback::retry::{Flusher, Step, StopReason};
///
/// let mut run = Flusher::default().start(DeliveryId(7), DateTime::<Utc>::UNIX_EPOCH);
/// assert!(run.takes(DeliveryId(3)) && !run.takes(DeliveryId(8)));
/// assert_eq!(run.handle_failure(DeliveryId(3), true), Step::Continue);
/// assert_eq!(run.handle_accepted(DeliveryId(5)), Step::Continue);
/// assert_eq!(run.handle_failure(DeliveryId(6), true), Step::Stop(StopReason::Timeouts));
/// assert!(!run.takes(DeliveryId(7)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    flusher: Flusher,
    started_at: DateTime<Utc>,
    newest: DeliveryId,
    position: Option<DeliveryId>,
    consecutive_failures: u32,
    timeouts: u32,
}

/// What a run does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Try the oldest waiting delivery that the run still [takes](Run::takes). If there is none, the run is over.
    Continue,
    /// The run is over; what is left waits for the next.
    Stop(StopReason),
}

/// Why a run stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Too many failures in a row.
    ConsecutiveFailures,
    /// Too many timeouts, in a row or not.
    Timeouts,
}

impl Run {
    /// When it started.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// The last delivery it tried: those after it, up to the newest at the start, are still to come.
    pub fn position(&self) -> Option<DeliveryId> {
        self.position
    }

    /// The latest delivery that is part of it.
    pub fn newest(&self) -> DeliveryId {
        self.newest
    }

    /// Whether this delivery is still to be tried in this run: it was there at the start, it comes after those
    /// tried already, and the run has not stopped. So a run tries each delivery at most once, oldest first.
    pub fn takes(&self, delivery: DeliveryId) -> bool {
        self.step() == Step::Continue
            && delivery <= self.newest
            && self.position.is_none_or(|position| delivery > position)
    }

    /// A delivery was accepted. The count of failures in a row starts anew; that of timeouts does not.
    ///
    /// An outcome of a delivery that the run does not [take](Self::takes), such as a first send, changes nothing.
    pub fn handle_accepted(&mut self, delivery: DeliveryId) -> Step {
        if self.takes(delivery) {
            self.position = Some(delivery);
            self.consecutive_failures = 0;
        }
        self.step()
    }

    /// A delivery failed. A timeout is also a failure.
    ///
    /// An outcome of a delivery that the run does not [take](Self::takes), such as a first send, changes nothing.
    pub fn handle_failure(&mut self, delivery: DeliveryId, timed_out: bool) -> Step {
        if self.takes(delivery) {
            self.position = Some(delivery);
            self.consecutive_failures += 1;
            self.timeouts += u32::from(timed_out);
        }
        self.step()
    }

    /// What to do next, as of the last outcome.
    pub fn step(&self) -> Step {
        if self.timeouts >= self.flusher.max_timeouts.get() {
            Step::Stop(StopReason::Timeouts)
        } else if self.consecutive_failures >= self.flusher.max_consecutive_failures.get() {
            Step::Stop(StopReason::ConsecutiveFailures)
        } else {
            Step::Continue
        }
    }
}

fn period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let period = Duration::deserialize(deserializer)?;
    if period.is_zero() {
        return Err(serde::de::Error::custom(ZeroPeriod));
    }
    Ok(period)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    const START: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

    fn run() -> Run {
        Flusher::default().start(DeliveryId(1_000), START)
    }

    #[test]
    fn ten_failures_in_a_row_stop_a_run() {
        let mut run = run();
        for id in 1..10 {
            assert_eq!(run.handle_failure(DeliveryId(id), false), Step::Continue);
        }
        assert_eq!(
            run.handle_failure(DeliveryId(10), false),
            Step::Stop(StopReason::ConsecutiveFailures)
        );
    }

    #[test]
    fn a_success_resets_the_failures_but_not_the_timeouts() {
        let mut run = run();
        for id in 1..10 {
            run.handle_failure(DeliveryId(id), id == 1);
        }
        assert_eq!(run.handle_accepted(DeliveryId(10)), Step::Continue);
        for id in 11..20 {
            assert_eq!(run.handle_failure(DeliveryId(id), false), Step::Continue);
        }
        assert_eq!(run.handle_accepted(DeliveryId(20)), Step::Continue);
        assert_eq!(
            run.handle_failure(DeliveryId(21), true),
            Step::Stop(StopReason::Timeouts)
        );
    }

    #[test]
    fn a_timeout_counts_as_a_failure_too() {
        let one_failure = Flusher::default().with_max_consecutive_failures(NonZeroU32::MIN);
        let mut run = one_failure.start(DeliveryId(1), START);
        assert_eq!(
            run.handle_failure(DeliveryId(1), true),
            Step::Stop(StopReason::ConsecutiveFailures)
        );
    }

    #[test]
    fn what_is_no_part_of_a_run_changes_nothing() {
        let mut run = run();
        run.handle_failure(DeliveryId(5), true);
        let before = run.clone();
        for (id, why) in [
            (1_001, "arrived later"),
            (5, "was tried"),
            (4, "is older than the one tried"),
        ] {
            assert!(!run.takes(DeliveryId(id)), "{why}");
            run.handle_failure(DeliveryId(id), true);
            run.handle_accepted(DeliveryId(id));
            assert_eq!(run, before, "{why}");
        }
    }

    #[test]
    fn a_stopped_run_stays_stopped() {
        let mut run = run();
        run.handle_failure(DeliveryId(1), true);
        run.handle_failure(DeliveryId(2), true);
        assert_eq!(
            run.handle_accepted(DeliveryId(3)),
            Step::Stop(StopReason::Timeouts)
        );
        assert_eq!(run.position(), Some(DeliveryId(2)));
    }

    #[test]
    fn runs_keep_their_beat_and_skip_what_they_missed() {
        let flusher = Flusher::default();
        let at = |seconds| START + TimeDelta::seconds(seconds);
        assert_eq!(flusher.next_run(None, START), at(300));
        assert_eq!(flusher.next_run(Some(START), at(20)), at(300));
        assert_eq!(flusher.next_run(Some(START), at(300)), at(600));
        assert_eq!(flusher.next_run(Some(START), at(3_700)), at(3_900));
    }

    #[test]
    fn a_clock_set_back_does_not_put_the_next_run_off() {
        let next = Flusher::default().next_run(Some(DateTime::<Utc>::MAX_UTC), START);
        assert_eq!(next, START + TimeDelta::minutes(5));
    }

    #[test]
    fn a_period_of_zero_is_refused_wherever_it_comes_from() {
        assert_eq!(Flusher::default().with_period(Duration::ZERO), Err(ZeroPeriod));
        let mut stored = serde_json::to_value(Flusher::default()).unwrap();
        stored["period"] = serde_json::to_value(Duration::ZERO).unwrap();
        assert!(serde_json::from_value::<Flusher>(stored).is_err());
    }

    fn outcome() -> impl Strategy<Value = (i64, Option<bool>)> {
        (
            -3_i64..40,
            prop_oneof![Just(None), Just(Some(false)), Just(Some(true))],
        )
    }

    proptest! {
        /// The machine against the rule told plainly, over whatever comes in, stored and read back at each step.
        #[test]
        fn a_run_keeps_its_rules_whatever_the_outcomes(
            outcomes in proptest::collection::vec(outcome(), 0..200),
            max_failures in 1_u32..6,
            max_timeouts in 1_u32..4,
        ) {
            let newest = DeliveryId(30);
            let flusher = Flusher::default()
                .with_max_consecutive_failures(NonZeroU32::new(max_failures).unwrap())
                .with_max_timeouts(NonZeroU32::new(max_timeouts).unwrap());
            let mut run = flusher.start(newest, START);
            let mut tried: Vec<(DeliveryId, Option<bool>)> = Vec::new();
            for (id, failure) in outcomes {
                let id = DeliveryId(id);
                if run.takes(id) {
                    tried.push((id, failure));
                }
                let step = match failure {
                    None => run.handle_accepted(id),
                    Some(timed_out) => run.handle_failure(id, timed_out),
                };
                let in_a_row = tried.iter().rev().take_while(|(_, failure)| failure.is_some()).count();
                let timeouts = tried.iter().filter(|(_, failure)| *failure == Some(true)).count();
                let over = in_a_row >= max_failures as usize || timeouts >= max_timeouts as usize;
                prop_assert_eq!(step != Step::Continue, over);

                let stored = serde_json::to_string(&run).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Run>(&stored).unwrap(), &run);
            }
            prop_assert!(tried.is_sorted_by(|(earlier, _), (later, _)| earlier < later));
            prop_assert!(tried.iter().all(|(id, _)| *id <= newest));
        }

        #[test]
        fn the_next_run_is_later_than_now_and_at_most_a_period_away(
            last_start in proptest::option::of(any::<i64>()),
            now: i64,
            nanos in 1..=u64::MAX,
        ) {
            let flusher = Flusher::default().with_period(Duration::from_nanos(nanos)).unwrap();
            let instant = |micros| DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MIN_UTC);
            let now = instant(now);
            let next = flusher.next_run(last_start.map(instant), now);
            prop_assert!(next > now || next == DateTime::<Utc>::MAX_UTC);
            prop_assert!(elapsed(now, next) <= flusher.period());
        }
    }
}
