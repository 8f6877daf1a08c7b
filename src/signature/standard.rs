//! Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::scheme::write_joined;
use super::{HmacKey, KeyError, Message, Refusal, Scheme, SignError, Signature, Signatures, SignedDate};

static ID: HeaderName = HeaderName::from_static("webhook-id");
static TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The scheme of the Standard Webhooks specification, over `id "." timestamp "." body`.
///
/// `webhook-signature` holds one signature or several, a space between them, each a version, a comma and
/// base64: `v1` made with an [`HmacKey`], `v1a` (feature `ed25519`) with an `Ed25519SigningKey`. When
/// verifying, entries of other versions are skipped, as are those that are no signature, so that a sender can
/// add what this side does not know.
///
/// When signing, `webhook-id` must be among the headers already, the same for every attempt; receivers
/// de-duplicate on it.
///
/// Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
///
/// ```
/// use chrono::DateTime;
/// use http::Request;
/// use ringback::signature::{HmacKey, Signer, StandardWebhooks};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let newest = HmacKey::from_whsec("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let older = HmacKey::from_whsec("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")?;
/// let mut request = Request::post("/hook")
///     .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
///     .body(r#"{"test": 2432232314}"#)?;
/// let at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
/// Signer::new(StandardWebhooks, newest).also(older).sign_request(&mut request, at)?;
///
/// assert_eq!(request.headers()["webhook-timestamp"], "1614265330");
/// let signatures = request.headers()["webhook-signature"].to_str()?;
/// assert!(signatures.starts_with("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct StandardWebhooks;

impl Scheme for StandardWebhooks {
    fn stamp(&self, at: DateTime<Utc>, headers: &mut HeaderMap) -> Result<(), SignError> {
        headers.insert(&TIMESTAMP, HeaderValue::from(at.timestamp()));
        Ok(())
    }

    fn signatures(&self, message: &Message<'_>, found: &mut Signatures) -> Result<(), Refusal> {
        let mut entries = message
            .sole_header(&SIGNATURE)?
            .split(|byte| *byte == b' ')
            .filter_map(known);
        entries.try_for_each(|signature| found.push(signature))
    }

    fn canonical<'a>(
        &self,
        message: &Message<'a>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<SignedDate<'a>>, Refusal> {
        let id = message.sole_header(&ID)?;
        let timestamp = message.sole_header(&TIMESTAMP)?;
        write_joined([id, b".", timestamp, b"."], message.body, sink);
        Ok(Some(SignedDate::unix_seconds(timestamp)))
    }

    fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError> {
        let entries: Vec<String> = signatures.iter().map(entry).collect();
        headers.insert(&SIGNATURE, HeaderValue::try_from(entries.join(" "))?);
        Ok(())
    }
}

fn entry(signature: &Signature) -> String {
    let version = match signature {
        Signature::HmacSha256(_) => "v1",
        Signature::Ed25519(_) => "v1a",
    };
    format!("{version},{}", signature.to_base64())
}

/// Reads an entry of a version known here.
fn known(entry: &[u8]) -> Option<Signature> {
    if let Some(encoded) = entry.strip_prefix(b"v1,") {
        return Signature::hmac_sha256_from_base64(encoded).ok();
    }
    if let Some(encoded) = entry.strip_prefix(b"v1a,") {
        return Signature::ed25519_from_base64(encoded).ok();
    }
    None
}

impl HmacKey {
    /// Reads a secret of Standard Webhooks: `whsec_` (which may be left out) and the base64 of 24 to 64 bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`], [`KeyError::NotBase64`], [`KeyError::Length`].
    pub fn from_whsec(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let secret = STANDARD
            .decode(encoded)
            .map(Zeroizing::new)
            .map_err(|_| KeyError::NotBase64)?;
        match secret.len() {
            0 => Err(KeyError::Empty),
            24..=64 => Self::new(&*secret),
            _ => Err(KeyError::Length),
        }
    }
}
