//! Schedules: ten decisions, from a second to an hour, twice as long each time, with jitter.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, Utc};
use retry_policies::policies::ExponentialBackoff;
use retry_policies::{Jitter, RetryPolicy};
use ringback::retry::{Progress, Schedule};
use ringback::system::{Entropy, SystemClock, SystemEntropy};
use ringback::time::Clock;

use crate::{AnyError, Contest, Row};

const TIMES: u32 = 10;
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3_600);

/// Each decides as it would in an application: its own clock, if it asks one, and its own randomness are in it.
pub(crate) fn ten_decisions(rounds: usize) -> Result<Vec<Row>, AnyError> {
    let schedule = Schedule::exponential(FIRST, 2, TIMES)
        .ceiling(LONGEST)
        .jitter_around(20)
        .build()?;
    let backon = ExponentialBuilder::default()
        .with_jitter()
        .with_factor(2.0)
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .with_max_times(TIMES as usize);
    let policy = ExponentialBackoff::builder()
        .jitter(Jitter::Bounded)
        .base(2)
        .retry_bounds(FIRST, LONGEST)
        .build_with_max_retries(TIMES);
    let first_failure = SystemClock.now();
    let started = SystemTime::from(first_failure);
    Ok(Contest::new("ten decisions", None)
        .with("ringback", || {
            for attempts in 1..=TIMES {
                black_box(schedule.decide(&progress(black_box(attempts), first_failure)));
            }
        })
        .with("backon", || {
            for delay in black_box(backon).build() {
                black_box(delay);
            }
        })
        .with("retry-policies", || {
            for retries in 0..TIMES {
                black_box(policy.should_retry(black_box(started), black_box(retries)));
            }
        })
        .run(rounds))
}

/// As the engine makes it after a failure.
fn progress(attempts: u32, first_failure: DateTime<Utc>) -> Progress {
    let mut random = [0; 8];
    SystemEntropy.fill(&mut random);
    Progress {
        attempts,
        first_failure,
        now: SystemClock.now(),
        retry_after: None,
        random: u64::from_le_bytes(random),
    }
}
