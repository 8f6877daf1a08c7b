//! The store traits, each method handed on to the database.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::PostgresStore;
use super::enqueue::Prepared;
use super::tasks::TaskFinish;
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

impl PostgresStore {
    /// Rings if a call says that a lane has come to have work.
    fn rings<T>(&self, (answer, sooner): (T, bool)) -> T {
        if sooner {
            self.bells.ring_deliveries();
        }
        answer
    }
}

#[async_trait]
impl DeliveryStore for PostgresStore {
    async fn enqueue(&self, events: Vec<NewEvent>, now: DateTime<Utc>) -> Result<Vec<Enqueued>, StoreError> {
        let events: Vec<_> = events.into_iter().map(|new| Prepared::new(new, now)).collect();
        let done = self
            .call(|database| async move { database.enqueue(&events, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.call(|database| async move { database.claim(&request).await })
            .await
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let done = self
            .call(|database| async move { database.settle(&settlements, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn release(
        &self,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let done = self
            .call(|database| async move { database.release(&claims, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn hold(&self, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let done = self
            .call(|database| async move { database.hold(&key, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn lift(&self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let key = key.clone();
        let done = self
            .call(|database| async move { database.lift(&key, release, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.call(|database| async move { database.next_due(now).await })
            .await
    }

    async fn reserve_numbers(&self, count: u32) -> Result<i64, StoreError> {
        self.call(|database| async move { database.reserve_numbers(count).await })
            .await
    }

    fn wake(&self) -> &Wake {
        &self.bells.deliveries
    }
}

#[async_trait]
impl WebhookStore for PostgresStore {
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        let done = self
            .call(|database| async move { database.save_webhook(&webhook, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn replace_webhook(
        &self,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        let old = old.cloned();
        let done = self
            .call(|database| async move { database.replace_webhook(old.as_ref(), &new, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        let id = id.clone();
        let done = self
            .call(|database| async move { database.switch_webhook(&id, switch, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let id = id.clone();
        let done = self
            .call(|database| async move { database.remove_webhook(&id, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        let id = id.clone();
        self.call(|database| async move { database.webhook(&id).await })
            .await
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let scope = scope.clone();
        self.call(|database| async move { database.webhooks(&scope).await })
            .await
    }

    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let after = after.cloned();
        self.call(|database| async move { database.all_webhooks(after.as_ref(), max).await })
            .await
    }

    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        let after = after.cloned();
        self.call(|database| async move { database.failing_webhooks(after.as_ref(), max).await })
            .await
    }

    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError> {
        self.call(|database| async move { database.save_auth(&record).await })
            .await
    }

    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError> {
        let old = old.cloned();
        self.call(|database| async move { database.replace_auth(old.as_ref(), &new).await })
            .await
    }

    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.call(|database| async move { database.remove_auth(&id).await })
            .await
    }

    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError> {
        let id = id.clone();
        self.call(|database| async move { database.auth(&id).await })
            .await
    }

    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError> {
        let after = after.cloned();
        self.call(|database| async move { database.auths(after.as_ref(), max).await })
            .await
    }

    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError> {
        let id = id.clone();
        self.call(|database| async move { database.webhooks_with_auth(&id, max).await })
            .await
    }
}

#[async_trait]
impl DigestStore for PostgresStore {
    async fn record_updates(&self, updates: Vec<Update>, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.call(|database| async move { database.record_updates(&updates, now).await })
            .await
    }

    async fn seal_windows(
        &self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, StoreError> {
        let digest = digest.clone();
        self.call(|database| async move { database.seal_windows(&digest, interval, max, now).await })
            .await
    }

    async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let digest = digest.clone();
        self.call(|database| async move { database.next_window_end(&digest, interval, now).await })
            .await
    }

    async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, StoreError> {
        self.call(|database| async move { database.next_chunk(window, max).await })
            .await
    }

    async fn take_chunk(
        &self,
        taking: TakeChunk,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, StoreError> {
        let TakeChunk {
            window,
            number,
            through,
            notification,
        } = taking;
        let notification = Prepared::new(notification, now);
        let done = self
            .call(|database| async move {
                database
                    .take_chunk(window, number, &through, notification, now)
                    .await
            })
            .await?;
        Ok(self.rings(done))
    }
}

#[async_trait]
impl IntakeStore for PostgresStore {
    async fn submit(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.call(|database| async move { database.submit(&events).await })
            .await?;
        self.bells.intake.ring();
        Ok(())
    }

    async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, StoreError> {
        self.call(|database| async move { database.submissions(after, max).await })
            .await
    }

    async fn take_in(&self, taking: Vec<TakeIn>, now: DateTime<Utc>) -> Result<Vec<TakenIn>, StoreError> {
        let taking: Vec<_> = taking
            .into_iter()
            .map(|taking| (taking.number, taking.event.map(|new| Prepared::new(new, now))))
            .collect();
        let done = self
            .call(|database| async move { database.take_in_submissions(taking, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError> {
        self.call(|database| async move { database.set_aside(after, max).await })
            .await
    }

    async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError> {
        self.call(|database| async move { database.discard(number).await })
            .await
    }

    fn intake_wake(&self) -> &Wake {
        &self.bells.intake
    }
}

#[async_trait]
impl Inspect for PostgresStore {
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        self.call(|database| async move { database.delivery(id).await })
            .await
    }

    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError> {
        let (scope, event) = (scope.clone(), event.clone());
        self.call(|database| async move { database.deliveries_of(&scope, &event).await })
            .await
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        self.call(|database| async move { database.attempts(id).await })
            .await
    }

    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError> {
        let done = self
            .call(|database| async move { database.replay(id, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn replay_dead(&self, request: ReplayDead, now: DateTime<Utc>) -> Result<DeadReplayed, StoreError> {
        let done = self
            .call(|database| async move { database.replay_dead(&request, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.call(|database| async move { database.history(&query).await })
            .await
    }

    async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, StoreError> {
        let webhook = webhook.clone();
        self.call(|database| async move { database.health(&webhook, since, now).await })
            .await
    }

    async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, StoreError> {
        let retention = *retention;
        self.call(|database| async move { database.purge(&retention, max, now).await })
            .await
    }
}

#[async_trait]
impl TaskStore for PostgresStore {
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let created = self
            .call(|database| async move { database.create_task(&task, now).await })
            .await?;
        if created {
            self.bells.ring_tasks();
        }
        Ok(created)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let id = id.clone();
        self.call(|database| async move { database.task(&id).await })
            .await
    }

    async fn claim_tasks(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError> {
        self.call(|database| async move { database.claim_tasks(&request).await })
            .await
    }

    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let id = id.clone();
        self.call(|database| async move { database.renew_task(&id, fence, lease, now).await })
            .await
    }

    async fn report_task(
        &self,
        id: &TaskId,
        fence: Fence,
        progress: TaskProgress,
        _now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let id = id.clone();
        self.call(|database| async move { database.report_task(&id, fence, &progress).await })
            .await
    }

    async fn pause_task(
        &self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let id = id.clone();
        let paused = self
            .call(|database| async move { database.pause_task(&id, fence, pause, now).await })
            .await?;
        if paused == Settled::Done {
            self.bells.ring_tasks();
        }
        Ok(paused)
    }

    async fn finish_task(
        &self,
        settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let callback: Vec<_> = settlement
            .callback
            .into_iter()
            .map(|new| Prepared::new(new, now))
            .collect();
        let finish = TaskFinish {
            id: settlement.id,
            fence: settlement.fence,
            end: settlement.end,
            keep: settlement.keep,
        };
        let done = self
            .call(|database| async move { database.finish_task(&finish, &callback, now).await })
            .await?;
        Ok(self.rings(done))
    }

    async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.call(|database| async move { database.purge_tasks(max, now).await })
            .await
    }

    async fn next_task_due(&self, _now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.call(|database| async move { database.next_task_due().await })
            .await
    }

    fn task_wake(&self) -> &Wake {
        &self.bells.tasks
    }
}

#[async_trait]
impl SeenStore for PostgresStore {
    async fn begin(&self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Result<Seen, StoreError> {
        let key = key.clone();
        self.call(|database| async move { database.begin(&key, lease, now).await })
            .await
    }

    async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let key = key.clone();
        self.call(|database| async move { database.finish(&key, fence, keep, now).await })
            .await
    }

    async fn abandon(&self, key: &SeenKey, fence: Fence, _now: DateTime<Utc>) -> Result<bool, StoreError> {
        let key = key.clone();
        self.call(|database| async move { database.abandon(&key, fence).await })
            .await
    }

    async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.call(|database| async move { database.forget_expired(max, now).await })
            .await
    }
}
