//! One HTTP exchange, and what came of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::id::DeliveryId;
use crate::secret::Hidden;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The receiver answered with this status. Whether that is a success is the profile's to say.
    Answered(StatusCode),
    /// No answer within the deadline.
    TimedOut,
    /// The request could not be sent, or its answer not be read.
    Failed(SendFailure),
    /// The sender or the authentication panicked. The panic was contained.
    Panicked,
    /// The worker never reported back, and its lease ran out. Whether the receiver saw anything is not known.
    Interrupted,
}

/// Why a request got no answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SendFailure {
    /// The host's name could not be resolved.
    Resolve,
    /// No connection.
    Connect,
    /// No secure connection.
    Tls,
    /// The destination is not one that may be called.
    NotAllowed,
    /// The sender would have sent something other than what was signed.
    UrlChanged,
    /// The answer is larger than is read.
    ResponseTooLarge,
    /// The connection broke before the answer was whole.
    Disconnected,
    /// What came back is not HTTP.
    Protocol,
    /// The authentication can prove nothing about such an event. Nothing was sent.
    Unprovable,
    /// Anything else.
    Other,
}

impl SendFailure {
    /// Every kind there is.
    pub const ALL: [Self; 10] = [
        Self::Resolve,
        Self::Connect,
        Self::Tls,
        Self::NotAllowed,
        Self::UrlChanged,
        Self::ResponseTooLarge,
        Self::Disconnected,
        Self::Protocol,
        Self::Unprovable,
        Self::Other,
    ];

    /// The words for it, as stores and histories show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "name not resolved",
            Self::Connect => "no connection",
            Self::Tls => "no secure connection",
            Self::NotAllowed => "destination not allowed",
            Self::UrlChanged => "URL read differently",
            Self::ResponseTooLarge => "response too large",
            Self::Disconnected => "disconnected",
            Self::Protocol => "not HTTP",
            Self::Unprovable => "not provable",
            Self::Other => "not sent",
        }
    }
}

impl fmt::Display for SendFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<StatusCode> for Outcome {
    fn from(status: StatusCode) -> Self {
        Self::Answered(status)
    }
}

impl Outcome {
    /// The status of the answer, where there was one.
    pub fn status(self) -> Option<StatusCode> {
        match self {
            Outcome::Answered(status) => Some(status),
            _ => None,
        }
    }

    /// Two words or so, as stores keep it beside the status: `answered`, `timed out`, `no connection`, ….
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Answered(_) => "answered",
            Outcome::TimedOut => "timed out",
            Outcome::Failed(failure) => failure.as_str(),
            Outcome::Panicked => "panicked",
            Outcome::Interrupted => "interrupted",
        }
    }

    /// Reads back what [`as_str`](Self::as_str) and [`status`](Self::status) gave.
    pub fn from_parts(word: &str, status: Option<u16>) -> Option<Self> {
        match word {
            "answered" => StatusCode::from_u16(status?).ok().map(Outcome::Answered),
            "timed out" => Some(Outcome::TimedOut),
            "panicked" => Some(Outcome::Panicked),
            "interrupted" => Some(Outcome::Interrupted),
            word => SendFailure::ALL
                .into_iter()
                .find(|f| f.as_str() == word)
                .map(Outcome::Failed),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered(status) => write!(f, "{}", status.as_u16()),
            other => f.write_str(other.as_str()),
        }
    }
}

/// What a worker says of an attempt when it settles.
#[derive(Clone, PartialEq, Eq)]
pub struct AttemptReport {
    /// When the request was handed to the sender.
    pub started_at: DateTime<Utc>,
    /// From then until the outcome was known.
    pub duration: Duration,
    /// What came of it.
    pub outcome: Outcome,
    /// The beginning of the answer's body, for people who look for the reason.
    pub excerpt: bytes::Bytes,
}

impl fmt::Debug for AttemptReport {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptReport")
            .field("started_at", &self.started_at)
            .field("duration", &self.duration)
            .field("outcome", &self.outcome)
            .field("excerpt", &Hidden(&self.excerpt))
            .finish()
    }
}

impl AttemptReport {
    /// When the outcome was known: for a failure, the instant that schedules count from.
    pub fn finished_at(&self) -> DateTime<Utc> {
        crate::time::after(self.started_at, self.duration)
    }
}

/// An attempt as history keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The delivery it belongs to.
    pub delivery: DeliveryId,
    /// 1 for the first; counts on through a replay.
    pub number: u32,
    /// What was reported of it.
    pub report: AttemptReport,
}

impl Attempt {
    /// What it is called where requests have ids.
    pub fn request_id(&self) -> RequestId {
        RequestId {
            delivery: self.delivery,
            number: self.number,
        }
    }
}

/// The id of a request: the delivery's, and the attempt's number. It follows from what is there anyway, so nobody has
/// to store it, and whoever is given one finds the attempt.
///
/// ```
/// use ringback::delivery::RequestId;
/// use ringback::id::DeliveryId;
///
/// let id = RequestId { delivery: DeliveryId(7), number: 3 };
/// assert_eq!(id.to_string(), "7-3");
/// assert_eq!("7-3".parse(), Ok(id));
/// assert!("7".parse::<RequestId>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Which of its attempts: 1 is the first.
    pub number: u32,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.delivery, self.number)
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        let (delivery, number) = text.rsplit_once('-').ok_or(RequestIdError)?;
        let id = Self {
            delivery: DeliveryId(delivery.parse().map_err(|_| RequestIdError)?),
            number: number.parse().map_err(|_| RequestIdError)?,
        };
        // Whatever else reads as the same numbers, such as leading zeros, is nothing that was ever written.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(RequestIdError)
        }
    }
}

/// The text is none that a [`RequestId`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a request")]
pub struct RequestIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_back() {
        let mut outcomes = vec![
            Outcome::Answered(StatusCode::OK),
            Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE),
            Outcome::TimedOut,
            Outcome::Panicked,
            Outcome::Interrupted,
        ];
        outcomes.extend(SendFailure::ALL.map(Outcome::Failed));
        for outcome in outcomes {
            let status = outcome.status().map(|s| s.as_u16());
            assert_eq!(Outcome::from_parts(outcome.as_str(), status), Some(outcome));
        }
        assert_eq!(Outcome::from_parts("answered", None), None);
        assert_eq!(Outcome::from_parts("sung", None), None);
    }

    #[test]
    fn ids_of_requests_are_read_back() {
        for (delivery, number) in [(1, 1), (i64::MIN, u32::MAX), (-3, 0)] {
            let id = RequestId {
                delivery: DeliveryId(delivery),
                number,
            };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in ["", "-", "1-", "-1", "01-1", "1-+1", "1-1 ", "1-4294967296"] {
            assert_eq!(text.parse::<RequestId>(), Err(RequestIdError), "{text}");
        }
    }
}
