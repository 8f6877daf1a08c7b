//! What finds attempts, and adds them up: made for many attempts at once, not for each as it is recorded.
//!
//! Attempts are recorded at the end of one table, and when some have gathered there, this tail is *filed*: for each
//! word of each of them (webhook, scope, kind, outcome) a posting, so that what has a word is found in order; a chapter,
//! which says which instants it covers; and its part in the health figures. So what comes one by one costs one b-tree,
//! at its right edge, and the others are visited once for many. Whoever looks for attempts looks through the tail as
//! well, which is short.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension};

use super::attempts::{Extent, Seq};
use super::codec::{ceil, floor, instant, micros, span_of_micros, unsigned};
use super::fault::Fault;
use super::words::{Role, WordNo, Words};
use crate::delivery::{Health, minute_of};
use crate::id::WebhookId;

/// Files what is not yet. The extent is left to be written by the caller.
pub(super) fn file_tail(conn: &Connection, words: &mut Words, extent: &mut Extent) -> Result<(), Fault> {
    let mut postings: Vec<(WordNo, Seq)> = Vec::new();
    let mut chapter: Option<Chapter> = None;
    let mut figures: BTreeMap<(i64, WordNo), Health> = BTreeMap::new();
    let mut select = conn.prepare_cached(
        "SELECT seq, recorded_at, scope, kind, outcome, webhook, accepted, duration, test FROM attempts
         WHERE seq > ?1 ORDER BY seq",
    )?;
    let mut rows = select.query([extent.filed])?;
    while let Some(row) = rows.next()? {
        let (seq, recorded_at): (Seq, i64) = (row.get(0)?, row.get(1)?);
        let outcome: WordNo = row.get(4)?;
        postings.extend([row.get(2)?, row.get(3)?, outcome].map(|word| (word, seq)));
        chapter
            .get_or_insert(Chapter::at(seq, recorded_at))
            .add(seq, recorded_at);
        if let Some(webhook) = row.get(5)? {
            postings.push((webhook, seq));
            if row.get(8)? {
                continue; // nothing is inferred from how a test fares
            }
            let minute = minute_of(instant(recorded_at, "recorded_at")?);
            figures.entry((minute, webhook)).or_default().count(
                words.outcome(conn, outcome)?,
                span_of_micros(row.get(7)?, "duration")?,
                row.get(6)?,
            );
        }
    }
    drop(rows);
    if let Some(chapter) = chapter {
        postings.sort_unstable();
        let mut insert = conn.prepare_cached("INSERT INTO postings (word, seq) VALUES (?1, ?2)")?;
        for posting in postings {
            insert.execute(posting)?;
        }
        chapter.insert(conn)?;
        add_figures(conn, &figures)?;
    }
    extent.filed = extent.last;
    Ok(())
}

/// A run of attempts that were filed together.
#[derive(Clone, Copy)]
struct Chapter {
    first: Seq,
    last: Seq,
    /// Between which instants they were recorded, both included.
    earliest: i64,
    latest: i64,
}

impl Chapter {
    fn at(seq: Seq, recorded_at: i64) -> Self {
        Self {
            first: seq,
            last: seq,
            earliest: recorded_at,
            latest: recorded_at,
        }
    }

    fn add(&mut self, seq: Seq, recorded_at: i64) {
        self.last = seq;
        self.earliest = self.earliest.min(recorded_at);
        self.latest = self.latest.max(recorded_at);
    }

    fn insert(self, conn: &Connection) -> Result<(), Fault> {
        conn.prepare_cached("INSERT INTO chapters (first, last, earliest, latest) VALUES (?1, ?2, ?3, ?4)")?
            .execute((self.first, self.last, self.earliest, self.latest))?;
        Ok(())
    }
}

/// From where to where all filed attempts lie that were recorded from `since` on and before `until`. Others may lie
/// between them. `None`: there are none.
pub(super) fn window(
    conn: &Connection,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<Option<(Seq, Seq)>, Fault> {
    if since.is_none() && until.is_none() {
        return Ok(Some((Seq::MIN, Seq::MAX)));
    }
    let window: (Option<Seq>, Option<Seq>) = conn
        .prepare_cached("SELECT min(first), max(last) FROM chapters WHERE latest >= ?1 AND earliest < ?2")?
        .query_one(
            (since.map_or(i64::MIN, ceil), until.map_or(i64::MAX, ceil)),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
    Ok(window.0.zip(window.1))
}

/// The first chapter with something that was recorded before: from where to where it goes.
pub(super) fn first_before(conn: &Connection, before: i64) -> Result<Option<(Seq, Seq)>, Fault> {
    Ok(conn
        .prepare_cached("SELECT first, last FROM chapters WHERE earliest < ?1 ORDER BY first LIMIT 1")?
        .query_row([before], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Goes over a chapter again of which something was removed.
pub(super) fn shrink(conn: &Connection, first: Seq, last: Seq) -> Result<(), Fault> {
    let earliest: Option<i64> = conn
        .prepare_cached("SELECT min(recorded_at) FROM attempts WHERE seq >= ?1 AND seq <= ?2")?
        .query_one((first, last), |row| row.get(0))?;
    match earliest {
        Some(earliest) => conn
            .prepare_cached("UPDATE chapters SET earliest = ?2 WHERE first = ?1")?
            .execute((first, earliest))?,
        None => conn
            .prepare_cached("DELETE FROM chapters WHERE first = ?1")?
            .execute([first])?,
    };
    Ok(())
}

fn add_figures(conn: &Connection, figures: &BTreeMap<(i64, WordNo), Health>) -> Result<(), Fault> {
    let mut upsert = conn.prepare_cached(
        "INSERT INTO health (minute, webhook, attempts, accepted, sending_time) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (minute, webhook) DO UPDATE SET attempts = attempts + excluded.attempts,
            accepted = accepted + excluded.accepted, sending_time = sending_time + excluded.sending_time",
    )?;
    for ((minute, webhook), health) in figures.iter().filter(|(_, health)| health.attempts > 0) {
        upsert.execute((
            minute,
            webhook,
            i64::try_from(health.attempts).unwrap_or(i64::MAX),
            i64::try_from(health.accepted).unwrap_or(i64::MAX),
            micros(health.sending_time),
        ))?;
    }
    Ok(())
}

/// The figures of a webhook, from the minute of one instant to that of another.
pub(super) fn health(
    conn: &Connection,
    words: &mut Words,
    webhook: &WebhookId,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Health, Fault> {
    let mut health = Health::default();
    let Some(webhook) = words.find(conn, Role::Webhook, webhook.as_str())? else {
        return Ok(health);
    };
    let (first, last) = (minute_of(since), minute_of(now));
    add_filed(conn, webhook, first, last, &mut health)?;
    let mut select = conn.prepare_cached(
        "SELECT outcome, duration, accepted, recorded_at FROM attempts WHERE seq > ?1 AND webhook = ?2
            AND NOT test",
    )?;
    let mut rows = select.query((Extent::read(conn)?.filed, webhook))?;
    while let Some(row) = rows.next()? {
        let minute = minute_of(instant(row.get(3)?, "recorded_at")?);
        if (first..=last).contains(&minute) {
            health.count(
                words.outcome(conn, row.get(0)?)?,
                span_of_micros(row.get(1)?, "duration")?,
                row.get(2)?,
            );
        }
    }
    Ok(health)
}

/// The table is sorted by minute, so that it grows and shrinks at its ends; in each minute that it has, the webhook is
/// looked up.
fn add_filed(
    conn: &Connection,
    webhook: WordNo,
    first: i64,
    last: i64,
    health: &mut Health,
) -> Result<(), Fault> {
    let mut select = conn.prepare_cached(
        "SELECT minute, webhook, attempts, accepted, sending_time FROM health WHERE (minute, webhook) >= (?1, ?2)
         ORDER BY minute, webhook LIMIT 1",
    )?;
    let mut minute = first;
    loop {
        let mut rows = select.query((minute, webhook))?;
        let Some(row) = rows.next()? else {
            return Ok(());
        };
        let (found, whose): (i64, WordNo) = (row.get(0)?, row.get(1)?);
        if found > last {
            return Ok(());
        }
        if whose == webhook {
            health.add(&Health {
                attempts: unsigned(row.get(2)?, "attempts")?,
                accepted: unsigned(row.get(3)?, "accepted")?,
                sending_time: span_of_micros(row.get(4)?, "sending_time")?,
            });
        }
        // In a minute that begins with a webhook of a lower number, this one may come later.
        minute = if found == minute || whose >= webhook {
            found + 1
        } else {
            found
        };
    }
}

/// Removes figures of minutes before that of an instant, up to `max`. How many.
pub(super) fn purge_figures(conn: &Connection, before: DateTime<Utc>, max: i64) -> Result<usize, Fault> {
    Ok(conn
        .prepare_cached(
            "DELETE FROM health WHERE (minute, webhook) IN
                (SELECT minute, webhook FROM health WHERE minute < ?1 ORDER BY minute, webhook LIMIT ?2)",
        )?
        .execute((minute_of(before), max))?)
}

/// Whether something in the tail was recorded before.
pub(super) fn tail_has_any_before(
    conn: &Connection,
    extent: &Extent,
    before: DateTime<Utc>,
) -> Result<bool, Fault> {
    Ok(conn
        .prepare_cached("SELECT 1 FROM attempts WHERE seq > ?1 AND recorded_at < ?2 LIMIT 1")?
        .exists((extent.filed, floor(before)))?)
}
