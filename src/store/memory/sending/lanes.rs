//! The lanes, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use chrono::{DateTime, Utc};

use super::holds::HoldNo;
use crate::delivery::{CLOCK_SKEW, Lane, LaneKey, LaneRules, Order, Runs};
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
    /// Since when it has had nothing but failures.
    pub(super) failing_since: Option<DateTime<Utc>>,
    /// Any order: by due time. Strict: by id alone, so the head is the oldest whether it is due or not.
    pending: BTreeSet<(DateTime<Utc>, DeliveryId)>,
    /// Its webhook's flusher at work, if it has one.
    pub(super) runs: Option<Runs>,
    /// The hold of its webhook, if there is one, and whether it closes the lane.
    pub(super) hold: Option<(HoldNo, bool)>,
    /// What awaits a run, with the number of the first one that may take it.
    awaiting: BTreeMap<DeliveryId, u64>,
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
    /// The lane of that name, made if need be, with these rules.
    pub(super) fn open(&mut self, key: LaneKey, rules: LaneRules, now: DateTime<Utc>) -> LaneNo {
        let no = *self.by_key.entry(key).or_insert_with(|| {
            self.lanes.push(Waiting {
                lane: Lane::new(rules.limits),
                doomed: false,
                in_flight: 0,
                failing_since: None,
                pending: BTreeSet::new(),
                runs: None,
                hold: None,
                awaiting: BTreeMap::new(),
                turn: 0,
                place: None,
            });
            LaneNo(self.lanes.len() - 1)
        });
        let Waiting {
            lane,
            runs,
            failing_since,
            ..
        } = &mut self.lanes[no.0];
        if rules.enabled && !lane.enabled {
            *failing_since = None;
        }
        lane.follow(&rules);
        match (rules.flusher, runs.as_mut()) {
            (Some(flusher), Some(runs)) => runs.change(flusher, now),
            (flusher, _) => *runs = flusher.map(Runs::of),
        }
        no
    }

    /// What waits in the lane of that name.
    pub(super) fn named(&self, key: &LaneKey) -> Option<&Waiting> {
        self.find(key).map(|no| &self.lanes[no.0])
    }

    pub(super) fn find(&self, key: &LaneKey) -> Option<LaneNo> {
        self.by_key.get(key).copied()
    }

    /// Takes the name from a lane and marks what waits in it as never to be sent.
    pub(super) fn doom(&mut self, key: &LaneKey) -> Option<LaneNo> {
        let no = self.by_key.remove(key)?;
        self.lanes[no.0].doomed = true;
        self.lanes[no.0].hold = None;
        Some(no)
    }

    pub(super) fn get(&mut self, no: LaneNo) -> &mut Waiting {
        &mut self.lanes[no.0]
    }

    /// Puts a lane where it belongs in the queue, after anything about it changed. `due` tells when a delivery is due,
    /// which its rank does not say in a strict lane.
    pub(super) fn requeue(
        &mut self,
        no: LaneNo,
        due: impl Fn(DeliveryId) -> DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        self.leave_queue(no);
        let waiting = &mut self.lanes[no.0];
        let Some(opens_at) = waiting.opens_at(due, now) else {
            return;
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
    /// From when on it has something to give; `None` if it has nothing, or no place, and then it comes back when one
    /// becomes free.
    fn opens_at(
        &mut self,
        due: impl Fn(DeliveryId) -> DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        if self.doomed {
            let is_empty = self.pending.is_empty() && self.awaiting.is_empty();
            return (!is_empty).then_some(now);
        }
        let run = self.run_opens_at(now);
        if !self.has_place() {
            return None;
        }
        let first = self.pending.first().map(|(_, head)| due(*head));
        let soonest = [first, run].into_iter().flatten().min()?;
        Some(soonest.max(self.lane.open_at(now)))
    }

    /// Sees to its runs, and says from when on one has something to take.
    fn run_opens_at(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let window_has_any = self.next_of_run().is_some();
        let runs = self.runs.as_mut()?;
        runs.update(!self.awaiting.is_empty(), window_has_any, now);
        runs.opens_at(window_has_any, now)
    }

    /// What the run under way takes next.
    fn next_of_run(&self) -> Option<DeliveryId> {
        let window = self.runs.as_ref()?.window()?;
        let from = window.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut part = self.awaiting.range((from, Bound::Included(window.newest)));
        part.find(|(_, number)| **number <= window.number)
            .map(|(id, _)| *id)
    }

    /// Takes out what a run sends next, and starts one first if it is time. `newest` is the latest delivery there is.
    pub(super) fn take_for_run(&mut self, newest: DeliveryId, now: DateTime<Utc>) -> Option<DeliveryId> {
        let runs = self.runs.as_mut()?;
        if runs.is_due(now) {
            runs.start(newest, now);
        }
        let next = self.next_of_run()?;
        self.awaiting.remove(&next);
        self.runs.as_mut()?.take(next);
        Some(next)
    }

    /// Takes out what goes next of that which awaits no run, if it is due.
    pub(super) fn take_due(&mut self, is_due: impl Fn(DeliveryId) -> bool) -> Option<DeliveryId> {
        let (_, head) = self.pending.first()?;
        if !is_due(*head) {
            return None;
        }
        self.pending.pop_first().map(|(_, head)| head)
    }

    pub(super) fn push_awaiting(&mut self, id: DeliveryId, number: u64) {
        self.awaiting.insert(id, number);
    }

    fn has_place(&self) -> bool {
        self.lane.enabled && self.closed_by().is_none() && self.in_flight < self.lane.places()
    }

    /// The hold that closes it: then nothing goes, and what comes back is kept back.
    pub(super) fn closed_by(&self) -> Option<HoldNo> {
        self.hold.filter(|(_, closes)| *closes).map(|(no, _)| no)
    }

    pub(super) fn push(&mut self, id: DeliveryId, due: DateTime<Utc>) {
        self.pending.insert((self.rank(due), id));
    }

    /// Takes out whatever there is, one after the other.
    pub(super) fn pop(&mut self) -> Option<DeliveryId> {
        let pending = self.pending.pop_first().map(|(_, id)| id);
        pending.or_else(|| self.awaiting.pop_first().map(|(id, _)| id))
    }

    /// Sorts what waits anew, after the rules of the lane changed. `due` is told whether a delivery that awaited a run
    /// does so no more, and says when it is due.
    pub(super) fn rerank(&mut self, mut due: impl FnMut(DeliveryId, bool) -> Option<DateTime<Utc>>) {
        let pending = std::mem::take(&mut self.pending);
        let pending = pending.into_iter().map(|(_, id)| (id, false));
        let awaiting = match self.runs {
            Some(_) => BTreeMap::new(),
            None => std::mem::take(&mut self.awaiting),
        };
        let all = pending.chain(awaiting.into_keys().map(|id| (id, true)));
        let all: Vec<_> = all
            .filter_map(|(id, awaited)| Some((self.rank(due(id, awaited)?), id)))
            .collect();
        self.pending = all.into_iter().collect();
    }

    fn rank(&self, due: DateTime<Utc>) -> DateTime<Utc> {
        match self.lane.order {
            Order::Any => due,
            Order::Strict => DateTime::<Utc>::MIN_UTC,
        }
    }
}
