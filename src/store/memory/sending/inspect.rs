//! Looking at deliveries, and replaying them.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::book::Book;
use super::events::Recorded;
use crate::delivery::Target;
use crate::id::{DeliveryId, EventId, Scope};
use crate::store::{DeadReplayed, DeliveryRecord, ReplayDead, Replayed};

impl Book {
    pub(super) fn delivery(&self, id: DeliveryId) -> Option<DeliveryRecord> {
        self.rows.get(&id).map(|row| row.show(id))
    }

    pub(super) fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Vec<DeliveryRecord> {
        let recorded = self.events.get(scope, event);
        recorded
            .into_iter()
            .flat_map(Recorded::deliveries)
            .filter_map(|id| self.delivery(id))
            .collect()
    }

    pub(super) fn replay(&mut self, id: DeliveryId, now: DateTime<Utc>) -> Replayed {
        let Some(row) = self.rows.get(&id) else {
            return Replayed::Unknown;
        };
        if !row.state.is_final() {
            return Replayed::NotFinal(row.state);
        }
        if row.bodiless {
            return Replayed::BodyPurged;
        }
        let lane = match row.target() {
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
        self.unend(id);
        self.wait(id, now, now);
        Replayed::Done
    }

    pub(super) fn replay_dead(&mut self, request: &ReplayDead, now: DateTime<Utc>) -> DeadReplayed {
        let max = request.max.max(1);
        let dead = self.dead.get(&request.webhook).into_iter().flatten().copied();
        let after = request.after;
        let dead: Vec<_> = dead
            .filter(|id| after.is_none_or(|after| *id > after))
            .take(max)
            .collect();
        let mut answer = DeadReplayed {
            next: dead.last().filter(|_| dead.len() == max).copied(),
            ..DeadReplayed::default()
        };
        for id in dead {
            let ended_at = self.rows.get(&id).and_then(|row| row.ended_at);
            if request.since.is_some_and(|since| ended_at < Some(since)) {
                continue;
            }
            match self.replay(id, now) {
                Replayed::Done => answer.replayed += 1,
                _ => answer.skipped += 1,
            }
        }
        answer
    }
}
