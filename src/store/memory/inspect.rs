//! Looking at deliveries, and replaying them.

use chrono::{DateTime, Utc};

use super::book::Book;
use super::row::Route;
use crate::delivery::{Attempt, LaneKey};
use crate::id::{DeliveryId, EventId, Scope};
use crate::store::{DeliveryRecord, Replayed};

impl Book {
    pub(super) fn delivery(&self, id: DeliveryId) -> Option<DeliveryRecord> {
        self.rows.get(&id).map(|row| row.show(id))
    }

    pub(super) fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Vec<DeliveryRecord> {
        let recorded = self.events.get(scope, event);
        recorded
            .into_iter()
            .flat_map(|r| &r.deliveries)
            .filter_map(|id| self.delivery(*id))
            .collect()
    }

    pub(super) fn attempts(&self, id: DeliveryId) -> Vec<Attempt> {
        let history = self
            .rows
            .get(&id)
            .map(|row| row.history.as_slice())
            .unwrap_or_default();
        (1..)
            .zip(history)
            .map(|(number, report)| Attempt {
                delivery: id,
                number,
                report: report.clone(),
            })
            .collect()
    }

    pub(super) fn replay(&mut self, id: DeliveryId, now: DateTime<Utc>) -> Replayed {
        let Some(row) = self.rows.get_mut(&id) else {
            return Replayed::Unknown;
        };
        if !row.state.is_final() {
            return Replayed::NotFinal(row.state);
        }
        if let Route::Webhook(webhook) = &row.route {
            // The webhook may have been registered anew since, in a lane of its own.
            let Some(lane) = self.lanes.find(&LaneKey::webhook(webhook)) else {
                return Replayed::WebhookDeleted;
            };
            row.lane = Some(lane);
        }
        row.attempts = 0;
        row.first_failure = None;
        row.interrupted = false;
        self.wait(id, now, now);
        Replayed::Done
    }
}
