//! A store in an SQLite file.
//!
//! [`SqliteStore`] keeps everything that [`store`](super) asks for in one file, through the SQLite that is
//! compiled into this crate. It needs no server and no runtime.
//!
//! # What is durable when
//!
//! A call returns after its commit. With [`Durability::Full`], the default, the disk has then said that it holds
//! it: what was acknowledged survives a power failure, as far as the disk keeps its word. With
//! [`Durability::Normal`] it survives the end of the process, `kill -9` included; if the machine itself goes down,
//! the last commits may be gone, and the file is whole all the same.
//!
//! Leases do not wait for the disk in either case: a claim returns once it is in the log. They outlive the
//! process that holds them, as they must; a power failure ends the lease and its holder together, and then the
//! delivery is pending again, at once, without an attempt counted for it.
//!
//! Calls run one after another on a thread of the store's own. While one commit is under way, calls gather, and
//! the next commit takes them all; so a commit's cost is shared by as many as there are, and none waits for a
//! timer. If a call of such a group fails, it alone fails. A second thread waits for the disk and answers, while the first
//! goes on: what is acknowledged, or read, is what the disk holds. A claim may hand out what it does not hold yet, and another
//! process see it: should the power fail in that moment, something may have been sent of which whoever enqueued it has not
//! heard that it was taken in.
//!
//! If a commit fails, everyone in it hears of it: with [`Unknown`](super::StoreErrorKind::Unknown) where the disk failed,
//! since nobody then knows what it kept. If the disk fails to write the log out, those who wait hear the same, and all later
//! calls [`Closed`](super::StoreErrorKind::Closed): whoever opens the file again finds what the disk has. Should a thread
//! ever panic, those who wait for an answer hear `Unknown` too, and all later calls `Closed`.
//!
//! # The files
//!
//! Beside `NAME` there are `NAME-wal`, the log to which commits are written first, and `NAME-shm`, which processes
//! share while they have the file open. All three belong together and must lie on a local disk. Keep them where only the
//! service can read.
//!
//! When the log has 16 MiB, a third thread copies it into the file, while calls go on; at its end they may be held up for
//! some 20 milliseconds, so that the log can begin anew. What the disk writes meanwhile slows commits down that wait for it.
//! Should the log come to have 64 MiB, as when something reads the file for very long or several processes write all the
//! time, those who commit see to it, which takes them longer.
//!
//! # What is encrypted
//!
//! The file is opened with [keys](super::encryption), or explicitly
//! [without](super::EncryptionKeys::dangerous_plaintext). Encrypted are, one by one and bound to their rows:
//!
//! - auth records (all but id and name) and webhooks (all but id and scope), since their URLs may hold secrets;
//! - of events the body, the headers and the fingerprint; bodies that deliveries have of their own;
//! - of what was submitted and not yet taken in the body and the headers;
//! - URLs given with calls, and how to send to them;
//! - the beginnings of answers that history keeps;
//! - of tasks the input, the progress, the results, the description of a failure, and all three URIs.
//!
//! Not encrypted is what the store looks for or people look at: ids (also those of scopes, subjects, credentials, and keys
//! of messages received), names of auth records, types of event, media types, the scheme, host and port of URLs given with
//! calls (the names of their lanes), error codes, limits, states, counts, sizes and instants. So ids and types should not be
//! secrets.
//!
//! The file says in its header whose it is; one of another application, or one that a newer version of this crate
//! has written, is refused and not touched. Older versions of the tables are brought up to date when the file is
//! opened, each step in a transaction.
//!
//! What is over goes when [`Inspect::purge`](super::Inspect::purge) is called, as `engine::Upkeep` does now and then;
//! the room that it took is used again, and the file does not shrink.
//!
//! To back up, run `VACUUM INTO 'COPY'` from any SQLite client while the service runs, or copy all three files
//! while it does not. Nothing is ever deleted from the file but what a method of the store traits says.
//!
//! # Several processes
//!
//! Any number of processes may open one file, and stores within one process too. One writes at a time; others wait
//! for it, up to the [busy timeout](SqliteStoreBuilder::busy_timeout), and then fail with
//! [`Unavailable`](super::StoreErrorKind::Unavailable), nothing done. Readers wait for nobody. Limits, order and
//! fences hold across processes. [`wake`](super::DeliveryStore::wake) is heard only by those who share a store
//! (clones of one `SqliteStore`); workers in other processes find new work when they next look by the clock.
//!
//! # Memory and speed
//!
//! Memory is bounded by the [page cache](SqliteStoreBuilder::page_cache), 8 MiB of the events that came last, some
//! thousand webhooks, and what is being answered, whatever is waiting in the file. A claim looks at the lanes whose turn it is and at the deliveries it takes, through
//! indexes that hold only what waits or is in flight; it costs the same with a million waiting or in history.
//! History is written at the end of one table; what finds an attempt there by webhook, scope, type or outcome, and the
//! health figures, are made for a thousand at once. A page reads what it shows and little else, by any one filter, however
//! long the history is; where several filters have little in common, it ends after a few thousand looks, with a cursor to
//! go on from.
//!
//! What does take time in proportion is to change the [order](crate::delivery::Order) of a webhook, or to take its
//! [flusher](crate::retry::Flusher) away: all that waits for it is sorted anew, in one commit. What a hold keeps back is moved
//! in small steps.
//!
//! ```
//! use std::sync::Arc;
//! use chrono::DateTime;
//! use ringback::delivery::Event;
//! use ringback::store::{DeliveryStore, EncryptionKey, Enqueued, NewEvent, SqliteStore};
//! use ringback::system::SystemEntropy;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("ringback.db");
//! let event = Arc::new(Event::builder("s", "1", "ping").build()?);
//! let new = NewEvent { event, deliveries: vec![] };
//! let now = DateTime::UNIX_EPOCH;
//!
//! // A service has its key from the secrets of its deployment.
//! let key = EncryptionKey::generate(&SystemEntropy);
//! let store = SqliteStore::open(&path, key.clone())?;
//! assert_eq!(store.enqueue(vec![new.clone()], now).await?, [Enqueued::Fresh(vec![])]);
//! drop(store);
//!
//! let store = SqliteStore::open(&path, key)?;
//! assert_eq!(store.enqueue(vec![new], now).await?, [Enqueued::Duplicate(vec![])]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod anew;
mod attempts;
mod cache;
mod checkpoint;
mod claims;
mod connection;
mod contents;
mod core;
mod database;
mod digests;
mod events;
mod fault;
mod filing;
mod history;
mod holds;
mod inspect;
mod intake;
mod lanes;
mod purge;
mod registrations;
mod runner;
mod seen;
mod settlements;
mod sync;
mod tasks;
mod traits;
mod words;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use self::anew::Pass;
use self::checkpoint::Checkpointer;
pub use self::connection::Durability;
use self::connection::Settings;
use self::core::{Access, Bells, Core, Submitted};
use self::database::{Database, LatestVault};
use self::events::Prepared;
use self::fault::Fault;
use self::runner::Runner;
use self::sync::LogFile;
pub use super::EncryptedAnew;
use super::codec;
use super::{EncryptionKeys, NewEvent, StoreError, StoreErrorKind, Wake};

/// Keeps everything in an SQLite file. See the [module](self).
///
/// Clones share one connection and one thread. When the last is dropped, what was asked is carried out first, and
/// the thread that drops it waits for that.
#[derive(Clone)]
pub struct SqliteStore {
    runner: Arc<Runner>,
    vault: LatestVault,
    wake: Wake,
    intake_wake: Wake,
    task_wake: Wake,
}

impl SqliteStore {
    /// Opens a file, or makes it, with the [builder's](Self::builder) defaults. What it keeps is encrypted under the key,
    /// or under the first of several [`EncryptionKeys`].
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`] if the file cannot be opened or stays busy, [`StoreErrorKind::Corrupt`] if
    /// it is no SQLite file or another application's, [`StoreErrorKind::TooNew`] if a newer version of this crate
    /// has written it, [`StoreErrorKind::WrongKey`] if something in it may be encrypted under a key that was not given, or
    /// not be encrypted, without [leave](EncryptionKeys::and_plaintext). Nothing is changed then.
    pub fn open(path: impl AsRef<Path>, keys: impl Into<EncryptionKeys>) -> Result<Self, StoreError> {
        Self::builder().open(path, keys)
    }

    /// A store of which nothing remains, for tests. It is not encrypted.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`] if there is no memory or no thread for it.
    pub fn open_in_memory() -> Result<Self, StoreError> {
        Self::builder().open_in_memory()
    }

    /// Says how to open a store.
    pub fn builder() -> SqliteStoreBuilder {
        SqliteStoreBuilder::default()
    }

    /// Encrypts under the newest key what is under older ones, or under none, and then strikes those off the file's list, so
    /// that they are not asked for any more when it is opened. What the steps of replacing a key are: see
    /// [`encryption`](super::encryption).
    ///
    /// It goes through everything in the file, 256 rows in a commit of their own, while other calls are carried out in
    /// between, here and in other processes. Dropping the future ends it after such a step; asked again, it starts from the
    /// beginning, and has less to do. With nothing to do, it returns at once.
    ///
    /// What was overwritten can remain in unused pages of the file and of its log, until those are used again: to be rid of
    /// it, run `VACUUM` and `PRAGMA wal_checkpoint(TRUNCATE)` from any SQLite client.
    ///
    /// # Errors
    ///
    /// If the store fails. What it has done by then stays done.
    pub async fn encrypt_anew(&self) -> Result<EncryptedAnew, StoreError> {
        let mut pass = Pass::default();
        loop {
            let step = std::mem::take(&mut pass);
            match self.writes(move |core| core.encrypt_anew(&step)).await? {
                Ok(done) => return Ok(done),
                Err(left) => pass = left,
            }
        }
    }

    /// Carries out what was asked before, and closes the file. Whatever is asked later, of this store or a clone of
    /// it, fails with [`StoreErrorKind::Closed`].
    ///
    /// There is no need to call it; dropping the last clone does the same, but blocks while it does.
    pub async fn close(&self) {
        self.runner.close().await;
    }

    /// Does what can be done for events before their turn comes, on the thread of whoever calls.
    fn prepare(&self, events: impl IntoIterator<Item = NewEvent>) -> Result<Vec<Prepared>, Fault> {
        let vault = self.vault.get();
        let events = events.into_iter();
        events.map(|event| Prepared::new(event, &vault)).collect()
    }

    async fn glances<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Core) -> Result<T, Fault> + Send + 'static,
    {
        self.call(Access::Glances, work).await
    }

    async fn reads<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Core) -> Result<T, Fault> + Send + 'static,
    {
        self.call(Access::Reads, work).await
    }

    async fn leases<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Core) -> Result<T, Fault> + Send + 'static,
    {
        self.call(Access::Leases, work).await
    }

    async fn writes<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Core) -> Result<T, Fault> + Send + 'static,
    {
        self.call(Access::Writes, work).await
    }

    async fn call<T, F>(&self, access: Access, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Core) -> Result<T, Fault> + Send + 'static,
    {
        let (call, answer) = Submitted::new(access, work);
        self.runner.submit(Box::new(call));
        // Without an answer, the thread died under it.
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Unknown)))
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

/// How to open a [`SqliteStore`].
///
/// ```
/// use std::time::Duration;
/// use ringback::store::EncryptionKey;
/// use ringback::store::sqlite::{Durability, SqliteStore};
/// use ringback::system::SystemEntropy;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ringback.db");
/// let store = SqliteStore::builder()
///     .durability(Durability::Normal)
///     .busy_timeout(Duration::from_secs(2))
///     .open(path, EncryptionKey::generate(&SystemEntropy))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a store comes of it with `open`"]
pub struct SqliteStoreBuilder {
    settings: Settings,
    inline: bool,
}

impl SqliteStoreBuilder {
    /// When a commit counts as done. Default: [`Durability::Full`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// How long to wait while another process writes. Default: 10 seconds, far longer than any commit of ours
    /// takes.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.settings.busy_timeout = timeout;
        self
    }

    /// How many bytes of the file to keep in memory at most. Default: 32 MiB, which holds what claims need of a
    /// million waiting deliveries.
    pub fn page_cache(mut self, bytes: usize) -> Self {
        self.settings.page_cache = bytes;
        self
    }

    /// How many attempts may be recorded before history's indexes and figures are brought up to date, all at once. The
    /// more, the less a settlement costs, and the more a page of history has to look through. Default: 1024. What is
    /// answered does not depend on it.
    pub fn longest_tail(mut self, attempts: u32) -> Self {
        self.settings.longest_tail = attempts;
        self
    }

    /// Without a thread: each call is carried out by whoever polls it first, in a commit of its own, and blocks
    /// until that is done. What happens depends on nothing but the calls and their order, which is what simulations
    /// need; a service is better served by the thread.
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Opens a file, or makes it.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::open`].
    pub fn open(
        self,
        path: impl AsRef<Path>,
        keys: impl Into<EncryptionKeys>,
    ) -> Result<SqliteStore, StoreError> {
        let path = path.as_ref();
        let mut conn = connection::open_file(path, self.settings)?;
        let checkpointer = match self.inline {
            true => None,
            false => Some(Checkpointer::start(path, &mut conn)?),
        };
        let log = match self.settings.durability {
            Durability::Full => Some(LogFile::open(path)?),
            Durability::Normal => None,
        };
        Ok(self.store(conn, checkpointer, log, keys.into())?)
    }

    /// Opens a store of which nothing remains, for tests.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::open_in_memory`].
    pub fn open_in_memory(self) -> Result<SqliteStore, StoreError> {
        let conn = connection::open_in_memory(self.settings)?;
        Ok(self.store(conn, None, None, EncryptionKeys::dangerous_plaintext())?)
    }

    fn store(
        self,
        conn: Connection,
        checkpointer: Option<Checkpointer>,
        log: Option<LogFile>,
        keys: EncryptionKeys,
    ) -> Result<SqliteStore, Fault> {
        let conn = Database::unlock(conn, keys)?;
        let vault = conn.latest_vault();
        let (wake, intake_wake, task_wake) = (Wake::default(), Wake::default(), Wake::default());
        let bells = Bells {
            deliveries: wake.clone(),
            intake: intake_wake.clone(),
            tasks: task_wake.clone(),
        };
        let core = Core::new(conn, checkpointer, self.settings, bells)?;
        let runner = if self.inline {
            Runner::inline(core, log)
        } else {
            Runner::thread(core, log)?
        };
        Ok(SqliteStore {
            runner: Arc::new(runner),
            vault,
            wake,
            intake_wake,
            task_wake,
        })
    }
}
