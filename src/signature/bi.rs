//! Powens: `BI-Signature`.

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::scheme::write_joined;
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
        let head = head(method, endpoint, date.as_bytes()).concat();
        Signature::HmacSha256(key.mac(&[&head, body]))
    }
}

impl Scheme for BiSignature {
    fn stamp(&self, at: DateTime<Utc>, headers: &mut HeaderMap) -> Result<(), SignError> {
        let date = match plain_date(at) {
            Some(date) => HeaderValue::from_bytes(&date)?,
            None => HeaderValue::try_from(at.to_rfc3339_opts(SecondsFormat::Micros, true))?,
        };
        headers.insert(&DATE, date);
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
        write_joined(head(message.method.as_str(), endpoint, date), message.body, sink);
        Ok(Some(SignedDate::iso8601(date)))
    }

    fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError> {
        let value = signatures.newest_hmac_sha256()?.to_base64();
        headers.insert(&SIGNATURE, HeaderValue::try_from(value)?);
        Ok(())
    }
}

/// The date as `to_rfc3339_opts` writes it, but without a `String`. `None` for the years that take other than four digits,
/// and for leap seconds.
fn plain_date(at: DateTime<Utc>) -> Option<[u8; 27]> {
    let year = u32::try_from(at.year()).ok().filter(|year| *year <= 9_999)?;
    let micros = Some(at.timestamp_subsec_micros()).filter(|micros| *micros < 1_000_000)?;
    let mut date = *b"0000-00-00T00:00:00.000000Z";
    for (place, mut number) in [
        (0..4, year),
        (5..7, at.month()),
        (8..10, at.day()),
        (11..13, at.hour()),
        (14..16, at.minute()),
        (17..19, at.second()),
        (20..26, micros),
    ] {
        for digit in date[place].iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
    }
    Some(date)
}

/// What is signed before the body.
fn head<'a>(method: &'a str, endpoint: &'a str, date: &'a [u8]) -> [&'a [u8]; 6] {
    [method.as_bytes(), b".", endpoint.as_bytes(), b".", date, b"."]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dates_are_written_as_chrono_writes_them(
            seconds in -62_167_219_200_i64..253_402_300_800,
            nanos in 0_u32..1_999_999_999,
        ) {
            // Where the nanoseconds are those of a leap second, some instants have none.
            if let Some(at) = DateTime::from_timestamp(seconds, nanos) {
                let text = at.to_rfc3339_opts(SecondsFormat::Micros, true);
                match plain_date(at) {
                    Some(date) => prop_assert_eq!(std::str::from_utf8(&date).unwrap(), text),
                    None => prop_assert!(nanos >= 1_000_000_000),
                }
            }
        }
    }

    #[test]
    fn dates_of_other_years_are_written_too() {
        for year in ["-0001-01-01T00:00:00Z", "+10000-01-01T00:00:00Z"] {
            let (at, mut headers): (DateTime<Utc>, _) = (year.parse().unwrap(), HeaderMap::new());
            assert_eq!(plain_date(at), None);
            BiSignature::path_only().stamp(at, &mut headers).unwrap();
            assert_eq!(headers[&DATE], at.to_rfc3339_opts(SecondsFormat::Micros, true));
        }
    }
}
