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
    /// The receiver's name, since two receivers may both have to handle one message.
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
