//! The broken store.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::Mutant;
use super::notes::{Notes, rebuilt};
use crate::delivery::{
    Attempt, AttemptReport, Cursor, Health, HistoryPage, HistoryQuery, Outcome, OutcomeClass, Pacing,
    Retention, State, Target,
};
use crate::id::{DeliveryId, EventId, Fence, Scope, TaskId, WebhookId};
use crate::store::Store;
use crate::store::{
    ClaimRequest, Claimed, DeadReplayed, DeliveryRecord, DeliveryStore, Enqueued, HoldKey, Inspect, NewEvent,
    Next, Purged, Release, ReplayDead, Replayed, Settled, Settlement, StoreError, Wake,
};
use crate::time::after;

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

    pub(super) fn bell<'a>(&'a self, working: &'a Wake) -> &'a Wake {
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
            pacing: Pacing::Keep,
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

    pub(super) fn task_fence(&self, id: &TaskId, otherwise: Fence) -> Fence {
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
                (Mutant::PaceIgnored | Mutant::PausesIgnored | Mutant::PaceNeverWonBack, _) => {
                    settlement.pacing = self.mutant.pacing(settlement.pacing);
                }
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
                pacing: Pacing::Keep,
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
