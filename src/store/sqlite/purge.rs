//! Removing what is over.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension};

use super::attempts::{self, Extent, Seq};
use super::codec::{ALL_PURGEABLE, BODY_PURGEABLE, floor, limit, whole};
use super::core::Core;
use super::fault::Fault;
use super::filing;
use super::words::{WordNo, Words};
use crate::delivery::Retention;
use crate::id::DeliveryId;
use crate::store::Purged;

impl Core {
    pub(super) fn purge(
        &mut self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, Fault> {
        let Self {
            conn, cache, words, ..
        } = self;
        let now = whole(now);
        let history_before = retention.history_before(now);
        cache.forget_events(); // some lose their bodies, and a row's number may come to be another event's
        let mut step = Step {
            conn,
            left: max.max(1),
            purged: Purged::default(),
        };
        step.bodies(retention.bodies_before(now))?;
        step.attempts(words, history_before)?;
        step.deliveries(words, history_before)?;
        step.events(history_before)?;
        step.figures(history_before)?;
        step.purged.is_done = step.left > 0;
        Ok(step.purged)
    }
}

struct Step<'c> {
    conn: &'c Connection,
    left: usize,
    purged: Purged,
}

/// A delivery that is to lose something.
struct Over {
    id: i64,
    event: i64,
    own: bool,
    last_attempt: Option<Seq>,
}

impl Step<'_> {
    fn count(&mut self, what: impl FnOnce(&mut Purged) -> &mut usize, removed: usize) {
        *what(&mut self.purged) += removed;
        self.left = self.left.saturating_sub(removed);
    }

    fn bodies(&mut self, before: DateTime<Utc>) -> Result<(), Fault> {
        for over in self.over(BODY_PURGEABLE, before)? {
            if over.own {
                self.remove_own_body(over.id)?;
            }
            self.conn
                .prepare_cached("UPDATE deliveries SET purgeable = ?2 WHERE id = ?1")?
                .execute((over.id, ALL_PURGEABLE))?;
            self.empty_event(over.event)?;
            self.count(|purged| &mut purged.bodies, 1);
        }
        Ok(())
    }

    fn attempts(&mut self, words: &mut Words, before: DateTime<Utc>) -> Result<(), Fault> {
        while self.left > 0 {
            let Some((first, last)) = filing::first_before(self.conn, floor(before))? else {
                let extent = Extent::read(self.conn)?;
                if !filing::tail_has_any_before(self.conn, &extent, before)? {
                    return Ok(());
                }
                self.file(words, extent)?;
                continue;
            };
            let found = self
                .conn
                .prepare_cached(
                    "SELECT seq FROM attempts WHERE seq >= ?1 AND seq <= ?2 AND recorded_at < ?3
                     ORDER BY seq LIMIT ?4",
                )?
                .query_map((first, last, floor(before), limit(self.left)), |row| row.get(0))?
                .collect::<Result<Vec<Seq>, _>>()?;
            remove_attempts(self.conn, &found)?;
            if found.len() < self.left {
                filing::shrink(self.conn, first, last)?;
            }
            self.count(|purged| &mut purged.attempts, found.len());
        }
        Ok(())
    }

    fn file(&self, words: &mut Words, mut extent: Extent) -> Result<(), Fault> {
        filing::file_tail(self.conn, words, &mut extent)?;
        extent.write(self.conn)
    }

    fn deliveries(&mut self, words: &mut Words, before: DateTime<Utc>) -> Result<(), Fault> {
        let all_over = self.over(ALL_PURGEABLE, before)?;
        let extent = Extent::read(self.conn)?;
        if all_over.iter().any(|over| over.last_attempt > Some(extent.filed)) {
            self.file(words, extent)?; // so that what goes has been counted
        }
        for over in all_over {
            if !self.remove_attempts_of(&over)? {
                return Ok(());
            }
            self.conn
                .prepare_cached("DELETE FROM deliveries WHERE id = ?1")?
                .execute([over.id])?;
            if over.own {
                self.conn
                    .prepare_cached("DELETE FROM contents WHERE delivery = ?1")?
                    .execute([over.id])?;
            }
            self.count(|purged| &mut purged.deliveries, 1);
            let removed = self
                .conn
                .prepare_cached(
                    "DELETE FROM events WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries
                        WHERE id >= first_delivery AND id < first_delivery + events.deliveries)",
                )?
                .execute([over.event])?;
            self.purged.events += removed;
            if removed == 0 {
                self.empty_event(over.event)?;
            }
        }
        Ok(())
    }

    /// Events that have no deliveries.
    fn events(&mut self, before: DateTime<Utc>) -> Result<(), Fault> {
        let removed = self
            .conn
            .prepare_cached(
                "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE bare_since < ?1
                    ORDER BY bare_since, id LIMIT ?2)",
            )?
            .execute((floor(before), limit(self.left)))?;
        self.count(|purged| &mut purged.events, removed);
        Ok(())
    }

    fn figures(&mut self, before: DateTime<Utc>) -> Result<(), Fault> {
        let removed = filing::purge_figures(self.conn, before, limit(self.left))?;
        self.count(|purged| &mut purged.figures, removed);
        Ok(())
    }

    fn over(&self, what: i64, before: DateTime<Utc>) -> Result<Vec<Over>, Fault> {
        let mut select = self.conn.prepare_cached(
            "SELECT id, event, own, last_attempt FROM deliveries WHERE purgeable = ?1 AND ended_at < ?2
             ORDER BY ended_at, id LIMIT ?3",
        )?;
        let over = select.query_map((what, floor(before), limit(self.left)), |row| {
            Ok(Over {
                id: row.get(0)?,
                event: row.get(1)?,
                own: row.get(2)?,
                last_attempt: row.get(3)?,
            })
        })?;
        Ok(over.collect::<Result<_, _>>()?)
    }

    fn remove_own_body(&self, id: i64) -> Result<(), Fault> {
        let is_all = self
            .conn
            .prepare_cached("DELETE FROM contents WHERE delivery = ?1 AND call IS NULL")?
            .execute([id])?
            > 0;
        let sql = if is_all {
            "UPDATE deliveries SET own = 0 WHERE id = ?1"
        } else {
            "UPDATE contents SET body = NULL WHERE delivery = ?1"
        };
        self.conn.prepare_cached(sql)?.execute([id])?;
        Ok(())
    }

    /// Takes the bytes from an event that no delivery can need any more.
    fn empty_event(&self, event: i64) -> Result<(), Fault> {
        self.conn
            .prepare_cached(
                "UPDATE events SET body = x'' WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries d
                    WHERE d.id >= first_delivery AND d.id < first_delivery + events.deliveries
                        AND NOT (d.state = 'delivered' AND d.purgeable = 2))",
            )?
            .execute([event])?;
        Ok(())
    }

    /// Removes what is left of a delivery's attempts, the last one first: some may have been recorded under a clock that
    /// was ahead. Whether none is left.
    fn remove_attempts_of(&mut self, over: &Over) -> Result<bool, Fault> {
        let mut next = over.last_attempt;
        while let Some(seq) = next {
            let previous: Option<Option<Seq>> = self
                .conn
                .prepare_cached("SELECT previous FROM attempts WHERE seq = ?1")?
                .query_row([seq], |row| row.get(0))
                .optional()?;
            let Some(previous) = previous else {
                break;
            };
            if self.left == 0 {
                return Ok(false);
            }
            remove_attempts(self.conn, &[seq])?;
            self.count(|purged| &mut purged.attempts, 1);
            next = previous;
        }
        Ok(self.left > 0)
    }
}

/// Removes attempts and whatever finds them.
fn remove_attempts(conn: &Connection, positions: &[Seq]) -> Result<(), Fault> {
    let mut postings: Vec<(WordNo, Seq)> = Vec::with_capacity(4 * positions.len());
    let mut delete = conn.prepare_cached(
        "DELETE FROM attempts WHERE seq = ?1 RETURNING scope, kind, outcome, webhook, delivery, previous",
    )?;
    for seq in positions {
        let (words, delivery, previous): ([Option<WordNo>; 4], i64, Option<Seq>) =
            delete.query_one([seq], |row| {
                let words = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
                Ok((words, row.get(4)?, row.get(5)?))
            })?;
        postings.extend(words.into_iter().flatten().map(|word| (word, *seq)));
        if let Some(previous) = previous {
            relink(conn, delivery, *seq, previous)?;
        }
    }
    postings.sort_unstable();
    let mut delete = conn.prepare_cached("DELETE FROM postings WHERE word = ?1 AND seq = ?2")?;
    for posting in postings {
        delete.execute(posting)?;
    }
    Ok(())
}

/// Has what led to an attempt that was removed lead to the one before, if that is kept: it can be, where a clock was set
/// back between the two.
fn relink(conn: &Connection, delivery: i64, removed: Seq, previous: Seq) -> Result<(), Fault> {
    let is_kept = conn
        .prepare_cached("SELECT 1 FROM attempts WHERE seq = ?1")?
        .exists([previous])?;
    if !is_kept {
        return Ok(());
    }
    let is_last = conn
        .prepare_cached("UPDATE deliveries SET last_attempt = ?3 WHERE id = ?1 AND last_attempt = ?2")?
        .execute((delivery, removed, previous))?
        > 0;
    if is_last {
        return Ok(());
    }
    for seq in attempts::positions(conn, DeliveryId(delivery))? {
        conn.prepare_cached("UPDATE attempts SET previous = ?3 WHERE seq = ?1 AND previous = ?2")?
            .execute((seq, removed, previous))?;
    }
    Ok(())
}
