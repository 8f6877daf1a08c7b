//! Updates, gathered into digests.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Enqueued, NewEvent, StoreError};
use crate::delivery::{DigestEntry, Interval, Window};
use crate::id::{EventType, Scope, Subject};

/// Gathers updates from the moment they are recorded until a notification of each is enqueued.
///
/// # Contract
///
/// **Windows.** An update goes into the window that [`Interval::gathering_window`] says, of its scope and digest; it is
/// opened if there is none. Within a window, updates are merged by user. Each window has a number that no other has or
/// had.
///
/// **Sealing.** `seal_windows` seals windows that [are over](Interval::is_over), and they [close](Interval::closed_by)
/// what is before their end. Nothing goes into a sealed window, not
/// even an update that was recorded at the same time: it is in the window before that was sealed, or in another.
///
/// **Chunks.** From a sealed window, users are taken chunk by chunk, in the order of their names as bytes. Taking one
/// removes its users and enqueues their notification in one commit, and only if exactly as many chunks were taken
/// before as the taker says. So whoever takes what someone else took changes nothing, and each user of a window is in
/// one notification, whatever crashes and however many take. A window ends with its last user.
///
/// **Scopes and digests** are kept apart, each with windows of its own.
///
/// # Errors
///
/// As the [module](super) says. A batch is carried out whole or not at all.
///
/// # Cancellation
///
/// Dropping a future gives up the answer, not the call. Whoever does not know whether updates were recorded may record
/// them again: within a window they are merged, and the only trace is their count.
#[async_trait]
pub trait DigestStore: Debug + Send + Sync + 'static {
    /// Records updates, in one commit.
    async fn record_updates(&self, updates: Vec<Update>, now: DateTime<Utc>) -> Result<(), StoreError>;

    /// Up to `max` sealed windows of a digest, all of which have users left: first those that were sealed before, and
    /// then those that are over, which this call seals; of each, those that ended first.
    async fn seal_windows(
        &self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, StoreError>;

    /// The earliest instant at which `seal_windows` would return something as things stand: `now` or earlier if it
    /// would already, `None` if nothing is gathered. It may be too early, never too late.
    async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// The next chunk of a sealed window: up to `max` of its users, in the order of their names. `None` if there is no
    /// such window, it is not sealed, or `max` is zero.
    async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, StoreError>;

    /// Removes a chunk's users and enqueues their notification, in one commit, as
    /// [`enqueue`](super::DeliveryStore::enqueue) does. `None`, and nothing is changed, unless the window is sealed,
    /// so many chunks of it were taken before, and it has the last of this one's users. Nor is anything changed where
    /// the answer is [`Enqueued::Conflict`].
    async fn take_chunk(&self, taking: TakeChunk, now: DateTime<Utc>)
    -> Result<Option<Enqueued>, StoreError>;
}

/// An update to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Where it happened.
    pub scope: Scope,
    /// The name of the digest it belongs to.
    pub digest: EventType,
    /// The user it is about.
    pub subject: Subject,
    /// Over which interval it is gathered.
    pub interval: Interval,
}

/// What a window is called in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowNo(pub i64);

impl fmt::Display for WindowNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A window that nothing goes into any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedWindow {
    /// What it is called.
    pub number: WindowNo,
    /// Where its updates happened.
    pub scope: Scope,
    /// When.
    pub window: Window,
}

/// Users of a window that are to be sent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// How many chunks of the window were taken before.
    pub number: u32,
    /// The users, in the order of their names; at least one.
    pub users: Vec<DigestEntry>,
}

/// A chunk to take.
#[derive(Debug, Clone)]
pub struct TakeChunk {
    /// From which window.
    pub window: WindowNo,
    /// How many chunks of it were taken before.
    pub number: u32,
    /// The last of the chunk's users. Those before go with it.
    pub through: Subject,
    /// The notification of them.
    pub notification: NewEvent,
}
