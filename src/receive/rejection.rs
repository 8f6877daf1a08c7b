//! Why a message was not handled.

use std::error::Error;
use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

use super::GateError;
use crate::signature::Refusal;
use crate::store::StoreError;

/// Why a message was not handled. Found in the extensions of the response, for logs; the sender learns only the
/// status.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It is not authentic.
    #[error("not authentic: {0}")]
    Refused(#[from] Refusal),
    /// It was sent from an address that is not one of those [allowed](super::Sources).
    #[error("not from an address that is allowed")]
    ForeignAddress,
    /// Only certain [addresses](super::Sources) are allowed, and the server does not say which one it was sent from.
    #[error("the server does not say which address it was sent from")]
    UnknownAddress,
    /// Nobody can say at present whether it is authentic.
    #[error("whether it is authentic cannot be said at present")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// The body is larger than is taken, on the wire or inflated.
    #[error("the body is too large")]
    TooLarge,
    /// The body is in a coding that is not understood, or is not what its coding says.
    #[error("the body's coding cannot be undone")]
    Coding,
    /// The connection ended, or broke the protocol, before all of the body was there.
    #[error("the body broke off")]
    BrokenOff,
    /// The body was too long in coming.
    #[error("the body took too long")]
    TooSlow,
    /// Another copy is being handled.
    #[error("another copy is being handled")]
    InProgress,
    /// The store that remembers what was seen failed.
    #[error("the store of what was seen failed")]
    Store(#[source] Arc<StoreError>),
    /// The handler failed. What failed is the application's to log: it may hold anything.
    #[error("the handler failed")]
    Handler,
}

impl Rejection {
    /// What the sender hears. Everything that could tell someone how to forge a message sounds the same.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused(_) | Self::ForeignAddress => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Coding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownAddress | Self::Unavailable(_) | Self::InProgress | Self::Store(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Handler => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// One word for it, for figures: `refused`, `foreign_address`, `unknown_address`, `unavailable`, `too_large`,
    /// `coding`, `broken_off`, `too_slow`, `in_progress`, `store` or `handler`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::ForeignAddress => "foreign_address",
            Self::UnknownAddress => "unknown_address",
            Self::Unavailable(_) => "unavailable",
            Self::TooLarge => "too_large",
            Self::Coding => "coding",
            Self::BrokenOff => "broken_off",
            Self::TooSlow => "too_slow",
            Self::InProgress => "in_progress",
            Self::Store(_) => "store",
            Self::Handler => "handler",
        }
    }

    /// The answer, with an empty body; this rejection is in its extensions.
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = answer(self.status());
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<GateError> for Rejection {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Refused(refusal) => Self::Refused(refusal),
            GateError::Unavailable(source) => Self::Unavailable(source),
        }
    }
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// An answer without a body.
pub(super) fn answer<B: Default>(status: StatusCode) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = status;
    response
}
