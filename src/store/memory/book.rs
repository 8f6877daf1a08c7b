//! Events, deliveries and webhooks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::events::{Events, Recorded};
use super::lanes::{LaneNo, Lanes};
use crate::delivery::{
    Attempt, AttemptReport, Call, DeadReason, Event, LaneKey, Order, Outcome, State, Target, Webhook,
};
use crate::id::{AuthId, DeliveryId, EventId, Fence, Scope, WebhookId};
use crate::store::{
    AuthRecord, ClaimRequest, Claimed, ClaimedTarget, DeliveryRecord, Enqueued, NewDelivery, NewEvent, Next,
    Replayed, Settled, Settlement,
};
use crate::time::{after, elapsed};

/// How many waiting deliveries of a removed webhook are buried each time its lane has its turn.
const BURIED_AT_ONCE: usize = 32;

/// How often a claim goes round the lanes for what is left of its places: some have less than their share, some turn out
/// to have nothing.
const ROUNDS: usize = 8;

#[derive(Default)]
pub(super) struct Book {
    webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
    events: Events,
    /// In order, since deliveries of one lane are often enqueued together and so lie close to each other in memory.
    rows: BTreeMap<DeliveryId, Row>,
    lanes: Lanes,
    leases: BTreeSet<(DateTime<Utc>, DeliveryId)>,
    forgettable: VecDeque<Forgettable>,
    keep_finals: usize,
    last_id: i64,
    last_number: i64,
}

/// What may be forgotten once there is too much of it.
enum Forgettable {
    /// A delivery that ended, and how often it had ended by then: it may have been replayed since.
    Delivery(DeliveryId, u32),
    /// An event without deliveries.
    Event(Scope, EventId),
}

struct Row {
    event: Arc<Event>,
    body: Option<Bytes>,
    route: Route,
    /// `None` where the webhook was unknown when it was enqueued.
    lane: Option<LaneNo>,
    state: State,
    fence: Fence,
    claimed_at: DateTime<Utc>,
    lease_ends: DateTime<Utc>,
    attempts: u32,
    first_failure: Option<DateTime<Utc>>,
    interrupted: bool,
    due: DateTime<Utc>,
    created_at: DateTime<Utc>,
    history: Vec<AttemptReport>,
    ends: u32,
}

enum Route {
    Webhook(WebhookId),
    Call(Arc<Call>),
}

impl Book {
    pub(super) fn keeping(finals: usize) -> Self {
        Self {
            keep_finals: finals,
            ..Self::default()
        }
    }

    pub(super) fn enqueue(&mut self, new: NewEvent, now: DateTime<Utc>) -> Enqueued {
        let fingerprint = new.event.fingerprint();
        match self.events.get(new.event.scope(), new.event.id()) {
            Some(known) if known.fingerprint == fingerprint => {
                return Enqueued::Duplicate(known.deliveries.clone());
            }
            Some(_) => return Enqueued::Conflict,
            None => {}
        }
        let event = new.event;
        let ids: Vec<_> = new
            .deliveries
            .into_iter()
            .map(|delivery| self.add(Arc::clone(&event), delivery, now))
            .collect();
        if ids.is_empty() {
            self.forgettable
                .push_back(Forgettable::Event(event.scope().clone(), event.id().clone()));
        }
        let deliveries = ids.clone();
        self.events.insert(
            &event,
            Recorded {
                fingerprint,
                deliveries,
            },
        );
        self.forget_oldest();
        Enqueued::Fresh(ids)
    }

    fn add(&mut self, event: Arc<Event>, new: NewDelivery, now: DateTime<Utc>) -> DeliveryId {
        self.last_id += 1;
        let id = DeliveryId(self.last_id);
        let key = new.target.lane();
        let (route, lane) = match new.target {
            Target::Webhook(webhook) => (Route::Webhook(webhook), self.lanes.find(&key)),
            Target::Call(call) => {
                let lane = self.lanes.open(key, call.limits, Order::Any, true);
                (Route::Call(Arc::new(call)), Some(lane))
            }
        };
        let row = Row {
            event,
            body: new.body,
            route,
            lane,
            state: State::Pending,
            fence: Fence::UNCLAIMED,
            claimed_at: now,
            lease_ends: now,
            attempts: 0,
            first_failure: None,
            interrupted: false,
            due: now,
            created_at: now,
            history: Vec::new(),
            ends: 0,
        };
        self.rows.insert(id, row);
        match lane {
            Some(_) => self.wait(id, now, now),
            None => self.end(id, DeadReason::WebhookDeleted),
        }
        id
    }

    pub(super) fn claim(
        &mut self,
        request: &ClaimRequest,
        auths: &BTreeMap<AuthId, Arc<AuthRecord>>,
    ) -> Vec<Claimed> {
        self.interrupt_expired(request.max, request.now);
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
                self.end(id, DeadReason::WebhookDeleted);
            }
            self.lanes.served(lane);
            return self.requeue(lane, request.now);
        }
        let allowance = waiting.lane.allowance(waiting.in_flight, request.now);
        let mut taken = 0;
        while taken < allowance && (taken as usize) < share {
            let waiting = self.lanes.get(lane);
            let Some(id) = waiting.head() else { break };
            let Some(row) = self.rows.get_mut(&id) else { break };
            if row.due > request.now {
                break;
            }
            waiting.pop();
            waiting.in_flight += 1;
            taken += 1;
            row.go(State::Sending);
            row.fence = row.fence.next();
            row.claimed_at = request.now;
            row.lease_ends = after(request.now, request.lease);
            self.leases.insert((row.lease_ends, id));
            let target = match &row.route {
                Route::Call(call) => ClaimedTarget::Call(Arc::clone(call)),
                Route::Webhook(webhook) => match self.webhooks.get(webhook) {
                    Some(webhook) => ClaimedTarget::Webhook(Arc::clone(webhook)),
                    None => continue, // a lane that has a name has its webhook
                },
            };
            let auth = target.auth().and_then(|auth| auths.get(auth)).cloned();
            claimed.push(Claimed {
                id,
                fence: row.fence,
                attempts: row.attempts,
                first_failure: row.first_failure,
                interrupted: row.interrupted,
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
            row.record(AttemptReport {
                started_at: row.claimed_at,
                duration: elapsed(row.claimed_at, now),
                outcome: Outcome::Interrupted,
                excerpt: Bytes::new(),
            });
            row.first_failure.get_or_insert(now);
            row.interrupted = true;
            self.leave_flight(id);
            self.wait(id, now, now);
        }
    }

    pub(super) fn settle(&mut self, settlement: Settlement, now: DateTime<Utc>) -> Settled {
        let Settlement {
            id,
            fence,
            attempt,
            next,
        } = settlement;
        let Some(row) = self.held(id, fence) else {
            return Settled::LeaseLost;
        };
        row.interrupted = false;
        if let Some(attempt) = attempt {
            if next != Next::Delivered {
                row.first_failure.get_or_insert(attempt.finished_at());
            }
            row.record(attempt);
        }
        self.leave_flight(id);
        match next {
            Next::Delivered => self.finish(id, State::Delivered),
            Next::Retry(due) => self.wait(id, due, now),
            Next::Exhausted => self.end(id, DeadReason::Exhausted),
            Next::Gone => self.end(id, DeadReason::Gone),
        }
        self.requeue_lane_of(id, now);
        self.forget_oldest();
        Settled::Done
    }

    pub(super) fn release(&mut self, id: DeliveryId, fence: Fence, now: DateTime<Utc>) -> Settled {
        let Some(row) = self.held(id, fence) else {
            return Settled::LeaseLost;
        };
        let due = row.due;
        self.leave_flight(id);
        self.wait(id, due, now);
        Settled::Done
    }

    fn held(&mut self, id: DeliveryId, fence: Fence) -> Option<&mut Row> {
        self.rows
            .get_mut(&id)
            .filter(|row| row.state == State::Sending && row.fence == fence)
    }

    fn leave_flight(&mut self, id: DeliveryId) {
        let Some(row) = self.rows.get(&id) else { return };
        self.leases.remove(&(row.lease_ends, id));
        if let Some(lane) = row.lane {
            let waiting = self.lanes.get(lane);
            waiting.in_flight = waiting.in_flight.saturating_sub(1);
        }
    }

    /// Makes a delivery pending, due then.
    fn wait(&mut self, id: DeliveryId, due: DateTime<Utc>, now: DateTime<Utc>) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.go(State::Pending);
        row.due = due;
        if let Some(lane) = row.lane {
            self.lanes.get(lane).push(id, due);
            self.requeue(lane, now);
        }
    }

    fn end(&mut self, id: DeliveryId, reason: DeadReason) {
        self.finish(id, State::Dead(reason));
    }

    fn finish(&mut self, id: DeliveryId, state: State) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.go(state);
        row.ends += 1;
        self.forgettable.push_back(Forgettable::Delivery(id, row.ends));
    }

    fn forget_oldest(&mut self) {
        while self.forgettable.len() > self.keep_finals {
            match self.forgettable.pop_front() {
                None => return,
                Some(Forgettable::Event(scope, event)) => self.events.remove(&scope, &event),
                Some(Forgettable::Delivery(id, ends)) => self.forget(id, ends),
            }
        }
    }

    fn forget(&mut self, id: DeliveryId, ends: u32) {
        if !self
            .rows
            .get(&id)
            .is_some_and(|row| row.state.is_final() && row.ends == ends)
        {
            return; // replayed since
        }
        let Some(row) = self.rows.remove(&id) else { return };
        self.events.remove_delivery(&row.event, id);
    }

    fn requeue_lane_of(&mut self, id: DeliveryId, now: DateTime<Utc>) {
        if let Some(lane) = self.rows.get(&id).and_then(|row| row.lane) {
            self.requeue(lane, now);
        }
    }

    fn requeue(&mut self, lane: LaneNo, now: DateTime<Utc>) {
        let rows = &self.rows;
        self.lanes
            .requeue(lane, |id| rows.get(&id).map_or(now, |row| row.due), now);
    }

    pub(super) fn next_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let lease = self.leases.first().map(|(ends, _)| *ends);
        [self.lanes.next_ready(now), lease].into_iter().flatten().min()
    }

    pub(super) fn reserve_numbers(&mut self, count: u32) -> i64 {
        let first = self.last_number + 1;
        self.last_number += i64::from(count);
        first
    }

    /// Whether a lane has come to have work since the last time this was asked.
    pub(super) fn take_rings(&mut self) -> bool {
        std::mem::take(&mut self.lanes.rings)
    }

    pub(super) fn save_webhook(&mut self, webhook: Webhook, now: DateTime<Utc>) {
        let lane = self.lanes.open(
            LaneKey::webhook(&webhook.id),
            webhook.limits,
            webhook.order,
            webhook.enabled,
        );
        let rows = &self.rows;
        self.lanes
            .get(lane)
            .rerank(|id| rows.get(&id).map_or(now, |row| row.due));
        self.webhooks.insert(webhook.id.clone(), Arc::new(webhook));
        self.requeue(lane, now);
    }

    pub(super) fn remove_webhook(&mut self, id: &WebhookId, now: DateTime<Utc>) -> bool {
        if let Some(lane) = self.lanes.doom(&LaneKey::webhook(id)) {
            self.requeue(lane, now);
        }
        self.webhooks.remove(id).is_some()
    }

    pub(super) fn webhook(&self, id: &WebhookId) -> Option<Arc<Webhook>> {
        self.webhooks.get(id).cloned()
    }

    pub(super) fn webhooks(&self, scope: &Scope) -> Vec<Arc<Webhook>> {
        self.webhooks
            .values()
            .filter(|webhook| webhook.scope == *scope)
            .cloned()
            .collect()
    }

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

impl Row {
    fn go(&mut self, next: State) {
        debug_assert!(
            self.state == next || self.state.advance(next).or(self.state.replayed()) == Ok(next),
            "{} to {next}",
            self.state
        );
        self.state = next;
    }

    fn record(&mut self, report: AttemptReport) {
        self.attempts = self.attempts.saturating_add(1);
        self.history.push(report);
    }

    fn show(&self, id: DeliveryId) -> DeliveryRecord {
        DeliveryRecord {
            id,
            event: Arc::clone(&self.event),
            body: self.body.as_ref().unwrap_or(self.event.body()).clone(),
            target: match &self.route {
                Route::Webhook(webhook) => Target::Webhook(webhook.clone()),
                Route::Call(call) => Target::Call((**call).clone()),
            },
            state: self.state,
            attempts: self.attempts,
            first_failure: self.first_failure,
            due: self.due,
            created_at: self.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Limits;

    fn call(event: &str) -> NewEvent {
        let url = crate::url::WebhookUrl::parse("https://example.com/").unwrap();
        let call = Call {
            url,
            profile: "p".into(),
            auth: None,
            limits: Limits::default(),
        };
        let event = Arc::new(Event::builder("s", event, "t").build().unwrap());
        NewEvent {
            event,
            deliveries: vec![NewDelivery {
                target: Target::Call(call),
                body: None,
            }],
        }
    }

    fn deliver(book: &mut Book) {
        let now = DateTime::UNIX_EPOCH;
        let lease = std::time::Duration::from_secs(1);
        let request = ClaimRequest {
            holder: "h".into(),
            now,
            lease,
            max: 10,
        };
        for claimed in book.claim(&request, &BTreeMap::new()) {
            let settlement = Settlement {
                id: claimed.id,
                fence: claimed.fence,
                attempt: None,
                next: Next::Delivered,
            };
            book.settle(settlement, now);
        }
    }

    #[test]
    fn only_the_latest_ends_are_kept() {
        let (mut book, now) = (Book::keeping(2), DateTime::UNIX_EPOCH);
        let replayed = DeliveryId(1);
        book.enqueue(call("1"), now);
        deliver(&mut book);
        assert_eq!(book.replay(replayed, now), Replayed::Done);
        book.enqueue(
            NewEvent {
                deliveries: vec![],
                ..call("2")
            },
            now,
        );
        book.enqueue(call("3"), now);
        deliver(&mut book);
        // Of five entries two are kept: how the replayed one ended, and the third event.
        assert!(book.delivery(replayed).is_some());
        assert_eq!(book.events.len(), 2);
        book.enqueue(call("4"), now);
        deliver(&mut book);
        assert!(book.delivery(replayed).is_none());
        assert_eq!(
            (book.events.len(), book.rows.len(), book.forgettable.len()),
            (2, 2, 2)
        );
    }
}
