//! Schedules of this crate's own, for what no provider publishes.

use std::time::Duration;

use super::Schedule;
use super::published::known;

impl Schedule {
    /// For the work of a task that failed for a reason that may pass: 5 retries, 1 s, 2 s, 4 s, 8 s and 16 s apart, each
    /// ±20 %, so that a task gives up within a minute rather than keep its caller in doubt.
    pub fn task() -> Self {
        known(
            Self::exponential(Duration::from_secs(1), 2, 5)
                .jitter_around(20)
                .build(),
        )
    }

    /// For polling: after 1 s, 2 s, 4 s and so on up to 30 s, each ±20 %, without end. Whoever polls sets a deadline.
    pub fn polling() -> Self {
        known(
            Self::exponential(Duration::from_secs(1), 2, 6)
                .ceiling(Duration::from_secs(30))
                .jitter_around(20)
                .repeat_last()
                .build(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_valid() {
        assert_eq!(Schedule::task().max_retries(), Some(5));
        assert_eq!(Schedule::polling().max_retries(), None);
    }
}
