//! What waits in a lane, for stores that keep lanes as rows: where the lane stands in the queue, and how a delivery that
//! waits in it is written down. What is decided here is decided alike whatever keeps the rows.

use chrono::{DateTime, Utc};

use super::codec::{ceil, floor, whole};
use super::{Next, Settlement};
use crate::delivery::{AttemptReport, Lane, Order, Outcome, Pace, Pacing, Runs, State, failing_since};
use crate::id::DeliveryId;

/// The rank of what awaits a run: after everything else, and by id.
pub(super) const AWAITS_RUN: i64 = i64::MAX;

/// A hold's row id. They rise in the order in which holds were placed.
pub(super) type HoldNo = i64;

/// What waits in one lane.
#[derive(Clone, PartialEq)]
pub(super) struct Waiting {
    pub(super) lane: Lane,
    /// Its webhook was removed: nothing in it is sent any more.
    pub(super) doomed: bool,
    pub(super) in_flight: u32,
    /// Since when it has had nothing but failures.
    pub(super) failing_since: Option<DateTime<Utc>>,
    /// The number of its last turn.
    pub(super) turn: i64,
    pub(super) place: Place,
    /// Its webhook's flusher at work, if it has one.
    pub(super) runs: Option<Runs>,
    /// The hold of its webhook, if there is one, and whether it closes the lane.
    pub(super) hold: Option<(HoldNo, bool)>,
}

/// Where a lane stands, as in the memory store: a turn is a number and no instant, so that it does not matter to it
/// what is done to the clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// It has nothing to give, or no room.
    Nowhere,
    /// It has something to give from that instant on.
    Later(i64),
    /// It waits for its turn.
    Ready,
}

/// What stands at the front of a lane, of what its rows say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Front {
    /// Rank and due time of the delivery that is first; of one that awaits a run only where there is no other.
    pub(super) first: Option<(i64, i64)>,
    /// Whether any awaits a run.
    pub(super) anything_awaits: bool,
    /// Whether the run under way has any to take.
    pub(super) window_has_any: bool,
}

/// How a delivery that waits is written down, or one that is kept back instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) state: State,
    /// The hold, if it is held.
    pub(super) held_by: Option<HoldNo>,
    /// The lower goes first, and of two alike the one with the lower id.
    pub(super) rank: i64,
    pub(super) due: i64,
    /// The number of the first run that may take it, if it awaits one.
    pub(super) awaits: Option<i64>,
}

impl Place {
    /// Whether a lane that stood there before has come to have something to give sooner.
    pub(super) fn is_sooner_than(self, before: Self) -> bool {
        match (self, before) {
            (Place::Ready, before) => before != Place::Ready,
            (Place::Later(now), Place::Later(before)) => now < before,
            (Place::Later(_), before) => before == Place::Nowhere,
            (Place::Nowhere, _) => false,
        }
    }

    /// The instant from which on it has something to give, where that is not yet.
    pub(super) fn opens_at(self) -> Option<i64> {
        match self {
            Place::Later(at) => Some(at),
            Place::Nowhere | Place::Ready => None,
        }
    }
}

impl Waiting {
    /// Notes that the lane has had its turn.
    pub(super) fn served(&mut self, turn: i64) {
        self.turn = turn;
    }

    /// Notes that so many more are in flight.
    pub(super) fn take(&mut self, taken: u32, now: DateTime<Utc>) {
        self.in_flight = self.in_flight.saturating_add(taken);
        self.lane.spend(taken, now);
    }

    /// Whether one more may be in flight, apart from the rate and from pauses.
    pub(super) fn has_room(&self) -> bool {
        self.lane.enabled && self.closed_by().is_none() && self.in_flight < self.lane.places()
    }

    /// Puts the lane where it belongs in the queue, and sees to its runs.
    pub(super) fn put(&mut self, front: Front, now: DateTime<Utc>) {
        self.place = if self.doomed {
            front.first.map_or(Place::Nowhere, |_| Place::Ready)
        } else {
            self.place(front, now)
        };
    }

    fn place(&mut self, front: Front, now: DateTime<Utc>) -> Place {
        let run = self.runs.as_mut().and_then(|runs| {
            runs.update(front.anything_awaits, front.window_has_any, now);
            runs.opens_at(front.window_has_any, now).map(ceil)
        });
        if !self.has_room() {
            return Place::Nowhere; // it comes back when a place becomes free
        }
        let first = front.first.filter(|(rank, _)| *rank != AWAITS_RUN);
        let soonest = [first.map(|(_, due)| due), run].into_iter().flatten().min();
        soonest.map_or(Place::Nowhere, |due| {
            match due.max(ceil(self.lane.open_at(now))) {
                opens_at if opens_at <= floor(now) => Place::Ready,
                opens_at => Place::Later(opens_at),
            }
        })
    }

    /// The hold that closes it: then nothing goes, and what comes back is kept back.
    pub(super) fn closed_by(&self) -> Option<HoldNo> {
        self.hold.filter(|(_, closes)| *closes).map(|(no, _)| no)
    }

    /// How a delivery waits in it that goes once it is due.
    pub(super) fn waits_until(&self, due: i64) -> Waits {
        let rank = match self.lane.order {
            Order::Any => due,
            Order::Strict => 0,
        };
        let held_by = self.closed_by();
        Waits {
            state: if held_by.is_some() {
                State::Held
            } else {
                State::Pending
            },
            held_by,
            rank,
            due,
            awaits: None,
        }
    }

    /// How a delivery waits in it that goes in a run: the next one, or an earlier one that it awaited already. If the lane
    /// has no runs by now, once it is due.
    fn waits_for_run(&self, awaited: Option<i64>, due: i64) -> Waits {
        let Some(runs) = self.runs.as_ref().filter(|_| self.closed_by().is_none()) else {
            return self.waits_until(due);
        };
        let next = number_column(runs.next_number());
        Waits {
            state: State::Pending,
            held_by: None,
            rank: AWAITS_RUN,
            due,
            awaits: Some(awaited.map_or(next, |number| number.min(next))),
        }
    }

    /// Notes how an attempt went that counts for how the webhook fares.
    pub(super) fn attempted(&mut self, attempt: &AttemptReport, delivered: bool) {
        self.failing_since = failing_since(self.failing_since, attempt, delivered).map(whole);
    }

    /// Notes that one fewer is in flight, and what that says of the pace.
    fn land(&mut self, pacing: Pacing, now: DateTime<Utc>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.lane.land(pacing, self.in_flight, now);
    }

    /// A delivery comes back whose worker never reported.
    pub(super) fn interrupted(&mut self, id: DeliveryId, now: DateTime<Utc>) -> Waits {
        self.land(Pacing::Keep, now);
        match &mut self.runs {
            Some(runs) => {
                runs.handle_failure(id, false);
                let tick = ceil(runs.tick(now));
                self.waits_for_run(None, tick)
            }
            None => self.waits_until(floor(now)),
        }
    }

    /// A delivery comes back that was not attempted.
    pub(super) fn released(
        &mut self,
        id: DeliveryId,
        awaited: Option<i64>,
        due: i64,
        now: DateTime<Utc>,
    ) -> Waits {
        self.land(Pacing::Keep, now);
        if let Some(runs) = &mut self.runs {
            runs.handle_uncounted(id);
        }
        match awaited {
            Some(_) => self.waits_for_run(awaited, due),
            None => self.waits_until(due),
        }
    }

    /// A delivery lands. `awaited` and `due` are what was noted of it when it was claimed.
    pub(super) fn settled(
        &mut self,
        settlement: &Settlement,
        awaited: Option<i64>,
        due: i64,
        now: DateTime<Utc>,
    ) -> Waits {
        self.land(settlement.pacing, whole(now));
        let tick = self.runs.as_mut().map(|runs| {
            match &settlement.attempt {
                None => runs.handle_uncounted(settlement.id),
                Some(_) if settlement.next == Next::Delivered => runs.handle_accepted(settlement.id),
                Some(report) => runs.handle_failure(settlement.id, report.outcome == Outcome::TimedOut),
            }
            ceil(runs.tick(whole(now)))
        });
        let at_the_earliest = |due| if due > now { ceil(due) } else { floor(due) };
        match settlement.next {
            Next::Retry(due) if awaited.is_some() && settlement.attempt.is_none() => {
                let due = at_the_earliest(due);
                self.waits_for_run(None, tick.map_or(due, |tick| tick.max(due)))
            }
            Next::Retry(due) => self.waits_until(at_the_earliest(due)),
            Next::AwaitRun => self.waits_for_run(None, tick.unwrap_or(floor(now))),
            Next::Delivered | Next::Exhausted | Next::Gone => self.waits_until(due),
        }
    }
}

/// The number of a run, as rows keep it.
pub(super) fn number_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The pace of a lane, as rows keep it: nothing at full pace, which is how nearly all lanes go.
pub(super) fn pace_column(pace: &Pace) -> Result<Option<String>, serde_json::Error> {
    (*pace != Pace::full())
        .then(|| serde_json::to_string(pace))
        .transpose()
}

/// Reads what [`pace_column`] wrote.
pub(super) fn pace_read(column: Option<&str>) -> Result<Pace, serde_json::Error> {
    column.map_or(Ok(Pace::full()), serde_json::from_str)
}
