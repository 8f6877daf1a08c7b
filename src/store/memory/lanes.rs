//! The lanes, and whose turn it is.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::delivery::{Lane, LaneKey, Limits, Order};
use crate::id::DeliveryId;
use crate::time::before;

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
    /// Those of `later` that only their rate holds back, by the earliest instant at which the clock can have been when
    /// they were put there. If it shows less, it was set back, and they are asked anew.
    throttled: BTreeSet<(DateTime<Utc>, LaneNo)>,
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
    /// Its entry in `throttled`.
    throttled: Option<DateTime<Utc>>,
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
                throttled: None,
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
        let Some(at) = waiting.gives_at(&due, now) else {
            return; // it comes back when there is something in it, or a place becomes free
        };
        if let Some(rate) = waiting.lane.limits.rate
            && waiting.head().is_some_and(|head| at > due(head))
        {
            let clock_was_past = before(at, rate.longest_wait());
            waiting.throttled = Some(clock_was_past);
            self.throttled.insert((clock_was_past, no));
        }
        waiting.queued = Some(Place::Later(at));
        self.later.insert((at, no));
        self.rings = true;
    }

    fn leave_queue(&mut self, no: LaneNo) {
        let waiting = &mut self.lanes[no.0];
        if let Some(clock_was_past) = waiting.throttled.take() {
            self.throttled.remove(&(clock_was_past, no));
        }
        match waiting.queued.take() {
            Some(Place::Later(at)) => self.later.remove(&(at, no)),
            Some(Place::Ready(since)) => self.ready.remove(&(since, waiting.turn, no)),
            None => false,
        };
    }

    /// Up to `max` lanes whose turn it is, in order.
    pub(super) fn ready(
        &mut self,
        max: usize,
        due: impl Fn(DeliveryId) -> DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Vec<LaneNo> {
        // If the clock was set back, some stand where they do by instants that have not come.
        while let Some(&(_, no)) = self.throttled.last().filter(|(past, _)| *past > now) {
            self.requeue(no, &due, now);
        }
        while let Some(&(.., no)) = self.ready.last().filter(|(since, ..)| *since > now) {
            self.requeue(no, &due, now);
        }
        while let Some(&(at, no)) = self.later.first().filter(|(at, _)| *at <= now) {
            self.leave_queue(no);
            let waiting = &mut self.lanes[no.0];
            let since = at.max(waiting.served_at.min(now));
            waiting.queued = Some(Place::Ready(since));
            self.ready.insert((since, waiting.turn, no));
        }
        let (mut turns, mut shut) = (Vec::new(), Vec::new());
        for (.., no) in &self.ready {
            if turns.len() == max {
                break;
            }
            // A rate that was open is not so any more if the clock was set back a little.
            match self.lanes[no.0].gives_at(&due, now) {
                Some(at) if at <= now => turns.push(*no),
                _ => shut.push(*no),
            }
        }
        for no in shut {
            self.requeue(no, &due, now);
        }
        turns
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
    /// From when on it has something to give, as things stand.
    fn gives_at(
        &self,
        due: impl Fn(DeliveryId) -> DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let head = self.head()?;
        if self.doomed {
            return Some(DateTime::<Utc>::MIN_UTC);
        }
        let open_at = Some(self.lane.open_at(now)).filter(|at| *at > now);
        self.has_place()
            .then(|| open_at.map_or(due(head), |at| at.max(due(head))))
    }

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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::delivery::Rate;
    use crate::time::after;

    fn at(seconds: u64) -> DateTime<Utc> {
        after(DateTime::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    /// A lane in which the delivery of that number waits, due at that second.
    fn open(lanes: &mut Lanes, number: u64, rate: Option<Rate>, now: DateTime<Utc>) -> LaneNo {
        let limits = Limits {
            rate,
            ..Limits::default()
        };
        let key = LaneKey::webhook(&number.to_string().as_str().into());
        let no = lanes.open(key, limits, Order::Any, true);
        lanes.get(no).push(DeliveryId(number as i64), at(number));
        lanes.requeue(no, due, now);
        no
    }

    fn due(id: DeliveryId) -> DateTime<Utc> {
        at(id.0.unsigned_abs())
    }

    #[test]
    fn after_the_clock_went_back_what_is_not_due_takes_no_turn() {
        let mut lanes = Lanes::default();
        let early = open(&mut lanes, 1, None, at(0));
        let late = open(&mut lanes, 50, None, at(0));
        lanes.served(early, at(60));
        lanes.requeue(early, due, at(60));
        assert_eq!(lanes.ready(9, due, at(60)), [late, early]);
        assert_eq!(lanes.ready(1, due, at(10)), [early]);
    }

    #[test]
    fn after_the_clock_went_back_who_waited_before_keeps_the_turn() {
        let mut lanes = Lanes::default();
        let waiting = open(&mut lanes, 1, None, at(0));
        lanes.served(waiting, at(60));
        lanes.requeue(waiting, due, at(60));
        assert_eq!(lanes.ready(9, due, at(60)), [waiting]);
        let active = open(&mut lanes, 2, None, at(10));
        for _ in 0..2 {
            lanes.served(active, at(10));
            lanes.requeue(active, due, at(10));
        }
        assert_eq!(lanes.ready(1, due, at(10)), [waiting]);
    }

    #[test]
    fn after_the_clock_went_back_a_little_a_shut_rate_takes_no_turn() {
        let rate = Rate {
            interval: Duration::from_secs(1),
            burst: NonZeroU32::MIN,
        };
        let mut lanes = Lanes::default();
        let shut = open(&mut lanes, 1, Some(rate), at(0));
        lanes.get(shut).lane.spend(1, at(8));
        lanes.requeue(shut, due, at(9));
        let other = open(&mut lanes, 2, None, at(9));
        assert_eq!(lanes.ready(9, due, at(9)), [shut, other]);
        assert_eq!(lanes.ready(1, due, at(5)), [other]);
    }

    #[test]
    fn after_the_clock_went_back_a_rate_does_not_stand_still() {
        let rate = Rate {
            interval: Duration::from_secs(1),
            burst: NonZeroU32::MIN,
        };
        let mut lanes = Lanes::default();
        let no = open(&mut lanes, 1, Some(rate), at(0));
        lanes.get(no).lane.spend(1, at(600));
        lanes.requeue(no, due, at(600));
        assert_eq!(lanes.ready(9, due, at(600)), []);
        assert_eq!(lanes.ready(9, due, at(5)), [no]);
    }
}
