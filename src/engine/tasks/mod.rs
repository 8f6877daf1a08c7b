//! Offering slow work as asynchronous calls.

mod call;
mod run;
mod runner;
mod shift;
mod work;

pub use self::call::{AcceptError, Callbacks, NewCall};
pub use self::runner::{Cancelled, RunNowError, TaskRunner, TaskRunnerBuilder};
pub use self::work::{TaskContext, TaskError, TaskWork};
