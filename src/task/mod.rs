//! An asynchronous call: asked for with `async=true`, answered at once with where the results will be, and
//! rung back about when they are.
//!
//! The words and shapes are those of TrueLayer's Data API v1
//! (<https://docs.truelayer.com/docs/asynchronous-calls-and-webhooks>), which suit any API of that kind:
//! a [request URI](asynchronous), the [`Accepted`] reply, the [`Results`] that are polled for, and the
//! [`Callback`] that is sent when the task ends. [`LifeCycle`] is how this crate writes down what may follow
//! what, here and for the providers' own statuses.

mod callback;
mod life_cycle;
mod progress;
mod reply;
mod request;
mod status;

pub use callback::Callback;
pub use life_cycle::{IllegalStep, Irregularity, LifeCycle, Observation, Outlook, Progress, Step};
pub use progress::{Fraction, NotAFraction, TaskProgress};
pub use reply::{Accepted, Results};
pub use request::{AsyncParameters, AsyncUriError, asynchronous, synchronous};
pub use status::TaskStatus;
