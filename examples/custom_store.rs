//! A store of one's own that puts something in front of another: here it measures how long each call takes. Then it has
//! the suite for stores judge it, as a test of yours should, and prints what it has measured.
//!
//! A store on another database implements the same seven traits; see the chapter on stores in CONTRIBUTING.md.
//!
//! ```text
//! cargo run --example custom_store
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ringback::delivery::{Attempt, Event, Health, HistoryPage, HistoryQuery, Interval, Retention, Webhook};
use ringback::id::{AuthId, DeliveryId, EventId, EventType, Fence, Scope, TaskId, WebhookId};
use ringback::store::*;
use ringback::task::TaskProgress;
use ringback::testing::conformance;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let times = Times::default();
    let fresh = || {
        let store = Arc::new(Measured(MemoryStore::new(), Arc::clone(&times)));
        async move { store }
    };
    let report = conformance::store::run_all(fresh).await;
    for (call, (count, total)) in &*times.lock().expect("nobody panics") {
        println!("{call:<20} {count:>7} calls {:>10.1?} each", *total / *count);
    }
    println!("{report}");
    if report.failures().is_empty() {
        Ok(())
    } else {
        Err("the contract is not kept".into())
    }
}

/// How often each call was made, and how long it took altogether.
type Times = Arc<Mutex<BTreeMap<&'static str, (u32, Duration)>>>;

/// Forwards everything, and measures.
#[derive(Debug)]
struct Measured<S>(S, Times);

impl<S> Measured<S> {
    async fn measure<T>(&self, call: &'static str, answer: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let answer = answer.await;
        let mut times = self.1.lock().expect("nobody panics");
        let (count, total) = times.entry(call).or_default();
        (*count, *total) = (*count + 1, *total + start.elapsed());
        answer
    }
}

/// Each method of a trait, forwarded. No trait has a default method that could be forgotten here.
macro_rules! forward {
    ($Trait:ident {
        $(async fn $call:ident($($argument:ident: $Argument:ty),*) -> $Answer:ty;)*
        $(fn $get:ident() -> $Got:ty;)*
    }) => {
        #[async_trait]
        impl<S: $Trait> $Trait for Measured<S> {
            $(async fn $call(&self, $($argument: $Argument),*) -> Result<$Answer, StoreError> {
                self.measure(stringify!($call), self.0.$call($($argument),*)).await
            })*
            $(fn $get(&self) -> $Got {
                self.0.$get()
            })*
        }
    };
}

forward!(DeliveryStore {
    async fn enqueue(events: Vec<NewEvent>, now: DateTime<Utc>) -> Vec<Enqueued>;
    async fn claim(request: ClaimRequest) -> Vec<Claimed>;
    async fn settle(settlements: Vec<Settlement>, now: DateTime<Utc>) -> Vec<Settled>;
    async fn release(claims: Vec<(DeliveryId, Fence)>, now: DateTime<Utc>) -> Vec<Settled>;
    async fn hold(key: HoldKey, now: DateTime<Utc>) -> bool;
    async fn lift(key: &HoldKey, release: Release, now: DateTime<Utc>) -> bool;
    async fn next_due(now: DateTime<Utc>) -> Option<DateTime<Utc>>;
    async fn reserve_numbers(count: u32) -> i64;
    fn wake() -> &Wake;
});

forward!(WebhookStore {
    async fn save_webhook(webhook: Webhook, now: DateTime<Utc>) -> Saved;
    async fn replace_webhook(old: Option<&Webhook>, new: Webhook, now: DateTime<Utc>) -> Saved;
    async fn switch_webhook(id: &WebhookId, switch: Switch, now: DateTime<Utc>) -> Switched;
    async fn remove_webhook(id: &WebhookId, now: DateTime<Utc>) -> bool;
    async fn webhook(id: &WebhookId) -> Option<Arc<Webhook>>;
    async fn webhooks(scope: &Scope) -> Vec<Arc<Webhook>>;
    async fn all_webhooks(after: Option<&WebhookId>, max: usize) -> Vec<Arc<Webhook>>;
    async fn failing_webhooks(after: Option<&WebhookId>, max: usize) -> Vec<FailingWebhook>;
    async fn save_auth(record: AuthRecord) -> ();
    async fn replace_auth(old: Option<&AuthRecord>, new: AuthRecord) -> bool;
    async fn remove_auth(id: &AuthId) -> bool;
    async fn auth(id: &AuthId) -> Option<Arc<AuthRecord>>;
    async fn auths(after: Option<&AuthId>, max: usize) -> Vec<Arc<AuthRecord>>;
    async fn webhooks_with_auth(id: &AuthId, max: usize) -> Vec<WebhookId>;
});

forward!(DigestStore {
    async fn record_updates(updates: Vec<Update>, now: DateTime<Utc>) -> ();
    async fn seal_windows(digest: &EventType, interval: Interval, max: usize, now: DateTime<Utc>) -> Vec<SealedWindow>;
    async fn next_window_end(digest: &EventType, interval: Interval, now: DateTime<Utc>) -> Option<DateTime<Utc>>;
    async fn next_chunk(window: WindowNo, max: usize) -> Option<Chunk>;
    async fn take_chunk(taking: TakeChunk, now: DateTime<Utc>) -> Option<Enqueued>;
});

forward!(IntakeStore {
    async fn submit(events: Vec<Event>) -> ();
    async fn submissions(after: Option<SubmissionNo>, max: usize) -> Vec<Submission>;
    async fn take_in(taking: Vec<TakeIn>, now: DateTime<Utc>) -> Vec<TakenIn>;
    async fn set_aside(after: Option<SubmissionNo>, max: usize) -> Vec<(Submission, SetAside)>;
    async fn discard(number: SubmissionNo) -> bool;
    fn intake_wake() -> &Wake;
});

forward!(Inspect {
    async fn delivery(id: DeliveryId) -> Option<DeliveryRecord>;
    async fn deliveries_of(scope: &Scope, event: &EventId) -> Vec<DeliveryRecord>;
    async fn attempts(id: DeliveryId) -> Vec<Attempt>;
    async fn history(query: HistoryQuery) -> HistoryPage;
    async fn health(webhook: &WebhookId, since: DateTime<Utc>, now: DateTime<Utc>) -> Health;
    async fn replay(id: DeliveryId, now: DateTime<Utc>) -> Replayed;
    async fn replay_dead(request: ReplayDead, now: DateTime<Utc>) -> DeadReplayed;
    async fn purge(retention: &Retention, max: usize, now: DateTime<Utc>) -> Purged;
});

forward!(TaskStore {
    async fn create_task(task: NewTask, now: DateTime<Utc>) -> bool;
    async fn task(id: &TaskId) -> Option<TaskRecord>;
    async fn claim_tasks(request: ClaimRequest) -> Vec<ClaimedTask>;
    async fn renew_task(id: &TaskId, fence: Fence, lease: Duration, now: DateTime<Utc>) -> Settled;
    async fn report_task(id: &TaskId, fence: Fence, progress: TaskProgress, now: DateTime<Utc>) -> Settled;
    async fn pause_task(id: &TaskId, fence: Fence, pause: TaskPause, now: DateTime<Utc>) -> Settled;
    async fn finish_task(settlement: TaskSettlement, now: DateTime<Utc>) -> Settled;
    async fn purge_tasks(max: usize, now: DateTime<Utc>) -> usize;
    async fn next_task_due(now: DateTime<Utc>) -> Option<DateTime<Utc>>;
    fn task_wake() -> &Wake;
});

forward!(SeenStore {
    async fn begin(key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Seen;
    async fn finish(key: &SeenKey, fence: Fence, keep: Duration, now: DateTime<Utc>) -> bool;
    async fn abandon(key: &SeenKey, fence: Fence, now: DateTime<Utc>) -> bool;
    async fn forget_expired(max: usize, now: DateTime<Utc>) -> usize;
});
