//! Claiming.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};

use super::attempts::{Attempted, Consequence, Log};
use super::cache::Cache;
use super::codec::{ceil, ending, floor, instant, limit, optional_instant, state_words, unsigned, whole};
use super::contents;
use super::core::{Core, advance, last};
use super::database::Database;
use super::events::event;
use super::fault::Fault;
use super::holds;
use super::lanes::{LaneNo, Lanes, next_ready};
use super::words::{WordNo, Words};
use crate::delivery::{AttemptReport, CLOCK_SKEW, DeadReason, Event, Outcome, State};
use crate::id::{DeliveryId, Fence};
use crate::store::holds::MOVED_AT_ONCE;
use crate::store::waiting::AWAITS_RUN;
use crate::store::{ClaimRequest, Claimed, ClaimedTarget};
use crate::time::{after, elapsed};

/// How many waiting deliveries of a removed webhook are buried each time its lane has its turn.
const BURIED_AT_ONCE: i64 = 32;

/// How often a claim goes round the lanes for what is left of its places: some have less than their share, some turn out
/// to have nothing.
const ROUNDS: usize = 8;

/// What [`Head::read`] reads.
macro_rules! head_columns {
    () => {
        "SELECT id, event, fence, attempts, first_failure, interrupted, due, own, webhook, test FROM deliveries"
    };
}

impl Core {
    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Result<Vec<Claimed>, Fault> {
        let Self {
            conn,
            cache,
            words,
            clock,
            longest_tail,
            ..
        } = self;
        let now = whole(request.now);
        let mut lanes = Lanes::new(conn, now);
        let was_set_back = after(now, CLOCK_SKEW) < *clock;
        *clock = if was_set_back { now } else { now.max(*clock) };
        if was_set_back {
            lanes.ask_anew()?;
        }
        interrupt_expired(conn, words, *longest_tail, &mut lanes, request.max, now)?;
        holds::move_held(conn, &mut lanes, MOVED_AT_ONCE)?;
        lanes.requeue()?;
        lanes.open_due()?;
        let mut heads = Vec::new();
        for _ in 0..ROUNDS {
            let ready = lanes.ready(request.max - heads.len())?;
            if ready.is_empty() {
                break;
            }
            let first_turn = advance(conn, "turn", limit(ready.len()))?;
            for ((served, lane), turn) in ready.iter().copied().enumerate().zip(first_turn..) {
                let share = (request.max - heads.len()).div_ceil(ready.len() - served);
                let is_served = if lanes.get(lane)?.doomed {
                    bury(conn, lane, now)?;
                    true
                } else {
                    take(conn, &mut lanes, lane, share, request, now, &mut heads)?
                };
                if is_served {
                    lanes.get(lane)?.served(turn);
                }
            }
            lanes.requeue()?;
        }
        let mut events = BTreeMap::new();
        let claimed = heads
            .into_iter()
            .map(|head| head.claimed(conn, cache, words, &mut events));
        // What cannot be read, perhaps because a newer version wrote it, holds up itself and no other: it stays claimed
        // until its lease ends, and is tried again then.
        claimed
            .filter(|claimed| !matches!(claimed, Err(Fault::Unreadable(_))))
            .collect()
    }

    pub(super) fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Fault> {
        let lease: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT lease_ends FROM deliveries WHERE state = 'sending' ORDER BY lease_ends LIMIT 1",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        let move_held = holds::is_busy(&self.conn)?.then_some(floor(now));
        let soonest = [next_ready(&self.conn, floor(now))?, lease, move_held]
            .into_iter()
            .flatten()
            .min();
        Ok(optional_instant(soonest, "ready_at")?)
    }
}

/// Counts attempts whose worker never reported back, and lets their deliveries wait for their turn again.
fn interrupt_expired(
    conn: &Database,
    words: &mut Words,
    longest_tail: u32,
    lanes: &mut Lanes<'_>,
    max: usize,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let mut select = conn.prepare_cached(
        "SELECT id, lane, claimed_at, history, last_attempt, webhook, test, scope, kind FROM deliveries
         WHERE state = 'sending' AND lease_ends <= ?1 ORDER BY lease_ends, id LIMIT ?2",
    )?;
    let expired = select.query_map((floor(now), limit(max)), |row| {
        let attempted = Attempted {
            delivery: row.get(0)?,
            number: row.get::<_, u32>(3)?.saturating_add(1),
            previous: row.get(4)?,
            webhook: row.get(5)?,
            test: row.get(6)?,
            scope: row.get(7)?,
            kind: row.get(8)?,
        };
        Ok((attempted, row.get(1)?, row.get(2)?))
    })?;
    let expired: Vec<(Attempted, LaneNo, i64)> = expired.collect::<Result<_, _>>()?;
    let mut log = Log::new(conn, words, now);
    for (attempted, lane, claimed_at) in expired {
        let started_at = instant(claimed_at, "claimed_at")?;
        let report = AttemptReport {
            started_at,
            duration: elapsed(started_at, now),
            outcome: Outcome::Interrupted,
            excerpt: Bytes::new(),
        };
        let waits = lanes.get(lane)?.interrupted(DeliveryId(attempted.delivery), now);
        let attempt = log.record(&attempted, &report, Consequence::RetryAt(waits.due))?;
        conn.prepare_cached(
            "UPDATE deliveries SET state = ?6, held_by = ?7, rank = ?2, due = ?3, awaits = ?4, attempts = attempts + 1,
                history = history + 1, first_failure = coalesce(first_failure, ?5), interrupted = 1,
                last_attempt = ?8
             WHERE id = ?1",
        )?
        .execute((
            attempted.delivery,
            waits.rank,
            waits.due,
            waits.awaits,
            floor(now),
            state_words(waits.state).0,
            waits.held_by,
            attempt,
        ))?;
    }
    log.close(longest_tail)
}

fn bury(conn: &Connection, lane: LaneNo, now: DateTime<Utc>) -> Result<(), Fault> {
    let reason = DeadReason::WebhookDeleted;
    let (ended_at, purgeable) = ending(State::Dead(reason), now).unzip();
    conn.prepare_cached(
        "UPDATE deliveries SET state = 'dead', reason = ?2, ended_at = ?4, purgeable = ?5 WHERE id IN
            (SELECT id FROM deliveries WHERE lane = ?1 AND state = 'pending' ORDER BY rank, id LIMIT ?3)",
    )?
    .execute((lane, reason.as_str(), BURIED_AT_ONCE, ended_at, purgeable))?;
    Ok(())
}

/// Claims from one lane what is due and allowed, at most `share` of it. Whether there was anything.
fn take(
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    lane: LaneNo,
    share: usize,
    request: &ClaimRequest,
    now: DateTime<Utc>,
    heads: &mut Vec<Head>,
) -> Result<bool, Fault> {
    let waiting = lanes.get(lane)?;
    let allowance = waiting.lane.allowance(waiting.in_flight, now);
    let failing_since = waiting.failing_since;
    let mut most = limit(share).min(i64::from(allowance));
    let before = heads.len();
    if most > 0
        && waiting.runs.is_some()
        && let Some(id) = lanes.take_for_run(lane, DeliveryId(last(conn, "delivery")?))?
    {
        let mut select = conn.prepare_cached(concat!(head_columns!(), " WHERE id = ?1"))?;
        heads.push(select.query_one([id], |row| Ok(Head::read(row)))??);
        most -= 1;
    }
    let mut select = conn.prepare_cached(concat!(
        head_columns!(),
        " WHERE lane = ?1 AND state = 'pending' AND rank < ?3 ORDER BY rank, id LIMIT ?2"
    ))?;
    let mut rows = select.query((lane, most, AWAITS_RUN))?;
    while let Some(row) = rows.next()? {
        let head = Head::read(row)?;
        if floor(head.due) > floor(now) {
            break;
        }
        heads.push(head);
    }
    let taken = &mut heads[before..];
    let mut update = conn.prepare_cached(
        "UPDATE deliveries SET state = 'sending', fence = ?2, holder = ?3, claimed_at = ?4, lease_ends = ?5
         WHERE id = ?1",
    )?;
    let lease_ends = ceil(after(now, request.lease));
    for head in &mut *taken {
        head.failing_since = failing_since;
        update.execute((
            head.id,
            head.fence.0,
            request.holder.as_str(),
            floor(now),
            lease_ends,
        ))?;
    }
    let taken: u32 = unsigned(limit(taken.len()), "in_flight")?;
    lanes.get(lane)?.take(taken, now);
    Ok(taken > 0)
}

/// A delivery that was claimed, without what its row only points to.
struct Head {
    id: i64,
    event: i64,
    fence: Fence,
    attempts: u32,
    first_failure: Option<DateTime<Utc>>,
    interrupted: bool,
    due: DateTime<Utc>,
    own: bool,
    webhook: Option<WordNo>,
    test: bool,
    /// Of its lane.
    failing_since: Option<DateTime<Utc>>,
}

impl Head {
    fn read(row: &Row<'_>) -> Result<Self, Fault> {
        Ok(Self {
            id: row.get(0)?,
            event: row.get(1)?,
            fence: Fence(row.get(2)?).next(),
            attempts: row.get(3)?,
            first_failure: optional_instant(row.get(4)?, "first_failure")?,
            interrupted: row.get(5)?,
            due: instant(row.get(6)?, "due")?,
            own: row.get(7)?,
            webhook: row.get(8)?,
            test: row.get(9)?,
            failing_since: None,
        })
    }

    /// `events` are those of this claim so far, since one event often goes to many webhooks.
    fn claimed(
        self,
        conn: &Database,
        cache: &mut Cache,
        words: &mut Words,
        events: &mut BTreeMap<i64, Arc<Event>>,
    ) -> Result<Claimed, Fault> {
        let event = match events.entry(self.event) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => {
                let known = cache.event(self.event);
                let event = known.map_or_else(|| event(conn, self.event), Ok)?;
                Arc::clone(place.insert(event))
            }
        };
        let contents = contents::read(conn, self.id, self.own)?;
        let webhook = match self.webhook {
            Some(webhook) => Some(words.text(conn, webhook)?),
            None => None,
        };
        let target = match (&webhook, contents.call) {
            (Some(id), None) if self.test => cache.webhook(conn, id)?.map(ClaimedTarget::Test),
            (Some(id), None) => cache.webhook(conn, id)?.map(ClaimedTarget::Webhook),
            (None, call) => call.map(|call| ClaimedTarget::Call(Arc::new(call))),
            (Some(_), Some(_)) => None,
        }
        .ok_or(Fault::Unreadable("webhook"))?;
        let auth = match target.auth().map(|id| cache.auth(conn, id.as_str())) {
            Some(Err(Fault::Unreadable(_))) | None => None, // without its proof it waits, and is not sent
            Some(auth) => auth?,
        };
        Ok(Claimed {
            id: DeliveryId(self.id),
            fence: self.fence,
            attempts: self.attempts,
            first_failure: self.first_failure,
            interrupted: self.interrupted,
            failing_since: self.failing_since,
            due: self.due,
            body: contents.body.unwrap_or_else(|| event.body().clone()),
            event,
            target,
            auth,
        })
    }
}
