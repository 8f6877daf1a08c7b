//! Copying the log into the file, while the store goes on.
//!
//! Commits are written to the end of the write-ahead log, and now and then what is in the log must be copied into the
//! file, so that the log can begin anew. SQLite would do that within the commit that makes the log long, and wait there
//! until the disk has written some thousand pages that lie all over the file: a claim could come to wait a fifth of a
//! second. So a thread of its own does it, over a connection of its own.
//!
//! SQLite has the disk write the file only at the end of a copy during which nothing was committed, and the log begins anew
//! only if nothing was committed until that is done. A busy store always commits something. So the thread first copies
//! what there is, however long that takes, and then asks for a *lull*: the store finishes its transaction and begins no
//! other while the thread copies the little that has come meanwhile. If that takes longer than [`PATIENCE`], as it does
//! while the disk still has much to write, the store goes on, and the thread tries again, with less to write each time.
//!
//! A lull concerns one store. Where another process commits during it, the log goes on growing; and where it has become
//! [`LONGEST`] in spite of everything, whoever commits copies it, as SQLite does by itself.

use std::os::raw::c_int;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::connection;
use super::fault::Fault;

/// The log is copied when it has so many pages. The more, the fewer times a page that changes often is copied; 4000 are
/// 16 MiB.
pub(super) const LONG: c_int = 4000;

/// If it could not begin anew, it is copied again when it has become so much longer.
const LONGER: c_int = 1000;

/// From here on those who commit see to it themselves.
const LONGEST: c_int = 4 * LONG;

/// How long a transaction waits for a lull to end.
const PATIENCE: Duration = Duration::from_millis(20);

/// How often a lull is asked for before the log is left to grow on for a while.
const LULLS: usize = 5;

/// The thread that copies. It ends when this is dropped, which waits for it.
pub(super) struct Checkpointer {
    lull: Arc<Lull>,
    handle: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts to see to the log of this file, to which that connection commits.
    pub(super) fn start(path: &Path, conn: &mut Connection) -> Result<Self, Fault> {
        let lull = Arc::new(Lull::default());
        let copying = connection::open_for_copying(path)?;
        let handle = thread::Builder::new()
            .name("ringback-sqlite-log".to_owned())
            .spawn({
                let lull = Arc::clone(&lull);
                move || serve(&copying, &lull)
            })
            .map_err(|_| Fault::NoThread)?;
        let checkpointer = Self {
            lull: Arc::clone(&lull),
            handle: Some(handle),
        };
        let mut next = LONG;
        let watch = move |log: &mut Wal, pages: c_int| {
            if pages >= LONGEST {
                // Should it fail, the commit is good all the same, and the next one tries again.
                let _ = log.checkpoint();
            } else if pages < LONG {
                next = LONG;
            } else if pages >= next {
                next = pages.saturating_add(LONGER);
                lull.ask();
            }
            Ok(())
        };
        conn.wal_hook(Some(watch))?;
        Ok(checkpointer)
    }

    /// To be called before a transaction that writes is begun, and kept until it is over.
    pub(super) fn transaction(&self) -> Transaction {
        self.lull.transaction(PATIENCE)
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.lull.close();
        if let Some(handle) = self.handle.take() {
            let _ = handle.join(); // a panic there has been printed by the panic hook already
        }
    }
}

fn serve(copying: &Connection, lull: &Lull) {
    while lull.is_asked() {
        // If a disk fails, commits will tell.
        if connection::copy_log(copying).is_err() {
            continue;
        }
        for _ in 0..LULLS {
            lull.begin();
            let copied = connection::copy_log(copying);
            if lull.end() || copied.is_err() {
                break;
            }
        }
    }
}

/// What the two threads know of each other.
#[derive(Default)]
struct Lull {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The log is to be copied.
    is_asked: bool,
    /// The store has no more use for that.
    is_closed: bool,
    /// The store is in a transaction.
    is_writing: bool,
    /// It is to begin none.
    is_held: bool,
}

/// The store is in a transaction while this is there.
pub(super) struct Transaction(Arc<Lull>);

impl Drop for Transaction {
    fn drop(&mut self) {
        self.0.change(|state| state.is_writing = false);
    }
}

impl Lull {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changed.notify_all();
        changed
    }

    fn wait_while(&self, condition: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        let state = self.changed.wait_while(self.state(), condition);
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        self.change(|state| state.is_asked = true);
    }

    fn close(&self) {
        self.change(|state| state.is_closed = true);
    }

    /// Waits until the log is to be copied. Whether it ever will be.
    fn is_asked(&self) -> bool {
        let mut state = self.wait_while(|state| !state.is_asked && !state.is_closed);
        state.is_asked = false;
        !state.is_closed
    }

    /// Has the store begin no transaction, and waits for the end of that under way.
    fn begin(&self) {
        self.state().is_held = true;
        drop(self.wait_while(|state| state.is_writing));
    }

    /// Whether the store was quiet to the end.
    fn end(&self) -> bool {
        self.change(|state| std::mem::take(&mut state.is_held))
    }

    fn transaction(self: &Arc<Self>, patience: Duration) -> Transaction {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), patience, |state| state.is_held);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (state.is_held, state.is_writing) = (false, true);
        Transaction(Arc::clone(self))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;
    use crate::store::sqlite::connection::Settings;

    /// Begins a lull on another thread; hears of it once it has begun.
    fn begin(lull: &Arc<Lull>) -> (mpsc::Receiver<()>, JoinHandle<()>) {
        let (begun, hears) = mpsc::channel();
        let lull = Arc::clone(lull);
        let handle = thread::spawn(move || {
            lull.begin();
            begun.send(()).unwrap();
        });
        (hears, handle)
    }

    /// Long enough for whatever must happen to have happened.
    const LONG_ENOUGH: Duration = Duration::from_secs(60);

    #[test]
    fn the_log_begins_anew_though_the_store_is_never_idle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let mut conn = connection::open_file(&path, Settings::default()).unwrap();
        let checkpointer = Checkpointer::start(&path, &mut conn).unwrap();
        conn.execute_batch("CREATE TABLE filling (bytes BLOB)").unwrap();
        let commit = |bytes: c_int| {
            let _transaction = checkpointer.transaction();
            let sql = "INSERT INTO filling (bytes) VALUES (randomblob(?1))";
            conn.execute(sql, [bytes]).unwrap();
        };
        let pages = || -> c_int {
            let sql = "PRAGMA wal_checkpoint(NOOP)";
            conn.query_one(sql, [], |row| row.get("log")).unwrap()
        };
        // Little by little: a large commit that outgrows the cache is in the log more than once.
        while pages() < LONG - 20 {
            commit(8 * 4096);
        }
        let almost = pages();
        assert!(almost < LONG, "{almost} pages");
        let start = Instant::now();
        let mut longest = almost;
        while pages() >= almost {
            commit(1);
            longest = longest.max(pages());
            assert!(
                start.elapsed() < LONG_ENOUGH,
                "the log goes on and has {longest} pages"
            );
        }
        assert!((LONG..LONGEST).contains(&longest), "{longest} pages");
    }

    #[test]
    fn a_lull_begins_when_the_transaction_is_over() {
        let lull = Arc::new(Lull::default());
        let transaction = lull.transaction(LONG_ENOUGH);
        let (hears, handle) = begin(&lull);
        assert!(hears.recv_timeout(Duration::from_millis(20)).is_err());
        drop(transaction);
        hears.recv().unwrap();
        handle.join().unwrap();
        assert!(lull.end(), "nobody wanted to go on");
    }

    #[test]
    fn a_transaction_waits_for_the_end_of_a_lull() {
        let lull = Arc::new(Lull::default());
        lull.begin();
        let (begun, hears) = mpsc::channel();
        let waiting = thread::spawn({
            let lull = Arc::clone(&lull);
            move || {
                let transaction = lull.transaction(LONG_ENOUGH);
                begun.send(()).unwrap();
                drop(transaction);
            }
        });
        assert!(hears.recv_timeout(Duration::from_millis(20)).is_err());
        assert!(lull.end());
        hears.recv().unwrap();
        waiting.join().unwrap();
    }

    #[test]
    fn a_transaction_does_not_wait_for_ever() {
        let lull = Arc::new(Lull::default());
        lull.begin();
        let transaction = lull.transaction(Duration::from_millis(1));
        assert!(!lull.end(), "the store went on");
        drop(transaction);
    }

    #[test]
    fn a_panic_ends_the_transaction() {
        let lull = Arc::new(Lull::default());
        let panicking = thread::spawn({
            let lull = Arc::clone(&lull);
            move || {
                let _transaction = lull.transaction(LONG_ENOUGH);
                panic!("on purpose");
            }
        });
        assert!(panicking.join().is_err());
        lull.begin();
        assert!(lull.end());
    }
}
