//! How a delivery proves itself.
//!
//! An [`AuthProvider`] puts the proof on a request: a signature over the very bytes that are sent, or a token.
//! It is asked anew at every attempt, so that dates are fresh and keys are those of the moment. Most
//! applications keep an [`AuthConfig`] in the store and name it in their registrations; one of one's own is
//! given to the worker by name.

mod config;
mod hmac;
#[cfg(feature = "jws")]
mod tl_signature;

use std::error::Error;
use std::fmt::{self, Debug};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Request;

pub use config::{AuthConfig, AuthConfigError, HmacAuth, HmacScheme};
pub use hmac::HmacProvider;

use crate::delivery::Event;

/// Puts the proof on a request that is about to be sent.
///
/// # Contract
///
/// The request is complete when it comes in: method, URI, headers and body are what will be sent. An
/// implementation adds or replaces headers, and nothing else: the body's bytes never change. It is called once
/// for each attempt and remembers nothing of the ones before, save for tokens that are still good.
///
/// # Errors
///
/// An [`AuthError`] postpones the delivery; the request is never sent without its proof, and no attempt is
/// counted.
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

/// No proof could be made. The delivery waits.
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
