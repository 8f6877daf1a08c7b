//! What is broken about tasks, and about what was received already.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Mutant, MutantStore};
use crate::id::{Fence, TaskId};
use crate::store::{
    ClaimRequest, ClaimedTask, NewTask, Seen, SeenKey, SeenStore, Settled, StoreError, TaskPause, TaskRecord,
    TaskSettlement, TaskStore, Wake,
};
use crate::task::TaskProgress;
use crate::time::elapsed;

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
