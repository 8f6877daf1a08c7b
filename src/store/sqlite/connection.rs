//! Opening a file: settings, whose it is, and which version of the tables it has.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::checkpoint;
use super::codec::limit;
use super::fault::Fault;

/// Stands in the header of each file of ours: "ring".
const APPLICATION_ID: i64 = 0x7269_6e67;

/// One script for each version of the tables. What is released is never changed, only added to.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// What is left of the log after a burst that made it long.
const LOG_BYTES_KEPT: i64 = 64 << 20;

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// When the disk says that it holds it: nothing acknowledged is lost even if the power fails. The default,
    /// since an acknowledged event is a promise. (Only leases do not wait for the disk: what ends the machine
    /// ends those who hold them.)
    #[default]
    Full,
    /// When the operating system has it: nothing is lost if the process is killed, but if the machine goes down,
    /// the last commits before that may be gone. The file stays whole.
    Normal,
}

/// How to open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) durability: Durability,
    pub(super) busy_timeout: Duration,
    pub(super) page_cache: usize,
    pub(super) longest_tail: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            busy_timeout: Duration::from_secs(10),
            page_cache: 32 << 20,
            longest_tail: 1024,
        }
    }
}

pub(super) fn open_file(path: &Path, settings: Settings) -> Result<Connection, Fault> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepare(Connection::open_with_flags(path, flags)?, settings)
}

/// Opens a file, which is ours and open already, for nothing but [`copy_log`].
pub(super) fn open_for_copying(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    version(&conn)?; // SQLite looks for the log when it is asked something
    Ok(conn)
}

/// Copies the log into the file, as far as nobody reads an older state of it, and waits for nobody.
pub(super) fn copy_log(conn: &Connection) -> Result<(), Fault> {
    conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
        .query_one([], |_| Ok(()))?;
    Ok(())
}

pub(super) fn open_in_memory(settings: Settings) -> Result<Connection, Fault> {
    prepare(Connection::open_in_memory()?, settings)
}

fn prepare(mut conn: Connection, settings: Settings) -> Result<Connection, Fault> {
    conn.busy_timeout(settings.busy_timeout)?;
    version(&conn)?; // before anything is changed in what may be another's
    write_ahead(&conn, settings.busy_timeout)?;
    // Commits do not wait for the disk: those that make promises are waited for apart from this. What keeps the file whole
    // is waited for all the same, where the log is copied and where it begins anew.
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    let cache_kib = i64::try_from(settings.page_cache / 1024).unwrap_or(i64::MAX);
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "wal_autocheckpoint", checkpoint::LONG)?;
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    migrate(&mut conn)?;
    // Without this promise, SQLite plans a statement anew whenever other values are bound to it: half of all the
    // time that claims over many lanes took.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

/// Turns the write-ahead log on. This is the one thing for which SQLite does not wait itself if another process
/// has the file at that moment, as one that is opening it too.
fn write_ahead(conn: &Connection, patience: Duration) -> Result<(), Fault> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    loop {
        let switched: rusqlite::Result<String> =
            conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        let busy = switched.as_ref().is_err_and(|error| {
            matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            )
        });
        if !busy || waited >= patience {
            // SQLite says which mode it is in, and no error, where it cannot have the one that was asked for.
            return match switched?.as_str() {
                "wal" | "memory" => Ok(()),
                _ => Err(Fault::NoLog),
            };
        }
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// How many migrations the file has had, if it is one of ours or empty. All is read at one moment, since another
/// process may be making it one of ours just now.
fn version(conn: &Connection) -> Result<usize, Fault> {
    let (application, version, is_empty): (i64, i64, bool) = conn.query_one(
        "SELECT application_id, user_version, NOT EXISTS (SELECT 1 FROM sqlite_schema)
         FROM pragma_application_id, pragma_user_version",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    match application {
        APPLICATION_ID => {}
        0 if version == 0 && is_empty => return Ok(0),
        _ => return Err(Fault::Foreign),
    }
    usize::try_from(version)
        .ok()
        .filter(|version| *version <= MIGRATIONS.len())
        .ok_or(Fault::TooNew(version))
}

/// Runs what the file has not had yet, each migration in a transaction of its own. Another process may be doing
/// the same, so the version is read anew once the lock is held.
fn migrate(conn: &mut Connection) -> Result<(), Fault> {
    while version(conn)? < MIGRATIONS.len() {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = version(&tx)?;
        if let Some(script) = MIGRATIONS.get(done) {
            tx.execute_batch(script)?;
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", limit(done + 1))?;
        }
        tx.commit()?;
    }
    Ok(())
}
