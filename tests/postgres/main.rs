//! The PostgreSQL store, on the server that `RINGBACK_POSTGRES_URL` names. Without it, each test is reported as ignored, by
//! name.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../it/model/mod.rs"]
mod calls;
#[cfg(unix)]
mod cluster;
mod conformance;
mod contention;
mod intake;
mod lanes;
mod model;
mod mutants;
mod outages;
mod page;
#[cfg(unix)]
mod plans;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
#[path = "../it/server.rs"]
mod receiver;
mod scene;
mod server;
mod stories;
mod tables;

use libtest_mimic::{Arguments, Trial};

fn main() {
    #[cfg(unix)]
    if processes::work() {
        return;
    }
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(conformance::trials());
    trials.extend(contention::trials());
    trials.extend(intake::trials());
    trials.extend(lanes::trials());
    trials.extend(model::trials());
    trials.extend(mutants::trials());
    trials.extend(outages::trials());
    trials.extend(page::trials());
    trials.extend(stories::trials());
    trials.extend(tables::trials());
    #[cfg(unix)]
    trials.extend(plans::trials());
    #[cfg(unix)]
    trials.extend(processes::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
