//! What is compressed on its way.

use serde::{Deserialize, Serialize};

/// Whether the bodies of requests are compressed.
///
/// A receiver must be known to take it: many answer 400 or 415 to a body that is compressed, and a few verify signatures
/// over what it inflates to. Here the signature is over the bytes that are sent. The receivers of this crate take gzip with
/// the feature `gzip`.
///
/// ```
/// use ringback::delivery::Compression;
///
/// let compression = Compression::gzip_above(8 * 1024);
/// assert!(compression.is_for(10_000) && !compression.is_for(100));
/// assert!(!Compression::default().is_for(usize::MAX));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Compression {
    /// They go out as they are.
    #[default]
    None,
    /// Bodies of more than so many bytes go out with `content-encoding: gzip`, where that makes them smaller.
    Gzip {
        /// Bytes of body up to which it is not worth it. Some 1400 fit into one packet either way.
        above: usize,
    },
}

impl Compression {
    /// gzip for bodies of more than so many bytes.
    pub fn gzip_above(bytes: usize) -> Self {
        Self::Gzip { above: bytes }
    }

    /// Whether a body of so many bytes is to be compressed.
    pub fn is_for(self, bytes: usize) -> bool {
        matches!(self, Self::Gzip { above } if bytes > above)
    }
}
