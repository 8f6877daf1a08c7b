//! Holds: what they keep back, and how it is released.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::book::Book;
use super::lanes::LaneNo;
use super::row::Row;
use crate::delivery::{DeadReason, LaneKey, State};
use crate::id::DeliveryId;
use crate::store::holds::MOVED_AT_ONCE;
use crate::store::{HoldKey, Release};

/// A hold's number. They rise in the order in which holds were placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HoldNo(u64);

#[derive(Default)]
pub(super) struct Holds {
    by_key: HashMap<HoldKey, HoldNo>,
    holds: BTreeMap<HoldNo, Hold>,
    /// Those of which something is still to be moved.
    busy: BTreeSet<HoldNo>,
    placed: u64,
}

struct Hold {
    key: HoldKey,
    /// The latest delivery when it was placed: what a subject's hold concerns comes after it.
    placed_after: DeliveryId,
    /// The lane that a webhook's hold closes.
    lane: Option<LaneNo>,
    /// Whether what waits in that lane is still to be kept back.
    gathering: bool,
    lifted: Option<Lifted>,
    held: BTreeSet<DeliveryId>,
}

#[derive(Clone, Copy)]
struct Lifted {
    at: DateTime<Utc>,
    release: Release,
    /// The latest delivery when it was lifted. Later ones only queue up behind, and are sent whatever the release.
    last: DeliveryId,
}

impl Hold {
    fn is_busy(&self) -> bool {
        self.gathering || self.lifted.is_some()
    }

    /// Whether it keeps back what goes back to wait in its lane: as long as it is not lifted, and while there is something
    /// left there from before it was.
    fn closes_lane(&self) -> bool {
        self.gathering || self.lifted.is_none()
    }
}

impl Holds {
    fn find(&self, key: &HoldKey) -> Option<HoldNo> {
        self.by_key.get(key).copied()
    }

    /// The hold of that webhook, and whether it closes its lane.
    fn of_lane(&mut self, key: HoldKey, lane: LaneNo) -> Option<(HoldNo, bool)> {
        let no = self.find(&key)?;
        let hold = self.holds.get_mut(&no)?;
        hold.lane = Some(lane);
        Some((no, hold.closes_lane()))
    }

    pub(super) fn keep(&mut self, no: HoldNo, id: DeliveryId) {
        if let Some(hold) = self.holds.get_mut(&no) {
            hold.held.insert(id);
        }
    }

    fn note_busy(&mut self, no: HoldNo) {
        match self.holds.get(&no) {
            Some(hold) if hold.is_busy() => self.busy.insert(no),
            _ => self.busy.remove(&no),
        };
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }
}

impl Book {
    pub(super) fn hold(&mut self, key: HoldKey, now: DateTime<Utc>) -> bool {
        let placed_after = DeliveryId(self.last_id);
        let lane = match &key {
            HoldKey::Webhook(webhook) => self.lanes.find(&LaneKey::webhook(webhook)),
            HoldKey::Subject { .. } => None,
        };
        let no = match self.holds.find(&key) {
            Some(no) => {
                let Some(hold) = self.holds.holds.get_mut(&no) else {
                    return false;
                };
                if hold.lifted.take().is_none() {
                    return false;
                }
                hold.gathering = lane.is_some();
                no
            }
            None => {
                self.holds.placed += 1;
                let no = HoldNo(self.holds.placed);
                let hold = Hold {
                    key: key.clone(),
                    placed_after,
                    lane,
                    gathering: lane.is_some(),
                    lifted: None,
                    held: BTreeSet::new(),
                };
                self.holds.holds.insert(no, hold);
                self.holds.by_key.insert(key, no);
                no
            }
        };
        if let Some(lane) = lane {
            self.lanes.get(lane).hold = Some((no, true));
            self.requeue(lane, now);
        }
        self.holds.note_busy(no);
        self.move_of(no, MOVED_AT_ONCE, now);
        true
    }

    pub(super) fn lift(&mut self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> bool {
        let last = DeliveryId(self.last_id);
        let Some(no) = self.holds.find(key) else {
            return false;
        };
        let Some(hold) = self.holds.holds.get_mut(&no).filter(|hold| hold.lifted.is_none()) else {
            return false;
        };
        hold.lifted = Some(Lifted {
            at: now,
            release,
            last,
        });
        self.holds.note_busy(no);
        self.open_lane_of(no, now);
        self.move_of(no, MOVED_AT_ONCE, now);
        true
    }

    /// A webhook is removed. What was kept back for it goes where the rest of its lane goes.
    pub(super) fn lift_removed(&mut self, key: &HoldKey, now: DateTime<Utc>) {
        let Some(no) = self.holds.find(key) else { return };
        if let Some(hold) = self.holds.holds.get_mut(&no) {
            (hold.lane, hold.gathering) = (None, false);
        }
        self.holds.note_busy(no);
        self.lift(key, Release::All, now);
    }

    /// Has a lane that was opened closed by the hold that there is of its webhook.
    pub(super) fn close_if_held(&mut self, key: HoldKey, lane: LaneNo) {
        self.lanes.get(lane).hold = self.holds.of_lane(key, lane);
    }

    /// The hold that keeps back a delivery of this lane that is enqueued now.
    pub(super) fn hold_over(&mut self, row: &Row, lane: LaneNo) -> Option<HoldNo> {
        let of_lane = self.lanes.get(lane).hold.map(|(no, _)| no);
        of_lane.or_else(|| self.hold_of_subject(row))
    }

    fn hold_of_subject(&self, row: &Row) -> Option<HoldNo> {
        if self.holds.by_key.is_empty() {
            return None;
        }
        let subject = row.event.subject()?.clone();
        let scope = row.event.scope().clone();
        self.holds.find(&HoldKey::Subject { scope, subject })
    }

    /// Moves some of the oldest hold of which something is still to be moved.
    pub(super) fn move_held(&mut self, most: usize, now: DateTime<Utc>) {
        if let Some(no) = self.holds.busy.first().copied() {
            self.move_of(no, most, now);
        }
    }

    /// Moves at most so many of a hold: first what waits in its lane is kept back, then, once it is lifted, what it keeps
    /// back is released. With its last delivery a lifted hold is gone.
    fn move_of(&mut self, no: HoldNo, most: usize, now: DateTime<Utc>) {
        let gathered = self.gather(no, most, now);
        self.let_go(no, most - gathered, now);
        self.holds.note_busy(no);
    }

    fn gather(&mut self, no: HoldNo, most: usize, now: DateTime<Utc>) -> usize {
        let Some(hold) = self.holds.holds.get(&no).filter(|hold| hold.gathering) else {
            return 0;
        };
        let mut gathered = 0;
        if let Some(lane) = hold.lane {
            while gathered < most
                && let Some(id) = self.lanes.get(lane).pop()
            {
                self.keep_back(id, no);
                gathered += 1;
            }
            self.requeue(lane, now);
        }
        if gathered < most {
            if let Some(hold) = self.holds.holds.get_mut(&no) {
                hold.gathering = false;
            }
            self.open_lane_of(no, now);
        }
        gathered
    }

    /// Opens the lane of a hold, unless it still closes it.
    fn open_lane_of(&mut self, no: HoldNo, now: DateTime<Utc>) {
        let Some(hold) = self.holds.holds.get(&no) else {
            return;
        };
        let closes = hold.closes_lane();
        if let Some(lane) = hold.lane {
            self.lanes.get(lane).hold = Some((no, closes));
            self.requeue(lane, now);
        }
    }

    fn let_go(&mut self, no: HoldNo, most: usize, now: DateTime<Utc>) {
        let Some(hold) = self.holds.holds.get_mut(&no).filter(|hold| !hold.gathering) else {
            return;
        };
        let Some(lifted) = hold.lifted else { return };
        let moved: Vec<_> = std::iter::from_fn(|| hold.held.pop_first()).take(most).collect();
        let is_empty = moved.len() < most;
        for id in moved {
            self.let_one_go(id, no, lifted, now);
        }
        if is_empty && let Some(hold) = self.holds.holds.remove(&no) {
            self.holds.by_key.remove(&hold.key);
            if let Some(lane) = hold.lane {
                self.lanes.get(lane).hold = None;
            }
        }
    }

    fn let_one_go(&mut self, id: DeliveryId, from: HoldNo, lifted: Lifted, now: DateTime<Utc>) {
        let Some(row) = self.rows.get(&id) else { return };
        if id <= lifted.last && !lifted.release.includes(row.created_at) {
            return self.end(id, DeadReason::Expired, now);
        }
        let of_lane = row
            .lane
            .and_then(|lane| self.lanes.get(lane).hold)
            .map(|(no, _)| no);
        let of_subject = self.hold_of_subject(row);
        let still_holds = |no: &HoldNo| {
            let hold = self.holds.holds.get(no);
            let concerns = |hold: &Hold| Some(*no) == of_lane || hold.placed_after < id;
            *no != from && hold.is_some_and(|hold| hold.lifted.is_none() && concerns(hold))
        };
        match [of_lane, of_subject].into_iter().flatten().find(still_holds) {
            Some(other) => self.holds.keep(other, id),
            None => self.wait(id, lifted.at, now),
        }
    }

    /// Keeps back a delivery that is pending.
    pub(super) fn keep_back(&mut self, id: DeliveryId, no: HoldNo) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.go(State::Held);
            row.awaits = None;
            self.holds.keep(no, id);
        }
    }
}
