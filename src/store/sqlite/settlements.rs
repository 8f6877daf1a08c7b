//! Settling, releasing, and history.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension};

use super::attempts;
use super::cache::Cache;
use super::codec::{floor, state_words, whole};
use super::core::Core;
use super::database::Database;
use super::fault::Fault;
use super::lanes::{LaneNo, Lanes};
use super::registrations;
use crate::delivery::{DisableReason, LaneKey, State};
use crate::id::{DeliveryId, Fence};
use crate::store::{Next, Settled, Settlement};

impl Core {
    pub(super) fn settle(
        &mut self,
        settlements: &[Settlement],
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, Fault> {
        let Self {
            conn, cache, rings, ..
        } = self;
        let mut lanes = Lanes::new(conn, whole(now));
        let answers = settlements
            .iter()
            .map(|settlement| settle(conn, cache, &mut lanes, settlement, now))
            .collect::<Result<_, _>>()?;
        rings.deliveries |= lanes.requeue()?;
        Ok(answers)
    }

    pub(super) fn release(
        &mut self,
        claims: &[(DeliveryId, Fence)],
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, Fault> {
        let mut lanes = Lanes::new(&self.conn, whole(now));
        let answers = claims
            .iter()
            .map(|(id, fence)| release(&self.conn, &mut lanes, *id, *fence))
            .collect::<Result<_, _>>()?;
        self.rings.deliveries |= lanes.requeue()?;
        Ok(answers)
    }
}

fn settle(
    conn: &Database,
    cache: &mut Cache,
    lanes: &mut Lanes<'_>,
    settlement: &Settlement,
    now: DateTime<Utc>,
) -> Result<Settled, Fault> {
    let Some(held) = held(conn, settlement.id, settlement.fence)? else {
        return Ok(Settled::LeaseLost);
    };
    let (counted, failed_at) = match &settlement.attempt {
        Some(report) => {
            attempts::record(conn, settlement.id.0, held.history.saturating_add(1), report)?;
            let failed = settlement.next != Next::Delivered;
            if held.webhook.is_some() {
                lanes.get(held.lane)?.attempted(report, !failed);
            }
            (1, failed.then(|| floor(report.finished_at())))
        }
        None => (0, None),
    };
    let waiting = lanes.get(held.lane)?;
    let waits = waiting.settled(settlement, held.awaits, held.due, now);
    let state = match settlement.next.state() {
        State::Pending => waits.state,
        state => state,
    };
    let (word, reason) = state_words(state);
    let held_by = waits.held_by.filter(|_| state == State::Held);
    conn.prepare_cached(
        "UPDATE deliveries SET state = ?2, reason = ?3, rank = ?4, due = ?5, attempts = attempts + ?6, awaits = ?8, held_by = ?9,
            history = history + ?6, first_failure = coalesce(first_failure, ?7), interrupted = 0 WHERE id = ?1",
    )?
    .execute((
        settlement.id.0,
        word,
        reason,
        waits.rank,
        waits.due,
        counted,
        failed_at,
        waits.awaits,
        held_by,
    ))?;
    if let (Next::Gone, Some(webhook)) = (settlement.next, &held.webhook) {
        disable_gone(conn, cache, lanes, webhook, &held, now)?;
    }
    Ok(Settled::Done)
}

fn release(conn: &Connection, lanes: &mut Lanes<'_>, id: DeliveryId, fence: Fence) -> Result<Settled, Fault> {
    let Some(held) = held(conn, id, fence)? else {
        return Ok(Settled::LeaseLost);
    };
    let waits = lanes.get(held.lane)?.released(id, held.awaits, held.due);
    conn.prepare_cached(
        "UPDATE deliveries SET state = ?4, held_by = ?5, rank = ?2, awaits = ?3 WHERE id = ?1",
    )?
    .execute((
        id.0,
        waits.rank,
        waits.awaits,
        state_words(waits.state).0,
        waits.held_by,
    ))?;
    Ok(Settled::Done)
}

/// Disables the webhook that a delivery went to, if it asked for that and was not changed since.
fn disable_gone(
    conn: &Database,
    cache: &mut Cache,
    lanes: &mut Lanes<'_>,
    webhook: &str,
    held: &Held,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let Some(webhook) = cache.webhook(conn, webhook)? else {
        return Ok(());
    };
    if lanes.find(LaneKey::webhook(&webhook.id))? == Some(held.lane)
        && held.claimed_at.is_some_and(|at| floor(webhook.updated_at) <= at)
        && webhook.enabled
        && webhook.auto_disable.when_gone
    {
        registrations::disable(conn, cache, lanes, &webhook, Some(DisableReason::Gone), now)?;
    }
    Ok(())
}

/// What settling and releasing need to know of a delivery that is in flight.
struct Held {
    lane: LaneNo,
    history: u32,
    due: i64,
    awaits: Option<i64>,
    claimed_at: Option<i64>,
    /// The webhook it goes to, unless to try it out.
    webhook: Option<String>,
}

fn held(conn: &Connection, id: DeliveryId, fence: Fence) -> Result<Option<Held>, Fault> {
    Ok(conn
        .prepare_cached(
            "SELECT lane, history, due, awaits, claimed_at, CASE WHEN test THEN NULL ELSE webhook END
             FROM deliveries WHERE id = ?1 AND fence = ?2 AND state = 'sending'",
        )?
        .query_row((id.0, fence.0), |row| {
            Ok(Held {
                lane: row.get(0)?,
                history: row.get(1)?,
                due: row.get(2)?,
                awaits: row.get(3)?,
                claimed_at: row.get(4)?,
                webhook: row.get(5)?,
            })
        })
        .optional()?)
}
