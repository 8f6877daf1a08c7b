//! What claims give out, and what they leave waiting.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::row::{Flight, Lease, Standing};
use super::runs::Landed;
use super::{ActorNo, Book, ROUNDING, Readback};
use crate::delivery::{DeadReason, Order, Outcome, Pacing, State};
use crate::id::DeliveryId;
use crate::store::{ClaimRequest, Claimed, Replayed};
use crate::testing::simulation::faults::FaultKind;
use crate::testing::simulation::violation::Invariant;

/// How long a call of the store can be under way while its worker is not disturbed.
const LONGEST_CALL: Duration = Duration::from_secs(2);

impl Book {
    /// The deliveries that a claim may change without giving them out: those whose leases have ended, and those of
    /// removed webhooks.
    pub(in super::super) fn may_change_at_claim(&self, now: DateTime<Utc>) -> Vec<DeliveryId> {
        let removed = self.lanes.iter().filter(|lane| lane.removed);
        let buried = removed.flat_map(|lane| lane.pending.iter().copied());
        let ended = self.leases.iter().take_while(|(ends, _)| *ends <= now);
        ended.map(|(_, id)| *id).chain(buried).collect()
    }

    pub(in super::super) fn claimed(
        &mut self,
        actor: ActorNo,
        request: &ClaimRequest,
        claimed: &[Claimed],
        unsure: &[Readback],
        taken: &[Readback],
    ) {
        let (now, had_burials) = (request.now, self.has_burials());
        let given: BTreeSet<_> = claimed.iter().map(|claimed| claimed.id).collect();
        for found in unsure {
            self.settle_doubt(found, given.contains(&found.id), now);
        }
        if !claimed.is_empty() {
            self.log(|| {
                let list: Vec<_> = claimed.iter().map(|c| format!("{}#{}", c.id, c.fence)).collect();
                format!("worker {} claims {}", actor.0, list.join(" "))
            });
        }
        self.distrust(now);
        self.note_wanting(now);
        let could_go = self.could_go(now);
        let mut went = BTreeSet::new();
        for claimed in claimed {
            went.extend(self.claimed_one(actor, request, claimed));
        }
        self.compare(taken);
        self.distrust(now);
        if claimed.len() < request.max && !had_burials {
            for no in could_go.difference(&went) {
                let key = self.lanes[*no].key.clone();
                self.breach(Invariant::Unfair, || {
                    format!("a claim with room left passed {key} over, which had work due")
                });
            }
        }
        if claimed.len() < request.max && !had_burials {
            self.judge_waiting_for_runs(now);
        }
        for (starved, other) in self.take_turns(&could_go, &went) {
            let (starved, other) = (self.lanes[starved].key.clone(), self.lanes[other].key.clone());
            self.breach(Invariant::Unfair, || {
                format!("{other} has had many turns while {starved} waited for one")
            });
        }
    }

    /// Whether an ended lease was noticed by this claim, or a delivery buried, only the store can tell.
    fn settle_doubt(&mut self, found: &Readback, was_given: bool, now: DateTime<Utc>) {
        let (Some(row), Some(record)) = (self.rows.get(&found.id), &found.record) else {
            return;
        };
        match (&row.standing, record.state) {
            (Standing::Sending(_), state) if was_given || state != State::Sending => {
                self.interrupted(found.id, now);
                self.notice_move(found, now);
                if state == State::Dead(DeadReason::WebhookDeleted) {
                    self.is_buried(found.id);
                }
                if !was_given {
                    self.compare_one(found);
                }
            }
            (Standing::Pending, State::Dead(DeadReason::WebhookDeleted)) => self.is_buried(found.id),
            _ => self.notice_move(found, now),
        }
    }

    fn interrupted(&mut self, id: DeliveryId, now: DateTime<Utc>) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.attempts += 1;
        row.history.push(Outcome::Interrupted);
        row.first_failure.get_or_insert(now);
        (row.interrupted, row.known_accepted) = (true, false);
        let lane = row.lane;
        self.moves(id, State::Pending, false);
        self.lanes[lane].runs.landed(id, Landed::Failed);
        self.awaits_run(id, None, now);
        self.lanes[lane].land(Pacing::Keep, now);
        self.attempts += 1;
        self.fault(FaultKind::LeaseExpired, || format!("delivery {id}"));
    }

    /// Notes a delivery that was given out, and judges whether it might be. Gives its lane.
    fn claimed_one(&mut self, actor: ActorNo, request: &ClaimRequest, claimed: &Claimed) -> Option<usize> {
        let (id, now) = (claimed.id, request.now);
        let Some(row) = self.rows.get(&id) else {
            self.breach(Invariant::AcknowledgedNotStored, || {
                format!("delivery {id} was claimed, but never given out by an enqueue")
            });
            return None;
        };
        let lane_no = row.lane;
        for (invariant, seen) in self.faults_of_claim(claimed, now) {
            self.breach(invariant, || format!("delivery {id}: {seen}"));
        }
        self.moves(id, State::Sending, false);
        if self.is_held_by_webhook(lane_no) {
            self.breach(Invariant::ReleasedEarly, || {
                format!("delivery {id} is claimed, and its webhook is held")
            });
        }
        let awaits = self.rows.get(&id).and_then(|row| row.awaits);
        if awaits.is_some() {
            self.is_taken_by_run(id, now);
        }
        self.leave_lane(id);
        let ends = crate::time::after(now, request.lease);
        let flight = Flight {
            worker: actor,
            lease_ends: ends,
            claimed: self.time.passed().saturating_sub(LONGEST_CALL),
            awaits_runs: claimed.target.awaits_runs(),
            exchange: None,
        };
        if let Some(row) = self.rows.get_mut(&id) {
            row.standing = Standing::Sending(Lease { holder: actor, ends });
            row.fence = claimed.fence;
            // A claim that this worker never sent under is one whose answer it did not get.
            row.flights
                .retain(|_, flight| flight.worker != actor || flight.exchange.is_some());
            row.flights.insert(claimed.fence, flight);
        }
        self.unfinished.insert(id);
        self.leases.insert((ends, id));
        let passed = self.time.passed();
        let lane = &mut self.lanes[lane_no];
        lane.sending.insert(id);
        let (limit, places) = (lane.limit().get() as usize, lane.places());
        let pauses_until = lane.pace.open_at(now);
        let rate_let_it = lane.spend(now, passed);
        let key = lane.key.clone();
        let held = self.leases_held(lane_no, now);
        if held > limit {
            self.breach(Invariant::OverLimitInFlight, || {
                format!("{key} has more than {limit} in flight")
            });
        } else if held > places {
            self.breach(Invariant::PaceIgnored, || {
                format!("{key} has more than {places} in flight, which is its pace")
            });
        }
        if pauses_until > now + ROUNDING {
            self.breach(Invariant::PaceIgnored, || {
                format!("{key} gives something at {now}, and pauses until {pauses_until}")
            });
        }
        if !rate_let_it {
            self.breach(Invariant::RateExceeded, || {
                format!("{key} goes faster than its rate")
            });
        }
        Some(lane_no)
    }

    /// What is wrong with a delivery being given out, as things stood before.
    fn faults_of_claim(&self, claimed: &Claimed, now: DateTime<Utc>) -> Vec<(Invariant, String)> {
        let Some(row) = self.rows.get(&claimed.id) else {
            return Vec::new();
        };
        let lane = &self.lanes[row.lane];
        let mut wrong = Vec::new();
        let mut check = |holds: bool, invariant, seen: &dyn Fn() -> String| {
            if !holds {
                wrong.push((invariant, seen()));
            }
        };
        check(
            !matches!(row.standing, Standing::Sending(_)),
            Invariant::LeaseDisregarded,
            &|| "claimed while another claim held it".to_owned(),
        );
        check(claimed.fence > row.fence, Invariant::LeaseDisregarded, &|| {
            format!("fence {} after {}", claimed.fence, row.fence)
        });
        let is_due = row.due <= now + ROUNDING || row.awaits.is_some();
        check(is_due, Invariant::SentBeforeDue, &|| {
            format!("claimed at {now}, due at {}", row.due)
        });
        check(
            (claimed.attempts, claimed.interrupted) == (row.attempts, row.interrupted),
            Invariant::AttemptsMiscounted,
            &|| {
                format!(
                    "claimed with {} attempts (interrupted: {}), after {} (interrupted: {})",
                    claimed.attempts, claimed.interrupted, row.attempts, row.interrupted
                )
            },
        );
        check(*claimed.event == *row.event, Invariant::ScopeLeaked, &|| {
            "claimed with another event".to_owned()
        });
        check(lane.enabled && !lane.removed, Invariant::SentWhileOff, &|| {
            format!("claimed while {} was off", lane.key)
        });
        if lane.order == Order::Strict {
            let older = lane
                .pending
                .iter()
                .chain(&lane.sending)
                .any(|other| *other < claimed.id);
            let other = lane.sending.iter().any(|other| *other != claimed.id);
            check(!older && !other, Invariant::OutOfStrictOrder, &|| {
                format!("claimed in {} beside or before others", lane.key)
            });
        }
        wrong
    }

    fn is_held_by_webhook(&self, lane: usize) -> bool {
        self.lanes[lane].hold == Some(true)
    }

    /// How many leases of a lane hold: those that have ended are nobody's any more.
    fn leases_held(&self, lane: usize, now: DateTime<Utc>) -> usize {
        let rows = self.lanes[lane].sending.iter().filter_map(|id| self.rows.get(id));
        rows.filter(|row| matches!(&row.standing, Standing::Sending(lease) if lease.ends > now))
            .count()
    }

    /// What the store said of when to look again.
    pub(in super::super) fn next_due_said(&mut self, said: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        let Some(at) = self.next_instant(now) else { return };
        if said.is_none_or(|said| said > at) {
            self.breach(Invariant::Unfair, || {
                format!("something can be claimed at {at}, and the next is said to be due at {said:?}")
            });
        }
    }

    pub(in super::super) fn replayed(
        &mut self,
        before: &Readback,
        replayed: Replayed,
        after: &Readback,
        now: DateTime<Utc>,
    ) {
        let id = before.id;
        self.log(|| format!("replay {id}: {replayed:?}"));
        self.compare_one(before);
        let Some(row) = self.rows.get_mut(&id) else { return };
        let is_right = match replayed {
            Replayed::Done => matches!(row.standing, Standing::Final),
            // Nothing is purged here.
            Replayed::Unknown | Replayed::BodyPurged => false,
            Replayed::NotFinal(state) => state == row.state(),
            Replayed::WebhookDeleted => self.lanes[row.lane].removed,
        };
        if replayed == Replayed::Done {
            (row.attempts, row.first_failure) = (0, None);
            (row.interrupted, row.known_accepted) = (false, false);
            row.replays += 1;
            self.moves(id, State::Pending, true);
            self.starts_to_wait(id, now);
            self.notice_move(after, now);
        }
        if !is_right {
            self.breach(Invariant::IllegalTransition, || {
                format!("the replay of {id} is {replayed:?}")
            });
        }
        self.compare_one(after);
    }
}
