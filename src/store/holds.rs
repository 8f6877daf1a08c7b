//! What keeps deliveries back, and what becomes of them once nothing does.

use chrono::{DateTime, Utc};

use crate::id::{Scope, Subject, WebhookId};

/// What a hold concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldKey {
    /// The events about one subject: a user that is not permanent yet, as with Powens.
    Subject {
        /// The scope that the subject belongs to.
        scope: Scope,
        /// Whom the events are about.
        subject: Subject,
    },
    /// All that goes to one webhook: one that is unsubscribed for a while, as with Yodlee.
    Webhook(WebhookId),
}

/// Which of the deliveries that a hold has kept back are sent when it is lifted. The others end as
/// [expired](crate::delivery::DeadReason::Expired).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// All of them.
    All,
    /// Those that were enqueued at this instant or later.
    Since(DateTime<Utc>),
    /// None of them.
    Nothing,
}

impl Release {
    /// Whether what was enqueued then is sent.
    ///
    /// ```
    /// use chrono::{DateTime, TimeDelta, Utc};
    /// use ringback::store::Release;
    ///
    /// let noon = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::hours(12);
    /// assert!(Release::Since(noon).includes(noon));
    /// assert!(!Release::Since(noon).includes(noon - TimeDelta::seconds(1)));
    /// assert!(Release::All.includes(noon) && !Release::Nothing.includes(noon));
    /// ```
    pub fn includes(self, enqueued: DateTime<Utc>) -> bool {
        match self {
            Self::All => true,
            Self::Since(instant) => enqueued >= instant,
            Self::Nothing => false,
        }
    }
}

/// How many deliveries of a hold are moved with one call at the least. Whoever holds back a million keeps nobody waiting for
/// the millionth.
pub(crate) const MOVED_AT_ONCE: usize = 128;

/// How many deliveries of a hold are moved with an enqueue of so many: more than can have been added to it, so that it comes
/// to its end.
pub(crate) fn moved_with(enqueued: usize) -> usize {
    enqueued.saturating_mul(2).max(MOVED_AT_ONCE)
}
