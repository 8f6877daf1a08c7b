//! Settling, releasing, and history.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension};

use super::attempts;
use super::codec::{ceil, floor, state_words, whole};
use super::core::Core;
use super::fault::Fault;
use super::lanes::{LaneNo, Lanes};
use crate::id::{DeliveryId, Fence};
use crate::store::{Next, Settled, Settlement};

impl Core {
    pub(super) fn settle(
        &mut self,
        settlements: &[Settlement],
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, Fault> {
        let mut lanes = Lanes::new(&self.conn, whole(now));
        let answers = settlements
            .iter()
            .map(|settlement| settle(&self.conn, &mut lanes, settlement, now))
            .collect::<Result<_, _>>()?;
        self.rings.deliveries |= lanes.requeue()?;
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
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    settlement: &Settlement,
    now: DateTime<Utc>,
) -> Result<Settled, Fault> {
    let Some(held) = held(conn, settlement.id, settlement.fence)? else {
        return Ok(Settled::LeaseLost);
    };
    let waiting = lanes.get(held.lane)?;
    waiting.in_flight = waiting.in_flight.saturating_sub(1);
    let mut counted = 0;
    let mut failed_at = None;
    if let Some(report) = &settlement.attempt {
        attempts::record(conn, settlement.id.0, held.history.saturating_add(1), report)?;
        counted = 1;
        failed_at = (settlement.next != Next::Delivered).then(|| floor(report.finished_at()));
    }
    let due = match settlement.next {
        Next::Retry(due) if due > now => ceil(due), // never earlier than asked
        Next::Retry(due) => floor(due),
        _ => held.due,
    };
    let (word, reason) = state_words(settlement.next.state());
    conn.prepare_cached(
        "UPDATE deliveries SET state = ?2, reason = ?3, rank = ?4, due = ?5, attempts = attempts + ?6,
            history = history + ?6, first_failure = coalesce(first_failure, ?7), interrupted = 0 WHERE id = ?1",
    )?
    .execute((settlement.id.0, word, reason, waiting.rank(due), due, counted, failed_at))?;
    Ok(Settled::Done)
}

fn release(conn: &Connection, lanes: &mut Lanes<'_>, id: DeliveryId, fence: Fence) -> Result<Settled, Fault> {
    let Some(held) = held(conn, id, fence)? else {
        return Ok(Settled::LeaseLost);
    };
    let waiting = lanes.get(held.lane)?;
    waiting.in_flight = waiting.in_flight.saturating_sub(1);
    conn.prepare_cached("UPDATE deliveries SET state = 'pending', rank = ?2 WHERE id = ?1")?
        .execute((id.0, waiting.rank(held.due)))?;
    Ok(Settled::Done)
}

/// What settling and releasing need to know of a delivery that is in flight.
struct Held {
    lane: LaneNo,
    history: u32,
    due: i64,
}

fn held(conn: &Connection, id: DeliveryId, fence: Fence) -> Result<Option<Held>, Fault> {
    Ok(conn
        .prepare_cached(
            "SELECT lane, history, due FROM deliveries WHERE id = ?1 AND fence = ?2 AND state = 'sending'",
        )?
        .query_row((id.0, fence.0), |row| {
            Ok(Held {
                lane: row.get(0)?,
                history: row.get(1)?,
                due: row.get(2)?,
            })
        })
        .optional()?)
}
