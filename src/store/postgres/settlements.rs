//! Settling and releasing.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::attempts::{Consequence, NewAttempts};
use super::database::Database;
use super::fault::Fault;
use super::lane_rows::LaneNo;
use super::lanes::{FRONTS, FRONTS_BY_DELIVERY, LOCK_BY_DELIVERY, Lanes};
use super::registrations;
use super::transaction::{Columns, Query, Transaction, query};
use crate::delivery::{DisableReason, LaneKey, State};
use crate::id::{DeliveryId, Fence};
use crate::store::codec::{ending, floor, state_words, whole};
use crate::store::waiting::Waits;
use crate::store::{Next, Settled, Settlement};

/// Read once the lanes are locked, so nobody changes any of it before the commit. The state is no condition here, for which
/// the server might go through all that is in flight.
const HELD: &str = "
    SELECT id, lane, state, fence, history, due, awaits, claimed_at, CASE WHEN NOT test THEN webhook END AS webhook
    FROM ringback.deliveries
    WHERE id = ANY($1::bigint[])";

const SETTLE: &str = "
    UPDATE ringback.deliveries d
    SET state = n.state, reason = n.reason, held_by = n.held_by, rank = n.rank, due = n.due, awaits = n.awaits,
        attempts = attempts + n.counted, history = history + n.counted,
        first_failure = coalesce(first_failure, n.failed_at), interrupted = FALSE, ended_at = n.ended_at,
        purgeable = n.purgeable
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
        AS n (id, state, reason, rank, due, awaits, counted, failed_at, held_by, ended_at, purgeable)
    WHERE d.id = n.id";

const RELEASE: &str = "
    UPDATE ringback.deliveries d SET state = n.state, held_by = n.held_by, rank = n.rank, awaits = n.awaits
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
        AS n (id, rank, awaits, state, held_by)
    WHERE d.id = n.id";

impl Database {
    /// The answers, and whether a lane has come to have work.
    pub(super) async fn settle(
        &self,
        settlements: &[Settlement],
        now: DateTime<Utc>,
    ) -> Result<(Vec<Settled>, bool), Fault> {
        let mut landing = Landing::start(self, settlements.iter().map(|s| s.id), now).await?;
        let mut answers = Vec::with_capacity(settlements.len());
        let mut rows = SettledRows::default();
        let mut attempts = NewAttempts::new();
        for settlement in settlements {
            let Some(held) = landing.take(settlement.id, settlement.fence) else {
                answers.push(Settled::LeaseLost);
                continue;
            };
            if let (Some(report), true) = (&settlement.attempt, held.webhook.is_some()) {
                let delivered = settlement.next == Next::Delivered;
                landing.lanes.get(held.lane)?.attempted(report, delivered);
            }
            let waiting = landing.lanes.get(held.lane)?;
            let waits = waiting.settled(settlement, held.awaits, held.due, now);
            if settlement.next.state() == State::Pending {
                landing.lanes.join(held.lane, settlement.id, waits);
            }
            if let Some(report) = &settlement.attempt {
                let consequence = match settlement.next.state() {
                    State::Delivered => Consequence::Accepted,
                    State::Dead(_) => Consequence::End,
                    _ => Consequence::RetryAt(waits.due),
                };
                let number = held.history.saturating_add(1);
                let recorded_at = attempts.recorded_at(self, now);
                attempts.push(
                    &landing.tx.sealer(),
                    settlement.id.0,
                    number,
                    report,
                    consequence,
                    recorded_at,
                )?;
            }
            rows.push(settlement, waits, now);
            answers.push(Settled::Done);
            if settlement.next == Next::Gone {
                landing.disable_gone(&held, now).await?;
            }
        }
        let sooner = match rows.id.is_empty() {
            true => landing.leave().await?,
            false => landing.finish([attempts.insert(), rows.update()]).await?,
        };
        Ok((answers, sooner))
    }

    /// The answers, and whether a lane has come to have work.
    pub(super) async fn release(
        &self,
        claims: &[(DeliveryId, Fence)],
        now: DateTime<Utc>,
    ) -> Result<(Vec<Settled>, bool), Fault> {
        let mut landing = Landing::start(self, claims.iter().map(|(id, _)| *id), now).await?;
        let mut answers = Vec::with_capacity(claims.len());
        let (mut ids, mut ranks, mut awaits) = (vec![], vec![], vec![]);
        let (mut states, mut holds) = (vec![], vec![]);
        for (id, fence) in claims {
            let Some(held) = landing.take(*id, *fence) else {
                answers.push(Settled::LeaseLost);
                continue;
            };
            let waits = landing
                .lanes
                .get(held.lane)?
                .released(*id, held.awaits, held.due, whole(now));
            landing.lanes.join(held.lane, *id, waits);
            ids.push(id.0);
            ranks.push(waits.rank);
            awaits.push(waits.awaits);
            states.push(state_words(waits.state).0);
            holds.push(waits.held_by);
            answers.push(Settled::Done);
        }
        let sooner = match ids.is_empty() {
            true => landing.leave().await?,
            false => {
                landing
                    .finish([query(RELEASE, &[&ids, &ranks, &awaits, &states, &holds])])
                    .await?
            }
        };
        Ok((answers, sooner))
    }
}

/// Deliveries that come back from whoever held them.
struct Landing<'a> {
    tx: Transaction<'a>,
    lanes: Lanes,
    held: HashMap<DeliveryId, Held>,
}

/// What is known of a delivery that is in flight.
struct Held {
    lane: LaneNo,
    fence: Fence,
    history: u32,
    due: i64,
    awaits: Option<i64>,
    claimed_at: Option<i64>,
    /// The webhook it goes to, unless to try it out.
    webhook: Option<String>,
}

impl<'a> Landing<'a> {
    async fn start(
        database: &'a Database,
        ids: impl Iterator<Item = DeliveryId>,
        now: DateTime<Utc>,
    ) -> Result<Self, Fault> {
        let ids: Vec<i64> = ids.map(|id| id.0).collect();
        let mut tx = database.transaction().await?.planned_once();
        let [_, locked, held, fronts] = tx
            .run([
                NewAttempts::share(),
                query(LOCK_BY_DELIVERY, &[&ids]),
                query(HELD, &[&ids]),
                query(FRONTS_BY_DELIVERY, &[&ids]),
            ])
            .await?;
        let mut lanes = Lanes::new(whole(now));
        lanes.add(&locked)?;
        lanes.note_fronts(&fronts)?;
        let held = held.iter().filter_map(|row| read(row).transpose());
        let held = held.collect::<Result<_, _>>()?;
        Ok(Self { tx, lanes, held })
    }

    /// What is known of a delivery, if it is held under that fence. Only once.
    fn take(&mut self, id: DeliveryId, fence: Fence) -> Option<Held> {
        let is_present = self.held.get(&id)?.fence == fence;
        is_present.then(|| self.held.remove(&id)).flatten()
    }

    /// Disables the webhook that a delivery went to, if it asked for that and was not changed since.
    async fn disable_gone(&mut self, held: &Held, now: DateTime<Utc>) -> Result<(), Fault> {
        let Some(id) = &held.webhook else {
            return Ok(());
        };
        let Some(webhook) = registrations::webhook_in(&mut self.tx, id).await? else {
            return Ok(());
        };
        if self.lanes.find(&LaneKey::webhook(&webhook.id)) == Some(held.lane)
            && held.claimed_at.is_some_and(|at| floor(webhook.updated_at) <= at)
            && webhook.enabled
            && webhook.auto_disable.when_gone
        {
            let disabled = registrations::disabled(&webhook, Some(DisableReason::Gone), now);
            registrations::put(&mut self.tx, &mut self.lanes, held.lane, &disabled).await?;
        }
        Ok(())
    }

    async fn leave(self) -> Result<bool, Fault> {
        self.tx.roll_back().await.map(|()| false)
    }

    /// Writes down what they have become, and commits. Whether a lane has come to have work.
    async fn finish<const N: usize>(mut self, writes: [Query<'_>; N]) -> Result<bool, Fault> {
        let mut queries = Vec::from(writes);
        self.lanes.place_known();
        let unplaced = self.lanes.unplaced();
        if !unplaced.is_empty() {
            queries.push(query(FRONTS, &[&unplaced]));
            let fronts = self.tx.run_all(queries).await?.pop().unwrap_or_default();
            self.lanes.place_by(&mut self.tx, &fronts).await?;
            queries = Vec::new();
        }
        let (changes, sooner) = self.lanes.changes()?;
        queries.push(changes.write());
        self.tx.commit_all(queries).await?;
        Ok(sooner)
    }
}

/// Reads a delivery, if it is in flight.
fn read(row: &Row) -> Result<Option<(DeliveryId, Held)>, Fault> {
    if row.read::<&str>("state")? != "sending" {
        return Ok(None);
    }
    let held = Held {
        lane: row.read("lane")?,
        fence: Fence(row.read("fence")?),
        history: row.count("history")?,
        due: row.read("due")?,
        awaits: row.read("awaits")?,
        claimed_at: row.read("claimed_at")?,
        webhook: row.read("webhook")?,
    };
    Ok(Some((DeliveryId(row.read("id")?), held)))
}

/// What deliveries have become, column by column.
#[derive(Default)]
struct SettledRows {
    id: Vec<i64>,
    state: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    rank: Vec<i64>,
    due: Vec<i64>,
    awaits: Vec<Option<i64>>,
    counted: Vec<i64>,
    failed_at: Vec<Option<i64>>,
    held_by: Vec<Option<i64>>,
    ended_at: Vec<Option<i64>>,
    purgeable: Vec<Option<i64>>,
}

impl SettledRows {
    fn push(&mut self, settlement: &Settlement, waits: Waits, now: DateTime<Utc>) {
        let state = match settlement.next.state() {
            State::Pending => waits.state,
            state => state,
        };
        let (word, reason) = state_words(state);
        let (ended_at, purgeable) = ending(state, now).unzip();
        self.ended_at.push(ended_at);
        self.purgeable.push(purgeable);
        self.held_by.push(waits.held_by.filter(|_| state == State::Held));
        let failed = settlement
            .attempt
            .as_ref()
            .filter(|_| settlement.next != Next::Delivered);
        self.id.push(settlement.id.0);
        self.state.push(word);
        self.reason.push(reason);
        self.rank.push(waits.rank);
        self.due.push(waits.due);
        self.awaits.push(waits.awaits);
        self.counted.push(settlement.attempt.is_some().into());
        self.failed_at
            .push(failed.map(|report| floor(report.finished_at())));
    }

    fn update(&self) -> Query<'_> {
        query(
            SETTLE,
            &[
                &self.id,
                &self.state,
                &self.reason,
                &self.rank,
                &self.due,
                &self.awaits,
                &self.counted,
                &self.failed_at,
                &self.held_by,
                &self.ended_at,
                &self.purgeable,
            ],
        )
    }
}
