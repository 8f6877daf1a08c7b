//! Claiming.

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::attempts::{Consequence, NewAttempts};
use super::brought::{self, Brought};
use super::database::Database;
use super::events;
use super::fault::Fault;
use super::holds::BUSY;
use super::lane_rows::{LaneNo, lane_columns};
use super::lanes::{FRONTS, LOCK_LATER, Lanes};
use super::registrations::Registered;
use super::transaction::{Columns, Query, Transaction, query};
use crate::delivery::{AttemptReport, DeadReason, Outcome};
use crate::id::DeliveryId;
use crate::store::codec::{ceil, floor, instant, limit, optional_instant, state_words, unsigned, whole};
use crate::store::holds::MOVED_AT_ONCE;
use crate::store::{ClaimRequest, Claimed};
use crate::time::{after, elapsed};

/// How often a claim goes round the lanes for what is left of its places: some have less than their share, some turn out
/// to have nothing.
const ROUNDS: usize = 8;

/// How many transactions a claim makes at most, where others have lanes locked.
const TRIES: usize = 8;

/// What ends a lease is seen by one claim, with the lane locked that it concerns; where that cannot be had, by another.
const EXPIRED: &str = concat!(
    "SELECT d.id AS delivery, d.claimed_at, d.history, ",
    lane_columns!(),
    " FROM ringback.deliveries d JOIN ringback.lanes l ON l.id = d.lane
      WHERE d.state = 'sending' AND d.lease_ends <= $1 ORDER BY d.lease_ends, d.id LIMIT $2
      FOR UPDATE OF d, l SKIP LOCKED"
);

const INTERRUPT: &str = "
    UPDATE ringback.deliveries d
    SET state = n.state, held_by = n.held_by, rank = n.rank, due = n.due, awaits = n.awaits, attempts = attempts + 1,
        history = history + 1, first_failure = coalesce(first_failure, $5), interrupted = TRUE
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $6::text[], $7::bigint[])
        AS n (id, rank, due, awaits, state, held_by)
    WHERE d.id = n.id";

/// What a role's statements may take is less than what all lanes may take.
const UNHURRIED: &str = "SET LOCAL statement_timeout = 0";

const OPEN_DUE: &str = "
    UPDATE ringback.lanes SET ready = TRUE, opens_at = NULL WHERE id = ANY (ARRAY(
        SELECT id FROM ringback.lanes WHERE opens_at <= $1 ORDER BY opens_at FOR UPDATE SKIP LOCKED))";

/// How many lanes are ready, those included that somebody has locked.
const COUNT_READY: &str = "SELECT count(*) AS ready FROM (SELECT FROM ringback.lanes WHERE ready LIMIT $1) l";

const READY: &str = concat!(
    "SELECT ",
    lane_columns!(),
    " FROM ringback.lanes l WHERE l.ready AND l.id <> ALL($2::bigint[]) ORDER BY l.turn, l.id LIMIT $1
      FOR UPDATE SKIP LOCKED"
);

/// The lane whose turn it is, whoever has it locked. Which one that is, is decided before there is any wait, and so no more
/// than one is waited for: should it have nothing to give any more once it is had, it stays locked until the commit, and who
/// has one locked must not wait for another.
const WAIT_FOR_ONE: &str = concat!(
    "SELECT ",
    lane_columns!(),
    " FROM ringback.lanes l WHERE l.id = (SELECT r.id FROM ringback.lanes r WHERE r.ready ORDER BY r.turn, r.id LIMIT 1)
      FOR UPDATE"
);

const TURNS: &str = "SELECT nextval('ringback.turns') AS turn FROM generate_series(1, $1::bigint)";

/// The first of each lane, as many as it may give, and the one that is first when these are gone.
const HEADS: &str = "
    SELECT n.lane, d.*
    FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS n (lane, most, place)
    CROSS JOIN LATERAL (SELECT d.id, d.due, d.rank FROM ringback.deliveries d
        WHERE d.lane = n.lane AND d.state = 'pending' AND d.rank < 9223372036854775807
        ORDER BY d.rank, d.id LIMIT n.most + 1) d
    ORDER BY n.place, d.rank, d.id";

const NEWEST: &str = "SELECT last_value AS newest FROM ringback.delivery_ids";

const TAKE: &str = "
    UPDATE ringback.deliveries d
    SET state = 'sending', fence = d.fence + 1, holder = $2, claimed_at = $3, lease_ends = $4
    FROM unnest($1::bigint[]) AS n (id) WHERE d.id = n.id";

/// What waits for a removed webhook, a little of it each time its lane has its turn.
const BURY: &str = "
    UPDATE ringback.deliveries SET state = 'dead', reason = $2, ended_at = $3, purgeable = 2
    WHERE id = ANY (ARRAY(SELECT h.id FROM unnest($1::bigint[]) AS n (lane)
        CROSS JOIN LATERAL (SELECT d.id FROM ringback.deliveries d
            WHERE d.lane = n.lane AND d.state = 'pending' ORDER BY d.rank, d.id LIMIT 32) h))";

const NEXT_DUE: &str = "
    SELECT (SELECT $1::bigint FROM ringback.lanes WHERE ready LIMIT 1) AS ready,
        (SELECT opens_at FROM ringback.lanes WHERE opens_at IS NOT NULL ORDER BY opens_at LIMIT 1) AS opens_at,
        (SELECT lease_ends FROM ringback.deliveries WHERE state = 'sending' ORDER BY lease_ends LIMIT 1) AS lease_ends,
        (SELECT $1::bigint FROM ringback.holds WHERE busy LIMIT 1) AS moves";

impl Database {
    /// Takes of the lanes that nobody has locked. Only where they have nothing to give, it waits for one of the others.
    pub(super) async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claimed>, Fault> {
        let now = whole(request.now);
        if self.was_set_back(now) {
            match self.ask_anew(now).await {
                Ok(()) | Err(Fault::Unreadable(_)) => {} // what cannot be read holds up no claim
                Err(fault) => return Err(fault),
            }
        }
        self.note_clock(now);
        let (mut holds_are_seen_to, mut waits) = (false, false);
        for _ in 0..TRIES {
            match self.claim_once(request, waits, holds_are_seen_to, now).await? {
                None => self.see_to_holds(request.max, now).await?,
                // After waiting it looks again, since what it waited for may have been taken.
                Some(part) if part.claimed.is_empty() && part.passed_over => waits = !waits,
                Some(part) => return Ok(part.claimed),
            }
            holds_are_seen_to = true;
        }
        Ok(Vec::new())
    }

    /// Moves something of a hold. Leases that have ended are seen to first, since what was under them may have come to be kept
    /// back.
    async fn see_to_holds(&self, max: usize, now: DateTime<Utc>) -> Result<(), Fault> {
        let mut tx = self.transaction().await?.planned_once();
        let mut claim = Claim::new(max, now);
        let [_, expired] = tx
            .run([NewAttempts::share(), query(EXPIRED, &[&floor(now), &limit(max)])])
            .await?;
        claim.interrupt(&mut tx, &expired).await?;
        claim.lanes.write(tx).await?;
        self.move_held(MOVED_AT_ONCE, now).await?;
        Ok(())
    }

    /// Nothing, where something of a hold is to be moved first.
    async fn claim_once(
        &self,
        request: &ClaimRequest,
        waits: bool,
        holds_are_seen_to: bool,
        now: DateTime<Utc>,
    ) -> Result<Option<Part>, Fault> {
        let mut tx = self.transaction().await?.planned_once();
        let mut claim = Claim::new(request.max, now);
        let passed_over = match waits {
            false => match claim.look(&mut tx).await? {
                Look {
                    holds_are_busy: true, ..
                } if !holds_are_seen_to => {
                    tx.roll_back().await?;
                    return Ok(None);
                }
                Look {
                    expired, passed_over, ..
                } => {
                    claim.interrupt(&mut tx, &expired).await?;
                    passed_over
                }
            },
            true => {
                let one = tx.query(WAIT_FOR_ONE, &[]).await?;
                claim.lanes.add(&one)?;
                claim.is_exhaustive = true;
                true
            }
        };
        for _ in 0..ROUNDS {
            if !claim.go_round(&mut tx, request).await? {
                break;
            }
        }
        claim.lanes.place(&mut tx).await?;
        let (changes, _) = claim.lanes.changes()?;
        let taken = &claim.taken;
        if taken.is_empty() {
            tx.commit_with([changes.write()]).await?;
            return Ok(Some(Part {
                claimed: Vec::new(),
                passed_over,
            }));
        }
        let sealer = tx.sealer();
        let lease = claim.lease(request);
        let [bring, events, webhooks, auths] = brought::queries(taken);
        let [_, rows, events, webhooks, auths, _] = tx
            .commit_with([
                lease.mark(&claim.unmarked),
                bring,
                events,
                webhooks,
                auths,
                changes.write(),
            ])
            .await?;
        let brought = Brought {
            registered: Registered::read(&sealer, &webhooks, &auths)?,
            events: events::by_row(&sealer, &events)?,
            failing_since: claim.failing_since,
            sealer,
        };
        Ok(Some(Part {
            claimed: brought.claimed(&rows)?,
            passed_over,
        }))
    }

    /// Asks all lanes that wait for an instant when they open. After the clock was set back, theirs may have been
    /// reckoned from a time that has not come.
    async fn ask_anew(&self, now: DateTime<Utc>) -> Result<(), Fault> {
        let mut tx = self.transaction().await?.planned_once();
        let mut lanes = Lanes::new(now);
        let [_, locked] = tx.run([query(UNHURRIED, &[]), query(LOCK_LATER, &[])]).await?;
        for no in lanes.add(&locked)? {
            lanes.get(no)?;
        }
        lanes.place(&mut tx).await?;
        let (changes, _) = lanes.changes()?;
        tx.commit_with([changes.write()]).await?;
        Ok(())
    }

    pub(super) async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Fault> {
        let tx = self.transaction().await?.planned_once();
        let [rows] = tx.commit_with([query(NEXT_DUE, &[&floor(now)])]).await?;
        let row = rows.first().ok_or(Fault::Unreadable("ready"))?;
        let soonest = match row.read::<Option<i64>>("ready")? {
            Some(now) => Some(now),
            None => row.read("opens_at")?,
        };
        let soonest = [soonest, row.read("lease_ends")?, row.read("moves")?]
            .into_iter()
            .flatten()
            .min();
        Ok(optional_instant(soonest, "opens_at")?)
    }
}

/// What one transaction claimed.
struct Part {
    claimed: Vec<Claimed>,
    /// Whether there were lanes ready that others had locked.
    passed_over: bool,
}

/// What a claim saw first.
struct Look {
    /// Leases that have ended.
    expired: Vec<Row>,
    /// Whether there were lanes ready that others had locked.
    passed_over: bool,
    /// Whether something of a hold is to be moved.
    holds_are_busy: bool,
}

/// A claim under way.
struct Claim {
    lanes: Lanes,
    max: usize,
    now: DateTime<Utc>,
    taken: Vec<i64>,
    /// Those of them that are still to be marked as held, which goes along with what is sent next.
    unmarked: Vec<i64>,
    /// Since when the webhooks of what was taken have had nothing but failures.
    failing_since: HashMap<i64, DateTime<Utc>>,
    /// Whether there are no more lanes ready than those that are known.
    is_exhaustive: bool,
}

impl Claim {
    fn new(max: usize, now: DateTime<Utc>) -> Self {
        Self {
            lanes: Lanes::new(now),
            max,
            now,
            taken: Vec::new(),
            unmarked: Vec::new(),
            failing_since: HashMap::new(),
            is_exhaustive: false,
        }
    }

    /// Looks for what has become due: lanes that open, leases that have ended. Locks the lanes whose turn it is, and looks for
    /// leases after that, so that what another claim has just let go of is seen one way or the other.
    async fn look(&mut self, tx: &mut Transaction<'_>) -> Result<Look, Fault> {
        let (now, max) = (floor(self.now), limit(self.max));
        let none: Vec<LaneNo> = Vec::new();
        let [busy, _, _, count, ready, expired] = tx
            .run([
                query(BUSY, &[]),
                NewAttempts::share(),
                query(OPEN_DUE, &[&now]),
                query(COUNT_READY, &[&max]),
                query(READY, &[&max, &none]),
                query(EXPIRED, &[&now, &max]),
            ])
            .await?;
        self.lanes.add(&ready)?;
        let count = count.first().map(|row| row.count("ready")).transpose()?;
        self.is_exhaustive = ready.len() < self.max;
        Ok(Look {
            expired,
            passed_over: count.unwrap_or(0) > ready.len(),
            holds_are_busy: !busy.is_empty(),
        })
    }

    /// Counts attempts whose worker never reported back, and lets their deliveries wait for their turn again. The log is
    /// shared already, since whoever wants it alone is not to be waited for with lanes locked.
    async fn interrupt(&mut self, tx: &mut Transaction<'_>, expired: &[Row]) -> Result<(), Fault> {
        if expired.is_empty() {
            return Ok(());
        }
        self.lanes.add(expired)?;
        let mut attempts = NewAttempts::new();
        let (mut ids, mut ranks, mut dues, mut awaits) = (vec![], vec![], vec![], vec![]);
        let (mut states, mut holds) = (vec![], vec![]);
        for row in expired {
            let id: i64 = row.read("delivery")?;
            let started_at = instant(row.read("claimed_at")?, "claimed_at")?;
            let report = AttemptReport {
                started_at,
                duration: elapsed(started_at, self.now),
                outcome: Outcome::Interrupted,
                excerpt: Bytes::new(),
            };
            let now = self.now;
            let waits = self.lanes.get(row.read("id")?)?.interrupted(DeliveryId(id), now);
            let number = row.count::<u32>("history")?.saturating_add(1);
            let recorded_at = attempts.recorded_at(tx.database(), now);
            attempts.push(
                &tx.sealer(),
                id,
                number,
                &report,
                Consequence::RetryAt(waits.due),
                recorded_at,
            )?;
            ids.push(id);
            ranks.push(waits.rank);
            dues.push(waits.due);
            awaits.push(waits.awaits);
            states.push(state_words(waits.state).0);
            holds.push(waits.held_by);
        }
        tx.run([
            attempts.insert(),
            query(
                INTERRUPT,
                &[&ids, &ranks, &dues, &awaits, &floor(self.now), &states, &holds],
            ),
        ])
        .await?;
        self.lanes.place(tx).await
    }

    /// Shares what is left of the places among the lanes whose turn it is. Whether there were any.
    async fn go_round(&mut self, tx: &mut Transaction<'_>, request: &ClaimRequest) -> Result<bool, Fault> {
        let left = self.max - self.taken.len();
        if left == 0 {
            return Ok(false);
        }
        let ready = self.lanes.ready(left);
        let ready = match self.is_exhaustive {
            true => ready,
            false => self.more_ready(tx, left).await?,
        };
        if ready.is_empty() {
            return Ok(false);
        }
        let mut most = Vec::with_capacity(ready.len());
        for (place, no) in ready.iter().enumerate() {
            // No share is larger than what there is if all before it give nothing.
            let share = limit(left.div_ceil(ready.len() - place));
            let waiting = self.lanes.look(*no)?;
            let allowance = match waiting.doomed {
                true => 0,
                false => waiting.lane.allowance(waiting.in_flight, self.now),
            };
            most.push(share.min(allowance.into()));
        }
        let lease = self.lease(request);
        let mut queries = match self.unmarked.is_empty() {
            true => Vec::new(),
            false => vec![lease.mark(&self.unmarked)],
        };
        let places = limit(ready.len());
        queries.extend([query(TURNS, &[&places]), query(HEADS, &[&ready, &most])]);
        let mut rows = tx.run_all(queries).await?;
        let heads = rows.pop().unwrap_or_default();
        let turns = rows.pop().unwrap_or_default();
        self.unmarked.clear();
        let mut heads = Head::read_all(&heads)?;
        let before = self.taken.len();
        let mut buried = Vec::new();
        for ((place, no), most) in ready.iter().enumerate().zip(most) {
            let heads = heads.remove(no).unwrap_or_default();
            let share = (self.max - self.taken.len()).div_ceil(ready.len() - place);
            let is_served = if self.lanes.look(*no)?.doomed {
                buried.push(*no);
                self.lanes.get(*no)?;
                true
            } else {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                self.take(tx, *no, share, &heads, most).await? > 0
            };
            if is_served && let Some(turn) = turns.get(place) {
                let turn = turn.read("turn")?;
                self.lanes.get(*no)?.served(turn);
            }
        }
        self.unmarked.extend(self.taken.iter().skip(before));
        self.lanes.place_known();
        let unplaced = self.lanes.unplaced();
        if !unplaced.is_empty() {
            let reason = DeadReason::WebhookDeleted.as_str();
            let now = floor(self.now);
            let [_, _, fronts] = tx
                .run([
                    lease.mark(&self.unmarked),
                    query(BURY, &[&buried, &reason, &now]),
                    query(FRONTS, &[&unplaced]),
                ])
                .await?;
            self.unmarked.clear();
            self.lanes.place_by(tx, &fronts).await?;
        }
        Ok(true)
    }

    fn lease(&self, request: &ClaimRequest) -> Lease {
        Lease {
            holder: request.holder.to_string(),
            from: floor(self.now),
            until: ceil(after(self.now, request.lease)),
        }
    }

    /// Takes from one lane what is due and allowed, at most `share` of it. How many. Of `heads`, it may have the first `most`.
    async fn take(
        &mut self,
        tx: &mut Transaction<'_>,
        no: LaneNo,
        share: usize,
        heads: &[Head],
        most: usize,
    ) -> Result<u32, Fault> {
        let waiting = self.lanes.look(no)?;
        let has_runs = waiting.runs.is_some();
        let allowance = waiting.lane.allowance(waiting.in_flight, self.now);
        let allowed = usize::try_from(allowance).unwrap_or(usize::MAX).min(share);
        let before = self.taken.len();
        if allowed > 0 && has_runs {
            let newest = tx.query(NEWEST, &[]).await?;
            let newest = newest.first().map_or(Ok(0), |row| row.read("newest"))?;
            self.taken
                .extend(self.lanes.take_for_run(tx, no, DeliveryId(newest)).await?);
        }
        let left = allowed - (self.taken.len() - before);
        let now = floor(self.now);
        // In a strict lane it may have one; in others they come in the order in which they are due.
        let due = heads.iter().take(most).filter(|head| head.due <= now);
        self.taken.extend(due.take(left).map(|head| head.id));
        let taken = self.taken.get(before..).unwrap_or_default();
        if !has_runs {
            let first = heads.iter().find(|head| !taken.contains(&head.id));
            self.lanes
                .note_first(no, first.map(|head| (head.rank, DeliveryId(head.id), head.due)));
        }
        let count = unsigned(limit(taken.len()), "in_flight")?;
        if let Some(since) = self.lanes.look(no)?.failing_since {
            self.failing_since.extend(taken.iter().map(|id| (*id, since)));
        }
        let now = self.now;
        self.lanes.get(no)?.take(count, now);
        Ok(count)
    }

    /// The lanes whose turn it is, of those that are known and all others.
    async fn more_ready(&mut self, tx: &mut Transaction<'_>, max: usize) -> Result<Vec<LaneNo>, Fault> {
        let known = self.lanes.numbers();
        let more = tx.query(READY, &[&limit(max), &known]).await?;
        self.lanes.add(&more)?;
        self.is_exhaustive = more.len() < max;
        Ok(self.lanes.ready(max))
    }
}

/// What is first in a lane.
struct Head {
    id: i64,
    due: i64,
    rank: i64,
}

impl Head {
    /// Those of each lane, in their order.
    fn read_all(rows: &[Row]) -> Result<HashMap<LaneNo, Vec<Self>>, Fault> {
        let mut heads: HashMap<LaneNo, Vec<Self>> = HashMap::new();
        for row in rows {
            heads.entry(row.read("lane")?).or_default().push(Self {
                id: row.read("id")?,
                due: row.read("due")?,
                rank: row.read("rank")?,
            });
        }
        Ok(heads)
    }
}

/// Under which deliveries are held.
struct Lease {
    holder: String,
    from: i64,
    until: i64,
}

impl Lease {
    /// The statement that marks deliveries as held.
    fn mark<'a>(&'a self, deliveries: &'a Vec<i64>) -> Query<'a> {
        query(TAKE, &[deliveries, &self.holder, &self.from, &self.until])
    }
}
