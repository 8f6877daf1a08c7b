//! The integration tests: one binary, one module per subject.
#![allow(clippy::unwrap_used, missing_docs)]

mod auth;
mod calls;
mod compression;
mod conformance;
mod crash;
mod destinations;
mod dispatcher;
mod life_cycles;
mod payloads;
mod profiles;
mod receive;
mod ringing;
mod schedule;
mod secrecy;
mod server;
mod signature;
mod simulation;
mod sqlite;
mod stories;
mod tasks;
mod tl_signature;
mod transport;
mod upkeep;
mod url;
mod worker;
