//! How sending to a webhook goes.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::attempt::Outcome;

/// How the attempts of some span of time went.
///
/// Attempts that were interrupted are left out: they say something about a worker, nothing about the receiver.
///
/// ```
/// use std::time::Duration;
/// use ringback::delivery::{Health, HealthLimits};
///
/// let health = Health { attempts: 20, accepted: 8, sending_time: Duration::from_secs(30) };
/// assert_eq!(health.average_duration(), Some(Duration::from_millis(1_500)));
/// assert_eq!(health.success_percent(), Some(40));
///
/// let warning = HealthLimits::default().warning(&health).unwrap();
/// assert_eq!(warning.to_string(), "sending fails often");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// How many attempts there were.
    pub attempts: u64,
    /// How many of them were accepted, as the profile judged.
    pub accepted: u64,
    /// How long they took, all together.
    pub sending_time: Duration,
}

impl Health {
    /// Counts an attempt, unless it was interrupted. One that seems to have taken longer than a day counts as a day.
    pub fn count(&mut self, outcome: Outcome, duration: Duration, accepted: bool) {
        const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
        if outcome != Outcome::Interrupted {
            self.add(&Self {
                attempts: 1,
                accepted: u64::from(accepted),
                sending_time: duration.min(LONGEST),
            });
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.sending_time = self.sending_time.saturating_add(other.sending_time);
    }

    /// How long an attempt took on average; `None` without attempts.
    pub fn average_duration(&self) -> Option<Duration> {
        let nanos = self.sending_time.as_nanos().checked_div(self.attempts.into())?;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// How many attempts in a hundred were accepted, rounded down; `None` without attempts.
    pub fn success_percent(&self) -> Option<u32> {
        let percent = (u128::from(self.accepted) * 100).checked_div(self.attempts.into())?;
        u32::try_from(percent).ok()
    }
}

/// From where on a webhook's health is worth a warning. No provider publishes its limits; these are this crate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthLimits {
    /// An attempt takes so long on average, or longer. Default: 5 seconds.
    pub average_duration: Duration,
    /// So many attempts in a hundred are accepted, or fewer. Default: 50.
    pub success_percent: u32,
    /// With fewer attempts than this there is no warning, since they say little. Default: 10.
    pub min_attempts: u64,
    /// How far to look back. Default: an hour.
    pub window: Duration,
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            average_duration: Duration::from_secs(5),
            success_percent: 50,
            min_attempts: 10,
            window: Duration::from_secs(60 * 60),
        }
    }
}

impl HealthLimits {
    /// What there is to warn of, if anything.
    pub fn warning(&self, health: &Health) -> Option<HealthWarning> {
        let verdict = self.verdict(health)?;
        let is_due = health.attempts >= self.min_attempts && (verdict.is_slow || verdict.is_failing);
        is_due.then_some(verdict)
    }

    /// Whether there is no more cause for a warning. Few attempts are enough for that, if they went well; none says nothing.
    #[cfg(feature = "engine")]
    pub(crate) fn is_well(&self, health: &Health) -> bool {
        let well = |verdict: HealthWarning| !verdict.is_slow && !verdict.is_failing;
        self.verdict(health).is_some_and(well)
    }

    fn verdict(&self, health: &Health) -> Option<HealthWarning> {
        let (average, percent) = (health.average_duration()?, health.success_percent()?);
        Some(HealthWarning {
            is_slow: average >= self.average_duration,
            is_failing: percent <= self.success_percent,
        })
    }
}

/// What is wrong with a webhook's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HealthWarning {
    /// Sending takes long.
    pub is_slow: bool,
    /// Sending fails often.
    pub is_failing: bool,
}

impl fmt::Display for HealthWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_slow, self.is_failing) {
            (true, true) => "sending takes long; sending fails often",
            (true, false) => "sending takes long",
            (false, true) => "sending fails often",
            (false, false) => "sending goes well",
        })
    }
}

/// The minute since 1970 in which an instant lies. Stores add health up by the minute in which attempts were recorded.
pub(crate) fn minute_of(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(60)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn counted(outcomes: &[(Outcome, bool)]) -> Health {
        let mut health = Health::default();
        for (outcome, accepted) in outcomes {
            health.count(*outcome, Duration::from_secs(2), *accepted);
        }
        health
    }

    #[test]
    fn interrupted_attempts_say_nothing() {
        let ok = Outcome::Answered(StatusCode::OK);
        let health = counted(&[
            (ok, true),
            (Outcome::Interrupted, false),
            (Outcome::TimedOut, false),
        ]);
        assert_eq!(
            health,
            Health {
                attempts: 2,
                accepted: 1,
                sending_time: Duration::from_secs(4)
            }
        );
        let nothing = counted(&[(Outcome::Interrupted, false)]);
        assert_eq!(
            (nothing.average_duration(), nothing.success_percent()),
            (None, None)
        );
        assert_eq!(HealthLimits::default().warning(&nothing), None);
    }

    #[test]
    fn a_limit_that_is_reached_is_worth_a_warning() {
        let limits = HealthLimits::default();
        let health = |attempts, accepted, seconds| Health {
            attempts,
            accepted,
            sending_time: Duration::from_secs(seconds),
        };
        let warns = |health| limits.warning(&health).map(|w| (w.is_slow, w.is_failing));
        assert_eq!(warns(health(10, 6, 49)), None);
        assert_eq!(warns(health(10, 5, 49)), Some((false, true)));
        assert_eq!(warns(health(10, 6, 50)), Some((true, false)));
        assert_eq!(warns(health(10, 0, 50)), Some((true, true)));
        assert_eq!(warns(health(9, 0, 900)), None, "too few to tell");
    }

    #[test]
    fn figures_stop_at_the_ends_of_numbers() {
        let mut health = Health {
            attempts: u64::MAX,
            accepted: u64::MAX,
            sending_time: Duration::MAX,
        };
        health.add(&health.clone());
        assert_eq!(health.success_percent(), Some(100));
        assert!(health.average_duration().is_some());
        let one = Health {
            attempts: 1,
            ..health
        };
        assert_eq!(one.average_duration(), Some(Duration::from_nanos(u64::MAX)));
        assert_eq!(one.success_percent(), None, "more were accepted than there were");
    }
}
