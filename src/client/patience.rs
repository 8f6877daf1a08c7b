//! How long is waited, and how.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::retry::{RetryAfter, Schedule};
use crate::task::LifeCycle;

/// When to ask, and when to stop waiting.
///
/// ```
/// use std::time::Duration;
/// use ringback::client::Patience;
/// use ringback::retry::Schedule;
///
/// let patience = Patience::until(Duration::from_secs(600)).polling(Schedule::polling());
/// ```
#[derive(Debug, Clone)]
pub struct Patience {
    pub(super) deadline: Duration,
    pub(super) polls: Option<Arc<Schedule>>,
}

impl Patience {
    /// Waits for that long, for reports alone.
    pub fn until(deadline: Duration) -> Self {
        Self {
            deadline,
            polls: None,
        }
    }

    /// Asks as well, whenever the schedule says so, counted from the beginning of the wait: the first time after its
    /// first gap. When the schedule ends, only reports are waited for.
    #[must_use]
    pub fn polling(self, schedule: Schedule) -> Self {
        self.polling_shared(Arc::new(schedule))
    }

    pub(super) fn polling_shared(self, schedule: Arc<Schedule>) -> Self {
        Self {
            polls: Some(schedule),
            ..self
        }
    }
}

/// Where a status can be asked for.
///
/// # Contract
///
/// One call asks once. It takes no longer than whoever implements it can bear: the wait goes on meanwhile, and ends at
/// its deadline whether an answer is there or not.
///
/// # Errors
///
/// Only what asking again would not mend: it ends the wait. Of what may pass, an answer without a status is returned.
///
/// # Cancellation
///
/// The future is dropped when the status was reported otherwise meanwhile, and when the wait ends.
///
/// ```
/// use async_trait::async_trait;
/// use ringback::client::{Polled, StatusSource};
/// use ringback::provider::truv::TaskStatus;
///
/// /// Knows of one task that it is done.
/// #[derive(Debug)]
/// struct Finished;
///
/// #[async_trait]
/// impl StatusSource<TaskStatus, ()> for Finished {
///     type Error = std::convert::Infallible;
///
///     async fn ask(&self) -> Result<Polled<TaskStatus, ()>, Self::Error> {
///         Ok(Polled::status(TaskStatus::Done, ()))
///     }
/// }
/// ```
#[async_trait]
pub trait StatusSource<S, R>: Debug + Send + Sync {
    /// Why it is no use to ask again.
    type Error: Send;

    /// Asks once.
    async fn ask(&self) -> Result<Polled<S, R>, Self::Error>;
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polled<S, R> {
    /// The status, since when it is known to be so, and what goes with it. `None` if there was no answer.
    pub status: Option<(S, Option<DateTime<Utc>>, R)>,
    /// When to ask again at the earliest, if the answer said so.
    pub retry_after: Option<RetryAfter>,
}

impl<S: LifeCycle, R> Polled<S, R> {
    /// An answer.
    pub fn status(status: S, detail: R) -> Self {
        Self {
            status: Some((status, None, detail)),
            retry_after: None,
        }
    }

    /// No answer, for a reason that may pass.
    pub fn nothing() -> Self {
        Self {
            status: None,
            retry_after: None,
        }
    }

    /// With what was said of asking again.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Option<RetryAfter>) -> Self {
        Self { retry_after, ..self }
    }
}

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError<S: Debug, E> {
    /// The present status is one from which the awaited one cannot come any more.
    #[error("it cannot come any more after {0:?}")]
    Missed(S),
    /// The deadline has come.
    #[error("it did not come in time")]
    TimedOut,
    /// There is no use in asking again, says whoever was asked.
    #[error("asking failed: {0}")]
    Source(E),
}
