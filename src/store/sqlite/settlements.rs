//! Settling, releasing, and history.

use chrono::{DateTime, Utc};
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::attempts::{Attempted, Consequence, Log};
use super::cache::Cache;
use super::codec::{ending, floor, state_words, whole};
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
            conn,
            cache,
            words,
            rings,
            longest_tail,
            ..
        } = self;
        let mut lanes = Lanes::new(conn, whole(now));
        let mut log = Log::new(conn, words, whole(now));
        let mut statements = Statements::prepare(conn)?;
        let answers = settlements
            .iter()
            .map(|settlement| {
                settle(
                    conn,
                    cache,
                    &mut lanes,
                    &mut log,
                    &mut statements,
                    settlement,
                    now,
                )
            })
            .collect::<Result<_, _>>()?;
        log.close(*longest_tail)?;
        rings.deliveries |= lanes.requeue()?;
        Ok(answers)
    }

    pub(super) fn release(
        &mut self,
        claims: &[(DeliveryId, Fence)],
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, Fault> {
        let mut lanes = Lanes::new(&self.conn, whole(now));
        let mut select = Held::select(&self.conn)?;
        let answers = claims
            .iter()
            .map(|(id, fence)| release(&self.conn, &mut lanes, &mut select, *id, *fence, whole(now)))
            .collect::<Result<_, _>>()?;
        self.rings.deliveries |= lanes.requeue()?;
        Ok(answers)
    }
}

/// The statements for every settlement, prepared once for a batch.
struct Statements<'c> {
    held: CachedStatement<'c>,
    update: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(conn: &'c Database) -> Result<Self, Fault> {
        Ok(Self {
            held: Held::select(conn)?,
            update: conn.prepare_cached(
                "UPDATE deliveries SET state = ?2, reason = ?3, rank = ?4, due = ?5, attempts = attempts + ?6, awaits = ?8,
                    held_by = ?9, history = history + ?6, first_failure = coalesce(first_failure, ?7), interrupted = 0,
                    last_attempt = ?10, ended_at = ?11, purgeable = ?12 WHERE id = ?1",
            )?,
        })
    }
}

fn settle(
    conn: &Database,
    cache: &mut Cache,
    lanes: &mut Lanes<'_>,
    log: &mut Log<'_>,
    statements: &mut Statements<'_>,
    settlement: &Settlement,
    now: DateTime<Utc>,
) -> Result<Settled, Fault> {
    let Some(held) = Held::read(&mut statements.held, settlement.id, settlement.fence)? else {
        return Ok(Settled::LeaseLost);
    };
    if let Some(report) = settlement.attempt.as_ref().filter(|_| held.attempted.is_served()) {
        lanes
            .get(held.lane)?
            .attempted(report, settlement.next == Next::Delivered);
    }
    let waiting = lanes.get(held.lane)?;
    let waits = waiting.settled(settlement, held.awaits, held.due, now);
    let mut counted = 0;
    let mut failed_at = None;
    let mut last_attempt = held.attempted.previous;
    if let Some(report) = &settlement.attempt {
        let consequence = match settlement.next {
            Next::Delivered => Consequence::Accepted,
            Next::Retry(_) | Next::AwaitRun => Consequence::RetryAt(waits.due),
            Next::Exhausted | Next::Gone => Consequence::End,
        };
        last_attempt = Some(log.record(&held.attempted, report, consequence)?);
        counted = 1;
        failed_at = (settlement.next != Next::Delivered).then(|| floor(report.finished_at()));
    }
    let state = match settlement.next.state() {
        State::Pending => waits.state,
        state => state,
    };
    let (word, reason) = state_words(state);
    let (ended_at, purgeable) = ending(state, now).unzip();
    let held_by = waits.held_by.filter(|_| state == State::Held);
    statements.update.execute((
        settlement.id.0,
        word,
        reason,
        waits.rank,
        waits.due,
        counted,
        failed_at,
        waits.awaits,
        held_by,
        last_attempt,
        ended_at,
        purgeable,
    ))?;
    if settlement.next == Next::Gone
        && !held.attempted.test
        && let Some(webhook) = held.attempted.webhook
    {
        let webhook = log.text(webhook)?;
        disable_gone(conn, cache, lanes, &webhook, &held, now)?;
    }
    Ok(Settled::Done)
}

fn release(
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    select: &mut CachedStatement<'_>,
    id: DeliveryId,
    fence: Fence,
    now: DateTime<Utc>,
) -> Result<Settled, Fault> {
    let Some(held) = Held::read(select, id, fence)? else {
        return Ok(Settled::LeaseLost);
    };
    let waits = lanes.get(held.lane)?.released(id, held.awaits, held.due, now);
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
    due: i64,
    awaits: Option<i64>,
    claimed_at: Option<i64>,
    /// Whose attempt it is, if there is one.
    attempted: Attempted,
}

impl Held {
    fn select(conn: &Connection) -> Result<CachedStatement<'_>, Fault> {
        Ok(conn.prepare_cached(
            "SELECT lane, due, awaits, claimed_at, history, last_attempt, webhook, test, scope, kind FROM deliveries
             WHERE id = ?1 AND fence = ?2 AND state = 'sending'",
        )?)
    }

    fn read(select: &mut CachedStatement<'_>, id: DeliveryId, fence: Fence) -> Result<Option<Self>, Fault> {
        let held = select.query_row((id.0, fence.0), |row| {
            Ok(Self {
                lane: row.get(0)?,
                due: row.get(1)?,
                awaits: row.get(2)?,
                claimed_at: row.get(3)?,
                attempted: Attempted {
                    delivery: id.0,
                    number: row.get::<_, u32>(4)?.saturating_add(1),
                    previous: row.get(5)?,
                    webhook: row.get(6)?,
                    test: row.get(7)?,
                    scope: row.get(8)?,
                    kind: row.get(9)?,
                },
            })
        });
        Ok(held.optional()?)
    }
}
