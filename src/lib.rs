//! Asynchronous calls and webhooks, both ends.
//!
//! (front page written with the README)
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

// Floor 0: small values that everything shares.
pub mod id;
pub mod json;
mod query;
pub mod secret;
pub mod time;
pub mod url;

// Floor 1: pure rules and data. No async, no clock, no randomness, no I/O.
pub mod delivery;
pub mod provider;
pub mod retry;
pub mod signature;
pub mod task;

// Floor 2: seams to the outside and their adapters.
pub mod auth;
pub mod store;
pub mod system;
pub mod transport;

// Floor 3: what runs.
#[cfg(feature = "engine")]
pub mod engine;
pub mod receive;

#[cfg(feature = "testing")]
pub mod testing;

/// The programs in the README, run as they stand.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
