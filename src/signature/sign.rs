//! Signing.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::header::InvalidHeaderValue;
use http::{HeaderMap, Method, Request};
use thiserror::Error;

use super::scheme::Canonical;
use super::{Message, Refusal, Scheme, Signatures, SigningKey};

/// Signs messages by one scheme, with the newest key and, if told so, with older ones beside it.
///
/// To be called anew for every attempt: what an earlier one left in the headers is replaced.
#[derive(Debug, Clone)]
pub struct Signer {
    scheme: Arc<dyn Scheme>,
    keys: Vec<SigningKey>,
}

impl Signer {
    /// Signs with one key: the newest.
    pub fn new(scheme: impl Scheme, key: impl Into<SigningKey>) -> Self {
        Self {
            scheme: Arc::new(scheme),
            keys: vec![key.into()],
        }
    }

    /// Signs with this older key too, so that receivers may change keys in their own time, where the scheme
    /// has room for several signatures ([`StandardWebhooks`](super::StandardWebhooks) has). Elsewhere the
    /// newest key's is sent alone.
    #[must_use]
    pub fn also(mut self, key: impl Into<SigningKey>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Signs a message dated `at`, and puts what proves it into the headers.
    ///
    /// `target` is the path and query that will be in the request line, `body` the bytes that will be sent,
    /// compressed if they will be.
    ///
    /// # Errors
    ///
    /// [`SignError::Unsignable`] if the headers lack something the scheme signs and does not supply itself;
    /// [`SignError::KeyKind`] if it has no room for signatures by these keys.
    pub fn sign(
        &self,
        method: &Method,
        target: &str,
        headers: &mut HeaderMap,
        body: &[u8],
        at: DateTime<Utc>,
    ) -> Result<(), SignError> {
        self.scheme.stamp(at, headers)?;
        let message = Message {
            method,
            target,
            headers,
            body,
        };
        let canonical = Canonical {
            scheme: &*self.scheme,
            message,
        };
        let mut signatures = Signatures::default();
        for key in &self.keys {
            signatures.push(key.sign(canonical)?)?;
        }
        self.scheme.attach(&signatures, headers)
    }

    /// [`sign`](Self::sign) for a request that is about to be sent.
    ///
    /// # Errors
    ///
    /// Those of [`sign`](Self::sign).
    pub fn sign_request<B: AsRef<[u8]>>(
        &self,
        request: &mut Request<B>,
        at: DateTime<Utc>,
    ) -> Result<(), SignError> {
        let mut headers = std::mem::take(request.headers_mut());
        let Message {
            method, target, body, ..
        } = Message::from(&*request);
        let signed = self.sign(method, target, &mut headers, body, at);
        *request.headers_mut() = headers;
        signed
    }
}

/// Why a message was not signed. The headers may be left half written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// It lacks something that the scheme signs, such as Standard Webhooks' `webhook-id`.
    #[error("the message cannot be signed: {0}")]
    Unsignable(#[from] Refusal),
    /// The scheme has no room for signatures by keys of this kind.
    #[error("the scheme has no room for signatures by this kind of key")]
    KeyKind,
    /// A value of the scheme's cannot stand in a header.
    #[error("a value of the scheme's cannot stand in a header")]
    HeaderValue(#[from] InvalidHeaderValue),
}
