//! Claiming.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::book::Book;
use super::lanes::LaneNo;
use super::row::Route;
use crate::delivery::{AttemptReport, DeadReason, Outcome, Pacing, State};
use crate::id::{AuthId, DeliveryId};
use crate::store::holds::MOVED_AT_ONCE;
use crate::store::{AuthRecord, ClaimRequest, Claimed, ClaimedTarget};
use crate::time::{after, elapsed};

/// How many waiting deliveries of a removed webhook are buried each time its lane has its turn.
const BURIED_AT_ONCE: usize = 32;

/// How often a claim goes round the lanes for what is left of its places: some have less than their share, some turn out
/// to have nothing.
const ROUNDS: usize = 8;

impl Book {
    pub(super) fn claim(
        &mut self,
        request: &ClaimRequest,
        auths: &BTreeMap<AuthId, Arc<AuthRecord>>,
    ) -> Vec<Claimed> {
        self.interrupt_expired(request.max, request.now);
        self.move_held(MOVED_AT_ONCE, request.now);
        let rows = &self.rows;
        let due = |id| rows.get(&id).map_or(request.now, |row| row.due);
        self.lanes.look_at(request.now, due);
        let mut claimed = Vec::new();
        for _ in 0..ROUNDS {
            let ready = self.lanes.ready(request.max - claimed.len(), request.now);
            if ready.is_empty() {
                break;
            }
            for (served, lane) in ready.iter().copied().enumerate() {
                let share = (request.max - claimed.len()).div_ceil(ready.len() - served);
                self.claim_from(lane, share, request, auths, &mut claimed);
            }
        }
        self.lanes.rings = false;
        claimed
    }

    fn claim_from(
        &mut self,
        lane: LaneNo,
        share: usize,
        request: &ClaimRequest,
        auths: &BTreeMap<AuthId, Arc<AuthRecord>>,
        claimed: &mut Vec<Claimed>,
    ) {
        let waiting = self.lanes.get(lane);
        if waiting.doomed {
            let buried: Vec<_> = std::iter::from_fn(|| waiting.pop())
                .take(BURIED_AT_ONCE)
                .collect();
            for id in buried {
                self.end(id, DeadReason::WebhookDeleted, request.now);
            }
            self.lanes.served(lane);
            return self.requeue(lane, request.now);
        }
        let allowance = waiting.lane.allowance(waiting.in_flight, request.now);
        let failing_since = waiting.failing_since;
        let newest = DeliveryId(self.last_id);
        let mut taken = 0;
        while taken < allowance && (taken as usize) < share {
            let waiting = self.lanes.get(lane);
            let rows = &self.rows;
            let is_due = |id| rows.get(&id).is_some_and(|row| row.due <= request.now);
            let Some(id) = waiting
                .take_for_run(newest, request.now)
                .or_else(|| waiting.take_due(is_due))
            else {
                break;
            };
            let Some(row) = self.rows.get_mut(&id) else { break };
            waiting.in_flight += 1;
            taken += 1;
            row.go(State::Sending);
            row.fence = row.fence.next();
            row.claimed_at = request.now;
            row.lease_ends = after(request.now, request.lease);
            self.leases.insert((row.lease_ends, id));
            let registered = |webhook| self.webhooks.get(webhook).map(Arc::clone);
            let target = match &row.route {
                Route::Call(call) => Some(ClaimedTarget::Call(Arc::clone(call))),
                Route::Webhook(webhook) => registered(webhook).map(ClaimedTarget::Webhook),
                Route::Test(webhook) => registered(webhook).map(ClaimedTarget::Test),
            };
            let Some(target) = target else { continue }; // a lane that has a name has its webhook
            let auth = target.auth().and_then(|auth| auths.get(auth)).cloned();
            claimed.push(Claimed {
                id,
                fence: row.fence,
                attempts: row.attempts,
                first_failure: row.first_failure,
                interrupted: row.interrupted,
                failing_since,
                due: row.due,
                event: Arc::clone(&row.event),
                body: row.body.as_ref().unwrap_or(row.event.body()).clone(),
                target,
                auth,
            });
        }
        if taken > 0 {
            self.lanes.get(lane).lane.spend(taken, request.now);
            self.lanes.served(lane);
        }
        self.requeue(lane, request.now);
    }

    /// Counts attempts whose worker never reported back, and lets their deliveries wait for their turn again.
    fn interrupt_expired(&mut self, max: usize, now: DateTime<Utc>) {
        let expired: Vec<_> = self
            .leases
            .iter()
            .take_while(|(ends, _)| *ends <= now)
            .take(max)
            .map(|(_, id)| *id)
            .collect();
        for id in expired {
            let Some(row) = self.rows.get_mut(&id) else {
                continue;
            };
            let report = AttemptReport {
                started_at: row.claimed_at,
                duration: elapsed(row.claimed_at, now),
                outcome: Outcome::Interrupted,
                excerpt: Bytes::new(),
            };
            row.first_failure.get_or_insert(now);
            row.interrupted = true;
            self.leave_flight(id, Pacing::Keep, now);
            let runs = self.runs_of(id);
            if let Some(runs) = runs {
                runs.handle_failure(id, false);
                let tick = runs.tick(now);
                self.await_run(id, None, tick, now);
            } else {
                self.wait(id, now, now);
            }
            self.record(id, report, now);
        }
    }

    pub(super) fn next_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let lease = self.leases.first().map(|(ends, _)| *ends);
        let move_held = self.holds.is_busy().then_some(now);
        [self.lanes.next_ready(now), lease, move_held]
            .into_iter()
            .flatten()
            .min()
    }
}
