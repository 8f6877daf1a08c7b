//! What was received already.

use std::fmt::{self, Debug};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreError;
use crate::id::Fence;

/// Remembers the keys of what was received, so that a second copy is not handled a second time.
///
/// # Contract
///
/// Of all that begin a key that is not done, one gets [`Seen::Fresh`] and handles; the others hear
/// [`Seen::InProgress`] until it is finished or abandoned or its lease ends. After `finish`, everyone hears
/// [`Seen::Done`] for as long as the key is kept. A handler whose lease ended and was taken over has lost it:
/// its `finish` and `abandon` change nothing and answer `false`.
///
/// # Errors
///
/// As the [module](super) says. A receiver that cannot reach its store must answer 503, never 2xx.
///
/// # Cancellation
///
/// As the [module](super) says.
#[async_trait]
pub trait SeenStore: Debug + Send + Sync + 'static {
    /// Says whether to handle what has this key, and if so, takes a lease on it.
    async fn begin(&self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Result<Seen, StoreError>;

    /// Marks the key as done and keeps it for that long. Whether the lease still held.
    async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Gives the key up, so that the next copy is handled. Whether the lease still held.
    async fn abandon(&self, key: &SeenKey, fence: Fence, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Forgets up to `max` keys that need no longer be kept. How many.
    async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError>;
}

/// What tells copies of one message: the receiver's name, and the provider's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeenKey {
    /// The receiver's name, since two receivers may both have to handle one message; and the sender's, where the gate tells
    /// several apart.
    pub receiver: String,
    /// The provider's key, such as Powens' `id_webhook_data`.
    pub key: String,
}

impl SeenKey {
    /// A key of that receiver.
    pub fn new(receiver: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            receiver: receiver.into(),
            key: key.into(),
        }
    }
}

impl fmt::Display for SeenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.receiver, self.key)
    }
}

/// The right to handle a message, which its receiver has taken: for a handler that wants the message to count as
/// handled if, and only if, a transaction of its own commits.
///
/// Then nothing can come between what the handler does and the mark, not even the end of the process; a receiver that
/// marks the message after the handler has returned leaves a moment in between. The store must lie in the database
/// that the transaction is in, and says how it is done: for SQLite,
/// `SqliteStore::FINISH_SEEN`.
///
/// The receiver's own mark afterwards finds it done and changes nothing. If the transaction finds that the claim does
/// not hold any more, since its lease ended and another copy is being handled, it must be rolled back, and the handler
/// must fail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenClaim {
    /// What tells the message's copies.
    pub key: SeenKey,
    /// What tells this claim from earlier and later ones.
    pub fence: Fence,
    /// Until when the message is remembered once it is done.
    pub keep_until: DateTime<Utc>,
}

/// Whether to handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Yes, and finish or abandon with this fence.
    Fresh(Fence),
    /// No: another copy is being handled.
    InProgress,
    /// No: it has been handled.
    Done,
}
