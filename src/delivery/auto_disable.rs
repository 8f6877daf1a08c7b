//! When a webhook that only fails is given up for the time being.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{AttemptReport, Outcome, SendFailure};
use crate::time::{after, elapsed};

/// When the engine disables a webhook by itself. Unless told otherwise, never.
///
/// What waits for a webhook that was disabled is kept, and goes on when it is enabled again.
///
/// ```
/// use std::time::Duration;
/// use ringback::delivery::AutoDisable;
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// let rule = AutoDisable::never().after(5 * DAY).with_notice_percent(80).when_gone();
/// assert_eq!(rule.notice_after(), Some(4 * DAY));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoDisable {
    /// After so long of nothing but failures; `None`: however long it fails.
    pub after: Option<Duration>,
    /// At which part of that time notice is given, in percent. Default 50; 100 or more gives none.
    pub notice_percent: u8,
    /// As soon as the receiver answers `410 Gone`, which then ends the delivery too, whatever the profile.
    pub when_gone: bool,
}

impl AutoDisable {
    /// Never.
    pub fn never() -> Self {
        Self {
            after: None,
            notice_percent: 50,
            when_gone: false,
        }
    }

    /// After so long of nothing but failures.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self {
            after: Some(span),
            ..self
        }
    }

    /// Gives notice at that part of the time, in percent.
    #[must_use]
    pub fn with_notice_percent(self, percent: u8) -> Self {
        Self {
            notice_percent: percent,
            ..self
        }
    }

    /// As soon as the receiver answers `410 Gone`.
    #[must_use]
    pub fn when_gone(self) -> Self {
        Self {
            when_gone: true,
            ..self
        }
    }

    /// Whether there is any occasion on which it would disable.
    pub fn is_never(&self) -> bool {
        self.after.is_none() && !self.when_gone
    }

    /// After how long of nothing but failures notice is given, if it is.
    pub fn notice_after(&self) -> Option<Duration> {
        let span = self.after?;
        (self.notice_percent < 100).then(|| span / 100 * u32::from(self.notice_percent))
    }

    /// What is to be done about a webhook that has been failing since then.
    pub fn verdict(&self, failing_since: DateTime<Utc>, now: DateTime<Utc>) -> FailingVerdict {
        let Some(span) = self.after else {
            return FailingVerdict::Nothing;
        };
        let failing_for = elapsed(failing_since, now);
        if failing_for >= span {
            FailingVerdict::Disable
        } else if self.notice_after().is_some_and(|notice| failing_for >= notice) {
            FailingVerdict::GiveNotice {
                disables_at: after(failing_since, span),
            }
        } else {
            FailingVerdict::Nothing
        }
    }
}

impl Default for AutoDisable {
    fn default() -> Self {
        Self::never()
    }
}

/// What is to be done about a failing webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailingVerdict {
    /// Nothing yet.
    Nothing,
    /// Say that it will be disabled.
    GiveNotice {
        /// When, if it goes on like this.
        disables_at: DateTime<Utc>,
    },
    /// Disable it.
    Disable,
}

/// That the engine disabled a webhook by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// When.
    pub at: DateTime<Utc>,
    /// Why.
    pub reason: DisableReason,
}

/// Why the engine disabled a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisableReason {
    /// It had had nothing but failures since then.
    Failing {
        /// When the first of them was known.
        since: DateTime<Utc>,
    },
    /// Its receiver answered `410 Gone`.
    Gone,
}

/// Since when a webhook has been failing, after one more attempt: stores keep it by this rule.
///
/// A success ends it. A failure begins it, if it is one that the receiver has to do with: not a panic here, nor an
/// interruption, a request that the sender would have changed, or an event that nothing can prove.
pub fn failing_since(
    before: Option<DateTime<Utc>>,
    attempt: &AttemptReport,
    delivered: bool,
) -> Option<DateTime<Utc>> {
    let ours = matches!(
        attempt.outcome,
        Outcome::Panicked
            | Outcome::Interrupted
            | Outcome::Failed(SendFailure::UrlChanged | SendFailure::Unprovable)
    );
    match (delivered, ours) {
        (true, _) => None,
        (false, true) => before,
        (false, false) => before.or_else(|| Some(attempt.finished_at())),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn attempt(outcome: Outcome) -> AttemptReport {
        AttemptReport {
            started_at: START,
            duration: seconds(2),
            outcome,
            excerpt: Bytes::new(),
        }
    }

    #[test]
    fn notice_comes_before_the_end_and_only_once_there_is_an_end() {
        let verdict = |rule: AutoDisable, at| rule.verdict(START, after(START, seconds(at)));
        let rule = AutoDisable::never().after(seconds(100));
        let notice = FailingVerdict::GiveNotice {
            disables_at: after(START, seconds(100)),
        };
        assert_eq!(verdict(rule, 49), FailingVerdict::Nothing);
        assert_eq!(verdict(rule, 50), notice);
        assert_eq!(verdict(rule, 99), notice);
        assert_eq!(verdict(rule, 100), FailingVerdict::Disable);
        let without_notice = rule.with_notice_percent(100);
        assert_eq!(verdict(without_notice, 99), FailingVerdict::Nothing);
        assert_eq!(verdict(without_notice, 100), FailingVerdict::Disable);
        assert_eq!(
            verdict(AutoDisable::never().when_gone(), 1_000_000),
            FailingVerdict::Nothing
        );
        // A clock that was set back disables nothing.
        assert_eq!(
            rule.verdict(after(START, seconds(500)), START),
            FailingVerdict::Nothing
        );
    }

    #[test]
    fn failing_begins_with_the_first_failure_and_ends_with_the_first_success() {
        let refused = attempt(Outcome::Answered(StatusCode::NOT_FOUND));
        let since = failing_since(None, &refused, false);
        assert_eq!(since, Some(after(START, seconds(2))));
        let earlier = Some(START);
        assert_eq!(failing_since(earlier, &refused, false), earlier);
        assert_eq!(
            failing_since(earlier, &attempt(Outcome::Answered(StatusCode::OK)), true),
            None
        );
    }

    #[test]
    fn what_is_not_the_receivers_doing_neither_begins_nor_ends_it() {
        for outcome in [
            Outcome::Panicked,
            Outcome::Interrupted,
            Outcome::Failed(SendFailure::UrlChanged),
            Outcome::Failed(SendFailure::Unprovable),
        ] {
            assert_eq!(failing_since(None, &attempt(outcome), false), None);
            assert_eq!(failing_since(Some(START), &attempt(outcome), false), Some(START));
        }
    }
}
