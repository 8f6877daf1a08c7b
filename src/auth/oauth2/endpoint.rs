//! The token endpoint: requests to it, whole but for the grant.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use zeroize::Zeroizing;

use super::{ClientAuth, OAuth2Auth};
use crate::query;
use crate::secret::Secret;

/// What every request to a token endpoint has.
pub(super) struct TokenEndpoint {
    uri: Uri,
    authorization: Option<HeaderValue>,
    /// The form, but for the grant.
    form: Zeroizing<String>,
}

/// What a token is asked for with.
#[derive(Clone, Copy)]
pub(super) enum Grant<'a> {
    ClientCredentials,
    RefreshToken(&'a str),
}

/// Why a configuration cannot be used to ask for tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OAuth2ConfigError {
    /// The client has no id.
    #[error("the client's id is empty")]
    NoClientId,
    /// The client has no secret.
    #[error("the client's secret is empty")]
    NoClientSecret,
    /// The client's secret, or the value of a parameter, is not text.
    #[error("a value of the token request is not UTF-8")]
    NotText,
    /// A parameter has a name that the request has already.
    #[error("the parameter `{0}` is set already")]
    ParameterTwice(String),
    /// The token endpoint is https, and the sender has no TLS.
    #[error("the sender does not support https")]
    HttpsUnsupported,
}

/// The parameters that are not the caller's to add.
const RESERVED: [&str; 5] = [
    "grant_type",
    "client_id",
    "client_secret",
    "refresh_token",
    "scope",
];

impl TokenEndpoint {
    pub(super) fn new(config: &OAuth2Auth) -> Result<Self, OAuth2ConfigError> {
        let secret = text(&config.client_secret)?;
        if config.client_id.is_empty() {
            return Err(OAuth2ConfigError::NoClientId);
        }
        if secret.is_empty() {
            return Err(OAuth2ConfigError::NoClientSecret);
        }
        let mut form = Zeroizing::new(String::new());
        let authorization = match config.client_auth {
            ClientAuth::Form => {
                query::append(&mut form, "client_id", &config.client_id);
                query::append(&mut form, "client_secret", secret);
                None
            }
            ClientAuth::Basic => Some(basic(&config.client_id, secret)),
        };
        if let Some(scope) = &config.scope {
            query::append(&mut form, "scope", scope);
        }
        for (number, (name, value)) in config.parameters.iter().enumerate() {
            let before = config.parameters.iter().take(number);
            if RESERVED.contains(&name.as_str()) || before.into_iter().any(|(other, _)| other == name) {
                return Err(OAuth2ConfigError::ParameterTwice(name.clone()));
            }
            query::append(&mut form, name, text(value)?);
        }
        Ok(Self {
            uri: config.token_url.uri().clone(),
            authorization,
            form,
        })
    }

    pub(super) fn request(&self, grant: Grant<'_>) -> Request<Bytes> {
        let mut form = self.form.to_string();
        match grant {
            Grant::ClientCredentials => query::append(&mut form, "grant_type", "client_credentials"),
            Grant::RefreshToken(token) => {
                query::append(&mut form, "grant_type", "refresh_token");
                query::append(&mut form, "refresh_token", token);
            }
        }
        let mut request = Request::new(Bytes::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("ringback/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

impl fmt::Debug for TokenEndpoint {
    /// Neither the query nor the form: both may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint")
            .field("host", &self.uri.host())
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}

fn text(value: &Secret) -> Result<&str, OAuth2ConfigError> {
    value.expose_str().ok_or(OAuth2ConfigError::NotText)
}

/// HTTP Basic as RFC 6749 has it (section 2.3.1): each of the two is encoded as in a form first, so that an id may
/// hold a colon.
fn basic(id: &str, secret: &str) -> HeaderValue {
    let mut credentials = Zeroizing::new(String::new());
    query::encode_into(&mut credentials, id);
    credentials.push(':');
    query::encode_into(&mut credentials, secret);
    let encoded = Zeroizing::new(format!(
        "Basic {}",
        BASE64_STANDARD.encode(credentials.as_bytes())
    ));
    // Base64 is visible ASCII, so this is always a header.
    let mut value = HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::url::WebhookUrl;

    fn config(id: &str, secret: &str) -> OAuth2Auth {
        let url = WebhookUrl::parse("https://auth.example.org/token?tenant=t3nant").unwrap();
        OAuth2Auth::new(url, id, secret)
    }

    fn fields(request: &Request<Bytes>) -> Vec<(String, String)> {
        let form = std::str::from_utf8(request.body()).unwrap();
        let pairs = query::pairs(form);
        pairs
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_request_is_the_form_that_rfc_6749_shows() {
        let endpoint = TokenEndpoint::new(&config("123456", "a&b=c d+é%")).unwrap();
        let request = endpoint.request(Grant::ClientCredentials);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://auth.example.org/token?tenant=t3nant");
        assert_eq!(
            request.headers()[CONTENT_TYPE],
            "application/x-www-form-urlencoded"
        );
        assert!(!request.headers().contains_key(AUTHORIZATION));
        assert_eq!(
            request.body(),
            "client_id=123456&client_secret=a%26b%3Dc%20d%2B%C3%A9%25&grant_type=client_credentials"
        );
        assert_eq!(
            fields(&endpoint.request(Grant::RefreshToken("r&t")))[2..],
            [pair("grant_type", "refresh_token"), pair("refresh_token", "r&t")]
        );
    }

    #[test]
    fn with_basic_the_secret_is_in_the_header_alone() {
        let config = config("s6BhdRkqt3", "gX1fBat3bV").with_client_auth(ClientAuth::Basic);
        let request = TokenEndpoint::new(&config)
            .unwrap()
            .request(Grant::ClientCredentials);
        // RFC 6749, section 4.4.2.
        let authorization = &request.headers()[AUTHORIZATION];
        assert_eq!(authorization, "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
        assert!(authorization.is_sensitive());
        assert_eq!(request.body(), "grant_type=client_credentials");

        assert_eq!(basic("a:b", "c d"), "Basic YSUzQWI6YyUyMGQ=");
    }

    #[test]
    fn what_would_make_an_ambiguous_or_empty_request_is_refused() {
        let why = |config| TokenEndpoint::new(&config).unwrap_err();
        assert_eq!(why(config("", "s")), OAuth2ConfigError::NoClientId);
        assert_eq!(why(config("i", "")), OAuth2ConfigError::NoClientSecret);
        let not_text = OAuth2Auth {
            client_secret: Secret::new([0xff]),
            ..config("i", "s")
        };
        assert_eq!(why(not_text), OAuth2ConfigError::NotText);
        for name in RESERVED {
            let config = config("i", "s").with_parameter(name, "x");
            assert_eq!(why(config), OAuth2ConfigError::ParameterTwice(name.to_owned()));
        }
        let twice = config("i", "s")
            .with_parameter("audience", "a")
            .with_parameter("audience", "b");
        assert_eq!(
            why(twice),
            OAuth2ConfigError::ParameterTwice("audience".to_owned())
        );
    }

    #[test]
    fn nothing_secret_is_shown() {
        let config = config("id", "s3cret").with_parameter("audience", "s3cret");
        let shown = format!("{:?} {config:?}", TokenEndpoint::new(&config).unwrap());
        assert!(!shown.contains("s3cret") && !shown.contains("t3nant"), "{shown}");
    }

    proptest! {
        #[test]
        fn every_text_goes_through_the_form(
            id in ".{1,20}", secret in ".{1,20}", scope: Option<String>, refresh: String, value: String,
        ) {
            let mut config = config(&id, &secret).with_parameter("audience", value.as_str());
            config.scope.clone_from(&scope);
            let request = TokenEndpoint::new(&config).unwrap().request(Grant::RefreshToken(&refresh));
            let mut expected = vec![pair("client_id", &id), pair("client_secret", &secret)];
            expected.extend(scope.map(|scope| pair("scope", &scope)));
            expected.push(pair("audience", &value));
            expected.push(pair("grant_type", "refresh_token"));
            expected.push(pair("refresh_token", &refresh));
            prop_assert_eq!(fields(&request), expected);
        }
    }
}
