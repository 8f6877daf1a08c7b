//! Which answers are a success.

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// What an answer means for its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The receiver has it.
    Accepted,
    /// The receiver does not have it; the schedule decides on another try.
    Failed,
    /// The receiver says that it is gone for good; there will be no other try.
    Gone,
}

/// Says which statuses are a success.
///
/// By default any 2xx is accepted and everything else has failed: a redirect, which is never followed, and a
/// 4xx, which none of the providers treats as final. The one choice is whether `410 Gone` ends a delivery, as
/// Standard Webhooks suggests.
///
/// ```
/// use http::StatusCode;
/// use ringback::retry::{Classification, Verdict};
///
/// let default = Classification::default();
/// assert_eq!(default.classify(StatusCode::NO_CONTENT), Verdict::Accepted);
/// assert_eq!(default.classify(StatusCode::GONE), Verdict::Failed);
/// assert_eq!(default.gone_on_410(true).classify(StatusCode::GONE), Verdict::Gone);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Classification {
    gone_on_410: bool,
}

impl Classification {
    /// Whether `410 Gone` ends a delivery at once. Off by default.
    #[must_use]
    pub fn gone_on_410(self, gone_on_410: bool) -> Self {
        Self { gone_on_410 }
    }

    /// What this status means.
    pub fn classify(&self, status: StatusCode) -> Verdict {
        if status.is_success() {
            Verdict::Accepted
        } else if self.gone_on_410 && status == StatusCode::GONE {
            Verdict::Gone
        } else {
            Verdict::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_2xx_are_accepted() {
        for code in 100..=999 {
            let status = StatusCode::from_u16(code).unwrap();
            let default = Classification::default().classify(status);
            assert_eq!(default == Verdict::Accepted, (200..300).contains(&code), "{code}");
            assert_ne!(default, Verdict::Gone, "{code}");

            let strict = Classification::default().gone_on_410(true).classify(status);
            assert_eq!(strict == Verdict::Gone, code == 410, "{code}");
        }
    }

    #[test]
    fn a_classification_stored_before_a_setting_existed_has_its_default() {
        assert_eq!(
            serde_json::from_str::<Classification>("{}").unwrap(),
            Classification::default()
        );
    }
}
