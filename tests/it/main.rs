//! The integration tests: one binary, one module per subject.
#![allow(clippy::unwrap_used, missing_docs)]

mod conformance;
mod crash;
mod life_cycles;
mod payloads;
mod profiles;
mod receive;
mod schedule;
mod server;
mod signature;
mod sqlite;
mod tl_signature;
mod transport;
mod url;
mod worker;
