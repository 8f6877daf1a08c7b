//! Submissions.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, Transaction};

use super::codec::{EventParts, header_lines, limit};
use super::core::{Core, advance};
use super::database::{self, Database};
use super::events::{self, Prepared, bytes, text};
use super::fault::Fault;
use crate::delivery::Event;
use crate::id::Subject;
use crate::store::encryption::Place;
use crate::store::{Enqueued, SetAside, SqliteStore, StoreError, Submission, SubmissionNo, TakenIn};

const HEADERS: &str = "intake.headers";
const BODY: &str = "intake.body";

/// Of a submission, what [`read`] reads.
macro_rules! select {
    ($($rest:literal),+) => {
        concat!(
            "SELECT number, scope, event_id, kind, subject, media_type, headers, body, set_aside FROM intake ",
            $($rest),+
        )
    };
}

impl SqliteStore {
    /// Submits events in a transaction of the caller's own on the same file: they will be sent if, and only if, that
    /// commits. See [`IntakeStore`](crate::store::IntakeStore).
    ///
    /// It is the application's connection, since SQLite lets several write to one file in turn. Open its transactions with
    /// `BEGIN IMMEDIATE` and give it a busy timeout, as others write too: then it waits for its turn instead of failing, and
    /// so do the workers. Ring the store's [`intake_wake`](crate::store::IntakeStore::intake_wake) once the transaction has
    /// committed; without that, a worker finds the submission when it next looks by the clock, which is also how workers in
    /// other processes find it.
    ///
    /// # Errors
    ///
    /// If the connection fails, is to another file, or the file is encrypted under a key that this store was not given. Then
    /// roll the transaction back.
    ///
    /// ```
    /// use ringback::delivery::Event;
    /// use ringback::store::{EncryptionKey, IntakeStore, SqliteStore};
    /// use ringback::system::SystemEntropy;
    /// use rusqlite::{Connection, TransactionBehavior};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("app.db");
    /// let store = SqliteStore::open(&path, EncryptionKey::generate(&SystemEntropy))?;
    /// let mut own = Connection::open(&path)?;
    /// own.execute("CREATE TABLE orders (number TEXT)", ())?;
    ///
    /// let order = "A-17";
    /// let event = Event::builder("tenant-7", format!("{order}/placed"), "order.placed").json("{}").build()?;
    /// let transaction = own.transaction_with_behavior(TransactionBehavior::Immediate)?;
    /// transaction.execute("INSERT INTO orders VALUES (?1)", [order])?;
    /// store.submit_in(&transaction, &[event])?;
    /// transaction.commit()?;
    /// store.intake_wake().ring();
    ///
    /// assert_eq!(store.submissions(None, 10).await?.len(), 1, "until a worker takes it in");
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_in(&self, transaction: &Transaction<'_>, events: &[Event]) -> Result<(), StoreError> {
        let submitted = database::vault(transaction, self.vault.get().keys().clone()).and_then(|vault| {
            let seal = |column: &'static str, row: &[&[u8]], value: &[u8]| {
                let sealed = vault.seal(Place { column, row }, value);
                sealed.map_err(|_| Fault::Unreadable(column))
            };
            insert(transaction, seal, events)
        });
        Ok(submitted?)
    }
}

/// Writes submissions, in a transaction that goes on.
fn insert(
    conn: &Connection,
    seal: impl Fn(&'static str, &[&[u8]], &[u8]) -> Result<Vec<u8>, Fault>,
    events: &[Event],
) -> Result<(), Fault> {
    let first = advance(conn, "submission", limit(events.len()))?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO intake (number, scope, event_id, kind, subject, media_type, headers, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (number, event) in (first..).zip(events) {
        let identity = number.to_be_bytes();
        let row: &[&[u8]] = &[&identity];
        let headers = header_lines(event.headers());
        let headers = headers.map(|lines| seal(HEADERS, row, &lines));
        insert.execute((
            number,
            event.scope().as_str(),
            event.id().as_str(),
            event.kind().as_str(),
            event.subject().map(Subject::as_str),
            event.media_type().as_bytes(),
            headers.transpose()?,
            seal(BODY, row, event.body())?,
        ))?;
    }
    Ok(())
}

impl Core {
    pub(super) fn submit(&mut self, events: &[Event]) -> Result<(), Fault> {
        let conn = &self.conn;
        insert(conn, |column, row, value| conn.seal(column, row, value), events)?;
        self.rings.intake = true;
        Ok(())
    }

    pub(super) fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, Fault> {
        let select = select!("WHERE set_aside IS NULL AND number > ?1 ORDER BY number LIMIT ?2");
        let mut select = self.conn.prepare_cached(select)?;
        let mut rows = select.query((start(after), limit(max)))?;
        let mut submissions = Vec::new();
        while let Some(row) = rows.next()? {
            submissions.push(read(&self.conn, row)?);
        }
        Ok(submissions)
    }

    /// Takes in what is still there.
    pub(super) fn take_in(
        &mut self,
        taking: &[(SubmissionNo, Option<Prepared>)],
        now: DateTime<Utc>,
    ) -> Result<Vec<TakenIn>, Fault> {
        let mut there = Vec::with_capacity(taking.len());
        for (number, _) in taking {
            let select = "SELECT 1 FROM intake WHERE number = ?1 AND set_aside IS NULL";
            there.push(self.conn.prepare_cached(select)?.exists([number.0])?);
        }
        let present = taking.iter().zip(&there).filter(|(_, is_there)| **is_there);
        let events: Vec<_> = present.filter_map(|((_, event), _)| event.as_ref()).collect();
        let (enqueued, sooner) = events::enqueue(&self.conn, &mut self.cache, &mut self.words, &events, now)?;
        self.rings.deliveries |= sooner;
        let mut enqueued = enqueued.into_iter();
        let mut answers = Vec::with_capacity(taking.len());
        for ((number, event), is_there) in taking.iter().zip(there) {
            answers.push(match (is_there, event) {
                (false, _) => TakenIn::Gone,
                (true, None) => self.put_aside(*number, SetAside::Unusable)?,
                (true, Some(_)) => match enqueued.next().ok_or(Fault::Unreadable("event"))? {
                    Enqueued::Conflict => self.put_aside(*number, SetAside::Conflict)?,
                    Enqueued::Duplicate(_) => self.remove(*number, TakenIn::Duplicate)?,
                    Enqueued::Fresh(deliveries) => self.remove(*number, TakenIn::Fresh(deliveries))?,
                },
            });
        }
        Ok(answers)
    }

    fn put_aside(&self, number: SubmissionNo, why: SetAside) -> Result<TakenIn, Fault> {
        self.conn
            .prepare_cached("UPDATE intake SET set_aside = ?2 WHERE number = ?1")?
            .execute((number.0, why.as_str()))?;
        Ok(TakenIn::SetAside(why))
    }

    fn remove(&self, number: SubmissionNo, answer: TakenIn) -> Result<TakenIn, Fault> {
        self.conn
            .prepare_cached("DELETE FROM intake WHERE number = ?1")?
            .execute([number.0])?;
        Ok(answer)
    }

    pub(super) fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, Fault> {
        let select = select!("WHERE set_aside IS NOT NULL AND number > ?1 ORDER BY number LIMIT ?2");
        let mut select = self.conn.prepare_cached(select)?;
        let mut rows = select.query((start(after), limit(max)))?;
        let mut set_aside = Vec::new();
        while let Some(row) = rows.next()? {
            let why = SetAside::named(text(row, 8)?).ok_or(Fault::Unreadable("set_aside"))?;
            set_aside.push((read(&self.conn, row)?, why));
        }
        Ok(set_aside)
    }

    pub(super) fn discard(&self, number: SubmissionNo) -> Result<bool, Fault> {
        let discarded = self
            .conn
            .prepare_cached("DELETE FROM intake WHERE number = ?1 AND set_aside IS NOT NULL")?
            .execute([number.0])?;
        Ok(discarded > 0)
    }
}

/// What numbers are greater than from after that one on.
fn start(after: Option<SubmissionNo>) -> i64 {
    after.map_or(i64::MIN, |after| after.0)
}

fn read(conn: &Database, row: &Row<'_>) -> Result<Submission, Fault> {
    let number = SubmissionNo(row.get(0)?);
    Ok(Submission {
        number,
        scope: text(row, 1)?.into(),
        id: text(row, 2)?.into(),
        event: read_event(conn, number, row).ok(),
    })
}

fn read_event(conn: &Database, number: SubmissionNo, row: &Row<'_>) -> Result<Event, Fault> {
    let identity = number.0.to_be_bytes();
    let open = |column, sealed| conn.open(column, &[&identity], sealed);
    let parts = EventParts {
        scope: text(row, 1)?,
        id: text(row, 2)?,
        kind: text(row, 3)?,
        subject: row.get_ref(4)?.as_str_or_null().map_err(rusqlite::Error::from)?,
        media_type: bytes(row, 5)?,
        header_lines: open(HEADERS, bytes(row, 6)?)?,
        body: open(BODY, bytes(row, 7)?)?,
    };
    Ok(parts.event()?)
}
