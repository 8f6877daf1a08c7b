//! One call: started, waited for, fetched.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::{Either, select};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response, Uri};
use serde::de::DeserializeOwned;

use super::answer::{self, Detail};
use super::builder::{Shared, TokenHash, hash_of};
use super::callback::TOKEN;
use super::error::{CallError, StartError};
use super::patience::{Patience, Polled, StatusSource, WaitError};
use super::waiter::Pace;
use super::watch::Watch;
use crate::id::TaskId;
use crate::json::{self, RawJson};
use crate::query;
use crate::retry::Schedule;
use crate::task::{Accepted, AsyncUriError, TaskProgress, TaskStatus, asynchronous};
use crate::time::{after, elapsed};

/// How the end of a call is learnt of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitBy {
    /// The service rings back.
    Webhook,
    /// Its results are asked for again and again.
    Polling,
    /// Both, and whichever comes first. A callback that is lost then costs a poll interval.
    Either,
}

/// A call that is still to be started. Made by [`CallClient::call`](super::CallClient::call).
#[must_use = "it is started with `start`"]
pub struct NewRequest {
    shared: Arc<Shared>,
    request: Request<Bytes>,
    by: WaitBy,
    deadline: Duration,
    polls: Arc<Schedule>,
}

impl NewRequest {
    pub(super) fn new(shared: Arc<Shared>, request: Request<Bytes>) -> Self {
        Self {
            by: match shared.webhook {
                Some(_) => WaitBy::Either,
                None => WaitBy::Polling,
            },
            deadline: shared.deadline,
            polls: Arc::clone(&shared.polls),
            shared,
            request,
        }
    }

    /// How its end is learnt of. Default: either, or by polling where the client has no webhook.
    pub fn wait_by(self, by: WaitBy) -> Self {
        Self { by, ..self }
    }

    /// How long it may take from now until its task has succeeded. Default: the client's. The results of one that has can
    /// still be fetched then, for as long as one request may take.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// When it is polled for. Default: the client's.
    pub fn polls(self, schedule: Schedule) -> Self {
        Self {
            polls: Arc::new(schedule),
            ..self
        }
    }

    /// Sends it, once. A service that has rung back already when its answer is lost has taken the call in all the same,
    /// and then the call counts as started.
    ///
    /// # Errors
    ///
    /// [`StartError`] if it was not accepted, as far as can be known. A callback that comes later is nobody's, and is
    /// handed to the application.
    pub async fn start(self) -> Result<PendingCall, StartError> {
        let Self {
            shared,
            request,
            by,
            deadline,
            polls,
        } = self;
        let ends = after(shared.timer.now(), deadline);
        let (mut head, body) = request.into_parts();
        let token = token(&shared);
        let webhook = match (by, &shared.webhook) {
            (WaitBy::Polling, _) => None,
            (_, None) => return Err(StartError::NoWebhook),
            (_, Some(base)) => Some(with_token(base, &token)?),
        };
        let service = head.uri.clone();
        head.uri = asynchronous(&head.uri, webhook.as_ref())?;
        let authorization = head.headers.get(AUTHORIZATION).cloned();
        let watch = shared.watches.watch(hash_of(&token));

        let answer = shared.send(Request::from_parts(head, body)).await;
        let accepted = match answer {
            Some(Ok(response)) => match accepted(&response) {
                Some(accepted) => Ok(accepted),
                None => Err(StartError::NotAccepted(response)),
            },
            Some(Err(error)) => Err(error.into()),
            None => Err(StartError::TimedOut),
        };
        let (task_id, results_uri) = match accepted {
            Ok(accepted) => {
                let results_uri = accepted.results_uri.as_str().to_owned();
                watch.report(accepted.status, None, Detail::default());
                (Some(accepted.task_id), Some(results_uri))
            }
            // It has rung back, so it has taken the call in.
            Err(_) if watch.latest().is_some() => (None, None),
            Err(error) => return Err(error),
        };
        Ok(PendingCall {
            not_found_left: AtomicU32::new(shared.not_found),
            shared,
            watch,
            task_id,
            results_uri,
            service,
            authorization,
            by,
            polls,
            deadline,
            ends,
        })
    }
}

impl fmt::Debug for NewRequest {
    /// Of the request only what is no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRequest")
            .field("method", self.request.method())
            .field("path", &self.request.uri().path())
            .field("by", &self.by)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Thirty-two random bytes, as text that goes into a URI as it is.
fn token(shared: &Shared) -> String {
    let mut bytes = [0; 32];
    shared.entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn with_token(base: &Uri, token: &str) -> Result<Uri, AsyncUriError> {
    query::add(base, &[(TOKEN, Some(token))]).map_err(|error| match error {
        query::AddError::Present(_) => AsyncUriError::ParameterPresent(TOKEN),
        query::AddError::NoPath => AsyncUriError::NoPath,
        query::AddError::TooLong => AsyncUriError::TooLong,
    })
}

fn accepted(response: &Response<Bytes>) -> Option<Accepted> {
    if !response.status().is_success() {
        return None;
    }
    json::parse(response.body()).ok()
}

/// A call that was started. Dropping it gives up waiting, and frees all that it holds; the service is not told, unless
/// it is [cancelled](Self::cancel) before.
pub struct PendingCall {
    shared: Arc<Shared>,
    watch: Watch<TokenHash, TaskStatus, Detail>,
    task_id: Option<TaskId>,
    results_uri: Option<String>,
    service: Uri,
    authorization: Option<HeaderValue>,
    by: WaitBy,
    polls: Arc<Schedule>,
    deadline: Duration,
    ends: DateTime<Utc>,
    not_found_left: AtomicU32,
}

impl PendingCall {
    /// The task's id; `None` if the service's answer was lost and its callback was not.
    pub fn task_id(&self) -> Option<&TaskId> {
        self.task_id.as_ref()
    }

    /// The status as last heard.
    pub fn status(&self) -> Option<TaskStatus> {
        self.watch.latest().map(|(status, _)| status)
    }

    /// How far the task has come, as last heard. Only polling brings it, and only from a service that says so.
    pub fn progress(&self) -> Option<TaskProgress> {
        self.watch.latest().and_then(|(_, detail)| detail.progress)
    }

    /// Waits until the task has succeeded. Dropping the future stops the waiting, and it can be waited again.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the task has failed, or did not end in time, or the service will not tell.
    pub async fn succeeded(&self) -> Result<(), CallError> {
        let patience = Patience::until(self.left());
        let patience = match self.by {
            WaitBy::Webhook => patience,
            WaitBy::Polling | WaitBy::Either => patience.polling_shared(Arc::clone(&self.polls)),
        };
        let waited = self
            .watch
            .wait(
                &TaskStatus::Succeeded,
                &patience,
                self,
                &*self.shared.timer,
                &*self.shared.entropy,
            )
            .await;
        match waited {
            Ok(_) => Ok(()),
            Err(WaitError::Missed(_)) => Err(self.latest().failure()),
            Err(WaitError::TimedOut) => Err(CallError::TimedOut),
            Err(WaitError::Source(error)) => Err(error),
        }
    }

    /// Waits until the task has succeeded, and fetches its results.
    ///
    /// # Errors
    ///
    /// As [`succeeded`](Self::succeeded), and if the results cannot be fetched or are not of this type.
    pub async fn results<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        Ok(self.raw_results().await?.read()?)
    }

    /// The same, as the text that the service wrote.
    ///
    /// # Errors
    ///
    /// As [`succeeded`](Self::succeeded), and if the results cannot be fetched.
    pub async fn raw_results(&self) -> Result<RawJson, CallError> {
        self.succeeded().await?;
        if let Some(results) = self.latest().results {
            return Ok(results); // they came with the last poll
        }
        // What is there can be had: also of a task that ended in the last moment, and where the clock was set ahead.
        let patience = self.left().max(self.shared.request_deadline);
        let fetching = std::pin::pin!(self.fetch());
        match select(fetching, self.shared.timer.sleep(patience)).await {
            Either::Left((fetched, _)) => fetched,
            Either::Right(_) => Err(CallError::TimedOut),
        }
    }

    /// Asks for the results until they are there: a service that has rung back may still need a moment.
    async fn fetch(&self) -> Result<RawJson, CallError> {
        let (timer, entropy) = (&self.shared.timer, &*self.shared.entropy);
        let mut pace = Pace::new(&self.polls, timer.now());
        loop {
            let Polled { status, retry_after } = self.ask().await?;
            match status {
                Some((TaskStatus::Failed, _, detail)) => return Err(detail.failure()),
                Some((_, _, detail)) => {
                    if let Some(results) = detail.results {
                        return Ok(results);
                    }
                }
                None => {}
            }
            pace.asked(retry_after);
            match pace.next(timer.now(), entropy) {
                Some(due) => timer.sleep(elapsed(timer.now(), due)).await,
                None => return std::future::pending().await,
            }
        }
    }

    /// Asks the service to cancel the task, where it offers that: `DELETE` on its results URI. Whether it does shows in
    /// how the task ends, so the call can still be waited for.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] if the service does not offer it, or [`CallError::TimedOut`] if it does not answer.
    pub async fn cancel(&self) -> Result<(), CallError> {
        let request = self.request(Method::DELETE)?;
        match self.shared.send(request).await {
            Some(Ok(response)) if response.status().is_success() => Ok(()),
            Some(Ok(response)) => Err(CallError::Refused(response.status())),
            Some(Err(_)) | None => Err(CallError::TimedOut),
        }
    }

    /// How long it may still take: never more than at the start, though the clock may have been set back.
    fn left(&self) -> Duration {
        elapsed(self.shared.timer.now(), self.ends).min(self.deadline)
    }

    fn latest(&self) -> Detail {
        self.watch.latest().map(|(_, detail)| detail).unwrap_or_default()
    }

    fn request(&self, method: Method) -> Result<Request<Bytes>, CallError> {
        let uri = match &self.results_uri {
            Some(uri) => uri.clone(),
            None => self.latest().results_uri.ok_or(CallError::NowhereResults)?,
        };
        let uri = absolute(&uri, &self.service).ok_or(CallError::NowhereResults)?;
        if !self.shared.trusts(&self.service, &uri) {
            return Err(CallError::ElsewhereResults);
        }
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

/// Where the results are, from where the call went if only a path is given.
fn absolute(results: &str, service: &Uri) -> Option<Uri> {
    let uri: Uri = results.parse().ok()?;
    if uri.scheme().is_some() {
        return Some(uri);
    }
    let mut parts = service.clone().into_parts();
    parts.path_and_query = Some(uri.into_parts().path_and_query?);
    Uri::from_parts(parts).ok()
}

#[async_trait]
impl StatusSource<TaskStatus, Detail> for PendingCall {
    type Error = CallError;

    async fn ask(&self) -> Result<Polled<TaskStatus, Detail>, CallError> {
        let request = self.request(Method::GET)?;
        let Some(Ok(response)) = self.shared.send(request).await else {
            return Ok(Polled::nothing());
        };
        let mut polled = answer::read(&response, &self.not_found_left)?;
        // Where the results are may be known from the callback alone.
        let known = self.watch.latest().map(|(_, detail)| detail);
        polled.status = polled
            .status
            .map(|(status, at, detail)| (status, at, detail.after(known.as_ref())));
        Ok(polled)
    }
}

impl Debug for PendingCall {
    /// Of URIs and headers nothing is shown, since secrets are in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCall")
            .field("task_id", &self.task_id)
            .field("status", &self.status())
            .field("by", &self.by)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}
