//! Signing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use http::header::InvalidHeaderName;
use http::{HeaderName, HeaderValue, Request};
use p521::ecdsa::Signature;
use p521::ecdsa::signature::Signer as _;

use super::TlSigningKey;
use super::jws::{JoseHeader, TL_SIGNATURE, encode};
use super::verify::TIMESTAMP;
use crate::json::UrlText;
use crate::signature::{Message, SignError};

/// Makes `Tl-Signature`s: for webhooks as TrueLayer sends them, or for requests to TrueLayer's API.
///
/// Signing takes no randomness (RFC 6979), so one message always gets one signature.
///
/// ```
/// use chrono::DateTime;
/// use http::Request;
/// use ringback::provider::truelayer::{TlSigner, TlSigningKey, TlVerifier};
/// use ringback::signature::{MaxAge, Message};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scalar = [1; 66];
/// let key = TlSigningKey::from_scalar("key-1", &scalar)?; // from a vault: see also `from_pem`
/// let keys = key.public();
///
/// let mut request = Request::post("/hook")
///     .header("Content-Type", "application/json")
///     .body(r#"{"event_id":"18b2"}"#)?;
/// let now = DateTime::from_timestamp(1_638_186_175, 0).unwrap();
/// TlSigner::new(key).sign_request(&mut request, now)?;
///
/// let verified = TlVerifier::new(keys, MaxAge::minutes(5)).verify(&Message::from(&request), now)?;
/// assert_eq!(verified.signed_at, Some(now));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TlSigner {
    key: TlSigningKey,
    headers: Vec<String>,
    jku: Option<UrlText>,
}

impl TlSigner {
    /// Signs with that key what TrueLayer signs of its webhooks: method, path, body, and the headers
    /// `X-Tl-Webhook-Timestamp` and `Content-Type`.
    pub fn new(key: TlSigningKey) -> Self {
        Self {
            key,
            headers: ["X-Tl-Webhook-Timestamp", "Content-Type"]
                .map(str::to_owned)
                .into(),
            jku: None,
        }
    }

    /// Signs these headers instead, in this order and casing: `["Idempotency-Key"]` for requests to TrueLayer's
    /// API.
    ///
    /// # Errors
    ///
    /// If one is no name of a header.
    pub fn covering<N: Into<String>>(
        self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, InvalidHeaderName> {
        let headers: Vec<String> = names.into_iter().map(Into::into).collect();
        for name in &headers {
            HeaderName::try_from(name)?;
        }
        Ok(Self { headers, ..self })
    }

    /// Says where the public key is published, as TrueLayer's webhooks do.
    #[must_use]
    pub fn published_at(self, jku: impl Into<UrlText>) -> Self {
        Self {
            jku: Some(jku.into()),
            ..self
        }
    }

    /// Signs a request that is about to be sent. Where `X-Tl-Webhook-Timestamp` is signed, it is set to `at`.
    /// What an earlier attempt left in the headers is replaced.
    ///
    /// # Errors
    ///
    /// [`SignError::Unsignable`] if a header that is signed is not there, or is there twice.
    pub fn sign_request<B: AsRef<[u8]>>(
        &self,
        request: &mut Request<B>,
        at: DateTime<Utc>,
    ) -> Result<(), SignError> {
        let is_dated = self
            .headers
            .iter()
            .any(|name| name.eq_ignore_ascii_case(TIMESTAMP.as_str()));
        if is_dated {
            let at = HeaderValue::try_from(at.to_rfc3339_opts(SecondsFormat::Secs, true))?;
            request.headers_mut().insert(&TIMESTAMP, at);
        }
        let signature = self.sign(&Message::from(&*request))?;
        request.headers_mut().insert(&TL_SIGNATURE, signature);
        Ok(())
    }

    /// The `Tl-Signature` of a message.
    ///
    /// The path is signed without a slash at its end, as TrueLayer's description says.
    ///
    /// # Errors
    ///
    /// As [`sign_request`](Self::sign_request).
    pub fn sign(&self, message: &Message<'_>) -> Result<HeaderValue, SignError> {
        let header = JoseHeader::new(self.key.kid(), self.headers.join(","), self.jku.clone());
        let path = match message.path() {
            "/" => "/",
            path => path.strip_suffix('/').unwrap_or(path),
        };
        let (encoded, signed) = encode(&header, message, path)?;
        let signature: Signature = self.key.key.sign(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.to_bytes());
        Ok(HeaderValue::try_from(format!("{encoded}..{signature}"))?)
    }
}
