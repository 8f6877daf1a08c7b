//! The lanes, and whose turn it is.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::delivery::{CLOCK_SKEW, Lane, LaneKey, Limits, Order};
use crate::id::DeliveryId;
use crate::time::after;

/// A lane's place in [`Lanes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneNo(usize);

/// All lanes. Those with work and room stand in one of two queues: in `later` by the instant from which they have
/// something to give, and from then on in `ready`, by when they last had their turn. A turn is a number and no instant,
/// so that it does not matter to it what is done to the clock.
#[derive(Default)]
pub(super) struct Lanes {
    by_key: HashMap<LaneKey, LaneNo>,
    lanes: Vec<Waiting>,
    later: BTreeSet<(DateTime<Utc>, LaneNo)>,
    ready: BTreeSet<(u64, LaneNo)>,
    turns: u64,
    /// The latest that a claim came with, since the clock was last set back.
    clock: DateTime<Utc>,
    pub(super) rings: bool,
}

/// What waits in one lane.
pub(super) struct Waiting {
    pub(super) lane: Lane,
    /// Its webhook was removed: nothing in it is sent any more.
    pub(super) doomed: bool,
    pub(super) in_flight: u32,
    /// Any order: by due time. Strict: by id alone, so the head is the oldest whether it is due or not.
    pending: BTreeSet<(DateTime<Utc>, DeliveryId)>,
    /// The number of its last turn.
    turn: u64,
    place: Option<Place>,
}

/// Where a lane stands.
#[derive(Clone, Copy)]
enum Place {
    Later(DateTime<Utc>),
    Ready,
}

impl Lanes {
    /// The lane of that name, made if need be, with these limits.
    pub(super) fn open(&mut self, key: LaneKey, limits: Limits, order: Order, enabled: bool) -> LaneNo {
        let no = *self.by_key.entry(key).or_insert_with(|| {
            self.lanes.push(Waiting {
                lane: Lane {
                    limits,
                    order,
                    enabled,
                    whole_at: None,
                },
                doomed: false,
                in_flight: 0,
                pending: BTreeSet::new(),
                turn: 0,
                place: None,
            });
            LaneNo(self.lanes.len() - 1)
        });
        let lane = &mut self.lanes[no.0].lane;
        (lane.limits, lane.order, lane.enabled) = (limits, order, enabled);
        no
    }

    pub(super) fn find(&self, key: &LaneKey) -> Option<LaneNo> {
        self.by_key.get(key).copied()
    }

    /// Takes the name from a lane and marks what waits in it as never to be sent.
    pub(super) fn doom(&mut self, key: &LaneKey) -> Option<LaneNo> {
        let no = self.by_key.remove(key)?;
        self.lanes[no.0].doomed = true;
        Some(no)
    }

    pub(super) fn get(&mut self, no: LaneNo) -> &mut Waiting {
        &mut self.lanes[no.0]
    }

    /// Puts a lane where it belongs in the queue, after anything about it changed. `due` tells when its head is
    /// due, which only matters in a strict lane.
    pub(super) fn requeue(
        &mut self,
        no: LaneNo,
        due: impl Fn(DeliveryId) -> DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        self.leave_queue(no);
        let waiting = &mut self.lanes[no.0];
        let Some(&(_, head)) = waiting.pending.first() else {
            return;
        };
        if !waiting.doomed && !waiting.has_place() {
            return; // it comes back when a place becomes free
        }
        let opens_at = if waiting.doomed {
            now
        } else {
            due(head).max(waiting.lane.open_at(now))
        };
        self.rings = true;
        if opens_at <= now {
            self.make_ready(no);
        } else {
            waiting.place = Some(Place::Later(opens_at));
            self.later.insert((opens_at, no));
        }
    }

    fn leave_queue(&mut self, no: LaneNo) {
        let waiting = &mut self.lanes[no.0];
        match waiting.place.take() {
            Some(Place::Later(at)) => self.later.remove(&(at, no)),
            Some(Place::Ready) => self.ready.remove(&(waiting.turn, no)),
            None => false,
        };
    }

    fn make_ready(&mut self, no: LaneNo) {
        let waiting = &mut self.lanes[no.0];
        waiting.place = Some(Place::Ready);
        self.ready.insert((waiting.turn, no));
    }

    /// Notes what the clock shows. If it was set back, lanes may wait for instants that were reckoned from a time that
    /// has not come, so they are asked anew.
    pub(super) fn look_at(&mut self, now: DateTime<Utc>, due: impl Fn(DeliveryId) -> DateTime<Utc>) {
        let was_set_back = after(now, CLOCK_SKEW) < self.clock;
        self.clock = if was_set_back { now } else { self.clock.max(now) };
        if was_set_back {
            for (_, no) in std::mem::take(&mut self.later) {
                self.requeue(no, &due, now);
            }
        }
    }

    /// Up to `max` lanes whose turn it is, in order.
    pub(super) fn ready(&mut self, max: usize, now: DateTime<Utc>) -> Vec<LaneNo> {
        while let Some(&(at, no)) = self.later.first().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, no));
            self.make_ready(no);
        }
        self.ready.iter().take(max).map(|(_, no)| *no).collect()
    }

    /// Notes that a lane has had its turn.
    pub(super) fn served(&mut self, no: LaneNo) {
        self.leave_queue(no);
        self.turns += 1;
        self.lanes[no.0].turn = self.turns;
    }

    /// When a lane has work to give.
    pub(super) fn next_ready(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.ready.is_empty() {
            true => self.later.first().map(|(at, _)| *at),
            false => Some(now),
        }
    }
}

impl Waiting {
    fn has_place(&self) -> bool {
        let places = match self.lane.order {
            Order::Any => self.lane.limits.in_flight.get(),
            Order::Strict => 1,
        };
        self.lane.enabled && self.in_flight < places
    }

    pub(super) fn push(&mut self, id: DeliveryId, due: DateTime<Utc>) {
        self.pending.insert((self.rank(due), id));
    }

    pub(super) fn pop(&mut self) -> Option<DeliveryId> {
        self.pending.pop_first().map(|(_, id)| id)
    }

    pub(super) fn head(&self) -> Option<DeliveryId> {
        self.pending.first().map(|(_, id)| *id)
    }

    /// Sorts what waits anew, after the order of the lane changed.
    pub(super) fn rerank(&mut self, due: impl Fn(DeliveryId) -> DateTime<Utc>) {
        let pending = std::mem::take(&mut self.pending);
        self.pending = pending
            .into_iter()
            .map(|(_, id)| (self.rank(due(id)), id))
            .collect();
    }

    fn rank(&self, due: DateTime<Utc>) -> DateTime<Utc> {
        match self.lane.order {
            Order::Any => due,
            Order::Strict => DateTime::<Utc>::MIN_UTC,
        }
    }
}
