//! Looking at deliveries, and replaying them.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row};

use super::codec::{floor, instant, optional_instant, state, state_words, whole};
use super::contents;
use super::core::Core;
use super::events::event;
use super::fault::Fault;
use super::lanes::{LaneNo, Lanes};
use crate::delivery::Target;
use crate::id::{DeliveryId, EventId, Scope, WebhookId};
use crate::store::{DeliveryRecord, Replayed};

impl Core {
    pub(super) fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, Fault> {
        Ok(self.deliveries(id.0, 1)?.pop())
    }

    pub(super) fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, Fault> {
        let numbers = self
            .conn
            .prepare_cached(
                "SELECT first_delivery, deliveries FROM events WHERE scope = ?1 AND event_id = ?2",
            )?
            .query_row((scope.as_str(), event.as_str()), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((first, count)) = numbers else {
            return Ok(Vec::new());
        };
        self.deliveries(first, count)
    }

    /// The deliveries numbered from `first` on.
    fn deliveries(&self, first: i64, count: i64) -> Result<Vec<DeliveryRecord>, Fault> {
        self.conn
            .prepare_cached(
                "SELECT id, event, state, reason, attempts, first_failure, due, created_at, own, webhook,
                    test
                 FROM deliveries WHERE id >= ?1 AND id < ?1 + ?2 ORDER BY id",
            )?
            .query_and_then((first, count), |row| self.record(row))?
            .collect()
    }

    fn record(&self, row: &Row<'_>) -> Result<DeliveryRecord, Fault> {
        let id = row.get(0)?;
        let event = event(&self.conn, row.get(1)?)?;
        let contents = contents::read(&self.conn, id, row.get(8)?)?;
        let target = match (row.get::<_, Option<String>>(9)?, contents.call) {
            (Some(webhook), None) if row.get(10)? => Target::Test(WebhookId::from(webhook)),
            (Some(webhook), None) => Target::Webhook(WebhookId::from(webhook)),
            (None, Some(call)) => Target::Call(call),
            _ => return Err(Fault::Unreadable("webhook")),
        };
        let reason: Option<String> = row.get(3)?;
        Ok(DeliveryRecord {
            id: DeliveryId(id),
            body: contents.body.unwrap_or_else(|| event.body().clone()),
            event,
            target,
            state: state(&row.get::<_, String>(2)?, reason.as_deref())?,
            attempts: row.get(4)?,
            first_failure: optional_instant(row.get(5)?, "first_failure")?,
            due: instant(row.get(6)?, "due")?,
            created_at: instant(row.get(7)?, "created_at")?,
        })
    }

    pub(super) fn replay(&mut self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, Fault> {
        let conn = &self.conn;
        let mut select = conn.prepare_cached(
            "SELECT d.state, d.reason, d.lane, d.webhook, d.test, e.scope
                 FROM deliveries d JOIN events e ON e.id = d.event WHERE d.id = ?1",
        )?;
        let mut rows = select.query([id.0])?;
        let Some(row) = rows.next()? else {
            return Ok(Replayed::Unknown);
        };
        let reason: Option<String> = row.get(1)?;
        let state = state(&row.get::<_, String>(0)?, reason.as_deref())?;
        if !state.is_final() {
            return Ok(Replayed::NotFinal(state));
        }
        let mut lanes = Lanes::new(conn, whole(now));
        let lane: Option<LaneNo> = match row.get::<_, Option<String>>(3)? {
            // The webhook may have been registered anew since, in a lane of its own.
            Some(webhook) => {
                let scope = Scope::from(row.get::<_, String>(5)?);
                lanes.of_webhook(&webhook.into(), row.get(4)?, &scope)?
            }
            None => row.get(2)?,
        };
        let Some(lane) = lane else {
            return Ok(Replayed::WebhookDeleted);
        };
        let due = floor(now);
        let waits = lanes.get(lane)?.waits_until(due);
        conn.prepare_cached(
            "UPDATE deliveries SET lane = ?2, state = ?5, held_by = ?6, reason = NULL, rank = ?3, due = ?4, awaits = NULL,
                attempts = 0, first_failure = NULL, interrupted = 0 WHERE id = ?1",
        )?
.execute((
            id.0,
            lane,
            waits.rank,
            due,
            state_words(waits.state).0,
            waits.held_by,
        ))?;
        self.rings.deliveries |= lanes.requeue()?;
        Ok(Replayed::Done)
    }
}
