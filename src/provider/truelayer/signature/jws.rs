//! The header's own form, and the bytes that it signs.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use p521::ecdsa::Signature;
use serde::{Deserialize, Serialize};

use crate::json::{Maybe, RawJson, UrlText};
use crate::signature::{Message, Refusal};

pub(super) static TL_SIGNATURE: HeaderName = HeaderName::from_static("tl-signature");

/// The longest `Tl-Signature` that is read. Published ones have about 450 bytes.
const LONGEST: usize = 8 * 1024;

/// What a `Tl-Signature` says of itself. Nothing of it is verified: it serves to find the key, and
/// [`TlVerifier`](super::TlVerifier) does the rest.
pub struct TlSignature<'a> {
    encoded_header: &'a str,
    header: JoseHeader,
    pub(super) signature: Signature,
}

/// The JOSE header, in the order TrueLayer writes it.
#[derive(Deserialize, Serialize)]
pub(super) struct JoseHeader {
    alg: String,
    kid: String,
    tl_version: String,
    #[serde(default)]
    tl_headers: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jku: Option<UrlText>,
    /// Extensions that a reader must understand or else refuse (RFC 7515, 4.1.11). None is understood here.
    #[serde(default, skip_serializing_if = "Maybe::is_absent")]
    crit: Maybe<RawJson>,
}

impl JoseHeader {
    pub(super) fn new(kid: &str, tl_headers: String, jku: Option<UrlText>) -> Self {
        Self {
            alg: "ES512".to_owned(),
            kid: kid.to_owned(),
            tl_version: "2".to_owned(),
            tl_headers,
            jku,
            crit: Maybe::Absent,
        }
    }

    fn is_supported(&self) -> bool {
        self.alg == "ES512" && self.tl_version == "2" && self.crit.is_absent()
    }
}

impl<'a> TlSignature<'a> {
    /// Reads the header of a message.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingHeader`], [`Refusal::RepeatedHeader`]; [`Refusal::MalformedSignature`] unless it is a
    /// JWS of version 2 by ES512 with detached content, strictly encoded, and of at most 8 KiB.
    pub fn of(message: &Message<'a>) -> Result<Self, Refusal> {
        let value = message.sole_header(&TL_SIGNATURE)?;
        Self::read(value).ok_or(Refusal::MalformedSignature)
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        if value.len() > LONGEST {
            return None;
        }
        let (encoded_header, rest) = std::str::from_utf8(value).ok()?.split_once('.')?;
        let encoded_signature = rest.strip_prefix('.')?; // between the two stands what is signed, if not detached
        let json = URL_SAFE_NO_PAD.decode(encoded_header).ok()?;
        let header = read_object(&json).filter(JoseHeader::is_supported)?;
        let signature = URL_SAFE_NO_PAD.decode(encoded_signature).ok()?;
        let signature = Signature::from_slice(&signature).ok()?;
        Some(Self {
            encoded_header,
            header,
            signature,
        })
    }

    /// The name of the key that it was made with.
    pub fn kid(&self) -> &str {
        &self.header.kid
    }

    /// Where it says that the key is published. A receiver that fetches from a place because the message
    /// names it believes whoever sent the message, so this must be one of the known places
    /// ([`TlVerifier::LIVE_KEYS`](super::TlVerifier::LIVE_KEYS) and
    /// [`SANDBOX_KEYS`](super::TlVerifier::SANDBOX_KEYS)).
    pub fn jku(&self) -> Option<&UrlText> {
        self.header.jku.as_ref()
    }

    /// The names of the headers it says to cover, in the order and casing that they are signed in.
    pub fn signed_headers(&self) -> impl Iterator<Item = &str> {
        names(&self.header.tl_headers)
    }

    /// Whether it says to cover that header.
    pub fn covers(&self, name: &HeaderName) -> bool {
        self.signed_headers()
            .any(|signed| signed.eq_ignore_ascii_case(name.as_str()))
    }

    /// The bytes under the signature, if the sender took the path to be this.
    pub(super) fn signed_bytes(&self, message: &Message<'_>, path: &str) -> Result<String, Refusal> {
        signed_bytes(self.encoded_header, &self.header, message, path)
    }
}

/// Leaves out the signature itself, like every `Debug` of one here.
impl fmt::Debug for TlSignature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlSignature")
            .field("kid", &self.kid())
            .field("jku", &self.jku())
            .field("tl_headers", &self.header.tl_headers)
            .finish_non_exhaustive()
    }
}

/// A JSON object, and not an array of its values, which serde takes too.
fn read_object(json: &[u8]) -> Option<JoseHeader> {
    let is_object = json.trim_ascii_start().starts_with(b"{");
    serde_json::from_slice(json).ok().filter(|_| is_object)
}

fn names(tl_headers: &str) -> impl Iterator<Item = &str> {
    tl_headers.split(',').filter(|name| !name.is_empty())
}

/// The encoded header, and the bytes that it signs together with the message.
pub(super) fn encode(
    header: &JoseHeader,
    message: &Message<'_>,
    path: &str,
) -> Result<(String, String), Refusal> {
    let json = serde_json::to_vec(header).map_err(|_| Refusal::MalformedSignature)?;
    let encoded = URL_SAFE_NO_PAD.encode(json);
    let signed = signed_bytes(&encoded, header, message, path)?;
    Ok((encoded, signed))
}

/// What JWS signs: the encoded header, a dot, and the encoded payload, which is made of the message.
fn signed_bytes(
    encoded_header: &str,
    header: &JoseHeader,
    message: &Message<'_>,
    path: &str,
) -> Result<String, Refusal> {
    let payload = payload(&header.tl_headers, message, path)?;
    let mut signed = String::with_capacity(encoded_header.len() + 1 + payload.len().div_ceil(3) * 4);
    signed.push_str(encoded_header);
    signed.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut signed);
    Ok(signed)
}

/// `METHOD path`, the headers in the order and casing of `tl_headers`, each with a line feed, and the body.
fn payload(tl_headers: &str, message: &Message<'_>, path: &str) -> Result<Vec<u8>, Refusal> {
    let mut payload = Vec::with_capacity(message.body.len() + 256);
    let mut seen: Vec<HeaderName> = Vec::new();
    for piece in [message.method.as_str(), " ", path, "\n"] {
        payload.extend_from_slice(piece.as_bytes());
    }
    for name in names(tl_headers) {
        let header = HeaderName::try_from(name).map_err(|_| Refusal::MalformedSignature)?;
        if seen.contains(&header) {
            return Err(Refusal::MalformedSignature); // nobody signs a header twice; it would only make work
        }
        let value = message.sole_header(&header)?;
        for piece in [name.as_bytes(), b": ", value, b"\n"] {
            payload.extend_from_slice(piece);
        }
        seen.push(header);
    }
    payload.extend_from_slice(message.body);
    Ok(payload)
}
