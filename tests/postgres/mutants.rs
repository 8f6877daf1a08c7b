//! The checks that find what is broken on the memory store find it here too.

use std::sync::Arc;

use libtest_mimic::Trial;
use ringback::store::MemoryStore;
use ringback::testing::conformance::store::{CHECKS, Check};
use ringback::testing::mutants::Mutant;

use crate::server::{Server, trial};

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    Mutant::ALL.iter().map(|mutant| {
        trial(format!("mutants::{}", mutant.name()), async move |server| {
            is_caught(*mutant, server).await;
        })
    })
}

/// Which checks find it costs little to learn from a store in memory. One of those is enough here.
async fn is_caught(mutant: Mutant, server: Server) {
    let mut finders: Vec<&Check> = Vec::new();
    for check in CHECKS {
        let broken = mutant.wrap(Arc::new(MemoryStore::new()));
        if check.run(&broken).await.is_err() {
            finders.push(check);
        }
    }
    assert!(!finders.is_empty(), "no check finds {mutant} in memory");
    for check in &finders {
        let working = server.store().await;
        let broken = mutant.wrap(Arc::new(working.clone()));
        let found = check.run(&broken).await;
        drop((broken, working));
        server.drop_schema().await;
        if found.is_err() {
            return;
        }
    }
    let names: Vec<_> = finders.iter().map(|check| check.name).collect();
    panic!("{mutant} passes as a working store: {names:?}");
}
