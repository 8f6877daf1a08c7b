//! The conformance suites: what comes with the crate passes them, and what is broken does not.

use std::sync::Arc;

use ringback::store::MemoryStore;
use ringback::testing::conformance;

#[tokio::test]
async fn the_memory_store_passes() {
    let report = conformance::store::run_all(async || Arc::new(MemoryStore::new())).await;
    assert!(report.failures().is_empty(), "{report}");
    assert_eq!(report.passed().len(), conformance::store::CHECKS.len());
}
