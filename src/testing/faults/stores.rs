//! Every call of every store trait, let through or not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::FaultyStore;
use crate::delivery::{Attempt, Event, Health, HistoryPage, HistoryQuery, Interval, Retention, Webhook};
use crate::id::{AuthId, DeliveryId, EventId, EventType, Fence, Scope, TaskId, WebhookId};
use crate::store::{
    AuthRecord, Chunk, ClaimRequest, Claimed, ClaimedTask, DeadReplayed, DeliveryRecord, DeliveryStore,
    DigestStore, Enqueued, FailingWebhook, HoldKey, Inspect, IntakeStore, NewEvent, NewTask, Purged, Release,
    ReplayDead, Replayed, Saved, SealedWindow, Seen, SeenKey, SeenStore, SetAside, Settled, Settlement,
    StoreError, Submission, SubmissionNo, Switch, Switched, TakeChunk, TakeIn, TakenIn, TaskPause,
    TaskRecord, TaskSettlement, TaskStore, Update, Wake, WebhookStore, WindowNo,
};
use crate::task::TaskProgress;

#[async_trait]
impl<S: DeliveryStore + ?Sized> DeliveryStore for FaultyStore<S> {
    async fn enqueue(&self, events: Vec<NewEvent>, now: DateTime<Utc>) -> Result<Vec<Enqueued>, StoreError> {
        self.through("enqueue", || self.store.enqueue(events, now)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.through("claim", || self.store.claim(request)).await
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        self.through("settle", || self.store.settle(settlements, now))
            .await
    }

    async fn release(
        &self,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        self.through("release", || self.store.release(claims, now)).await
    }

    async fn hold(&self, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.through("hold", || self.store.hold(key, now)).await
    }

    async fn lift(&self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.through("lift", || self.store.lift(key, release, now)).await
    }

    async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.through("next_due", || self.store.next_due(now)).await
    }

    async fn reserve_numbers(&self, count: u32) -> Result<i64, StoreError> {
        self.through("reserve_numbers", || self.store.reserve_numbers(count))
            .await
    }

    fn wake(&self) -> &Wake {
        self.store.wake()
    }
}

#[async_trait]
impl<S: WebhookStore + ?Sized> WebhookStore for FaultyStore<S> {
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        self.through("save_webhook", || self.store.save_webhook(webhook, now))
            .await
    }

    async fn replace_webhook(
        &self,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        self.through("replace_webhook", || self.store.replace_webhook(old, new, now))
            .await
    }

    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        self.through("switch_webhook", || self.store.switch_webhook(id, switch, now))
            .await
    }

    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.through("remove_webhook", || self.store.remove_webhook(id, now))
            .await
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        self.through("webhook", || self.store.webhook(id)).await
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        self.through("webhooks", || self.store.webhooks(scope)).await
    }

    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        self.through("all_webhooks", || self.store.all_webhooks(after, max))
            .await
    }

    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        self.through("failing_webhooks", || self.store.failing_webhooks(after, max))
            .await
    }

    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError> {
        self.through("save_auth", || self.store.save_auth(record)).await
    }

    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError> {
        self.through("replace_auth", || self.store.replace_auth(old, new))
            .await
    }

    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        self.through("remove_auth", || self.store.remove_auth(id)).await
    }

    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError> {
        self.through("auth", || self.store.auth(id)).await
    }

    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError> {
        self.through("auths", || self.store.auths(after, max)).await
    }

    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError> {
        self.through("webhooks_with_auth", || self.store.webhooks_with_auth(id, max))
            .await
    }
}

#[async_trait]
impl<S: DigestStore + ?Sized> DigestStore for FaultyStore<S> {
    async fn record_updates(&self, updates: Vec<Update>, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.through("record_updates", || self.store.record_updates(updates, now))
            .await
    }

    async fn seal_windows(
        &self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, StoreError> {
        self.through("seal_windows", || {
            self.store.seal_windows(digest, interval, max, now)
        })
        .await
    }

    async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.through("next_window_end", || {
            self.store.next_window_end(digest, interval, now)
        })
        .await
    }

    async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, StoreError> {
        self.through("next_chunk", || self.store.next_chunk(window, max))
            .await
    }

    async fn take_chunk(
        &self,
        taking: TakeChunk,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, StoreError> {
        self.through("take_chunk", || self.store.take_chunk(taking, now))
            .await
    }
}

#[async_trait]
impl<S: Inspect + ?Sized> Inspect for FaultyStore<S> {
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        self.through("delivery", || self.store.delivery(id)).await
    }

    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.through("deliveries_of", || self.store.deliveries_of(scope, event))
            .await
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        self.through("attempts", || self.store.attempts(id)).await
    }

    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError> {
        self.through("replay", || self.store.replay(id, now)).await
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.through("history", || self.store.history(query)).await
    }

    async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, StoreError> {
        self.through("health", || self.store.health(webhook, since, now))
            .await
    }

    async fn replay_dead(&self, request: ReplayDead, now: DateTime<Utc>) -> Result<DeadReplayed, StoreError> {
        self.through("replay_dead", || self.store.replay_dead(request, now))
            .await
    }

    async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, StoreError> {
        self.through("purge", || self.store.purge(retention, max, now))
            .await
    }
}

#[async_trait]
impl<S: IntakeStore + ?Sized> IntakeStore for FaultyStore<S> {
    async fn submit(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.through("submit", || self.store.submit(events)).await
    }

    async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, StoreError> {
        self.through("submissions", || self.store.submissions(after, max))
            .await
    }

    async fn take_in(&self, taking: Vec<TakeIn>, now: DateTime<Utc>) -> Result<Vec<TakenIn>, StoreError> {
        self.through("take_in", || self.store.take_in(taking, now)).await
    }

    async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError> {
        self.through("set_aside", || self.store.set_aside(after, max))
            .await
    }

    async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError> {
        self.through("discard", || self.store.discard(number)).await
    }

    fn intake_wake(&self) -> &Wake {
        self.store.intake_wake()
    }
}

#[async_trait]
impl<S: TaskStore + ?Sized> TaskStore for FaultyStore<S> {
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.through("create_task", || self.store.create_task(task, now))
            .await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.through("task", || self.store.task(id)).await
    }

    async fn claim_tasks(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError> {
        self.through("claim_tasks", || self.store.claim_tasks(request))
            .await
    }

    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.through("renew_task", || self.store.renew_task(id, fence, lease, now))
            .await
    }

    async fn report_task(
        &self,
        id: &TaskId,
        fence: Fence,
        progress: TaskProgress,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.through("report_task", || self.store.report_task(id, fence, progress, now))
            .await
    }

    async fn pause_task(
        &self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.through("pause_task", || self.store.pause_task(id, fence, pause, now))
            .await
    }

    async fn finish_task(
        &self,
        settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.through("finish_task", || self.store.finish_task(settlement, now))
            .await
    }

    async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.through("purge_tasks", || self.store.purge_tasks(max, now))
            .await
    }

    async fn next_task_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.through("next_task_due", || self.store.next_task_due(now))
            .await
    }

    fn task_wake(&self) -> &Wake {
        self.store.task_wake()
    }
}

#[async_trait]
impl<S: SeenStore + ?Sized> SeenStore for FaultyStore<S> {
    async fn begin(&self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Result<Seen, StoreError> {
        self.through("begin", || self.store.begin(key, lease, now)).await
    }

    async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.through("finish", || self.store.finish(key, fence, keep, now))
            .await
    }

    async fn abandon(&self, key: &SeenKey, fence: Fence, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.through("abandon", || self.store.abandon(key, fence, now))
            .await
    }

    async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.through("forget_expired", || self.store.forget_expired(max, now))
            .await
    }
}
