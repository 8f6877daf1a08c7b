//! The lanes, and whose turn it is.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::delivery::{Lane, LaneKey, Limits, Order};
use crate::id::DeliveryId;

/// A lane's place in [`Lanes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneNo(usize);

/// All lanes. Those with work stand in one of two queues: in `later` by the instant from which they have work to
/// give; from then on in `ready`, where they wait for their turn, by that instant or the one at which they were last
/// served, whichever is later, then in the order they were served. Two, because a turn must not depend on the
/// clock: were it set back, a lane that was served before would wait until it had caught up.
#[derive(Default)]
pub(super) struct Lanes {
    by_key: HashMap<LaneKey, LaneNo>,
    lanes: Vec<Waiting>,
    later: BTreeSet<(DateTime<Utc>, LaneNo)>,
    ready: BTreeSet<(DateTime<Utc>, u64, LaneNo)>,
    turns: u64,
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
    served_at: DateTime<Utc>,
    turn: u64,
    queued: Option<Place>,
}

/// Where a lane stands.
#[derive(Clone, Copy)]
enum Place {
    Later(DateTime<Utc>),
    Ready(DateTime<Utc>),
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
                served_at: DateTime::<Utc>::MIN_UTC,
                turn: 0,
                queued: None,
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
        let at = if waiting.doomed {
            DateTime::<Utc>::MIN_UTC
        } else if waiting.has_place() {
            let open_at = Some(waiting.lane.open_at(now)).filter(|at| *at > now);
            open_at.map_or(due(head), |at| at.max(due(head)))
        } else {
            return; // it comes back when a place becomes free
        };
        waiting.queued = Some(Place::Later(at));
        self.later.insert((at, no));
        self.rings = true;
    }

    fn leave_queue(&mut self, no: LaneNo) {
        let waiting = &mut self.lanes[no.0];
        match waiting.queued.take() {
            Some(Place::Later(at)) => self.later.remove(&(at, no)),
            Some(Place::Ready(since)) => self.ready.remove(&(since, waiting.turn, no)),
            None => false,
        };
    }

    /// Up to `max` lanes whose turn it is, in order.
    pub(super) fn ready(&mut self, max: usize, now: DateTime<Utc>) -> Vec<LaneNo> {
        while let Some(&(at, no)) = self.later.first().filter(|(at, _)| *at <= now) {
            self.later.pop_first();
            let waiting = &mut self.lanes[no.0];
            let since = at.max(waiting.served_at.min(now));
            waiting.queued = Some(Place::Ready(since));
            self.ready.insert((since, waiting.turn, no));
        }
        self.ready.iter().take(max).map(|(.., no)| *no).collect()
    }

    /// Notes that a lane has had its turn.
    pub(super) fn served(&mut self, no: LaneNo, now: DateTime<Utc>) {
        self.leave_queue(no);
        self.turns += 1;
        let waiting = &mut self.lanes[no.0];
        (waiting.served_at, waiting.turn) = (now, self.turns);
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
