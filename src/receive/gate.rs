//! Whether a message is authentic.

use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::request::Parts;

use crate::signature::{Message, Refusal, Verifier};

/// Lets authentic messages in, and nothing else.
///
/// A [`Verifier`] is a gate; so are [`UrlSecret`](super::UrlSecret) and [`BearerToken`](super::BearerToken), and
/// [`per_sender`](super::per_sender) looks one up for each message, for many tenants on one route.
///
/// # Contract
///
/// `Ok` only if whoever sent the message has proved who they are, for these very bytes or, where the provider signs
/// nothing, for this request. It is given the body as it came over the wire, of which nothing is known yet but its
/// size. It must not panic.
///
/// [`Refusal::Mismatch`] says that the proof is not one of *this body*. Where the body is compressed, the gate is then
/// asked once more, with the body inflated. So what a gate refuses without regard to the body must be another
/// refusal, or forgers have bodies inflated.
///
/// A gate that tells several senders apart says which one it was ([`Admission::sender`]).
///
/// # Errors
///
/// The reason, for the receiver's own log. The sender hears the same for every [`Refusal`].
/// [`GateError::Unavailable`] where nobody can say at present, such as while a database of keys is down: the sender
/// hears 503 then, and tries again.
///
/// # Cancellation
///
/// `admit` may be dropped at any point, when the sender hangs up.
///
/// ```
/// use async_trait::async_trait;
/// use chrono::{DateTime, Utc};
/// use ringback::receive::{Admission, Arrival, Gate, GateError};
/// use ringback::signature::Refusal;
///
/// /// Lets in what a proxy in front has checked the client certificate of.
/// #[derive(Debug)]
/// struct CheckedByProxy;
///
/// #[async_trait]
/// impl Gate for CheckedByProxy {
///     async fn admit(&self, arrival: &Arrival<'_>, _now: DateTime<Utc>) -> Result<Admission, GateError> {
///         let verdict = arrival.message().sole_header(&"x-client-verify".parse().unwrap())?;
///         match verdict {
///             b"SUCCESS" => Ok(Admission::default()),
///             _ => Err(Refusal::WrongSecret.into()),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Gate: Debug + Send + Sync + 'static {
    /// Lets the message in, or says why not.
    async fn admit(&self, arrival: &Arrival<'_>, now: DateTime<Utc>) -> Result<Admission, GateError>;
}

/// A message at the gate: of what it holds, nothing is known to be true.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Arrival<'a> {
    /// The head of the request, with the extensions that the server has put there.
    pub head: &'a Parts,
    /// The body as it came over the wire; where the gate is asked a second time, inflated.
    pub body: &'a [u8],
}

impl<'a> Arrival<'a> {
    /// That request.
    pub fn new(head: &'a Parts, body: &'a [u8]) -> Self {
        Self { head, body }
    }

    /// What can be signed of it.
    pub fn message(&self) -> Message<'a> {
        Message {
            method: &self.head.method,
            target: self
                .head
                .uri
                .path_and_query()
                .map_or("/", |target| target.as_str()),
            headers: &self.head.headers,
            body: self.body,
        }
    }
}

/// Shows the path alone: the rest may be secret.
impl Debug for Arrival<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("path", &self.head.uri.path())
            .finish_non_exhaustive()
    }
}

/// Why a message is not let in.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// It is not authentic.
    #[error("not authentic: {0}")]
    Refused(#[from] Refusal),
    /// Nobody can say at present whether it is: what holds the keys cannot be reached.
    #[error("whether it is authentic cannot be said at present")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
}

impl GateError {
    /// Nobody can say at present, for this reason, which must not show a secret.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into().into())
    }
}

/// What a gate found out about a message that it let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admission {
    /// Who sent it, where a gate lets in messages of several. Two senders may give the same key to different messages,
    /// or mean to, so this is part of what tells copies of one message from another. Default: one sender for all.
    pub sender: Option<String>,
    /// When it was signed, where the signature says.
    pub signed_at: Option<DateTime<Utc>>,
}

impl Admission {
    /// Let in as a message of that sender.
    pub fn of_sender(sender: impl Into<String>) -> Self {
        Self {
            sender: Some(sender.into()),
            signed_at: None,
        }
    }
}

#[async_trait]
impl Gate for Verifier {
    async fn admit(&self, arrival: &Arrival<'_>, now: DateTime<Utc>) -> Result<Admission, GateError> {
        let verified = self.verify(&arrival.message(), now)?;
        Ok(Admission {
            signed_at: verified.signed_at,
            ..Admission::default()
        })
    }
}

#[async_trait]
impl<G: Gate + ?Sized> Gate for Arc<G> {
    async fn admit(&self, arrival: &Arrival<'_>, now: DateTime<Utc>) -> Result<Admission, GateError> {
        (**self).admit(arrival, now).await
    }
}

#[cfg(feature = "jws")]
#[async_trait]
impl Gate for crate::provider::truelayer::TlVerifier {
    async fn admit(&self, arrival: &Arrival<'_>, now: DateTime<Utc>) -> Result<Admission, GateError> {
        let verified = self.verify(&arrival.message(), now)?;
        Ok(Admission {
            signed_at: verified.signed_at,
            ..Admission::default()
        })
    }
}
