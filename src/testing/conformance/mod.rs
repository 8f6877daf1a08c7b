//! Checks that an implementation of a seam keeps the seam's contract.
//!
//! There is a suite for each seam: [`store`] for the store traits, [`sender`] for
//! [`HttpSender`](crate::transport::HttpSender), [`timer`] for [`Timer`](crate::engine::Timer) and [`auth`] for
//! [`AuthProvider`](crate::auth::AuthProvider). A check is a public function that can be called alone; `run_all` of
//! a suite runs every one of them, goes on after a failure, and reports them all. Checks need no runtime of their
//! own: they run in whichever the implementation needs.

/// Runs these checks on one subject, and reports.
macro_rules! run_checks {
    ($subject:ident: $($check:ident),+ $(,)?) => {{
        let mut report = crate::testing::conformance::Report::default();
        $(report.run(stringify!($check), $check($subject)).await;)+
        report
    }};
}

pub mod auth;
pub mod sender;
pub mod store;
pub mod timer;

use std::error::Error;
use std::fmt::{self, Debug};
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::store::StoreError;

/// A clause of a contract that an implementation does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    clause: &'static str,
    seen: String,
}

impl Violation {
    /// A violation of this clause, and what was seen of it.
    pub fn new(clause: &'static str, seen: impl Into<String>) -> Self {
        Self {
            clause,
            seen: seen.into(),
        }
    }

    /// What the contract says.
    pub fn clause(&self) -> &'static str {
        self.clause
    }

    /// What was seen instead.
    pub fn seen(&self) -> &str {
        &self.seen
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not kept: \"{}\"; seen: {}", self.clause, self.seen)
    }
}

impl Error for Violation {}

/// No check makes a store fail, so an error is a violation in itself.
impl From<StoreError> for Violation {
    fn from(error: StoreError) -> Self {
        let mut seen = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            seen.push_str(": ");
            seen.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new("a store that is not disturbed answers", seen)
    }
}

/// What came of all checks of a suite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a report may hold failures"]
pub struct Report {
    passed: Vec<&'static str>,
    failures: Vec<Failure>,
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The check's name: its path in the suite.
    pub check: &'static str,
    /// What it found.
    pub violation: Violation,
}

impl Report {
    /// The checks that passed, in the order they ran.
    pub fn passed(&self) -> &[&'static str] {
        &self.passed
    }

    /// The checks that failed, in the order they ran.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// `Ok` if every check passed.
    ///
    /// # Errors
    ///
    /// The report itself, whose `Display` lists the failures.
    pub fn into_result(self) -> Result<(), Self> {
        if self.failures.is_empty() {
            Ok(())
        } else {
            Err(self)
        }
    }

    /// Runs a check and notes what came of it. A panic, too, is a failure.
    async fn run(&mut self, check: &'static str, run: impl Future<Output = Result<(), Violation>>) {
        let result = AssertUnwindSafe(run).catch_unwind().await;
        let violation = match result {
            Ok(Ok(())) => return self.passed.push(check),
            Ok(Err(violation)) => violation,
            Err(panic) => Violation::new("nothing panics", panic_message(&*panic)),
        };
        self.failures.push(Failure { check, violation });
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.passed.len() + self.failures.len();
        write!(f, "{} of {checks} checks failed", self.failures.len())?;
        for Failure { check, violation } in &self.failures {
            write!(f, "\n  {check}: {violation}")?;
        }
        Ok(())
    }
}

impl Error for Report {}

fn ensure(clause: &'static str, holds: bool, seen: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(clause, seen()))
    }
}

fn equal<T: Debug + PartialEq>(clause: &'static str, seen: T, expected: T) -> Result<(), Violation> {
    ensure(clause, seen == expected, || {
        format!("{seen:?} where {expected:?} was due")
    })
}
