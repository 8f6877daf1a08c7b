//! Holds: what they keep back, and how it is released.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{ending, floor, instant, limit, state_words, whole};
use super::core::{Core, last};
use super::fault::Fault;
use super::lanes::{LaneNo, Lanes};
use crate::delivery::{DeadReason, LaneKey, State};
use crate::id::{Scope, Subject, WebhookId};
use crate::store::holds::MOVED_AT_ONCE;
use crate::store::waiting::HoldNo;
use crate::store::{HoldKey, Release};

struct Hold {
    no: HoldNo,
    /// The lane that a webhook's hold closes.
    lane: Option<LaneNo>,
    /// Whether what waits in that lane is still to be kept back.
    gathering: bool,
    lifted: Option<Lifted>,
}

#[derive(Clone, Copy)]
struct Lifted {
    at: i64,
    release: Release,
    /// The latest delivery when it was lifted. Later ones only queue up behind, and are sent whatever the release.
    last: i64,
}

/// What [`Hold::read`] reads.
macro_rules! columns {
    () => {
        "SELECT id, lane, gathering, lifted_at, last, send_all, send_since FROM holds"
    };
}

impl Core {
    pub(super) fn hold(&mut self, key: &HoldKey, now: DateTime<Utc>) -> Result<bool, Fault> {
        let conn = &self.conn;
        let mut lanes = Lanes::new(conn, whole(now));
        let lane = match key {
            HoldKey::Webhook(webhook) => lanes.find(LaneKey::webhook(webhook))?,
            HoldKey::Subject { .. } => None,
        };
        let gathering = lane.is_some();
        let no = match find(conn, key)? {
            Some(hold) if hold.lifted.is_none() => return Ok(false),
            Some(hold) => {
                conn.prepare_cached(
                    "UPDATE holds SET gathering = ?2, lifted_at = NULL, last = NULL, busy = ?2 WHERE id = ?1",
                )?
                .execute((hold.no, gathering))?;
                hold.no
            }
            None => {
                let (kind, scope, name) = key_columns(key);
                conn.prepare_cached(
                    "INSERT INTO holds (kind, scope, name, placed_after, lane, gathering, send_all, busy)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?6)",
                )?
                .insert((kind, scope, name, last(conn, "delivery")?, lane, gathering))?
            }
        };
        if let Some(lane) = lane {
            lanes.get(lane)?.hold = Some((no, true));
        }
        self.rings.deliveries |= move_of(conn, &mut lanes, no, MOVED_AT_ONCE)?;
        self.rings.deliveries |= lanes.requeue()?;
        Ok(true)
    }

    pub(super) fn lift(
        &mut self,
        key: &HoldKey,
        release: Release,
        now: DateTime<Utc>,
    ) -> Result<bool, Fault> {
        let mut lanes = Lanes::new(&self.conn, whole(now));
        let lifted = lift(&self.conn, &mut lanes, key, release, now)?;
        self.rings.deliveries |= lanes.requeue()? | lifted.unwrap_or(false);
        Ok(lifted.is_some())
    }
}

/// Lifts a hold. `None` if there is none to lift, else whether something of it is still to be moved.
fn lift(
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    key: &HoldKey,
    release: Release,
    now: DateTime<Utc>,
) -> Result<Option<bool>, Fault> {
    let Some(hold) = find(conn, key)?.filter(|hold| hold.lifted.is_none()) else {
        return Ok(None);
    };
    let (send_all, send_since) = match release {
        Release::All => (true, None),
        Release::Since(instant) => (false, Some(floor(instant))),
        Release::Nothing => (false, None),
    };
    conn.prepare_cached(
        "UPDATE holds SET lifted_at = ?2, last = ?3, send_all = ?4, send_since = ?5, busy = 1 WHERE id = ?1",
    )?
    .execute((hold.no, floor(now), last(conn, "delivery")?, send_all, send_since))?;
    if let (Some(lane), false) = (hold.lane, hold.gathering) {
        lanes.get(lane)?.hold = Some((hold.no, false));
    }
    move_of(conn, lanes, hold.no, MOVED_AT_ONCE).map(Some)
}

/// A webhook is removed. What was kept back for it goes where the rest of its lane goes.
pub(super) fn lift_removed(
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    id: &WebhookId,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let key = HoldKey::Webhook(id.clone());
    if let Some(hold) = find(conn, &key)? {
        conn.prepare_cached(
            "UPDATE holds SET lane = NULL, gathering = 0, busy = lifted_at IS NOT NULL WHERE id = ?1",
        )?
        .execute([hold.no])?;
        lift(conn, lanes, &key, Release::All, now)?;
    }
    Ok(())
}

/// Has a lane that was opened closed by the hold that there is of its webhook.
pub(super) fn close_if_held(
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    id: &WebhookId,
    lane: LaneNo,
) -> Result<(), Fault> {
    let hold = find(conn, &HoldKey::Webhook(id.clone()))?;
    lanes.get(lane)?.hold = match hold {
        None => None,
        Some(hold) => {
            conn.prepare_cached("UPDATE holds SET lane = ?2 WHERE id = ?1")?
                .execute((hold.no, lane))?;
            Some((hold.no, hold.gathering || hold.lifted.is_none()))
        }
    };
    Ok(())
}

/// The hold of a subject, lifted or not.
pub(super) fn of_subject(
    conn: &Connection,
    scope: &Scope,
    subject: Option<&Subject>,
) -> Result<Option<HoldNo>, Fault> {
    let Some(subject) = subject else { return Ok(None) };
    Ok(conn
        .prepare_cached("SELECT id FROM holds WHERE kind = 'subject' AND name = ?1 AND scope = ?2")?
        .query_row((subject.as_str(), scope.as_str()), |row| row.get(0))
        .optional()?)
}

/// Whether something of a hold is still to be moved.
pub(super) fn is_busy(conn: &Connection) -> Result<bool, Fault> {
    Ok(conn
        .prepare_cached("SELECT 1 FROM holds WHERE busy LIMIT 1")?
        .exists([])?)
}

/// Moves some of the oldest hold of which something is still to be moved.
pub(super) fn move_held(conn: &Connection, lanes: &mut Lanes<'_>, most: usize) -> Result<(), Fault> {
    let oldest = conn
        .prepare_cached("SELECT id FROM holds WHERE busy ORDER BY id LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if let Some(no) = oldest {
        move_of(conn, lanes, no, most)?;
    }
    Ok(())
}

/// Moves at most so many of a hold: first what waits in its lane is kept back, then, once it is lifted, what it keeps back
/// is released. With its last delivery a lifted hold is gone. Whether something is still to be moved.
fn move_of(conn: &Connection, lanes: &mut Lanes<'_>, no: HoldNo, most: usize) -> Result<bool, Fault> {
    let mut hold = conn
        .prepare_cached(concat!(columns!(), " WHERE id = ?1"))?
        .query_one([no], |row| Ok(Hold::read(row)))??;
    let gathered = gather(conn, lanes, &mut hold, most)?;
    if !hold.gathering
        && let Some(lifted) = hold.lifted
    {
        let is_gone = let_go(conn, lanes, &hold, lifted, most - gathered)?;
        return Ok(!is_gone);
    }
    conn.prepare_cached("UPDATE holds SET gathering = ?2, busy = ?2 WHERE id = ?1")?
        .execute((no, hold.gathering))?;
    Ok(hold.gathering)
}

/// Keeps back what waits in a hold's lane. How many were moved.
fn gather(conn: &Connection, lanes: &mut Lanes<'_>, hold: &mut Hold, most: usize) -> Result<usize, Fault> {
    if !hold.gathering {
        return Ok(0);
    }
    let mut gathered = 0;
    if let Some(lane) = hold.lane {
        gathered = conn
            .prepare_cached(
                "UPDATE deliveries SET state = 'held', held_by = ?2, awaits = NULL WHERE id IN
                    (SELECT id FROM deliveries WHERE lane = ?1 AND state = 'pending' ORDER BY rank, id LIMIT ?3)",
            )?
            .execute((lane, hold.no, limit(most)))?;
        hold.gathering = gathered == most;
        lanes.get(lane)?.hold = Some((hold.no, hold.gathering || hold.lifted.is_none()));
    }
    Ok(gathered)
}

/// Releases what a hold has kept back. Whether the hold is gone.
fn let_go(
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    hold: &Hold,
    lifted: Lifted,
    most: usize,
) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached(
        "SELECT deliveries.id, lane, created_at, events.scope, subject FROM deliveries JOIN events ON events.id = event
         WHERE held_by = ?1 AND state = 'held' ORDER BY deliveries.id LIMIT ?2",
    )?;
    let moved = select.query_and_then((hold.no, limit(most)), Kept::read)?;
    let moved: Vec<Kept> = moved.collect::<Result<_, Fault>>()?;
    for kept in &moved {
        let_one_go(conn, lanes, hold, lifted, kept)?;
    }
    if moved.len() == most {
        conn.prepare_cached("UPDATE holds SET gathering = 0 WHERE id = ?1")?
            .execute([hold.no])?;
        return Ok(false);
    }
    conn.prepare_cached("DELETE FROM holds WHERE id = ?1")?
        .execute([hold.no])?;
    if let Some(lane) = hold.lane {
        lanes.get(lane)?.hold = None;
    }
    Ok(true)
}

/// A delivery that is kept back.
struct Kept {
    id: i64,
    lane: LaneNo,
    created_at: DateTime<Utc>,
    scope: Scope,
    subject: Option<Subject>,
}

fn let_one_go(
    conn: &Connection,
    lanes: &mut Lanes<'_>,
    hold: &Hold,
    lifted: Lifted,
    kept: &Kept,
) -> Result<(), Fault> {
    if kept.id <= lifted.last && !lifted.release.includes(kept.created_at) {
        let reason = DeadReason::Expired;
        let (ended_at, purgeable) = ending(State::Dead(reason), lanes.now()).unzip();
        conn.prepare_cached(
            "UPDATE deliveries SET state = 'dead', reason = ?2, held_by = NULL, ended_at = ?3, purgeable = ?4
             WHERE id = ?1",
        )?
        .execute((kept.id, reason.as_str(), ended_at, purgeable))?;
        return Ok(());
    }
    let of_lane = lanes.get(kept.lane)?.hold.map(|(no, _)| no);
    let of_subject = of_subject(conn, &kept.scope, kept.subject.as_ref())?;
    for other in [of_lane, of_subject].into_iter().flatten() {
        if other != hold.no && still_holds(conn, other, kept.id, Some(other) == of_lane)? {
            conn.prepare_cached("UPDATE deliveries SET held_by = ?2 WHERE id = ?1")?
                .execute((kept.id, other))?;
            return Ok(());
        }
    }
    let waits = lanes.get(kept.lane)?.waits_until(lifted.at);
    conn.prepare_cached(
        "UPDATE deliveries SET state = ?2, held_by = ?3, rank = ?4, due = ?5, awaits = NULL WHERE id = ?1",
    )?
    .execute((
        kept.id,
        state_words(waits.state).0,
        waits.held_by,
        waits.rank,
        waits.due,
    ))?;
    Ok(())
}

/// Whether a hold is not lifted and concerns a delivery: anything in the lane that it closes, what came after it of its
/// subject.
fn still_holds(conn: &Connection, no: HoldNo, delivery: i64, of_lane: bool) -> Result<bool, Fault> {
    Ok(conn
        .prepare_cached(
            "SELECT 1 FROM holds WHERE id = ?1 AND lifted_at IS NULL AND (?3 OR placed_after < ?2)",
        )?
        .exists((no, delivery, of_lane))?)
}

fn find(conn: &Connection, key: &HoldKey) -> Result<Option<Hold>, Fault> {
    let mut select = conn.prepare_cached(concat!(
        columns!(),
        " WHERE kind = ?1 AND scope = ?2 AND name = ?3"
    ))?;
    let mut rows = select.query(key_columns(key))?;
    rows.next()?.map(Hold::read).transpose()
}

fn key_columns(key: &HoldKey) -> (&'static str, &str, &str) {
    match key {
        HoldKey::Webhook(id) => ("webhook", "", id.as_str()),
        HoldKey::Subject { scope, subject } => ("subject", scope.as_str(), subject.as_str()),
    }
}

impl Hold {
    fn read(row: &Row<'_>) -> Result<Self, Fault> {
        let release = match (row.get(5)?, row.get(6)?) {
            (true, _) => Release::All,
            (false, Some(since)) => Release::Since(instant(since, "send_since")?),
            (false, None) => Release::Nothing,
        };
        let lifted = match (row.get(3)?, row.get(4)?) {
            (Some(at), Some(last)) => Some(Lifted { at, release, last }),
            _ => None,
        };
        Ok(Self {
            no: row.get(0)?,
            lane: row.get(1)?,
            gathering: row.get(2)?,
            lifted,
        })
    }
}

impl Kept {
    fn read(row: &Row<'_>) -> Result<Self, Fault> {
        Ok(Self {
            id: row.get(0)?,
            lane: row.get(1)?,
            created_at: instant(row.get(2)?, "created_at")?,
            scope: Scope::from(row.get::<_, String>(3)?),
            subject: row.get::<_, Option<String>>(4)?.map(Subject::from),
        })
    }
}
