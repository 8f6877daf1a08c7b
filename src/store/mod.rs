//! What must survive.
//!
//! A store keeps deliveries, registrations, digests, what was submitted, tasks and the keys of what was received. Each of
//! these is a trait of its own with a written contract. Three things hold for all of them:
//!
//! - **No store reads a clock.** `now` is the caller's, in every call.
//! - **A call is one commit.** When it returns `Ok`, what it did is as durable as the store can make it; when
//!   it returns an error, nothing of it was done (save for [`StoreErrorKind::Unknown`]). Only a lease may be
//!   less durable, where whatever undoes it ends its holder too.
//! - **Dropping the future of a call** gives up the answer, not the call: it may or may not be carried out.
//!
//! Instants are kept to the microsecond. Implementations are tested with the conformance suites that the
//! `testing` feature brings.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod codec;
mod deliveries;
mod digests;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod encrypted;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod encryption;
mod error;
mod holds;
mod inspect;
mod intake;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
mod seen;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod tasks;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod waiting;
mod wake;
mod webhooks;

pub use deliveries::{
    ClaimRequest, Claimed, ClaimedTarget, DeliveryStore, Enqueued, NewDelivery, NewEvent, Next, Settled,
    Settlement,
};
pub use digests::{Chunk, DigestStore, SealedWindow, TakeChunk, Update, WindowNo};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use encrypted::EncryptedAnew;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use encryption::{EncryptionKey, EncryptionKeyError, EncryptionKeys, KeyId};
pub use error::{StoreError, StoreErrorKind};
pub use holds::{HoldKey, Release};
pub use inspect::{DeadReplayed, DeliveryRecord, Inspect, Purged, ReplayDead, Replayed};
pub use intake::{IntakeStore, SetAside, Submission, SubmissionNo, TakeIn, TakenIn};
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use seen::{Seen, SeenClaim, SeenKey, SeenStore};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use tasks::{
    ClaimedTask, EndedTask, Keep, NewTask, TaskEnd, TaskPause, TaskRecord, TaskSettlement, TaskStore,
};
pub use wake::{Listen, Wake};
pub use webhooks::{AuthRecord, FailingWebhook, Saved, Switch, Switched, WebhookStore};

/// All that an engine asks of a store: what implements the seven traits is one.
pub trait Store:
    DeliveryStore + WebhookStore + DigestStore + IntakeStore + Inspect + TaskStore + SeenStore
{
}

impl<T> Store for T where
    T: DeliveryStore + WebhookStore + DigestStore + IntakeStore + Inspect + TaskStore + SeenStore + ?Sized
{
}
