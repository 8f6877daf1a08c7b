//! Decisions of schedules.

use std::hint::black_box;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use ringback::retry::{Progress, Schedule};

use crate::{Contest, Row};

pub(crate) fn decide(rounds: usize) -> Vec<Row> {
    let exponential = Schedule::exponential(Duration::from_secs(1), 2, 10)
        .ceiling(Duration::from_secs(3_600))
        .jitter_around(20)
        .build()
        .unwrap_or_else(|_| Schedule::never());
    let named = [
        ("exponential", exponential),
        ("Standard Webhooks", Schedule::standard_webhooks()),
        ("TrueLayer", Schedule::truelayer()),
        ("Truv", Schedule::truv()),
        ("Yodlee", Schedule::yodlee()),
    ];
    let first_failure = DateTime::UNIX_EPOCH;
    let mut contest = Contest::new("schedule", None);
    for (name, schedule) in named {
        let mut progress = Progress {
            attempts: 2,
            first_failure,
            now: first_failure + TimeDelta::seconds(40),
            retry_after: None,
            random: 0,
        };
        contest = contest.with(name, move || {
            progress.random = progress.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            schedule.decide(black_box(&progress))
        });
    }
    contest.run(rounds)
}
