//! The broken store.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::Mutant;
use super::notes::{Notes, rebuilt};
use crate::delivery::{
    Attempt, AttemptReport, Cursor, Health, HistoryPage, HistoryQuery, Order, Outcome, OutcomeClass,
    Retention, State, Target, Webhook,
};
use crate::id::{AuthId, DeliveryId, EventId, Fence, Scope, TaskId, WebhookId};
use crate::store::Store;
use crate::store::{
    AuthRecord, ClaimRequest, Claimed, ClaimedTask, DeadReplayed, DeliveryRecord, DeliveryStore, Enqueued,
    FailingWebhook, HoldKey, Inspect, NewEvent, NewTask, Next, Purged, Release, ReplayDead, Replayed, Saved,
    Seen, SeenKey, SeenStore, Settled, Settlement, StoreError, Switch, Switched, TaskPause, TaskRecord,
    TaskSettlement, TaskStore, Wake, WebhookStore,
};
use crate::task::TaskProgress;
use crate::time::{after, elapsed};

/// After what time [`Mutant::RunsAtOnce`] tries again.
const AT_ONCE: Duration = Duration::from_secs(10);

/// How many deliveries [`Mutant::AcknowledgedBeforeStored`] forgets.
const FORGOTTEN: usize = 3;

/// A store around a working one that breaks the promise of one [`Mutant`] and keeps all the others.
pub struct MutantStore {
    pub(super) mutant: Mutant,
    pub(super) store: Arc<dyn Store>,
    notes: Mutex<Notes>,
    silent: Wake,
}

impl MutantStore {
    pub(super) fn new(mutant: Mutant, store: Arc<dyn Store>) -> Self {
        Self {
            mutant,
            store,
            notes: Mutex::default(),
            silent: Wake::default(),
        }
    }

    /// What is broken.
    pub fn mutant(&self) -> Mutant {
        self.mutant
    }

    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == mutant
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bell<'a>(&'a self, working: &'a Wake) -> &'a Wake {
        match self.mutant {
            Mutant::BellSilent => &self.silent,
            _ => working,
        }
    }

    /// Enqueues an event once more, under an id of its own.
    pub(super) async fn enqueue_twin(
        &self,
        event: NewEvent,
        now: DateTime<Utc>,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let twin = NewEvent {
            event: Arc::new(self.notes().twin(&event.event)),
            ..event
        };
        let mut answers = self.store.enqueue(vec![twin], now).await?;
        match answers.pop() {
            Some(Enqueued::Fresh(ids)) => Ok(ids),
            _ => Ok(Vec::new()),
        }
    }

    /// Gives each event the scope of the webhook it is for.
    async fn move_events(&self, events: &mut [NewEvent]) -> Result<(), StoreError> {
        for new in events {
            let Some(webhook) = new.deliveries.first().and_then(|to| to.target.webhook()) else {
                continue;
            };
            if let Some(webhook) = self.store.webhook(webhook).await? {
                let (event, scope) = (&new.event, webhook.scope.clone());
                let moved = rebuilt(event, scope, event.id().clone(), event.body().clone());
                new.event = Arc::new(moved);
            }
        }
        Ok(())
    }

    /// Claims far more than asked, keeps the oldest, and gives the others back.
    async fn claim_greedily(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let (max, now) = (request.max, request.now);
        let all = ClaimRequest {
            max: max.saturating_mul(1_000),
            ..request
        };
        let mut claimed = self.store.claim(all).await?;
        claimed.sort_by_key(|claimed| claimed.id);
        let others = claimed.split_off(max.min(claimed.len()));
        let others = others.iter().map(|other| (other.id, other.fence)).collect();
        self.store.release(others, now).await?;
        Ok(claimed)
    }

    /// Takes what is forgotten out of the store for good.
    async fn drop_forgotten(&self, claimed: &mut Vec<Claimed>, now: DateTime<Utc>) -> Result<(), StoreError> {
        let (gone, kept) = {
            let notes = self.notes();
            std::mem::take(claimed)
                .into_iter()
                .partition(|claimed| notes.forgotten.contains(&claimed.id))
        };
        *claimed = kept;
        let ends = |gone: Claimed| Settlement {
            id: gone.id,
            fence: gone.fence,
            attempt: None,
            next: Next::Delivered,
        };
        let gone: Vec<_> = Vec::into_iter(gone).map(ends).collect();
        self.store.settle(gone, now).await?;
        Ok(())
    }

    /// The fence under which the working store is asked.
    fn fence(&self, id: DeliveryId, given: Fence) -> Fence {
        match self.mutant {
            Mutant::FenceIgnored => self.notes().present_fence(id, given),
            Mutant::FenceStuck if given == Fence::UNCLAIMED.next() => self.notes().present_fence(id, given),
            _ => given,
        }
    }

    fn task_fence(&self, id: &TaskId, otherwise: Fence) -> Fence {
        self.notes().task_fences.get(id).copied().unwrap_or(otherwise)
    }

    /// Notes which deliveries are not held any more, and says what the mutant says of it.
    fn answer(&self, ids: &[DeliveryId], mut answers: Vec<Settled>) -> Vec<Settled> {
        let mut notes = self.notes();
        for (id, answer) in ids.iter().zip(&mut answers) {
            if *answer == Settled::Done {
                notes.held.remove(id);
            }
            if self.is(Mutant::LateSettlementAnsweredDone) {
                *answer = Settled::Done;
            }
        }
        answers
    }

    fn show(&self, mut record: DeliveryRecord) -> Option<DeliveryRecord> {
        let notes = self.notes();
        if let Some(before) = notes.counted_before.get(&record.id) {
            record.attempts = record.attempts.saturating_add(*before);
        }
        (!notes.forgotten.contains(&record.id)).then_some(record)
    }

    /// The webhook as the working store is to know it.
    fn altered(&self, webhook: &Webhook) -> Webhook {
        let mut altered = webhook.clone();
        match self.mutant {
            Mutant::InFlightLimitIgnored => altered.limits.in_flight = NonZeroU32::MAX,
            Mutant::StrictOrderIgnored => altered.order = Order::Any,
            Mutant::RateIgnored => altered.limits.rate = None,
            Mutant::SwitchIgnored => altered.enabled = true,
            Mutant::GoneIgnored => altered.auto_disable.when_gone = false,
            _ => {}
        }
        altered.flusher = altered.flusher.map(|flusher| self.mutant.flusher(flusher));
        altered
    }
}

/// Makes a test an ordinary delivery.
fn among_others(new: &mut NewEvent) {
    for delivery in &mut new.deliveries {
        if let Target::Test(webhook) = &delivery.target {
            delivery.target = Target::Webhook(webhook.clone());
        }
    }
}

impl fmt::Debug for MutantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutantStore")
            .field("mutant", &self.mutant)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl DeliveryStore for MutantStore {
    async fn enqueue(
        &self,
        mut events: Vec<NewEvent>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Enqueued>, StoreError> {
        if self.is(Mutant::BodyAsText) {
            for new in &mut events {
                let text = String::from_utf8_lossy(new.event.body()).into_owned();
                let event = rebuilt(
                    &new.event,
                    new.event.scope().clone(),
                    new.event.id().clone(),
                    Bytes::from(text),
                );
                new.event = Arc::new(event);
            }
        }
        match self.mutant {
            Mutant::ScopeUnchecked => self.move_events(&mut events).await?,
            Mutant::TestAmongOthers => events.iter_mut().for_each(among_others),
            _ => {}
        }
        let mut answers = self.store.enqueue(events.clone(), now).await?;
        for (event, answer) in events.into_iter().zip(&mut answers) {
            if let Enqueued::Fresh(ids) = &answer {
                self.notes().enqueued.extend(ids.iter().map(|id| (*id, now)));
            }
            match (self.mutant, &answer) {
                (Mutant::DuplicateSentAgain, Enqueued::Duplicate(_)) => {
                    self.enqueue_twin(event, now).await?;
                }
                (Mutant::ConflictAccepted, Enqueued::Conflict) => {
                    *answer = Enqueued::Fresh(self.enqueue_twin(event, now).await?);
                }
                (Mutant::AcknowledgedBeforeStored, Enqueued::Fresh(ids)) => {
                    let mut notes = self.notes();
                    let room = FORGOTTEN.saturating_sub(notes.forgotten.len());
                    notes.forgotten.extend(ids.iter().copied().take(room));
                }
                _ => {}
            }
        }
        Ok(answers)
    }

    async fn claim(&self, mut request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let (now, max) = (request.now, request.max);
        if self.is(Mutant::LeaseShortened) {
            request.lease /= 2;
        }
        if self.is(Mutant::InterruptionUncounted) {
            let ended = self.notes().ended(now);
            self.store.release(ended, now).await?;
        }
        let lease_ends = after(now, request.lease);
        let mut claimed = match self.mutant {
            Mutant::TurnsDropped => self.claim_greedily(request).await?,
            _ => self.store.claim(request).await?,
        };
        if self.is(Mutant::AcknowledgedBeforeStored) || self.is(Mutant::PurgeTakesPending) {
            self.drop_forgotten(&mut claimed, now).await?;
        }
        let mut notes = self.notes();
        let again = notes.another_held(&claimed, now);
        for claimed in &mut claimed {
            notes.disguise(self.mutant, claimed);
            notes.held.insert(claimed.id, (claimed.clone(), lease_ends));
            match self.mutant {
                Mutant::FenceStuck => claimed.fence = Fence::UNCLAIMED.next(),
                Mutant::InterruptionUnmarked => claimed.interrupted = false,
                _ => {}
            }
        }
        if self.is(Mutant::ClaimedTwice) && claimed.len() < max {
            claimed.extend(again);
        }
        Ok(claimed)
    }

    async fn settle(
        &self,
        mut settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let ids: Vec<_> = settlements.iter().map(|settlement| settlement.id).collect();
        for settlement in &mut settlements {
            settlement.fence = self.fence(settlement.id, settlement.fence);
            match (self.mutant, &mut settlement.next) {
                (Mutant::HistoryLost, _) => settlement.attempt = None,
                (Mutant::RetryBeforeDue, Next::Retry(due)) => *due = now,
                (Mutant::RunsAtOnce, next @ Next::AwaitRun) => *next = Next::Retry(after(now, AT_ONCE)),
                _ => {}
            }
        }
        let answers = self.store.settle(settlements, now).await?;
        Ok(self.answer(&ids, answers))
    }

    async fn release(
        &self,
        mut claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let ids: Vec<_> = claims.iter().map(|(id, _)| *id).collect();
        for (id, fence) in &mut claims {
            *fence = self.fence(*id, *fence);
        }
        if self.is(Mutant::ReleaseCounted) {
            let counted = |(id, fence)| Settlement {
                id,
                fence,
                attempt: Some(AttemptReport {
                    started_at: now,
                    duration: Duration::ZERO,
                    outcome: Outcome::Interrupted,
                    excerpt: Bytes::new(),
                }),
                next: Next::Retry(now),
            };
            let settlements = claims.into_iter().map(counted).collect();
            return self.store.settle(settlements, now).await;
        }
        let answers = self.store.release(claims, now).await?;
        Ok(self.answer(&ids, answers))
    }

    async fn hold(&self, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        match self.mutant {
            Mutant::HoldIgnored => Ok(true),
            _ => self.store.hold(key, now).await,
        }
    }

    async fn lift(&self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> Result<bool, StoreError> {
        match self.mutant {
            Mutant::HoldNeverLifted => Ok(true),
            mutant => self.store.lift(key, mutant.release(release), now).await,
        }
    }

    async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        let due = self.store.next_due(now).await?;
        Ok(match self.mutant {
            Mutant::NextDueLate => due.map(|due| after(due, Duration::from_secs(3_600))),
            _ => due,
        })
    }

    async fn reserve_numbers(&self, count: u32) -> Result<i64, StoreError> {
        match self.mutant {
            Mutant::NumbersRepeated => self.store.reserve_numbers(count.min(1)).await,
            _ => self.store.reserve_numbers(count).await,
        }
    }

    fn wake(&self) -> &Wake {
        self.bell(self.store.wake())
    }
}

#[async_trait]
impl WebhookStore for MutantStore {
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        if self.is(Mutant::WebhookMoved)
            && let Some(former) = self.store.webhook(&webhook.id).await?
            && former.scope != webhook.scope
        {
            self.store.remove_webhook(&webhook.id, now).await?;
        }
        let mut altered = self.altered(&webhook);
        if self.is(Mutant::LimitsFrozen)
            && let Some(first) = self.store.webhook(&altered.id).await?
        {
            (altered.limits, altered.order) = (first.limits, first.order);
        }
        let saved = self.store.save_webhook(altered, now).await?;
        if saved == Saved::Done {
            let mut notes = self.notes();
            notes.removed.remove(&webhook.id);
            notes.webhooks.insert(webhook.id.clone(), Arc::new(webhook));
        }
        Ok(saved)
    }

    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        let switch = match switch {
            Switch::OffIfFailingSince(_) if self.is(Mutant::DisableIgnoresRace) => Switch::Off,
            switch => switch,
        };
        let switched = self.store.switch_webhook(id, switch, now).await?;
        if let Switched::Done(webhook) = &switched {
            self.notes().webhooks.insert(id.clone(), Arc::clone(webhook));
        }
        Ok(switched)
    }

    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        if self.is(Mutant::DeletedStillSent) {
            let was_there = self.webhook(id).await?.is_some();
            self.notes().removed.insert(id.clone());
            return Ok(was_there);
        }
        self.store.remove_webhook(id, now).await
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        let webhook = self.store.webhook(id).await?;
        let notes = self.notes();
        let webhook = webhook.filter(|webhook| !notes.removed.contains(&webhook.id));
        Ok(webhook.map(|webhook| notes.as_saved(self.mutant, webhook)))
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let mut webhooks = self.store.webhooks(scope).await?;
        let notes = self.notes();
        webhooks.retain(|webhook| !notes.removed.contains(&webhook.id));
        let as_saved = |webhook| notes.as_saved(self.mutant, webhook);
        Ok(webhooks.into_iter().map(as_saved).collect())
    }

    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let after = after.filter(|_| !self.is(Mutant::PagesRepeated));
        self.store.all_webhooks(after, max).await
    }

    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        let mut failing = self.store.failing_webhooks(after, max).await?;
        for found in &mut failing {
            found.webhook = self.notes().as_saved(self.mutant, Arc::clone(&found.webhook));
        }
        if self.is(Mutant::FailingSinceKeptAfterSuccess) {
            let mut notes = self.notes();
            for webhook in failing {
                notes.failed.entry(webhook.webhook.id.clone()).or_insert(webhook);
            }
            failing = notes.failed.values().cloned().collect();
        }
        Ok(failing)
    }

    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError> {
        self.store.save_auth(record).await
    }

    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError> {
        if self.is(Mutant::AuthReplacedBlindly) {
            return self.store.save_auth(new).await.map(|()| true);
        }
        self.store.replace_auth(old, new).await
    }

    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        self.store.remove_auth(id).await
    }

    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError> {
        self.store.auth(id).await
    }

    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError> {
        let after = after.filter(|_| !self.is(Mutant::PagesRepeated));
        self.store.auths(after, max).await
    }

    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError> {
        if self.is(Mutant::AuthUsersForgotten) {
            return Ok(Vec::new());
        }
        self.store.webhooks_with_auth(id, max).await
    }
}

#[async_trait]
impl Inspect for MutantStore {
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        let record = self.store.delivery(id).await?;
        Ok(record.and_then(|record| self.show(record)))
    }

    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError> {
        let records = self.store.deliveries_of(scope, event).await?;
        Ok(records
            .into_iter()
            .filter_map(|record| self.show(record))
            .collect())
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        self.store.attempts(id).await
    }

    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError> {
        if self.is(Mutant::ReplayKeepsCount)
            && let Some(record) = self.delivery(id).await?
            && record.state.is_final()
        {
            self.notes().counted_before.insert(id, record.attempts);
        }
        self.store.replay(id, now).await
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        let asked = HistoryQuery {
            outcome: query.outcome.filter(|_| !self.is(Mutant::OutcomeFilterIgnored)),
            ..query
        };
        let ascends = asked.walk(0).ascends;
        let mut page = self.store.history(asked).await?;
        let towards_newer = match self.mutant {
            Mutant::PageRepeats => -1,
            Mutant::PageSkips => 1,
            _ => 0,
        };
        if page.has_more {
            let by = if ascends { towards_newer } else { -towards_newer };
            page.after = Cursor::at(page.after.position().saturating_add(by));
        }
        Ok(page)
    }

    async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, StoreError> {
        let mut health = self.store.health(webhook, since, now).await?;
        if self.is(Mutant::HealthCountsInterrupted) {
            let interrupted = HistoryQuery {
                webhook: Some(webhook.clone()),
                outcome: Some(OutcomeClass::Exactly(Outcome::Interrupted)),
                ..HistoryQuery::default()
            };
            let interrupted = self.store.history(interrupted).await?.entries.len();
            health.attempts = health.attempts.saturating_add(interrupted as u64);
        }
        Ok(health)
    }

    async fn replay_dead(&self, request: ReplayDead, now: DateTime<Utc>) -> Result<DeadReplayed, StoreError> {
        let webhook = request.webhook.clone();
        let mut answer = self.store.replay_dead(request, now).await?;
        if self.is(Mutant::ReplayDeadTakesDelivered) {
            let enqueued: Vec<_> = self.notes().enqueued.keys().copied().collect();
            for id in enqueued {
                let record = self.store.delivery(id).await?;
                let is_one = record.is_some_and(|record| {
                    record.state == State::Delivered && record.target == Target::Webhook(webhook.clone())
                });
                if is_one && self.store.replay(id, now).await? == Replayed::Done {
                    answer.replayed += 1;
                }
            }
        }
        Ok(answer)
    }

    async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, StoreError> {
        if self.is(Mutant::PurgeTakesPending) {
            let old = retention.history_before(now);
            let enqueued = self.notes().enqueued.clone();
            for (id, _) in enqueued.into_iter().filter(|(_, at)| *at < old) {
                let record = self.store.delivery(id).await?;
                if record.is_some_and(|record| record.state == State::Pending) {
                    self.notes().forgotten.insert(id);
                }
            }
        }
        let (bodies, max) = match self.mutant {
            Mutant::BodyPurgeTooEarly => (Duration::ZERO, max),
            Mutant::HistoryPurgeUnbounded => (retention.bodies, usize::MAX),
            _ => (retention.bodies, max),
        };
        if self.is(Mutant::HistoryPurgeForgotten) {
            return Ok(Purged {
                is_done: true,
                ..Purged::default()
            });
        }
        let retention = Retention { bodies, ..*retention };
        self.store.purge(&retention, max, now).await
    }
}

#[async_trait]
impl TaskStore for MutantStore {
    async fn create_task(&self, task: NewTask, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.store.create_task(task, now).await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.store.task(id).await
    }

    async fn claim_tasks(&self, mut request: ClaimRequest) -> Result<Vec<ClaimedTask>, StoreError> {
        if self.is(Mutant::TaskClaimedTwice) {
            request.lease = Duration::ZERO;
        }
        let mut claimed = self.store.claim_tasks(request).await?;
        if self.is(Mutant::TaskInterruptionUncounted) {
            claimed.iter_mut().for_each(|claimed| claimed.interruptions = 0);
        }
        let fences = claimed
            .iter()
            .map(|claimed| (claimed.task.id.clone(), claimed.fence));
        self.notes().task_fences.extend(fences);
        Ok(claimed)
    }

    async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        self.store.renew_task(id, fence, lease, now).await
    }

    async fn report_task(
        &self,
        id: &TaskId,
        fence: Fence,
        progress: TaskProgress,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let fence = match self.mutant {
            Mutant::ProgressFromAnyone => self.task_fence(id, fence),
            _ => fence,
        };
        self.store.report_task(id, fence, progress, now).await
    }

    async fn pause_task(
        &self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        let pause = match (self.mutant, pause) {
            (Mutant::TaskRetriedAtOnce, TaskPause::Retry(_)) => TaskPause::Retry(now),
            (Mutant::TaskFailureUncounted, TaskPause::Retry(due)) => {
                return self.store.renew_task(id, fence, elapsed(now, due), now).await;
            }
            (_, pause) => pause,
        };
        self.store.pause_task(id, fence, pause, now).await
    }

    async fn finish_task(
        &self,
        mut settlement: TaskSettlement,
        now: DateTime<Utc>,
    ) -> Result<Settled, StoreError> {
        match self.mutant {
            Mutant::CallbackForgotten => settlement.callback = None,
            Mutant::TaskFenceIgnored => {
                settlement.fence = settlement
                    .fence
                    .map(|fence| self.task_fence(&settlement.id, fence));
            }
            Mutant::CancellationIgnored if settlement.fence.is_none() => return Ok(Settled::Done),
            Mutant::ResultsPurgedEarly => settlement.keep.results_until = now,
            _ => {}
        }
        self.store.finish_task(settlement, now).await
    }

    async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let max = match self.mutant {
            Mutant::PurgeUnbounded => usize::MAX,
            _ => max,
        };
        self.store.purge_tasks(max, now).await
    }

    async fn next_task_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.store.next_task_due(now).await
    }

    fn task_wake(&self) -> &Wake {
        self.bell(self.store.task_wake())
    }
}

#[async_trait]
impl SeenStore for MutantStore {
    async fn begin(&self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Result<Seen, StoreError> {
        let lease = match self.mutant {
            Mutant::SeenAtOnce => Duration::ZERO,
            Mutant::SeenNeverTakenOver => Duration::MAX,
            _ => lease,
        };
        self.store.begin(key, lease, now).await
    }

    async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        match self.mutant {
            Mutant::SeenForgotten => self.store.abandon(key, fence, now).await,
            _ => self.store.finish(key, fence, keep, now).await,
        }
    }

    async fn abandon(&self, key: &SeenKey, fence: Fence, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.store.abandon(key, fence, now).await
    }

    async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        self.store.forget_expired(max, now).await
    }
}
