//! A store in memory.

mod seen;
#[cfg(feature = "engine")]
mod sending;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use self::seen::SeenKeys;
use super::{Seen, SeenKey, SeenStore, StoreError};
use crate::id::Fence;

/// How many final deliveries are kept by default.
#[cfg(feature = "engine")]
const MOST_FINAL: usize = 10_000;

/// How many keys of handled messages are kept by default.
const MOST_SEEN: usize = 100_000;

/// Keeps everything in memory: for tests, and for what may be lost with the process.
///
/// Without the feature `engine` it keeps what a receiver needs, the keys of messages; with it, it is a whole
/// [`Store`](super::Store).
///
/// It keeps every promise of the store traits but one: nothing survives the process. It is deterministic:
/// the same calls give the same answers in the same order.
///
/// Of deliveries that are final it keeps the latest 10,000 (`keeping`); of older ones, history
/// and event id are forgotten, so that memory does not grow with all that was ever sent. Of messages that were
/// received it keeps the latest 100,000 keys ([`keeping_seen`](Self::keeping_seen)), which take some 40 MB; a copy of
/// one that was forgotten is handled again.
///
/// ```
/// use std::sync::Arc;
/// use chrono::DateTime;
/// use ringback::delivery::Event;
/// use ringback::store::{DeliveryStore, Enqueued, MemoryStore, NewEvent};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = MemoryStore::new();
/// let event = Arc::new(Event::builder("s", "1", "ping").build()?);
/// let new = NewEvent { event, deliveries: vec![] };
/// let now = DateTime::UNIX_EPOCH;
/// assert_eq!(store.enqueue(vec![new.clone()], now).await?, [Enqueued::Fresh(vec![])]);
/// assert_eq!(store.enqueue(vec![new], now).await?, [Enqueued::Duplicate(vec![])]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    seen: Arc<Mutex<SeenKeys>>,
    #[cfg(feature = "engine")]
    sending: sending::Sending,
}

impl MemoryStore {
    /// An empty store.
    #[inline]
    pub fn new() -> Self {
        Self::keeping_seen(MOST_SEEN)
    }

    /// An empty store that keeps the keys of so many received messages, once they are handled.
    #[inline]
    pub fn keeping_seen(keys: usize) -> Self {
        Self {
            seen: Arc::new(Mutex::new(SeenKeys::keeping(keys))),
            #[cfg(feature = "engine")]
            sending: sending::Sending::keeping(MOST_FINAL),
        }
    }

    /// An empty store that keeps so many final deliveries.
    #[cfg(feature = "engine")]
    pub fn keeping(finals: usize) -> Self {
        Self {
            sending: sending::Sending::keeping(finals),
            ..Self::new()
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl SeenStore for MemoryStore {
    #[inline]
    async fn begin(&self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Result<Seen, StoreError> {
        Ok(locked(&self.seen).begin(key, lease, now))
    }

    #[inline]
    async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        Ok(locked(&self.seen).finish(key, fence, keep, now))
    }

    #[inline]
    async fn abandon(&self, key: &SeenKey, fence: Fence, _now: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(locked(&self.seen).abandon(key, fence))
    }

    #[inline]
    async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        Ok(locked(&self.seen).forget_expired(max, now))
    }
}

/// A panic inside a call cannot leave the state half changed in a way that later calls would not notice, so a poisoned
/// lock is taken all the same.
fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
