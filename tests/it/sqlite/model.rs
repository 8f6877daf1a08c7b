//! The same calls to a `MemoryStore` and to an `SqliteStore` give the same answers.

use proptest::collection::vec;
use proptest::prelude::*;
use ringback::store::SqliteStore;
use ringback::store::sqlite::Durability;

use crate::model::{compare, op};

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(work);
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn sqlite_answers_as_memory_does(ops in vec(op(true), 1..120)) {
        let store = SqliteStore::builder().inline().longest_tail(5);
        let store = store.open_in_memory().unwrap();
        block_on(compare(&ops, &[store]));
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn connections_that_take_turns_answer_as_one(ops in vec(op(true), 1..120)) {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let builder = SqliteStore::builder().inline().durability(Durability::Normal);
            let builder = builder.longest_tail(5);
            builder.open(folder.path().join("ringback.db"), super::key(1)).unwrap()
        };
        block_on(compare(&ops, &[open(), open(), open()]));
    }
}
