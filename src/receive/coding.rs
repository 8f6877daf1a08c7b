//! What was done to a body for its way here, and how to undo it within bounds.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    #[cfg(feature = "gzip")]
    Gzip,
}

impl Coding {
    /// What the headers say; `None` if that is several codings, one over the other, or one that is not known. RFC
    /// 9110, section 8.4.1.3, has `x-gzip` mean gzip.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        let coding = codings
            .next()
            .map_or("identity".as_bytes(), HeaderValue::as_bytes);
        match coding.to_ascii_lowercase().as_slice() {
            _ if codings.next().is_some() => None,
            b"identity" => Some(Self::Identity),
            #[cfg(feature = "gzip")]
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// Whether a body begins as gzip does, which no text and no JSON does.
#[cfg(feature = "gzip")]
pub(super) fn looks_like_gzip(body: &[u8]) -> bool {
    body.starts_with(&[0x1f, 0x8b])
}

/// Why a body was not inflated.
#[cfg(feature = "gzip")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InflateError {
    Malformed,
    TooLarge,
}

/// How many gzip streams, one after the other, a body may consist of. One is usual; each costs the setting up of a
/// decoder, and in a large body there is room for a million that hold nothing.
#[cfg(feature = "gzip")]
const MOST_STREAMS: usize = 1024;

/// Inflates a body, and stops as soon as it is larger than `limit`: memory grows with what is really there, never
/// with what the body claims.
#[cfg(feature = "gzip")]
pub(super) fn inflate(body: &[u8], limit: usize) -> Result<bytes::Bytes, InflateError> {
    use std::io::Read;

    use flate2::bufread::GzDecoder;

    let mut inflated = Vec::new();
    let mut rest = body;
    for _ in 0..MOST_STREAMS {
        let mut stream = GzDecoder::new(rest);
        let allowed = (limit - inflated.len()).saturating_add(1);
        (&mut stream)
            .take(u64::try_from(allowed).unwrap_or(u64::MAX))
            .read_to_end(&mut inflated)
            .map_err(|_| InflateError::Malformed)?;
        if inflated.len() > limit {
            return Err(InflateError::TooLarge);
        }
        rest = stream.into_inner();
        if rest.is_empty() {
            return Ok(inflated.into());
        }
    }
    Err(InflateError::TooLarge)
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn streams_follow_each_other_and_nothing_else_does() {
        let two = [gzip(b"ring"), gzip(b"back")].concat();
        assert_eq!(inflate(&two, 8).unwrap(), "ringback");
        assert_eq!(inflate(&two, 7), Err(InflateError::TooLarge));
        for after in [&b"\0"[..], b"ringback", &two[..20]] {
            assert_eq!(
                inflate(&[&two, after].concat(), 100),
                Err(InflateError::Malformed)
            );
        }
    }

    #[test]
    fn streams_that_hold_nothing_are_counted() {
        assert_eq!(inflate(&gzip(b"").repeat(MOST_STREAMS), 0).unwrap(), "");
        let many = gzip(b"").repeat(16 * 1024 * 1024 / 20);
        assert_eq!(inflate(&many, 100), Err(InflateError::TooLarge));
    }

    #[test]
    fn codings_are_alone_or_refused() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Coding::of(&headers)
        };
        for (values, coding) in [
            (&[][..], Some(Coding::Identity)),
            (&["identity"], Some(Coding::Identity)),
            (&["gzip"], Some(Coding::Gzip)),
            (&["GZip"], Some(Coding::Gzip)),
            (&["x-gzip"], Some(Coding::Gzip)),
            (&["br"], None),
            (&["gzip, gzip"], None),
            (&["gzip", "gzip"], None),
            (&["identity", "gzip"], None),
            (&[""], None),
        ] {
            assert_eq!(of(values), coding, "{values:?}");
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let packed = gzip(&[7; 1000]);
        assert_eq!(inflate(&packed, 1000).unwrap().len(), 1000);
        assert_eq!(inflate(&packed, 999), Err(InflateError::TooLarge));
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..40) {
            let _ = inflate(&bytes, 100);
            let mut packed = gzip(&bytes);
            prop_assert_eq!(inflate(&packed, 300).unwrap(), bytes);
            packed.truncate(packed.len().saturating_sub(cut + 1));
            prop_assert_eq!(inflate(&packed, 300), Err(InflateError::Malformed));
        }
    }
}
