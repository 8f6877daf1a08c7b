//! The conformance suites: what comes with the crate passes them, and what is broken does not.

use std::sync::Arc;

use ringback::engine::TokioTimer;
use ringback::store::MemoryStore;
use ringback::testing::mutants::Mutant;
use ringback::testing::{Fault, FaultyStore, ManualTime, conformance};
use ringback::transport::{Guard, HyperSender, ReqwestSender};

#[tokio::test]
async fn the_memory_store_passes() {
    let report = conformance::store::run_all(async || Arc::new(MemoryStore::new())).await;
    assert!(report.failures().is_empty(), "{report}");
    assert_eq!(report.passed().len(), conformance::store::CHECKS.len());
}

#[tokio::test]
async fn every_mutant_is_caught() {
    let mut names = Vec::new();
    for mutant in Mutant::ALL {
        let fresh = async || Arc::new(mutant.wrap(Arc::new(MemoryStore::new())));
        let report = conformance::store::run_all(fresh).await;
        assert!(
            !report.failures().is_empty(),
            "{mutant} passes as a working store"
        );
        println!("{mutant}: {report}");
        assert_eq!(Mutant::named(mutant.name()), Some(*mutant));
        names.push(mutant.name());
    }
    assert!(names.len() >= 16);
}

/// What wraps a store without breaking anything passes as the store itself does.
#[tokio::test]
async fn a_faulty_store_without_faults_passes() {
    let time = Arc::new(ManualTime::new(chrono::DateTime::UNIX_EPOCH));
    let report = conformance::store::run_all(async || {
        let memory = Arc::new(MemoryStore::new());
        Arc::new(FaultyStore::new(memory, time.clone(), |_| Fault::None))
    })
    .await;
    assert!(report.failures().is_empty(), "{report}");
}

fn loopback() -> Guard {
    Guard::default().allow_http().allow_loopback()
}

#[tokio::test]
async fn the_hyper_sender_passes() {
    let report = conformance::sender::run_all(&HyperSender::builder().guard(loopback()).build()).await;
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test]
async fn the_reqwest_sender_passes() {
    let sender = ReqwestSender::builder().guard(loopback()).build().unwrap();
    let report = conformance::sender::run_all(&sender).await;
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test]
async fn the_tokio_timer_passes() {
    let report = conformance::timer::run_all(&TokioTimer).await;
    assert!(report.failures().is_empty(), "{report}");
}
