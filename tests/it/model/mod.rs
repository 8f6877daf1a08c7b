//! The same calls to a `MemoryStore` and to another store give the same answers. A module for each trait says which calls
//! there are; what they name is often there, and often not.

mod deliveries;
mod digests;
mod inspect;
mod seen;
mod tasks;
mod webhooks;

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use ringback::delivery::{Call, Event, Limits, Target};
use ringback::id::{DeliveryId, Fence, TaskId};
use ringback::store::{ClaimRequest, MemoryStore, NewDelivery, NewEvent, SeenKey, Store, StoreError};
use ringback::url::WebhookUrl;

/// A call, or some time that passes.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Advance(i64),
    Deliveries(deliveries::Op),
    Webhooks(webhooks::Op),
    Digests(digests::Op),
    Tasks(tasks::Op),
    Seen(seen::Op),
    Inspect(inspect::Op),
}

/// Calls of all kinds. An event that was enqueued before may come again with other targets, unless copies do not go elsewhere.
pub(crate) fn op(copies_go_elsewhere: bool) -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (-50i64..400).prop_map(Op::Advance),
        1 => (-3000i64..3000).prop_map(Op::Advance),
        38 => deliveries::op(copies_go_elsewhere).prop_map(Op::Deliveries),
        10 => webhooks::op().prop_map(Op::Webhooks),
        9 => digests::op().prop_map(Op::Digests),
        10 => tasks::op().prop_map(Op::Tasks),
        4 => seen::op().prop_map(Op::Seen),
        10 => inspect::op().prop_map(Op::Inspect),
    ]
}

/// Makes each call to a memory store and to one of `stores`, in turn.
pub(crate) async fn compare(ops: &[Op], stores: &[impl Store]) {
    let memory = MemoryStore::new();
    let mut caller = Caller {
        now: DateTime::UNIX_EPOCH,
        claims: vec![],
        tasks: vec![],
        keys: vec![],
    };
    for (step, op) in ops.iter().enumerate() {
        if let Op::Advance(ms) = op {
            caller.now += TimeDelta::milliseconds(*ms);
        }
        let store = &stores[step % stores.len()];
        let expected = caller.call(&memory, op).await;
        let found = caller.call(store, op).await;
        same(&found.text, &expected.text, &format!("step {step}, {op:?}"));
        caller.learn(expected.learnt);
        let (found, expected) = (caller.look(store).await, caller.look(&memory).await);
        same(&found, &expected, &format!("after step {step}, {op:?}"));
    }
    for store in stores {
        let (found, expected) = (everything(store).await, everything(&memory).await);
        same(&found, &expected, "in the end");
    }
}

/// Shows where two texts part: they can be long.
fn same(found: &str, expected: &str, when: &str) {
    let parting = found
        .bytes()
        .zip(expected.bytes())
        .position(|(found, expected)| found != expected);
    let parting = parting.unwrap_or(found.len().min(expected.len()));
    let around = |text: &str| {
        let bytes = &text.as_bytes()[parting.saturating_sub(400)..text.len().min(parting + 200)];
        String::from_utf8_lossy(bytes).into_owned()
    };
    assert!(
        found == expected,
        "{when}:\n   found {}\nexpected {}",
        around(found),
        around(expected)
    );
}

/// What the caller remembers between calls: the same for both stores, as long as their answers are.
struct Caller {
    now: DateTime<Utc>,
    claims: Vec<(DeliveryId, Fence)>,
    tasks: Vec<(TaskId, Fence)>,
    keys: Vec<(SeenKey, Fence)>,
}

/// What a store says to a call.
struct Answer {
    text: String,
    learnt: Learnt,
}

/// What later calls can name.
enum Learnt {
    Nothing,
    Claims(Vec<(DeliveryId, Fence)>),
    Tasks(Vec<(TaskId, Fence)>),
    Key(SeenKey, Fence),
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self {
            text,
            learnt: Learnt::Nothing,
        }
    }
}

impl Caller {
    async fn call(&self, store: &dyn Store, op: &Op) -> Answer {
        match op {
            Op::Advance(_) => String::new().into(),
            Op::Deliveries(op) => self.call_deliveries(store, op).await,
            Op::Webhooks(op) => self.call_webhooks(store, op).await.into(),
            Op::Digests(op) => self.call_digests(store, op).await.into(),
            Op::Tasks(op) => self.call_tasks(store, op).await,
            Op::Seen(op) => self.call_seen(store, op).await,
            Op::Inspect(op) => inspect::call(store, op, self.now).await.into(),
        }
    }

    fn learn(&mut self, learnt: Learnt) {
        match learnt {
            Learnt::Nothing => {}
            Learnt::Claims(claims) => self.claims.extend(claims),
            Learnt::Tasks(tasks) => self.tasks.extend(tasks),
            Learnt::Key(key, fence) => self.keys.push((key, fence)),
        }
    }

    /// When the store says that there is something to do.
    async fn look(&self, store: &dyn Store) -> String {
        // What was due is due now, however long it has been.
        let next_due = store.next_due(self.now).await;
        let mut text = shown(next_due.map(|due| due.map(|due| due.max(self.now))));
        text += &shown(store.next_task_due(self.now).await);
        text + &digests::window_ends(store, self.now).await
    }

    fn claim(&self, max: usize, lease_ms: u64) -> ClaimRequest {
        ClaimRequest {
            holder: "model".into(),
            now: self.now,
            lease: Duration::from_millis(lease_ms),
            max,
        }
    }
}

/// Everything that can be read.
async fn everything(store: &dyn Store) -> String {
    let mut text = String::new();
    text += &inspect::everything(store).await;
    text += &digests::everything(store).await;
    text += &webhooks::everything(store).await;
    text + &tasks::everything(store).await
}

/// How far a fence that is named is off from the one that was given out.
fn skew() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0i64), 1 => Just(-1i64), 1 => Just(1i64)]
}

fn skewed(fence: Fence, by: i64) -> Fence {
    Fence(fence.0 + by)
}

fn pick<T: Clone>(from: &[T], at: usize) -> Option<T> {
    from.get(at.checked_rem(from.len())?).cloned()
}

fn shown(answer: Result<impl Debug, StoreError>) -> String {
    format!("{:?}", answer.unwrap())
}

/// Most are in one scope, so that most events have webhooks to go to.
fn scope_of(is_rare: bool) -> &'static str {
    if is_rare { "s1" } else { "s0" }
}

/// An event, and which targets it goes to, whether with a body of its own.
fn new_event(id: u8, body: u8, targets: &[(u8, bool)]) -> NewEvent {
    let mut event = Event::builder(scope_of(id % 8 == 1), format!("e{id}"), "t").json(vec![b'0' + body / 4]);
    if id.is_multiple_of(3) {
        event = event.subject("u").header(
            HeaderName::from_static("x-h"),
            HeaderValue::from_bytes(b"\xff: v").unwrap(),
        );
    }
    let deliveries = targets.iter().map(|(target, own)| NewDelivery {
        target: match target {
            webhook @ 0..=3 => Target::Webhook(format!("w{webhook}").into()),
            6 => Target::Test(format!("w{}", id % 4).into()),
            call => Target::Call(Call {
                url: WebhookUrl::parse(&format!("https://host{call}.example/{id}?token=t")).unwrap(),
                profile: "p".into(),
                auth: Some("a0".into()),
                limits: Limits {
                    in_flight: NonZeroU32::new(1 + u32::from(id % 3)).unwrap(),
                    rate: None,
                },
            }),
        },
        body: own.then(|| Bytes::from(format!("own {id}"))),
    });
    NewEvent {
        deliveries: deliveries.collect(),
        event: Arc::new(event.build().unwrap()),
    }
}
