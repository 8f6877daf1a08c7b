//! Stores around stores that change or watch a few of the calls.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::delivery::{Attempt, Event, Health, HistoryPage, HistoryQuery, Interval, Retention, Webhook};
use crate::id::{AuthId, DeliveryId, EventId, EventType, Fence, Scope, TaskId, WebhookId};
use crate::store::{
    AuthRecord, Chunk, ClaimRequest, Claimed, ClaimedTask, DeadReplayed, DeliveryRecord, DeliveryStore,
    DigestStore, Enqueued, FailingWebhook, HoldKey, Inspect, IntakeStore, NewEvent, NewTask, Purged, Release,
    ReplayDead, Replayed, Saved, SealedWindow, Seen, SeenKey, SeenStore, SetAside, Settled, Settlement,
    Store, StoreError, Submission, SubmissionNo, Switch, Switched, TakeChunk, TakeIn, TakenIn, TaskPause,
    TaskRecord, TaskSettlement, TaskStore, Update, Wake, WebhookStore, WindowNo,
};
use crate::task::TaskProgress;

/// What a layer does at the calls that it is there for. At all others it passes them on.
#[async_trait]
pub(super) trait Hooks: Debug + Send + Sync + 'static {
    async fn enqueue(
        &self,
        inner: &dyn Store,
        events: Vec<NewEvent>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Enqueued>, StoreError> {
        inner.enqueue(events, now).await
    }

    async fn claim(&self, inner: &dyn Store, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        inner.claim(request).await
    }

    async fn settle(
        &self,
        inner: &dyn Store,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        inner.settle(settlements, now).await
    }

    async fn release(
        &self,
        inner: &dyn Store,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        inner.release(claims, now).await
    }

    async fn hold(&self, inner: &dyn Store, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        inner.hold(key, now).await
    }

    async fn lift(
        &self,
        inner: &dyn Store,
        key: &HoldKey,
        release: Release,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        inner.lift(key, release, now).await
    }

    async fn next_due(
        &self,
        inner: &dyn Store,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        inner.next_due(now).await
    }

    async fn save_webhook(
        &self,
        inner: &dyn Store,
        webhook: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        inner.save_webhook(webhook, now).await
    }

    async fn replace_webhook(
        &self,
        inner: &dyn Store,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        inner.replace_webhook(old, new, now).await
    }

    async fn switch_webhook(
        &self,
        inner: &dyn Store,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        inner.switch_webhook(id, switch, now).await
    }

    async fn remove_webhook(
        &self,
        inner: &dyn Store,
        id: &WebhookId,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        inner.remove_webhook(id, now).await
    }

    async fn webhooks(&self, inner: &dyn Store, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        inner.webhooks(scope).await
    }

    async fn failing_webhooks(
        &self,
        inner: &dyn Store,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        inner.failing_webhooks(after, max).await
    }

    async fn replay(
        &self,
        inner: &dyn Store,
        id: DeliveryId,
        now: DateTime<Utc>,
    ) -> Result<Replayed, StoreError> {
        inner.replay(id, now).await
    }

    async fn record_updates(
        &self,
        inner: &dyn Store,
        updates: Vec<Update>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        inner.record_updates(updates, now).await
    }

    async fn next_chunk(
        &self,
        inner: &dyn Store,
        window: WindowNo,
        max: usize,
    ) -> Result<Option<Chunk>, StoreError> {
        inner.next_chunk(window, max).await
    }

    async fn take_chunk(
        &self,
        inner: &dyn Store,
        taking: TakeChunk,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, StoreError> {
        inner.take_chunk(taking, now).await
    }
}

/// A store with a layer around it.
#[derive(Debug)]
pub(super) struct Layered<H> {
    pub(super) inner: Arc<dyn Store>,
    pub(super) hooks: H,
}

#[async_trait]
impl<H: Hooks> DeliveryStore for Layered<H> {
    async fn enqueue(&self, events: Vec<NewEvent>, now: DateTime<Utc>) -> Result<Vec<Enqueued>, StoreError> {
        self.hooks.enqueue(&*self.inner, events, now).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.hooks.claim(&*self.inner, request).await
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        self.hooks.settle(&*self.inner, settlements, now).await
    }

    async fn release(
        &self,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        self.hooks.release(&*self.inner, claims, now).await
    }

    async fn hold(&self, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.hooks.hold(&*self.inner, key, now).await
    }

    async fn lift(&self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.hooks.lift(&*self.inner, key, release, now).await
    }

    async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.hooks.next_due(&*self.inner, now).await
    }

    async fn reserve_numbers(&self, count: u32) -> Result<i64, StoreError> {
        self.inner.reserve_numbers(count).await
    }

    fn wake(&self) -> &Wake {
        self.inner.wake()
    }
}

#[async_trait]
impl<H: Hooks> WebhookStore for Layered<H> {
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        self.hooks.save_webhook(&*self.inner, webhook, now).await
    }

    async fn replace_webhook(
        &self,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        self.hooks.replace_webhook(&*self.inner, old, new, now).await
    }

    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        self.hooks.switch_webhook(&*self.inner, id, switch, now).await
    }

    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.hooks.remove_webhook(&*self.inner, id, now).await
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        self.inner.webhook(id).await
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        self.hooks.webhooks(&*self.inner, scope).await
    }

    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        self.inner.all_webhooks(after, max).await
    }

    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        self.hooks.failing_webhooks(&*self.inner, after, max).await
    }

    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError> {
        self.inner.save_auth(record).await
    }

    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError> {
        self.inner.replace_auth(old, new).await
    }

    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        self.inner.remove_auth(id).await
    }

    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError> {
        self.inner.auth(id).await
    }

    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError> {
        self.inner.auths(after, max).await
    }

    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError> {
        self.inner.webhooks_with_auth(id, max).await
    }
}

#[async_trait]
impl<H: Hooks> DigestStore for Layered<H> {
    async fn record_updates(&self, updates: Vec<Update>, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.hooks.record_updates(&*self.inner, updates, now).await
    }

    async fn seal_windows(
        &self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, StoreError> {
        self.inner.seal_windows(digest, interval, max, now).await
    }

    async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.inner.next_window_end(digest, interval, now).await
    }

    async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, StoreError> {
        self.hooks.next_chunk(&*self.inner, window, max).await
    }

    async fn take_chunk(
        &self,
        taking: TakeChunk,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, StoreError> {
        self.hooks.take_chunk(&*self.inner, taking, now).await
    }
}

#[async_trait]
impl<H: Hooks> Inspect for Layered<H> {
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        self.inner.delivery(id).await
    }

    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.inner.deliveries_of(scope, event).await
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        self.inner.attempts(id).await
    }

    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError> {
        self.hooks.replay(&*self.inner, id, now).await
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.inner.history(query).await
    }

    async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, StoreError> {
        self.inner.health(webhook, since, now).await
    }

    async fn replay_dead(&self, request: ReplayDead, now: DateTime<Utc>) -> Result<DeadReplayed, StoreError> {
        self.inner.replay_dead(request, now).await
    }

    async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, StoreError> {
        self.inner.purge(retention, max, now).await
    }
}

#[async_trait]
impl<H: Hooks> IntakeStore for Layered<H> {
    async fn submit(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.inner.submit(events).await
    }

    async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, StoreError> {
        self.inner.submissions(after, max).await
    }

    async fn take_in(&self, taking: Vec<TakeIn>, now: DateTime<Utc>) -> Result<Vec<TakenIn>, StoreError> {
        self.inner.take_in(taking, now).await
    }

    async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError> {
        self.inner.set_aside(after, max).await
    }

    async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError> {
        self.inner.discard(number).await
    }

    fn intake_wake(&self) -> &Wake {
        self.inner.intake_wake()
    }
}

#[async_trait]
impl<H: Hooks> TaskStore for Layered<H> {
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.inner.create_task(task, now).await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.inner.task(id).await
    }

    async fn claim_tasks(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError> {
        self.inner.claim_tasks(request).await
    }

    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.inner.renew_task(id, fence, lease, now).await
    }

    async fn report_task(
        &self,
        id: &TaskId,
        fence: Fence,
        progress: TaskProgress,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.inner.report_task(id, fence, progress, now).await
    }

    async fn pause_task(
        &self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.inner.pause_task(id, fence, pause, now).await
    }

    async fn finish_task(
        &self,
        settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.inner.finish_task(settlement, now).await
    }

    async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.inner.purge_tasks(max, now).await
    }

    async fn next_task_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.inner.next_task_due(now).await
    }

    fn task_wake(&self) -> &Wake {
        self.inner.task_wake()
    }
}

#[async_trait]
impl<H: Hooks> SeenStore for Layered<H> {
    async fn begin(&self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Result<Seen, StoreError> {
        self.inner.begin(key, lease, now).await
    }

    async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.inner.finish(key, fence, keep, now).await
    }

    async fn abandon(&self, key: &SeenKey, fence: Fence, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.inner.abandon(key, fence, now).await
    }

    async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.inner.forget_expired(max, now).await
    }
}
