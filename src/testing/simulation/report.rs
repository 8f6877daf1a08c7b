//! What came of simulations.

use std::fmt;

use super::faults::{FaultKind, Faults};
use super::ledger::Book;
use super::violation::{Invariant, Violation};

/// What came of one simulation, or of several together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    seeds: u64,
    deliveries: u64,
    attempts: u64,
    duplicates: u64,
    late_requests: u64,
    faults: Faults,
    violations: Vec<Violation>,
}

impl Report {
    pub(super) fn of(book: &mut Book) -> Self {
        Self {
            seeds: 1,
            deliveries: book.deliveries(),
            attempts: book.attempts,
            duplicates: book.duplicates,
            late_requests: book.late_requests,
            faults: book.faults,
            violations: std::mem::take(&mut book.violations),
        }
    }

    /// Adds another's to this one.
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.deliveries += other.deliveries;
        self.attempts += other.attempts;
        self.duplicates += other.duplicates;
        self.late_requests += other.late_requests;
        self.faults.add(&other.faults);
        self.violations.extend(other.violations);
    }

    /// How many worlds were simulated.
    pub fn seeds(&self) -> u64 {
        self.seeds
    }

    /// How many deliveries they had.
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// How many attempts were counted, interrupted ones included.
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// How often a receiver accepted what it had accepted before, a fault or a replay having come between.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How many requests were made by workers that had already lost the lease without knowing it.
    pub fn late_requests(&self) -> u64 {
        self.late_requests
    }

    /// What was made to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What was not as promised; at most 100 of each seed.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many violations of one promise there were.
    pub fn count(&self, invariant: Invariant) -> usize {
        let of_it = |violation: &&Violation| violation.invariant == invariant;
        self.violations.iter().filter(of_it).count()
    }
}

impl fmt::Display for Report {
    /// A table: what there was, each kind of fault, each kind of violation; then the violations themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seeds                         {:>9}", self.seeds)?;
        writeln!(f, "deliveries                    {:>9}", self.deliveries)?;
        writeln!(f, "attempts                      {:>9}", self.attempts)?;
        writeln!(f, "accepted again                {:>9}", self.duplicates)?;
        writeln!(f, "sent after a lost lease       {:>9}", self.late_requests)?;
        writeln!(f, "faults")?;
        for kind in FaultKind::ALL {
            writeln!(f, "  {:<27} {:>9}", kind.as_str(), self.faults.count(kind))?;
        }
        write!(f, "violations")?;
        for invariant in Invariant::ALL {
            write!(f, "\n  {:<27} {:>9}", invariant.as_str(), self.count(invariant))?;
        }
        for violation in &self.violations {
            write!(f, "\n{violation}")?;
        }
        Ok(())
    }
}
