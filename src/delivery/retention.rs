//! How long what is over is kept.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::time::before;

/// How long to keep what is over. What is pending, held or in flight is kept whatever its age, with its event.
///
/// ```
/// use std::time::Duration;
/// use ringback::delivery::Retention;
///
/// let retention = Retention { bodies: Duration::from_secs(24 * 60 * 60), ..Retention::default() };
/// assert_eq!(retention.history, Duration::from_secs(30 * 24 * 60 * 60));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// For how long attempts and health figures are kept, from when they were recorded; and deliveries that are
    /// delivered or dead, from when they ended. An event goes with the last of its deliveries, and then its id can be
    /// used anew; one without deliveries goes that long after it was enqueued. Default: 30 days, as Truv keeps it.
    pub history: Duration,
    /// For how long the body of a delivery is kept after it was delivered; without it there is no replay. One that is
    /// dead keeps its body until it goes as a whole. Default: 7 days. More than [`history`](Self::history) is as much.
    pub bodies: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            history: DAY * 30,
            bodies: DAY * 7,
        }
    }
}

impl Retention {
    /// What was over before this instant goes, as things stand now.
    pub fn history_before(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        before(now, self.history)
    }

    /// Bodies that were delivered before this instant go, as things stand now.
    pub fn bodies_before(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        before(now, self.bodies.min(self.history))
    }
}
