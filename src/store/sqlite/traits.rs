//! The store traits, each method handed on to the core.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::SqliteStore;
use super::attempts;
use super::core::advance;
use super::events::{self, Prepared};
use super::fault::Fault;
use super::filing;
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

#[async_trait]
impl DeliveryStore for SqliteStore {
    async fn enqueue(&self, events: Vec<NewEvent>, now: DateTime<Utc>) -> Result<Vec<Enqueued>, StoreError> {
        let events = self.prepare(events)?;
        self.writes(move |core| {
            let (answers, sooner) =
                events::enqueue(&core.conn, &mut core.cache, &mut core.words, &events, now)?;
            core.rings.deliveries |= sooner;
            Ok(answers)
        })
        .await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.leases(move |core| core.claim(&request)).await
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        self.writes(move |core| core.settle(&settlements, now)).await
    }

    async fn release(
        &self,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        self.writes(move |core| core.release(&claims, now)).await
    }

    async fn hold(&self, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.writes(move |core| core.hold(&key, now)).await
    }

    async fn lift(&self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let key = key.clone();
        self.writes(move |core| core.lift(&key, release, now)).await
    }

    async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.glances(move |core| core.next_due(now)).await
    }

    async fn reserve_numbers(&self, count: u32) -> Result<i64, StoreError> {
        self.writes(move |core| advance(&core.conn, "number", count.into()))
            .await
    }

    fn wake(&self) -> &Wake {
        &self.wake
    }
}

#[async_trait]
impl WebhookStore for SqliteStore {
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        self.writes(move |core| core.save_webhook(&webhook, now)).await
    }

    async fn replace_webhook(
        &self,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        let old = old.cloned();
        self.writes(move |core| core.replace_webhook(old.as_ref(), &new, now))
            .await
    }

    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        let id = id.clone();
        self.writes(move |core| core.switch_webhook(&id, switch, now))
            .await
    }

    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let id = id.clone();
        self.writes(move |core| core.remove_webhook(&id, now)).await
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        let id = id.clone();
        self.reads(move |core| core.webhook(&id)).await
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let scope = scope.clone();
        self.glances(move |core| core.webhooks(&scope)).await
    }

    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let after = after.cloned();
        self.reads(move |core| core.all_webhooks(after.as_ref(), max))
            .await
    }

    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        let after = after.cloned();
        self.reads(move |core| core.failing_webhooks(after.as_ref(), max))
            .await
    }

    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError> {
        self.writes(move |core| core.save_auth(&record)).await
    }

    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError> {
        let old = old.cloned();
        self.writes(move |core| core.replace_auth(old.as_ref(), &new))
            .await
    }

    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.writes(move |core| core.remove_auth(&id)).await
    }

    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError> {
        let id = id.clone();
        self.reads(move |core| core.auth(&id)).await
    }

    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError> {
        let after = after.cloned();
        self.reads(move |core| core.auths(after.as_ref(), max)).await
    }

    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError> {
        let id = id.clone();
        self.reads(move |core| core.webhooks_with_auth(&id, max)).await
    }
}

#[async_trait]
impl DigestStore for SqliteStore {
    async fn record_updates(&self, updates: Vec<Update>, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.writes(move |core| core.record_updates(&updates, now)).await
    }

    async fn seal_windows(
        &self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, StoreError> {
        let digest = digest.clone();
        self.writes(move |core| core.seal_windows(&digest, interval, max, now))
            .await
    }

    async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let digest = digest.clone();
        self.reads(move |core| core.next_window_end(&digest, interval, now))
            .await
    }

    async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, StoreError> {
        self.reads(move |core| core.next_chunk(window, max)).await
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
        let notification = Prepared::new(notification, &self.vault.get())?;
        self.writes(move |core| core.take_chunk(window, number, &through, &notification, now))
            .await
    }
}

#[async_trait]
impl IntakeStore for SqliteStore {
    async fn submit(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.writes(move |core| core.submit(&events)).await
    }

    async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, StoreError> {
        self.reads(move |core| core.submissions(after, max)).await
    }

    async fn take_in(&self, taking: Vec<TakeIn>, now: DateTime<Utc>) -> Result<Vec<TakenIn>, StoreError> {
        let vault = self.vault.get();
        let prepared = taking.into_iter().map(|taking| {
            let event = taking.event.map(|event| Prepared::new(event, &vault));
            Ok((taking.number, event.transpose()?))
        });
        let taking = prepared.collect::<Result<Vec<_>, Fault>>()?;
        self.writes(move |core| core.take_in(&taking, now)).await
    }

    async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError> {
        self.reads(move |core| core.set_aside(after, max)).await
    }

    async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError> {
        self.writes(move |core| core.discard(number)).await
    }

    fn intake_wake(&self) -> &Wake {
        &self.intake_wake
    }
}

#[async_trait]
impl Inspect for SqliteStore {
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        self.reads(move |core| core.delivery(id)).await
    }

    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError> {
        let (scope, event) = (scope.clone(), event.clone());
        self.reads(move |core| core.deliveries_of(&scope, &event)).await
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        self.reads(move |core| attempts::of(&core.conn, &mut core.words, id))
            .await
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.reads(move |core| core.history(&query)).await
    }

    async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, StoreError> {
        let webhook = webhook.clone();
        self.reads(move |core| filing::health(&core.conn, &mut core.words, &webhook, since, now))
            .await
    }

    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError> {
        self.writes(move |core| core.replay(id, now)).await
    }

    async fn replay_dead(&self, request: ReplayDead, now: DateTime<Utc>) -> Result<DeadReplayed, StoreError> {
        self.writes(move |core| core.replay_dead(&request, now)).await
    }

    async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, StoreError> {
        let retention = *retention;
        self.leases(move |core| core.purge(&retention, max, now)).await
    }
}

#[async_trait]
impl TaskStore for SqliteStore {
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.writes(move |core| core.create_task(&task, now)).await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let id = id.clone();
        self.reads(move |core| core.task(&id)).await
    }

    async fn claim_tasks(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError> {
        self.leases(move |core| core.claim_tasks(&request)).await
    }

    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let id = id.clone();
        self.leases(move |core| core.renew_task(&id, fence, lease, now))
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
        self.leases(move |core| core.report_task(&id, fence, &progress))
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
        self.writes(move |core| core.pause_task(&id, fence, pause, now))
            .await
    }

    async fn finish_task(
        &self,
        settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let callback = self.prepare(settlement.callback)?;
        let finish = TaskFinish {
            id: settlement.id,
            fence: settlement.fence,
            end: settlement.end,
            keep: settlement.keep,
        };
        self.writes(move |core| core.finish_task(&finish, &callback, now))
            .await
    }

    async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.writes(move |core| core.purge_tasks(max, now)).await
    }

    async fn next_task_due(&self, _now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.glances(|core| core.next_task_due()).await
    }

    fn task_wake(&self) -> &Wake {
        &self.task_wake
    }
}

#[async_trait]
impl SeenStore for SqliteStore {
    async fn begin(&self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Result<Seen, StoreError> {
        let key = key.clone();
        self.leases(move |core| core.begin(&key, lease, now)).await
    }

    async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let key = key.clone();
        self.writes(move |core| core.finish(&key, fence, keep, now)).await
    }

    async fn abandon(&self, key: &SeenKey, fence: Fence, _now: DateTime<Utc>) -> Result<bool, StoreError> {
        let key = key.clone();
        self.writes(move |core| core.abandon(&key, fence)).await
    }

    async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.writes(move |core| core.forget_expired(max, now)).await
    }
}
