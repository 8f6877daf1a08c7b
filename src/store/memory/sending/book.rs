//! Events, deliveries and webhooks.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::events::{Events, Recorded};
use super::history::{Kept, Log};
use super::holds::Holds;
use super::lanes::{LaneNo, Lanes};
use super::purge::{BareNo, Over};
use super::row::{Route, Row};
use crate::delivery::{DeadReason, Event, Fingerprint, LaneRules, State, Target, Webhook};
use crate::id::{DeliveryId, Fence, WebhookId};
use crate::store::holds::moved_with;
use crate::store::{Enqueued, NewDelivery, NewEvent};

#[derive(Default)]
pub(super) struct Book {
    pub(super) webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
    /// Where they wait, found without making the lane's name.
    pub(super) lanes_of_webhooks: HashMap<WebhookId, LaneNo>,
    pub(super) events: Events,
    /// In order, since deliveries of one lane are often enqueued together and so lie close to each other in memory.
    pub(super) rows: BTreeMap<DeliveryId, Row>,
    pub(super) lanes: Lanes,
    pub(super) holds: Holds,
    pub(super) leases: BTreeSet<(DateTime<Utc>, DeliveryId)>,
    pub(super) log: Log,
    pub(super) over: Over,
    /// Those of each webhook that are dead.
    pub(super) dead: BTreeMap<WebhookId, BTreeSet<DeliveryId>>,
    forgettable: VecDeque<Forgettable>,
    keep_finals: usize,
    /// What was forgotten, for the caller to drop once nobody has to wait for that: its bytes are all over the memory.
    pub(super) forgotten: Vec<(Arc<Event>, Option<Bytes>)>,
    pub(super) last_id: i64,
    last_number: i64,
}

/// An event to take in, with what can be worked out before the book is had.
pub(super) struct Incoming {
    new: NewEvent,
    fingerprint: Fingerprint,
}

impl From<NewEvent> for Incoming {
    fn from(new: NewEvent) -> Self {
        let fingerprint = new.event.fingerprint();
        Self { new, fingerprint }
    }
}

/// What may be forgotten once there is too much of it.
enum Forgettable {
    /// A delivery that ended, and how often it had ended by then: it may have been replayed since.
    Delivery(DeliveryId, u32),
    /// An event without deliveries, by its number: another of that id may have come since.
    Event(BareNo),
}

impl Book {
    pub(super) fn keeping(finals: usize) -> Self {
        Self {
            keep_finals: finals,
            ..Self::default()
        }
    }

    pub(super) fn enqueue_all(&mut self, events: Vec<Incoming>, now: DateTime<Utc>) -> Vec<Enqueued> {
        let deliveries = events.iter().map(|event| event.new.deliveries.len()).sum();
        let answers = events.into_iter().map(|event| self.take_in(event, now)).collect();
        self.move_held(moved_with(deliveries), now);
        self.forget_oldest();
        answers
    }

    pub(super) fn enqueue(&mut self, event: Incoming, now: DateTime<Utc>) -> Enqueued {
        let deliveries = event.new.deliveries.len();
        let answer = self.take_in(event, now);
        self.move_held(moved_with(deliveries), now);
        self.forget_oldest();
        answer
    }

    fn take_in(&mut self, event: Incoming, now: DateTime<Utc>) -> Enqueued {
        let Incoming { new, fingerprint } = event;
        match self.events.get(new.event.scope(), new.event.id()) {
            Some(known) if known.fingerprint == fingerprint => {
                return Enqueued::Duplicate(self.kept(known).collect());
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
            let no = self.over.add_bare(&event, now);
            self.forgettable.push_back(Forgettable::Event(no));
        }
        let first = ids.first().copied().unwrap_or(DeliveryId(self.last_id));
        self.events
            .insert(&event, Recorded::new(fingerprint, first, ids.len()));
        self.forget_oldest();
        Enqueued::Fresh(ids)
    }

    /// The deliveries of an event that are not forgotten.
    fn kept(&self, event: &Recorded) -> impl Iterator<Item = DeliveryId> {
        event.deliveries().filter(|id| self.rows.contains_key(id))
    }

    fn add(&mut self, event: Arc<Event>, new: NewDelivery, now: DateTime<Utc>) -> DeliveryId {
        self.last_id += 1;
        let id = DeliveryId(self.last_id);
        let lane = match &new.target {
            Target::Webhook(webhook) | Target::Test(webhook) => {
                self.lane_of(webhook, new.target.is_test(), event.scope(), now)
            }
            Target::Call(call) => Some(self.lanes.open(new.target.lane(), LaneRules::from(call), now)),
        };
        let route = match new.target {
            Target::Webhook(webhook) => Route::Webhook(webhook),
            Target::Call(call) => Route::Call(Arc::new(call)),
            Target::Test(webhook) => Route::Test(webhook),
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
            awaits: None,
            due: now,
            created_at: now,
            attempted: 0,
            history: Kept::default(),
            ends: 0,
            ended_at: None,
            bodiless: false,
        };
        let hold = lane.and_then(|lane| self.hold_over(&row, lane));
        self.rows.insert(id, row);
        match lane {
            Some(lane) if let Some(hold) = hold => {
                self.keep_back(id, hold);
                self.requeue(lane, now); // a call may have changed its limits
            }
            Some(_) => self.wait(id, now, now),
            None => self.end(id, DeadReason::WebhookDeleted, now),
        }
        id
    }

    /// Makes a delivery pending, due then; or held, where a hold closes its lane.
    pub(super) fn wait(&mut self, id: DeliveryId, due: DateTime<Utc>, now: DateTime<Utc>) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.go(State::Pending);
        (row.due, row.awaits) = (due, None);
        let Some(lane) = row.lane else { return };
        match self.lanes.get(lane).closed_by() {
            Some(hold) => self.keep_back(id, hold),
            None => self.lanes.get(lane).push(id, due),
        }
        self.requeue(lane, now);
    }

    /// Makes a delivery pending until a run takes it, if its lane has runs; else due then. Which run: the next one, unless
    /// it is told of one.
    pub(super) fn await_run(
        &mut self,
        id: DeliveryId,
        number: Option<u64>,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let Some(lane) = row.lane else { return };
        let waiting = self.lanes.get(lane);
        let Some(runs) = waiting.runs.as_ref().filter(|_| waiting.closed_by().is_none()) else {
            return self.wait(id, due, now);
        };
        let number = runs.next_number().min(number.unwrap_or(u64::MAX));
        row.go(State::Pending);
        (row.due, row.awaits) = (due, Some(number));
        self.lanes.get(lane).push_awaiting(id, number);
        self.requeue(lane, now);
    }

    pub(super) fn end(&mut self, id: DeliveryId, reason: DeadReason, now: DateTime<Utc>) {
        self.finish(id, State::Dead(reason), now);
    }

    pub(super) fn finish(&mut self, id: DeliveryId, state: State, now: DateTime<Utc>) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.go(state);
        row.ends += 1;
        row.ended_at = Some(now);
        self.over.add(id, state, now);
        if let (State::Dead(_), Some(webhook)) = (state, row.served_webhook()) {
            self.dead.entry(webhook.clone()).or_default().insert(id);
        }
        self.forgettable.push_back(Forgettable::Delivery(id, row.ends));
    }

    pub(super) fn forget_oldest(&mut self) {
        while self.forgettable.len() > self.keep_finals {
            match self.forgettable.pop_front() {
                None => return,
                Some(Forgettable::Event(no)) => self.forget_bare(no),
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
        self.forget_final(id);
    }

    /// Forgets an event without deliveries, if it has not been forgotten.
    fn forget_bare(&mut self, no: BareNo) {
        if let Some((scope, event)) = self.over.take_bare(no) {
            self.events.remove(&scope, &event);
        }
    }

    /// Forgets a delivery that is final, with all that belongs to it.
    pub(super) fn forget_final(&mut self, id: DeliveryId) {
        self.unend(id);
        let Some(row) = self.rows.remove(&id) else { return };
        for seq in row.history.iter() {
            self.log.records.remove(seq);
        }
        self.events.remove_delivery(&row.event);
        self.forgotten.push((row.event, row.body));
    }

    /// Strikes a delivery off the lists of what is final.
    pub(super) fn unend(&mut self, id: DeliveryId) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        if let Some(ended_at) = row.ended_at.take() {
            self.over.remove(id, ended_at);
        }
        if let (State::Dead(_), Some(webhook)) = (row.state, row.served_webhook())
            && let Some(dead) = self.dead.get_mut(webhook)
        {
            dead.remove(&id);
            if dead.is_empty() {
                self.dead.remove(webhook);
            }
        }
    }

    pub(super) fn requeue_lane_of(&mut self, id: DeliveryId, now: DateTime<Utc>) {
        if let Some(lane) = self.rows.get(&id).and_then(|row| row.lane) {
            self.requeue(lane, now);
        }
    }

    pub(super) fn requeue(&mut self, lane: LaneNo, now: DateTime<Utc>) {
        let rows = &self.rows;
        self.lanes
            .requeue(lane, |id| rows.get(&id).map_or(now, |row| row.due), now);
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

    /// Sorts what waits in a lane anew after its rules changed, and puts it where it belongs.
    pub(super) fn rearrange(&mut self, lane: LaneNo, now: DateTime<Utc>) {
        let rows = &mut self.rows;
        self.lanes.get(lane).rerank(|id, awaits_no_more| {
            let row = rows.get_mut(&id)?;
            if awaits_no_more {
                row.awaits = None;
            }
            Some(row.due)
        });
        self.requeue(lane, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Call, Limits, Pacing};
    use crate::store::{ClaimRequest, Next, Replayed, Settlement};

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
                pacing: Pacing::Keep,
            };
            book.settle(settlement, now);
        }
    }

    #[test]
    fn only_the_latest_ends_are_kept() {
        let (mut book, now) = (Book::keeping(2), DateTime::UNIX_EPOCH);
        let replayed = DeliveryId(1);
        book.enqueue(call("1").into(), now);
        deliver(&mut book);
        assert_eq!(book.replay(replayed, now), Replayed::Done);
        book.enqueue(
            NewEvent {
                deliveries: vec![],
                ..call("2")
            }
            .into(),
            now,
        );
        book.enqueue(call("3").into(), now);
        deliver(&mut book);
        // Of five entries two are kept: how the replayed one ended, and the third event.
        assert!(book.delivery(replayed).is_some());
        assert_eq!(book.events.len(), 2);
        book.enqueue(call("4").into(), now);
        deliver(&mut book);
        assert!(book.delivery(replayed).is_none());
        assert_eq!(
            (book.events.len(), book.rows.len(), book.forgettable.len()),
            (2, 2, 2)
        );
    }
}
