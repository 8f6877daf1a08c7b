//! What the application does, and what it is given.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::StatusCode;

use crate::id::TaskId;
use crate::secret::Hidden;
use crate::store::{Listen, Wake};
use crate::task::TaskProgress;

/// The slow work behind an asynchronous call.
///
/// All tasks in a store are run by the same work. A service with several slow endpoints tells them apart by
/// [`request_uri`](TaskContext::request_uri).
///
/// # Contract
///
/// `run` may run more than once for one task, when a process died in the middle or a try failed, and in the worst case
/// twice at the same time, when a machine was cut off from the store: what it does should bear that. It is polled by
/// the runner, so it must not block its thread.
///
/// # Errors
///
/// A [`TaskError`] ends the task as `Failed`, with its code and description for whoever called, unless it is
/// [retryable](TaskError::retryable) and the runner's schedule has a retry left. A panic ends the task too.
///
/// # Cancellation
///
/// The future is dropped when the task was cancelled or its time is over, when the runner stops, or when it has lost
/// the task to another one.
///
/// ```
/// use async_trait::async_trait;
/// use bytes::Bytes;
/// use ringback::engine::{TaskContext, TaskError, TaskWork};
/// use ringback::task::TaskProgress;
///
/// #[derive(Debug)]
/// struct Report;
///
/// #[async_trait]
/// impl TaskWork for Report {
///     async fn run(&self, task: &TaskContext) -> Result<Bytes, TaskError> {
///         let lines: Vec<_> = task.input.split(|byte| *byte == b'\n').collect();
///         if lines.is_empty() {
///             return Err(TaskError::new("validation_error", "nothing to report on"));
///         }
///         for (done, _line) in lines.iter().enumerate() {
///             task.report(TaskProgress::of(done as u64, lines.len() as u64).with_message("counting"));
///         }
///         Ok(Bytes::from(format!(r#"{{"lines":{}}}"#, lines.len())))
///     }
/// }
/// ```
#[async_trait]
pub trait TaskWork: Debug + Send + Sync + 'static {
    /// Does the work, and returns the results.
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
    /// What was given as input: the body of the request, where it came through `CallHandlers`.
    pub input: Bytes,
    /// When it was called.
    pub requested_at: DateTime<Utc>,
    /// When it must have ended.
    pub deadline: DateTime<Utc>,
    /// 1 for the first run; more if one failed or was cut short.
    pub run: u32,
    pub(super) reports: Reports,
}

impl TaskContext {
    /// Says how far the work has come. It may be called as often as one likes: only the latest is kept, and it is
    /// stored a few times a second at most.
    pub fn report(&self, progress: TaskProgress) {
        self.reports.put(progress);
    }
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
            .field("deadline", &self.deadline)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// The latest report that was not stored yet.
#[derive(Clone, Default)]
pub(super) struct Reports(Arc<Latest>);

#[derive(Default)]
struct Latest {
    progress: Mutex<Option<TaskProgress>>,
    bell: Wake,
}

impl Reports {
    fn put(&self, progress: TaskProgress) {
        *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        self.0.bell.ring();
    }

    pub(super) fn take(&self) -> Option<TaskProgress> {
        self.0
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn listen(&self) -> Listen {
        self.0.bell.listen()
    }
}

/// Why the work came to nothing. Code and description go to whoever called.
///
/// ```
/// use http::StatusCode;
/// use ringback::engine::TaskError;
///
/// let theirs = TaskError::new("validation_error", "`from` is no date").with_status(StatusCode::BAD_REQUEST);
/// let passing = TaskError::retryable("provider_timeout", "the bank did not answer");
/// assert!(!theirs.is_retryable() && passing.is_retryable());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {description}")]
pub struct TaskError {
    code: String,
    description: String,
    is_retryable: bool,
    status: StatusCode,
}

impl TaskError {
    /// The code of a task that was cancelled.
    pub const CANCELLED: &'static str = "cancelled";
    /// The code of a task that did not end in time.
    pub const TIMEOUT: &'static str = "timeout";
    /// The code of a task whose work panicked, or died again and again.
    pub const INTERNAL: &'static str = "internal_server_error";

    /// A code for programs, and a text for people. It would be no use to try again.
    pub fn new(code: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            description: description.into(),
            is_retryable: false,
            status: StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The same, for what may pass: it is tried again as the runner's
    /// [schedule](super::TaskRunnerBuilder::retries) says.
    pub fn retryable(code: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            is_retryable: true,
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..Self::new(code, description)
        }
    }

    /// The status that answers a synchronous call that fails so. Default: 500, or 503 for what may pass. An
    /// asynchronous call was answered long before.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// For programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// For people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether it may pass.
    pub fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    /// How a synchronous call is answered.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn cancelled() -> Self {
        Self::new(Self::CANCELLED, "the task was cancelled")
    }

    pub(super) fn timeout() -> Self {
        Self::new(Self::TIMEOUT, "the task did not end in time").with_status(StatusCode::GATEWAY_TIMEOUT)
    }

    pub(super) fn internal(description: &str) -> Self {
        Self::new(Self::INTERNAL, description)
    }
}
