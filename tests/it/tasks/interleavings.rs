//! Whatever happens to tasks, and in whatever order: what is seen of them is right at every moment.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use ringback::engine::NewCall;
use ringback::id::TaskId;
use ringback::json::RawJson;
use ringback::store::StoreErrorKind;
use ringback::task::{LifeCycle, Results, Step, TaskStatus};
use ringback::testing::{Fault, SeededEntropy};

use super::office::{End, Office, WEBHOOK, now};
use crate::stories::stage::On;

#[derive(Debug, Clone)]
enum Op {
    /// With a webhook or not, and with so many seconds.
    Accept(bool, u64),
    Hire,
    Crash(usize),
    Stop(usize),
    Tell(usize, End),
    Cancel(usize),
    Pass(u64),
    Purge(usize),
    /// From here on, so many calls to the store of a thousand meet a fault.
    Faults(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop_oneof![
        4 => Just(End::Succeed(r#"["results"]"#)),
        1 => Just(End::Fail),
        4 => Just(End::FailForNow),
        1 => Just(End::Panic),
    ];
    prop_oneof![
        4 => (any::<bool>(), 1u64..400).prop_map(|(rings, limit)| Op::Accept(rings, limit)),
        2 => Just(Op::Hire),
        2 => any::<usize>().prop_map(Op::Crash),
        1 => any::<usize>().prop_map(Op::Stop),
        8 => (any::<usize>(), end).prop_map(|(task, end)| Op::Tell(task, end)),
        2 => any::<usize>().prop_map(Op::Cancel),
        6 => (0u64..90).prop_map(Op::Pass),
        1 => (0usize..5).prop_map(Op::Purge),
        1 => (0u64..300).prop_map(Op::Faults),
    ]
}

/// What was last seen of a task.
struct Seen {
    rings: bool,
    status: TaskStatus,
    ended: bool,
    forgotten: bool,
}

fn pick<T>(from: &[T], at: usize) -> Option<&T> {
    from.get(at.checked_rem(from.len())?)
}

fn play(on: On, ops: &[Op]) {
    let mut office = Office::new(on, |builder| {
        builder
            .concurrency(3)
            .interruptions(2)
            .keep_results(Duration::from_secs(60))
            .keep_records(Duration::from_secs(60))
    });
    let mut seen = BTreeMap::new();
    let mut ids = Vec::new();
    for (number, op) in ops.iter().enumerate() {
        match op {
            Op::Accept(rings, seconds) => {
                let call = NewCall::new("user-1", "/r").with_time_limit(Duration::from_secs(*seconds));
                let call = if *rings {
                    call.with_webhook_uri(WEBHOOK)
                } else {
                    call
                };
                // Where the store fails, nothing was promised.
                if let Ok(accepted) = now(office.runner.accept(call)) {
                    ids.push(accepted.task_id.clone());
                    let first = Seen {
                        rings: *rings,
                        status: TaskStatus::Queued,
                        ended: false,
                        forgotten: false,
                    };
                    seen.insert(accepted.task_id, first);
                }
            }
            Op::Hire if office.processes() < 3 => office.hire(),
            Op::Hire => {}
            Op::Crash(at) => {
                if let Some(process) = at.checked_rem(office.processes()) {
                    office.crash(process);
                }
            }
            Op::Stop(at) => {
                if let Some(process) = at.checked_rem(office.processes()) {
                    office.stop(process);
                }
            }
            Op::Tell(at, end) => {
                if let Some(id) = pick(&office.desk.under_way(), *at) {
                    office.desk.tell(id, end);
                }
            }
            Op::Cancel(at) => {
                if let Some(id) = pick(&ids, *at) {
                    let _ = now(office.runner.cancel(id));
                }
            }
            Op::Pass(seconds) => office.pass_seconds(*seconds),
            Op::Purge(max) => {
                let _ = now(office.store.purge_tasks(*max, office.now()));
            }
            Op::Faults(per_mille) => {
                let (lots, per_mille) = (SeededEntropy::new(number as u64), *per_mille);
                office.plan(move |_| match lots.below(1_000) {
                    lot if lot >= per_mille => Fault::None,
                    lot if lot % 2 == 0 => Fault::Refused(StoreErrorKind::Unavailable),
                    _ => Fault::ReplyLost,
                });
            }
        }
        office.settle();
        check(&office, &mut seen);
    }

    // Once all is well, whatever was accepted ends.
    office.plan(|_| Fault::None);
    office.hire();
    for _ in 0..200 {
        if seen.values().all(|seen| seen.ended) {
            return;
        }
        for id in office.desk.under_way() {
            office.desk.tell(&id, &End::Succeed(r#"["results"]"#));
        }
        office.pass_seconds(10);
        check(&office, &mut seen);
    }
    panic!("some task never ended");
}

fn check(office: &Office, seen: &mut BTreeMap<TaskId, Seen>) {
    for (id, before) in seen {
        let Some(record) = now(office.store.task(id)).unwrap() else {
            assert!(before.ended, "{id} was forgotten before it ended");
            before.forgotten = true;
            continue;
        };
        assert!(!before.forgotten, "{id} came back");
        let step = before.status.step_to(&record.status);
        assert!(
            matches!(step, Step::Repeated | Step::Documented | Step::Skipping),
            "{id}: {:?}, then {:?}",
            before.status,
            record.status
        );
        before.status = record.status.clone();
        before.ended = record.ended.is_some();
        assert_eq!(
            before.ended,
            record.status.is_terminal(),
            "{id}: an end is a terminal status"
        );

        // A callback for each end that asked for one, of its status, and none before.
        let expected: Vec<_> = (before.ended && before.rings)
            .then_some(record.status.as_str())
            .into_iter()
            .collect();
        assert_eq!(office.callbacks(id), expected, "{id}");

        let response = office.results(id, "user-1");
        if response.status().is_success() {
            let shown: Results<RawJson> = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(shown.status.value(), Some(&record.status), "{id}");
            let has_results = shown.results.value().is_some();
            assert_eq!(
                has_results,
                record.status == TaskStatus::Succeeded,
                "{id}: results"
            );
            assert_eq!(response.status() == 200, before.ended, "{id}: ready");
        } else {
            let expired = before.ended && response.status() == 410;
            assert!(expired || response.status() == 503, "{id}: {}", response.status());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn on_the_memory_store(ops in vec(op(), 1..60)) {
        play(On::Memory, &ops);
    }

    #[test]
    fn on_sqlite(ops in vec(op(), 1..60)) {
        play(On::Sqlite, &ops);
    }
}
