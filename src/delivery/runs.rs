//! The regular runs over what has failed in one lane.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::lane::CLOCK_SKEW;
use crate::id::DeliveryId;
use crate::retry::{Flusher, Run, Step};
use crate::time::after;

/// The runs of a [`Flusher`] over one lane: that under way, if one is, and when the next one starts.
///
/// A store keeps this beside the lane's other facts, asks it inside the transaction that claims, and tells it what came
/// of what a run has taken. So runs never overlap, whichever processes claim, and a run goes on after a crash with
/// whoever claims next.
///
/// Each delivery that awaits a run keeps the number of the first one that may take it ([`next_number`](Self::next_number)),
/// so what fails during a run is left out of it whatever is done to the clock. A run that nobody awaits does not take
/// place.
///
/// ```
/// use chrono::{DateTime, TimeDelta, Utc};
/// use ringback::delivery::Runs;
/// use ringback::id::DeliveryId;
/// use ringback::retry::Flusher;
///
/// let (id, start) = (DeliveryId(7), DateTime::<Utc>::UNIX_EPOCH);
/// let mut runs = Runs::of(Flusher::default());
/// runs.update(true, false, start); // something has failed and waits
/// let tick = start + TimeDelta::minutes(5);
/// assert_eq!(runs.opens_at(false, start), Some(tick));
///
/// runs.start(id, tick);
/// assert!(runs.window().is_some_and(|window| window.number == 1));
/// runs.take(id);
/// assert!(runs.window().is_none(), "one at a time");
/// runs.handle_accepted(id);
/// runs.update(false, false, tick);
/// assert!(runs.window().is_none() && !runs.is_due(tick));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    flusher: Flusher,
    /// How many have started.
    started: u64,
    last_start: Option<DateTime<Utc>>,
    run: Option<Run>,
    /// What the run under way has in flight.
    current: Option<DeliveryId>,
    /// When the next one starts, if none is under way and something awaits it.
    next: Option<DateTime<Utc>>,
}

/// What a run may take now: of the deliveries that await a run of this [`number`](Self::number) or a lower one, the
/// oldest between these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunWindow {
    /// The one that it took last; those it takes come after it.
    pub after: Option<DeliveryId>,
    /// The latest delivery that is part of it.
    pub newest: DeliveryId,
    /// The run's number.
    pub number: u64,
}

impl Runs {
    /// A lane's runs, of which none has started.
    pub fn of(flusher: Flusher) -> Self {
        Self {
            flusher,
            started: 0,
            last_start: None,
            run: None,
            current: None,
            next: None,
        }
    }

    /// Goes by another flusher from the next run on. A run under way goes on by the one it started with.
    pub fn change(&mut self, flusher: Flusher, now: DateTime<Utc>) {
        if self.flusher != flusher {
            self.flusher = flusher;
            self.next = self.next.map(|next| next.min(self.tick(now)));
        }
    }

    /// The number of the first run that may take what comes to wait now.
    pub fn next_number(&self) -> u64 {
        self.started + 1
    }

    /// The first tick after now: when a run is to be expected that takes what comes to wait now.
    ///
    /// A call that comes a little late, or from a machine whose clock is a little behind, may know of a time before the last
    /// start.
    pub fn tick(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let start = self.last_start.filter(|start| *start <= after(now, CLOCK_SKEW));
        self.flusher
            .next_run(self.last_start, start.map_or(now, |start| start.max(now)))
    }

    /// What the run under way may take now; `None` if there is no run, or it has something in flight, or has stopped.
    pub fn window(&self) -> Option<RunWindow> {
        let run = self.run.as_ref()?;
        let is_free = self.current.is_none() && run.step() == Step::Continue;
        is_free.then(|| RunWindow {
            after: run.position(),
            newest: run.newest(),
            number: self.started,
        })
    }

    /// Whether it is time to start a run.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.run.is_none() && self.next.is_some_and(|next| next <= now)
    }

    /// Starts a run. `newest` is the latest delivery there is.
    pub fn start(&mut self, newest: DeliveryId, now: DateTime<Utc>) {
        self.started += 1;
        (self.last_start, self.next) = (Some(now), None);
        self.run = Some(self.flusher.start(newest, now));
    }

    /// Notes that the run under way has this in flight.
    pub fn take(&mut self, delivery: DeliveryId) {
        self.current = Some(delivery);
    }

    /// A delivery was accepted. Where the run under way did not [take](Self::take) it, this and its like change nothing.
    pub fn handle_accepted(&mut self, delivery: DeliveryId) {
        if let Some(run) = self.landed(delivery) {
            run.handle_accepted(delivery);
        }
    }

    /// A delivery failed, an attempt having been counted. A timeout is also a failure.
    pub fn handle_failure(&mut self, delivery: DeliveryId, timed_out: bool) {
        if let Some(run) = self.landed(delivery) {
            run.handle_failure(delivery, timed_out);
        }
    }

    /// A delivery was given back without an attempt: the run's counts stay as they are.
    pub fn handle_uncounted(&mut self, delivery: DeliveryId) {
        self.landed(delivery);
    }

    fn landed(&mut self, delivery: DeliveryId) -> Option<&mut Run> {
        self.current.take_if(|current| *current == delivery)?;
        self.run.as_mut()
    }

    /// To be called after anything about the lane has changed: ends a run that has nothing left to take, and settles
    /// when the next one starts. `anything_awaits` says whether any delivery awaits a run, `window_has_any` whether the
    /// present [window](Self::window) has any.
    ///
    /// An instant that is further off than one period, and than clocks may differ, is not believed: it was reckoned before the
    /// clock was set back.
    pub fn update(&mut self, anything_awaits: bool, window_has_any: bool, now: DateTime<Utc>) {
        if self.run.is_some() && self.current.is_none() && !window_has_any {
            self.run = None;
        }
        let is_wanted = anything_awaits && self.run.is_none();
        let latest = after(now, self.flusher.period().saturating_add(CLOCK_SKEW));
        self.next = is_wanted.then(|| match self.next.filter(|next| *next <= latest) {
            Some(next) => next,
            None => self.tick(now),
        });
    }

    /// From when on there is something for a run to take; `None` if nothing awaits one, or something is in flight.
    /// `window_has_any` as in [`update`](Self::update), which was called before.
    pub fn opens_at(&self, window_has_any: bool, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.run {
            Some(_) => window_has_any.then_some(now),
            None => self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    const START: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

    fn at(seconds: i64) -> DateTime<Utc> {
        START + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_run_ends_when_it_stops_and_the_next_keeps_the_beat() {
        let flusher = Flusher::default().with_max_consecutive_failures(NonZeroU32::MIN);
        let mut runs = Runs::of(flusher);
        runs.update(true, false, at(10));
        assert!(!runs.is_due(at(309)) && runs.is_due(at(310)));
        runs.start(DeliveryId(9), at(310));
        runs.take(DeliveryId(3));
        runs.update(true, false, at(310));
        assert_eq!(
            runs.opens_at(false, at(310)),
            None,
            "the run has something in flight"
        );
        runs.handle_failure(DeliveryId(3), false);
        runs.update(true, true, at(320));
        assert_eq!(runs.window(), None);
        runs.update(true, false, at(320));
        assert_eq!(runs.opens_at(false, at(320)), Some(at(610)));
    }

    #[test]
    fn what_was_not_taken_by_the_run_changes_nothing() {
        let mut runs = Runs::of(Flusher::default());
        runs.start(DeliveryId(9), START);
        runs.take(DeliveryId(3));
        let before = runs.clone();
        runs.handle_failure(DeliveryId(4), true);
        runs.handle_accepted(DeliveryId(2));
        runs.handle_uncounted(DeliveryId(5));
        assert_eq!(runs, before);
        runs.handle_uncounted(DeliveryId(3));
        let window = runs.window().unwrap();
        assert_eq!(
            window.after, None,
            "nothing was counted, so it may be taken again"
        );
    }

    #[test]
    fn a_clock_set_back_does_not_put_the_next_run_off() {
        let mut runs = Runs::of(Flusher::default());
        runs.update(true, false, at(100_000));
        runs.update(true, false, at(0));
        assert_eq!(runs.opens_at(false, at(0)), Some(at(300)));
    }

    #[test]
    fn a_call_that_comes_late_does_not_bring_the_next_run_forward() {
        let mut runs = Runs::of(Flusher::default());
        runs.start(DeliveryId(9), at(1_000));
        runs.update(false, false, at(1_000));
        runs.update(true, false, at(995));
        assert_eq!(runs.opens_at(false, at(995)), Some(at(1_300)));
        runs.update(true, false, at(991));
        assert_eq!(runs.opens_at(false, at(991)), Some(at(1_300)));
    }

    #[test]
    fn a_shorter_period_brings_the_next_run_forward() {
        let mut runs = Runs::of(Flusher::default());
        runs.update(true, false, at(0));
        let shorter = Flusher::default().with_period(std::time::Duration::from_secs(20));
        runs.change(shorter.unwrap(), at(5));
        assert_eq!(runs.opens_at(false, at(5)), Some(at(25)));
    }

    proptest! {
        /// A lane of deliveries that fail and succeed at random: each run takes each that awaited it at most once, in
        /// order, never two at a time, none that came to wait during it, and nothing waits for ever.
        #[test]
        fn runs_keep_their_rules(outcomes in proptest::collection::vec(0u8..4, 1..200), lane in 1i64..30) {
            let mut awaiting: BTreeMap<DeliveryId, u64> = (1..=lane).map(|id| (DeliveryId(id), 1)).collect();
            let mut runs = Runs::of(Flusher::default());
            let mut now = START;
            let mut last: Option<(u64, DeliveryId)> = None;
            for outcome in outcomes {
                let in_window = |runs: &Runs, awaiting: &BTreeMap<DeliveryId, u64>| {
                    let window = runs.window()?;
                    awaiting
                        .iter()
                        .find(|(id, number)| {
                            window.after.is_none_or(|after| **id > after)
                                && **id <= window.newest
                                && **number <= window.number
                        })
                        .map(|(id, _)| *id)
                };
                runs.update(!awaiting.is_empty(), in_window(&runs, &awaiting).is_some(), now);
                if awaiting.is_empty() {
                    break;
                }
                let any = in_window(&runs, &awaiting).is_some();
                let opens = runs.opens_at(any, now).expect("what awaits a run gets one");
                prop_assert!(opens <= after(now, Flusher::default().period()));
                now = now.max(opens);
                if runs.is_due(now) {
                    runs.start(DeliveryId(lane), now);
                }
                let id = in_window(&runs, &awaiting).expect("an open run has something to take");
                let number = awaiting.remove(&id).unwrap();
                let run = runs.window().unwrap().number;
                prop_assert!(number <= run);
                prop_assert!(last < Some((run, id)), "{last:?} then {run} {id}");
                last = Some((run, id));
                runs.take(id);
                match outcome {
                    0 => runs.handle_accepted(id),
                    1 => {
                        runs.handle_uncounted(id);
                        awaiting.insert(id, runs.next_number());
                    }
                    _ => {
                        runs.handle_failure(id, outcome == 3);
                        awaiting.insert(id, runs.next_number());
                    }
                }
                let kept = serde_json::to_string(&runs).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Runs>(&kept).unwrap(), &runs);
            }
        }
    }
}
