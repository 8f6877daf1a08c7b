//! What is known of a simulated world from watching it: a book of its own, kept beside the store's, by which the
//! store and the workers are judged.
//!
//! It is written from calls that were carried out, their answers, and requests that receivers got. Nothing in it
//! is taken from the store's own bookkeeping, which is only ever compared with it.

mod claims;
mod digests;
mod end;
mod enqueues;
mod exchanges;
mod holds;
mod lanes;
mod row;
mod runs;
mod settlements;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use self::digests::Updates;
pub(super) use self::enqueues::Acknowledgement;
pub(super) use self::exchanges::{Arrival, Heard};
use self::holds::{Hold, Lift};
use self::lanes::LaneBook;
pub(super) use self::row::Readback;
use self::row::{Row, Standing};
use super::faults::{FaultKind, Faults};
use super::mutants::Mutant;
use super::violation::{Invariant, Violation};
use crate::delivery::{Fingerprint, LaneKey, Profiles, State, Webhook};
use crate::id::{DeliveryId, EventId, Scope, WebhookId};
use crate::store::HoldKey;
use crate::testing::ManualTime;

/// One life of a worker, or the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ActorNo(pub(super) u64);

impl ActorNo {
    pub(super) const APPLICATION: Self = Self(0);
}

/// No more violations than these are noted of one seed.
const MOST_VIOLATIONS: usize = 100;

/// Instants are kept to the microsecond, so a store may be so much off.
const ROUNDING: TimeDelta = TimeDelta::microseconds(1);

pub(super) struct Ledger(Mutex<Book>);

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    pub(super) fn new(seed: u64, time: ManualTime, profiles: Profiles, traced: bool) -> Self {
        Self(Mutex::new(Book {
            seed,
            time,
            profiles,
            trace: traced.then(String::new),
            violations: Vec::new(),
            faults: Faults::default(),
            rows: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            addresses: BTreeMap::new(),
            events: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            lanes: Vec::new(),
            lane_nos: BTreeMap::new(),
            leases: BTreeSet::new(),
            holds: BTreeMap::new(),
            lifts: Vec::new(),
            last_delivery: DeliveryId(0),
            actors: BTreeMap::new(),
            updates: Updates::default(),
            clock_set: None,
            attempts: 0,
            duplicates: 0,
            late_requests: 0,
        }))
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Book {
    seed: u64,
    time: ManualTime,
    profiles: Profiles,
    trace: Option<String>,
    pub(super) violations: Vec<Violation>,
    pub(super) faults: Faults,
    rows: BTreeMap<DeliveryId, Row>,
    unfinished: BTreeSet<DeliveryId>,
    /// Which delivery a request to this URL with this body belongs to.
    addresses: BTreeMap<(String, Bytes), DeliveryId>,
    events: BTreeMap<(Scope, EventId), Taken>,
    webhooks: BTreeMap<WebhookId, Webhook>,
    lanes: Vec<LaneBook>,
    lane_nos: BTreeMap<LaneKey, usize>,
    leases: BTreeSet<(DateTime<Utc>, DeliveryId)>,
    holds: BTreeMap<HoldKey, Hold>,
    lifts: Vec<Lift>,
    last_delivery: DeliveryId,
    actors: BTreeMap<ActorNo, Actor>,
    updates: Updates,
    /// When the wall clock was last set, by what had passed.
    clock_set: Option<Duration>,
    pub(super) attempts: u64,
    pub(super) duplicates: u64,
    pub(super) late_requests: u64,
}

/// An event that was taken in.
struct Taken {
    fingerprint: Fingerprint,
    deliveries: Vec<DeliveryId>,
}

/// What is known of one life of a worker.
#[derive(Debug, Default)]
struct Actor {
    /// Requests under way.
    under_way: usize,
    /// The most it may have under way.
    most: usize,
    /// When it last stood still, by what had passed.
    frozen: Option<Duration>,
}

impl Book {
    /// Notes a line, if anyone wants to read it.
    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        let passed = self.time.passed();
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>12.6} {}", passed.as_secs_f64(), line());
        }
    }

    pub(super) fn take_trace(&mut self) -> String {
        self.trace.take().unwrap_or_default()
    }

    pub(super) fn fault(&mut self, kind: FaultKind, what: impl FnOnce() -> String) {
        self.faults.note(kind);
        self.log(|| format!("  fault: {kind}: {}", what()));
    }

    pub(super) fn breach(&mut self, invariant: Invariant, seen: impl FnOnce() -> String) {
        if self.violations.len() >= MOST_VIOLATIONS {
            return;
        }
        let seen = seen();
        self.log(|| format!("  VIOLATION: {invariant}: {seen}"));
        self.violations.push(Violation {
            seed: self.seed,
            after: self.time.passed(),
            invariant,
            seen,
        });
    }

    /// Whether there is no point in going on: what is known to be broken was found, or no more can be noted.
    pub(super) fn has_seen_enough(&self, mutant: Option<Mutant>) -> bool {
        let is_of = |mutant: Mutant| self.violations.iter().any(|v| v.invariant == mutant.breaks());
        self.violations.len() >= MOST_VIOLATIONS || mutant.is_some_and(is_of)
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.rows.len() as u64
    }

    pub(super) fn is_all_final(&self) -> bool {
        self.unfinished.is_empty()
    }

    pub(super) fn final_deliveries(&self) -> Vec<DeliveryId> {
        let is_final = |row: &Row| matches!(row.standing, Standing::Final);
        let rows = self.rows.iter().filter(|(_, row)| is_final(row));
        rows.map(|(id, _)| *id).collect()
    }

    pub(super) fn worker_starts(&mut self, actor: ActorNo, most: usize) {
        let known = Actor {
            most,
            ..Actor::default()
        };
        self.actors.insert(actor, known);
    }

    /// A worker has come to its end as told; in peace, if no call of the store failed on the way.
    pub(super) fn worker_stopped(&mut self, actor: ActorNo, in_peace: bool) {
        self.log(|| format!("worker {} has stopped", actor.0));
        let left: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, row)| matches!(&row.standing, Standing::Sending(lease) if lease.holder == actor))
            .map(|(id, _)| id.0)
            .collect();
        if in_peace && !left.is_empty() {
            self.breach(Invariant::StoppedUncleanly, || {
                format!("worker {} left {left:?} behind", actor.0)
            });
        }
    }

    pub(super) fn worker_stands_still(&mut self, actor: ActorNo) {
        let passed = self.time.passed();
        if let Some(actor) = self.actors.get_mut(&actor) {
            actor.frozen = Some(passed);
        }
    }

    pub(super) fn clock_is_set(&mut self) {
        self.clock_set = Some(self.time.passed());
        for lane in &mut self.lanes {
            lane.forget_time();
        }
    }

    /// Whether anything kept this worker, since then, from knowing how much time had passed.
    fn was_disturbed(&self, actor: ActorNo, since: Duration) -> bool {
        let frozen = self.actors.get(&actor).and_then(|actor| actor.frozen);
        [frozen, self.clock_set]
            .into_iter()
            .flatten()
            .any(|at| at >= since)
    }

    /// Notes where a delivery stands, and whether it may have come there.
    fn moves(&mut self, id: DeliveryId, to: State, by_replay: bool) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let from = std::mem::replace(&mut row.seen, to);
        if !row::may_follow(from, to, by_replay) {
            self.breach(Invariant::IllegalTransition, || {
                format!("delivery {id} went from {from} to {to}")
            });
        }
    }

    /// Compares what the store holds with what this book says.
    pub(super) fn compare(&mut self, found: &[Readback]) {
        for found in found {
            self.compare_one(found);
        }
    }

    fn compare_one(&mut self, found: &Readback) {
        let Some(row) = self.rows.get(&found.id) else {
            return;
        };
        let id = found.id;
        let Some(record) = &found.record else {
            return self.breach(Invariant::Lost, || {
                format!("delivery {id} is not in the store any more")
            });
        };
        let (expected, due) = (row.state(), row.due);
        let (attempts, entries) = (row.attempts, row.history.len());
        if record.state != expected {
            let state = record.state;
            self.moves(id, state, false);
            self.breach(Invariant::IllegalTransition, || {
                format!("delivery {id} should be {expected}, and is {state}")
            });
        } else if record.attempts != attempts || found.attempts.len() != entries {
            let (stored, history) = (record.attempts, found.attempts.len());
            self.breach(Invariant::AttemptsMiscounted, || {
                format!(
                    "delivery {id} had {attempts} attempts and {entries} in all; stored are {stored} and {history}"
                )
            });
        } else if expected == State::Pending && record.due < due - ROUNDING {
            let stored = record.due;
            self.breach(Invariant::SentBeforeDue, || {
                format!("delivery {id} is due at {due}; stored is {stored}")
            });
        }
    }
}
