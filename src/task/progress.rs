use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json::{Survey, Surveyor};
use crate::secret::Hidden;

/// How far a task has come, as whoever works on it says. Nothing is promised by it: it may stand still or fall back.
///
/// No provider documents one. It has these two fields alone: of others, nothing is kept.
///
/// ```
/// use ringback::task::{Fraction, TaskProgress};
///
/// let progress = TaskProgress::of(30, 120).with_message("reading accounts");
/// assert_eq!(progress.fraction, Some(Fraction::new(0.25)));
/// assert_eq!(
///     serde_json::to_string(&progress).unwrap(),
///     r#"{"fraction":0.25,"message":"reading accounts"}"#,
/// );
/// ```
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskProgress {
    /// Which part of it is done, if that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
    /// What is being done, for people. It goes to whoever called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl TaskProgress {
    /// So many parts of so many. Of none, nothing can be said.
    pub fn of(done: u64, all: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "four digits of it are kept")]
        let fraction = (all > 0).then(|| Fraction::new(done as f64 / all as f64));
        Self {
            fraction,
            message: None,
        }
    }

    /// Only what is being done.
    pub fn message(message: impl Into<String>) -> Self {
        Self::default().with_message(message)
    }

    /// With what is being done.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..self
        }
    }
}

impl fmt::Debug for TaskProgress {
    /// The message may be personal, so only its size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskProgress")
            .field("fraction", &self.fraction)
            .field("message", &self.message.as_ref().map(Hidden))
            .finish()
    }
}

impl Survey for TaskProgress {
    fn survey(&self, _: &mut Surveyor) {}
}

/// A part of a whole, from 0 to 1, kept to the hundredth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Fraction(u16);

impl Fraction {
    const WHOLE: u16 = 10_000;

    /// The nearest that can be kept. Below 0 is 0, above 1 is 1, and what is no number is 0.
    pub fn new(fraction: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the whole, and a cast of NaN is 0"
        )]
        Self((fraction.clamp(0.0, 1.0) * f64::from(Self::WHOLE)).round() as u16)
    }

    /// As a number from 0 to 1.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }
}

impl From<Fraction> for f64 {
    fn from(fraction: Fraction) -> Self {
        fraction.as_f64()
    }
}

/// A number that is no fraction of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fraction from 0 to 1")]
pub struct NotAFraction;

impl TryFrom<f64> for Fraction {
    type Error = NotAFraction;

    fn try_from(fraction: f64) -> Result<Self, NotAFraction> {
        if (0.0..=1.0).contains(&fraction) {
            Ok(Self::new(fraction))
        } else {
            Err(NotAFraction)
        }
    }
}

impl fmt::Display for Fraction {
    /// In percent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_stay_within_the_whole() {
        for (given, kept) in [
            (f64::NAN, 0.0),
            (f64::NEG_INFINITY, 0.0),
            (-0.1, 0.0),
            (0.333_333, 0.3333),
            (7.0, 1.0),
            (f64::INFINITY, 1.0),
        ] {
            assert_eq!(Fraction::new(given).as_f64(), kept, "{given}");
        }
        assert_eq!(TaskProgress::of(1, 0), TaskProgress::default());
        assert_eq!(TaskProgress::of(u64::MAX, 1).fraction, Some(Fraction::new(1.0)));
    }

    #[test]
    fn what_is_written_is_read_back_and_other_numbers_are_refused() {
        let progress = TaskProgress::of(2, 3).with_message("m");
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<TaskProgress>(&text).unwrap(), progress);
        for text in [
            r#"{"fraction":1.5}"#,
            r#"{"fraction":-1}"#,
            r#"{"fraction":"half"}"#,
        ] {
            assert!(serde_json::from_str::<TaskProgress>(text).is_err(), "{text}");
        }
        let empty: TaskProgress = serde_json::from_str(r#"{"more":1}"#).unwrap();
        assert_eq!(empty, TaskProgress::default());
    }
}
