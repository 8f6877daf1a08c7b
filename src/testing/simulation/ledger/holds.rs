//! What is kept back, and whether it should be.

use chrono::{DateTime, Utc};

use super::row::{Row, Standing};
use super::{Book, Readback};
use crate::delivery::{DeadReason, LaneKey, State};
use crate::id::DeliveryId;
use crate::store::{DeliveryRecord, HoldKey, Release};
use crate::testing::simulation::violation::Invariant;

/// A hold as it was placed last.
pub(super) struct Hold {
    /// What is later is held for sure; what is earlier may be, by a former hold that was never gone.
    placed_after: DeliveryId,
    is_lifted: bool,
}

/// A hold that was lifted.
pub(super) struct Lift {
    key: HoldKey,
    release: Release,
    /// The latest delivery by then.
    last: DeliveryId,
}

impl Book {
    pub(in super::super) fn hold_placed(&mut self, key: &HoldKey, placed: bool) {
        self.log(|| format!("hold {key:?}: {placed}"));
        if placed {
            let hold = Hold {
                placed_after: self.last_delivery,
                is_lifted: false,
            };
            self.holds.insert(key.clone(), hold);
        }
        self.note_holds_of_lanes();
    }

    pub(in super::super) fn hold_lifted(&mut self, key: &HoldKey, release: Release, lifted: bool) {
        self.log(|| format!("lift {key:?} ({release:?}): {lifted}"));
        if let Some(hold) = self.holds.get_mut(key).filter(|_| lifted) {
            hold.is_lifted = true;
            let last = self.last_delivery;
            self.lifts.push(Lift {
                key: key.clone(),
                release,
                last,
            });
        }
        self.note_holds_of_lanes();
    }

    /// A webhook that is removed is held no more.
    pub(super) fn held_no_more(&mut self, key: &HoldKey) {
        if self.holds.get(key).is_some_and(|hold| !hold.is_lifted) {
            self.hold_lifted(key, Release::All, true);
        }
    }

    fn note_holds_of_lanes(&mut self) {
        for (key, hold) in &self.holds {
            if let HoldKey::Webhook(id) = key
                && let Some(no) = self.lane_nos.get(&LaneKey::webhook(id))
            {
                self.lanes[*no].hold = Some(!hold.is_lifted);
            }
        }
    }

    /// What a call may keep back or let go: all that is held, and all that waits where a hold was placed.
    pub(in super::super) fn may_be_moved(&self) -> Vec<DeliveryId> {
        let is_movable = |row: &Row| match row.standing {
            Standing::Held => true,
            Standing::Pending => self.lanes[row.lane].hold.is_some(),
            Standing::Sending(_) | Standing::Final => false,
        };
        let rows = self.rows.iter().filter(|(_, row)| is_movable(row));
        rows.map(|(id, _)| *id).collect()
    }

    /// Notes what a call has kept back or let go, as the store says, and judges it.
    pub(in super::super) fn notice_moves(&mut self, found: &[Readback], now: DateTime<Utc>) {
        self.distrust(now);
        for found in found {
            self.notice_move(found, now);
        }
    }

    /// As [`notice_moves`](Self::notice_moves), of one.
    pub(super) fn notice_move(&mut self, found: &Readback, now: DateTime<Utc>) {
        let (Some(row), Some(record)) = (self.rows.get(&found.id), &found.record) else {
            return;
        };
        match (&row.standing, record.state) {
            (Standing::Pending, State::Held) => self.is_kept_back(found.id),
            (Standing::Held, State::Pending | State::Sending) => self.is_let_go(found.id, record, now),
            (Standing::Held, State::Dead(DeadReason::Expired)) => self.has_expired(found.id, record),
            (Standing::Held, State::Dead(DeadReason::WebhookDeleted)) if self.lanes[row.lane].removed => {
                self.is_let_go(found.id, record, now);
                self.is_buried(found.id);
            }
            _ => {}
        }
    }

    /// A delivery is kept back that was waiting, or might have.
    pub(super) fn is_kept_back(&mut self, id: DeliveryId) {
        let Some(row) = self.rows.get(&id) else { return };
        let may_be = self.holds.keys().any(|key| self.concerns(key, row));
        if !may_be {
            self.breach(Invariant::IllegalTransition, || {
                format!("delivery {id} is held, and nothing holds it")
            });
        }
        self.moves(id, State::Held, false);
        self.leave_lane(id);
        if let Some(row) = self.rows.get_mut(&id) {
            (row.standing, row.awaits) = (Standing::Held, None);
        }
    }

    fn is_let_go(&mut self, id: DeliveryId, record: &DeliveryRecord, now: DateTime<Utc>) {
        if self.is_held_for_sure(id) {
            self.breach(Invariant::ReleasedEarly, || {
                format!("delivery {id} is {}, and held", record.state)
            });
        }
        self.moves(id, State::Pending, false);
        self.starts_to_wait(id, record.due.min(now));
    }

    fn has_expired(&mut self, id: DeliveryId, record: &DeliveryRecord) {
        let Some(row) = self.rows.get(&id) else { return };
        let leaves_out = |lift: &Lift| {
            id <= lift.last && !lift.release.includes(record.created_at) && self.concerns(&lift.key, row)
        };
        if !self.lifts.iter().any(leaves_out) {
            self.breach(Invariant::HeldLost, || {
                format!("delivery {id} has expired, and no release left it out")
            });
        }
        self.moves(id, record.state, false);
        self.comes_to_its_end(id);
    }

    /// Whether a hold that is not lifted concerns a delivery, whatever happened before.
    pub(super) fn is_held_for_sure(&self, id: DeliveryId) -> bool {
        let Some(row) = self.rows.get(&id) else {
            return false;
        };
        self.holds.iter().any(|(key, hold)| {
            let from_then_on = match key {
                HoldKey::Webhook(_) => true,
                HoldKey::Subject { .. } => id > hold.placed_after,
            };
            !hold.is_lifted && from_then_on && self.concerns(key, row)
        })
    }

    fn concerns(&self, key: &HoldKey, row: &Row) -> bool {
        match key {
            HoldKey::Webhook(id) => self.lanes[row.lane].key == LaneKey::webhook(id),
            HoldKey::Subject { scope, subject } => {
                row.event.scope() == scope && row.event.subject() == Some(subject)
            }
        }
    }
}
