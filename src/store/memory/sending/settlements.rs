//! Settling and releasing.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::book::Book;
use super::row::{Route, Row};
use crate::delivery::{
    AttemptReport, DeadReason, DisableReason, LaneKey, Outcome, Pacing, Runs, State, failing_since,
};
use crate::id::{DeliveryId, Fence};
use crate::store::{Next, Settled, Settlement};

impl Book {
    pub(super) fn settle(&mut self, settlement: Settlement, now: DateTime<Utc>) -> Settled {
        let Settlement {
            id,
            fence,
            attempt,
            next,
            pacing,
        } = settlement;
        let Some(row) = self.held(id, fence) else {
            return Settled::LeaseLost;
        };
        row.interrupted = false;
        let awaited = row.awaits;
        let outcome = attempt.as_ref().map(|attempt| attempt.outcome);
        if let Some(attempt) = &attempt {
            let delivered = next == Next::Delivered;
            if !delivered {
                row.first_failure.get_or_insert(attempt.finished_at());
            }
            self.note_fate(id, attempt, delivered);
        }
        self.leave_flight(id, pacing, now);
        let tick = self.runs_of(id).map(|runs| {
            match outcome {
                None => runs.handle_uncounted(id),
                Some(_) if next == Next::Delivered => runs.handle_accepted(id),
                Some(outcome) => runs.handle_failure(id, outcome == Outcome::TimedOut),
            }
            runs.tick(now)
        });
        match next {
            Next::Delivered => self.finish(id, State::Delivered, now),
            Next::Retry(due) if outcome.is_none() && awaited.is_some() => {
                self.await_run(id, None, tick.map_or(due, |tick| tick.max(due)), now);
            }
            Next::Retry(due) => self.wait(id, due, now),
            Next::AwaitRun => self.await_run(id, None, tick.unwrap_or(now), now),
            Next::Exhausted => self.end(id, DeadReason::Exhausted, now),
            Next::Gone => {
                self.end(id, DeadReason::Gone, now);
                self.disable_gone(id, now);
            }
        }
        if let Some(attempt) = attempt {
            self.record(id, attempt, now);
        }
        self.requeue_lane_of(id, now);
        self.forget_oldest();
        Settled::Done
    }

    pub(super) fn release(&mut self, id: DeliveryId, fence: Fence, now: DateTime<Utc>) -> Settled {
        let Some(row) = self.held(id, fence) else {
            return Settled::LeaseLost;
        };
        let (due, awaited) = (row.due, row.awaits);
        self.leave_flight(id, Pacing::Keep, now);
        if let Some(runs) = self.runs_of(id) {
            runs.handle_uncounted(id);
        }
        match awaited {
            Some(number) => self.await_run(id, Some(number), due, now),
            None => self.wait(id, due, now),
        }
        Settled::Done
    }

    /// Notes on the webhook how an attempt went.
    fn note_fate(&mut self, id: DeliveryId, attempt: &AttemptReport, delivered: bool) {
        if let Some(row) = self.rows.get(&id)
            && let (Route::Webhook(_), Some(lane)) = (&row.route, row.lane)
        {
            let waiting = self.lanes.get(lane);
            waiting.failing_since = failing_since(waiting.failing_since, attempt, delivered);
        }
    }

    /// Disables the webhook that a delivery went to, if it asked for that and was not changed since.
    fn disable_gone(&mut self, id: DeliveryId, now: DateTime<Utc>) {
        if let Some(row) = self.rows.get(&id)
            && let Route::Webhook(webhook) = &row.route
            && let Some(webhook) = self.webhooks.get(webhook)
            && row.lane == self.lanes.find(&LaneKey::webhook(&webhook.id))
            && webhook.updated_at <= row.claimed_at
            && webhook.enabled
            && webhook.auto_disable.when_gone
        {
            let webhook = Arc::clone(webhook);
            self.disable(&webhook, Some(DisableReason::Gone), now);
        }
    }

    /// The runs of the lane that a delivery belongs to, if it has any.
    pub(super) fn runs_of(&mut self, id: DeliveryId) -> Option<&mut Runs> {
        let lane = self.rows.get(&id)?.lane?;
        self.lanes.get(lane).runs.as_mut()
    }

    fn held(&mut self, id: DeliveryId, fence: Fence) -> Option<&mut Row> {
        self.rows
            .get_mut(&id)
            .filter(|row| row.state == State::Sending && row.fence == fence)
    }

    /// Takes a delivery out of those in flight, and tells the lane what came of it.
    pub(super) fn leave_flight(&mut self, id: DeliveryId, pacing: Pacing, now: DateTime<Utc>) {
        let Some(row) = self.rows.get(&id) else { return };
        self.leases.remove(&(row.lease_ends, id));
        if let Some(lane) = row.lane {
            let waiting = self.lanes.get(lane);
            waiting.in_flight = waiting.in_flight.saturating_sub(1);
            waiting.lane.land(pacing, waiting.in_flight, now);
        }
    }
}
