//! The same calls to a `MemoryStore` and to an `SqliteStore` give the same answers.

mod inspect;

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderName, HeaderValue, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{
    AttemptReport, AutoDisable, Call, Event, EventPattern, Interval, Limits, Order, Outcome, Pacing, Rate,
    SendFailure, Target, Webhook,
};
use ringback::id::{DeliveryId, EventType, Fence, TaskId};
use ringback::retry::Flusher;
use ringback::store::sqlite::Durability;
use ringback::store::{
    AuthRecord, ClaimRequest, Claimed, DeliveryStore, DigestStore, HoldKey, Inspect, Keep, MemoryStore,
    NewDelivery, NewEvent, NewTask, Next, Release, SeenKey, SeenStore, Settlement, SqliteStore, StoreError,
    Switch, TakeChunk, TaskEnd, TaskPause, TaskSettlement, TaskStore, Update, WebhookStore, WindowNo,
};
use ringback::task::TaskProgress;
use ringback::url::WebhookUrl;

/// Which, and whether with a body of its own.
type Targets = Vec<(u8, bool)>;

#[derive(Debug, Clone)]
enum Op {
    Advance(i64),
    Enqueue(Vec<(u8, u8, Targets)>),
    Claim {
        max: usize,
        lease_ms: u64,
    },
    Settle(Vec<(usize, i64, u8)>),
    Release(Vec<(usize, i64)>),
    Replay(i64),
    SaveWebhook {
        webhook: u8,
        in_flight: u32,
        rate: Option<(u64, u32)>,
        strict: bool,
        enabled: bool,
        period: Option<u64>,
        when_gone: bool,
        elsewhere: bool,
    },
    /// Which, how, and by how much off from the instant since which it is failing.
    SwitchWebhook(u8, u8, i64),
    RemoveWebhook(u8),
    Hold(u8),
    Lift(u8, u8),
    EnqueueMany(u8, u8),
    SaveAuth(u8),
    ReplaceAuth(u8, u8),
    List(u8, usize),
    RemoveAuth,
    Reserve(u32),
    /// Scope, digest, user and interval of each.
    Record(Vec<(u8, u8, u8, u8)>),
    Seal {
        digest: u8,
        interval: u8,
        max: usize,
    },
    NextChunk(i64, usize),
    TakeChunk {
        window: i64,
        number: u32,
        through: u8,
    },
    CreateTask(u8),
    ClaimTasks {
        max: usize,
        lease_ms: u64,
    },
    RenewTask(usize, i64),
    ReportTask(usize, i64, u8),
    PauseTask(usize, i64, Option<i64>),
    FinishTask(usize, i64, bool),
    CancelTask(usize),
    PurgeTasks(usize),
    Begin(u8),
    FinishKey(usize, i64),
    AbandonKey(usize, i64),
    Forget(usize),
    Inspect(inspect::Op),
}

fn op() -> impl Strategy<Value = Op> {
    let skew = || prop_oneof![8 => Just(0i64), 1 => Just(-1i64), 1 => Just(1i64)];
    let target = || (0u8..7, any::<bool>());
    let event = (0u8..40, 0u8..8, vec(target(), 0..4));
    let webhook = || {
        (
            0u8..3,
            1u32..4,
            proptest::option::of((1u64..300, 1u32..4)),
            any::<bool>(),
            prop::bool::weighted(0.85),
            proptest::option::of(1u64..300),
            any::<bool>(),
            prop::bool::weighted(0.1),
        )
            .prop_map(
                |(webhook, in_flight, rate, strict, enabled, period, when_gone, elsewhere)| Op::SaveWebhook {
                    webhook,
                    in_flight,
                    rate,
                    strict,
                    enabled,
                    period,
                    when_gone,
                    elsewhere,
                },
            )
    };
    prop_oneof![
        6 => (-50i64..400).prop_map(Op::Advance),
        1 => (-3000i64..3000).prop_map(Op::Advance),
        3 => vec((0u8..2, 0u8..2, 0u8..4, 0u8..3), 0..4).prop_map(Op::Record),
        2 => (0u8..2, 0u8..3, 0usize..4).prop_map(|(digest, interval, max)| Op::Seal { digest, interval, max }),
        1 => (0i64..8, 0usize..4).prop_map(|(window, max)| Op::NextChunk(window, max)),
        3 => (1i64..6, 0u32..3, 0u8..4)
            .prop_map(|(window, number, through)| Op::TakeChunk { window, number, through }),
        8 => vec(event, 0..4).prop_map(Op::Enqueue),
        12 => (0usize..7, 1u64..500).prop_map(|(max, lease_ms)| Op::Claim { max, lease_ms }),
        8 => vec((any::<usize>(), skew(), 0u8..11), 0..4).prop_map(Op::Settle),
        2 => vec((any::<usize>(), skew()), 0..3).prop_map(Op::Release),
        2 => (0i64..20).prop_map(Op::Replay),
        3 => webhook(),
        2 => (0u8..4, 0u8..4, skew()).prop_map(|(webhook, how, skew)| Op::SwitchWebhook(webhook, how, skew)),
        1 => (0u8..3).prop_map(Op::RemoveWebhook),
        3 => (0u8..5).prop_map(Op::Hold),
        3 => (0u8..5, 0u8..4).prop_map(|(key, release)| Op::Lift(key, release)),
        1 => (40u8..60, 0u8..3).prop_map(|(first, webhook)| Op::EnqueueMany(first, webhook)),
        1 => (0u8..3).prop_map(Op::SaveAuth),
        1 => (0u8..4, 0u8..3).prop_map(|(old, new)| Op::ReplaceAuth(old, new)),
        1 => (0u8..5, 0usize..4).prop_map(|(after, max)| Op::List(after, max)),
        1 => Just(Op::RemoveAuth),
        1 => (0u32..9).prop_map(Op::Reserve),
        2 => (0u8..6).prop_map(Op::CreateTask),
        2 => (0usize..4, 1u64..500).prop_map(|(max, lease_ms)| Op::ClaimTasks { max, lease_ms }),
        1 => (any::<usize>(), skew()).prop_map(|(pick, skew)| Op::RenewTask(pick, skew)),
        1 => (any::<usize>(), skew(), any::<bool>()).prop_map(|(pick, skew, ok)| Op::FinishTask(pick, skew, ok)),
        1 => (any::<usize>(), skew(), 0u8..5).prop_map(|(pick, skew, done)| Op::ReportTask(pick, skew, done)),
        1 => (any::<usize>(), skew(), proptest::option::of(-50i64..300))
            .prop_map(|(pick, skew, due)| Op::PauseTask(pick, skew, due)),
        1 => any::<usize>().prop_map(Op::CancelTask),
        1 => (0usize..4).prop_map(Op::PurgeTasks),
        1 => (0u8..3).prop_map(Op::Begin),
        1 => (any::<usize>(), skew()).prop_map(|(pick, skew)| Op::FinishKey(pick, skew)),
        1 => (any::<usize>(), skew()).prop_map(|(pick, skew)| Op::AbandonKey(pick, skew)),
        8 => inspect::op().prop_map(Op::Inspect),
        1 => (0usize..3).prop_map(Op::Forget),
    ]
}

trait Store: DeliveryStore + WebhookStore + DigestStore + TaskStore + SeenStore + Inspect {}
impl Store for MemoryStore {}
impl Store for SqliteStore {}

/// What the caller remembers between calls: the same for both stores, as long as their answers are.
struct Caller {
    now: DateTime<Utc>,
    claims: Vec<(DeliveryId, Fence)>,
    tasks: Vec<(TaskId, Fence)>,
    keys: Vec<(SeenKey, Fence)>,
}

fn pick<T: Clone>(from: &[T], at: usize) -> Option<T> {
    from.get(at.checked_rem(from.len())?).cloned()
}

fn skewed(fence: Fence, by: i64) -> Fence {
    Fence(fence.0 + by)
}

/// Most are in one scope, so that most events have webhooks to go to.
fn scope_of(is_rare: bool) -> &'static str {
    if is_rare { "s1" } else { "s0" }
}

fn auth(key: u8) -> AuthRecord {
    AuthRecord {
        id: "a0".into(),
        name: format!("key {key}"),
        config: AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, format!("key {key}"))),
    }
}

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

fn report(now: DateTime<Utc>, kind: u8) -> AttemptReport {
    AttemptReport {
        started_at: now - TimeDelta::milliseconds(7),
        duration: Duration::from_micros(5_003),
        outcome: match kind {
            0 => Outcome::Answered(StatusCode::OK),
            1 | 8 => Outcome::TimedOut,
            _ => Outcome::Failed(SendFailure::Connect),
        },
        excerpt: Bytes::from_static(b"<html>"),
    }
}

fn settlement((id, fence): (DeliveryId, Fence), kind: u8, now: DateTime<Utc>) -> Settlement {
    let next = match kind {
        0 | 1 => Next::Delivered,
        2 => Next::Exhausted,
        3 => Next::Gone,
        8.. => Next::AwaitRun,
        later => Next::Retry(now + TimeDelta::milliseconds(i64::from(later) * 40 - 180)),
    };
    Settlement {
        id,
        fence,
        attempt: (kind != 7).then(|| report(now, kind)),
        next,
        pacing: match id.0 + i64::from(kind) {
            sum if sum % 32 == 0 => Pacing::Slow(None),
            sum if sum % 4 == 0 => Pacing::Slow(Some(Duration::from_millis(60))),
            sum if sum % 16 == 1 => Pacing::Pause(Duration::from_millis(90)),
            sum if sum % 4 == 1 => Pacing::Keep,
            _ => Pacing::Gain,
        },
    }
}

fn shown(answer: Result<impl Debug, StoreError>) -> String {
    format!("{:?}", answer.unwrap())
}

/// All of a claim: `Debug` leaves bodies and queries out.
fn show_claim(claim: &Claimed) -> String {
    let (event, url) = (&claim.event, claim.target.url().expose());
    format!("{claim:?} {:?} {:?} {url}", event.body(), event.headers())
}

impl Caller {
    async fn call(&self, store: &dyn Store, op: &Op) -> (String, Vec<(DeliveryId, Fence)>) {
        let now = self.now;
        let claim = |max, lease_ms| ClaimRequest {
            holder: "model".into(),
            now,
            lease: Duration::from_millis(lease_ms),
            max,
        };
        let answer = match op {
            Op::Advance(_) => String::new(),
            Op::Enqueue(events) => {
                let events = events
                    .iter()
                    .map(|(id, body, targets)| new_event(*id, *body, targets));
                shown(store.enqueue(events.collect(), now).await)
            }
            Op::Claim { max, lease_ms } => {
                let claimed = store.claim(claim(*max, *lease_ms)).await.unwrap();
                let text = claimed.iter().map(show_claim).collect::<Vec<_>>().join("\n");
                return (text, claimed.iter().map(|c| (c.id, c.fence)).collect());
            }
            Op::Settle(picks) => {
                let settlements = picks.iter().filter_map(|(at, skew, kind)| {
                    let (id, fence) = pick(&self.claims, *at)?;
                    Some(settlement((id, skewed(fence, *skew)), *kind, now))
                });
                shown(store.settle(settlements.collect(), now).await)
            }
            Op::Release(picks) => {
                let claims = picks.iter().filter_map(|(at, skew)| {
                    pick(&self.claims, *at).map(|(id, fence)| (id, skewed(fence, *skew)))
                });
                shown(store.release(claims.collect(), now).await)
            }
            Op::Replay(id) => shown(store.replay(DeliveryId(*id), now).await),
            Op::SaveWebhook {
                webhook,
                in_flight,
                rate,
                strict,
                enabled,
                period,
                when_gone,
                elsewhere,
            } => {
                let rate = rate.map(|(ms, burst)| Rate {
                    interval: Duration::from_millis(ms),
                    burst: NonZeroU32::new(burst).unwrap(),
                });
                let saved = Webhook {
                    id: format!("w{webhook}").into(),
                    scope: scope_of((*webhook == 2) != *elsewhere).into(),
                    name: "name".into(),
                    events: vec![EventPattern::any()],
                    url: WebhookUrl::parse(&format!("https://w{webhook}.example/?limit={in_flight}"))
                        .unwrap(),
                    auth: Some(format!("a{webhook}").into()),
                    profile: "p".into(),
                    limits: Limits {
                        in_flight: NonZeroU32::new(*in_flight).unwrap(),
                        rate,
                    },
                    order: if *strict { Order::Strict } else { Order::Any },
                    enabled: *enabled,
                    disabled: None,
                    auto_disable: AutoDisable {
                        when_gone: *when_gone,
                        ..AutoDisable::never()
                    },
                    deadline: None,
                    flusher: period.map(|ms| {
                        let flusher = Flusher::default()
                            .with_max_consecutive_failures(NonZeroU32::MIN.saturating_add(1));
                        flusher.with_period(Duration::from_millis(ms)).unwrap()
                    }),
                    guard: None,
                    compression: ringback::delivery::Compression::None,
                    created_at: now,
                    updated_at: now,
                };
                shown(store.save_webhook(saved, now).await)
            }
            Op::SwitchWebhook(webhook, how, skew) => {
                let id = format!("w{webhook}").into();
                let failing = store.failing_webhooks(None, 9).await.unwrap();
                let since = failing.iter().find(|failing| failing.webhook.id == id);
                let since = since.map_or(now, |failing| failing.since);
                let switch = match how {
                    0 => Switch::On,
                    1 => Switch::Off,
                    _ => Switch::OffIfFailingSince(since + TimeDelta::microseconds(*skew)),
                };
                shown(store.switch_webhook(&id, switch, now).await)
            }
            Op::RemoveWebhook(webhook) => {
                shown(store.remove_webhook(&format!("w{webhook}").into(), now).await)
            }
            Op::Hold(key) => shown(store.hold(hold_key(*key), now).await),
            Op::Lift(key, release) => {
                let release = match release {
                    0 => Release::Nothing,
                    1 => Release::Since(now - TimeDelta::milliseconds(300)),
                    _ => Release::All,
                };
                shown(store.lift(&hold_key(*key), release, now).await)
            }
            Op::EnqueueMany(id, webhook) => {
                // More than one call moves of a hold.
                shown(
                    store
                        .enqueue(vec![new_event(*id, 0, &[(*webhook, false); 150])], now)
                        .await,
                )
            }
            Op::SaveAuth(key) => shown(store.save_auth(auth(*key)).await),
            Op::ReplaceAuth(old, new) => {
                let old = (*old < 3).then(|| auth(*old));
                shown(store.replace_auth(old.as_ref(), auth(*new)).await)
            }
            Op::List(after, max) => list(store, *after, *max).await,
            Op::RemoveAuth => shown(store.remove_auth(&"a0".into()).await),
            Op::Reserve(count) => shown(store.reserve_numbers(*count).await),
            Op::Record(updates) => {
                let updates = updates.iter().map(|(scope, digest, user, interval)| Update {
                    scope: format!("s{scope}").into(),
                    digest: digest_name(*digest),
                    subject: format!("u{user}").into(),
                    interval: length(*interval),
                });
                shown(store.record_updates(updates.collect(), now).await)
            }
            Op::Seal {
                digest,
                interval,
                max,
            } => {
                let (digest, interval) = (digest_name(*digest), length(*interval));
                shown(store.seal_windows(&digest, interval, *max, now).await)
            }
            Op::NextChunk(window, max) => shown(store.next_chunk(WindowNo(*window), *max).await),
            Op::TakeChunk {
                window,
                number,
                through,
            } => {
                let taking = TakeChunk {
                    window: WindowNo(*window),
                    number: *number,
                    through: format!("u{through}").into(),
                    notification: new_event((*window * 3) as u8 + *number as u8, 0, &[(*through, true)]),
                };
                shown(store.take_chunk(taking, now).await)
            }
            Op::CreateTask(id) => {
                let task = NewTask {
                    id: format!("t{id}").into(),
                    credentials_id: "c".into(),
                    request_uri: "/r".into(),
                    input: Bytes::from_static(b"in"),
                    results_uri: "/results".into(),
                    webhook_uri: id
                        .is_multiple_of(2)
                        .then(|| WebhookUrl::parse("https://cb.example/?a=b").unwrap()),
                    deadline: now + TimeDelta::seconds(i64::from(*id)),
                };
                shown(store.create_task(task, now).await)
            }
            Op::ClaimTasks { max, lease_ms } => shown(store.claim_tasks(claim(*max, *lease_ms)).await),
            Op::RenewTask(at, skew) => match pick(&self.tasks, *at) {
                Some((id, fence)) => shown(
                    store
                        .renew_task(&id, skewed(fence, *skew), Duration::from_millis(90), now)
                        .await,
                ),
                None => String::new(),
            },
            Op::ReportTask(at, skew, done) => match pick(&self.tasks, *at) {
                Some((id, fence)) => {
                    let progress = TaskProgress::of(u64::from(*done), 4).with_message("m");
                    shown(store.report_task(&id, skewed(fence, *skew), progress, now).await)
                }
                None => String::new(),
            },
            Op::PauseTask(at, skew, due) => match pick(&self.tasks, *at) {
                Some((id, fence)) => {
                    let pause = due.map_or(TaskPause::Handover, |ms| {
                        TaskPause::Retry(now + TimeDelta::milliseconds(ms))
                    });
                    shown(store.pause_task(&id, skewed(fence, *skew), pause, now).await)
                }
                None => String::new(),
            },
            Op::FinishTask(at, skew, ok) => match pick(&self.tasks, *at) {
                Some((id, fence)) => {
                    let end = if *ok {
                        TaskEnd::Succeeded(Bytes::from_static(b"out"))
                    } else {
                        failed()
                    };
                    let fence = Some(skewed(fence, *skew));
                    shown(
                        store
                            .finish_task(task_settlement(id, fence, end, *at, now), now)
                            .await,
                    )
                }
                None => String::new(),
            },
            Op::CancelTask(at) => match pick(&self.tasks, *at) {
                Some((id, _)) => shown(
                    store
                        .finish_task(task_settlement(id, None, failed(), *at, now), now)
                        .await,
                ),
                None => String::new(),
            },
            Op::PurgeTasks(max) => shown(store.purge_tasks(*max, now).await),
            Op::Begin(key) => shown(
                store
                    .begin(&seen_key(*key), Duration::from_millis(100), now)
                    .await,
            ),
            Op::FinishKey(at, skew) => match pick(&self.keys, *at) {
                Some((key, fence)) => shown(
                    store
                        .finish(&key, skewed(fence, *skew), Duration::from_millis(300), now)
                        .await,
                ),
                None => String::new(),
            },
            Op::AbandonKey(at, skew) => match pick(&self.keys, *at) {
                Some((key, fence)) => shown(store.abandon(&key, skewed(fence, *skew), now).await),
                None => String::new(),
            },
            Op::Forget(max) => shown(store.forget_expired(*max, now).await),
            Op::Inspect(op) => inspect::call(store, op, now).await,
        };
        (answer, Vec::new())
    }
}

fn failed() -> TaskEnd {
    TaskEnd::Failed {
        error: "e".into(),
        description: "d".into(),
    }
}

fn task_settlement(
    id: TaskId,
    fence: Option<Fence>,
    end: TaskEnd,
    at: usize,
    now: DateTime<Utc>,
) -> TaskSettlement {
    let kept = |ms| now + TimeDelta::milliseconds(ms * (1 + (at % 3) as i64));
    TaskSettlement {
        id,
        fence,
        end,
        keep: Keep {
            results_until: kept(200),
            known_until: kept(500),
        },
        callback: Some(new_event(200 + (at % 20) as u8, 0, &[(4, false)])),
    }
}

fn digest_name(digest: u8) -> EventType {
    format!("d{digest}").into()
}

fn length(interval: u8) -> Interval {
    Interval::of(Duration::from_secs(1 + u64::from(interval))).unwrap()
}

/// All lists, from the same place on.
async fn list(store: &dyn Store, after: u8, max: usize) -> String {
    let (webhook, auth) = (format!("w{after}").into(), format!("a{after}").into());
    let after = (after < 4).then_some((&webhook, &auth));
    let (webhook, auth) = (after.map(|after| after.0), after.map(|after| after.1));
    let mut text = shown(store.all_webhooks(webhook, max).await);
    text += &shown(store.failing_webhooks(webhook, max).await);
    text += &shown(store.auths(auth, max).await);
    text + &shown(store.webhooks_with_auth(&"a0".into(), max).await)
}

/// A webhook's, or that of the subject that some events of each scope are about.
fn hold_key(key: u8) -> HoldKey {
    match key {
        webhook @ 0..=2 => HoldKey::Webhook(format!("w{webhook}").into()),
        scope => HoldKey::Subject {
            scope: format!("s{}", scope % 2).into(),
            subject: "u".into(),
        },
    }
}

fn seen_key(key: u8) -> SeenKey {
    SeenKey::new("r", format!("k{key}"))
}

/// Everything that can be read.
async fn everything(store: &dyn Store) -> String {
    let mut text = String::new();
    let mut missing = 0;
    for id in (1..).map(DeliveryId) {
        let Some(record) = store.delivery(id).await.unwrap() else {
            missing += 1;
            if missing == 1_000 {
                break; // as many in a row were never purged
            }
            continue;
        };
        missing = 0;
        let attempts = store.attempts(id).await.unwrap();
        text += &format!("{record:?} {:?} {attempts:?}\n", record.body);
    }
    for event in 0..40 {
        let scope = scope_of(event % 8 == 1).into();
        text += &shown(store.deliveries_of(&scope, &format!("e{event}").into()).await);
    }
    for window in (1..100).map(WindowNo) {
        text += &shown(store.next_chunk(window, 100).await);
    }
    text += &list(store, 9, 9).await;
    text += &inspect::everything(store).await;
    for scope in ["s0", "s1"] {
        text += &shown(store.webhooks(&scope.into()).await);
    }
    for id in 0..6 {
        text += &shown(store.task(&format!("t{id}").into()).await);
        text += &shown(store.webhook(&format!("w{id}").into()).await);
        text += &shown(store.auth(&format!("a{id}").into()).await);
    }
    text
}

/// Makes each call to a memory store and to one of `stores`, in turn.
async fn compare(ops: &[Op], stores: &[SqliteStore]) {
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
        let (expected, claims) = caller.call(&memory, op).await;
        let sqlite = &stores[step % stores.len()];
        let (found, _) = caller.call(sqlite, op).await;
        assert_eq!(found, expected, "step {step}: {op:?}");
        remember(&mut caller, op, claims, &expected);
        let now = caller.now;
        assert_eq!(
            sqlite.next_due(now).await.unwrap(),
            memory.next_due(now).await.unwrap(),
            "{step}: {op:?}"
        );
        for digest in [0, 1].map(digest_name) {
            assert_eq!(
                sqlite.next_window_end(&digest, length(1), now).await.unwrap(),
                memory.next_window_end(&digest, length(1), now).await.unwrap(),
                "{step}: {op:?}"
            );
        }
        assert_eq!(
            sqlite.next_task_due(now).await.unwrap(),
            memory.next_task_due(now).await.unwrap(),
            "{step}: {op:?}"
        );
    }
    for sqlite in stores {
        assert_eq!(everything(sqlite).await, everything(&memory).await);
    }
}

/// Fences of tasks and keys rise from 1, so that guesses at them are often right.
fn remember(caller: &mut Caller, op: &Op, claims: Vec<(DeliveryId, Fence)>, answer: &str) {
    caller.claims.extend(claims);
    match op {
        Op::ClaimTasks { .. } => {
            for id in 0..6 {
                for fence in 1..9 {
                    if answer.contains(&format!("TaskId(\"t{id}\")"))
                        && answer.contains(&format!("Fence({fence})"))
                    {
                        caller.tasks.push((format!("t{id}").into(), Fence(fence)));
                    }
                }
            }
        }
        Op::Begin(key) => {
            if let Some(fence) = answer
                .strip_prefix("Fresh(Fence(")
                .and_then(|rest| rest.strip_suffix("))"))
            {
                caller.keys.push((seen_key(*key), Fence(fence.parse().unwrap())));
            }
        }
        _ => {}
    }
}

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
    fn sqlite_answers_as_memory_does(ops in vec(op(), 1..120)) {
        let store = SqliteStore::builder().inline().longest_tail(5);
        let store = store.open_in_memory().unwrap();
        block_on(compare(&ops, &[store]));
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn connections_that_take_turns_answer_as_one(ops in vec(op(), 1..120)) {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let builder = SqliteStore::builder().inline().durability(Durability::Normal);
            let builder = builder.longest_tail(5);
            builder.open(folder.path().join("ringback.db"), super::key(1)).unwrap()
        };
        block_on(compare(&ops, &[open(), open(), open()]));
    }
}
