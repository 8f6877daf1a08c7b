//! The same calls to a `MemoryStore` and to `PostgresStore`s give the same answers.

use libtest_mimic::Trial;
use proptest::collection::vec;
use proptest::test_runner::{Config, TestRunner};
use ringback::store::PostgresStore;
use tokio::runtime::Handle;

use crate::calls::{Op, compare, op};
use crate::server::{Server, trial};

/// How many sequences of calls there are.
const CASES: u32 = 8;

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    [
        trial("model::postgres_answers_as_memory_does", async |server| {
            answers_as_memory_does(&server, 1);
        }),
        trial("model::stores_that_take_turns_answer_as_one", async |server| {
            answers_as_memory_does(&server, 3);
        }),
    ]
    .into_iter()
}

/// On so many stores, each of which is another process's as far as the server can tell.
fn answers_as_memory_does(server: &Server, stores: usize) {
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let case = async |ops: &[Op]| {
        server.drop_schema().await;
        let mut opened: Vec<PostgresStore> = Vec::new();
        for _ in 0..stores {
            opened.push(server.store().await);
        }
        // Where the clock is set back, each process goes by how late it knows that it was, and a lane that a copy looks at is
        // asked anew when it opens. Both are right, and neither is what the memory store answers.
        let forward = |op: &Op| match op {
            Op::Advance(ms) => Op::Advance(ms.abs()),
            op => op.clone(),
        };
        let ops: Vec<_> = ops.iter().map(forward).collect();
        compare(&ops, &opened).await;
    };
    // A copy that is turned away opens the lanes of its calls all the same. Where it is the first to name them, they stand in
    // another order than the memory store's: which of two lanes goes first that have had no turn, is nobody's promise.
    let outcome = runner.run(&vec(op(false), 1..120), |ops| {
        tokio::task::block_in_place(|| Handle::current().block_on(case(&ops)));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
