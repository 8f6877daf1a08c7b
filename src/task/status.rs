use super::LifeCycle;
use crate::json::wire_enum;

wire_enum! {
    /// How far an asynchronous call has come.
    pub enum TaskStatus {
        /// Waiting to run.
        Queued = "Queued",
        /// Running.
        Running = "Running",
        /// Ended, with results to fetch.
        Succeeded = "Succeeded",
        /// Ended, without results.
        Failed = "Failed",
    }
}

/// TrueLayer publishes the four words and that callbacks carry only the last two; the order is inferred.
///
/// ```
/// use ringback::task::{LifeCycle, TaskStatus};
///
/// assert!(TaskStatus::Queued.may_become(&TaskStatus::Running));
/// assert!(!TaskStatus::Succeeded.may_become(&TaskStatus::Running));
/// assert!(TaskStatus::Failed.advance(TaskStatus::Succeeded).is_err());
/// ```
impl LifeCycle for TaskStatus {
    const STEPS: &'static [(Self, Self)] = &[
        (Self::Queued, Self::Running),
        (Self::Running, Self::Succeeded),
        (Self::Running, Self::Failed),
    ];

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    fn is_failure(&self) -> bool {
        matches!(self, Self::Failed)
    }

    fn is_listed(&self) -> bool {
        self.is_known()
    }
}
