//! How much of a response is read.

use http::HeaderMap;

use super::error::{SendError, SendErrorKind};

/// How much of a response a sender reads. Whatever is larger is an error
/// ([`ResponseTooLarge`](SendErrorKind::ResponseTooLarge)), found without reading much further.
///
/// How long a response may take is not here: the caller of a sender sets its deadline by dropping the future.
///
/// ```
/// use ringback::transport::ResponseLimits;
///
/// let limits = ResponseLimits::default().with_body(16 * 1024);
/// assert_eq!((limits.body, limits.headers), (16_384, 32_768));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseLimits {
    /// Bytes of body. By default 1 MiB: receivers answer webhooks with next to nothing, and each request in
    /// flight may hold this much.
    pub body: usize,
    /// Bytes of headers, counted as lines: name, value, and four for the separators. By default 32 KiB, twice
    /// what common servers take from clients. A sender may have a lower limit of its own, and stricter ones on the
    /// number of headers.
    pub headers: usize,
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self {
            body: 1024 * 1024,
            headers: 32 * 1024,
        }
    }
}

impl ResponseLimits {
    /// Reads at most this many bytes of body.
    #[must_use]
    pub fn with_body(self, bytes: usize) -> Self {
        Self { body: bytes, ..self }
    }

    /// Reads at most this many bytes of headers.
    #[must_use]
    pub fn with_headers(self, bytes: usize) -> Self {
        Self {
            headers: bytes,
            ..self
        }
    }

    /// Refuses headers over the limit. For senders, once the head of a response is there.
    ///
    /// # Errors
    ///
    /// [`ResponseTooLarge`](SendErrorKind::ResponseTooLarge).
    pub fn check_headers(&self, headers: &HeaderMap) -> Result<(), SendError> {
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if bytes > self.headers {
            Err(SendErrorKind::ResponseTooLarge.into())
        } else {
            Ok(())
        }
    }

    /// Refuses a body over the limit. For senders, on the length announced and on what was read so far.
    ///
    /// # Errors
    ///
    /// [`ResponseTooLarge`](SendErrorKind::ResponseTooLarge).
    pub fn check_body_length(&self, bytes: u64) -> Result<(), SendError> {
        if usize::try_from(bytes).is_ok_and(|bytes| bytes <= self.body) {
            Ok(())
        } else {
            Err(SendErrorKind::ResponseTooLarge.into())
        }
    }
}
