//! The schedules of the providers, as far as they are published.

use std::time::Duration;

use super::{Gap, Schedule, ScheduleError};

const YODLEE_MINUTES: [u64; 8] = [10, 20, 40, 80, 160, 320, 640, 1280];

impl Schedule {
    /// TrueLayer: "jittered exponential backoff", a few fast retries and then growing waits, 6 at most.
    ///
    /// The number is published and the waits are not. These are 100 to 300 ms, 400 to 900 ms, and then 10, 30,
    /// 90 and 270 s, each ±25 %. The ranges do not touch, so a wait is always longer than the one before.
    pub fn truelayer() -> Self {
        let slow = |k| Gap::exactly(seconds(10 * 3_u64.pow(k))).jittered(25, 25);
        known(
            Self::gaps([
                Gap::between(Duration::from_millis(100), Duration::from_millis(300)),
                Gap::between(Duration::from_millis(400), Duration::from_millis(900)),
                slow(0),
                slow(1),
                slow(2),
                slow(3),
            ])
            .build(),
        )
    }

    /// Yodlee: marks at 10, 20, 40, 80, 160, 320, 640 and 1280 minutes after the first failure.
    ///
    /// The document calls these "intervals", but also says that a notification is tried for at most 1280 minutes,
    /// and that one which failed in a downtime of 21 minutes arrives at the 40th minute. Only marks fit all three.
    /// [`Schedule::yodlee_gaps`] is the other reading.
    pub fn yodlee() -> Self {
        known(Self::marks(YODLEE_MINUTES.map(minutes)))
    }

    /// Yodlee's numbers read as gaps, from one attempt to the next: 2550 minutes in all.
    pub fn yodlee_gaps() -> Self {
        known(Self::gaps(YODLEE_MINUTES.map(minutes)).build())
    }

    /// Truv: 3 retries, 30 seconds apart.
    pub fn truv() -> Self {
        known(Self::gaps([seconds(30); 3]).build())
    }

    /// Powens, for a webhook that no [`Flusher`](super::Flusher) runs: a retry every 5 minutes, without end, as
    /// Powens retries "until properly accepted".
    pub fn powens() -> Self {
        known(Self::gaps([minutes(5)]).repeat_last().build())
    }

    /// Standard Webhooks: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h apart, each 0 to 10 % longer.
    ///
    /// The specification recommends such waits with jitter; how much is this crate's choice.
    pub fn standard_webhooks() -> Self {
        let hours = [2, 5, 10, 14, 20, 24].map(|hours| minutes(60 * hours));
        let waits = [seconds(5), minutes(5), minutes(30)].into_iter().chain(hours);
        known(Self::gaps(waits).jitter_above(10).build())
    }
}

/// Every schedule that goes through here is a constant, and a test builds each.
pub(super) fn known(schedule: Result<Schedule, ScheduleError>) -> Schedule {
    schedule.expect("a schedule that is a constant is valid")
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::*;
    use crate::retry::{Decision, Progress};
    use crate::time::elapsed;

    const START: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

    /// The instants of all retries, if each attempt fails at once, as time since the first failure.
    fn retries(schedule: &Schedule, mut random: impl FnMut() -> u64) -> Vec<Duration> {
        let mut progress = Progress {
            attempts: 1,
            first_failure: START,
            now: START,
            retry_after: None,
            random: random(),
        };
        let mut retries = Vec::new();
        while let Decision::RetryAt(at) = schedule.decide(&progress) {
            retries.push(elapsed(START, at));
            progress.attempts += 1;
            progress.now = at;
            progress.random = random();
        }
        retries
    }

    fn waits(schedule: &Schedule, random: impl FnMut() -> u64) -> Vec<Duration> {
        let mut before = Duration::ZERO;
        let wait = |at| at - std::mem::replace(&mut before, at);
        retries(schedule, random).into_iter().map(wait).collect()
    }

    fn in_millis(waits: Vec<Duration>) -> Vec<u128> {
        waits.iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn yodlee_retries_at_its_marks() {
        assert_eq!(retries(&Schedule::yodlee(), || 0), YODLEE_MINUTES.map(minutes));
        assert_eq!(Schedule::yodlee().max_retries(), Some(8));
    }

    #[test]
    fn the_other_reading_of_yodlee_takes_2550_minutes() {
        assert_eq!(
            retries(&Schedule::yodlee_gaps(), || 0),
            [10, 30, 70, 150, 310, 630, 1270, 2550].map(minutes)
        );
    }

    #[test]
    fn truv_retries_three_times_30_seconds_apart() {
        assert_eq!(retries(&Schedule::truv(), || u64::MAX), [30, 60, 90].map(seconds));
    }

    #[test]
    fn truelayer_retries_six_times_within_its_ranges() {
        let schedule = Schedule::truelayer();
        assert_eq!(
            in_millis(waits(&schedule, || 0)),
            [100, 400, 7_500, 22_500, 67_500, 202_500]
        );
        assert_eq!(
            in_millis(waits(&schedule, || u64::MAX)),
            [300, 900, 12_500, 37_500, 112_500, 337_500]
        );
    }

    #[test]
    fn standard_webhooks_waits_are_up_to_a_tenth_longer() {
        let schedule = Schedule::standard_webhooks();
        let listed = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map(seconds);
        assert_eq!(waits(&schedule, || 0), listed);
        assert_eq!(waits(&schedule, || u64::MAX), listed.map(|wait| wait * 11 / 10));
    }

    #[test]
    fn powens_retries_without_end() {
        let progress = Progress {
            attempts: u32::MAX,
            first_failure: START,
            now: START,
            retry_after: None,
            random: 0,
        };
        let in_five_minutes = Decision::RetryAt(crate::time::after(START, minutes(5)));
        assert_eq!(Schedule::powens().decide(&progress), in_five_minutes);
        assert_eq!(Schedule::powens().max_retries(), None);
    }

    proptest! {
        #[test]
        fn truelayer_waits_always_grow(random: [u64; 7]) {
            let mut random = random.into_iter();
            let waits = waits(&Schedule::truelayer(), || random.next().unwrap());
            prop_assert_eq!(waits.len(), 6);
            prop_assert!(waits.is_sorted_by(|earlier, later| earlier < later));
            prop_assert!(waits[1] < Duration::from_secs(1));
        }
    }
}
