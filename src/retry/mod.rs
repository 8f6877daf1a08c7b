//! When to try again, and what counts as having got through.
//!
//! A [`Schedule`] is plain data and its decision is a pure function: how often it was tried, when it first
//! failed, what the time is, what the receiver asked for and a random number go in; an instant, or the end,
//! comes out. A [`Classification`] says which answers are a success. A [`Flusher`] is Powens' other way: failed
//! deliveries wait for a regular run, and a run over a receiver that is down soon stops.
//!
//! ```
//! use chrono::{DateTime, TimeDelta, Utc};
//! use ringback::retry::{Decision, Progress, Schedule};
//!
//! let first_failure = DateTime::<Utc>::UNIX_EPOCH;
//! let progress = Progress { attempts: 1, first_failure, now: first_failure, retry_after: None, random: 0 };
//! assert_eq!(
//!     Schedule::yodlee().decide(&progress),
//!     Decision::RetryAt(first_failure + TimeDelta::minutes(10))
//! );
//! ```

mod builder;
mod classification;
mod flusher;
mod http_date;
mod own;
mod published;
mod retry_after;
mod schedule;
mod steps;

pub use builder::GapsBuilder;
pub use classification::{Classification, Verdict};
pub use flusher::{Flusher, Run, Step, StopReason, ZeroPeriod};
pub use retry_after::RetryAfter;
pub use schedule::{Decision, Progress, Schedule};
pub use steps::{Gap, ScheduleError};
