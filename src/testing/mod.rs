//! What tests of webhooks need: time that is moved by hand, randomness that can be had again, receivers that follow
//! a script, stores that fail; and the suites that say whether an implementation of a seam keeps its contract.
//!
//! # Tests without waiting or luck
//!
//! | in place of | stands | which |
//! |---|---|---|
//! | the clock and the timer | [`ManualTime`] | moves when told, backwards too |
//! | randomness | [`SeededEntropy`] | follows from a seed |
//! | HTTP | [`ScriptedSender`] | answers by a script, and notes each request |
//! | a working store | [`FaultyStore`] | fails, loses answers and dawdles by a plan |
//!
//! All of them together make a [`simulation`]: whole worlds of deliveries, with everything going wrong that can, run
//! and judged under one seed.
//!
//! # Suites for your own implementations
//!
//! | seam | suite |
//! |---|---|
//! | the seven traits of a [`Store`](crate::store::Store) | [`conformance::store`] |
//! | [`HttpSender`] | [`conformance::sender`] |
//! | [`Timer`] | [`conformance::timer`] |
//! | [`AuthProvider`] | [`conformance::auth`] |
//!
//! Each has a `run_all` that runs every check and reports every failure, and each check is a public function by
//! itself. In a crate of your own, switch on the `testing` feature in `[dev-dependencies]`, and write a test:
//!
//! ```
//! use std::sync::Arc;
//! # use ringback::store::MemoryStore as MyStore;
//! use ringback::testing::conformance;
//!
//! // #[tokio::test]
//! async fn my_store_keeps_its_promises() {
//!     let fresh = async || Arc::new(MyStore::new());
//!     conformance::store::run_all(fresh).await.into_result().unwrap();
//! }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(my_store_keeps_its_promises());
//! ```
//!
//! Where only one check fails, run it alone until it passes:
//!
//! ```
//! # use ringback::store::MemoryStore as MyStore;
//! # use ringback::testing::conformance;
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! conformance::store::lanes::strict_order_holds(&MyStore::new()).await.unwrap();
//! # });
//! ```
//!
//! That the store suite finds what is broken is itself tested, with stores that are known to be ([`mutants`]).
//!
//! [`HttpSender`]: crate::transport::HttpSender
//! [`Timer`]: crate::engine::Timer
//! [`AuthProvider`]: crate::auth::AuthProvider

pub mod conformance;
mod entropy;
mod faults;
pub mod mutants;
mod sender;
pub mod simulation;
mod time;

pub use self::entropy::SeededEntropy;
pub use self::faults::{Fault, FaultCounts, FaultyStore};
pub use self::sender::{Received, Reply, ScriptedSender};
pub use self::time::ManualTime;
