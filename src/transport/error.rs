//! Why an exchange came to nothing.

use std::error::Error;

/// An exchange that brought no complete response.
///
/// Never shows the URL's query or anything of the request; the source is the HTTP client's own error, which
/// shows neither where the sender is one of this crate's.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct SendError {
    kind: SendErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What went wrong with an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The [`Guard`](super::Guard) does not let the sender go there. Nothing was sent.
    #[error("the destination is not allowed")]
    NotAllowed,
    /// The URL is `https`, and the sender has no TLS. Nothing was sent.
    #[error("the sender does not support https")]
    HttpsUnsupported,
    /// The sender's HTTP client reads the URL otherwise than it was given, so that another path or host than the
    /// signed or guarded one would be used. Nothing was sent.
    #[error("the HTTP client reads the URL differently")]
    UrlChanged,
    /// The host's name did not resolve to an address. Nothing was sent.
    #[error("the host name could not be resolved")]
    Resolve,
    /// No connection could be made. Nothing was sent.
    #[error("the connection could not be made")]
    Connect,
    /// TLS failed: an untrusted certificate, a wrong name, no common version, or a broken record.
    #[error("TLS failed")]
    Tls,
    /// A time limit of the sender's own ran out.
    #[error("the sender's time limit ran out")]
    TimedOut,
    /// The connection was closed before the response was complete.
    #[error("the connection was closed before the response was complete")]
    Closed,
    /// The response is larger than [`ResponseLimits`](super::ResponseLimits) allow.
    #[error("the response is too large")]
    ResponseTooLarge,
    /// What came back is not HTTP, or the request cannot be sent as HTTP.
    #[error("the exchange broke the HTTP protocol")]
    Protocol,
    /// Anything else.
    #[error("the request could not be sent")]
    Other,
}

impl SendError {
    /// An error of this kind with what caused it. The cause must not show a URL's query or a secret.
    pub fn new(kind: SendErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> SendErrorKind {
        self.kind
    }
}

impl From<SendErrorKind> for SendError {
    fn from(kind: SendErrorKind) -> Self {
        Self { kind, source: None }
    }
}
