//! Looking at deliveries, and replaying them.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::book::Book;
use crate::delivery::{Attempt, Target};
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
        let Some(row) = self.rows.get(&id) else {
            return Replayed::Unknown;
        };
        if !row.state.is_final() {
            return Replayed::NotFinal(row.state);
        }
        let lane = match row.show(id).target {
            // The webhook may have been registered anew since, in a lane of its own.
            target @ (Target::Webhook(_) | Target::Test(_)) => {
                let event = Arc::clone(&row.event);
                let webhook = target.webhook();
                webhook.and_then(|webhook| self.lane_of(webhook, target.is_test(), event.scope(), now))
            }
            Target::Call(_) => row.lane,
        };
        let Some(row) = self.rows.get_mut(&id).filter(|_| lane.is_some()) else {
            return Replayed::WebhookDeleted;
        };
        row.lane = lane;
        row.attempts = 0;
        row.first_failure = None;
        row.interrupted = false;
        self.wait(id, now, now);
        Replayed::Done
    }
}
