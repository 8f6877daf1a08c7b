//! Verifying.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderName;
use thiserror::Error;

use super::scheme::Canonical;
use super::{Message, Scheme, Signatures, SignedDate, VerifyingKey};

/// How far a signed date may lie ahead of the receiver's clock, whatever the age limit: clocks differ.
const MAX_NANOS_AHEAD: i128 = 5 * 60 * 1_000_000_000;

/// Verifies messages by one scheme, against every key that may still be in use.
///
/// Holds nothing per message: use one for all of them, from as many threads as you like. Calling it twice for
/// one message, over two readings of its body, costs twice the MAC and nothing more.
#[derive(Debug, Clone)]
pub struct Verifier {
    scheme: Arc<dyn Scheme>,
    keys: Vec<VerifyingKey>,
    max_age: MaxAge,
}

impl Verifier {
    /// Accepts what any one of the keys signed, no longer ago than the limit. Without a key, nothing.
    pub fn new<K: Into<VerifyingKey>>(
        scheme: impl Scheme,
        keys: impl IntoIterator<Item = K>,
        max_age: MaxAge,
    ) -> Self {
        Self {
            scheme: Arc::new(scheme),
            keys: keys.into_iter().map(Into::into).collect(),
            max_age,
        }
    }

    /// Checks the signature, then reads the signed date, then checks it against `now`, in this order: what is
    /// said of the date is said of authentic messages only.
    ///
    /// # Errors
    ///
    /// Why the message is not to be trusted. Answer the sender 401 or 400 without the reason's details, and keep
    /// those for your own log.
    pub fn verify(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<Verified, Refusal> {
        let mut signatures = Signatures::default();
        self.scheme.signatures(message, &mut signatures)?;
        if signatures.is_empty() {
            return Err(Refusal::MalformedSignature);
        }
        let (key, date) = self.key_that_signed(message, &signatures)?;
        let signed_at = date.map(SignedDate::read).transpose()?;
        if let Some(signed_at) = signed_at {
            self.max_age.check(signed_at, now)?;
        }
        Ok(Verified { signed_at, key })
    }

    /// The number of the key, and the date that it vouches for.
    fn key_that_signed<'a>(
        &'a self,
        message: &Message<'a>,
        signatures: &Signatures,
    ) -> Result<(usize, Option<SignedDate<'a>>), Refusal> {
        let canonical = Canonical {
            scheme: &*self.scheme,
            message: *message,
        };
        let mut refusal = Refusal::UnknownKey;
        for (number, key) in self.keys.iter().enumerate() {
            match key.verify(canonical, signatures) {
                Ok(date) => return Ok((number, date)),
                Err(Refusal::UnknownKey) => {}
                Err(other) => refusal = other,
            }
        }
        Err(refusal)
    }
}

/// What is known of a message whose signature held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// When it was signed; `None` if the scheme signs no date, and then nothing but de-duplication keeps an
    /// old message from being sent again.
    pub signed_at: Option<DateTime<Utc>>,
    /// Which of the verifier's keys signed it, counted from 0. Once only the newest is seen, the others can go.
    pub key: usize,
}

/// How long ago a message may have been signed.
///
/// There is no default. Standard Webhooks recommends five minutes. Powens does not publish whether it dates a
/// retry anew, so a short limit might refuse its late retries, and unlimited leaves replays to de-duplication.
/// Either way, a date more than five minutes in the future is refused, and a scheme that signs no date has none
/// to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAge(Option<Duration>);

impl MaxAge {
    /// So many minutes ago, and no longer.
    pub const fn minutes(minutes: u32) -> Self {
        Self(Some(Duration::from_secs(minutes as u64 * 60)))
    }

    /// Any time ago.
    pub const fn unlimited() -> Self {
        Self(None)
    }

    pub(crate) fn check(self, signed_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Refusal> {
        let age = nanos_between(signed_at, now);
        match self.0 {
            _ if age < -MAX_NANOS_AHEAD => Err(Refusal::FromTheFuture),
            Some(limit) if age > limit.as_nanos().cast_signed() => Err(Refusal::Stale),
            _ => Ok(()),
        }
    }
}

/// Nanoseconds from one instant to the other. Days and years, by which chrono reckons, are more work than this needs.
fn nanos_between(from: DateTime<Utc>, to: DateTime<Utc>) -> i128 {
    let seconds = to.timestamp() - from.timestamp();
    let nanos = i64::from(to.timestamp_subsec_nanos()) - i64::from(from.timestamp_subsec_nanos());
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

impl From<Duration> for MaxAge {
    fn from(limit: Duration) -> Self {
        Self(Some(limit))
    }
}

/// Why a message is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A header that the scheme needs is not there.
    #[error("missing header `{0}`")]
    MissingHeader(HeaderName),
    /// A header that must occur once occurs more often.
    #[error("repeated header `{0}`")]
    RepeatedHeader(HeaderName),
    /// What stands in the place of the signature is none: empty, cut short, wrongly encoded.
    #[error("malformed signature")]
    MalformedSignature,
    /// There are more signatures than anyone needs ([`Signatures::LIMIT`]).
    #[error("too many signatures")]
    TooManySignatures,
    /// Where nothing is signed: the secret in the URL, or the token, is missing, repeated, or not one that is expected.
    #[error("wrong secret: the message carries none, several, or one that is not expected")]
    WrongSecret,
    /// No key is held of the kind, or by the name, that the signature asks for.
    #[error("unknown key: none that is held could have made the signature")]
    UnknownKey,
    /// The message says that its key is published in a place that is not one of the known ones.
    #[error("unknown source: the message names a place for its key that is not known")]
    UnknownSource,
    /// The signature does not cover a header that it is required to cover.
    #[error("the signature does not cover the header `{0}`")]
    UnsignedHeader(HeaderName),
    /// The signature is not that of this message by any of the keys.
    #[error("mismatch: the signature is not that of this message by any key held")]
    Mismatch,
    /// The message is authentic, and its date cannot be read.
    #[error("malformed date: the message is authentic, but its signed date cannot be read")]
    MalformedDate,
    /// The message is authentic, and older than the limit.
    #[error("stale: the message is authentic, but was signed longer ago than the age limit")]
    Stale,
    /// The message is authentic, and dated more than five minutes ahead.
    #[error("from the future: the message is authentic, but its signed date is still to come")]
    FromTheFuture,
}
