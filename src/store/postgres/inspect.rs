//! Looking at deliveries, and replaying them.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::contents;
use super::database::Database;
use super::events::{self, event_columns};
use super::fault::Fault;
use super::lane_rows::{LaneNo, NewLanes};
use super::lanes::{LOCK_BY_ID, LOCK_BY_KEY, Lanes};
use super::sealer::Sealer;
use super::transaction::{Columns, Transaction, query};
use crate::delivery::{Event, LaneKey, State, Target};
use crate::id::{DeliveryId, EventId, Scope, WebhookId};
use crate::store::codec::{
    ALL_PURGEABLE, ceil, floor, instant, limit, optional_instant, state, state_words, whole,
};
use crate::store::{DeadReplayed, DeliveryRecord, ReplayDead, Replayed};

/// The columns that [`record`] reads, of deliveries that are called `d`.
macro_rules! record_columns {
    () => {
        "SELECT d.id, d.event, d.state, d.reason, d.attempts, d.first_failure, d.due, d.created_at, d.webhook,
            d.test, d.purgeable, c.body, c.call
         FROM ringback.deliveries d LEFT JOIN ringback.contents c ON d.own AND c.delivery = d.id "
    };
}

const BY_ID: &str = concat!(record_columns!(), "WHERE d.id = $1");

const EVENT_OF: &str = concat!(
    "SELECT e.id, ",
    event_columns!(),
    " FROM ringback.events e WHERE e.id = (SELECT event FROM ringback.deliveries WHERE id = $1)"
);

const BY_EVENT: &str = concat!(
    record_columns!(),
    "WHERE d.event = (SELECT e.id FROM ringback.events e WHERE e.scope = $1 AND e.event_id = $2) ORDER BY d.id"
);

const EVENT: &str = concat!(
    "SELECT e.id, ",
    event_columns!(),
    " FROM ringback.events e WHERE e.scope = $1 AND e.event_id = $2"
);

const TARGET: &str = "
    SELECT d.state, d.reason, d.lane, d.webhook, d.test, d.purgeable, e.scope
    FROM ringback.deliveries d JOIN ringback.events e ON e.id = d.event WHERE d.id = $1";

const SCOPE: &str = "SELECT id FROM ringback.webhooks WHERE id = $1 AND scope = $2";

/// It may have been replayed by somebody else since it was looked at.
const REPLAY: &str = "
    UPDATE ringback.deliveries SET lane = $2, state = $5, held_by = $6, reason = NULL, rank = $3, due = $4,
        awaits = NULL, attempts = 0, first_failure = NULL, interrupted = FALSE, ended_at = NULL, purgeable = NULL
    WHERE id = $1 AND (state = 'dead' OR state = 'delivered' AND purgeable = 1) RETURNING id";

/// Looked at with the webhook's lane locked; whoever replays them one by one has it too.
const DEAD: &str = "
    SELECT d.id, d.ended_at, e.scope FROM ringback.deliveries d JOIN ringback.events e ON e.id = d.event
    WHERE d.webhook = $1 AND d.state = 'dead' AND NOT d.test AND d.id > $2 ORDER BY d.id LIMIT $3";

const REPLAY_MANY: &str = "
    UPDATE ringback.deliveries SET lane = $2, state = $5, held_by = $6, reason = NULL, rank = $3, due = $4,
        awaits = NULL, attempts = 0, first_failure = NULL, interrupted = FALSE, ended_at = NULL, purgeable = NULL
    WHERE id = ANY($1::bigint[]) AND state = 'dead' RETURNING id";

const WEBHOOK_SCOPE: &str = "SELECT scope FROM ringback.webhooks WHERE id = $1";

impl Database {
    pub(super) async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, Fault> {
        let tx = self.transaction().await?;
        let sealer = tx.sealer();
        let [rows, events] = tx
            .commit_with([query(BY_ID, &[&id.0]), query(EVENT_OF, &[&id.0])])
            .await?;
        let events = events::by_row(&sealer, &events)?;
        rows.first().map(|row| record(&sealer, row, &events)).transpose()
    }

    pub(super) async fn deliveries_of(
        &self,
        scope: &Scope,
        event: &EventId,
    ) -> Result<Vec<DeliveryRecord>, Fault> {
        let (scope, event) = (scope.as_str(), event.as_str());
        let tx = self.transaction().await?;
        let sealer = tx.sealer();
        let [rows, events] = tx
            .commit_with([
                query(BY_EVENT, &[&scope, &event]),
                query(EVENT, &[&scope, &event]),
            ])
            .await?;
        let events = events::by_row(&sealer, &events)?;
        rows.iter().map(|row| record(&sealer, row, &events)).collect()
    }

    /// What became of it, and whether a lane has come to have work.
    pub(super) async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<(Replayed, bool), Fault> {
        let mut tx = self.transaction().await?;
        loop {
            let rows = tx.query(TARGET, &[&id.0]).await?;
            let Some(row) = rows.first() else {
                tx.roll_back().await?;
                return Ok((Replayed::Unknown, false));
            };
            let state = read_state(row)?;
            if !state.is_final() {
                tx.roll_back().await?;
                return Ok((Replayed::NotFinal(state), false));
            }
            if has_no_body(row)? {
                tx.roll_back().await?;
                return Ok((Replayed::BodyPurged, false));
            }
            let mut lanes = Lanes::new(whole(now));
            let lane = match row.read::<Option<&str>>("webhook")? {
                // The webhook may have been registered anew since, in a lane of its own.
                Some(webhook) => lane_of(&mut tx, &mut lanes, row, &webhook.into()).await?,
                None => {
                    let own: Vec<LaneNo> = row.read::<Option<LaneNo>>("lane")?.into_iter().collect();
                    let locked = tx.query(LOCK_BY_ID, &[&own]).await?;
                    lanes.add(&locked)?.first().copied()
                }
            };
            let Some(lane) = lane else {
                tx.roll_back().await?;
                return Ok((Replayed::WebhookDeleted, false));
            };
            let due = floor(now);
            let waits = lanes.get(lane)?.waits_until(due);
            let word = state_words(waits.state).0;
            let replayed = tx
                .query(REPLAY, &[&id.0, &lane, &waits.rank, &due, &word, &waits.held_by])
                .await?;
            if replayed.is_empty() {
                continue; // it says now what it is
            }
            return Ok((Replayed::Done, lanes.write(tx).await?));
        }
    }
}

impl Database {
    /// What became of them, and whether a lane has come to have work.
    pub(super) async fn replay_dead(
        &self,
        request: &ReplayDead,
        now: DateTime<Utc>,
    ) -> Result<(DeadReplayed, bool), Fault> {
        let max = request.max.max(1);
        let after = request.after.map_or(i64::MIN, |id| id.0);
        let keys = [LaneKey::webhook(&request.webhook).as_str().to_owned()];
        let webhook = request.webhook.as_str();
        let mut tx = self.transaction().await?;
        let [locked, scope, dead] = tx
            .run([
                query(LOCK_BY_KEY, &[&&keys[..]]),
                query(WEBHOOK_SCOPE, &[&webhook]),
                query(DEAD, &[&webhook, &after, &limit(max)]),
            ])
            .await?;
        let mut lanes = Lanes::new(whole(now));
        let lane = lanes.add(&locked)?.first().copied();
        let scope = scope.first().map(|row| row.read::<&str>("scope")).transpose()?;
        let since = request.since.map_or(i64::MIN, ceil);
        let mut answer = DeadReplayed::default();
        let mut ids: Vec<i64> = Vec::new();
        for row in &dead {
            let id = row.read("id")?;
            answer.next = (dead.len() == max).then_some(DeliveryId(id));
            if row.read::<i64>("ended_at")? < since {
                continue;
            }
            match scope == Some(row.read("scope")?) && lane.is_some() {
                true => ids.push(id),
                false => answer.skipped += 1,
            }
        }
        if let Some(lane) = lane {
            let due = floor(now);
            let waits = lanes.get(lane)?.waits_until(due);
            let word = state_words(waits.state).0;
            let replayed = tx
                .query(
                    REPLAY_MANY,
                    &[&ids, &lane, &waits.rank, &due, &word, &waits.held_by],
                )
                .await?;
            answer.replayed = replayed.len();
        }
        Ok((answer, lanes.write(tx).await?))
    }
}

/// Where a delivery to a webhook waits, if there is one of that id in its event's scope.
async fn lane_of(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    row: &Row,
    webhook: &WebhookId,
) -> Result<Option<LaneNo>, Fault> {
    let (is_test, scope): (bool, &str) = (row.read("test")?, row.read("scope")?);
    let mut test = NewLanes::default();
    let own = LaneKey::webhook(webhook);
    let mut keys = vec![own.as_str().to_owned()];
    if is_test {
        test.push_test(webhook);
        keys.push(LaneKey::test(webhook).as_str().to_owned());
    }
    let [_, locked, found] = tx
        .run([
            test.insert(),
            query(LOCK_BY_KEY, &[&keys]),
            query(SCOPE, &[&webhook.as_str(), &scope]),
        ])
        .await?;
    lanes.add(&locked)?;
    let key = if is_test { LaneKey::test(webhook) } else { own };
    Ok(lanes.find(&key).filter(|_| !found.is_empty()))
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
pub(super) fn has_no_body(row: &Row) -> Result<bool, Fault> {
    let purgeable = row.read::<Option<i16>>("purgeable")?.map(i64::from);
    Ok(read_state(row)? == State::Delivered && purgeable == Some(ALL_PURGEABLE))
}

fn read_state(row: &Row) -> Result<State, Fault> {
    Ok(state(row.read("state")?, row.read("reason")?)?)
}

fn record(
    sealer: &Sealer,
    row: &Row,
    events: &HashMap<i64, Result<Arc<Event>, Fault>>,
) -> Result<DeliveryRecord, Fault> {
    let event = events
        .get(&row.read("event")?)
        .ok_or(Fault::Unreadable("event"))?
        .clone()?;
    let contents = contents::read(sealer, row)?;
    let goes_to = match (row.read::<Option<&str>>("webhook")?, contents.call) {
        (Some(webhook), None) => target(webhook.into(), row.read("test")?),
        (None, Some(call)) => Target::Call(call),
        _ => return Err(Fault::Unreadable("webhook")),
    };
    let body = contents.body.unwrap_or_else(|| event.body().clone());
    Ok(DeliveryRecord {
        id: DeliveryId(row.read("id")?),
        body: (!has_no_body(row)?).then_some(body),
        event,
        target: goes_to,
        state: read_state(row)?,
        attempts: row.count("attempts")?,
        first_failure: optional_instant(row.read("first_failure")?, "first_failure")?,
        due: instant(row.read("due")?, "due")?,
        created_at: instant(row.read("created_at")?, "created_at")?,
    })
}
