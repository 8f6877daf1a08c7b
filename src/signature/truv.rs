//! Truv: `X-WEBHOOK-SIGN`.

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Message, Refusal, Scheme, SignError, Signature, Signatures, SignedDate};

static SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-sign");

/// Truv's scheme: `X-WEBHOOK-SIGN: v1=`, then the HMAC-SHA256 of the body in lower-case hexadecimal. The key is
/// the access secret as text.
///
/// No date is signed, so an old message is as good as a new one: de-duplicate on the body's `webhook_id`.
///
/// Source: <https://truv.com/docs/api-reference/security>.
///
/// ```
/// use chrono::DateTime;
/// use http::Request;
/// use ringback::signature::{HmacKey, MaxAge, Message, TruvSignature, Verifier};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let request = Request::post("/hook")
///     .header("X-WEBHOOK-SIGN", "v1=b38559f65496c7f4e3b158ea827544d178eaa1ae2da892a531026526f1a5b8f1")
///     .body("{}")?;
/// let verifier = Verifier::new(TruvSignature, [HmacKey::new("unit-test-secret")?], MaxAge::unlimited());
/// assert!(verifier.verify(&Message::from(&request), DateTime::UNIX_EPOCH).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TruvSignature;

impl Scheme for TruvSignature {
    fn stamp(&self, _at: DateTime<Utc>, _headers: &mut HeaderMap) -> Result<(), SignError> {
        Ok(())
    }

    fn signatures(&self, message: &Message<'_>, found: &mut Signatures) -> Result<(), Refusal> {
        let header = message.sole_header(&SIGNATURE)?;
        let hex = header.strip_prefix(b"v1=").ok_or(Refusal::MalformedSignature)?;
        found.push(Signature::hmac_sha256_from_hex(hex)?)
    }

    fn canonical<'a>(
        &self,
        message: &Message<'a>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<SignedDate<'a>>, Refusal> {
        sink(message.body);
        Ok(None)
    }

    fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError> {
        let value = format!("v1={}", signatures.newest_hmac_sha256()?.to_hex());
        headers.insert(&SIGNATURE, HeaderValue::try_from(value)?);
        Ok(())
    }
}
