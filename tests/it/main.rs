//! The integration tests: one binary, one module per subject.
#![allow(clippy::unwrap_used, missing_docs)]

mod conformance;
mod schedule;
mod signature;
mod simulation;
mod transport;
mod url;
mod worker;
