//! Whether a message is authentic.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::secret::Secret;
use crate::signature::{Message, Refusal, Verifier};

/// Lets authentic messages in, and nothing else.
///
/// A [`Verifier`] is a gate; so is a [`UrlSecret`]. One of one's own can look keys up by the request's parts, for
/// many tenants on one route.
///
/// # Contract
///
/// `Ok` only if whoever sent the message has proved who they are, for these very bytes or, where the provider signs
/// nothing, for this connection. A gate sees the body as it came over the wire and, where that was compressed and
/// refused, once more as it is inflated.
///
/// # Errors
///
/// The reason for the receiver's own log. The sender hears the same for all of them.
///
/// ```
/// use async_trait::async_trait;
/// use chrono::{DateTime, Utc};
/// use ringback::receive::Gate;
/// use ringback::signature::{HmacKey, MaxAge, Message, Refusal, TruvSignature, Verifier};
///
/// /// Each tenant has a key of its own, named in the path.
/// #[derive(Debug)]
/// struct ByTenant;
///
/// #[async_trait]
/// impl Gate for ByTenant {
///     async fn admit(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<(), Refusal> {
///         let key = match message.path() {
///             "/hooks/acme" => HmacKey::new("acme's secret"), // an application would ask its database
///             _ => return Err(Refusal::UnknownKey),
///         };
///         let key = key.map_err(|_| Refusal::UnknownKey)?;
///         Verifier::new(TruvSignature, [key], MaxAge::unlimited()).verify(message, now)?;
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Gate: Debug + Send + Sync + 'static {
    /// Lets the message in, or says why not.
    async fn admit(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<(), Refusal>;
}

#[async_trait]
impl Gate for Verifier {
    async fn admit(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.verify(message, now).map(|_| ())
    }
}

/// A secret in the query of one's own webhook URL, for providers that sign nothing (TrueLayer's Data API v1,
/// Yodlee). Compared in constant time.
///
/// URLs end up in access logs on the way, so this proves less than a signature does. Fetch what the message
/// is about from the provider's API before acting on it.
///
/// ```
/// use ringback::receive::UrlSecret;
/// use ringback::secret::Secret;
///
/// // For https://example.com/hook?token=hunter2
/// let gate = UrlSecret::new("token", Secret::from("hunter2"));
/// ```
#[derive(Debug)]
pub struct UrlSecret {
    parameter: String,
    secrets: Vec<Secret>,
}

impl UrlSecret {
    /// The secret is the value of that query parameter, percent-decoded.
    pub fn new(parameter: impl Into<String>, secret: Secret) -> Self {
        Self {
            parameter: parameter.into(),
            secrets: vec![secret],
        }
    }

    /// Takes this one too, while URLs are being changed.
    #[must_use]
    pub fn or(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }
}

#[async_trait]
impl Gate for UrlSecret {
    async fn admit(&self, message: &Message<'_>, _now: DateTime<Utc>) -> Result<(), Refusal> {
        let query = message
            .target
            .split_once('?')
            .map(|(_, query)| query)
            .unwrap_or_default();
        let mut values = crate::query::pairs(query).filter(|(name, _)| *name == self.parameter);
        let (Some((_, value)), None) = (values.next(), values.next()) else {
            return Err(Refusal::MalformedSignature);
        };
        let given = Secret::new(value.as_bytes());
        let known = self
            .secrets
            .iter()
            .filter(|secret| !secret.is_empty() && **secret == given)
            .count();
        if known > 0 { Ok(()) } else { Err(Refusal::Mismatch) }
    }
}
