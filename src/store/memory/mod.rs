//! A store in memory.

mod book;
mod claims;
mod digests;
mod events;
mod history;
mod holds;
mod inspect;
mod intake;
mod lanes;
mod purge;
mod registrations;
mod row;
mod seen;
mod settlements;
mod tasks;

use std::collections::BTreeMap;
use std::fmt;
use std::mem::take;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use self::book::{Book, Incoming};
use self::digests::Digests;
use self::intake::Intake;
use self::seen::SeenKeys;
use self::tasks::Tasks;
use super::{
    AuthRecord, Chunk, ClaimRequest, Claimed, ClaimedTask, DeadReplayed, DeliveryRecord, DeliveryStore,
    DigestStore, Enqueued, FailingWebhook, HoldKey, Inspect, IntakeStore, NewEvent, NewTask, Purged, Release,
    ReplayDead, Replayed, Saved, SealedWindow, Seen, SeenKey, SeenStore, SetAside, Settled, Settlement,
    StoreError, Submission, SubmissionNo, Switch, Switched, TakeChunk, TakeIn, TakenIn, TaskPause,
    TaskRecord, TaskSettlement, TaskStore, Update, Wake, WebhookStore, WindowNo,
};
use crate::delivery::{Attempt, Event, Health, HistoryPage, HistoryQuery, Interval, Retention, Webhook};
use crate::id::{AuthId, DeliveryId, EventId, EventType, Fence, Scope, TaskId, WebhookId};
use crate::task::TaskProgress;

/// Keeps everything in memory: for tests, and for what may be lost with the process.
///
/// It keeps every promise of the store traits but one: nothing survives the process. It is deterministic:
/// the same calls give the same answers in the same order.
///
/// Of deliveries that are final it keeps the latest 10,000 ([`keeping`](Self::keeping)); of older ones, history
/// and event id are forgotten, so that memory does not grow with all that was ever sent. Of messages that were
/// received it keeps the latest 100,000 keys ([`keeping_seen`](Self::keeping_seen)), which take some 40 MB; a copy of
/// one that was forgotten is handled again.
///
/// ```
/// use std::sync::Arc;
/// use chrono::DateTime;
/// use ringback::delivery::Event;
/// use ringback::store::{DeliveryStore, Enqueued, MemoryStore, NewEvent};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = MemoryStore::new();
/// let event = Arc::new(Event::builder("s", "1", "ping").build()?);
/// let new = NewEvent { event, deliveries: vec![] };
/// let now = DateTime::UNIX_EPOCH;
/// assert_eq!(store.enqueue(vec![new.clone()], now).await?, [Enqueued::Fresh(vec![])]);
/// assert_eq!(store.enqueue(vec![new], now).await?, [Enqueued::Duplicate(vec![])]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    wake: Wake,
    intake_wake: Wake,
    task_wake: Wake,
}

#[derive(Default)]
struct State {
    book: Book,
    auths: BTreeMap<AuthId, Arc<AuthRecord>>,
    digests: Digests,
    intake: Intake,
    tasks: Tasks,
    seen: SeenKeys,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::keeping(10_000)
    }

    /// An empty store that keeps so many final deliveries.
    pub fn keeping(finals: usize) -> Self {
        let state = State {
            book: Book::keeping(finals),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            wake: Wake::default(),
            intake_wake: Wake::default(),
            task_wake: Wake::default(),
        }
    }

    /// An empty store that keeps the keys of so many received messages, once they are handled.
    pub fn keeping_seen(keys: usize) -> Self {
        let store = Self::new();
        store.state().seen = SeenKeys::keeping(keys);
        store
    }

    /// A panic inside a call cannot leave the state half changed in a way that later calls would not notice, so
    /// a poisoned lock is taken all the same.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl DeliveryStore for MemoryStore {
    async fn enqueue(&self, events: Vec<NewEvent>, now: DateTime<Utc>) -> Result<Vec<Enqueued>, StoreError> {
        let events = events.into_iter().map(Incoming::from).collect();
        let (answers, _forgotten) = {
            let book = &mut self.state().book;
            (book.enqueue_all(events, now), take(&mut book.forgotten))
        };
        self.wake.ring();
        Ok(answers)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let mut state = self.state();
        let State { book, auths, .. } = &mut *state;
        Ok(book.claim(&request, auths))
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let (answers, rings, _forgotten) = {
            let book = &mut self.state().book;
            let answers = settlements
                .into_iter()
                .map(|settlement| book.settle(settlement, now))
                .collect();
            (answers, book.take_rings(), take(&mut book.forgotten))
        };
        if rings {
            self.wake.ring();
        }
        Ok(answers)
    }

    async fn release(
        &self,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let answers = {
            let mut state = self.state();
            claims
                .into_iter()
                .map(|(id, fence)| state.book.release(id, fence, now))
                .collect()
        };
        self.wake.ring();
        Ok(answers)
    }

    async fn hold(&self, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let placed = self.state().book.hold(key, now);
        self.wake.ring();
        Ok(placed)
    }

    async fn lift(&self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let lifted = self.state().book.lift(key, release, now);
        self.wake.ring();
        Ok(lifted)
    }

    async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.state().book.next_due(now))
    }

    async fn reserve_numbers(&self, count: u32) -> Result<i64, StoreError> {
        Ok(self.state().book.reserve_numbers(count))
    }

    fn wake(&self) -> &Wake {
        &self.wake
    }
}

#[async_trait]
impl WebhookStore for MemoryStore {
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        let saved = self.state().book.save_webhook(webhook, now);
        self.wake.ring();
        Ok(saved)
    }

    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        let switched = self.state().book.switch_webhook(id, switch, now);
        self.wake.ring();
        Ok(switched)
    }

    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let removed = self.state().book.remove_webhook(id, now);
        self.wake.ring();
        Ok(removed)
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        Ok(self.state().book.webhook(id))
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        Ok(self.state().book.webhooks(scope))
    }

    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        Ok(self.state().book.all_webhooks(after, max))
    }

    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        Ok(self.state().book.failing_webhooks(after, max))
    }

    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError> {
        self.state().auths.insert(record.id.clone(), Arc::new(record));
        Ok(())
    }

    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError> {
        let mut state = self.state();
        let is_as_it_was = state.auths.get(&new.id).map(|present| &**present) == old;
        if is_as_it_was {
            state.auths.insert(new.id.clone(), Arc::new(new));
        }
        Ok(is_as_it_was)
    }

    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        Ok(self.state().auths.remove(id).is_some())
    }

    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError> {
        Ok(self.state().auths.get(id).cloned())
    }

    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let records = state.auths.range::<AuthId, _>((start, Bound::Unbounded));
        Ok(records.take(max).map(|(_, record)| Arc::clone(record)).collect())
    }

    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError> {
        Ok(self.state().book.webhooks_with_auth(id, max))
    }
}

#[async_trait]
impl DigestStore for MemoryStore {
    async fn record_updates(&self, updates: Vec<Update>, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut state = self.state();
        updates
            .into_iter()
            .for_each(|update| state.digests.record(update, now));
        Ok(())
    }

    async fn seal_windows(
        &self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, StoreError> {
        Ok(self.state().digests.seal(digest, interval, max, now))
    }

    async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.state().digests.next_end(digest, interval, now))
    }

    async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, StoreError> {
        Ok(self.state().digests.next_chunk(window, max))
    }

    async fn take_chunk(
        &self,
        taking: TakeChunk,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, StoreError> {
        let enqueued = {
            let mut state = self.state();
            let State { book, digests, .. } = &mut *state;
            if !digests.is_next(&taking) {
                return Ok(None);
            }
            let enqueued = book.enqueue(taking.notification.into(), now);
            if enqueued != Enqueued::Conflict {
                digests.take(taking.window, &taking.through);
            }
            enqueued
        };
        self.wake.ring();
        Ok(Some(enqueued))
    }
}

#[async_trait]
impl IntakeStore for MemoryStore {
    async fn submit(&self, events: Vec<Event>) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            events.into_iter().for_each(|event| state.intake.submit(event));
        }
        self.intake_wake.ring();
        Ok(())
    }

    async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, StoreError> {
        Ok(self.state().intake.submissions(after, max))
    }

    async fn take_in(&self, taking: Vec<TakeIn>, now: DateTime<Utc>) -> Result<Vec<TakenIn>, StoreError> {
        let answers = {
            let mut state = self.state();
            let State { book, intake, .. } = &mut *state;
            taking
                .into_iter()
                .map(|taking| intake.take_in(taking, book, now))
                .collect()
        };
        self.wake.ring();
        Ok(answers)
    }

    async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError> {
        Ok(self.state().intake.set_aside(after, max))
    }

    async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError> {
        Ok(self.state().intake.discard(number))
    }

    fn intake_wake(&self) -> &Wake {
        &self.intake_wake
    }
}

#[async_trait]
impl Inspect for MemoryStore {
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        Ok(self.state().book.delivery(id))
    }

    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError> {
        Ok(self.state().book.deliveries_of(scope, event))
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        Ok(self.state().book.attempts(id))
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        Ok(self.state().book.history(&query))
    }

    async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, StoreError> {
        Ok(self.state().book.health(webhook, since, now))
    }

    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError> {
        let replayed = self.state().book.replay(id, now);
        self.wake.ring();
        Ok(replayed)
    }

    async fn replay_dead(&self, request: ReplayDead, now: DateTime<Utc>) -> Result<DeadReplayed, StoreError> {
        let replayed = self.state().book.replay_dead(&request, now);
        self.wake.ring();
        Ok(replayed)
    }

    async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, StoreError> {
        let (purged, _forgotten) = {
            let book = &mut self.state().book;
            (book.purge(retention, max, now), take(&mut book.forgotten))
        };
        Ok(purged)
    }
}

#[async_trait]
impl TaskStore for MemoryStore {
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let created = self.state().tasks.create(task, now);
        self.task_wake.ring();
        Ok(created)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.state().tasks.get(id))
    }

    async fn claim_tasks(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError> {
        Ok(self.state().tasks.claim(&request))
    }

    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        Ok(self.state().tasks.renew(id, fence, lease, now))
    }

    async fn report_task(
        &self,
        id: &TaskId,
        fence: Fence,
        progress: TaskProgress,
        _now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        Ok(self.state().tasks.report(id, fence, progress))
    }

    async fn pause_task(
        &self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let settled = self.state().tasks.pause(id, fence, pause, now);
        self.task_wake.ring();
        Ok(settled)
    }

    async fn finish_task(
        &self,
        settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let settled = {
            let mut state = self.state();
            let State { book, tasks, .. } = &mut *state;
            tasks.finish(&settlement, now).inspect(|_| {
                book.enqueue_all(settlement.callback.into_iter().map(Incoming::from).collect(), now);
            })
        };
        self.wake.ring();
        Ok(if settled.is_some() {
            Settled::Done
        } else {
            Settled::LeaseLost
        })
    }

    async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        Ok(self.state().tasks.purge(max, now))
    }

    async fn next_task_due(&self, _now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.state().tasks.next_due())
    }

    fn task_wake(&self) -> &Wake {
        &self.task_wake
    }
}

#[async_trait]
impl SeenStore for MemoryStore {
    async fn begin(&self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Result<Seen, StoreError> {
        Ok(self.state().seen.begin(key, lease, now))
    }

    async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        Ok(self.state().seen.finish(key, fence, keep, now))
    }

    async fn abandon(&self, key: &SeenKey, fence: Fence, _now: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(self.state().seen.abandon(key, fence))
    }

    async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        Ok(self.state().seen.forget_expired(max, now))
    }
}
