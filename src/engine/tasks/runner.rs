//! The runner as the application sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{Either, select};

use super::call::{AcceptError, Callbacks, NewCall};
use super::shift;
use super::work::{Reports, TaskContext, TaskError, TaskWork};
use crate::delivery::{Call, Event, Ids};
use crate::engine::assembly::Parts;
use crate::engine::registration::check_destination;
use crate::engine::{Dispatcher, Engine, EnqueueError};
use crate::id::{Fence, TaskId};
use crate::json::UrlText;
use crate::observe;
use crate::retry::Schedule;
use crate::store::{
    Keep, Listen, NewEvent, NewTask, Settled, StoreError, TaskEnd, TaskRecord, TaskSettlement, Wake,
};
use crate::task::{Accepted, TaskStatus};
use crate::time::{after, elapsed};
use crate::url::WebhookUrl;

/// Accepts asynchronous calls, does their work, keeps the results and rings back.
///
/// A task that was accepted comes to an end: it succeeds, fails, is cancelled or runs out of time, whatever becomes of
/// the process meanwhile, as long as a runner runs somewhere. Its result and its callback are stored in one commit.
///
/// Like a [`Worker`](crate::engine::Worker) it is polled where the application polls it. Clones share everything; any
/// number of runners, here and in other processes, can run over one store.
#[derive(Debug, Clone)]
pub struct TaskRunner {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) parts: Arc<Parts>,
    pub(super) dispatcher: Dispatcher,
    pub(super) work: Arc<dyn TaskWork>,
    pub(super) callbacks: Callbacks,
    pub(super) results_base: String,
    pub(super) concurrency: usize,
    pub(super) lease: Duration,
    pub(super) retries: Schedule,
    pub(super) most_interruptions: u32,
    pub(super) largest_results: usize,
    pub(super) running: Running,
    time_limit: Duration,
    keep_results: Duration,
    keep_records: Duration,
    most_at_once: usize,
    at_once: AtomicUsize,
    at_once_limit: Duration,
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
            retries: Schedule::task(),
            most_interruptions: 5,
            largest_results: 64 << 20,
            running: Running::default(),
            time_limit: Duration::from_secs(24 * 60 * 60),
            keep_results: Duration::from_secs(7 * 24 * 60 * 60),
            keep_records: Duration::from_secs(30 * 24 * 60 * 60),
            most_at_once: 16,
            at_once: AtomicUsize::new(0),
            at_once_limit: Duration::from_secs(60),
        })
    }

    /// Takes a call in. When this returns, the task is stored, and will be run and rung back about.
    ///
    /// # Errors
    ///
    /// [`AcceptError`] if the callback could never be sent, or the store fails. Nothing was taken in then, unless the
    /// store's error is [`Unknown`](crate::store::StoreErrorKind::Unknown); a task that was taken in all the same is
    /// run, and the call can be made again.
    pub async fn accept(&self, call: NewCall) -> Result<Accepted, AcceptError> {
        let shared = &*self.shared;
        let parts = &*shared.parts;
        let webhook_uri = call.webhook_uri.as_deref().map(WebhookUrl::parse).transpose()?;
        if let Some(url) = &webhook_uri {
            check_destination(url, &parts.guard, parts).map_err(AcceptError::Destination)?;
        }
        let now = parts.timer.now();
        let id = shared.new_id();
        let results_uri = format!("{}{id}", shared.results_base);
        let accepted = Accepted::new(UrlText::from(results_uri.clone()), TaskStatus::Queued, id.clone());
        let task = NewTask {
            id,
            credentials_id: call.credentials_id,
            request_uri: call.request_uri,
            input: call.input,
            results_uri,
            webhook_uri,
            deadline: after(now, call.time_limit.unwrap_or(shared.time_limit)),
        };
        if task.webhook_uri.is_some() {
            shared.try_callback(&task, now)?;
        }
        parts.store.create_task(task, now).await?;
        Ok(accepted)
    }

    /// Does a call's work here and now, for whoever waits for the answer: nothing is stored, nothing is tried again,
    /// and dropping the future ends it.
    ///
    /// # Errors
    ///
    /// [`RunNowError::Busy`] if as many are under way as [may be](TaskRunnerBuilder::at_once), or what the work ended
    /// with: a time-out has the code [`timeout`](TaskError::TIMEOUT), a panic
    /// [`internal_server_error`](TaskError::INTERNAL).
    pub async fn run_now(&self, call: NewCall) -> Result<Bytes, RunNowError> {
        let shared = &*self.shared;
        let _place = Place::take(shared).ok_or(RunNowError::Busy)?;
        let now = shared.parts.timer.now();
        let limit = call
            .time_limit
            .map_or(shared.at_once_limit, |limit| limit.min(shared.at_once_limit));
        let context = TaskContext {
            id: shared.new_id(),
            credentials_id: call.credentials_id,
            request_uri: call.request_uri,
            input: call.input,
            requested_at: now,
            deadline: after(now, limit),
            run: 1,
            reports: Reports::default(),
        };
        Ok(shared.work(&context).await?)
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

    /// Ends a task as `Failed` with the error `cancelled`, whether it is queued, waits for a retry, or runs, and rings
    /// back about it. The work is dropped at once where it runs on a clone of this runner; elsewhere, when its lease is
    /// renewed next.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn cancel(&self, id: &TaskId) -> Result<Cancelled, StoreError> {
        let shared = &*self.shared;
        let Some(record) = self.task(id).await? else {
            return Ok(Cancelled::Unknown);
        };
        if record.ended.is_some() {
            return Ok(Cancelled::TooLate);
        }
        let end = ended(Err(TaskError::cancelled()));
        let settlement = shared
            .settlement(&record.task, record.requested_at, None, end)
            .await?;
        match shared.finish(settlement).await? {
            Settled::Done => {
                shared.running.end(id);
                Ok(Cancelled::Done)
            }
            Settled::LeaseLost => Ok(Cancelled::TooLate),
        }
    }

    /// What time it is, for whoever has to say whether results have expired.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.shared.parts.timer.now()
    }

    /// Runs tasks without end.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Self::run_until).
    pub async fn run(&self) -> Result<(), StoreError> {
        self.run_until(std::future::pending()).await
    }

    /// Runs tasks until `stop` completes, then takes no more and gives those that run the engine's grace period. What
    /// is not done by then is given back, and is run again by whichever runner comes next.
    ///
    /// Failures of the store that may pass are waited out.
    ///
    /// # Errors
    ///
    /// The store's, where waiting helps nothing, as of a [worker](crate::engine::Worker::run_until).
    pub async fn run_until(&self, stop: impl Future<Output = ()> + Send) -> Result<(), StoreError> {
        shift::run_until(&self.shared, stop).await
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

    /// When a run that failed with a [retryable](TaskError::retryable) error is tried again. Default:
    /// [`Schedule::task`]. Retries that the schedule would put beyond the task's time limit are not made: the task ends
    /// with the error it had.
    pub fn retries(mut self, schedule: Schedule) -> Self {
        self.0.retries = schedule;
        self
    }

    /// How often a task's run may be cut short by the death of its process before the task is given up as `Failed`, so
    /// that one that kills its process comes to an end. Default 5.
    pub fn interruptions(mut self, most: u32) -> Self {
        self.0.most_interruptions = most;
        self
    }

    /// How long a task may take from being accepted to its end, waiting and retries included. Default: a day. It ends
    /// as `Failed` with the error [`timeout`](TaskError::TIMEOUT).
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.0.time_limit = limit;
        self
    }

    /// How long results can be fetched once a task has ended. Default: 7 days.
    pub fn keep_results(mut self, span: Duration) -> Self {
        self.0.keep_results = span;
        self
    }

    /// How much longer than its results a task is known, so that its owner is told that they have expired. Default:
    /// 30 days.
    pub fn keep_records(mut self, span: Duration) -> Self {
        self.0.keep_records = span;
        self
    }

    /// The largest results that are kept, in bytes: a task with larger ones fails. Default 64 MiB.
    pub fn largest_results(mut self, bytes: usize) -> Self {
        self.0.largest_results = bytes;
        self
    }

    /// How many [synchronous calls](TaskRunner::run_now) may be under way at once, beside the tasks. Default 16.
    pub fn at_once(mut self, calls: usize) -> Self {
        self.0.most_at_once = calls;
        self
    }

    /// How long a [synchronous call](TaskRunner::run_now) may take. Default 60 seconds, which is about as long as
    /// anybody keeps a connection waiting.
    pub fn at_once_limit(mut self, limit: Duration) -> Self {
        self.0.at_once_limit = limit;
        self
    }

    /// The runner.
    pub fn build(self) -> TaskRunner {
        TaskRunner {
            shared: Arc::new(self.0),
        }
    }
}

/// What became of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The task has ended with it.
    Done,
    /// The task had ended before.
    TooLate,
    /// There is no such task.
    Unknown,
}

/// Why a synchronous call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunNowError {
    /// Too many are under way.
    #[error("too many synchronous calls are under way")]
    Busy,
    /// The work failed.
    #[error(transparent)]
    Failed(#[from] TaskError),
}

/// How work ends a task.
pub(super) fn ended(outcome: Result<Bytes, TaskError>) -> TaskEnd {
    match outcome {
        Ok(results) => TaskEnd::Succeeded(results),
        Err(error) => TaskEnd::Failed {
            error: error.code().to_owned(),
            description: error.description().to_owned(),
        },
    }
}

impl Shared {
    /// Random, since whoever knows it may ask for the results.
    fn new_id(&self) -> TaskId {
        let mut random = [0; 16];
        self.parts.entropy.fill(&mut random);
        TaskId::from(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
    }

    /// Whether the profile can send such callbacks, asked while somebody is there to hear of it.
    fn try_callback(&self, task: &NewTask, now: DateTime<Utc>) -> Result<(), AcceptError> {
        let profile = self.parts.profiles.find(&self.callbacks.profile);
        let profile = profile.ok_or_else(|| AcceptError::UnknownProfile(self.callbacks.profile.clone()))?;
        if let Some(event) = self.callbacks.event(task, now, &TaskEnd::Succeeded(Bytes::new())) {
            let ids = Ids {
                number: 0,
                unique: [0; 16],
            };
            profile.render(&event, &ids, now)?;
        }
        Ok(())
    }

    /// Does the work within the time it has. A panic ends it and nothing else.
    pub(super) async fn work(&self, context: &TaskContext) -> Result<Bytes, TaskError> {
        let timer = &self.parts.timer;
        let left = elapsed(timer.now(), context.deadline);
        if left.is_zero() {
            return Err(TaskError::timeout());
        }
        let work = AssertUnwindSafe(async { self.work.run(context).await }).catch_unwind();
        match select(std::pin::pin!(work), timer.sleep(left)).await {
            Either::Left((Ok(Ok(results)), _)) if results.len() > self.largest_results => {
                Err(TaskError::internal("the results are too large"))
            }
            Either::Left((Ok(outcome), _)) => outcome,
            Either::Left((Err(_panic), _)) => Err(TaskError::internal("the work ended unexpectedly")),
            Either::Right(_) => Err(TaskError::timeout()),
        }
    }

    /// Records a task's end, and tells of the callback that was enqueued with it.
    pub(super) async fn finish(&self, settlement: TaskSettlement) -> Result<Settled, StoreError> {
        let callback = settlement.callback.clone();
        let finished = self
            .parts
            .store
            .finish_task(settlement, self.parts.timer.now())
            .await?;
        if let (Settled::Done, Some(callback)) = (finished, callback) {
            observe::enqueued_with_a_task(&*self.parts.store, &callback).await;
        }
        Ok(finished)
    }

    /// What rings back; nothing if that is what no profile can send. The results are there all the same.
    async fn callback(&self, event: Event, call: Call) -> Result<Option<NewEvent>, StoreError> {
        let (scope, id) = (event.scope().clone(), event.id().clone());
        match self.dispatcher.for_call(event, call).await {
            Ok(callback) => Ok(Some(callback)),
            Err(EnqueueError::Store(error)) => Err(error),
            Err(error) => {
                observe::unrendered(&scope, &id, &error);
                Ok(None)
            }
        }
    }

    /// A task's end together with its callback, if it asked for one.
    pub(super) async fn settlement(
        &self,
        task: &NewTask,
        requested_at: DateTime<Utc>,
        fence: Option<Fence>,
        end: TaskEnd,
    ) -> Result<TaskSettlement, StoreError> {
        let event = self.callbacks.event(task, requested_at, &end);
        let callback = match (&task.webhook_uri, event) {
            (Some(url), Some(event)) => self.callback(event, self.callbacks.call(url.clone())).await?,
            _ => None,
        };
        let results_until = after(self.parts.timer.now(), self.keep_results);
        Ok(TaskSettlement {
            id: task.id.clone(),
            fence,
            end,
            keep: Keep {
                results_until,
                known_until: after(results_until, self.keep_records),
            },
            callback,
        })
    }
}

/// The runs that are under way on one runner and its clones, so that a cancellation finds them.
#[derive(Default)]
pub(super) struct Running(Mutex<BTreeMap<(TaskId, Fence), Wake>>);

impl Running {
    /// Enters a run. What is returned completes if the run is to end, and leaves when it is dropped.
    pub(super) fn enter(&self, id: TaskId, fence: Fence) -> (Entered<'_>, Listen) {
        let bell = Wake::default();
        let end = bell.listen();
        let key = (id, fence);
        self.runs().insert(key.clone(), bell);
        (Entered { running: self, key }, end)
    }

    /// Ends the runs of a task.
    fn end(&self, id: &TaskId) {
        let first = (id.clone(), Fence(i64::MIN));
        let last = (id.clone(), Fence(i64::MAX));
        let bells: Vec<_> = self
            .runs()
            .range(first..=last)
            .map(|(_, bell)| bell.clone())
            .collect();
        bells.iter().for_each(Wake::ring);
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, BTreeMap<(TaskId, Fence), Wake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.runs().keys()).finish()
    }
}

/// A run that is under way.
pub(super) struct Entered<'a> {
    running: &'a Running,
    key: (TaskId, Fence),
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.running.runs().remove(&self.key);
    }
}

/// A place among the synchronous calls.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Option<Self> {
        let more = |taken| (taken < shared.most_at_once).then_some(taken + 1);
        let taken = shared
            .at_once
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.ok().map(|_| Self(&shared.at_once))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
