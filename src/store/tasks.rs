//! Asynchronous calls on the side that offers them.

use std::fmt::{self, Debug};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{ClaimRequest, NewEvent, Settled, StoreError, Wake};
use crate::id::{Fence, TaskId};
use crate::secret::Hidden;
use crate::task::TaskStatus;
use crate::url::WebhookUrl;

/// Keeps tasks from the moment they are accepted until their results have been kept long enough.
///
/// # Contract
///
/// A task is created `Queued`. A claim makes it `Running` under a fence one higher than before; a `Running`
/// task whose lease has ended is claimed again, still `Running`. `finish` stores the end *and* enqueues the
/// callback in one commit, so there is never a result without its callback nor a callback without its result.
/// With a fence that is not the task's present one it changes nothing. A finished task never changes again.
/// Claims go in the order of creation.
///
/// # Errors
///
/// As the [module](super) says.
#[async_trait]
pub trait TaskStore: Debug + Send + Sync + 'static {
    /// Takes in a task. Whether its id was new; if not, nothing is changed.
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// The task with that id.
    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError>;

    /// Claims up to `request.max` tasks that are queued, or whose runner's lease has ended.
    async fn claim_tasks(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError>;

    /// Extends the lease of a running task.
    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError>;

    /// Records a task's end and enqueues its callback, in one commit.
    async fn finish_task(
        &self,
        settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError>;

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
    /// How far it is.
    pub status: TaskStatus,
    /// Its end, once it has one.
    pub end: Option<TaskEnd>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
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
}

/// A task's end, to be recorded.
#[derive(Debug, Clone)]
pub struct TaskSettlement {
    /// Which task.
    pub id: TaskId,
    /// The fence it was claimed with.
    pub fence: Fence,
    /// How it ended.
    pub end: TaskEnd,
    /// The callback, where one was asked for.
    pub callback: Option<NewEvent>,
}
