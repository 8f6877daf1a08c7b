//! What workers make of their attempts, and whether the store believes them.

use chrono::{DateTime, Utc};

use super::exchanges::Heard;
use super::row::{Flight, Row};
use super::runs::Landed;
use super::{ActorNo, Book, ROUNDING};
use crate::delivery::{Outcome, Pacing, SendFailure, State};
use crate::id::{DeliveryId, Fence};
use crate::retry::{Decision, Verdict};
use crate::store::{Next, Settled, Settlement};
use crate::testing::simulation::violation::Invariant;
use crate::time::Clock;

type Fault = (Invariant, &'static str);

impl Book {
    pub(in super::super) fn settled(
        &mut self,
        actor: ActorNo,
        settlement: &Settlement,
        answer: Settled,
        now: DateTime<Utc>,
    ) {
        let Settlement { id, fence, next, .. } = settlement;
        self.log(|| {
            let outcome = settlement
                .attempt
                .as_ref()
                .map(|attempt| attempt.outcome.to_string());
            let outcome = outcome.as_deref().unwrap_or("no attempt");
            format!(
                "worker {} settles {id}#{fence}: {outcome}, {next:?}: {answer:?}",
                actor.0
            )
        });
        if !self.takes_effect(*id, *fence, answer) {
            return;
        }
        let Some(row) = self.rows.get_mut(id) else { return };
        let flight = row.flights.remove(fence);
        let faults = [
            judge(row, flight.as_ref(), settlement),
            judge_pacing(flight.as_ref(), settlement),
        ];
        for (invariant, seen) in faults.into_iter().flatten() {
            self.breach(invariant, || format!("delivery {id}: {seen}"));
        }
        let Some(row) = self.rows.get_mut(id) else { return };
        row.interrupted = false;
        if let Some(attempt) = &settlement.attempt {
            row.attempts += 1;
            row.history.push(attempt.outcome);
            self.attempts += 1;
            if *next != Next::Delivered {
                // Whatever the receiver did with it, the worker had to take it for failed.
                row.known_accepted = false;
                row.first_failure.get_or_insert(attempt.finished_at());
            }
            let failing_since = &mut self.lanes[row.lane].failing_since;
            match attempt.outcome {
                _ if *next == Next::Delivered => *failing_since = None,
                Outcome::Panicked | Outcome::Interrupted | Outcome::Failed(SendFailure::UrlChanged) => {}
                Outcome::Failed(SendFailure::Unprovable) => {}
                _ => {
                    failing_since.get_or_insert(attempt.finished_at());
                }
            }
        }
        let (lane, awaited) = (row.lane, row.awaits);
        let landed = match &settlement.attempt {
            None => Landed::Uncounted,
            Some(_) if *next == Next::Delivered => Landed::Accepted,
            Some(_) if has_timed_out(flight.as_ref()) => Landed::TimedOut,
            Some(_) => Landed::Failed,
        };
        self.distrust(now);
        self.lanes[lane].runs.landed(*id, landed);
        self.moves(*id, next.state(), false);
        let has_runs = self.lanes[lane].runs.flusher.is_some();
        match next {
            Next::Retry(_) if landed == Landed::Uncounted && awaited.is_some() && has_runs => {
                self.awaits_run(*id, None, now);
            }
            Next::Retry(due) => self.starts_to_wait(*id, *due),
            Next::AwaitRun => self.awaits_run(*id, None, now),
            Next::Delivered | Next::Exhausted | Next::Gone => self.comes_to_its_end(*id),
        }
        self.lanes[lane].land(settlement.pacing, now);
    }

    pub(in super::super) fn released(
        &mut self,
        actor: ActorNo,
        id: DeliveryId,
        fence: Fence,
        answer: Settled,
    ) {
        self.log(|| format!("worker {} releases {id}#{fence}: {answer:?}", actor.0));
        if !self.takes_effect(id, fence, answer) {
            return;
        }
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.flights.remove(&fence);
        row.known_accepted = false;
        let (due, awaited, lane) = (row.due, row.awaits, row.lane);
        self.lanes[lane].runs.landed(id, Landed::Uncounted);
        self.moves(id, State::Pending, false);
        match awaited {
            Some(_) => self.awaits_run(id, awaited, due),
            None => self.starts_to_wait(id, due),
        }
        let now = self.time.now();
        self.lanes[lane].land(Pacing::Keep, now);
    }

    /// Whether a settlement or release took effect, as it should if and only if its lease holds.
    fn takes_effect(&mut self, id: DeliveryId, fence: Fence, answer: Settled) -> bool {
        let is_held = self.rows.get(&id).is_some_and(|row| row.is_held_under(fence));
        match (is_held, answer) {
            (true, Settled::LeaseLost) => self.breach(Invariant::LeaseDisregarded, || {
                format!("delivery {id} could not be settled under {fence}, which holds")
            }),
            (false, Settled::Done) => self.breach(Invariant::SettledAfterLostLease, || {
                format!("delivery {id} was settled under {fence}, which is lost")
            }),
            _ => {}
        }
        is_held && answer == Settled::Done
    }
}

/// What is wrong with a settlement, by what is known of the request that was made.
fn judge(row: &Row, flight: Option<&Flight>, settlement: &Settlement) -> Option<Fault> {
    let exchange = flight.and_then(|flight| flight.exchange.as_ref());
    match (&settlement.attempt, exchange) {
        (None, Some(_)) => Some((
            Invariant::AttemptsMiscounted,
            "an attempt was made and not counted",
        )),
        (None, None) => judge_without_attempt(row, flight, settlement.next),
        (Some(_), None) => Some((
            Invariant::AttemptsMiscounted,
            "an attempt is reported that was not made",
        )),
        (Some(_), Some(exchange)) => match exchange.ended {
            None => Some((
                Invariant::AttemptsMiscounted,
                "an attempt is reported that is not over",
            )),
            Some((ended, heard)) => judge_attempt(row, flight, heard, ended, settlement.next),
        },
    }
}

/// Whether the lane is told of its receiver what was heard of it.
fn judge_pacing(flight: Option<&Flight>, settlement: &Settlement) -> Option<Fault> {
    let (ended, heard) = flight?.exchange.as_ref()?.ended?;
    let told = match heard {
        Heard::Answer(status, hint) => Pacing::of(Outcome::Answered(status), hint, ended),
        Heard::Nothing => Pacing::of(Outcome::TimedOut, None, ended),
        Heard::Broken => Pacing::Keep,
    };
    let told = match told {
        Pacing::Slow(_) if awaits_runs(flight) => Pacing::Keep,
        told => told,
    };
    let seen = "its lane is not told what its receiver bears";
    (settlement.pacing != told).then_some((Invariant::PaceIgnored, seen))
}

/// Nothing was sent: it was put off, or an interruption was judged.
fn judge_without_attempt(row: &Row, flight: Option<&Flight>, next: Next) -> Option<Fault> {
    if awaits_runs(flight) {
        let is_put_off = matches!(next, Next::Retry(_));
        return (!is_put_off).then_some((Invariant::Lost, "it ended without an attempt"));
    }
    let decided = row.interrupted.then(|| row.decide(row.attempts, row.due, None));
    match (next, decided) {
        (Next::Retry(due), Some(Decision::RetryAt(at))) if due < at - ROUNDING => Some((
            Invariant::SentBeforeDue,
            "put off for less than its schedule says",
        )),
        (Next::Retry(_), _) | (Next::Exhausted, Some(Decision::GiveUp)) => None,
        _ => Some((Invariant::Lost, "it ended without an attempt")),
    }
}

/// Whether a worker gave up waiting for an answer, whatever it says of it.
fn has_timed_out(flight: Option<&Flight>) -> bool {
    let ended = flight.and_then(|flight| flight.exchange.as_ref()?.ended);
    matches!(ended, Some((_, Heard::Nothing)))
}

fn awaits_runs(flight: Option<&Flight>) -> bool {
    flight.is_some_and(|flight| flight.awaits_runs)
}

fn judge_attempt(
    row: &Row,
    flight: Option<&Flight>,
    heard: Heard,
    ended: DateTime<Utc>,
    next: Next,
) -> Option<Fault> {
    let (verdict, hint) = match heard {
        Heard::Answer(status, hint) => (row.profile.classification().classify(status), hint),
        Heard::Broken | Heard::Nothing => (Verdict::Failed, None),
    };
    let decided = row.decide(row.attempts + 1, ended, hint);
    let fault = match (verdict, next) {
        (Verdict::Accepted, Next::Delivered) | (Verdict::Gone, Next::Gone) => return None,
        (Verdict::Accepted, _) => (
            Invariant::DuplicatedWithoutFault,
            "its acceptance was heard and not recorded",
        ),
        (_, Next::Delivered) => (Invariant::Lost, "taken for delivered, though nobody accepted it"),
        (_, Next::Gone) => (Invariant::Lost, "taken for gone, though nobody said so"),
        (Verdict::Gone, _) => (
            Invariant::AttemptsMiscounted,
            "tried again, though the receiver is gone",
        ),
        (Verdict::Failed, Next::Exhausted) if decided == Decision::GiveUp => return None,
        (Verdict::Failed, Next::Exhausted) => (Invariant::Lost, "given up before its schedule ends"),
        (Verdict::Failed, Next::AwaitRun) if awaits_runs(flight) => return None,
        (Verdict::Failed, Next::AwaitRun) => (Invariant::SentBeforeDue, "to await a run that nobody starts"),
        (Verdict::Failed, _) if awaits_runs(flight) => (
            Invariant::SentBeforeDue,
            "to go by a schedule, where it is to await a run",
        ),
        (Verdict::Failed, Next::Retry(due)) => match decided {
            Decision::GiveUp => (
                Invariant::AttemptsMiscounted,
                "tried again after its schedule ended",
            ),
            Decision::RetryAt(at) if due < at - ROUNDING => (
                Invariant::SentBeforeDue,
                "to be tried earlier than its schedule says",
            ),
            Decision::RetryAt(_) => return None,
        },
    };
    Some(fault)
}
