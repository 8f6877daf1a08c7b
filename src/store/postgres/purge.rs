//! Removing what is over.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::database::Database;
use super::fault::Fault;
use super::partitions;
use super::transaction::{Columns, Transaction, query};
use crate::delivery::{Retention, minute_of};
use crate::store::Purged;
use crate::store::codec::{ALL_PURGEABLE, BODY_PURGEABLE, floor, limit, whole};

/// What somebody else is removing or replaying just now is left to them.
const OVER: &str = "
    SELECT id, event FROM ringback.deliveries WHERE purgeable = $1 AND ended_at < $2
    ORDER BY ended_at, id LIMIT $3 FOR UPDATE SKIP LOCKED";

/// So that of two who remove the last two of an event's deliveries, the later one sees that it is the last.
const LOCK_EVENTS: &str =
    "SELECT id FROM ringback.events WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE";

const REMOVE_OWN_BODIES: &str =
    "DELETE FROM ringback.contents WHERE delivery = ANY($1::bigint[]) AND call IS NULL";
const EMPTY_OWN_BODIES: &str = "UPDATE ringback.contents SET body = NULL WHERE delivery = ANY($1::bigint[])";
const MARK_BODILESS: &str = "
    UPDATE ringback.deliveries d SET purgeable = 2,
        own = EXISTS (SELECT FROM ringback.contents c WHERE c.delivery = d.id)
    WHERE id = ANY($1::bigint[])";

/// Takes the bytes from events that no delivery can need any more.
const EMPTY_EVENTS: &str = "
    UPDATE ringback.events e SET body = '' WHERE id = ANY($1::bigint[]) AND body <> '' AND NOT EXISTS
        (SELECT FROM ringback.deliveries d WHERE d.event = e.id AND NOT (d.state = 'delivered' AND d.purgeable = 2))";

const REMOVE_OLD_ATTEMPTS: &str = "
    DELETE FROM ringback.attempts_at_other_times WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM ringback.attempts_at_other_times WHERE recorded_at < $1 ORDER BY seq LIMIT $2
        FOR UPDATE SKIP LOCKED))
    RETURNING seq";

/// Attempts of deliveries that go, which are in no partition that goes as a whole.
const COUNT_ATTEMPTS: &str = "
    SELECT delivery, count(*) AS attempts FROM ringback.attempts_at_other_times
    WHERE delivery = ANY($1::bigint[]) GROUP BY delivery";
const REMOVE_ATTEMPTS: &str =
    "DELETE FROM ringback.attempts_at_other_times WHERE delivery = ANY($1::bigint[])";
const REMOVE_LAST_ATTEMPTS: &str = "
    DELETE FROM ringback.attempts_at_other_times WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM ringback.attempts_at_other_times WHERE delivery = $1 ORDER BY number DESC LIMIT $2))";

const REMOVE_DELIVERIES: &str = "DELETE FROM ringback.deliveries WHERE id = ANY($1::bigint[])";
const REMOVE_CONTENTS: &str = "DELETE FROM ringback.contents WHERE delivery = ANY($1::bigint[])";
const REMOVE_EVENTS: &str = "
    DELETE FROM ringback.events e WHERE id = ANY($1::bigint[])
        AND NOT EXISTS (SELECT FROM ringback.deliveries d WHERE d.event = e.id)
    RETURNING id";

const REMOVE_BARE_EVENTS: &str = "
    DELETE FROM ringback.events WHERE id IN (SELECT id FROM ringback.events WHERE bare_since < $1
        ORDER BY bare_since, id LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING id";

const REMOVE_FIGURES: &str = "
    DELETE FROM ringback.figures WHERE (webhook, minute) IN
        (SELECT webhook, minute FROM ringback.figures WHERE minute < $1 ORDER BY minute, webhook LIMIT $2
         FOR UPDATE SKIP LOCKED)
    RETURNING minute";

impl Database {
    /// Removes up to `max` things, and of history also the partitions that are over as a whole, one a step.
    pub(super) async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, Fault> {
        self.file().await?;
        let now = whole(now);
        let before = retention.history_before(now);
        let mut step = Step {
            left: max.max(1),
            purged: Purged::default(),
        };
        let dropped = partitions::drop_oldest(self, before).await?;
        step.purged.attempts += dropped.unwrap_or(0);
        let mut tx = self.transaction().await?;
        step.bodies(&mut tx, retention.bodies_before(now)).await?;
        step.attempts(&mut tx, before).await?;
        step.deliveries(&mut tx, before).await?;
        step.bare_events(&mut tx, before).await?;
        step.figures(&mut tx, before).await?;
        tx.commit().await?;
        step.purged.is_done = step.left > 0 && dropped.is_none();
        Ok(step.purged)
    }
}

struct Step {
    left: usize,
    purged: Purged,
}

impl Step {
    async fn bodies(&mut self, tx: &mut Transaction<'_>, before: DateTime<Utc>) -> Result<(), Fault> {
        let (ids, events) = self.over(tx, BODY_PURGEABLE, before).await?;
        if !ids.is_empty() {
            tx.run([
                query(REMOVE_OWN_BODIES, &[&ids]),
                query(EMPTY_OWN_BODIES, &[&ids]),
                query(MARK_BODILESS, &[&ids]),
                query(EMPTY_EVENTS, &[&events]),
            ])
            .await?;
        }
        self.left -= ids.len();
        self.purged.bodies += ids.len();
        Ok(())
    }

    async fn attempts(&mut self, tx: &mut Transaction<'_>, before: DateTime<Utc>) -> Result<(), Fault> {
        let removed = tx
            .query(REMOVE_OLD_ATTEMPTS, &[&floor(before), &limit(self.left)])
            .await?
            .len();
        self.left -= removed;
        self.purged.attempts += removed;
        Ok(())
    }

    async fn deliveries(&mut self, tx: &mut Transaction<'_>, before: DateTime<Utc>) -> Result<(), Fault> {
        let (ids, events) = self.over(tx, ALL_PURGEABLE, before).await?;
        if ids.is_empty() {
            return Ok(());
        }
        let mut attempts: HashMap<i64, usize> = HashMap::new();
        for row in &tx.query(COUNT_ATTEMPTS, &[&ids]).await? {
            attempts.insert(row.read("delivery")?, row.count("attempts")?);
        }
        let mut gone = Vec::with_capacity(ids.len());
        for id in ids {
            // Some of its attempts may be left, if they were recorded under a clock that was ahead.
            let left = attempts.get(&id).copied().unwrap_or(0);
            if left >= self.left {
                tx.query(REMOVE_LAST_ATTEMPTS, &[&id, &limit(self.left)]).await?;
                self.purged.attempts += left.min(self.left);
                self.left = 0;
                break;
            }
            self.purged.attempts += left;
            self.purged.deliveries += 1;
            self.left -= left + 1;
            gone.push(id);
            if self.left == 0 {
                break;
            }
        }
        let [_, _, _, removed, _] = tx
            .run([
                query(REMOVE_ATTEMPTS, &[&gone]),
                query(REMOVE_DELIVERIES, &[&gone]),
                query(REMOVE_CONTENTS, &[&gone]),
                query(REMOVE_EVENTS, &[&events]),
                query(EMPTY_EVENTS, &[&events]),
            ])
            .await?;
        self.purged.events += removed.len();
        Ok(())
    }

    /// Events that have no deliveries.
    async fn bare_events(&mut self, tx: &mut Transaction<'_>, before: DateTime<Utc>) -> Result<(), Fault> {
        let removed = tx
            .query(REMOVE_BARE_EVENTS, &[&floor(before), &limit(self.left)])
            .await?
            .len();
        self.left -= removed;
        self.purged.events += removed;
        Ok(())
    }

    async fn figures(&mut self, tx: &mut Transaction<'_>, before: DateTime<Utc>) -> Result<(), Fault> {
        let removed = tx
            .query(REMOVE_FIGURES, &[&minute_of(before), &limit(self.left)])
            .await?
            .len();
        self.left -= removed;
        self.purged.figures += removed;
        Ok(())
    }

    /// The deliveries that are to lose this, and their events, locked.
    async fn over(
        &self,
        tx: &mut Transaction<'_>,
        what: i64,
        before: DateTime<Utc>,
    ) -> Result<(Vec<i64>, Vec<i64>), Fault> {
        let what = i16::try_from(what).map_err(|_| Fault::Unreadable("purgeable"))?;
        let rows = tx
            .query(OVER, &[&what, &floor(before), &limit(self.left)])
            .await?;
        let ids = rows.iter().map(|row| row.read("id")).collect::<Result<_, _>>()?;
        let events: Vec<i64> = rows
            .iter()
            .map(|row| row.read("event"))
            .collect::<Result<_, _>>()?;
        if !events.is_empty() {
            tx.query(LOCK_EVENTS, &[&events]).await?;
        }
        Ok((ids, events))
    }
}
