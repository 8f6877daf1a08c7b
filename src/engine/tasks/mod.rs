//! Offering slow work as asynchronous calls.

mod answers;
#[cfg(feature = "axum")]
mod axum;
mod call;
mod handlers;
mod purge;
mod run;
mod runner;
mod shift;
mod work;

pub use self::call::{AcceptError, Callbacks, NewCall};
pub use self::handlers::{CallHandlers, CheckUnavailable, CredentialsCheck};
pub(super) use self::purge::PurgingTasks;
pub use self::runner::{Cancelled, RunNowError, TaskRunner, TaskRunnerBuilder};
pub use self::work::{TaskContext, TaskError, TaskWork};
