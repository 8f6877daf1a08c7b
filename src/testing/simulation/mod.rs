//! A deterministic simulation of everything that delivers: an application that enqueues, several workers, their
//! store, and many receivers, in one thread, under one seed.
//!
//! A world has a handful of webhooks in several scopes, some in strict order, some with a rate, each with its own
//! limit in flight, some with a flusher; events for them, and calls with URLs of their own; a manager who switches webhooks
//! off and on and removes one; users who are temporary, and webhooks that are unsubscribed; an operator who replays. Its
//! workers crash, freeze past their leases, are told to stop and come back; its store fails, dawdles, and loses answers;
//! its receivers refuse, hang, break off, and accept without being heard; its clock is set forwards and back
//! ([`FaultKind`]). Then it becomes calm, and everything has to come to its end.
//!
//! Everything that happens is watched from both sides of the store and at the receivers, and judged by a book kept
//! for the purpose, against what the crate promises ([`Invariant`]). Whatever happens follows from the seed: the same
//! seed gives the same [trace](Simulation::run_traced), byte for byte, as long as the store is as deterministic as
//! the memory store is.
//!
//! ```
//! use ringback::testing::simulation::Simulation;
//!
//! let report = Simulation::new(7).deliveries(20).run();
//! assert!(report.violations().is_empty(), "{report}");
//! ```
//!
//! That violations would be seen is itself tested, with stores and workers that are known to be broken:
//!
//! ```
//! use ringback::testing::simulation::{Mutant, Simulation};
//!
//! let broken = Mutant::named("in-flight-limit-ignored").unwrap();
//! let report = Simulation::new(7).mutant(broken).run();
//! assert!(report.count(broken.breaks()) > 0);
//! ```

mod actors;
mod desk;
mod director;
mod executor;
mod faults;
mod layer;
mod ledger;
mod mutants;
mod receivers;
mod recorder;
mod report;
mod violation;
mod world;

use std::fmt;
use std::sync::Arc;

pub use self::faults::{FaultKind, Faults};
pub use self::mutants::{Mutant, WorkerMutant};
pub use self::report::Report;
pub use self::violation::{Invariant, Violation};
use crate::store::{MemoryStore, Store};

use self::director::Director;

/// A world to simulate.
#[derive(Clone)]
#[must_use = "nothing happens until it runs"]
pub struct Simulation {
    seed: u64,
    deliveries: u64,
    store: Fresh,
    mutant: Option<Mutant>,
}

/// Gives a fresh store, broken as asked.
type Fresh = Arc<dyn Fn(Option<Mutant>) -> Arc<dyn Store> + Send + Sync>;

impl Simulation {
    /// The world that follows from this seed, on a memory store, until it has had 100 deliveries.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            deliveries: 100,
            store: fresh(|| MemoryStore::keeping(usize::MAX)),
            mutant: None,
        }
    }

    /// Until it has had so many deliveries. The more there are, the closer together they are.
    pub fn deliveries(self, deliveries: u64) -> Self {
        Self { deliveries, ..self }
    }

    /// On stores from here. Each must be fresh and empty, keep everything for as long as it is there, and answer at
    /// once: with a future that completes when it is first polled.
    pub fn store<S: Store>(self, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self {
            store: fresh(make),
            ..self
        }
    }

    /// With something broken. It runs until that is seen.
    pub fn mutant(self, mutant: Mutant) -> Self {
        Self {
            mutant: Some(mutant),
            ..self
        }
    }

    /// Runs it from its beginning to its end, in simulated time.
    ///
    /// # Panics
    ///
    /// If the store does not answer at once.
    pub fn run(&self) -> Report {
        self.direct(false).0
    }

    /// Runs it, and tells everything that happened, one line each.
    ///
    /// # Panics
    ///
    /// If the store does not answer at once.
    pub fn run_traced(&self) -> (Report, String) {
        self.direct(true)
    }

    fn direct(&self, traced: bool) -> (Report, String) {
        let store = (self.store)(self.mutant);
        let mut director = Director::new(self.seed, self.deliveries, store, self.mutant, traced);
        director.run();
        let mut book = director.ledger.book();
        let trace = book.take_trace();
        (Report::of(&mut book), trace)
    }
}

fn fresh<S: Store>(make: impl Fn() -> S + Send + Sync + 'static) -> Fresh {
    Arc::new(move |mutant| match mutant {
        Some(Mutant::Store(mutant)) => Arc::new(mutant.wrap(Arc::new(make()))),
        _ => Arc::new(make()),
    })
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("deliveries", &self.deliveries)
            .field("mutant", &self.mutant)
            .finish_non_exhaustive()
    }
}
