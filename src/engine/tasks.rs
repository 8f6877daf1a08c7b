//! Offering slow work as asynchronous calls.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::assembly::Parts;
use super::registration::check_destination;
use super::{Dispatcher, Engine, RegisterError};
use crate::delivery::{Call, Event, Limits};
use crate::id::{AuthId, Fence, ProfileName, Scope, TaskId};
use crate::json::{Maybe, Timestamp, UrlText};
use crate::secret::Hidden;
use crate::store::{
    ClaimRequest, ClaimedTask, Listen, NewEvent, NewTask, Settled, StoreError, TaskEnd, TaskRecord,
    TaskSettlement,
};
use crate::task::{Accepted, Callback, TaskStatus};
use crate::time::elapsed;
use crate::url::{UrlError, WebhookUrl};

/// How long to leave a store alone that has just failed.
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// The slow work behind an asynchronous call.
///
/// # Contract
///
/// `run` may run more than once for one task, when a process died in the middle: what it does should bear that. It
/// is polled by the runner, so it must not block its thread.
///
/// # Errors
///
/// A [`TaskError`] ends the task as `Failed`, with its code and description for whoever called. A panic ends it
/// so too.
///
/// # Cancellation
///
/// The future is dropped when the runner stops or has lost the task to another one.
///
/// ```
/// use async_trait::async_trait;
/// use bytes::Bytes;
/// use ringback::engine::{TaskContext, TaskError, TaskWork};
///
/// #[derive(Debug)]
/// struct Report;
///
/// #[async_trait]
/// impl TaskWork for Report {
///     async fn run(&self, task: &TaskContext) -> Result<Bytes, TaskError> {
///         match task.input.as_ref() {
///             b"" => Err(TaskError::new("validation_error", "nothing to report on")),
///             input => Ok(Bytes::from(format!(r#"{{"bytes":{}}}"#, input.len()))),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait TaskWork: Debug + Send + Sync + 'static {
    /// Does the work, and returns the results as they will be fetched.
    async fn run(&self, task: &TaskContext) -> Result<Bytes, TaskError>;
}

/// What the work is given.
#[derive(Clone)]
#[non_exhaustive]
pub struct TaskContext {
    /// Which task.
    pub id: TaskId,
    /// Who called.
    pub credentials_id: String,
    /// What was called.
    pub request_uri: String,
    /// What was given to [`TaskRunner::accept`] as input.
    pub input: Bytes,
    /// When it was called.
    pub requested_at: DateTime<Utc>,
    /// 1 for the first run; more if a run was cut short.
    pub run: u32,
}

impl fmt::Debug for TaskContext {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("id", &self.id)
            .field("credentials_id", &Hidden(&self.credentials_id))
            .field("request_uri", &Hidden(&self.request_uri))
            .field("input", &Hidden(&self.input))
            .field("requested_at", &self.requested_at)
            .field("run", &self.run)
            .finish()
    }
}

/// Why the work came to nothing. Both texts go to whoever called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {description}")]
pub struct TaskError {
    code: String,
    description: String,
}

impl TaskError {
    /// A code for programs, and a text for people.
    pub fn new(code: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            description: description.into(),
        }
    }
}

/// An asynchronous call, as the service took it.
#[derive(Clone)]
pub struct NewCall {
    /// Who calls: only they may fetch the results.
    pub credentials_id: String,
    /// The URI that was called, for the callback.
    pub request_uri: String,
    /// Whatever the work needs.
    pub input: Bytes,
    /// Where to ring back, as the caller gave it.
    pub webhook_uri: Option<String>,
}

impl fmt::Debug for NewCall {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCall")
            .field("credentials_id", &Hidden(&self.credentials_id))
            .field("request_uri", &Hidden(&self.request_uri))
            .field("input", &Hidden(&self.input))
            .finish_non_exhaustive()
    }
}

/// How callbacks are sent: the URL comes with each call, the rest is the same for all.
#[derive(Debug, Clone)]
pub struct Callbacks {
    /// How they are sent.
    pub profile: ProfileName,
    /// How they prove themselves.
    pub auth: Option<AuthId>,
    /// How much may go on at once to one scheme, host and port.
    pub limits: Limits,
    /// The scope that their events are of.
    pub scope: Scope,
}

impl Callbacks {
    /// Callbacks sent as the profile of that name says, unsigned (as TrueLayer's are), of the scope `tasks`.
    pub fn new(profile: impl Into<ProfileName>) -> Self {
        Self {
            profile: profile.into(),
            auth: None,
            limits: Limits::default(),
            scope: Scope::from("tasks"),
        }
    }

    /// Lets them prove themselves.
    #[must_use]
    pub fn with_auth(self, auth: impl Into<AuthId>) -> Self {
        Self {
            auth: Some(auth.into()),
            ..self
        }
    }
}

/// Accepts asynchronous calls, does their work, keeps the results and rings back.
#[derive(Debug, Clone)]
pub struct TaskRunner {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    parts: Arc<Parts>,
    dispatcher: Dispatcher,
    work: Arc<dyn TaskWork>,
    callbacks: Callbacks,
    results_base: String,
    concurrency: usize,
    lease: Duration,
}

/// Puts a [`TaskRunner`] together.
#[derive(Debug)]
#[must_use = "a runner comes of it with `build`"]
pub struct TaskRunnerBuilder(Shared);

impl TaskRunner {
    /// A runner of that work. Results are fetched from `results_base` followed by the task's id; callbacks are sent
    /// as `callbacks` says.
    pub fn builder(
        engine: &Engine,
        work: impl TaskWork,
        results_base: impl Into<String>,
        callbacks: Callbacks,
    ) -> TaskRunnerBuilder {
        TaskRunnerBuilder(Shared {
            parts: Arc::clone(engine.parts()),
            dispatcher: engine.dispatcher(),
            work: Arc::new(work),
            callbacks,
            results_base: results_base.into(),
            concurrency: 16,
            lease: Duration::from_secs(60),
        })
    }

    /// Takes a call in. When this returns, the task is stored, and will be run and rung back about.
    ///
    /// # Errors
    ///
    /// [`AcceptError`] if the callback could never be sent, or the store fails. Nothing was taken in then.
    pub async fn accept(&self, call: NewCall) -> Result<Accepted, AcceptError> {
        let Shared {
            parts,
            results_base,
            callbacks,
            ..
        } = &*self.shared;
        let webhook_uri = call.webhook_uri.as_deref().map(WebhookUrl::parse).transpose()?;
        if let Some(url) = &webhook_uri {
            check_destination(url, parts).map_err(AcceptError::Destination)?;
            if parts.profiles.find(&callbacks.profile).is_none() {
                return Err(AcceptError::UnknownProfile(callbacks.profile.clone()));
            }
        }
        let mut random = [0; 16];
        parts.entropy.fill(&mut random);
        let id = TaskId::from(uuid::Builder::from_random_bytes(random).into_uuid().to_string());
        let results_uri = format!("{results_base}{id}");
        let accepted = Accepted::new(UrlText::from(results_uri.clone()), TaskStatus::Queued, id.clone());
        let task = NewTask {
            id,
            credentials_id: call.credentials_id,
            request_uri: call.request_uri,
            input: call.input,
            results_uri,
            webhook_uri,
        };
        parts.store.create_task(task, parts.timer.now()).await?;
        Ok(accepted)
    }

    /// A task, for whoever asks for its status or results. That they may is for the caller to check, against
    /// [`NewTask::credentials_id`].
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.shared.parts.store.task(id).await
    }

    /// Runs tasks until `stop` completes, then takes no more and gives those that run the engine's grace period. What
    /// is not done by then is run again, by whichever runner comes next.
    pub async fn run_until(&self, stop: impl Future<Output = ()> + Send) {
        let shared = &*self.shared;
        let mut steps: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        steps.push(stop.map(|()| Step::Stop).boxed());
        let mut running = BTreeMap::new();
        let (mut looking, mut waiting, mut stopping) = (false, false, false);
        loop {
            let free = shared.concurrency.saturating_sub(running.len());
            if !looking && !waiting && !stopping && free > 0 {
                looking = true;
                steps.push(shared.look(free).map(Step::Looked).boxed());
            }
            if stopping && running.is_empty() && !looking {
                return;
            }
            match steps.next().await {
                // Before the end there is always a step: a look, a wait for the next one, or the end of the grace.
                None => return,
                Some(Step::GraceOver) => {
                    steps.clear(); // whatever ran is dropped
                    return shared.hand_back(running).await;
                }
                Some(Step::Stop) => {
                    stopping = true;
                    steps.push(
                        shared
                            .parts
                            .timer
                            .sleep(shared.parts.grace)
                            .map(|()| Step::GraceOver)
                            .boxed(),
                    );
                }
                Some(Step::LookAgain) => waiting = false,
                Some(Step::Ended(id)) => drop(running.remove(&id)),
                Some(Step::Looked(found)) if stopping => {
                    looking = false;
                    let claimed = found
                        .claimed
                        .into_iter()
                        .map(|claimed| (claimed.task.id, claimed.fence));
                    shared.hand_back(claimed).await;
                }
                Some(Step::Looked(found)) => {
                    (looking, waiting) = (false, true);
                    for claimed in found.claimed {
                        let id = claimed.task.id.clone();
                        running.insert(id.clone(), claimed.fence);
                        steps.push(shared.run(claimed).map(|()| Step::Ended(id)).boxed());
                    }
                    let wait = select(found.ring, shared.parts.timer.sleep(found.wait));
                    steps.push(wait.map(|_: Either<_, _>| Step::LookAgain).boxed());
                }
            }
        }
    }
}

impl TaskRunnerBuilder {
    /// How many tasks run at once, at least 1. Default 16.
    pub fn concurrency(mut self, tasks: usize) -> Self {
        self.0.concurrency = tasks.max(1);
        self
    }

    /// How long a runner that died keeps a task from being run by another, at least
    /// 1 second. Renewed at half of it. Default 60 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.0.lease = lease.max(Duration::from_secs(1));
        self
    }

    /// The runner.
    pub fn build(self) -> TaskRunner {
        TaskRunner {
            shared: Arc::new(self.0),
        }
    }
}

enum Step {
    Stop,
    GraceOver,
    Looked(Found),
    LookAgain,
    Ended(TaskId),
}

struct Found {
    claimed: Vec<ClaimedTask>,
    ring: Listen,
    wait: Duration,
}

impl Shared {
    async fn look(&self, max: usize) -> Found {
        let parts = &self.parts;
        let ring = parts.store.task_wake().listen();
        let now = parts.timer.now();
        let request = ClaimRequest {
            holder: parts.holder.clone(),
            now,
            lease: self.lease,
            max,
        };
        let Ok(claimed) = parts.store.claim_tasks(request).await else {
            return Found {
                claimed: Vec::new(),
                ring,
                wait: STORE_PAUSE,
            };
        };
        let next = parts.store.next_task_due(now).await.unwrap_or(None);
        let wait = next
            .map_or(parts.poll_interval, |next| elapsed(now, next))
            .min(parts.poll_interval);
        Found {
            claimed,
            ring,
            wait: wait.max(Duration::from_millis(1)),
        }
    }

    /// Runs a task to its end, for as long as the lease on it is held.
    async fn run(&self, claimed: ClaimedTask) {
        let ClaimedTask {
            task,
            requested_at,
            fence,
            runs,
        } = claimed;
        let context = TaskContext {
            id: task.id.clone(),
            credentials_id: task.credentials_id.clone(),
            request_uri: task.request_uri.clone(),
            input: task.input.clone(),
            requested_at,
            run: runs,
        };
        let work = std::pin::pin!(async {
            let end = self.work(&context).await;
            self.finish(&task, requested_at, fence, end).await;
        });
        let lost = std::pin::pin!(self.keep_lease(&context.id, fence));
        let _: Either<_, _> = select(work, lost).await;
    }

    async fn work(&self, context: &TaskContext) -> TaskEnd {
        // A panic in the user's work ends this task and nothing else.
        let work = AssertUnwindSafe(async { self.work.run(context).await }).catch_unwind();
        match work.await {
            Ok(Ok(results)) => TaskEnd::Succeeded(results),
            Ok(Err(error)) => TaskEnd::Failed {
                error: error.code,
                description: error.description,
            },
            Err(_panic) => TaskEnd::Failed {
                error: "internal_server_error".to_owned(),
                description: "the work ended unexpectedly".to_owned(),
            },
        }
    }

    /// Renews the lease at half its life; returns once it is lost.
    async fn keep_lease(&self, id: &TaskId, fence: Fence) {
        let mut wait = self.lease / 2;
        loop {
            self.parts.timer.sleep(wait).await;
            let now = self.parts.timer.now();
            wait = match self.parts.store.renew_task(id, fence, self.lease, now).await {
                Ok(Settled::Done) => self.lease / 2,
                Ok(Settled::LeaseLost) => return,
                Err(_) => STORE_PAUSE,
            };
        }
    }

    /// Ends the leases on tasks that will not be run here, so that whoever comes next need not wait for their end.
    async fn hand_back(&self, tasks: impl IntoIterator<Item = (TaskId, Fence)>) {
        let now = self.parts.timer.now();
        for (id, fence) in tasks {
            // If the store will not, the lease ends by itself.
            let _ = self.parts.store.renew_task(&id, fence, Duration::ZERO, now).await;
        }
    }

    /// Stores the end and the callback. A store that fails is asked again, for as long as the lease is held.
    async fn finish(&self, task: &NewTask, requested_at: DateTime<Utc>, fence: Fence, end: TaskEnd) {
        let callback = loop {
            match self.callback(task, requested_at, &end).await {
                Ok(callback) => break callback,
                Err(_) => self.parts.timer.sleep(STORE_PAUSE).await,
            }
        };
        let settlement = TaskSettlement {
            id: task.id.clone(),
            fence,
            end,
            callback,
        };
        while self
            .parts
            .store
            .finish_task(settlement.clone(), self.parts.timer.now())
            .await
            .is_err()
        {
            self.parts.timer.sleep(STORE_PAUSE).await;
        }
    }

    async fn callback(
        &self,
        task: &NewTask,
        requested_at: DateTime<Utc>,
        end: &TaskEnd,
    ) -> Result<Option<NewEvent>, StoreError> {
        let Some(url) = task.webhook_uri.clone() else {
            return Ok(None);
        };
        let status = end.status();
        let (error, error_description) = match end {
            TaskEnd::Succeeded(_) => (None, None),
            TaskEnd::Failed { error, description } => (Some(error.clone()), Some(description.clone())),
        };
        let callback = Callback {
            request_timestamp: Maybe::Value(Timestamp::from(
                requested_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            )),
            request_uri: Maybe::Value(UrlText::from(task.request_uri.clone())),
            credentials_id: Maybe::Value(task.credentials_id.clone()),
            results_uri: Maybe::Value(UrlText::from(task.results_uri.clone())),
            error: Maybe::or_null(error),
            error_description: Maybe::or_null(error_description),
            ..Callback::new(task.id.clone(), status.clone())
        };
        let Callbacks {
            profile,
            auth,
            limits,
            scope,
        } = self.callbacks.clone();
        let call = Call {
            url,
            profile,
            auth,
            limits,
        };
        let event = serde_json::to_vec(&callback).ok().and_then(|body| {
            Event::builder(scope, format!("{}/{}", task.id, status.as_str()), "task")
                .json(body)
                .build()
                .ok()
        });
        let Some(event) = event else { return Ok(None) };
        self.dispatcher.callback(event, call).await.map(Some)
    }
}

/// Why a call was not taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// `webhook_uri` is not a URL that everyone reads the same way.
    #[error("webhook_uri cannot be used: {0}")]
    Url(#[from] UrlError),
    /// `webhook_uri` leads where callbacks may not go.
    #[error("webhook_uri cannot be used: {0}")]
    Destination(#[source] RegisterError),
    /// The engine was built without the profile that callbacks are sent as.
    #[error("there is no profile `{0}`")]
    UnknownProfile(ProfileName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
