use http::Uri;
use thiserror::Error;

use crate::query::{self, AddError};
use crate::secret::Secret;

/// The name of a query parameter that carries a secret in `webhook_uri`: the one proof that an unsigned
/// callback can have \[TL3\]. Put there by who asks to be rung back, and checked by the same when rung.
///
/// The secret is then in the sender's and every proxy's access logs, so it should be one per task or expire
/// soon.
///
/// ```
/// use http::Uri;
/// use ringback::provider::truelayer::SecretParameter;
/// use ringback::secret::Secret;
///
/// let parameter = SecretParameter::new("k");
/// let secret = Secret::from("s3cret&more");
/// let uri = parameter.put(&Uri::from_static("https://hooks.example.net/tl"), &secret)?;
/// assert_eq!(uri, "https://hooks.example.net/tl?k=s3cret%26more");
///
/// assert!(parameter.check(&uri, &[secret]));
/// assert!(!parameter.check(&uri, &[Secret::from("guess")]));
/// # Ok::<(), ringback::provider::truelayer::SecretParameterError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretParameter(String);

/// Why a secret cannot be put into a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecretParameterError {
    /// An empty secret proves nothing.
    #[error("the secret is empty")]
    EmptySecret,
    /// The secret is not text, so it would not come back as it went.
    #[error("the secret is not UTF-8")]
    NotText,
    /// The URI has that parameter already.
    #[error("the URI has the parameter already")]
    ParameterPresent,
    /// The URI has no path, or would become too long.
    #[error("the URI cannot take a parameter")]
    UnfitUri,
}

impl SecretParameter {
    /// A parameter of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Adds the secret to a URI, and leaves the rest of it as it is.
    ///
    /// # Errors
    ///
    /// [`SecretParameterError`]: the secret is empty or not text, or the URI has the parameter already or
    /// cannot take it.
    pub fn put(&self, uri: &Uri, secret: &Secret) -> Result<Uri, SecretParameterError> {
        if secret.is_empty() {
            return Err(SecretParameterError::EmptySecret);
        }
        let value = secret.expose_str().ok_or(SecretParameterError::NotText)?;
        query::add(uri, &[(&self.0, Some(value))]).map_err(|error| match error {
            AddError::Present(_) => SecretParameterError::ParameterPresent,
            AddError::NoPath | AddError::TooLong => SecretParameterError::UnfitUri,
        })
    }

    /// Whether the URI of a request carries one of the secrets: exactly once, and compared in constant time
    /// with each. Several secrets let one be replaced while callbacks with the old are still to come.
    pub fn check(&self, uri: &Uri, secrets: &[Secret]) -> bool {
        query::sole(uri.query().unwrap_or_default(), &self.0)
            .is_some_and(|value| Secret::one_of(secrets, value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn only_one_matching_secret_passes() {
        let parameter = SecretParameter::new("k");
        let secrets = [Secret::from("new"), Secret::from("old"), Secret::from("")];
        for text in ["/tl?k=new", "/tl?k=old", "/tl?a=b&k=new&c", "/tl?%6B=n%65w"] {
            assert!(parameter.check(&uri(text), &secrets), "{text}");
        }
        for text in [
            "/tl",
            "/tl?",
            "/tl?k",
            "/tl?k=",
            "/tl?k=ne",
            "/tl?k=newer",
            "/tl?k=new&k=new",
            "/tl?K=new",
        ] {
            assert!(!parameter.check(&uri(text), &secrets), "{text}");
        }
        assert!(!parameter.check(&uri("/tl?k=new"), &[]));
    }

    #[test]
    fn unfit_secrets_and_uris_are_refused() {
        let parameter = SecretParameter::new("k");
        let put = |text: &str, secret: Secret| parameter.put(&uri(text), &secret).unwrap_err();
        assert_eq!(put("/", Secret::from("")), SecretParameterError::EmptySecret);
        assert_eq!(put("/", Secret::new([0xFF])), SecretParameterError::NotText);
        assert_eq!(
            put("/?k=1", Secret::from("s")),
            SecretParameterError::ParameterPresent
        );
        assert_eq!(
            put("a.example:443", Secret::from("s")),
            SecretParameterError::UnfitUri
        );
    }
}
