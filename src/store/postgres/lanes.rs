//! The lanes that a call touches, and their places in the queue.
//!
//! Whoever changes what waits in a lane, or is in flight of it, has its row locked until the commit. Calls that know which
//! lanes they need lock them in the order of their ids, all at once; a claim takes those that nobody has locked. So nobody
//! waits for two.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::fault::Fault;
use super::lane_rows::{self, Changes, LaneNo, RuleColumns, lane_columns};
use super::transaction::{Columns, Transaction};
use crate::delivery::{LaneKey, LaneRules, Order, Runs, State};
use crate::id::DeliveryId;
use crate::store::waiting::{AWAITS_RUN, Front, Place, Waiting, Waits, number_column};

pub(super) const LOCK_BY_KEY: &str = concat!(
    "SELECT ",
    lane_columns!(),
    " FROM ringback.lanes l WHERE l.key = ANY($1::text[]) ORDER BY l.id FOR UPDATE"
);

pub(super) const LOCK_BY_ID: &str = concat!(
    "SELECT ",
    lane_columns!(),
    " FROM ringback.lanes l WHERE l.id = ANY($1::bigint[]) ORDER BY l.id FOR UPDATE"
);

pub(super) const LOCK_BY_DELIVERY: &str = concat!(
    "SELECT ",
    lane_columns!(),
    " FROM ringback.lanes l WHERE l.id IN (SELECT lane FROM ringback.deliveries WHERE id = ANY($1::bigint[]))
      ORDER BY l.id FOR UPDATE"
);

pub(super) const LOCK_LATER: &str = concat!(
    "SELECT ",
    lane_columns!(),
    " FROM ringback.lanes l WHERE l.opens_at IS NOT NULL ORDER BY l.id FOR UPDATE"
);

/// Sorts what waits anew, after the order of a lane changed or it came to have no runs any more.
const RERANK: &str = "
    UPDATE ringback.deliveries SET rank = CASE WHEN $2 THEN 0 ELSE due END, awaits = NULL
    WHERE lane = $1 AND state = 'pending'";

const DOOM: &str = "UPDATE ringback.lanes SET key = NULL WHERE id = $1";

/// What is foremost of what waits in each of some lanes. `EXISTS` might be planned as a pass over what waits in all of them.
macro_rules! fronts_of {
    ($lanes:literal) => {
        concat!(
            "SELECT l.id, f.id AS first, f.rank, f.due,
                (SELECT TRUE FROM ringback.deliveries d
                    WHERE d.lane = l.id AND d.state = 'pending' AND d.rank = 9223372036854775807
                    LIMIT 1) IS NOT NULL AS anything_awaits
             FROM ",
            $lanes,
            " LEFT JOIN LATERAL (SELECT d.id, d.rank, d.due FROM ringback.deliveries d
                WHERE d.lane = l.id AND d.state = 'pending' ORDER BY d.rank, d.id LIMIT 1) f ON TRUE"
        )
    };
}

pub(super) const FRONTS: &str = fronts_of!("unnest($1::bigint[]) AS l (id)");

pub(super) const FRONTS_BY_KEY: &str =
    fronts_of!("(SELECT id FROM ringback.lanes WHERE key = ANY($1::text[])) AS l");

pub(super) const FRONTS_BY_DELIVERY: &str =
    fronts_of!("(SELECT DISTINCT lane AS id FROM ringback.deliveries WHERE id = ANY($1::bigint[])) AS l");

const NEXT_OF_RUN: &str = "
    SELECT id FROM ringback.deliveries
    WHERE lane = $1 AND state = 'pending' AND rank = $2 AND id > $3 AND id <= $4 AND awaits <= $5
    ORDER BY id LIMIT 1";

/// The lanes that one call has to do with. They are locked and read once, changed here, and written back together, so
/// that a batch changes a lane's row once.
pub(super) struct Lanes {
    pub(super) now: DateTime<Utc>,
    touched: BTreeMap<LaneNo, Touched>,
    by_key: HashMap<String, LaneNo>,
    /// Those of which anything has changed since they were last put in their places.
    unplaced: HashSet<LaneNo>,
}

/// A lane as it was read, and as it has become.
struct Touched {
    stored: Waiting,
    waiting: Waiting,
    /// What waits in it, as far as that is known: as it was read, and with what this call has added.
    front: Option<Foremost>,
}

/// What is foremost in a lane.
#[derive(Debug, Clone, Copy)]
struct Foremost {
    /// Of what is pending, the rank, the id and the due time.
    first: Option<(i64, DeliveryId, i64)>,
    /// Whether any awaits a run.
    anything_awaits: bool,
}

impl Lanes {
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        Self {
            now,
            touched: BTreeMap::new(),
            by_key: HashMap::new(),
            unplaced: HashSet::new(),
        }
    }

    /// Takes note of lanes that were locked. What is known of one already is newer than what its row says.
    pub(super) fn add(&mut self, rows: &[Row]) -> Result<Vec<LaneNo>, Fault> {
        let mut added = Vec::with_capacity(rows.len());
        for row in rows {
            let no = row.read("id")?;
            added.push(no);
            if self.touched.contains_key(&no) {
                continue;
            }
            if let Some(key) = row.read::<Option<String>>("key")? {
                self.by_key.insert(key, no);
            }
            let waiting = lane_rows::read(row)?;
            let stored = waiting.clone();
            let front = None;
            self.touched.insert(
                no,
                Touched {
                    stored,
                    waiting,
                    front,
                },
            );
        }
        Ok(added)
    }

    /// The lane of that name, if it is one of those.
    pub(super) fn find(&self, key: &LaneKey) -> Option<LaneNo> {
        self.by_key.get(key.as_str()).copied()
    }

    pub(super) fn contains(&self, no: LaneNo) -> bool {
        self.touched.contains_key(&no)
    }

    /// To look at.
    pub(super) fn look(&self, no: LaneNo) -> Result<&Waiting, Fault> {
        let touched = self.touched.get(&no).ok_or(Fault::Unreadable("lane"))?;
        Ok(&touched.waiting)
    }

    /// To change.
    pub(super) fn get(&mut self, no: LaneNo) -> Result<&mut Waiting, Fault> {
        let touched = self.touched.get_mut(&no).ok_or(Fault::Unreadable("lane"))?;
        self.unplaced.insert(no);
        Ok(&mut touched.waiting)
    }

    pub(super) fn numbers(&self) -> Vec<LaneNo> {
        self.touched.keys().copied().collect()
    }

    /// Lets a lane go by these rules.
    pub(super) async fn change(
        &mut self,
        tx: &mut Transaction<'_>,
        no: LaneNo,
        rules: LaneRules,
    ) -> Result<(), Fault> {
        let now = self.now;
        let waiting = self.get(no)?;
        let (lane, had_runs) = (waiting.lane, waiting.runs.is_some());
        if rules.enabled && !lane.enabled {
            waiting.failing_since = None;
        }
        match (rules.flusher, waiting.runs.as_mut()) {
            (Some(flusher), Some(runs)) => runs.change(flusher, now),
            (flusher, _) => waiting.runs = flusher.map(Runs::of),
        }
        waiting.lane.follow(&rules);
        let is_strict = rules.order == Order::Strict;
        if lane.order != rules.order || (had_runs && rules.flusher.is_none()) {
            tx.query(RERANK, &[&no, &is_strict]).await?;
            self.know(no, None);
        }
        if (lane.limits, lane.order, lane.enabled) != (rules.limits, rules.order, rules.enabled) {
            let rules = RuleColumns::of(&rules);
            tx.run([rules.change(&no)]).await?;
        }
        Ok(())
    }

    /// Takes the name from a lane and marks what waits in it as never to be sent.
    pub(super) async fn doom(&mut self, tx: &mut Transaction<'_>, key: &LaneKey) -> Result<(), Fault> {
        if let Some(no) = self.by_key.remove(key.as_str()) {
            tx.query(DOOM, &[&no]).await?;
            let waiting = self.get(no)?;
            (waiting.doomed, waiting.hold) = (true, None);
        }
        Ok(())
    }

    /// Up to `max` of these lanes whose turn it is, in order.
    pub(super) fn ready(&self, max: usize) -> Vec<LaneNo> {
        let ready = self
            .touched
            .iter()
            .filter(|(_, touched)| touched.waiting.place == Place::Ready);
        let mut ready: Vec<_> = ready.map(|(no, touched)| (touched.waiting.turn, *no)).collect();
        ready.sort_unstable();
        ready.into_iter().take(max).map(|(_, no)| no).collect()
    }

    /// Takes note of what waits in lanes, which was read with them locked.
    pub(super) fn note_fronts(&mut self, rows: &[Row]) -> Result<(), Fault> {
        for row in rows {
            self.know(row.read("id")?, Some(Foremost::read(row)?));
        }
        Ok(())
    }

    /// Takes note of what is first in a lane without runs, or that nothing is.
    pub(super) fn note_first(&mut self, no: LaneNo, first: Option<(i64, DeliveryId, i64)>) {
        let anything_awaits = false;
        self.know(
            no,
            Some(Foremost {
                first,
                anything_awaits,
            }),
        );
    }

    fn know(&mut self, no: LaneNo, front: Option<Foremost>) {
        if let Some(touched) = self.touched.get_mut(&no) {
            touched.front = front;
        }
    }

    /// A delivery is to wait in a lane.
    pub(super) fn join(&mut self, no: LaneNo, id: DeliveryId, waits: Waits) {
        let front = self
            .touched
            .get_mut(&no)
            .and_then(|touched| touched.front.as_mut());
        if let (Some(front), State::Pending) = (front, waits.state) {
            front.anything_awaits |= waits.rank == AWAITS_RUN;
            if front
                .first
                .is_none_or(|(rank, first, _)| (waits.rank, id) < (rank, first))
            {
                front.first = Some((waits.rank, id, waits.due));
            }
        }
    }

    /// Puts lanes that were changed where they belong in the queue, as far as that follows from what is known. Of those with
    /// runs it does not, and they are to be asked once all is written.
    pub(super) fn place_known(&mut self) {
        let now = self.now;
        let touched = &mut self.touched;
        self.unplaced.retain(|no| {
            let Some(touched) = touched.get_mut(no) else {
                return true;
            };
            let front = touched.front.filter(|_| touched.waiting.runs.is_none());
            if let Some(front) = front {
                touched.waiting.put(front.with_window(false), now);
            }
            front.is_none()
        });
    }

    /// Puts each lane that was changed where it belongs in the queue.
    pub(super) async fn place(&mut self, tx: &mut Transaction<'_>) -> Result<(), Fault> {
        let numbers = self.unplaced();
        if numbers.is_empty() {
            return Ok(());
        }
        let rows = tx.query(FRONTS, &[&numbers]).await?;
        self.place_by(tx, &rows).await
    }

    /// Those that are still to be put where they belong.
    pub(super) fn unplaced(&self) -> Vec<LaneNo> {
        self.unplaced.iter().copied().collect()
    }

    /// Puts lanes where they belong by rows of [`FRONTS`], read when all was written.
    pub(super) async fn place_by(&mut self, tx: &mut Transaction<'_>, fronts: &[Row]) -> Result<(), Fault> {
        for row in fronts {
            let no = row.read("id")?;
            let window_has_any = self.next_of_run(tx, no).await?.is_some();
            let front = Foremost::read(row)?.with_window(window_has_any);
            let now = self.now;
            self.get(no)?.put(front, now);
            self.unplaced.remove(&no);
        }
        Ok(())
    }

    /// What the run under way takes next.
    async fn next_of_run(&self, tx: &mut Transaction<'_>, no: LaneNo) -> Result<Option<i64>, Fault> {
        let Some(window) = self.look(no)?.runs.as_ref().and_then(Runs::window) else {
            return Ok(None);
        };
        let after = window.after.map_or(i64::MIN, |after| after.0);
        let number = number_column(window.number);
        let rows = tx
            .query(
                NEXT_OF_RUN,
                &[&no, &AWAITS_RUN, &after, &window.newest.0, &number],
            )
            .await?;
        rows.first().map(|row| row.read("id")).transpose()
    }

    /// What a run of the lane sends next. Starts one first if it is time. `newest` is the latest delivery there is.
    pub(super) async fn take_for_run(
        &mut self,
        tx: &mut Transaction<'_>,
        no: LaneNo,
        newest: DeliveryId,
    ) -> Result<Option<i64>, Fault> {
        let now = self.now;
        let Some(runs) = &mut self.get(no)?.runs else {
            return Ok(None);
        };
        if runs.is_due(now) {
            runs.start(newest, now);
        }
        let next = self.next_of_run(tx, no).await?;
        if let (Some(next), Some(runs)) = (next, &mut self.get(no)?.runs) {
            runs.take(DeliveryId(next));
        }
        Ok(next)
    }

    /// Puts them in their places, writes them back, and commits. Whether any has come to have work.
    pub(super) async fn write(mut self, mut tx: Transaction<'_>) -> Result<bool, Fault> {
        self.place(&mut tx).await?;
        let (changes, sooner) = self.changes()?;
        tx.commit_with([changes.write()]).await?;
        Ok(sooner)
    }

    /// What is to be written back, and whether any lane has come to have work sooner than before.
    pub(super) fn changes(&self) -> Result<(Changes, bool), Fault> {
        let mut changes = Changes::default();
        let mut sooner = false;
        for (no, Touched { stored, waiting, .. }) in &self.touched {
            sooner |= waiting.place.is_sooner_than(stored.place);
            if waiting != stored {
                changes.push(*no, waiting)?;
            }
        }
        Ok((changes, sooner))
    }
}

impl Foremost {
    fn read(row: &Row) -> Result<Self, Fault> {
        let first = match row.read::<Option<i64>>("first")? {
            Some(id) => Some((row.read("rank")?, DeliveryId(id), row.read("due")?)),
            None => None,
        };
        Ok(Self {
            first,
            anything_awaits: row.read("anything_awaits")?,
        })
    }

    fn with_window(self, window_has_any: bool) -> Front {
        Front {
            first: self.first.map(|(rank, _, due)| (rank, due)),
            anything_awaits: self.anything_awaits,
            window_has_any,
        }
    }
}
