//! The lanes that a call touches, and their places in the queue.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::codec::{ceil, floor, limit, nanos, optional_instant, unsigned};
use super::fault::Fault;
use crate::delivery::{Lane, LaneKey, LaneRules, Limits, Order, Rate, Runs};
use crate::id::{DeliveryId, Scope, WebhookId};
use crate::store::waiting::{
    AWAITS_RUN, Front, HoldNo, Place, Waiting, number_column, pace_column, pace_read,
};

/// A lane's row id. They rise in the order in which lanes were opened.
pub(super) type LaneNo = i64;

/// The lanes that one call has to do with. They are read once, changed here, and written back by
/// [`requeue`](Lanes::requeue), so that a batch changes a lane's row once.
pub(super) struct Lanes<'c> {
    conn: &'c Connection,
    now: DateTime<Utc>,
    touched: BTreeMap<LaneNo, Touched>,
    by_key: HashMap<LaneKey, Option<LaneNo>>,
    scopes: HashMap<WebhookId, Option<Scope>>,
    /// Reads a lane; prepared when the first is read.
    select: Option<CachedStatement<'c>>,
}

/// A lane as it was read, and as it has become.
struct Touched {
    stored: Waiting,
    waiting: Waiting,
}

impl Touched {
    fn new(waiting: Waiting) -> Self {
        Self {
            stored: waiting.clone(),
            waiting,
        }
    }
}

/// What [`read`] reads.
macro_rules! columns {
    () => {
        "SELECT id, key IS NULL, max_in_flight, rate_interval_ns, rate_burst, strict, enabled, in_flight,
            whole_at, turn, opens_at, ready, runs, failing_since, hold, closed, pace"
    };
}

impl<'c> Lanes<'c> {
    pub(super) fn new(conn: &'c Connection, now: DateTime<Utc>) -> Self {
        Self {
            conn,
            now,
            touched: BTreeMap::new(),
            by_key: HashMap::new(),
            scopes: HashMap::new(),
            select: None,
        }
    }

    /// The time of the call.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Where deliveries of that scope to that webhook wait, if it is a webhook of that scope.
    pub(super) fn of_webhook(
        &mut self,
        id: &WebhookId,
        is_test: bool,
        scope: &Scope,
    ) -> Result<Option<LaneNo>, Fault> {
        let known = match self.scopes.get(id) {
            Some(known) => known,
            None => {
                let read: Option<String> = self
                    .conn
                    .prepare_cached("SELECT scope FROM webhooks WHERE id = ?1")?
                    .query_row([id.as_str()], |row| row.get(0))
                    .optional()?;
                self.scopes.entry(id.clone()).or_insert(read.map(Scope::from))
            }
        };
        if known.as_ref() != Some(scope) {
            return Ok(None);
        }
        match is_test {
            false => self.find(LaneKey::webhook(id)),
            true => self.open(LaneKey::test(id), LaneRules::TEST).map(Some),
        }
    }

    pub(super) fn find(&mut self, key: LaneKey) -> Result<Option<LaneNo>, Fault> {
        if let Some(no) = self.by_key.get(&key) {
            return Ok(*no);
        }
        let no = self
            .conn
            .prepare_cached("SELECT id FROM lanes WHERE key = ?1")?
            .query_row([key.as_str()], |row| row.get(0))
            .optional()?;
        self.by_key.insert(key, no);
        Ok(no)
    }

    /// The lane of that name, made if need be, with these rules.
    pub(super) fn open(&mut self, key: LaneKey, rules: LaneRules) -> Result<LaneNo, Fault> {
        let LaneRules {
            limits,
            order,
            enabled,
            flusher,
        } = rules;
        let Some(no) = self.find(key.clone())? else {
            let no = self.insert(&key, limits, order, enabled)?;
            self.by_key.insert(key, Some(no));
            self.get(no)?.runs = flusher.map(Runs::of);
            return Ok(no);
        };
        let now = self.now;
        let waiting = self.get(no)?;
        let (lane, had_runs) = (waiting.lane, waiting.runs.is_some());
        if enabled && !lane.enabled {
            waiting.failing_since = None;
        }
        match (flusher, waiting.runs.as_mut()) {
            (Some(flusher), Some(runs)) => runs.change(flusher, now),
            (flusher, _) => waiting.runs = flusher.map(Runs::of),
        }
        waiting.lane.follow(&rules);
        if lane.order != order || (had_runs && flusher.is_none()) {
            self.rerank(no, order)?;
        }
        if (lane.limits, lane.order, lane.enabled) == (limits, order, enabled) {
            return Ok(no);
        }
        let (interval, burst) = rate_columns(limits);
        self.conn
            .prepare_cached(
                "UPDATE lanes SET max_in_flight = ?2, rate_interval_ns = ?3, rate_burst = ?4, strict = ?5,
                    enabled = ?6 WHERE id = ?1",
            )?
            .execute((
                no,
                limits.in_flight.get(),
                interval,
                burst,
                order == Order::Strict,
                enabled,
            ))?;
        Ok(no)
    }

    fn insert(&self, key: &LaneKey, limits: Limits, order: Order, enabled: bool) -> Result<LaneNo, Fault> {
        let (interval, burst) = rate_columns(limits);
        Ok(self
            .conn
            .prepare_cached(
                "INSERT INTO lanes (key, max_in_flight, rate_interval_ns, rate_burst, strict, enabled)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .insert((
                key.as_str(),
                limits.in_flight.get(),
                interval,
                burst,
                order == Order::Strict,
                enabled,
            ))?)
    }

    /// Sorts what waits anew, after the order of the lane changed or it came to have no runs any more.
    fn rerank(&self, no: LaneNo, order: Order) -> Result<(), Fault> {
        self.conn
            .prepare_cached(
                "UPDATE deliveries SET rank = CASE WHEN ?2 THEN 0 ELSE due END, awaits = NULL
                 WHERE lane = ?1 AND state = 'pending'",
            )?
            .execute((no, order == Order::Strict))?;
        Ok(())
    }

    /// Takes the name from a lane and marks what waits in it as never to be sent.
    pub(super) fn doom(&mut self, key: LaneKey) -> Result<(), Fault> {
        if let Some(no) = self.find(key.clone())? {
            self.conn
                .prepare_cached("UPDATE lanes SET key = NULL WHERE id = ?1")?
                .execute([no])?;
            let waiting = self.get(no)?;
            (waiting.doomed, waiting.hold) = (true, None);
            self.by_key.insert(key, None);
        }
        Ok(())
    }

    pub(super) fn get(&mut self, no: LaneNo) -> Result<&mut Waiting, Fault> {
        let touched = match self.touched.entry(no) {
            Entry::Occupied(touched) => touched.into_mut(),
            Entry::Vacant(place) => {
                let select = match &mut self.select {
                    Some(select) => select,
                    none => none.insert(
                        self.conn
                            .prepare_cached(concat!(columns!(), " FROM lanes WHERE id = ?1"))?,
                    ),
                };
                let mut rows = select.query([no])?;
                let row = rows.next()?.ok_or(Fault::Unreadable("lane"))?;
                place.insert(Touched::new(read(row)?))
            }
        };
        Ok(&mut touched.waiting)
    }

    /// Asks all lanes that wait for an instant when they open. After the clock was set back, theirs may have been
    /// reckoned from a time that has not come.
    pub(super) fn ask_anew(&mut self) -> Result<(), Fault> {
        let waiting: Vec<LaneNo> = self
            .conn
            .prepare_cached("SELECT id FROM lanes WHERE opens_at IS NOT NULL")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for no in waiting {
            match self.get(no) {
                Ok(_) | Err(Fault::Unreadable(_)) => {} // what cannot be read holds up no claim
                Err(fault) => return Err(fault),
            }
        }
        self.requeue()?;
        Ok(())
    }

    /// Lets lanes wait for their turn that have come to have something to give.
    pub(super) fn open_due(&mut self) -> Result<(), Fault> {
        self.conn
            .prepare_cached("UPDATE lanes SET ready = 1, opens_at = NULL WHERE opens_at <= ?1")?
            .execute([floor(self.now)])?;
        Ok(())
    }

    /// Up to `max` lanes whose turn it is, in order.
    pub(super) fn ready(&mut self, max: usize) -> Result<Vec<LaneNo>, Fault> {
        let mut select = self.conn.prepare_cached(concat!(
            columns!(),
            " FROM lanes WHERE ready ORDER BY turn, id LIMIT ?1"
        ))?;
        let mut rows = select.query([limit(max)])?;
        let mut ready = Vec::new();
        while let Some(row) = rows.next()? {
            let no = row.get(0)?;
            self.touched.insert(no, Touched::new(read(row)?));
            ready.push(no);
        }
        Ok(ready)
    }

    /// Puts each lane that was touched where it belongs in the queue, and writes it back. Whether any has come to
    /// have work sooner than before.
    pub(super) fn requeue(&mut self) -> Result<bool, Fault> {
        let mut update = self.conn.prepare_cached(
            "UPDATE lanes SET in_flight = ?2, whole_at = ?3, turn = ?4, opens_at = ?5, ready = ?6,
                runs = ?7, failing_since = ?8, hold = ?9, closed = ?10, pace = ?11 WHERE id = ?1",
        )?;
        let mut head = self.conn.prepare_cached(
            "SELECT rank, due FROM deliveries WHERE lane = ?1 AND state = 'pending' ORDER BY rank, id LIMIT 1",
        )?;
        let mut sooner = false;
        for (no, Touched { stored, mut waiting }) in std::mem::take(&mut self.touched) {
            let front = self.front(&mut head, no, &waiting)?;
            waiting.put(front, self.now);
            sooner |= waiting.place.is_sooner_than(stored.place);
            if waiting != stored {
                update.execute((
                    no,
                    waiting.in_flight,
                    waiting.lane.whole_at.map(ceil),
                    waiting.turn,
                    waiting.place.opens_at(),
                    waiting.place == Place::Ready,
                    waiting.runs.as_ref().map(runs_text).transpose()?,
                    waiting.failing_since.map(floor),
                    waiting.hold.map(|(no, _)| no),
                    waiting.closed_by().is_some(),
                    pace_column(&waiting.lane.pace).map_err(|_| Fault::Unreadable("pace"))?,
                ))?;
            }
        }
        Ok(sooner)
    }

    /// What stands at the front of a lane, as far as it matters to where the lane stands. `head` reads the rank and the due
    /// time of what is first in it.
    fn front(&self, head: &mut CachedStatement<'_>, no: LaneNo, waiting: &Waiting) -> Result<Front, Fault> {
        let window_has_any = self.next_of_run(no, waiting)?.is_some();
        let matters = waiting.doomed || waiting.has_room();
        let first = match matters {
            true => head
                .query_row([no], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?,
            false => None,
        };
        Ok(Front {
            first,
            anything_awaits: window_has_any || (waiting.runs.is_some() && self.anything_awaits(no)?),
            window_has_any,
        })
    }

    fn anything_awaits(&self, no: LaneNo) -> Result<bool, Fault> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT 1 FROM deliveries WHERE lane = ?1 AND state = 'pending' AND rank = ?2 LIMIT 1",
            )?
            .exists((no, AWAITS_RUN))?)
    }

    /// What the run under way takes next.
    fn next_of_run(&self, no: LaneNo, waiting: &Waiting) -> Result<Option<i64>, Fault> {
        let Some(window) = waiting.runs.as_ref().and_then(Runs::window) else {
            return Ok(None);
        };
        let after = window.after.map_or(i64::MIN, |after| after.0);
        Ok(self
            .conn
            .prepare_cached(
                "SELECT id FROM deliveries WHERE lane = ?1 AND state = 'pending' AND rank = ?2 AND id > ?3
                    AND id <= ?4 AND awaits <= ?5 ORDER BY id LIMIT 1",
            )?
            .query_row(
                (
                    no,
                    AWAITS_RUN,
                    after,
                    window.newest.0,
                    number_column(window.number),
                ),
                |row| row.get(0),
            )
            .optional()?)
    }

    /// What a run of the lane sends next. Starts one first if it is time. `newest` is the latest delivery there is.
    pub(super) fn take_for_run(&mut self, no: LaneNo, newest: DeliveryId) -> Result<Option<i64>, Fault> {
        let now = self.now;
        let waiting = self.get(no)?;
        let Some(runs) = &mut waiting.runs else {
            return Ok(None);
        };
        if runs.is_due(now) {
            runs.start(newest, now);
        }
        let waiting = waiting.clone();
        let next = self.next_of_run(no, &waiting)?;
        if let (Some(next), Some(runs)) = (next, &mut self.get(no)?.runs) {
            runs.take(DeliveryId(next));
        }
        Ok(next)
    }
}

/// When a lane has something to give.
pub(super) fn next_ready(conn: &Connection, now: i64) -> Result<Option<i64>, Fault> {
    let ready = conn
        .prepare_cached("SELECT 1 FROM lanes WHERE ready LIMIT 1")?
        .exists([])?;
    if ready {
        return Ok(Some(now));
    }
    Ok(conn
        .prepare_cached("SELECT opens_at FROM lanes WHERE opens_at IS NOT NULL ORDER BY opens_at LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?)
}

fn read(row: &Row<'_>) -> Result<Waiting, Fault> {
    let rate = match (row.get::<_, Option<i64>>(3)?, row.get::<_, Option<u32>>(4)?) {
        (Some(interval), Some(burst)) => Some(Rate {
            interval: Duration::from_nanos(unsigned(interval, "rate_interval_ns")?),
            burst: NonZeroU32::new(burst).ok_or(Fault::Unreadable("rate_burst"))?,
        }),
        _ => None,
    };
    let max_in_flight = NonZeroU32::new(row.get(2)?).ok_or(Fault::Unreadable("max_in_flight"))?;
    let lane = Lane {
        limits: Limits {
            in_flight: max_in_flight,
            rate,
        },
        order: if row.get(5)? { Order::Strict } else { Order::Any },
        enabled: row.get(6)?,
        whole_at: optional_instant(row.get(8)?, "whole_at")?,
        pace: pace_read(row.get::<_, Option<String>>(16)?.as_deref())
            .map_err(|_| Fault::Unreadable("pace"))?,
    };
    Ok(Waiting {
        lane,
        doomed: row.get(1)?,
        in_flight: row.get(7)?,
        failing_since: optional_instant(row.get(13)?, "failing_since")?,
        turn: row.get(9)?,
        place: match (row.get(11)?, row.get(10)?) {
            (true, _) => Place::Ready,
            (false, Some(at)) => Place::Later(at),
            (false, None) => Place::Nowhere,
        },
        runs: row
            .get::<_, Option<String>>(12)?
            .as_deref()
            .map(read_runs)
            .transpose()?,
        hold: row.get::<_, Option<HoldNo>>(14)?.zip(row.get(15)?),
    })
}

fn runs_text(runs: &Runs) -> Result<String, Fault> {
    serde_json::to_string(runs).map_err(|_| Fault::Unreadable("runs"))
}

fn read_runs(text: &str) -> Result<Runs, Fault> {
    serde_json::from_str(text).map_err(|_| Fault::Unreadable("runs"))
}

fn rate_columns(limits: Limits) -> (Option<i64>, Option<u32>) {
    let interval = limits.rate.map(|rate| nanos(rate.interval));
    (interval, limits.rate.map(|rate| rate.burst.get()))
}
