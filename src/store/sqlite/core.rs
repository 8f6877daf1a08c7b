//! The synchronous heart: a connection, what is remembered of it, and calls carried out in groups.

use chrono::{DateTime, Utc};
use futures_channel::oneshot;
use rusqlite::Connection;

use super::attempts::last_recorded;
use super::cache::Cache;
use super::checkpoint::Checkpointer;
use super::connection::Settings;
use super::database::Database;
use super::fault::Fault;
use super::sync::Done;
use super::words::Words;
use crate::store::{StoreError, Wake};

/// A connection and what goes with it. The methods that do the work of the store traits are in the modules of
/// their subjects; each runs inside a transaction that [`carry_out`](Core::carry_out) has opened.
pub(super) struct Core {
    /// Sees to the log, where that is a file. It goes first, so that the last to close the file is the store.
    checkpointer: Option<Checkpointer>,
    pub(super) conn: Database,
    pub(super) cache: Cache,
    pub(super) words: Words,
    /// How many attempts may be recorded before they are filed.
    pub(super) longest_tail: u32,
    pub(super) rings: Rings,
    bells: Bells,
    /// The latest that a claim came with, since the clock was last set back.
    pub(super) clock: DateTime<Utc>,
    /// What that was at the last commit: what a claim found out that was undone, the next one must find out again.
    committed_clock: DateTime<Utc>,
}

/// The bells of a store.
pub(super) struct Bells {
    pub(super) deliveries: Wake,
    pub(super) intake: Wake,
    pub(super) tasks: Wake,
}

/// Which of them to ring once the commit is through.
#[derive(Default)]
pub(super) struct Rings {
    pub(super) deliveries: bool,
    pub(super) intake: bool,
    pub(super) tasks: bool,
}

/// What a call does to the file, and whether its answer waits until the disk holds what it tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Nothing, and no harm is done if what it tells is undone: when to look again, to which webhooks an event goes.
    Glances,
    /// Nothing.
    Reads,
    /// It takes a lease, or records that one has ended. A power failure may undo that, since it ends the holder
    /// too: all who have the file open run on one machine. Or it removes what need not be kept, which can be done again.
    /// So there is no need to wait for the disk.
    Leases,
    /// It makes a promise.
    Writes,
}

impl Access {
    fn changes_anything(self) -> bool {
        matches!(self, Self::Leases | Self::Writes)
    }

    pub(super) fn waits_for_disk(self) -> bool {
        matches!(self, Self::Reads | Self::Writes)
    }
}

/// A call that waits to be carried out. It may be run more than once, the last time counts.
pub(super) trait Call: Send {
    fn access(&self) -> Access;
    fn run(&mut self, core: &mut Core) -> Result<(), ()>;
    fn fail(&mut self, fault: Fault);
    fn answer(self: Box<Self>);
}

/// A call with its result, once it has one, and whoever waits for it.
pub(super) struct Submitted<T, F> {
    access: Access,
    work: F,
    result: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Submitted<T, F> {
    pub(super) fn new(access: Access, work: F) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        let submitted = Self {
            access,
            work,
            result: None,
            reply,
        };
        (submitted, answer)
    }
}

impl<T, F> Call for Submitted<T, F>
where
    T: Send,
    F: FnMut(&mut Core) -> Result<T, Fault> + Send,
{
    fn access(&self) -> Access {
        self.access
    }

    fn run(&mut self, core: &mut Core) -> Result<(), ()> {
        let result = self.result.insert((self.work)(core));
        result.as_ref().map(|_| ()).map_err(|_| ())
    }

    fn fail(&mut self, fault: Fault) {
        self.result = Some(Err(fault));
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            // Whoever asked may have gone; the call was carried out all the same.
            let _ = self.reply.send(result.map_err(StoreError::from));
        }
    }
}

impl Core {
    pub(super) fn new(
        conn: Database,
        checkpointer: Option<Checkpointer>,
        settings: Settings,
        bells: Bells,
    ) -> Result<Self, Fault> {
        // What was recorded last tells whether the clock was ahead while nobody was here.
        let clock = last_recorded(&conn)?.unwrap_or(DateTime::<Utc>::MIN_UTC);
        Ok(Self {
            checkpointer,
            conn,
            cache: Cache::default(),
            words: Words::default(),
            longest_tail: settings.longest_tail,
            rings: Rings::default(),
            bells,
            clock,
            committed_clock: clock,
        })
    }

    /// Carries out calls in one commit. If one fails, they are carried out one by one, so that it takes no other down with
    /// it; as calls hardly ever fail, this costs less than a savepoint for each.
    pub(super) fn carry_out(&mut self, mut calls: Vec<Box<dyn Call>>) -> Done {
        let mut promises = false;
        match self.in_one_transaction(&mut calls) {
            Ok(promised) => promises = promised,
            Err(Undone) if calls.len() > 1 => {
                for call in &mut calls {
                    promises |= self
                        .in_one_transaction(std::slice::from_mut(call))
                        .unwrap_or(false);
                }
            }
            Err(Undone) => {}
        }
        Done { calls, promises }
    }

    /// Runs calls and commits. Where there is no use in running them one by one, all have failed alike. Whether the disk must
    /// hold the commit before anybody hears of it.
    fn in_one_transaction(&mut self, calls: &mut [Box<dyn Call>]) -> Result<bool, Undone> {
        let access = calls
            .iter()
            .map(|call| call.access())
            .max()
            .unwrap_or(Access::Glances);
        let checkpointer = self.checkpointer.as_ref().filter(|_| access.changes_anything());
        let _until_committed = checkpointer.map(Checkpointer::transaction);
        if let Err(fault) = self.begin_transaction(access) {
            self.roll_back();
            calls.iter_mut().for_each(|call| call.fail(fault.clone()));
            return Ok(false);
        }
        for call in calls.iter_mut() {
            let failed = call.run(self).is_err();
            // SQLite itself rolls back after some errors, as when the disk is full.
            if (failed && call.access().changes_anything()) || self.conn.is_autocommit() {
                self.roll_back();
                return Err(Undone);
            }
        }
        match self.commit() {
            Ok(()) => self.ring(),
            Err(fault) => {
                self.roll_back();
                calls.iter_mut().for_each(|call| call.fail(fault.clone()));
                return Ok(false);
            }
        }
        Ok(access == Access::Writes)
    }

    fn begin_transaction(&mut self, access: Access) -> Result<(), Fault> {
        if !self.conn.is_autocommit() {
            self.roll_back(); // a panic cut the last one short
        }
        let sql = match access.changes_anything() {
            true => "BEGIN IMMEDIATE",
            false => "BEGIN",
        };
        self.conn.prepare_cached(sql)?.execute([])?;
        if !self.cache.keep_if_current(&self.conn)? {
            self.conn.look_at_keys()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        let mut commit = self.conn.prepare_cached("COMMIT")?;
        commit.execute([]).map_err(Fault::of_commit)?;
        self.committed_clock = self.clock;
        Ok(())
    }

    fn roll_back(&mut self) {
        self.rings = Rings::default();
        self.clock = self.committed_clock;
        self.cache.forget();
        self.words.forget();
        if !self.conn.is_autocommit() {
            // Should this fail, the next BEGIN fails too, and its callers hear of it.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }

    fn ring(&mut self) {
        let rings = std::mem::take(&mut self.rings);
        if rings.deliveries {
            self.bells.deliveries.ring();
        }
        if rings.intake {
            self.bells.intake.ring();
        }
        if rings.tasks {
            self.bells.tasks.ring();
        }
    }
}

/// A call failed, and with it the transaction.
struct Undone;

/// The value that a counter has come to.
pub(super) fn last(conn: &Connection, counter: &str) -> Result<i64, Fault> {
    Ok(conn
        .prepare_cached("SELECT value FROM counters WHERE name = ?1")?
        .query_one([counter], |row| row.get(0))?)
}

/// The next `by` values of a counter; the first of them.
pub(super) fn advance(conn: &Connection, counter: &str, by: i64) -> Result<i64, Fault> {
    let last: i64 = conn
        .prepare_cached("UPDATE counters SET value = value + ?2 WHERE name = ?1 RETURNING value")?
        .query_row((counter, by), |row| row.get(0))?;
    Ok(last - by + 1)
}

/// A fault for whoever still waits when nothing is carried out any more.
pub(super) fn refuse(mut call: Box<dyn Call>) {
    call.fail(Fault::Closed);
    call.answer();
}
