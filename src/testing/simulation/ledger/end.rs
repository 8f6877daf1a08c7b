//! The reckoning, when all is over.

use super::row::Standing;
use super::{Book, Readback};
use crate::delivery::{DeadReason, State};
use crate::id::DeliveryId;
use crate::testing::simulation::violation::Invariant;

impl Book {
    pub(in super::super) fn all_deliveries(&self) -> Vec<DeliveryId> {
        self.rows.keys().copied().collect()
    }

    /// Judges each delivery by how the store says it ended.
    pub(in super::super) fn reckon(&mut self, found: &[Readback]) {
        for found in found {
            self.reckon_one(found);
        }
    }

    fn reckon_one(&mut self, found: &Readback) {
        let id = found.id;
        let (Some(row), Some(record)) = (self.rows.get(&id), &found.record) else {
            return self.compare_one(found);
        };
        let state = record.state;
        let is_justified = match state {
            State::Delivered => row.accepted,
            State::Dead(DeadReason::WebhookDeleted) => self.lanes[row.lane].removed,
            // Whether its schedule had ended, or its receiver was gone, was judged when it was settled.
            State::Dead(DeadReason::Exhausted | DeadReason::Gone) => true,
            // Whether it might expire was judged when it did.
            State::Dead(DeadReason::Expired) => matches!(row.standing, Standing::Final),
            State::Dead(_) => false,
            State::Held if !self.is_held_for_sure(id) => {
                return self.breach(Invariant::HeldLost, || format!("delivery {id} is held for ever"));
            }
            State::Held | State::Pending | State::Sending => {
                return self.breach(Invariant::NotTerminating, || {
                    format!("delivery {id} is still {state}")
                });
            }
        };
        let history: Vec<_> = found
            .attempts
            .iter()
            .map(|attempt| attempt.report.outcome)
            .collect();
        let is_numbered = (1..)
            .zip(&found.attempts)
            .all(|(number, attempt)| attempt.number == number);
        if !is_numbered || history != row.history {
            let (seen, numbered) = (row.history.clone(), is_numbered);
            self.breach(Invariant::AttemptsMiscounted, || {
                format!("delivery {id} had {seen:?}, its history is {history:?} (numbered: {numbered})")
            });
        }
        if !is_justified {
            self.breach(Invariant::Lost, || {
                format!("delivery {id} is {state} without a reason")
            });
        }
        self.compare_one(found);
    }
}
