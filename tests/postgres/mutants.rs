//! The checks that find what is broken on the memory store find it here too.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use libtest_mimic::Trial;
use ringback::store::MemoryStore;
use ringback::testing::conformance::store::{CHECKS, Check, run_all};
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
    let fresh = async || Arc::new(mutant.wrap(Arc::new(MemoryStore::new())));
    let report = run_all(fresh).await;
    let finds = |check: &&Check| {
        report
            .failures()
            .iter()
            .any(|failure| failure.check == check.name)
    };
    let finders: Vec<&Check> = CHECKS.iter().filter(finds).collect();
    assert!(!finders.is_empty(), "no check finds {mutant} in memory");
    for check in &finders {
        let working = server.store().await;
        let broken = mutant.wrap(Arc::new(working.clone()));
        // A check may panic over what it was not told of, which finds it as well.
        let found = AssertUnwindSafe(check.run(&broken)).catch_unwind().await;
        drop((broken, working));
        server.drop_schema().await;
        if !matches!(found, Ok(Ok(()))) {
            return;
        }
    }
    let names: Vec<_> = finders.iter().map(|check| check.name).collect();
    panic!("{mutant} passes as a working store: {names:?}");
}
