//! What goes wrong with calls.

use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::json::PayloadError;
use crate::secret::Hidden;
use crate::task::AsyncUriError;
use crate::transport::SendError;

/// Why a call was not started. Unless the variant says otherwise, the service may or may not have taken it in.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The request's URI cannot be made into that of an asynchronous call. Nothing was sent.
    #[error(transparent)]
    Uri(#[from] AsyncUriError),
    /// It is to be rung back about, and the client was built without a webhook's URI. Nothing was sent.
    #[error("the client has no webhook URI")]
    NoWebhook,
    /// There was no answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// There was no answer in time.
    #[error("the service did not answer in time")]
    TimedOut,
    /// The service answered something else than that it has accepted the call: an error, or, if it does not know of
    /// asynchronous calls, the results themselves. The answer is here, whole.
    #[error("the service answered {}", .0.status())]
    NotAccepted(Response<Bytes>),
}

impl fmt::Debug for StartError {
    /// Without the answer's body, since nobody knows what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(error) => f.debug_tuple("Uri").field(error).finish(),
            Self::NoWebhook => f.write_str("NoWebhook"),
            Self::Send(error) => f.debug_tuple("Send").field(error).finish(),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::NotAccepted(response) => f.debug_tuple("NotAccepted").field(&response.status()).finish(),
        }
    }
}

/// Why there are no results.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The task has failed.
    #[error("the task has failed: {}", .error.as_deref().unwrap_or("no reason given"))]
    Failed {
        /// A code for programs, if there was one.
        error: Option<String>,
        /// A text for people, if there was one.
        description: Option<String>,
    },
    /// The deadline has come. The task may still end.
    #[error("the task did not end in time")]
    TimedOut,
    /// The results are no longer kept: 410.
    #[error("the results have expired")]
    Expired,
    /// The service does not show the results, and will not the next time either: 401, 403, or another answer that is
    /// neither of what may pass.
    #[error("the service answered {0}")]
    Refused(StatusCode),
    /// Where the results are said to be is another origin than the service's, to which its token is not sent. See
    /// [`CallClientBuilder::allow_results_from`](super::CallClientBuilder::allow_results_from).
    #[error("the results are said to be at another origin")]
    ElsewhereResults,
    /// The task has succeeded, but nobody has said where its results are.
    #[error("it is not known where the results are")]
    NowhereResults,
    /// The results are not of the type they are read as.
    #[error(transparent)]
    Unreadable(#[from] PayloadError),
}

impl fmt::Debug for CallError {
    /// Of a text for people, which may be personal, only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { error, description } => f
                .debug_struct("Failed")
                .field("error", error)
                .field("description", &description.as_ref().map(Hidden))
                .finish(),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Expired => f.write_str("Expired"),
            Self::Refused(status) => f.debug_tuple("Refused").field(status).finish(),
            Self::ElsewhereResults => f.write_str("ElsewhereResults"),
            Self::NowhereResults => f.write_str("NowhereResults"),
            Self::Unreadable(error) => f.debug_tuple("Unreadable").field(error).finish(),
        }
    }
}
