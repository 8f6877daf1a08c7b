//! Looking at deliveries, and replaying them.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{ALL_PURGEABLE, ceil, floor, instant, limit, optional_instant, state, state_words, whole};
use super::contents;
use super::core::Core;
use super::database::Database;
use super::events::event;
use super::fault::Fault;
use super::lanes::{LaneNo, Lanes};
use super::words::{Role, WordNo, Words};
use crate::delivery::{State, Target};
use crate::id::{DeliveryId, EventId, Scope, WebhookId};
use crate::store::{DeadReplayed, DeliveryRecord, ReplayDead, Replayed};

impl Core {
    pub(super) fn delivery(&mut self, id: DeliveryId) -> Result<Option<DeliveryRecord>, Fault> {
        Ok(self.deliveries(id.0, 1)?.pop())
    }

    pub(super) fn deliveries_of(
        &mut self,
        scope: &Scope,
        event: &EventId,
    ) -> Result<Vec<DeliveryRecord>, Fault> {
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
    fn deliveries(&mut self, first: i64, count: i64) -> Result<Vec<DeliveryRecord>, Fault> {
        let Self { conn, words, .. } = self;
        conn.prepare_cached(
            "SELECT id, event, state, reason, attempts, first_failure, due, created_at, own, webhook, test, purgeable
             FROM deliveries WHERE id >= ?1 AND id < ?1 + ?2 ORDER BY id",
        )?
        .query_and_then((first, count), |row| record(conn, words, row))?
        .collect()
    }

    pub(super) fn replay(&mut self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, Fault> {
        let Self {
            conn, words, rings, ..
        } = self;
        let mut select = conn.prepare_cached(
            "SELECT state, reason, lane, webhook, test, scope, purgeable FROM deliveries WHERE id = ?1",
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
        if has_no_body(state, row.get(6)?) {
            return Ok(Replayed::BodyPurged);
        }
        let mut lanes = Lanes::new(conn, whole(now));
        let lane: Option<LaneNo> = match row.get::<_, Option<WordNo>>(3)? {
            // The webhook may have been registered anew since, in a lane of its own.
            Some(webhook) => {
                let webhook = WebhookId::new(words.text(conn, webhook)?);
                let scope = Scope::new(words.text(conn, row.get(5)?)?);
                lanes.of_webhook(&webhook, row.get(4)?, &scope)?
            }
            None => row.get(2)?,
        };
        let Some(lane) = lane else {
            return Ok(Replayed::WebhookDeleted);
        };
        send_again(conn, &mut lanes, lane, id, now)?;
        rings.deliveries |= lanes.requeue()?;
        Ok(Replayed::Done)
    }

    pub(super) fn replay_dead(
        &mut self,
        request: &ReplayDead,
        now: DateTime<Utc>,
    ) -> Result<DeadReplayed, Fault> {
        let Self {
            conn, words, rings, ..
        } = self;
        let mut answer = DeadReplayed::default();
        let Some(webhook) = words.find(conn, Role::Webhook, request.webhook.as_str())? else {
            return Ok(answer);
        };
        let max = request.max.max(1);
        let mut select = conn.prepare_cached(
            "SELECT id, ended_at, scope FROM deliveries INDEXED BY deliveries_dead
             WHERE state = 'dead' AND NOT test AND webhook = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        )?;
        let after = request.after.map_or(i64::MIN, |id| id.0);
        let dead = select
            .query_map((webhook, after, limit(max)), |row| {
                Ok((DeliveryId(row.get(0)?), row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<Vec<(_, i64, WordNo)>, _>>()?;
        answer.next = dead.last().filter(|_| dead.len() == max).map(|(id, ..)| *id);
        let since = request.since.map_or(i64::MIN, ceil);
        let mut lanes = Lanes::new(conn, whole(now));
        for (id, _, scope) in dead.into_iter().filter(|(_, ended_at, _)| *ended_at >= since) {
            let scope = Scope::new(words.text(conn, scope)?);
            match lanes.of_webhook(&request.webhook, false, &scope)? {
                Some(lane) => {
                    send_again(conn, &mut lanes, lane, id, now)?;
                    answer.replayed += 1;
                }
                None => answer.skipped += 1,
            }
        }
        rings.deliveries |= lanes.requeue()?;
        Ok(answer)
    }
}

/// Where a delivery to a webhook goes.
pub(super) fn target(webhook: WebhookId, is_test: bool) -> Target {
    if is_test {
        Target::Test(webhook)
    } else {
        Target::Webhook(webhook)
    }
}

/// Whether nothing is left of a delivery that could be sent again.
fn has_no_body(state: State, purgeable: Option<i64>) -> bool {
    state == State::Delivered && purgeable == Some(ALL_PURGEABLE)
}

/// Makes a delivery that is final pending again, in that lane.
fn send_again(
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    lane: LaneNo,
    id: DeliveryId,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let due = floor(now);
    let waits = lanes.get(lane)?.waits_until(due);
    conn.prepare_cached(
        "UPDATE deliveries SET lane = ?2, state = ?5, held_by = ?6, reason = NULL, rank = ?3, due = ?4, awaits = NULL,
            attempts = 0, first_failure = NULL, interrupted = 0, ended_at = NULL, purgeable = NULL WHERE id = ?1",
    )?
    .execute((
        id.0,
        lane,
        waits.rank,
        due,
        state_words(waits.state).0,
        waits.held_by,
    ))?;
    Ok(())
}

fn record(conn: &Database, words: &mut Words, row: &Row<'_>) -> Result<DeliveryRecord, Fault> {
    let id = row.get(0)?;
    let event = event(conn, row.get(1)?)?;
    let contents = contents::read(conn, id, row.get(8)?)?;
    let goes_to = match (row.get::<_, Option<WordNo>>(9)?, contents.call) {
        (Some(webhook), None) => target(WebhookId::new(words.text(conn, webhook)?), row.get(10)?),
        (None, Some(call)) => Target::Call(call),
        _ => return Err(Fault::Unreadable("webhook")),
    };
    let reason: Option<String> = row.get(3)?;
    let state = state(&row.get::<_, String>(2)?, reason.as_deref())?;
    let body = contents.body.unwrap_or_else(|| event.body().clone());
    Ok(DeliveryRecord {
        id: DeliveryId(id),
        body: (!has_no_body(state, row.get(11)?)).then_some(body),
        event,
        target: goes_to,
        state,
        attempts: row.get(4)?,
        first_failure: optional_instant(row.get(5)?, "first_failure")?,
        due: instant(row.get(6)?, "due")?,
        created_at: instant(row.get(7)?, "created_at")?,
    })
}
