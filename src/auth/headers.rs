//! Headers with fixed secret values.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::{AuthContext, AuthError, AuthErrorKind, AuthProvider};
use crate::secret::Secret;

/// Headers that are the same on every request, such as an API key.
///
/// ```
/// use http::HeaderName;
/// use ringback::auth::{AuthConfig, HeadersAuth};
///
/// let auth = HeadersAuth::default().with(HeaderName::from_static("x-api-key"), "t0p s3cret");
/// assert!(!format!("{:?}", AuthConfig::Headers(auth)).contains("t0p s3cret"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeadersAuth {
    /// Names and values. A header of the event that has one of these names is replaced.
    pub headers: Vec<(HeaderName, Secret)>,
}

impl HeadersAuth {
    /// These and one more.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<Secret>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Puts fixed headers on each request.
///
/// ```
/// use http::header::{AUTHORIZATION, HOST};
/// use ringback::auth::{HeadersAuth, HeadersProvider};
///
/// let auth = HeadersAuth::default().with(AUTHORIZATION, "ApiKey 1234");
/// assert!(HeadersProvider::new(&auth).is_ok());
/// assert!(HeadersProvider::new(&auth.with(HOST, "example.com")).is_err(), "not a proof of anything");
/// ```
#[derive(Debug, Clone)]
pub struct HeadersProvider(HeaderMap);

/// Why headers cannot be sent with every request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadersError {
    /// There are none, which proves nothing.
    #[error("there are no headers")]
    None,
    /// The header says how the message or its body is carried, which is not an authentication's to say.
    #[error("the header {0} cannot be set")]
    Reserved(HeaderName),
    /// The header is there twice.
    #[error("the header {0} is given twice")]
    Twice(HeaderName),
    /// The value is empty, which proves nothing.
    #[error("the header {0} has no value")]
    Empty(HeaderName),
    /// The value has characters that cannot stand in a header.
    #[error("the header {0} has a value that cannot be sent")]
    Value(HeaderName),
}

/// Headers that frame the message, that concern the connection alone, or that describe the event's body.
const RESERVED: [HeaderName; 12] = [
    HOST,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    TRANSFER_ENCODING,
    CONNECTION,
    TE,
    TRAILER,
    UPGRADE,
    EXPECT,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
];

/// The same, without names of their own in the `http` crate.
const RESERVED_UNNAMED: [&str; 2] = ["keep-alive", "proxy-connection"];

impl HeadersProvider {
    /// Checks the headers.
    ///
    /// # Errors
    ///
    /// [`AuthErrorKind::Misconfigured`], with a [`HeadersError`] as its source.
    pub fn new(config: &HeadersAuth) -> Result<Self, AuthError> {
        check(config)
            .map(Self)
            .map_err(|error| AuthError::with_source(AuthErrorKind::Misconfigured, error))
    }
}

fn check(config: &HeadersAuth) -> Result<HeaderMap, HeadersError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        if RESERVED.contains(name) || RESERVED_UNNAMED.contains(&name.as_str()) {
            return Err(HeadersError::Reserved(name.clone()));
        }
        if value.is_empty() {
            return Err(HeadersError::Empty(name.clone()));
        }
        let mut sent =
            HeaderValue::from_bytes(value.expose()).map_err(|_| HeadersError::Value(name.clone()))?;
        sent.set_sensitive(true);
        if headers.insert(name, sent).is_some() {
            return Err(HeadersError::Twice(name.clone()));
        }
    }
    if headers.is_empty() {
        return Err(HeadersError::None);
    }
    Ok(headers)
}

#[async_trait]
impl AuthProvider for HeadersProvider {
    async fn authenticate(&self, request: &mut Request<Bytes>, _: &AuthContext<'_>) -> Result<(), AuthError> {
        for (name, value) in &self.0 {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HeaderName = HeaderName::from_static("x-key");

    fn why(auth: &HeadersAuth) -> HeadersError {
        check(auth).unwrap_err()
    }

    #[test]
    fn what_cannot_be_sent_as_a_proof_is_refused() {
        let one = HeadersAuth::default().with(KEY, "value");
        assert!(check(&one).is_ok());
        assert_eq!(why(&HeadersAuth::default()), HeadersError::None);
        assert_eq!(why(&one.clone().with(KEY, "other")), HeadersError::Twice(KEY));
        assert_eq!(
            why(&HeadersAuth::default().with(KEY, "")),
            HeadersError::Empty(KEY)
        );
        for value in ["a\r\nb", "a\0", "\u{7f}"] {
            assert_eq!(
                why(&HeadersAuth::default().with(KEY, value)),
                HeadersError::Value(KEY)
            );
        }
        for name in ["host", "Content-Length", "transfer-encoding", "keep-alive"] {
            let name: HeaderName = name.parse().unwrap();
            assert_eq!(
                why(&one.clone().with(name.clone(), "x")),
                HeadersError::Reserved(name)
            );
        }
    }
}
