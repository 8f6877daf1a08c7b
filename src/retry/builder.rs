//! Building a schedule of one's own.

use std::time::Duration;

use super::steps::{Gap, Gaps};
use super::{Schedule, ScheduleError};

/// Builds a [`Schedule`] of gaps. Made by [`Schedule::gaps`] and [`Schedule::exponential`].
///
/// ```
/// use std::time::Duration;
/// use ringback::retry::{Schedule, ScheduleError};
///
/// let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
/// let for_ever = Schedule::gaps([minutes(1), minutes(5), minutes(30)]).jitter_above(10).repeat_last().build()?;
/// assert_eq!(for_ever.max_retries(), None);
///
/// let backwards = Schedule::gaps([minutes(5)..=minutes(1)]).build();
/// assert_eq!(backwards, Err(ScheduleError::GapInverted));
/// # Ok::<(), ScheduleError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct GapsBuilder {
    gaps: Vec<Gap>,
    repeat_last: bool,
    jitter_below: u32,
    jitter_above: u32,
    ceiling: Option<Duration>,
}

impl GapsBuilder {
    pub(super) fn new(gaps: Vec<Gap>) -> Self {
        Self {
            gaps,
            repeat_last: false,
            jitter_below: 0,
            jitter_above: 0,
            ceiling: None,
        }
    }

    /// Spreads each wait from `percent` shorter to `percent` longer; at most 100. None unless set.
    pub fn jitter_around(self, percent: u32) -> Self {
        Self {
            jitter_below: percent,
            jitter_above: percent,
            ..self
        }
    }

    /// Spreads each wait up to `percent` longer, never shorter. None unless set.
    pub fn jitter_above(self, percent: u32) -> Self {
        Self {
            jitter_below: 0,
            jitter_above: percent,
            ..self
        }
    }

    /// Shortens every wait that would be longer than this, jitter included.
    pub fn ceiling(self, ceiling: Duration) -> Self {
        Self {
            ceiling: Some(ceiling),
            ..self
        }
    }

    /// Goes on with the last gap for ever, instead of giving up after it.
    pub fn repeat_last(self) -> Self {
        Self {
            repeat_last: true,
            ..self
        }
    }

    /// The schedule.
    ///
    /// # Errors
    ///
    /// There is no gap, or too many; one is inverted, always zero, or beyond [`Schedule::MAX_WAIT`]; or the
    /// jitter would take away more than the whole wait.
    pub fn build(self) -> Result<Schedule, ScheduleError> {
        if self.jitter_below > 100 {
            return Err(ScheduleError::JitterTooLarge);
        }
        let ceiling = self.ceiling.unwrap_or(Duration::MAX);
        let gaps: Vec<Gap> = self
            .gaps
            .into_iter()
            .map(|gap| {
                gap.jittered(self.jitter_below, self.jitter_above)
                    .clamped(ceiling)
            })
            .collect();
        Ok(Schedule::from_gaps(Gaps::try_from(gaps)?, self.repeat_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn exponential_waits_multiply_up_to_the_ceiling_jitter_included() {
        let built = Schedule::exponential(minutes(1), 3, 4)
            .ceiling(minutes(10))
            .jitter_around(50)
            .build();
        let half = |minutes: u64| Duration::from_secs(30 * minutes);
        let expected = Schedule::gaps([
            half(1)..=half(3),
            half(3)..=half(9),
            half(9)..=minutes(10),
            minutes(10)..=minutes(10),
        ]);
        assert_eq!(built, expected.build());
    }

    #[test]
    fn what_makes_no_schedule_is_refused() {
        let minute = minutes(1);
        let no_gap: [Gap; 0] = [];
        for (built, error) in [
            (Schedule::gaps(no_gap).build(), ScheduleError::Empty),
            (
                Schedule::gaps(std::iter::repeat(minute)).build(),
                ScheduleError::TooManySteps,
            ),
            (
                Schedule::exponential(minute, 1, u32::MAX).build(),
                ScheduleError::TooManySteps,
            ),
            (
                Schedule::exponential(minute, 0, 2).build(),
                ScheduleError::ZeroWait,
            ),
            (
                Schedule::exponential(minute, u32::MAX, 9).build(),
                ScheduleError::WaitTooLong,
            ),
            (
                Schedule::gaps([Duration::MAX]).jitter_above(u32::MAX).build(),
                ScheduleError::WaitTooLong,
            ),
            (
                Schedule::gaps([minute * 2..=minute]).build(),
                ScheduleError::GapInverted,
            ),
            (
                Schedule::gaps([minute]).jitter_around(101).build(),
                ScheduleError::JitterTooLarge,
            ),
            (Schedule::marks([]), ScheduleError::Empty),
            (Schedule::marks([Duration::ZERO]), ScheduleError::ZeroWait),
            (Schedule::marks([Duration::MAX]), ScheduleError::WaitTooLong),
            (Schedule::marks([minute, minute]), ScheduleError::MarksNotRising),
            (
                Schedule::marks(std::iter::repeat(minute)),
                ScheduleError::TooManySteps,
            ),
        ] {
            assert_eq!(built, Err(error));
        }
    }
}
