//! What a schedule is made of: gaps, counted from the attempt before, or marks, counted from the first failure.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Schedule;

/// One wait, drawn anew each time from a range: both ends are possible, and all between is equally likely.
///
/// ```
/// use std::time::Duration;
/// use ringback::retry::Gap;
///
/// let gap = Gap::from(Duration::from_secs(10)).jittered(25, 25);
/// assert_eq!(gap, Gap::between(Duration::from_millis(7_500), Duration::from_millis(12_500)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gap {
    min: Duration,
    max: Duration,
}

impl Gap {
    /// Always the same wait.
    pub const fn exactly(wait: Duration) -> Self {
        Self { min: wait, max: wait }
    }

    /// Any wait from `min` to `max`. That they are the right way round is checked where a schedule is built.
    pub const fn between(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// The range widened by `below` percent of its shortest wait (at most 100) and `above` percent of its
    /// longest.
    #[must_use]
    pub fn jittered(self, below: u32, above: u32) -> Self {
        Self {
            min: percent(self.min, 100_u32.saturating_sub(below)),
            max: percent(self.max, above.saturating_add(100)),
        }
    }

    /// The range with nothing in it longer than `ceiling`.
    pub(super) fn clamped(self, ceiling: Duration) -> Self {
        Self {
            min: self.min.min(ceiling),
            max: self.max.min(ceiling),
        }
    }

    /// The wait that `random` stands for: the shortest for 0, the longest for `u64::MAX`.
    ///
    /// A multiplication and a shift on whole nanoseconds, so nothing is rounded and no value is favoured. It
    /// cannot overflow within [`Schedule::MAX_WAIT`], to which every gap in a schedule is held.
    pub(super) fn pick(self, random: u64) -> Duration {
        let choices = self.max.saturating_sub(self.min).as_nanos() + 1;
        let extra = (choices * u128::from(random)) >> 64;
        self.min + Duration::from_nanos(u64::try_from(extra).unwrap_or(u64::MAX))
    }

    fn check(self) -> Result<(), ScheduleError> {
        if self.min > self.max {
            return Err(ScheduleError::GapInverted);
        }
        check_wait(self.max)
    }
}

impl From<Duration> for Gap {
    fn from(wait: Duration) -> Self {
        Self::exactly(wait)
    }
}

impl From<RangeInclusive<Duration>> for Gap {
    fn from(range: RangeInclusive<Duration>) -> Self {
        let (min, max) = range.into_inner();
        Self { min, max }
    }
}

fn percent(wait: Duration, percent: u32) -> Duration {
    wait.saturating_mul(percent) / 100
}

/// Why a schedule was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// There is no gap or mark in it. For no retry at all, say [`Schedule::never`].
    #[error("a schedule needs at least one gap or mark")]
    Empty,
    /// There are more than [`Schedule::MAX_STEPS`] gaps or marks in it.
    #[error("a schedule has at most {} gaps or marks", Schedule::MAX_STEPS)]
    TooManySteps,
    /// A gap that can only be zero, or a mark at the first failure itself.
    #[error("a wait must be longer than zero")]
    ZeroWait,
    /// A gap or mark beyond [`Schedule::MAX_WAIT`].
    #[error("a wait must not be longer than {} days", Schedule::MAX_WAIT.as_secs() / 86_400)]
    WaitTooLong,
    /// A gap whose shortest wait is longer than its longest.
    #[error("the shortest wait of a gap must not be longer than its longest")]
    GapInverted,
    /// A mark that is not later than the one before it.
    #[error("each mark must be later than the one before")]
    MarksNotRising,
    /// Jitter that would make a wait negative.
    #[error("jitter must not take more than 100 percent off a wait")]
    JitterTooLarge,
}

/// Gaps that were checked: at least one, none inverted, zero or too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Gap>")]
pub(super) struct Gaps(Vec<Gap>);

impl Gaps {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn nth(&self, index: usize) -> Option<Gap> {
        self.0.get(index).copied()
    }

    pub(super) fn last(&self) -> Option<Gap> {
        self.0.last().copied()
    }
}

impl TryFrom<Vec<Gap>> for Gaps {
    type Error = ScheduleError;

    fn try_from(gaps: Vec<Gap>) -> Result<Self, ScheduleError> {
        check_count(gaps.len())?;
        gaps.iter().try_for_each(|gap| gap.check())?;
        Ok(Self(gaps))
    }
}

/// Marks that were checked: at least one, rising, none zero or too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Duration>")]
pub(super) struct Marks(Vec<Duration>);

impl Marks {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first_after(&self, elapsed: Duration) -> Option<Duration> {
        let passed = self.0.partition_point(|mark| *mark <= elapsed);
        self.0.get(passed).copied()
    }
}

impl TryFrom<Vec<Duration>> for Marks {
    type Error = ScheduleError;

    fn try_from(marks: Vec<Duration>) -> Result<Self, ScheduleError> {
        check_count(marks.len())?;
        marks.iter().try_for_each(|mark| check_wait(*mark))?;
        if !marks.is_sorted_by(|earlier, later| earlier < later) {
            return Err(ScheduleError::MarksNotRising);
        }
        Ok(Self(marks))
    }
}

fn check_count(count: usize) -> Result<(), ScheduleError> {
    match count {
        0 => Err(ScheduleError::Empty),
        1..=Schedule::MAX_STEPS => Ok(()),
        _ => Err(ScheduleError::TooManySteps),
    }
}

fn check_wait(wait: Duration) -> Result<(), ScheduleError> {
    if wait.is_zero() {
        Err(ScheduleError::ZeroWait)
    } else if wait > Schedule::MAX_WAIT {
        Err(ScheduleError::WaitTooLong)
    } else {
        Ok(())
    }
}

/// Takes what there is, but no more than it needs to see that it is too much: an endless iterator is refused
/// rather than followed.
pub(super) fn collect_steps<T>(steps: impl IntoIterator<Item = impl Into<T>>) -> Vec<T> {
    steps
        .into_iter()
        .take(Schedule::MAX_STEPS + 1)
        .map(Into::into)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pick_covers_its_whole_range_evenly() {
        let gap = Gap::between(Duration::from_nanos(10), Duration::from_nanos(13));
        let quarter = 1_u64 << 62;
        let picks = [0, quarter - 1, quarter, 2 * quarter, 3 * quarter, u64::MAX];
        assert_eq!(
            picks.map(|random| gap.pick(random).as_nanos()),
            [10, 10, 11, 12, 13, 13]
        );
    }

    #[test]
    fn a_pick_from_the_widest_gap_does_not_overflow() {
        let gap = Gap::between(Duration::ZERO, Schedule::MAX_WAIT);
        assert_eq!(gap.pick(u64::MAX), Schedule::MAX_WAIT);
        assert_eq!(gap.pick(0), Duration::ZERO);
    }
}
