//! The log of attempts: written at its end, and read by number or by delivery. What finds them otherwise is in
//! [`filing`](super::filing).

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::codec::{floor, instant, micros, optional_instant, span_of_micros};
use super::database::Database;
use super::fault::Fault;
use super::filing;
use super::words::{Role, WordNo, Words, outcome_word};
use crate::delivery::{Attempt, AttemptReport, recorded_at};
use crate::id::DeliveryId;

const EXCERPT: &str = "attempts.excerpt";

/// An attempt's position: they rise in the order in which attempts were recorded, and none is given out twice.
pub(super) type Seq = i64;

/// How far the log goes.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// The position of the last attempt ever recorded.
    pub(super) last: Seq,
    /// When that was.
    pub(super) recorded_at: Option<i64>,
    /// Up to where it is filed. What comes after is the tail, which is short.
    pub(super) filed: Seq,
}

impl Extent {
    pub(super) fn read(conn: &Connection) -> Result<Self, Fault> {
        Ok(conn
            .prepare_cached("SELECT last, recorded_at, filed FROM log")?
            .query_one([], |row| {
                Ok(Self {
                    last: row.get(0)?,
                    recorded_at: row.get(1)?,
                    filed: row.get(2)?,
                })
            })?)
    }

    pub(super) fn write(&self, conn: &Connection) -> Result<(), Fault> {
        conn.prepare_cached("UPDATE log SET last = ?1, recorded_at = ?2, filed = ?3")?
            .execute((self.last, self.recorded_at, self.filed))?;
        Ok(())
    }
}

/// Whose attempt it is, as the delivery's row says it.
pub(super) struct Attempted {
    pub(super) delivery: i64,
    pub(super) number: u32,
    /// The delivery's attempt before. With that, an attempt leads to all before it, and needs no index by delivery.
    pub(super) previous: Option<Seq>,
    pub(super) webhook: Option<WordNo>,
    pub(super) test: bool,
    pub(super) scope: WordNo,
    pub(super) kind: WordNo,
}

impl Attempted {
    /// Whether it says something about a webhook.
    pub(super) fn is_served(&self) -> bool {
        self.webhook.is_some() && !self.test
    }
}

/// What came of it for the delivery.
#[derive(Clone, Copy)]
pub(super) enum Consequence {
    Accepted,
    RetryAt(i64),
    End,
}

/// Writes attempts down for one call.
pub(super) struct Log<'c> {
    conn: &'c Database,
    words: &'c mut Words,
    now: DateTime<Utc>,
    open: Option<Open<'c>>,
}

/// A log that is being written to.
struct Open<'c> {
    extent: Extent,
    insert: CachedStatement<'c>,
}

impl<'c> Open<'c> {
    fn new(conn: &'c Database) -> Result<Self, Fault> {
        Ok(Self {
            extent: Extent::read(conn)?,
            insert: conn.prepare_cached(
                "INSERT INTO attempts (seq, delivery, number, previous, webhook, test, scope, kind, outcome, accepted,
                    recorded_at, started_at, duration, retry_at, excerpt)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?,
        })
    }
}

impl<'c> Log<'c> {
    pub(super) fn new(conn: &'c Database, words: &'c mut Words, now: DateTime<Utc>) -> Self {
        Self {
            conn,
            words,
            now,
            open: None,
        }
    }

    /// Writes one down at the end. Its position, to be noted with the delivery.
    pub(super) fn record(
        &mut self,
        attempted: &Attempted,
        report: &AttemptReport,
        consequence: Consequence,
    ) -> Result<Seq, Fault> {
        let Open { extent, insert } = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::new(self.conn)?),
        };
        let last = optional_instant(extent.recorded_at, "recorded_at")?;
        let recorded_at = floor(recorded_at(self.now, last));
        extent.last += 1;
        extent.recorded_at = Some(recorded_at);
        let outcome = self
            .words
            .number(self.conn, Role::Outcome, &outcome_word(report.outcome))?;
        let retry_at = match consequence {
            Consequence::RetryAt(at) => Some(at),
            Consequence::Accepted | Consequence::End => None,
        };
        insert.execute((
            extent.last,
            attempted.delivery,
            attempted.number,
            attempted.previous,
            attempted.webhook,
            attempted.test,
            attempted.scope,
            attempted.kind,
            outcome,
            matches!(consequence, Consequence::Accepted),
            recorded_at,
            floor(report.started_at),
            micros(report.duration),
            retry_at,
            self.conn.seal(
                EXCERPT,
                &[
                    &attempted.delivery.to_be_bytes(),
                    &i64::from(attempted.number).to_be_bytes(),
                ],
                &report.excerpt,
            )?,
        ))?;
        Ok(extent.last)
    }

    pub(super) fn text(&mut self, word: WordNo) -> Result<Arc<str>, Fault> {
        self.words.text(self.conn, word)
    }

    /// Notes how far the log goes now, and files the tail if it has become long.
    pub(super) fn close(self, longest_tail: u32) -> Result<(), Fault> {
        let Some(Open { mut extent, .. }) = self.open else {
            return Ok(());
        };
        if extent.last - extent.filed >= i64::from(longest_tail) {
            filing::file_tail(self.conn, self.words, &mut extent)?;
        }
        extent.write(self.conn)
    }
}

/// When the last attempt was recorded, if any was.
pub(super) fn last_recorded(conn: &Connection) -> Result<Option<DateTime<Utc>>, Fault> {
    let last = Extent::read(conn)?.recorded_at;
    Ok(optional_instant(last, "recorded_at")?)
}

/// The positions of a delivery's attempts, the last one first.
pub(super) fn positions(conn: &Connection, delivery: DeliveryId) -> Result<Vec<Seq>, Fault> {
    let mut next: Option<Seq> = conn
        .prepare_cached("SELECT last_attempt FROM deliveries WHERE id = ?1")?
        .query_row([delivery.0], |row| row.get(0))
        .optional()?
        .flatten();
    let mut select = conn.prepare_cached("SELECT previous FROM attempts WHERE seq = ?1")?;
    let mut positions = Vec::new();
    while let Some(seq) = next {
        // What was purged ends it.
        let Some(previous) = select.query_row([seq], |row| row.get(0)).optional()? else {
            break;
        };
        positions.push(seq);
        next = previous;
    }
    Ok(positions)
}

pub(super) fn of(conn: &Database, words: &mut Words, delivery: DeliveryId) -> Result<Vec<Attempt>, Fault> {
    let mut positions = positions(conn, delivery)?;
    positions.reverse();
    let mut select = conn.prepare_cached(
        "SELECT delivery, number, outcome, started_at, duration, excerpt FROM attempts WHERE seq = ?1",
    )?;
    let mut attempts = Vec::with_capacity(positions.len());
    for seq in positions {
        let mut rows = select.query([seq])?;
        let row = rows.next()?.ok_or(Fault::Unreadable("previous"))?;
        attempts.push(read(conn, words, row)?);
    }
    Ok(attempts)
}

/// Reads the columns `delivery, number, outcome, started_at, duration, excerpt`, with which a row begins.
pub(super) fn read(conn: &Database, words: &mut Words, row: &Row<'_>) -> Result<Attempt, Fault> {
    let (delivery, number): (i64, u32) = (row.get(0)?, row.get(1)?);
    let identity = [delivery.to_be_bytes(), i64::from(number).to_be_bytes()];
    let identity = [&identity[0][..], &identity[1]];
    let excerpt = conn.open(EXCERPT, &identity, &row.get::<_, Vec<u8>>(5)?)?;
    Ok(Attempt {
        delivery: DeliveryId(delivery),
        number,
        report: AttemptReport {
            started_at: instant(row.get(3)?, "started_at")?,
            duration: span_of_micros(row.get(4)?, "duration")?,
            outcome: words.outcome(conn, row.get(2)?)?,
            excerpt: Bytes::from(excerpt),
        },
    })
}
