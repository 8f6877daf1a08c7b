//! Callbacks as they come in.

use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::answer::Detail;
use super::builder::{CallClient, hash_of};
use super::watch::Reported;
use crate::json;
use crate::query;
use crate::secret::Hidden;
use crate::task::{Callback, Observation};

/// The parameter that the token of a call is in.
pub(super) const TOKEN: &str = "call";

/// A callback that no call waits for.
#[derive(Clone)]
pub struct Stray {
    /// Why it is nobody's.
    pub reason: StrayReason,
    /// What it says, as far as it can be read.
    pub callback: Option<Callback>,
    /// The body as it came.
    pub body: Bytes,
}

/// Why a callback is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StrayReason {
    /// Its token is of no call that is waited for: the call was given up, has ended before, was made by another process,
    /// or never was. **Nothing proves who sent it**: anybody may have.
    UnknownCall,
    /// Its token is that of a call, so it is the service's; but what it says cannot be read.
    Unreadable,
    /// Its token is that of a call, so it is the service's; but it contradicts what the service said of it before.
    Contradiction,
}

impl CallClient {
    /// Takes a callback in: the application's route for callbacks gives it every request it gets. It is for one of the
    /// calls that wait, whose token it carries; any other is handed to the application.
    ///
    /// It is answered 200 once it is somebody's, or once `stray` has taken it. If `stray` fails the answer is 503, and
    /// the service will ring again.
    pub async fn handle<F, E>(&self, request: Request<Bytes>, stray: F) -> Response<Bytes>
    where
        F: AsyncFnOnce(Stray) -> Result<(), E>,
    {
        if request.method() != Method::POST {
            let mut response = answer(StatusCode::METHOD_NOT_ALLOWED);
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        match self.deliver(request) {
            None => answer(StatusCode::OK),
            Some(nobodys) => match stray(nobodys).await {
                Ok(()) => answer(StatusCode::OK),
                Err(_) => {
                    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE);
                    response
                        .headers_mut()
                        .insert(RETRY_AFTER, HeaderValue::from_static("5"));
                    response
                }
            },
        }
    }

    /// Gives a callback to its call; what is nobody's is returned.
    fn deliver(&self, request: Request<Bytes>) -> Option<Stray> {
        let query = request.uri().query().unwrap_or_default();
        let key = query::sole(query, TOKEN).map(|token| hash_of(&token));
        let body = request.into_body();
        let callback = json::parse::<Callback>(&body).ok();
        let stray = |reason, callback| {
            Some(Stray {
                reason,
                callback,
                body: body.clone(),
            })
        };
        let watches = &self.shared.watches;
        let Some(key) = key.filter(|key| watches.is_watched(key)) else {
            return stray(StrayReason::UnknownCall, callback);
        };
        let Some(callback) = callback else {
            return stray(StrayReason::Unreadable, None);
        };
        let detail = Detail {
            error: callback.error.value().cloned(),
            description: callback.error_description.value().cloned(),
            results_uri: callback.results_uri.value().map(|uri| uri.as_str().to_owned()),
            ..Detail::default()
        };
        let reported =
            watches.report_after(&key, callback.status.clone(), None, |former| detail.after(former));
        match reported {
            Reported::Taken(Observation::Taken(_) | Observation::Stale) => None,
            Reported::Taken(Observation::Irregular(_)) => stray(StrayReason::Contradiction, Some(callback)),
            Reported::Unwatched => stray(StrayReason::UnknownCall, Some(callback)),
        }
    }
}

fn answer(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

impl fmt::Debug for Stray {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stray")
            .field("reason", &self.reason)
            .field("body", &Hidden(&self.body))
            .finish_non_exhaustive()
    }
}
