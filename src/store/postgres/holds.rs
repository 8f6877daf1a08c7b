//! Holds: what they keep back, and how it is released.
//!
//! Whoever places, lifts or moves one has the table locked against others who do, and then the hold's row and the lanes.
//! Whoever enqueues shares the rows of the subjects' holds that concern it, before it locks any lane. So no delivery comes to
//! be kept back by a hold that is gone.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::database::Database;
use super::fault::Fault;
use super::lane_rows::LaneNo;
use super::lanes::{LOCK_BY_ID, LOCK_BY_KEY, Lanes};
use super::transaction::{Columns, Query, Transaction, query};
use crate::delivery::{DeadReason, LaneKey, State};
use crate::id::WebhookId;
use crate::store::codec::{floor, instant, limit, state_words, whole};
use crate::store::holds::MOVED_AT_ONCE;
use crate::store::waiting::HoldNo;
use crate::store::{HoldKey, Release};

/// One at a time. Whoever only looks at holds, or shares one, does not wait.
const LOCK: &str = "LOCK TABLE ringback.holds IN SHARE ROW EXCLUSIVE MODE";

/// The holds of subjects, lifted or not, which stay until the commit.
pub(super) const SHARE_BY_SUBJECT: &str = "
    SELECT h.id, h.scope, h.name FROM ringback.holds h
    JOIN (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS n (scope, name)) n
        ON h.kind = 'subject' AND h.scope = n.scope AND h.name = n.name
    ORDER BY h.id FOR SHARE OF h";

macro_rules! columns {
    () => {
        "SELECT id, kind, scope, name, lane, gathering, lifted_at, last, send_all, send_since, placed_after
         FROM ringback.holds "
    };
}

const FIND: &str = concat!(
    columns!(),
    "WHERE kind = $1 AND scope = $2 AND name = $3 FOR UPDATE"
);
const BY_ID: &str = concat!(columns!(), "WHERE id = $1 FOR UPDATE");
const MANY: &str = concat!(
    columns!(),
    "WHERE id = ANY($1::bigint[]) OR (kind = 'subject' AND (scope, name) IN (SELECT * FROM unnest($2::text[], $3::text[])))"
);

/// Whether something of a hold is still to be moved.
pub(super) const BUSY: &str = "SELECT id FROM ringback.holds WHERE busy ORDER BY id LIMIT 1";

const NEWEST: &str = "SELECT last_value AS newest FROM ringback.delivery_ids";

const PLACE: &str = "
    INSERT INTO ringback.holds (kind, scope, name, placed_after, lane, gathering, busy)
    VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING id";
const PLACE_AGAIN: &str = "
    UPDATE ringback.holds SET gathering = $2, lifted_at = NULL, last = NULL, busy = $2 WHERE id = $1";
const LIFT: &str = "
    UPDATE ringback.holds SET lifted_at = $2, last = $3, send_all = $4, send_since = $5, busy = TRUE WHERE id = $1";
const LEAVE_LANE: &str = "
    UPDATE ringback.holds SET lane = NULL, gathering = FALSE, busy = lifted_at IS NOT NULL WHERE id = $1";
const ENTER_LANE: &str = "UPDATE ringback.holds SET lane = $2 WHERE id = $1";
const GO_ON: &str = "UPDATE ringback.holds SET gathering = $2, busy = $3 WHERE id = $1";
const END: &str = "DELETE FROM ringback.holds WHERE id = $1";

const GATHER: &str = "
    UPDATE ringback.deliveries SET state = 'held', held_by = $2, awaits = NULL WHERE id IN
        (SELECT id FROM ringback.deliveries WHERE lane = $1 AND state = 'pending' ORDER BY rank, id LIMIT $3)
    RETURNING id";

const KEPT: &str = "
    SELECT d.id, d.lane, d.created_at, e.scope, e.subject
    FROM ringback.deliveries d JOIN ringback.events e ON e.id = d.event
    WHERE d.held_by = $1 AND d.state = 'held' ORDER BY d.id LIMIT $2";

const MOVE: &str = "
    UPDATE ringback.deliveries d
    SET state = n.state, reason = n.reason, held_by = n.held_by, rank = coalesce(n.rank, d.rank),
        due = coalesce(n.due, d.due), ended_at = CASE WHEN n.state = 'dead' THEN $7::bigint END,
        purgeable = CASE WHEN n.state = 'dead' THEN 2 END, awaits = CASE WHEN n.rank IS NULL THEN d.awaits END
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS n (id, state, reason, held_by, rank, due)
    WHERE d.id = n.id";

struct Hold {
    no: HoldNo,
    kind: String,
    scope: String,
    name: String,
    /// The lane that a webhook's hold closes.
    lane: Option<LaneNo>,
    /// Whether what waits in that lane is still to be kept back.
    gathering: bool,
    lifted: Option<Lifted>,
    placed_after: i64,
}

#[derive(Clone, Copy)]
struct Lifted {
    at: i64,
    release: Release,
    /// The latest delivery when it was lifted. Later ones only queue up behind, and are sent whatever the release.
    last: i64,
}

impl Database {
    /// Whether it was not there, and whether there is work to do.
    pub(super) async fn hold(&self, key: &HoldKey, now: DateTime<Utc>) -> Result<(bool, bool), Fault> {
        let mut tx = self.transaction().await?;
        let mut lanes = Lanes::new(whole(now));
        let found = lock_and_find(&mut tx, key).await?;
        if found.as_ref().is_some_and(|hold| hold.lifted.is_none()) {
            tx.roll_back().await?;
            return Ok((false, false));
        }
        let lane = match key {
            HoldKey::Webhook(webhook) => {
                let keys = [LaneKey::webhook(webhook).as_str().to_owned()];
                let locked = tx.query(LOCK_BY_KEY, &[&&keys[..]]).await?;
                lanes.add(&locked)?.first().copied()
            }
            HoldKey::Subject { .. } => None,
        };
        let gathering = lane.is_some();
        let no = match found {
            Some(hold) => {
                tx.query(PLACE_AGAIN, &[&hold.no, &gathering]).await?;
                hold.no
            }
            None => {
                let (kind, scope, name) = key_columns(key);
                let newest = newest(&mut tx).await?;
                let placed = tx
                    .query(PLACE, &[&kind, &scope, &name, &newest, &lane, &gathering])
                    .await?;
                placed.first().ok_or(Fault::Unreadable("holds.id"))?.read("id")?
            }
        };
        if let Some(lane) = lane {
            lanes.get(lane)?.hold = Some((no, true));
        }
        let busy = move_of(&mut tx, &mut lanes, no, MOVED_AT_ONCE).await?;
        Ok((true, busy | lanes.write(tx).await?))
    }

    /// Whether there was one to lift, and whether there is work to do.
    pub(super) async fn lift(
        &self,
        key: &HoldKey,
        release: Release,
        now: DateTime<Utc>,
    ) -> Result<(bool, bool), Fault> {
        let mut tx = self.transaction().await?;
        let mut lanes = Lanes::new(whole(now));
        let found = lock_and_find(&mut tx, key).await?;
        let Some(hold) = found.filter(|hold| hold.lifted.is_none()) else {
            tx.roll_back().await?;
            return Ok((false, false));
        };
        let busy = lift(&mut tx, &mut lanes, &hold, release, now).await?;
        Ok((true, busy | lanes.write(tx).await?))
    }

    /// Moves some of the oldest hold of which something is still to be moved. Whether there is work to do.
    pub(super) async fn move_held(&self, most: usize, now: DateTime<Utc>) -> Result<bool, Fault> {
        let mut tx = self.transaction().await?;
        let [_, oldest] = tx.run([query(LOCK, &[]), query(BUSY, &[])]).await?;
        let Some(row) = oldest.first() else {
            tx.roll_back().await?;
            return Ok(false);
        };
        let mut lanes = Lanes::new(whole(now));
        let busy = move_of(&mut tx, &mut lanes, row.read("id")?, most).await?;
        Ok(busy | lanes.write(tx).await?)
    }
}

/// To be called before lanes are locked.
pub(super) fn lock<'a>() -> Query<'a> {
    query(LOCK, &[])
}

async fn lock_and_find(tx: &mut Transaction<'_>, key: &HoldKey) -> Result<Option<Hold>, Fault> {
    let (kind, scope, name) = key_columns(key);
    let [_, found] = tx.run([lock(), query(FIND, &[&kind, &scope, &name])]).await?;
    found.first().map(Hold::read).transpose()
}

async fn newest(tx: &mut Transaction<'_>) -> Result<i64, Fault> {
    let newest = tx.query(NEWEST, &[]).await?;
    newest
        .first()
        .ok_or(Fault::Unreadable("delivery_ids"))?
        .read("newest")
}

/// Whether something of it is still to be moved.
async fn lift(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    hold: &Hold,
    release: Release,
    now: DateTime<Utc>,
) -> Result<bool, Fault> {
    let (send_all, send_since) = match release {
        Release::All => (true, None),
        Release::Since(instant) => (false, Some(floor(instant))),
        Release::Nothing => (false, None),
    };
    let newest = newest(tx).await?;
    tx.query(LIFT, &[&hold.no, &floor(now), &newest, &send_all, &send_since])
        .await?;
    if let (Some(lane), false) = (hold.lane, hold.gathering) {
        lock_lanes(tx, lanes, &[lane]).await?;
        lanes.get(lane)?.hold = Some((hold.no, false));
    }
    move_of(tx, lanes, hold.no, MOVED_AT_ONCE).await
}

/// A webhook is removed, in a transaction that has holds and its lane locked. What was kept back for it goes where the rest
/// of its lane goes.
pub(super) async fn lift_removed(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    id: &WebhookId,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let found = tx.query(FIND, &[&"webhook", &"", &id.as_str()]).await?;
    if let Some(hold) = found.first().map(Hold::read).transpose()? {
        tx.query(LEAVE_LANE, &[&hold.no]).await?;
        if hold.lifted.is_none() {
            let left = Hold {
                lane: None,
                gathering: false,
                ..hold
            };
            lift(tx, lanes, &left, Release::All, now).await?;
        }
    }
    Ok(())
}

/// Has a lane that was opened closed by the hold that there is of its webhook, in a transaction that has holds locked.
pub(super) async fn close_if_held(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    id: &WebhookId,
    lane: LaneNo,
) -> Result<(), Fault> {
    let found = tx.query(FIND, &[&"webhook", &"", &id.as_str()]).await?;
    lanes.get(lane)?.hold = match found.first().map(Hold::read).transpose()? {
        None => None,
        Some(hold) => {
            tx.query(ENTER_LANE, &[&hold.no, &lane]).await?;
            Some((hold.no, hold.gathering || hold.lifted.is_none()))
        }
    };
    Ok(())
}

/// Locks lanes that are not locked yet.
async fn lock_lanes(tx: &mut Transaction<'_>, lanes: &mut Lanes, numbers: &[LaneNo]) -> Result<(), Fault> {
    let locked = tx.query(LOCK_BY_ID, &[&numbers]).await?;
    lanes.add(&locked)?;
    Ok(())
}

/// Moves at most so many of a hold: first what waits in its lane is kept back, then, once it is lifted, what it keeps back
/// is released. With its last delivery a lifted hold is gone. Whether something is still to be moved.
async fn move_of(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    no: HoldNo,
    most: usize,
) -> Result<bool, Fault> {
    let found = tx.query(BY_ID, &[&no]).await?;
    let mut hold = Hold::read(found.first().ok_or(Fault::Unreadable("holds.id"))?)?;
    let gathered = gather(tx, lanes, &mut hold, most).await?;
    if !hold.gathering
        && let Some(lifted) = hold.lifted
    {
        let is_gone = let_go(tx, lanes, &hold, lifted, most - gathered).await?;
        return Ok(!is_gone);
    }
    tx.query(GO_ON, &[&no, &hold.gathering, &hold.gathering]).await?;
    Ok(hold.gathering)
}

/// Keeps back what waits in a hold's lane. How many were moved.
async fn gather(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    hold: &mut Hold,
    most: usize,
) -> Result<usize, Fault> {
    let Some(lane) = hold.lane.filter(|_| hold.gathering) else {
        return Ok(0);
    };
    lock_lanes(tx, lanes, &[lane]).await?;
    let gathered = tx.query(GATHER, &[&lane, &hold.no, &limit(most)]).await?.len();
    hold.gathering = gathered == most;
    lanes.get(lane)?.hold = Some((hold.no, hold.gathering || hold.lifted.is_none()));
    Ok(gathered)
}

/// Releases what a hold has kept back. Whether the hold is gone.
async fn let_go(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    hold: &Hold,
    lifted: Lifted,
    most: usize,
) -> Result<bool, Fault> {
    let wanted = tx.query(KEPT, &[&hold.no, &limit(most)]).await?;
    let mut numbers: Vec<LaneNo> = hold.lane.into_iter().collect();
    for row in &wanted {
        numbers.push(row.read("lane")?);
    }
    lock_lanes(tx, lanes, &numbers).await?;
    // Now that the lanes are locked, nothing of it changes any more.
    let kept = tx.query(KEPT, &[&hold.no, &limit(most)]).await?;
    let kept: Vec<Kept> = kept.iter().map(Kept::read).collect::<Result<_, _>>()?;
    let others = others(tx, lanes, &kept).await?;
    let mut moves = Moves::default();
    let mut is_whole = kept.len() < most;
    for kept in &kept {
        match lanes.contains(kept.lane) {
            true => moves.push(lanes, hold, lifted, kept, &others)?,
            false => is_whole = false, // it came to be kept back only now, in a lane that is not locked
        }
    }
    tx.run([moves.write(&floor(lanes.now))]).await?;
    if !is_whole {
        tx.query(GO_ON, &[&hold.no, &false, &true]).await?;
        return Ok(false);
    }
    tx.query(END, &[&hold.no]).await?;
    if let Some(lane) = hold.lane {
        lanes.get(lane)?.hold = None;
    }
    Ok(true)
}

/// The other holds that may concern what is let go: those of its lanes and its subjects.
async fn others(tx: &mut Transaction<'_>, lanes: &Lanes, kept: &[Kept]) -> Result<Vec<Hold>, Fault> {
    let of_lanes = kept.iter().filter_map(|kept| lanes.look(kept.lane).ok()?.hold);
    let of_lanes: Vec<HoldNo> = of_lanes.map(|(no, _)| no).collect();
    let subjects = kept
        .iter()
        .filter_map(|kept| Some((kept.scope.as_str(), kept.subject.as_deref()?)));
    let (scopes, names): (Vec<_>, Vec<_>) = subjects.unzip();
    let rows = tx.query(MANY, &[&of_lanes, &scopes, &names]).await?;
    rows.iter().map(Hold::read).collect()
}

/// A delivery that is kept back.
struct Kept {
    id: i64,
    lane: LaneNo,
    created_at: DateTime<Utc>,
    scope: String,
    subject: Option<String>,
}

/// What becomes of deliveries that were kept back, column by column.
#[derive(Default)]
struct Moves {
    id: Vec<i64>,
    state: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    held_by: Vec<Option<HoldNo>>,
    /// Where these two are missing, they stay.
    rank: Vec<Option<i64>>,
    due: Vec<Option<i64>>,
}

impl Moves {
    fn push(
        &mut self,
        lanes: &mut Lanes,
        hold: &Hold,
        lifted: Lifted,
        kept: &Kept,
        others: &[Hold],
    ) -> Result<(), Fault> {
        if kept.id <= lifted.last && !lifted.release.includes(kept.created_at) {
            self.put(kept.id, State::Dead(DeadReason::Expired), None, None);
            return Ok(());
        }
        let of_lane = lanes.get(kept.lane)?.hold.map(|(no, _)| no);
        let of_subject = others
            .iter()
            .find(|other| {
                other.kind == "subject"
                    && other.scope == kept.scope
                    && Some(&other.name) == kept.subject.as_ref()
            })
            .map(|other| other.no);
        let by_no: HashMap<HoldNo, &Hold> = others.iter().map(|other| (other.no, other)).collect();
        for no in [of_lane, of_subject].into_iter().flatten() {
            // Anything in the lane that it closes; what came after it of its subject.
            let still_holds = by_no.get(&no).is_some_and(|other| {
                other.lifted.is_none() && (Some(no) == of_lane || other.placed_after < kept.id)
            });
            if no != hold.no && still_holds {
                self.put(kept.id, State::Held, Some(no), None);
                return Ok(());
            }
        }
        let waits = lanes.get(kept.lane)?.waits_until(lifted.at);
        self.put(kept.id, waits.state, waits.held_by, Some((waits.rank, waits.due)));
        Ok(())
    }

    fn put(&mut self, id: i64, state: State, held_by: Option<HoldNo>, waits: Option<(i64, i64)>) {
        let (word, reason) = state_words(state);
        self.id.push(id);
        self.state.push(word);
        self.reason.push(reason);
        self.held_by.push(held_by);
        self.rank.push(waits.map(|(rank, _)| rank));
        self.due.push(waits.map(|(_, due)| due));
    }

    fn write<'m>(&'m self, now: &'m i64) -> Query<'m> {
        query(
            MOVE,
            &[
                &self.id,
                &self.state,
                &self.reason,
                &self.held_by,
                &self.rank,
                &self.due,
                now,
            ],
        )
    }
}

fn key_columns(key: &HoldKey) -> (&'static str, &str, &str) {
    match key {
        HoldKey::Webhook(id) => ("webhook", "", id.as_str()),
        HoldKey::Subject { scope, subject } => ("subject", scope.as_str(), subject.as_str()),
    }
}

impl Hold {
    fn read(row: &Row) -> Result<Self, Fault> {
        let release = match (row.read("send_all")?, row.read("send_since")?) {
            (true, _) => Release::All,
            (false, Some(since)) => Release::Since(instant(since, "send_since")?),
            (false, None) => Release::Nothing,
        };
        let lifted = match (row.read("lifted_at")?, row.read("last")?) {
            (Some(at), Some(last)) => Some(Lifted { at, release, last }),
            _ => None,
        };
        Ok(Self {
            no: row.read("id")?,
            kind: row.read("kind")?,
            scope: row.read("scope")?,
            name: row.read("name")?,
            lane: row.read("lane")?,
            gathering: row.read("gathering")?,
            lifted,
            placed_after: row.read("placed_after")?,
        })
    }
}

impl Kept {
    fn read(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            id: row.read("id")?,
            lane: row.read("lane")?,
            created_at: instant(row.read("created_at")?, "created_at")?,
            scope: row.read("scope")?,
            subject: row.read("subject")?,
        })
    }
}
