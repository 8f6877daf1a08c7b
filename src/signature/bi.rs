//! Powens: `BI-Signature`.

use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{HmacKey, Message, Refusal, Scheme, SignError, Signature, Signatures, SignedDate};

static SIGNATURE: HeaderName = HeaderName::from_static("bi-signature");
static DATE: HeaderName = HeaderName::from_static("bi-signature-date");

/// Powens' scheme: `BI-Signature` holds the base64 of an HMAC-SHA256 over
/// `METHOD "." endpoint "." date "." body`, and `BI-Signature-Date` the date.
///
/// Powens' pages say that the endpoint is "the listening URL endpoint of the client" and show a path,
/// `/v1/webhook-listener`; receivers in the field all take the path without the query. Where a proxy rewrites
/// the path between the sender and here, say with [`verbatim`](Self::verbatim) what the sender signs.
///
/// The bytes of the date header are signed as they are. Whether a compressed body is signed before or after
/// compression is not published: verify the bytes received and, if that is a [`Refusal::Mismatch`], the inflated
/// ones. Either match needs the key.
///
/// Source: <https://docs.powens.com/documentation/integration-guides/webhooks>.
#[derive(Debug, Clone, Default)]
pub struct BiSignature {
    endpoint: Endpoint,
}

#[derive(Debug, Clone, Default)]
enum Endpoint {
    #[default]
    Path,
    PathAndQuery,
    Verbatim(Box<str>),
}

impl BiSignature {
    /// Signs the path of the request, without its query. The default.
    pub const fn path_only() -> Self {
        Self {
            endpoint: Endpoint::Path,
        }
    }

    /// Signs path and query.
    pub const fn path_and_query() -> Self {
        Self {
            endpoint: Endpoint::PathAndQuery,
        }
    }

    /// Signs this text in place of anything in the request.
    pub fn verbatim(endpoint: impl Into<Box<str>>) -> Self {
        Self {
            endpoint: Endpoint::Verbatim(endpoint.into()),
        }
    }

    /// The bare computation: each part as it is, no headers, no rules about dates.
    ///
    /// ```
    /// use ringback::signature::{BiSignature, HmacKey};
    ///
    /// let key = HmacKey::new("k3y")?;
    /// let mac = BiSignature::mac(&key, "POST", "/hooks/powens", "2022-06-27T11:08:52.577831Z", b"");
    /// assert_eq!(mac.to_base64(), "vJWyx9U7qSzAoYEKbHKrCq8fa38gpmMqGlDW+0tOMAA=");
    /// # Ok::<_, ringback::signature::KeyError>(())
    /// ```
    pub fn mac(key: &HmacKey, method: &str, endpoint: &str, date: &str, body: &[u8]) -> Signature {
        Signature::HmacSha256(key.mac(&pieces(method, endpoint, date.as_bytes(), body)))
    }
}

impl Scheme for BiSignature {
    fn stamp(&self, at: DateTime<Utc>, headers: &mut HeaderMap) -> Result<(), SignError> {
        let date = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        headers.insert(&DATE, HeaderValue::try_from(date)?);
        Ok(())
    }

    fn signatures(&self, message: &Message<'_>, found: &mut Signatures) -> Result<(), Refusal> {
        found.push(Signature::hmac_sha256_from_base64(
            message.sole_header(&SIGNATURE)?,
        )?)
    }

    fn canonical<'a>(
        &self,
        message: &Message<'a>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<SignedDate<'a>>, Refusal> {
        let endpoint = match &self.endpoint {
            Endpoint::Path => message.path(),
            Endpoint::PathAndQuery => message.target,
            Endpoint::Verbatim(endpoint) => endpoint,
        };
        let date = message.sole_header(&DATE)?;
        pieces(message.method.as_str(), endpoint, date, message.body)
            .into_iter()
            .for_each(sink);
        Ok(Some(SignedDate::iso8601(date)))
    }

    fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError> {
        let value = signatures.newest_hmac_sha256()?.to_base64();
        headers.insert(&SIGNATURE, HeaderValue::try_from(value)?);
        Ok(())
    }
}

fn pieces<'a>(method: &'a str, endpoint: &'a str, date: &'a [u8], body: &'a [u8]) -> [&'a [u8]; 7] {
    [
        method.as_bytes(),
        b".",
        endpoint.as_bytes(),
        b".",
        date,
        b".",
        body,
    ]
}
