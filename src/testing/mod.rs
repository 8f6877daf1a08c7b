//! (written below)

pub mod conformance;
mod entropy;
mod faults;
pub mod mutants;
mod sender;
mod time;

pub use self::entropy::SeededEntropy;
pub use self::faults::{Fault, FaultCounts, FaultyStore};
pub use self::sender::{Received, Reply, ScriptedSender};
pub use self::time::ManualTime;
