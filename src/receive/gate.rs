//! Whether a message is authentic.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::signature::{Message, Refusal, Verifier};

/// Lets authentic messages in, and nothing else.
///
/// A [`Verifier`] is a gate; so are [`UrlSecret`](super::UrlSecret) and [`BearerToken`](super::BearerToken). One of
/// one's own can look keys up by the request's parts, for many tenants on one route.
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
/// The reason, for the receiver's own log. The sender hears the same for all of them.
///
/// # Cancellation
///
/// `admit` may be dropped at any point, when the sender hangs up.
///
/// ```
/// use async_trait::async_trait;
/// use chrono::{DateTime, Utc};
/// use ringback::receive::{Admission, Gate};
/// use ringback::signature::{HmacKey, MaxAge, Message, Refusal, TruvSignature, Verifier};
///
/// /// Each tenant has a key of its own, named in the path.
/// #[derive(Debug)]
/// struct ByTenant;
///
/// #[async_trait]
/// impl Gate for ByTenant {
///     async fn admit(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<Admission, Refusal> {
///         let key = match message.path() {
///             "/hooks/acme" => HmacKey::new("acme's secret"), // an application would ask its database
///             _ => return Err(Refusal::UnknownKey),
///         };
///         let key = key.map_err(|_| Refusal::UnknownKey)?;
///         Verifier::new(TruvSignature, [key], MaxAge::unlimited()).verify(message, now)?;
///         Ok(Admission::of_sender("acme"))
///     }
/// }
/// ```
#[async_trait]
pub trait Gate: Debug + Send + Sync + 'static {
    /// Lets the message in, or says why not.
    async fn admit(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<Admission, Refusal>;
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
    async fn admit(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<Admission, Refusal> {
        let verified = self.verify(message, now)?;
        Ok(Admission {
            signed_at: verified.signed_at,
            ..Admission::default()
        })
    }
}

#[async_trait]
impl<G: Gate + ?Sized> Gate for Arc<G> {
    async fn admit(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<Admission, Refusal> {
        (**self).admit(message, now).await
    }
}

#[cfg(feature = "jws")]
#[async_trait]
impl Gate for crate::provider::truelayer::TlVerifier {
    async fn admit(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<Admission, Refusal> {
        let verified = self.verify(message, now)?;
        Ok(Admission {
            signed_at: verified.signed_at,
            ..Admission::default()
        })
    }
}
