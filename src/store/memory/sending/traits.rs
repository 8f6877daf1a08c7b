//! What an engine asks of a store.

use std::mem::take;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::State;
use super::book::Incoming;
use crate::delivery::{Attempt, Event, Health, HistoryPage, HistoryQuery, Interval, Retention, Webhook};
use crate::id::{AuthId, DeliveryId, EventId, EventType, Fence, Scope, TaskId, WebhookId};
use crate::store::{
    AuthRecord, Chunk, ClaimRequest, Claimed, ClaimedTask, DeadReplayed, DeliveryRecord, DeliveryStore,
    DigestStore, Enqueued, FailingWebhook, HoldKey, Inspect, IntakeStore, MemoryStore, NewEvent, NewTask,
    Purged, Release, ReplayDead, Replayed, Saved, SealedWindow, SetAside, Settled, Settlement, StoreError,
    Submission, SubmissionNo, Switch, Switched, TakeChunk, TakeIn, TakenIn, TaskPause, TaskRecord,
    TaskSettlement, TaskStore, Update, Wake, WebhookStore, WindowNo,
};
use crate::task::TaskProgress;

#[async_trait]
impl DeliveryStore for MemoryStore {
    async fn enqueue(&self, events: Vec<NewEvent>, now: DateTime<Utc>) -> Result<Vec<Enqueued>, StoreError> {
        let events = events.into_iter().map(Incoming::from).collect();
        let (answers, _forgotten) = {
            let book = &mut self.sending.state().book;
            (book.enqueue_all(events, now), take(&mut book.forgotten))
        };
        self.sending.wake.ring();
        Ok(answers)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let mut state = self.sending.state();
        let State { book, auths, .. } = &mut *state;
        Ok(book.claim(&request, auths))
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let (answers, rings, _forgotten) = {
            let book = &mut self.sending.state().book;
            let answers = settlements
                .into_iter()
                .map(|settlement| book.settle(settlement, now))
                .collect();
            (answers, book.take_rings(), take(&mut book.forgotten))
        };
        if rings {
            self.sending.wake.ring();
        }
        Ok(answers)
    }

    async fn release(
        &self,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let answers = {
            let mut state = self.sending.state();
            claims
                .into_iter()
                .map(|(id, fence)| state.book.release(id, fence, now))
                .collect()
        };
        self.sending.wake.ring();
        Ok(answers)
    }

    async fn hold(&self, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let placed = self.sending.state().book.hold(key, now);
        self.sending.wake.ring();
        Ok(placed)
    }

    async fn lift(&self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let lifted = self.sending.state().book.lift(key, release, now);
        self.sending.wake.ring();
        Ok(lifted)
    }

    async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.sending.state().book.next_due(now))
    }

    async fn reserve_numbers(&self, count: u32) -> Result<i64, StoreError> {
        Ok(self.sending.state().book.reserve_numbers(count))
    }

    fn wake(&self) -> &Wake {
        &self.sending.wake
    }
}

#[async_trait]
impl WebhookStore for MemoryStore {
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        let saved = self.sending.state().book.save_webhook(webhook, now);
        self.sending.wake.ring();
        Ok(saved)
    }

    async fn replace_webhook(
        &self,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        let saved = self.sending.state().book.replace_webhook(old, new, now);
        self.sending.wake.ring();
        Ok(saved)
    }

    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        let switched = self.sending.state().book.switch_webhook(id, switch, now);
        self.sending.wake.ring();
        Ok(switched)
    }

    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let removed = self.sending.state().book.remove_webhook(id, now);
        self.sending.wake.ring();
        Ok(removed)
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        Ok(self.sending.state().book.webhook(id))
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        Ok(self.sending.state().book.webhooks(scope))
    }

    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        Ok(self.sending.state().book.all_webhooks(after, max))
    }

    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        Ok(self.sending.state().book.failing_webhooks(after, max))
    }

    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError> {
        self.sending
            .state()
            .auths
            .insert(record.id.clone(), Arc::new(record));
        Ok(())
    }

    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError> {
        let mut state = self.sending.state();
        let is_as_it_was = state.auths.get(&new.id).map(|present| &**present) == old;
        if is_as_it_was {
            state.auths.insert(new.id.clone(), Arc::new(new));
        }
        Ok(is_as_it_was)
    }

    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        Ok(self.sending.state().auths.remove(id).is_some())
    }

    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError> {
        Ok(self.sending.state().auths.get(id).cloned())
    }

    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.sending.state();
        let records = state.auths.range::<AuthId, _>((start, Bound::Unbounded));
        Ok(records.take(max).map(|(_, record)| Arc::clone(record)).collect())
    }

    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError> {
        Ok(self.sending.state().book.webhooks_with_auth(id, max))
    }
}

#[async_trait]
impl DigestStore for MemoryStore {
    async fn record_updates(&self, updates: Vec<Update>, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut state = self.sending.state();
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
        Ok(self.sending.state().digests.seal(digest, interval, max, now))
    }

    async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.sending.state().digests.next_end(digest, interval, now))
    }

    async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, StoreError> {
        Ok(self.sending.state().digests.next_chunk(window, max))
    }

    async fn take_chunk(
        &self,
        taking: TakeChunk,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, StoreError> {
        let enqueued = {
            let mut state = self.sending.state();
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
        self.sending.wake.ring();
        Ok(Some(enqueued))
    }
}

#[async_trait]
impl IntakeStore for MemoryStore {
    async fn submit(&self, events: Vec<Event>) -> Result<(), StoreError> {
        {
            let mut state = self.sending.state();
            events.into_iter().for_each(|event| state.intake.submit(event));
        }
        self.sending.intake_wake.ring();
        Ok(())
    }

    async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, StoreError> {
        Ok(self.sending.state().intake.submissions(after, max))
    }

    async fn take_in(&self, taking: Vec<TakeIn>, now: DateTime<Utc>) -> Result<Vec<TakenIn>, StoreError> {
        let answers = {
            let mut state = self.sending.state();
            let State { book, intake, .. } = &mut *state;
            taking
                .into_iter()
                .map(|taking| intake.take_in(taking, book, now))
                .collect()
        };
        self.sending.wake.ring();
        Ok(answers)
    }

    async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError> {
        Ok(self.sending.state().intake.set_aside(after, max))
    }

    async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError> {
        Ok(self.sending.state().intake.discard(number))
    }

    fn intake_wake(&self) -> &Wake {
        &self.sending.intake_wake
    }
}

#[async_trait]
impl Inspect for MemoryStore {
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        Ok(self.sending.state().book.delivery(id))
    }

    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError> {
        Ok(self.sending.state().book.deliveries_of(scope, event))
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        Ok(self.sending.state().book.attempts(id))
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        Ok(self.sending.state().book.history(&query))
    }

    async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, StoreError> {
        Ok(self.sending.state().book.health(webhook, since, now))
    }

    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError> {
        let replayed = self.sending.state().book.replay(id, now);
        self.sending.wake.ring();
        Ok(replayed)
    }

    async fn replay_dead(&self, request: ReplayDead, now: DateTime<Utc>) -> Result<DeadReplayed, StoreError> {
        let replayed = self.sending.state().book.replay_dead(&request, now);
        self.sending.wake.ring();
        Ok(replayed)
    }

    async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, StoreError> {
        let (purged, _forgotten) = {
            let book = &mut self.sending.state().book;
            (book.purge(retention, max, now), take(&mut book.forgotten))
        };
        Ok(purged)
    }
}

#[async_trait]
impl TaskStore for MemoryStore {
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let created = self.sending.state().tasks.create(task, now);
        self.sending.task_wake.ring();
        Ok(created)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.sending.state().tasks.get(id))
    }

    async fn claim_tasks(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError> {
        Ok(self.sending.state().tasks.claim(&request))
    }

    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        Ok(self.sending.state().tasks.renew(id, fence, lease, now))
    }

    async fn report_task(
        &self,
        id: &TaskId,
        fence: Fence,
        progress: TaskProgress,
        _now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        Ok(self.sending.state().tasks.report(id, fence, progress))
    }

    async fn pause_task(
        &self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let settled = self.sending.state().tasks.pause(id, fence, pause, now);
        self.sending.task_wake.ring();
        Ok(settled)
    }

    async fn finish_task(
        &self,
        settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let settled = {
            let mut state = self.sending.state();
            let State { book, tasks, .. } = &mut *state;
            tasks.finish(&settlement, now).inspect(|_| {
                book.enqueue_all(settlement.callback.into_iter().map(Incoming::from).collect(), now);
            })
        };
        self.sending.wake.ring();
        Ok(if settled.is_some() {
            Settled::Done
        } else {
            Settled::LeaseLost
        })
    }

    async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        Ok(self.sending.state().tasks.purge(max, now))
    }

    async fn next_task_due(&self, _now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.sending.state().tasks.next_due())
    }

    fn task_wake(&self) -> &Wake {
        &self.sending.task_wake
    }
}
