//! Asynchronous calls over HTTP, in any framework.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::answers::{Refused, answer, json_answer};
use super::{AcceptError, Cancelled, NewCall, TaskRunner};
use crate::auth::bearer::token_of;
use crate::id::TaskId;
use crate::json::{self, Maybe, RawJson, UrlText};
use crate::secret::Secret;
use crate::store::{EndedTask, StoreError, TaskEnd, TaskRecord};
use crate::task::{AsyncParameters, Results, TaskStatus, synchronous};

/// Says whose token it is that a request carries.
///
/// # Contract
///
/// Returns the credentials that a token belongs to, in the service's own terms, the same for every token of the same
/// credentials; `None` for a token that is not valid, for whatever reason. What it returns is kept with the task, sent
/// in the callback as `credentials_id`, and compared when results are asked for.
///
/// # Errors
///
/// [`CheckUnavailable`] if it cannot be said at present. The request is answered 503 then.
///
/// # Cancellation
///
/// Dropping the future must leave nothing behind.
///
/// ```
/// use async_trait::async_trait;
/// use ringback::engine::{CheckUnavailable, CredentialsCheck};
/// use ringback::secret::Secret;
///
/// /// One token, one user.
/// #[derive(Debug)]
/// struct OneUser(Secret);
///
/// #[async_trait]
/// impl CredentialsCheck for OneUser {
///     async fn credentials(&self, token: &Secret) -> Result<Option<String>, CheckUnavailable> {
///         Ok((self.0 == *token).then(|| "user-7".to_owned()))
///     }
/// }
/// ```
#[async_trait]
pub trait CredentialsCheck: Debug + Send + Sync + 'static {
    /// Whose token this is.
    async fn credentials(&self, token: &Secret) -> Result<Option<String>, CheckUnavailable>;
}

/// Whose a token is cannot be said at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tokens cannot be checked at present")]
pub struct CheckUnavailable;

/// The two routes of an asynchronous call: [`start`](Self::start) it, and fetch its [`results`](Self::results).
///
/// They take a request and return a response, so they mount into any framework; for axum there are `start_route` and
/// `results_route` (feature `axum`). Cloning is cheap and shares everything.
///
/// # How calls are started
///
/// By any method, on whatever route they are mounted. With `async=true` the call is accepted: 202, and an
/// [`Accepted`](crate::task::Accepted); `webhook_uri` says where to ring back. Without it the work is done while the
/// caller waits ([`TaskRunner::run_now`]), and answered with what `results` would answer: the same work, either way.
///
/// # What `results` answers
///
/// | the task | status | body |
/// |---|---|---|
/// | waits or runs | 202, with `Retry-After` | [`Results`] with `status`, and `progress` if the work reports any |
/// | has succeeded | 200 | `{"results":…,"status":"Succeeded"}`, or the results [as they are](Self::with_media_type) |
/// | has failed | 200 | [`Results`] with `status`, `error` and `error_description` |
/// | had results, but they have expired | 410 | an error |
/// | is unknown, or somebody else's | 404 | an error, the same for both |
///
/// A request without a valid token is answered 401. The task is looked up before the token is judged and whatever comes
/// of that, and the owner is compared in constant time, so neither answer nor time tells whether there is such a task.
///
/// ```
/// use async_trait::async_trait;
/// use bytes::Bytes;
/// use http::{Request, StatusCode};
/// use ringback::delivery::PlainProfile;
/// use ringback::engine::{
///     CallHandlers, Callbacks, CheckUnavailable, CredentialsCheck, Engine, TaskContext, TaskError, TaskRunner, TaskWork,
///     TokioTimer,
/// };
/// use ringback::retry::Schedule;
/// use ringback::secret::Secret;
/// use ringback::store::MemoryStore;
/// use ringback::transport::sender_fn;
///
/// #[derive(Debug)]
/// struct Sum;
///
/// #[async_trait]
/// impl TaskWork for Sum {
///     async fn run(&self, task: &TaskContext) -> Result<Bytes, TaskError> {
///         Ok(Bytes::from(task.input.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string()))
///     }
/// }
///
/// #[derive(Debug)]
/// struct AnyToken;
///
/// #[async_trait]
/// impl CredentialsCheck for AnyToken {
///     async fn credentials(&self, token: &Secret) -> Result<Option<String>, CheckUnavailable> {
///         Ok(token.expose_str().map(str::to_owned))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sender = sender_fn(|_| async { Ok(http::Response::default()) });
/// let engine = Engine::builder(MemoryStore::new(), sender, TokioTimer)
///     .profile(PlainProfile::new("callbacks", Schedule::truelayer()))
///     .build();
/// let runner =
///     TaskRunner::builder(&engine, Sum, "https://api.example.com/results/", Callbacks::new("callbacks")).build();
/// let handlers = CallHandlers::new(runner, AnyToken);
///
/// let request = Request::post("/sums").header("authorization", "Bearer user-7").body(Bytes::from_static(&[1, 2]))?;
/// let response = handlers.start(request).await;
/// assert_eq!(response.status(), StatusCode::OK);
/// assert_eq!(response.body(), r#"{"results":3,"status":"Succeeded"}"#);
///
/// let request = Request::post("/sums?async=true").body(Bytes::new())?;
/// assert_eq!(handlers.start(request).await.status(), StatusCode::UNAUTHORIZED);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CallHandlers {
    runner: TaskRunner,
    check: Arc<dyn CredentialsCheck>,
    media_type: Option<HeaderValue>,
    poll_interval: Duration,
    largest_request: usize,
    can_cancel: bool,
}

impl CallHandlers {
    /// Handlers for that runner's calls, made by whoever the check admits.
    pub fn new(runner: TaskRunner, check: impl CredentialsCheck) -> Self {
        Self {
            runner,
            check: Arc::new(check),
            media_type: None,
            poll_interval: Duration::from_secs(1),
            largest_request: 1 << 20,
            can_cancel: false,
        }
    }

    /// Answers with the results as the work returns them, and says that they are of that type. By default they are
    /// taken for one JSON value, and put into an envelope beside the status, as TrueLayer does.
    #[must_use]
    pub fn with_media_type(self, media_type: HeaderValue) -> Self {
        Self {
            media_type: Some(media_type),
            ..self
        }
    }

    /// How long a caller who polls is asked to wait, in whole seconds. Default 1 second.
    #[must_use]
    pub fn with_poll_interval(self, interval: Duration) -> Self {
        Self {
            poll_interval: interval,
            ..self
        }
    }

    /// The largest body of a request, in bytes; a larger one is answered 413. Default 1 MiB.
    #[must_use]
    pub fn with_largest_request(self, bytes: usize) -> Self {
        Self {
            largest_request: bytes,
            ..self
        }
    }

    /// Lets callers cancel: `DELETE` on the results URI ends the task as [`TaskRunner::cancel`] does, and answers with
    /// what it is then. One that has ended before stays as it is.
    #[must_use]
    pub fn with_cancellation(self) -> Self {
        Self {
            can_cancel: true,
            ..self
        }
    }

    /// The largest body of a request, for adapters that read it.
    #[cfg(feature = "axum")]
    pub(super) fn largest_request(&self) -> usize {
        self.largest_request
    }

    /// Starts a call.
    pub async fn start(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.try_start(request).await.unwrap_or_else(Refused::response)
    }

    async fn try_start(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Refused> {
        let (head, body) = request.into_parts();
        let credentials = self.caller(&head.headers).await?;
        if body.len() > self.largest_request {
            return Err(Refused::TooLarge);
        }
        let asked = AsyncParameters::of(&head.uri).map_err(|error| Refused::Invalid(error.to_string()))?;
        let mut call = NewCall::new(credentials, synchronous(&head.uri)).with_input(body);
        if !asked.is_async {
            if asked.webhook_uri.is_some() {
                let why = "there is a webhook_uri, but no async=true".to_owned();
                return Err(Refused::Invalid(why));
            }
            let results = self.runner.run_now(call).await.map_err(Refused::AtOnce)?;
            return self.succeeded(&results);
        }
        if let Some(webhook_uri) = asked.webhook_uri {
            call = call.with_webhook_uri(webhook_uri.as_str());
        }
        match self.runner.accept(call).await {
            Ok(accepted) => Ok(json_answer(StatusCode::ACCEPTED, &accepted)),
            Err(error @ (AcceptError::Url(_) | AcceptError::Destination(_))) => {
                Err(Refused::Invalid(error.to_string()))
            }
            Err(AcceptError::UnknownProfile(_) | AcceptError::Render(_)) => Err(Refused::Internal),
            Err(AcceptError::Store(_)) => Err(Refused::Unavailable),
        }
    }

    /// Answers for the results of a task, whose id is the last segment of the path; a slash after it is overlooked.
    pub async fn results(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.try_results(&request).await.unwrap_or_else(Refused::response)
    }

    async fn try_results(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, Refused> {
        let cancels = match *request.method() {
            Method::GET => false,
            Method::DELETE if self.can_cancel => true,
            _ => {
                return Err(Refused::MethodNotAllowed {
                    can_cancel: self.can_cancel,
                });
            }
        };
        let path = request.uri().path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let id = TaskId::from(path.rsplit('/').next().unwrap_or_default());
        // Looked up first, and whatever the token is worth: see above.
        let found = self.runner.task(&id).await;
        let credentials = self.caller(request.headers()).await?;
        let record = self.owned(found, &credentials)?;
        if !cancels || record.ended.is_some() {
            return self.shown(&record);
        }
        match self.runner.cancel(&id).await {
            Ok(Cancelled::Done | Cancelled::TooLate | Cancelled::Unknown) => {
                let now = self.runner.task(&id).await;
                self.shown(&self.owned(now, &credentials)?)
            }
            Err(_) => Err(Refused::Unavailable),
        }
    }

    /// Whose request it is.
    async fn caller(&self, headers: &HeaderMap) -> Result<String, Refused> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let sole = values.next().filter(|_| values.next().is_none());
        let token = sole.and_then(|value| token_of(value.as_bytes()));
        let token = token.filter(|token| !token.is_empty()).map(Secret::new);
        let credentials = match token {
            None => None,
            Some(token) => match self.check.credentials(&token).await {
                Ok(credentials) => credentials,
                Err(CheckUnavailable) => return Err(Refused::Unavailable),
            },
        };
        credentials.ok_or(Refused::Unauthorised)
    }

    /// The task, if it is theirs.
    fn owned(
        &self,
        found: Result<Option<TaskRecord>, StoreError>,
        credentials: &str,
    ) -> Result<TaskRecord, Refused> {
        let record = found.map_err(|_| Refused::Unavailable)?;
        let owner = record
            .as_ref()
            .map_or("", |record| record.task.credentials_id.as_str());
        let is_theirs = Secret::from(owner) == Secret::from(credentials);
        record.filter(|_| is_theirs).ok_or(Refused::NotFound)
    }

    fn shown(&self, record: &TaskRecord) -> Result<Response<Bytes>, Refused> {
        let Some(EndedTask {
            end, keep, is_purged, ..
        }) = &record.ended
        else {
            return Ok(self.not_ready(record));
        };
        if *is_purged || self.runner.now() >= keep.results_until {
            return Err(Refused::Gone);
        }
        match end {
            TaskEnd::Succeeded(results) => self.succeeded(results),
            TaskEnd::Failed { error, description } => {
                let results = Results::<RawJson> {
                    error: Maybe::Value(error.clone()),
                    error_description: Maybe::Value(description.clone()),
                    ..status(record)
                };
                Ok(json_answer(StatusCode::OK, &results))
            }
        }
    }

    fn not_ready(&self, record: &TaskRecord) -> Response<Bytes> {
        let results = Results::<RawJson> {
            progress: record.progress.clone().map_or(Maybe::Absent, Maybe::Value),
            ..status(record)
        };
        let mut response = json_answer(StatusCode::ACCEPTED, &results);
        let seconds = self.poll_interval.as_secs().max(1);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
        response
    }

    fn succeeded(&self, results: &Bytes) -> Result<Response<Bytes>, Refused> {
        if let Some(media_type) = &self.media_type {
            return Ok(answer(StatusCode::OK, media_type.clone(), results.clone()));
        }
        // The work's own mistake, if it is none; better found out here than by whoever reads the envelope.
        let Ok(results) = json::parse::<RawJson>(results) else {
            return Err(Refused::Internal);
        };
        let envelope = Results {
            results: Maybe::Value(results),
            status: Maybe::Value(TaskStatus::Succeeded),
            ..Results::default()
        };
        Ok(json_answer(StatusCode::OK, &envelope))
    }
}

/// What is said of a task in any state but success.
fn status(record: &TaskRecord) -> Results<RawJson> {
    Results {
        status: Maybe::Value(record.status.clone()),
        results_uri: Maybe::Value(UrlText::from(record.task.results_uri.clone())),
        task_id: Maybe::Value(record.task.id.clone()),
        ..Results::default()
    }
}
