//! How a delivery proves itself.
//!
//! An [`AuthProvider`] puts the proof on a request: a signature over the very bytes that are sent, or a token.
//! It is asked anew at every attempt, so that dates are fresh and keys are those of the moment. Most
//! applications keep an [`AuthConfig`] in the store and name it in their registrations; one of one's own is
//! given to the engine by name.
//!
//! | kind | proof | where it is kept |
//! |---|---|---|
//! | [`HmacAuth`] | a signature of one of the [`HmacScheme`]s | [`AuthConfig::Hmac`] |
//! | [`HeadersAuth`] | headers with fixed values, such as an API key | [`AuthConfig::Headers`] |
//! | [`OAuth2Auth`] | an access token by OAuth 2.0 client credentials, as `authorization: Bearer …` | [`AuthConfig::OAuth2`]; with a sender of its own: an `OAuth2` (feature `engine`) given to the engine |
//! | [`UserToken`] | the token of the user that the event is about, as `authorization: Bearer …` | given to the engine |
//! | an [`AuthProvider`] of one's own | any headers | given to the engine |
//!
//! A delivery that nothing can prove at present waits: it is neither sent bare nor lost, and no attempt is counted. What
//! nothing ever can, has [failed](AuthErrorKind::NotApplicable). Where the receiver answers 401 and the proof can be
//! [made anew](AuthProvider::refused), it is, once in an attempt.

pub(crate) mod bearer;
mod config;
mod headers;
mod hmac;
mod keys;
mod oauth2;
#[cfg(feature = "jws")]
mod tl_signature;
mod user_token;

use std::error::Error;
use std::fmt::{self, Debug};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Request};

#[cfg(feature = "engine")]
pub use config::AuthTools;
pub use config::{AuthConfig, AuthConfigError};
pub use headers::{HeadersAuth, HeadersError, HeadersProvider};
pub use hmac::HmacProvider;
pub use keys::{GeneratedKey, HmacAuth, HmacScheme, TimedKey};
pub use oauth2::{ClientAuth, OAuth2Auth};
#[cfg(feature = "engine")]
pub use oauth2::{OAuth2, OAuth2ConfigError, RefusalCode, TokenError};
pub use user_token::{TokenLookup, UserToken, UserTokenError, token_lookup_fn};

use crate::delivery::Event;

/// Puts the proof on a request that is about to be sent.
///
/// # Contract
///
/// The request is complete when it comes in: method, URI, headers and body are what will be sent. An
/// implementation adds or replaces headers, and nothing else: the body's bytes never change. It is called once
/// for each attempt (twice if [`refused`](Self::refused) says so) and remembers nothing of the ones before, save for
/// tokens that are still good.
///
/// # Errors
///
/// The request is never sent without its proof. An [`AuthError`] postpones the delivery, and no attempt is counted; but
/// if it is [`NotApplicable`](AuthErrorKind::NotApplicable), which no waiting changes, the attempt has failed.
///
/// # Cancellation
///
/// The engine drops the future at its deadline. Whatever others wait for too (a token being fetched) should go
/// on or be fetched again.
///
/// ```
/// use async_trait::async_trait;
/// use bytes::Bytes;
/// use http::{HeaderValue, Request};
/// use ringback::auth::{AuthContext, AuthError, AuthProvider};
///
/// #[derive(Debug)]
/// struct StaticHeader(HeaderValue);
///
/// #[async_trait]
/// impl AuthProvider for StaticHeader {
///     async fn authenticate(
///         &self,
///         request: &mut Request<Bytes>,
///         _context: &AuthContext<'_>,
///     ) -> Result<(), AuthError> {
///         request.headers_mut().insert("x-api-key", self.0.clone());
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait AuthProvider: Debug + Send + Sync + 'static {
    /// Adds the headers that prove who sends this.
    async fn authenticate(
        &self,
        request: &mut Request<Bytes>,
        context: &AuthContext<'_>,
    ) -> Result<(), AuthError>;

    /// The receiver answered 401 to a request with these headers. Whether a proof made now would be another one, so
    /// that it is worth sending again at once.
    ///
    /// If it is, the engine asks [`authenticate`](Self::authenticate) again and sends a second time, within the same
    /// attempt and its deadline, and no more than once in an attempt; the attempt's outcome is then the second
    /// answer. By default it is not: a signature or a fixed token would be refused again.
    ///
    /// Whoever keeps tokens should give up the one in these headers, and only that one: another request may have
    /// had it replaced already.
    fn refused(&self, headers: &HeaderMap, context: &AuthContext<'_>) -> bool {
        let _ = (headers, context);
        false
    }

    /// Whether [`refused`](Self::refused) may ever say so: only then does the engine keep the headers of a request to ask
    /// it about. Whoever implements the one implements the other, and whoever wraps a provider forwards both. By default
    /// it never does.
    fn can_renew(&self) -> bool {
        false
    }
}

/// What a provider may want to know beside the request.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuthContext<'a> {
    /// What is being delivered.
    pub event: &'a Event,
    /// The present, for dates under the signature.
    pub now: DateTime<Utc>,
}

impl<'a> AuthContext<'a> {
    /// A context for that event at that instant.
    pub fn new(event: &'a Event, now: DateTime<Utc>) -> Self {
        Self { event, now }
    }
}

/// No proof could be made. The delivery waits, unless waiting helps nothing ([`AuthErrorKind::NotApplicable`]).
#[derive(Debug)]
pub struct AuthError {
    kind: AuthErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why there is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthErrorKind {
    /// Whoever issues the proof cannot be reached, or fails.
    Unavailable,
    /// Whoever issues the proof refuses.
    Refused,
    /// The provider cannot prove anything about such an event, as a user's token cannot for an event that is
    /// about no user.
    NotApplicable,
    /// The configuration is not usable.
    Misconfigured,
}

impl AuthError {
    /// An error of that kind.
    pub fn new(kind: AuthErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// An error of that kind, with what lies behind it. It must hold no secret.
    pub fn with_source(kind: AuthErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    /// Why there is no proof.
    pub fn kind(&self) -> AuthErrorKind {
        self.kind
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            AuthErrorKind::Unavailable => "no proof to be had at present",
            AuthErrorKind::Refused => "the proof was refused",
            AuthErrorKind::NotApplicable => "no proof is possible for such an event",
            AuthErrorKind::Misconfigured => "the authentication is misconfigured",
        })
    }
}

impl Error for AuthError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
