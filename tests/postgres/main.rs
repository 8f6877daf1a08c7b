//! The PostgreSQL store, on the server that `RINGBACK_POSTGRES_URL` names. Without it, each test is reported as ignored, by
//! name.
#![allow(clippy::unwrap_used, missing_docs)]

mod conformance;
mod intake;
mod lanes;
mod mutants;
mod page;
mod server;
mod stories;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(conformance::trials());
    trials.extend(intake::trials());
    trials.extend(lanes::trials());
    trials.extend(mutants::trials());
    trials.extend(page::trials());
    trials.extend(stories::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
