//! One run of one task.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{Either, select};

use super::runner::{Shared, ended};
use super::work::{Reports, TaskContext, TaskError};
use crate::engine::worker::is_lasting;
use crate::id::{Fence, TaskId};
use crate::retry::{Decision, Progress};
use crate::store::{ClaimedTask, Settled, StoreError, TaskEnd, TaskPause};

/// How long to leave a store alone that has just failed.
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// The least time between two reports of a task's progress that are stored.
const REPORT_PAUSE: Duration = Duration::from_millis(250);

/// What is to be recorded of a run.
enum Verdict {
    End(TaskEnd),
    Retry(DateTime<Utc>),
}

impl Shared {
    /// Runs a task to the end of this run, for as long as it is ours.
    ///
    /// # Errors
    ///
    /// The store's, where waiting helps nothing.
    pub(super) async fn run(&self, claimed: ClaimedTask) -> Result<(), StoreError> {
        let (id, fence) = (claimed.task.id.clone(), claimed.fence);
        let (_entered, cancelled) = self.running.enter(id.clone(), fence);
        let reports = Reports::default();
        let work = async {
            let verdict = self.verdict(&claimed, &reports).await;
            self.record(&claimed, verdict).await
        };
        let lease = std::pin::pin!(self.keep_lease(&id, fence));
        let reporting = std::pin::pin!(self.keep_reporting(&id, fence, &reports));
        let lost = select(select(lease, reporting), cancelled);
        match select(std::pin::pin!(work), lost).await {
            Either::Left((recorded, _)) => recorded,
            Either::Right(_) => Ok(()),
        }
    }

    async fn verdict(&self, claimed: &ClaimedTask, reports: &Reports) -> Verdict {
        if claimed.interruptions > self.most_interruptions {
            let error = TaskError::internal("the work was interrupted too often");
            return Verdict::End(ended(Err(error)));
        }
        let context = TaskContext {
            id: claimed.task.id.clone(),
            credentials_id: claimed.task.credentials_id.clone(),
            request_uri: claimed.task.request_uri.clone(),
            input: claimed.task.input.clone(),
            requested_at: claimed.requested_at,
            deadline: claimed.task.deadline,
            run: claimed.runs,
            reports: reports.clone(),
        };
        let outcome = self.work(&context).await;
        if let Err(error) = &outcome
            && error.is_retryable()
            && let Some(due) = self.retry(claimed)
        {
            return Verdict::Retry(due);
        }
        Verdict::End(ended(outcome))
    }

    /// When to try again, if there is time for it.
    fn retry(&self, claimed: &ClaimedTask) -> Option<DateTime<Utc>> {
        let now = self.parts.timer.now();
        let progress = Progress {
            attempts: claimed.failures.saturating_add(1),
            first_failure: claimed.first_failure.unwrap_or(now),
            now,
            retry_after: None,
            random: self.parts.entropy.next_u64(),
        };
        match self.retries.decide(&progress) {
            Decision::RetryAt(due) if due < claimed.task.deadline => Some(due),
            Decision::RetryAt(_) | Decision::GiveUp => None,
        }
    }

    /// Stores what came of the run. A store that fails is asked again, for as long as the task is ours; if it had
    /// carried the first call out, it answers the second that the lease is lost, and both times we are done.
    async fn record(&self, claimed: &ClaimedTask, verdict: Verdict) -> Result<(), StoreError> {
        let ClaimedTask {
            task,
            requested_at,
            fence,
            ..
        } = claimed;
        let (store, timer) = (&self.parts.store, &self.parts.timer);
        loop {
            let recorded = match &verdict {
                Verdict::Retry(due) => {
                    store
                        .pause_task(&task.id, *fence, TaskPause::Retry(*due), timer.now())
                        .await
                }
                Verdict::End(end) => {
                    match self
                        .settlement(task, *requested_at, Some(*fence), end.clone())
                        .await
                    {
                        Ok(settlement) => self.finish(settlement).await,
                        Err(error) => Err(error),
                    }
                }
            };
            match recorded {
                Ok(_) => return Ok(()),
                Err(error) if is_lasting(&error) => return Err(error),
                Err(_) => timer.sleep(STORE_PAUSE).await,
            }
        }
    }

    /// Renews the lease at half its life; returns once it is lost.
    async fn keep_lease(&self, id: &TaskId, fence: Fence) {
        let mut wait = self.lease / 2;
        loop {
            self.parts.timer.sleep(wait).await;
            let now = self.parts.timer.now();
            wait = match self.parts.store.renew_task(id, fence, self.lease, now).await {
                Ok(Settled::Done) => self.lease / 2,
                Ok(Settled::LeaseLost) => return,
                Err(_) => STORE_PAUSE,
            };
        }
    }

    /// Stores what the work reports, the latest each time; returns once the lease is lost. A report that the store
    /// fails to take is not repeated: the next one says more.
    async fn keep_reporting(&self, id: &TaskId, fence: Fence, reports: &Reports) {
        loop {
            let reported = reports.listen();
            let Some(progress) = reports.take() else {
                reported.await;
                continue;
            };
            let now = self.parts.timer.now();
            if let Ok(Settled::LeaseLost) = self.parts.store.report_task(id, fence, progress, now).await {
                return;
            }
            self.parts.timer.sleep(REPORT_PAUSE).await;
        }
    }
}
