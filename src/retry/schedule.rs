//! Schedules: plain data with a pure decision.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::steps::{Gap, Gaps, Marks, ScheduleError, collect_steps};
use super::{GapsBuilder, RetryAfter};
use crate::time::{after, elapsed};

/// When to try again.
///
/// There are two kinds. **Gaps** are waits counted from the attempt before, each drawn from a range, so that
/// deliveries that failed together do not return together. **Marks** are exact points counted from the first
/// failure: the next attempt is at the first mark still to come, and marks that were missed are skipped, not
/// made up for.
///
/// A schedule is plain data: it can be compared, stored and read back, and what is read back is checked like
/// what is built.
///
/// ```
/// use std::time::Duration;
/// use ringback::retry::{Schedule, ScheduleError};
///
/// let schedule = Schedule::exponential(Duration::from_secs(1), 2, 10)
///     .ceiling(Duration::from_secs(60))
///     .jitter_around(20)
///     .build()?
///     .with_hint_cap(Duration::from_secs(3600))
///     .with_time_limit(Duration::from_secs(600));
/// assert_eq!(schedule.max_retries(), Some(10));
///
/// let stored = serde_json::to_string(&schedule).unwrap();
/// assert_eq!(serde_json::from_str::<Schedule>(&stored).unwrap(), schedule);
/// # Ok::<(), ScheduleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    steps: Steps,
    hint_cap: Duration,
    time_limit: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Steps {
    Never,
    Gaps { gaps: Gaps, repeat_last: bool },
    Marks(Marks),
}

/// What is known when an attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Attempts made so far, the one that just failed included; so at least 1, and 0 is taken for 1.
    pub attempts: u32,
    /// When the first attempt failed: marks and the time limit are counted from here. If the clock was set back
    /// since and this lies in the future, they are counted from `now` instead.
    pub first_failure: DateTime<Utc>,
    /// The present instant.
    pub now: DateTime<Utc>,
    /// What the answer's `Retry-After` asked for, if it had one that can be read.
    pub retry_after: Option<RetryAfter>,
    /// A random number evenly spread over all of `u64`, for jitter. The same number gives the same decision.
    pub random: u64,
}

/// What to do about a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again at this instant, or as soon after it as can be.
    RetryAt(DateTime<Utc>),
    /// The schedule has come to its end.
    GiveUp,
}

impl Schedule {
    /// The most gaps or marks in one schedule.
    pub const MAX_STEPS: usize = 1_000;

    /// The longest gap, and the latest mark.
    pub const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// How far a `Retry-After` can put a retry off, unless set otherwise: a day.
    pub const DEFAULT_HINT_CAP: Duration = Duration::from_secs(24 * 60 * 60);

    /// No retry: the first failure is the end.
    pub fn never() -> Self {
        Self::from_steps(Steps::Never)
    }

    /// Waits counted from one attempt to the next: durations, ranges of them, or [`Gap`]s.
    pub fn gaps(gaps: impl IntoIterator<Item = impl Into<Gap>>) -> GapsBuilder {
        GapsBuilder::new(collect_steps(gaps))
    }

    /// Waits that multiply: `first`, `first × factor`, `first × factor²` and so on, one for each of `retries`.
    pub fn exponential(first: Duration, factor: u32, retries: u32) -> GapsBuilder {
        let waits = std::iter::successors(Some(first), |wait| Some(wait.saturating_mul(factor)));
        let retries = usize::try_from(retries).unwrap_or(usize::MAX);
        Self::gaps(waits.take(retries))
    }

    /// Points in time counted from the first failure.
    ///
    /// # Errors
    ///
    /// There is none, or too many; one is zero, or beyond [`Schedule::MAX_WAIT`]; or they do not rise.
    pub fn marks(marks: impl IntoIterator<Item = Duration>) -> Result<Self, ScheduleError> {
        let marks = Marks::try_from(collect_steps(marks))?;
        Ok(Self::from_steps(Steps::Marks(marks)))
    }

    /// The same schedule, with another limit to how far a `Retry-After` can put a retry off. Zero ignores it.
    ///
    /// Without a limit a receiver could park its deliveries for years.
    #[must_use]
    pub fn with_hint_cap(self, hint_cap: Duration) -> Self {
        Self { hint_cap, ..self }
    }

    /// The same schedule, but nothing is tried later than this after the first failure.
    #[must_use]
    pub fn with_time_limit(self, limit: Duration) -> Self {
        Self {
            time_limit: Some(limit),
            ..self
        }
    }

    /// The most retries there can be after the first attempt, or `None` if there is no end to them.
    ///
    /// Missed marks and a time limit can make them fewer.
    pub fn max_retries(&self) -> Option<u32> {
        let steps = match &self.steps {
            Steps::Never => 0,
            Steps::Gaps {
                repeat_last: true, ..
            } => return None,
            Steps::Gaps { gaps, .. } => gaps.count(),
            Steps::Marks(marks) => marks.count(),
        };
        u32::try_from(steps).ok()
    }

    /// Whether and when to try again.
    ///
    /// - Gaps: after the gap that belongs to this number of attempts, or after the receiver's hint where that is
    ///   longer. A gap and its jitter can lengthen a hint but never shorten it.
    /// - Marks: at the first mark that is later than both now and the hint, however many attempts it took to
    ///   get there.
    ///
    /// A hint counts for at most the [cap](Self::with_hint_cap). The instant is never before `now`; at the very
    /// end of time, where no later one can be written, it is `now`.
    pub fn decide(&self, progress: &Progress) -> Decision {
        let first_failure = progress.first_failure.min(progress.now);
        let retry = self.next(progress, first_failure).filter(|at| {
            self.time_limit
                .is_none_or(|limit| *at <= after(first_failure, limit))
        });
        match retry {
            Some(at) => Decision::RetryAt(at),
            None => Decision::GiveUp,
        }
    }

    fn next(&self, progress: &Progress, first_failure: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let now = progress.now;
        let hint = progress
            .retry_after
            .map_or(Duration::ZERO, |hint| hint.delay_from(now).min(self.hint_cap));
        match &self.steps {
            Steps::Never => None,
            Steps::Gaps { gaps, repeat_last } => {
                let index = usize::try_from(progress.attempts.saturating_sub(1)).unwrap_or(usize::MAX);
                let gap = gaps.nth(index).or_else(|| gaps.last().filter(|_| *repeat_last))?;
                Some(after(now, gap.pick(progress.random).max(hint)))
            }
            Steps::Marks(marks) => {
                let passed = elapsed(first_failure, now).saturating_add(hint);
                Some(after(first_failure, marks.first_after(passed)?))
            }
        }
    }

    pub(super) fn from_gaps(gaps: Gaps, repeat_last: bool) -> Self {
        Self::from_steps(Steps::Gaps { gaps, repeat_last })
    }

    fn from_steps(steps: Steps) -> Self {
        Self {
            steps,
            hint_cap: Self::DEFAULT_HINT_CAP,
            time_limit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    const START: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

    fn at(minutes: i64) -> DateTime<Utc> {
        START + TimeDelta::minutes(minutes)
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    fn failed(attempts: u32, now: DateTime<Utc>) -> Progress {
        Progress {
            attempts,
            first_failure: START,
            now,
            retry_after: None,
            random: 0,
        }
    }

    fn asked(progress: Progress, hint: RetryAfter) -> Progress {
        Progress {
            retry_after: Some(hint),
            ..progress
        }
    }

    #[test]
    fn missed_marks_are_skipped() {
        let yodlee = Schedule::yodlee();
        assert_eq!(yodlee.decide(&failed(2, at(21))), Decision::RetryAt(at(40)));
        assert_eq!(yodlee.decide(&failed(2, at(1_279))), Decision::RetryAt(at(1_280)));
        assert_eq!(yodlee.decide(&failed(2, at(1_280))), Decision::GiveUp);
    }

    #[test]
    fn a_mark_is_later_than_the_hint_and_none_left_is_the_end() {
        let asked = |minutes_| asked(failed(1, START), RetryAfter::Delay(minutes(minutes_)));
        let yodlee = Schedule::yodlee();
        assert_eq!(yodlee.decide(&asked(9)), Decision::RetryAt(at(10)));
        assert_eq!(yodlee.decide(&asked(10)), Decision::RetryAt(at(20)));
        assert_eq!(yodlee.decide(&asked(1_280)), Decision::GiveUp);
        assert_eq!(
            yodlee.with_hint_cap(minutes(60)).decide(&asked(1_280)),
            Decision::RetryAt(at(80))
        );
    }

    #[test]
    fn a_hint_lengthens_a_gap_up_to_the_cap_and_never_shortens_it() {
        let hourly = Schedule::gaps([minutes(60)])
            .jitter_around(50)
            .repeat_last()
            .build()
            .unwrap();
        for (hint, random, expected) in [
            (RetryAfter::Delay(Duration::ZERO), 0, 30),
            (RetryAfter::At(DateTime::<Utc>::MIN_UTC), 0, 30),
            (RetryAfter::Delay(minutes(70)), 0, 70),
            (RetryAfter::Delay(minutes(70)), u64::MAX, 90),
            (RetryAfter::At(at(80)), 0, 80),
            (RetryAfter::Delay(Duration::MAX), 0, 24 * 60),
            (RetryAfter::At(DateTime::<Utc>::MAX_UTC), u64::MAX, 24 * 60),
        ] {
            let progress = Progress {
                random,
                ..asked(failed(1, START), hint)
            };
            assert_eq!(
                hourly.decide(&progress),
                Decision::RetryAt(at(expected)),
                "{hint:?}"
            );
        }
    }

    #[test]
    fn a_hint_grants_no_retry_of_its_own() {
        let hint = RetryAfter::Delay(minutes(1));
        let truv = Schedule::truv();
        assert_eq!(truv.decide(&asked(failed(4, START), hint)), Decision::GiveUp);
        assert_eq!(
            Schedule::never().decide(&asked(failed(1, START), hint)),
            Decision::GiveUp
        );
    }

    #[test]
    fn the_time_limit_is_the_last_instant_of_a_retry() {
        let limited = Schedule::powens().with_time_limit(minutes(12));
        assert_eq!(limited.decide(&failed(2, at(7))), Decision::RetryAt(at(12)));
        assert_eq!(limited.decide(&failed(2, at(8))), Decision::GiveUp);
    }

    #[test]
    fn a_clock_set_back_does_not_put_retries_off() {
        let back = START - TimeDelta::days(3_650);
        let limited = Schedule::yodlee().with_time_limit(minutes(60));
        assert_eq!(
            limited.decide(&failed(3, back)),
            Decision::RetryAt(back + TimeDelta::minutes(10))
        );
    }

    #[test]
    fn a_count_of_no_attempts_is_taken_for_one() {
        assert_eq!(
            Schedule::truv().decide(&failed(0, START)),
            Schedule::truv().decide(&failed(1, START))
        );
    }

    #[test]
    fn what_is_read_back_is_checked_like_what_is_built() {
        let read = |steps: &str| {
            let stored =
                format!(r#"{{"steps":{steps},"hint_cap":{{"secs":1,"nanos":0}},"time_limit":null}}"#);
            serde_json::from_str::<Schedule>(&stored)
        };
        let wait = |secs: u64| format!(r#"{{"secs":{secs},"nanos":0}}"#);
        let gaps = |min, max| {
            let (min, max) = (wait(min), wait(max));
            format!(r#"{{"gaps":{{"gaps":[{{"min":{min},"max":{max}}}],"repeat_last":true}}}}"#)
        };
        assert!(read(r#""never""#).is_ok());
        assert!(read(&gaps(1, 2)).is_ok());
        assert!(read(&gaps(2, 1)).is_err());
        assert!(read(&gaps(0, 0)).is_err());
        assert!(read(&gaps(1, u64::MAX)).is_err());
        assert!(read(&format!(r#"{{"marks":[{},{}]}}"#, wait(1), wait(2))).is_ok());
        assert!(read(&format!(r#"{{"marks":[{},{}]}}"#, wait(2), wait(1))).is_err());
        assert!(read(r#"{"marks":[]}"#).is_err());
    }

    fn instant() -> impl Strategy<Value = DateTime<Utc>> {
        prop_oneof![
            Just(DateTime::<Utc>::MIN_UTC),
            Just(DateTime::<Utc>::MAX_UTC),
            any::<i64>().prop_map(
                |micros| DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
            ),
            (0_i64..200_000).prop_map(|seconds| START + TimeDelta::seconds(seconds)),
        ]
    }

    fn span() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::MAX),
            any::<Duration>(),
            (0_u64..200_000_000).prop_map(Duration::from_millis),
        ]
    }

    fn hint() -> impl Strategy<Value = Option<RetryAfter>> {
        proptest::option::of(prop_oneof![
            span().prop_map(RetryAfter::Delay),
            instant().prop_map(RetryAfter::At)
        ])
    }

    fn attempts() -> impl Strategy<Value = u32> {
        prop_oneof![0_u32..12, any::<u32>()]
    }

    fn progress() -> impl Strategy<Value = Progress> {
        (attempts(), instant(), instant(), hint(), any::<u64>()).prop_map(
            |(attempts, first_failure, now, retry_after, random)| Progress {
                attempts,
                first_failure,
                now,
                retry_after,
                random,
            },
        )
    }

    fn steps() -> impl Strategy<Value = Schedule> {
        let waits = || proptest::collection::vec(1..=Schedule::MAX_WAIT.as_nanos(), 1..20);
        let gaps = (waits(), 0_u32..=100, any::<bool>()).prop_map(|(waits, jitter, repeat_last)| {
            let builder = Schedule::gaps(waits.into_iter().map(Duration::from_nanos_u128))
                .jitter_around(jitter)
                .ceiling(Schedule::MAX_WAIT);
            let builder = if repeat_last {
                builder.repeat_last()
            } else {
                builder
            };
            builder.build().unwrap()
        });
        let marks = waits().prop_map(|mut waits| {
            waits.sort_unstable();
            waits.dedup();
            Schedule::marks(waits.into_iter().map(Duration::from_nanos_u128)).unwrap()
        });
        let published = proptest::sample::select(vec![
            Schedule::never(),
            Schedule::truelayer(),
            Schedule::yodlee(),
            Schedule::yodlee_gaps(),
            Schedule::truv(),
            Schedule::powens(),
            Schedule::standard_webhooks(),
        ]);
        prop_oneof![gaps, marks, published]
    }

    fn schedule() -> impl Strategy<Value = Schedule> {
        (steps(), span(), proptest::option::of(span())).prop_map(|(schedule, hint_cap, limit)| {
            let schedule = schedule.with_hint_cap(hint_cap);
            match limit {
                Some(limit) => schedule.with_time_limit(limit),
                None => schedule,
            }
        })
    }

    proptest! {
        #[test]
        fn a_retry_is_in_the_future_and_no_later_than_the_longest_wait_or_the_cap(
            schedule in schedule(),
            progress in progress(),
        ) {
            let Decision::RetryAt(at) = schedule.decide(&progress) else { return Ok(()) };
            let now = progress.now;
            prop_assert!(at >= now);
            prop_assert!(at <= after(now, Schedule::MAX_WAIT.max(schedule.hint_cap)));
            if let Some(limit) = schedule.time_limit {
                prop_assert!(at <= after(progress.first_failure.min(now), limit));
            }
            let hint = progress.retry_after.map_or(Duration::ZERO, |hint| hint.delay_from(now));
            prop_assert!(at >= after(now, hint.min(schedule.hint_cap)));
        }

        #[test]
        fn there_are_never_more_retries_than_the_schedule_says(schedule in schedule(), hints in hint(), random: u64) {
            let mut progress = Progress { retry_after: hints, random, ..failed(1, START) };
            let most = schedule.max_retries().unwrap_or(50);
            for _ in 0..most {
                let Decision::RetryAt(at) = schedule.decide(&progress) else { return Ok(()) };
                progress.now = at;
                progress.attempts += 1;
            }
            if schedule.max_retries().is_some() {
                prop_assert_eq!(schedule.decide(&progress), Decision::GiveUp);
            }
        }

        #[test]
        fn a_schedule_survives_being_stored(schedule in schedule()) {
            let stored = serde_json::to_vec(&schedule).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Schedule>(&stored).unwrap(), schedule);
        }
    }
}
