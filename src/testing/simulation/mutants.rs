//! Broken worlds: each breaks one promise, and a simulation is good if it says which.
//!
//! Broken stores are those of [`testing::mutants`](crate::testing::mutants) that concern deliveries. Broken workers
//! are made of the engine's own by what stands around them: the store and the sender as they see them, and their
//! profiles.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Request, Response, StatusCode};

use super::layer::Hooks;
use super::violation::Invariant;
use crate::delivery::{AttemptReport, Outcome, Pacing, PlainProfile, Profile, SendFailure, Webhook};
use crate::id::{DeliveryId, Fence, Scope, WebhookId};
use crate::retry::Schedule;
use crate::store::{
    Chunk, ClaimRequest, Claimed, FailingWebhook, Next, Settled, Settlement, Store, StoreError, Switch,
    Switched, Update, WindowNo,
};
use crate::testing::mutants::Mutant as StoreMutant;
use crate::time::{after as later, before};
use crate::transport::{HttpSender, ResponseLimits, SendError};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Something broken, to be found by a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mutant {
    /// A broken store.
    Store(StoreMutant),
    /// A broken worker, or one who enqueues.
    Worker(WorkerMutant),
}

/// How a worker is broken, or one who enqueues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WorkerMutant {
    /// Claims for a shorter time than a request may take.
    LeaseTooShort,
    /// Records a delivery as accepted before it is sent.
    SettlesBeforeSending,
    /// Takes server errors for an acceptance.
    RefusalTakenForAccepted,
    /// Gives up at the first failure.
    NeverRetries,
    /// Tries again at once, whatever the schedule says.
    RetriesAtOnce,
    /// Sends each request twice.
    SendsTwice,
    /// Counts what was put off as an attempt.
    PostponementCounted,
    /// Sends once more what was accepted.
    AcceptedSentAgain,
    /// Enqueues events for the webhooks of other scopes as well.
    ScopeIgnored,
    /// Stops without giving back what it holds.
    StopsWithoutRelease,
    /// Has what is to await a run tried again at once.
    RunsSkipped,
    /// Reports timeouts as failures of another kind.
    TimeoutsUnnoticed,
    /// Takes every answer for a good one, as far as the pace of the lane goes.
    StrainUnnoticed,
    /// Takes webhooks for failing an hour longer than they are, and disables them.
    DisablesTooSoon,
    /// Gives up recording an update when the store fails, and says that it did.
    UpdateGivenUp,
    /// Puts twice as many users into a notification as it may have.
    DigestTooLarge,
}

/// The broken stores, and what each breaks.
const STORES: &[(StoreMutant, Invariant)] = &[
    (StoreMutant::FenceIgnored, Invariant::SettledAfterLostLease),
    (StoreMutant::FenceStuck, Invariant::LeaseDisregarded),
    (
        StoreMutant::LateSettlementAnsweredDone,
        Invariant::SettledAfterLostLease,
    ),
    (StoreMutant::ClaimedTwice, Invariant::LeaseDisregarded),
    (StoreMutant::HistoryLost, Invariant::AttemptsMiscounted),
    (StoreMutant::InterruptionUncounted, Invariant::AttemptsMiscounted),
    (StoreMutant::InterruptionUnmarked, Invariant::AttemptsMiscounted),
    (StoreMutant::RetryBeforeDue, Invariant::SentBeforeDue),
    (StoreMutant::LeaseShortened, Invariant::LeaseDisregarded),
    (
        StoreMutant::AcknowledgedBeforeStored,
        Invariant::AcknowledgedNotStored,
    ),
    (StoreMutant::DuplicateSentAgain, Invariant::DuplicatedWithoutFault),
    (StoreMutant::ConflictAccepted, Invariant::EnqueueMisjudged),
    (StoreMutant::TurnsDropped, Invariant::Unfair),
    (StoreMutant::InFlightLimitIgnored, Invariant::OverLimitInFlight),
    (StoreMutant::StrictOrderIgnored, Invariant::OutOfStrictOrder),
    (StoreMutant::RateIgnored, Invariant::RateExceeded),
    (StoreMutant::PaceIgnored, Invariant::PaceIgnored),
    (StoreMutant::PausesIgnored, Invariant::PaceIgnored),
    (StoreMutant::SwitchIgnored, Invariant::SentWhileOff),
    (StoreMutant::DeletedStillSent, Invariant::SentWhileOff),
    (StoreMutant::ReleaseCounted, Invariant::AttemptsMiscounted),
    (StoreMutant::ReplayKeepsCount, Invariant::AttemptsMiscounted),
    (StoreMutant::NextDueLate, Invariant::Unfair),
    (StoreMutant::RunsAtOnce, Invariant::RunsOverlap),
    (StoreMutant::RunNeverStops, Invariant::RunWentOn),
    (StoreMutant::RunsTooOften, Invariant::SentBeforeDue),
    (StoreMutant::HoldIgnored, Invariant::ReleasedEarly),
    (StoreMutant::HoldExpires, Invariant::HeldLost),
    (StoreMutant::HoldNeverLifted, Invariant::HeldLost),
    (StoreMutant::DisablingForgets, Invariant::IllegalTransition),
    (StoreMutant::UpdateForgotten, Invariant::UpdateLost),
    (StoreMutant::UpdateInTwoWindows, Invariant::UpdateRepeated),
    (StoreMutant::UpdatesUncounted, Invariant::UpdateLost),
    (StoreMutant::SealedWindowReopened, Invariant::UpdateLost),
    (StoreMutant::DigestScopesMixed, Invariant::ScopeLeaked),
    (StoreMutant::ChunkTooLarge, Invariant::DigestOversized),
    (
        StoreMutant::ChunkWithoutNotification,
        Invariant::AcknowledgedNotStored,
    ),
    (StoreMutant::ChunkLeftBehind, Invariant::UpdateRepeated),
    (StoreMutant::ChunkTakenTwice, Invariant::UpdateRepeated),
];

/// The broken workers, their names, and what each breaks.
const WORKERS: &[(WorkerMutant, &str, Invariant)] = &[
    (
        WorkerMutant::LeaseTooShort,
        "lease-too-short",
        Invariant::LeaseOutlived,
    ),
    (
        WorkerMutant::SettlesBeforeSending,
        "settles-before-sending",
        Invariant::AttemptsMiscounted,
    ),
    (
        WorkerMutant::RefusalTakenForAccepted,
        "refusal-taken-for-accepted",
        Invariant::Lost,
    ),
    (WorkerMutant::NeverRetries, "never-retries", Invariant::Lost),
    (
        WorkerMutant::RetriesAtOnce,
        "retries-at-once",
        Invariant::SentBeforeDue,
    ),
    (
        WorkerMutant::SendsTwice,
        "sends-twice",
        Invariant::DuplicatedWithoutFault,
    ),
    (
        WorkerMutant::PostponementCounted,
        "postponement-counted",
        Invariant::AttemptsMiscounted,
    ),
    (
        WorkerMutant::AcceptedSentAgain,
        "accepted-sent-again",
        Invariant::DuplicatedWithoutFault,
    ),
    (
        WorkerMutant::ScopeIgnored,
        "scope-ignored",
        Invariant::ScopeLeaked,
    ),
    (
        WorkerMutant::StopsWithoutRelease,
        "stops-without-release",
        Invariant::StoppedUncleanly,
    ),
    (
        WorkerMutant::RunsSkipped,
        "runs-skipped",
        Invariant::SentBeforeDue,
    ),
    (
        WorkerMutant::TimeoutsUnnoticed,
        "timeouts-unnoticed",
        Invariant::RunWentOn,
    ),
    (
        WorkerMutant::StrainUnnoticed,
        "strain-unnoticed",
        Invariant::PaceIgnored,
    ),
    (
        WorkerMutant::DisablesTooSoon,
        "disables-too-soon",
        Invariant::DisabledUnduly,
    ),
    (
        WorkerMutant::UpdateGivenUp,
        "update-given-up",
        Invariant::UpdateLost,
    ),
    (
        WorkerMutant::DigestTooLarge,
        "digest-too-large",
        Invariant::DigestOversized,
    ),
];

impl Mutant {
    /// Every one of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let stores = STORES.iter().map(|(mutant, _)| Self::Store(*mutant));
        let workers = WORKERS.iter().map(|(mutant, ..)| Self::Worker(*mutant));
        stores.chain(workers)
    }

    /// The mutant of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|mutant| mutant.name() == name)
    }

    /// Its name, for command lines and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Store(mutant) => mutant.name(),
            Self::Worker(mutant) => mutant.entry().1,
        }
    }

    /// The promise that it breaks. What follows from that may break others as well.
    pub fn breaks(self) -> Invariant {
        match self {
            Self::Store(mutant) => STORES
                .iter()
                .find(|(other, _)| *other == mutant)
                .map_or(Invariant::Lost, |(_, invariant)| *invariant),
            Self::Worker(mutant) => mutant.entry().2,
        }
    }
}

impl WorkerMutant {
    fn entry(self) -> &'static (Self, &'static str, Invariant) {
        // The table is in the order of the variants; a test says so.
        &WORKERS[self as usize]
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stands around a worker, broken or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings(Option<WorkerMutant>);

impl Surroundings {
    pub(super) fn new(mutant: Option<Mutant>) -> Self {
        Self(match mutant {
            Some(Mutant::Worker(mutant)) => Some(mutant),
            _ => None,
        })
    }

    fn is(self, mutant: WorkerMutant) -> bool {
        self.0 == Some(mutant)
    }

    /// The profile as the worker knows it.
    pub(super) fn profile(self, profile: PlainProfile) -> PlainProfile {
        let schedule = match self.0 {
            Some(WorkerMutant::NeverRetries) => Schedule::never(),
            Some(WorkerMutant::RetriesAtOnce) => {
                let at_once = Schedule::gaps([Duration::from_millis(1)]).repeat_last();
                at_once.build().unwrap_or_else(|_| Schedule::never())
            }
            _ => return profile,
        };
        PlainProfile::new(profile.name(), schedule)
            .with_deadline(profile.deadline())
            .with_classification(profile.classification())
    }

    /// The line to the receivers as the worker knows it.
    pub(super) fn line(self, line: Arc<dyn HttpSender>) -> Arc<dyn HttpSender> {
        match self.0 {
            Some(WorkerMutant::SendsTwice | WorkerMutant::RefusalTakenForAccepted) => {
                Arc::new(BrokenLine { line, broken: self })
            }
            _ => line,
        }
    }
}

#[derive(Debug)]
struct BrokenLine {
    line: Arc<dyn HttpSender>,
    broken: Surroundings,
}

#[async_trait]
impl HttpSender for BrokenLine {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        if self.broken.is(WorkerMutant::SendsTwice) {
            self.line.send(request.clone(), limits).await?;
        }
        let mut response = self.line.send(request, limits).await?;
        if self.broken.is(WorkerMutant::RefusalTakenForAccepted) && response.status().is_server_error() {
            *response.status_mut() = StatusCode::OK;
        }
        Ok(response)
    }

    fn supports_https(&self) -> bool {
        self.line.supports_https()
    }
}

#[async_trait]
impl Hooks for Surroundings {
    async fn claim(&self, inner: &dyn Store, mut request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        if self.is(WorkerMutant::LeaseTooShort) {
            request.lease = Duration::from_secs(1);
        }
        let now = request.now;
        let claimed = inner.claim(request).await?;
        if self.is(WorkerMutant::SettlesBeforeSending) {
            let early = |claimed: &Claimed| Settlement {
                id: claimed.id,
                fence: claimed.fence,
                attempt: Some(made_up(now, Outcome::Answered(StatusCode::OK))),
                next: Next::Delivered,
                pacing: Pacing::Keep,
            };
            inner.settle(claimed.iter().map(early).collect(), now).await?;
        }
        Ok(claimed)
    }

    async fn settle(
        &self,
        inner: &dyn Store,
        mut settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        for settlement in &mut settlements {
            match self.0 {
                Some(WorkerMutant::PostponementCounted) => {
                    settlement
                        .attempt
                        .get_or_insert_with(|| made_up(now, Outcome::Panicked));
                }
                Some(WorkerMutant::RunsSkipped) if settlement.next == Next::AwaitRun => {
                    settlement.next = Next::Retry(now);
                }
                Some(WorkerMutant::TimeoutsUnnoticed) => {
                    if let Some(attempt) = settlement
                        .attempt
                        .as_mut()
                        .filter(|a| a.outcome == Outcome::TimedOut)
                    {
                        attempt.outcome = Outcome::Failed(SendFailure::Other);
                    }
                }
                Some(WorkerMutant::StrainUnnoticed) if settlement.attempt.is_some() => {
                    settlement.pacing = Pacing::Gain;
                }
                Some(WorkerMutant::AcceptedSentAgain) if settlement.next == Next::Delivered => {
                    settlement.next = Next::Retry(now);
                }
                _ => {}
            }
        }
        inner.settle(settlements, now).await
    }

    async fn release(
        &self,
        inner: &dyn Store,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        if self.is(WorkerMutant::StopsWithoutRelease) {
            return Ok(claims.iter().map(|_| Settled::Done).collect());
        }
        inner.release(claims, now).await
    }

    async fn record_updates(
        &self,
        inner: &dyn Store,
        updates: Vec<Update>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let recorded = inner.record_updates(updates, now).await;
        if self.is(WorkerMutant::UpdateGivenUp) {
            return Ok(());
        }
        recorded
    }

    async fn next_chunk(
        &self,
        inner: &dyn Store,
        window: WindowNo,
        max: usize,
    ) -> Result<Option<Chunk>, StoreError> {
        let max = if self.is(WorkerMutant::DigestTooLarge) {
            2 * max
        } else {
            max
        };
        inner.next_chunk(window, max).await
    }

    async fn failing_webhooks(
        &self,
        inner: &dyn Store,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        let mut failing = inner.failing_webhooks(after, max).await?;
        if self.is(WorkerMutant::DisablesTooSoon) {
            for webhook in &mut failing {
                webhook.since = before(webhook.since, HOUR);
            }
        }
        Ok(failing)
    }

    async fn switch_webhook(
        &self,
        inner: &dyn Store,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        let switch = match switch {
            Switch::OffIfFailingSince(since) if self.is(WorkerMutant::DisablesTooSoon) => {
                Switch::OffIfFailingSince(later(since, HOUR))
            }
            switch => switch,
        };
        inner.switch_webhook(id, switch, now).await
    }

    async fn webhooks(&self, inner: &dyn Store, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let mut webhooks = inner.webhooks(scope).await?;
        if self.is(WorkerMutant::ScopeIgnored) {
            for other in super::world::SCOPES {
                let strangers = inner.webhooks(&other.into()).await?;
                let as_our_own = |webhook: Arc<Webhook>| {
                    let mut webhook = Webhook::clone(&webhook);
                    webhook.scope = scope.clone();
                    Arc::new(webhook)
                };
                webhooks.extend(
                    strangers
                        .into_iter()
                        .filter(|w| w.scope != *scope)
                        .map(as_our_own),
                );
            }
        }
        Ok(webhooks)
    }
}

fn made_up(now: DateTime<Utc>, outcome: Outcome) -> AttemptReport {
    AttemptReport {
        started_at: now,
        duration: Duration::ZERO,
        outcome,
        excerpt: Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_worker_mutant_is_found_in_its_place_and_by_its_name() {
        for (at, (mutant, name, _)) in WORKERS.iter().enumerate() {
            assert_eq!(*mutant as usize, at);
            assert_eq!(Mutant::named(name), Some(Mutant::Worker(*mutant)));
        }
        let names: BTreeSet<_> = Mutant::all().map(Mutant::name).collect();
        assert_eq!(names.len(), Mutant::all().count());
    }
}
