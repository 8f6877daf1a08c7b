//! Access tokens by OAuth 2.0, the client credentials grant (RFC 6749, section 4.4).

#[cfg(feature = "engine")]
mod endpoint;
#[cfg(feature = "engine")]
mod provider;
#[cfg(feature = "engine")]
mod response;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::url::WebhookUrl;

#[cfg(feature = "engine")]
pub use self::endpoint::OAuth2ConfigError;
#[cfg(feature = "engine")]
pub use self::provider::OAuth2;
#[cfg(feature = "engine")]
pub use self::response::{RefusalCode, TokenError};

/// Where access tokens come from, and for whom.
///
/// ```
/// use ringback::auth::{AuthConfig, ClientAuth, OAuth2Auth};
/// use ringback::url::WebhookUrl;
///
/// let url = WebhookUrl::parse("https://auth.example.org/token")?;
/// let auth = OAuth2Auth::new(url, "123456", "aJnr28jmdnIDNY9x11auihIX")
///     .with_scope("webhooks")
///     .with_client_auth(ClientAuth::Basic);
/// assert!(!format!("{:?}", AuthConfig::OAuth2(auth)).contains("aJnr"));
/// # Ok::<(), ringback::url::UrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OAuth2Auth {
    /// The token endpoint, whole.
    pub token_url: WebhookUrl,
    /// The name by which its server knows this client.
    pub client_id: String,
    /// What proves it.
    pub client_secret: Secret,
    /// Where those two travel.
    pub client_auth: ClientAuth,
    /// What the token should be good for, where the server wants to be told: names with spaces between them.
    pub scope: Option<String>,
    /// Whatever else the server wants, such as an `audience`.
    pub parameters: Vec<(String, Secret)>,
    /// How long before a token expires another one is fetched, so that none expires on its way. Half of the token's
    /// life at most; 30 seconds by default, twice what an attempt takes by default.
    pub renew_before: Duration,
}

/// Where the client's id and secret travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientAuth {
    /// In the form, as `client_id` and `client_secret`: what Powens' documentation asks a server to take.
    #[default]
    Form,
    /// In the `authorization` header, as HTTP Basic: what RFC 6749 (section 2.3.1) asks every server to take.
    Basic,
}

impl OAuth2Auth {
    /// A client of that token endpoint, with a default for everything else.
    pub fn new(
        token_url: WebhookUrl,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Self {
        Self {
            token_url,
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            client_auth: ClientAuth::default(),
            scope: None,
            parameters: Vec::new(),
            renew_before: Duration::from_secs(30),
        }
    }

    /// Where the client's id and secret travel. Default: in the form.
    #[must_use]
    pub fn with_client_auth(self, client_auth: ClientAuth) -> Self {
        Self { client_auth, ..self }
    }

    /// What the token should be good for.
    #[must_use]
    pub fn with_scope(self, scope: impl Into<String>) -> Self {
        Self {
            scope: Some(scope.into()),
            ..self
        }
    }

    /// One more parameter of the request.
    #[must_use]
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// How long before a token expires another one is fetched.
    #[must_use]
    pub fn with_renew_before(self, renew_before: Duration) -> Self {
        Self { renew_before, ..self }
    }
}
