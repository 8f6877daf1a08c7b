//! What is known of a flusher's runs over one lane, kept in another way than stores keep them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Book, ROUNDING};
use crate::id::DeliveryId;
use crate::retry::Flusher;
use crate::testing::simulation::violation::Invariant;
use crate::time::{Clock, after};

/// How far from the present a call may believe to be for what it does to be judged by the clock.
const ASTRAY: Duration = Duration::from_secs(9);

/// How much longer than a period what awaits a run may wait for one, with a place free for it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct RunBook {
    pub(super) flusher: Option<Flusher>,
    started: u64,
    /// Not known after the clock was set.
    last_start: Option<DateTime<Utc>>,
    run: Option<Run>,
    /// What awaits a run, with the number of the first that may take it.
    awaiting: BTreeMap<DeliveryId, u64>,
    /// Since when something has awaited a run with a place free for it, by what had passed.
    wanted_since: Option<Duration>,
}

struct Run {
    flusher: Flusher,
    current: Option<DeliveryId>,
    position: Option<DeliveryId>,
    failures: u32,
    timeouts: u32,
}

/// What came of an attempt in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landed {
    Accepted,
    Failed,
    TimedOut,
    /// There was no attempt.
    Uncounted,
}

impl Run {
    fn has_stopped(&self) -> bool {
        self.failures >= self.flusher.max_consecutive_failures().get()
            || self.timeouts >= self.flusher.max_timeouts().get()
    }
}

impl RunBook {
    pub(super) fn next_number(&self) -> u64 {
        self.started + 1
    }

    pub(super) fn is_awaiting(&self, id: &DeliveryId) -> bool {
        self.awaiting.contains_key(id)
    }

    pub(super) fn awaiting(&self) -> impl Iterator<Item = DeliveryId> {
        self.awaiting.keys().copied()
    }

    pub(super) fn await_run(&mut self, id: DeliveryId, number: u64) {
        self.awaiting.insert(id, number);
    }

    pub(super) fn leave(&mut self, id: DeliveryId) {
        self.awaiting.remove(&id);
    }

    /// What the run under way has to take next.
    pub(super) fn next(&self) -> Option<DeliveryId> {
        let run = self.run.as_ref()?;
        let is_free = run.current.is_none() && !run.has_stopped();
        let is_part = |(id, number): &(&DeliveryId, &u64)| {
            run.position.is_none_or(|position| **id > position) && **number <= self.started
        };
        let next = self.awaiting.iter().find(is_part).map(|(id, _)| *id);
        next.filter(|_| is_free)
    }

    /// Notes that a delivery is given out that awaits a run. What is wrong with that.
    fn take(&mut self, id: DeliveryId, now: DateTime<Utc>) -> Option<(Invariant, String)> {
        self.wanted_since = None;
        let flusher = self.flusher?;
        if let Some(current) = self.run.as_ref().and_then(|run| run.current) {
            return Some((
                Invariant::RunsOverlap,
                format!("taken by a run while {current} is in flight"),
            ));
        }
        let mut wrong = None;
        match self.next() {
            Some(next) if next != id => {
                let seen = format!("taken by a run before {next}");
                wrong = Some((Invariant::RunOutOfOrder, seen));
            }
            Some(_) => {}
            None => {
                let stopped = self.run.as_ref().is_some_and(Run::has_stopped);
                let tick = self.last_start.map(|start| after(start, flusher.period()));
                if let Some(tick) = tick.filter(|tick| now + ROUNDING < *tick) {
                    let invariant = match stopped {
                        true => Invariant::RunWentOn,
                        false => Invariant::SentBeforeDue,
                    };
                    wrong = Some((
                        invariant,
                        format!("taken at {now}, and the next run starts at {tick}"),
                    ));
                } else if let Some(oldest) = self.awaiting.keys().next().filter(|oldest| **oldest != id) {
                    let seen = format!("taken by a run before {oldest}, which is older");
                    wrong = Some((Invariant::RunOutOfOrder, seen));
                }
                self.started += 1;
                self.last_start = Some(now);
                self.run = Some(Run {
                    flusher,
                    current: None,
                    position: None,
                    failures: 0,
                    timeouts: 0,
                });
            }
        }
        if let Some(run) = &mut self.run {
            run.current = Some(id);
        }
        wrong
    }

    pub(super) fn landed(&mut self, id: DeliveryId, how: Landed) {
        let Some(run) = self.run.as_mut().filter(|run| run.current == Some(id)) else {
            return;
        };
        run.current = None;
        match how {
            Landed::Uncounted => return,
            Landed::Accepted => run.failures = 0,
            Landed::Failed => run.failures += 1,
            Landed::TimedOut => (run.failures, run.timeouts) = (run.failures + 1, run.timeouts + 1),
        }
        run.position = Some(id);
    }

    pub(super) fn forget_time(&mut self) {
        (self.last_start, self.wanted_since) = (None, None);
    }
}

impl Book {
    /// A delivery comes to await a run of its lane: the next, or an earlier one that it awaited already.
    pub(super) fn awaits_run(&mut self, id: DeliveryId, awaited: Option<u64>, now: DateTime<Utc>) {
        self.starts_to_wait(id, now);
        let Some(row) = self.rows.get_mut(&id) else { return };
        let runs = &mut self.lanes[row.lane].runs;
        if runs.flusher.is_some() {
            let next = runs.next_number();
            let number = awaited.map_or(next, |number| number.min(next));
            row.awaits = Some(number);
            runs.await_run(id, number);
        }
    }

    /// Judges a delivery that is given out and awaits a run.
    pub(super) fn is_taken_by_run(&mut self, id: DeliveryId, now: DateTime<Utc>) {
        let Some(row) = self.rows.get(&id) else { return };
        let lane = row.lane;
        if let Some((invariant, seen)) = self.lanes[lane].runs.take(id, now) {
            self.breach(invariant, || format!("delivery {id}: {seen}"));
        }
    }

    /// A call that speaks of a time long past, or of one that has not come since the clock was set back, can start runs
    /// at odd times, and have others wait for odd times. To be called before what such a call did is judged, and after.
    pub(in super::super) fn distrust(&mut self, now: DateTime<Utc>) {
        let present = self.time.now();
        if after(now, ASTRAY) < present || after(present, ASTRAY) < now {
            for lane in &mut self.lanes {
                lane.runs.forget_time();
            }
        }
    }

    /// Judges whether anything awaits a run in vain, after a claim that had a place left for it.
    pub(super) fn judge_waiting_for_runs(&mut self, now: DateTime<Utc>) {
        let (passed, is_present) = (self.time.passed(), now == self.time.now());
        for no in 0..self.lanes.len() {
            let lane = &self.lanes[no];
            let runs = &lane.runs;
            let period = runs.flusher.map(|flusher| flusher.period());
            let is_free = runs.run.as_ref().is_none_or(|run| run.current.is_none());
            let is_open = lane.is_open() && !lane.may_pause(now);
            let wants = is_present && is_open && lane.limits.rate.is_none() && is_free;
            let wants = wants && !runs.awaiting.is_empty();
            let since = runs.wanted_since.unwrap_or(passed);
            let key = lane.key.clone();
            self.lanes[no].runs.wanted_since = wants.then_some(since);
            if let Some(period) = period.filter(|period| wants && passed > since + *period + PATIENCE) {
                self.lanes[no].runs.wanted_since = None;
                self.breach(Invariant::Unfair, || {
                    format!("{key} has had no run in {period:?} and more")
                });
            }
        }
    }
}
