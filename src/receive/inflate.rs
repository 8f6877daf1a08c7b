//! gzip, within bounds.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

/// Why a body was not inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InflateError {
    Malformed,
    TooLarge,
}

/// Inflates a body, and stops as soon as it is larger than `limit`: memory grows with what is really there, never
/// with what the body claims.
pub(super) fn inflate(body: &[u8], limit: usize) -> Result<Bytes, InflateError> {
    let mut inflated = Vec::new();
    let allowed = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(body)
        .take(allowed)
        .read_to_end(&mut inflated)
        .map_err(|_| InflateError::Malformed)?;
    if inflated.len() > limit {
        return Err(InflateError::TooLarge);
    }
    Ok(inflated.into())
}

#[cfg(test)]
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
