//! Asynchronous calls on the side that offers them.

use std::fmt::{self, Debug};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{ClaimRequest, NewEvent, Settled, StoreError, Wake};
use crate::id::{Fence, TaskId};
use crate::secret::Hidden;
use crate::task::{TaskProgress, TaskStatus};
use crate::url::WebhookUrl;

/// Keeps tasks from the moment they are accepted until their results have been kept long enough.
///
/// # Contract
///
/// A task is created `Queued`. A claim makes it `Running` under a fence one higher than before, and holds it under a
/// lease. From then on it is `Running` until it ends, whether somebody holds it or not:
///
/// - a lease that has ended is claimed again, and counted as an interruption;
/// - a holder can [pause](Self::pause_task) it, and then nobody holds it until it is claimed when it is due.
///
/// Claims give those that have run before first, in the order in which they became due, then those that are queued,
/// in the order of creation.
///
/// `finish_task` stores the end *and* enqueues the callback in one commit, so there is never a result without its
/// callback nor a callback without its result. What is reported under a fence that is not that of the task's present
/// holder changes nothing. A finished task never changes again, but for what [`purge_tasks`](Self::purge_tasks) takes
/// away.
///
/// # Errors
///
/// As the [module](super) says.
///
/// # Cancellation
///
/// As the [module](super) says.
#[async_trait]
pub trait TaskStore: Debug + Send + Sync + 'static {
    /// Takes in a task. Whether its id was new; if not, nothing is changed.
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// The task with that id.
    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError>;

    /// Claims up to `request.max` tasks that are queued, paused and due, or whose holder's lease has ended. What was
    /// reported of their progress is forgotten, since they start anew.
    async fn claim_tasks(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError>;

    /// Extends the lease of a running task: it lasts from `now` on. May be as little durable as a claim.
    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError>;

    /// Notes how far a running task has come, in place of what was noted before. May be as little durable as a claim.
    async fn report_task(
        &self,
        id: &TaskId,
        fence: Fence,
        progress: TaskProgress,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError>;

    /// Gives a task back that has not ended.
    async fn pause_task(
        &self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError>;

    /// Records a task's end and enqueues its callback, in one commit. [`Settled::LeaseLost`] says that nothing was
    /// done: the fence is not the present holder's, or the task has ended, or there is none.
    async fn finish_task(
        &self,
        settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError>;

    /// Takes away what has been kept long enough, of at most `max` tasks: all of a task whose
    /// [`known_until`](Keep::known_until) has come, and the input, the results and the description of the error of one
    /// whose [`results_until`](Keep::results_until) has. Of how many; if that is `max`, there may be more.
    async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError>;

    /// The earliest instant at which a claim could return a task that it cannot return now.
    async fn next_task_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Rings when a task may have become due sooner than [`next_task_due`](Self::next_task_due) last said.
    fn task_wake(&self) -> &Wake;
}

/// A task to take in.
#[derive(Clone, PartialEq, Eq)]
pub struct NewTask {
    /// Its id, random, since whoever knows it may ask for the results.
    pub id: TaskId,
    /// Who called, in the service's own terms.
    pub credentials_id: String,
    /// The URI that was called, without `async` and `webhook_uri`.
    pub request_uri: String,
    /// Whatever the work needs to run: the request's body, or anything the service makes of the request.
    pub input: Bytes,
    /// Where the results can be fetched from.
    pub results_uri: String,
    /// Where the callback goes.
    pub webhook_uri: Option<WebhookUrl>,
    /// When it is to have ended. The store only keeps it; whoever claims the task ends it then.
    pub deadline: DateTime<Utc>,
}

impl fmt::Debug for NewTask {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewTask")
            .field("id", &self.id)
            .field("credentials_id", &Hidden(&self.credentials_id))
            .field("request_uri", &Hidden(&self.request_uri))
            .field("input", &Hidden(&self.input))
            .field("results_uri", &Hidden(&self.results_uri))
            .field("webhook_uri", &self.webhook_uri)
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// A task as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// What was asked.
    pub task: NewTask,
    /// When it was asked.
    pub requested_at: DateTime<Utc>,
    /// Whether it waits, runs, or how it ended.
    pub status: TaskStatus,
    /// How far it has come, if whoever works on it said so.
    pub progress: Option<TaskProgress>,
    /// How it ended, once it has.
    pub ended: Option<EndedTask>,
}

/// The end of a task, as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedTask {
    /// How it ended.
    pub end: TaskEnd,
    /// When.
    pub at: DateTime<Utc>,
    /// For how long it is kept.
    pub keep: Keep,
    /// Whether input, results and the error's description have been taken away. They are empty then.
    pub is_purged: bool,
}

/// For how long an ended task is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// From then on its results may no longer be shown, and can be taken away.
    pub results_until: DateTime<Utc>,
    /// From then on nothing need be known of it any more. Until then its owner can be told that it has expired.
    pub known_until: DateTime<Utc>,
}

/// How a task ended.
#[derive(Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// With these results.
    Succeeded(Bytes),
    /// With this error.
    Failed {
        /// A code for programs.
        error: String,
        /// A text for people.
        description: String,
    },
}

impl fmt::Debug for TaskEnd {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(results) => f.debug_tuple("Succeeded").field(&Hidden(results)).finish(),
            Self::Failed { error, .. } => f
                .debug_struct("Failed")
                .field("error", error)
                .finish_non_exhaustive(),
        }
    }
}

impl TaskEnd {
    /// The status a task has at this end.
    pub fn status(&self) -> TaskStatus {
        match self {
            TaskEnd::Succeeded(_) => TaskStatus::Succeeded,
            TaskEnd::Failed { .. } => TaskStatus::Failed,
        }
    }
}

/// A task in the hands of whoever claimed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTask {
    /// What was asked.
    pub task: NewTask,
    /// When it was asked.
    pub requested_at: DateTime<Utc>,
    /// What to finish it with.
    pub fence: Fence,
    /// How often it has been claimed, this time included.
    pub runs: u32,
    /// How many of the runs before ended with the holder's lease, and with nothing else: because the process died, as
    /// far as anyone knows.
    pub interruptions: u32,
    /// How many of the runs before were to be [retried](TaskPause::Retry).
    pub failures: u32,
    /// When the first of those failed.
    pub first_failure: Option<DateTime<Utc>>,
}

/// Why a task is given back that has not ended, and when it can be claimed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskPause {
    /// The run failed, and is tried again at this instant. It is counted as a failure.
    Retry(DateTime<Utc>),
    /// The holder stops. It can be claimed at once, and nothing is counted.
    Handover,
}

/// A task's end, to be recorded.
#[derive(Debug, Clone)]
pub struct TaskSettlement {
    /// Which task.
    pub id: TaskId,
    /// The fence it was claimed with. Without one it ends whoever holds it, or if nobody does: so is it cancelled.
    pub fence: Option<Fence>,
    /// How it ended.
    pub end: TaskEnd,
    /// For how long it is kept.
    pub keep: Keep,
    /// The callback, where one was asked for.
    pub callback: Option<NewEvent>,
}
