//! The kinds of authentication that can be kept in a store.

#[cfg(feature = "engine")]
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderName;
use serde::{Deserialize, Serialize};

#[cfg(feature = "engine")]
use super::{AuthError, AuthErrorKind, AuthProvider, HeadersProvider, HmacProvider, OAuth2};
use super::{ClientAuth, HeadersAuth, HmacAuth, HmacScheme, OAuth2Auth, TimedKey};
use crate::secret::Secret;
#[cfg(feature = "engine")]
use crate::transport::{Guard, HttpSender};
use crate::url::WebhookUrl;

/// How deliveries prove themselves, as data: kept in the store, named by registrations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthConfig {
    /// A signature made with a shared secret.
    Hmac(HmacAuth),
    /// Headers that are the same on every request.
    Headers(HeadersAuth),
    /// An access token, by OAuth 2.0 client credentials.
    OAuth2(OAuth2Auth),
}

/// What providers made from stored configurations work with.
#[cfg(feature = "engine")]
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuthTools<'a> {
    /// What they send requests of their own with.
    pub sender: &'a Arc<dyn HttpSender>,
    /// Where those may go.
    pub guard: &'a Guard,
}

#[cfg(feature = "engine")]
impl<'a> AuthTools<'a> {
    /// That sender, to where that guard allows.
    pub fn new(sender: &'a Arc<dyn HttpSender>, guard: &'a Guard) -> Self {
        Self { sender, guard }
    }
}

impl AuthConfig {
    /// What does the work, made from this.
    ///
    /// # Errors
    ///
    /// [`AuthErrorKind::Misconfigured`] if it cannot work as it is, or would have to send where the guard does not
    /// allow.
    #[cfg(feature = "engine")]
    pub fn provider(&self, tools: &AuthTools<'_>) -> Result<Arc<dyn AuthProvider>, AuthError> {
        Ok(match self {
            Self::Hmac(hmac) => Arc::new(HmacProvider::new(hmac)?),
            Self::Headers(headers) => Arc::new(HeadersProvider::new(headers)?),
            Self::OAuth2(oauth2) => {
                let allowed = tools.guard.check_url(&oauth2.token_url);
                allowed.map_err(|why| AuthError::with_source(AuthErrorKind::Misconfigured, why))?;
                Arc::new(OAuth2::new(oauth2, Arc::clone(tools.sender))?)
            }
        })
    }

    /// The configuration as bytes for a store to keep. **They hold the secrets.**
    #[inline]
    pub fn dangerous_to_bytes(&self) -> Vec<u8> {
        let exposed = |secret: &Secret| secret.expose().to_vec();
        let stored = match self {
            Self::Hmac(hmac) => Stored::Hmac {
                scheme: hmac.scheme,
                keys: hmac
                    .keys
                    .iter()
                    .map(|key| StoredKey {
                        secret: exposed(&key.secret),
                        from: key.from,
                        until: key.until,
                    })
                    .collect(),
            },
            Self::Headers(headers) => Stored::Headers {
                headers: headers
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str().to_owned(), exposed(value)))
                    .collect(),
            },
            Self::OAuth2(oauth2) => Stored::OAuth2 {
                token_url: oauth2.token_url.clone(),
                client_id: oauth2.client_id.clone(),
                client_secret: exposed(&oauth2.client_secret),
                client_auth: oauth2.client_auth,
                scope: oauth2.scope.clone(),
                parameters: oauth2
                    .parameters
                    .iter()
                    .map(|(name, value)| (name.clone(), exposed(value)))
                    .collect(),
                renew_before: oauth2.renew_before,
            },
        };
        // Numbers and strings in lists: serialising them cannot fail.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what [`dangerous_to_bytes`](Self::dangerous_to_bytes) gave.
    ///
    /// # Errors
    ///
    /// [`AuthConfigError::Unreadable`] for anything else.
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AuthConfigError> {
        let unreadable = |_| AuthConfigError::Unreadable;
        Ok(match serde_json::from_slice(bytes).map_err(unreadable)? {
            Stored::Hmac { scheme, keys } => Self::Hmac(HmacAuth {
                scheme,
                keys: keys
                    .into_iter()
                    .map(|key| TimedKey {
                        secret: Secret::new(key.secret),
                        from: key.from,
                        until: key.until,
                    })
                    .collect(),
            }),
            Stored::Headers { headers } => Self::Headers(HeadersAuth {
                headers: headers
                    .into_iter()
                    .map(|(name, value)| Ok((HeaderName::try_from(name)?, Secret::new(value))))
                    .collect::<Result<_, http::header::InvalidHeaderName>>()
                    .map_err(|_| AuthConfigError::Unreadable)?,
            }),
            Stored::OAuth2 {
                token_url,
                client_id,
                client_secret,
                client_auth,
                scope,
                parameters,
                renew_before,
            } => Self::OAuth2(OAuth2Auth {
                token_url,
                client_id,
                client_secret: Secret::new(client_secret),
                client_auth,
                scope,
                parameters: parameters
                    .into_iter()
                    .map(|(name, value)| (name, Secret::new(value)))
                    .collect(),
                renew_before,
            }),
        })
    }
}

/// The form in which a configuration is stored. Kept apart, so that `AuthConfig` itself cannot be serialised
/// by accident.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Stored {
    Hmac {
        scheme: HmacScheme,
        keys: Vec<StoredKey>,
    },
    Headers {
        headers: Vec<(String, Vec<u8>)>,
    },
    #[serde(rename = "oauth2")]
    OAuth2 {
        token_url: WebhookUrl,
        client_id: String,
        client_secret: Vec<u8>,
        client_auth: ClientAuth,
        scope: Option<String>,
        parameters: Vec<(String, Vec<u8>)>,
        renew_before: Duration,
    },
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    secret: Vec<u8>,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthConfigError {
    /// The stored bytes are not one.
    #[error("not a stored authentication")]
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs() -> [AuthConfig; 4] {
        let mut hmac = HmacAuth::new(HmacScheme::Truv, "s3cret-1");
        hmac.rotate("s3cret-2", Duration::from_secs(60), DateTime::UNIX_EPOCH);
        let headers = HeadersAuth::default()
            .with(HeaderName::from_static("x-key"), "s3cret")
            .with(HeaderName::from_static("x-other"), Secret::new([0xff, 0xfe]));
        let url = WebhookUrl::parse("https://auth.example.org/token?tenant=s3cret").unwrap();
        let plain = OAuth2Auth::new(url, "id", "s3cret");
        let full = plain
            .clone()
            .with_scope("webhooks")
            .with_parameter("audience", "s3cret")
            .with_client_auth(ClientAuth::Basic)
            .with_renew_before(Duration::from_millis(1500));
        [
            AuthConfig::Hmac(hmac),
            AuthConfig::Headers(headers),
            AuthConfig::OAuth2(plain),
            AuthConfig::OAuth2(full),
        ]
    }

    #[test]
    fn what_is_stored_is_read_back_and_nothing_is_shown() {
        for config in configs() {
            let bytes = config.dangerous_to_bytes();
            assert_eq!(AuthConfig::from_bytes(&bytes), Ok(config.clone()));
            let shown = format!("{config:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn what_is_not_a_configuration_is_not_read() {
        for bytes in [
            r"{}",
            r#"{"type":"oauth2"}"#,
            r#"{"type":"headers","headers":[["a b",[1]]]}"#,
        ] {
            assert_eq!(
                AuthConfig::from_bytes(bytes.as_bytes()),
                Err(AuthConfigError::Unreadable)
            );
        }
    }
}
