//! Claiming tasks and running them, a bounded number at once.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::runner::Shared;
use crate::engine::worker::{SHORTEST_WAIT, STORE_PAUSE, is_lasting, wait_for_more};
use crate::id::{Fence, TaskId};
use crate::store::{ClaimRequest, ClaimedTask, Listen, StoreError, TaskPause};

enum Step {
    Stop,
    GraceOver,
    Looked(Result<Found, StoreError>),
    LookAgain,
    Ended((TaskId, Fence), Result<(), StoreError>),
}

/// What a look at the store found.
struct Found {
    claimed: Vec<ClaimedTask>,
    /// When it looked.
    at: DateTime<Utc>,
    /// Listening since before the look.
    ring: Listen,
}

pub(super) async fn run_until(
    shared: &Shared,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), StoreError> {
    let timer = &shared.parts.timer;
    let mut steps: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
    steps.push(stop.map(|()| Step::Stop).boxed());
    let mut running = BTreeSet::new();
    let (mut looking, mut waiting, mut stopping) = (false, false, false);
    loop {
        let free = shared.concurrency.saturating_sub(running.len());
        if !looking && !waiting && !stopping && free > 0 {
            looking = true;
            steps.push(look(shared, free).map(Step::Looked).boxed());
        }
        if stopping && running.is_empty() && !looking {
            return Ok(());
        }
        match steps.next().await {
            // Before the end there is always a step: a look, a wait for the next one, or the end of the grace.
            None => return Ok(()),
            Some(Step::GraceOver) => {
                steps.clear(); // whatever ran is dropped
                hand_back(shared, running).await;
                return Ok(());
            }
            Some(Step::Stop) => {
                stopping = true;
                let grace = timer.sleep(shared.parts.grace);
                steps.push(grace.map(|()| Step::GraceOver).boxed());
            }
            Some(Step::LookAgain) => waiting = false,
            Some(Step::Ended(_, Err(error))) => return Err(error),
            Some(Step::Ended(run, Ok(()))) => drop(running.remove(&run)),
            Some(Step::Looked(Err(error))) if is_lasting(&error) => return Err(error),
            Some(Step::Looked(Err(_))) => {
                (looking, waiting) = (false, true);
                steps.push(timer.sleep(STORE_PAUSE).map(|()| Step::LookAgain).boxed());
            }
            Some(Step::Looked(Ok(found))) if stopping => {
                looking = false;
                let claimed = found
                    .claimed
                    .into_iter()
                    .map(|claimed| (claimed.task.id, claimed.fence));
                hand_back(shared, claimed).await;
            }
            Some(Step::Looked(Ok(found))) => {
                (looking, waiting) = (false, true);
                for claimed in found.claimed {
                    // By the fence too: a lease that was lost may be claimed anew before the run has noticed.
                    let run = (claimed.task.id.clone(), claimed.fence);
                    running.insert(run.clone());
                    let ended = shared.run(claimed).map(|ended| Step::Ended(run, ended));
                    steps.push(ended.boxed());
                }
                let next = shared.parts.store.next_task_due(found.at);
                let wait = wait_for_more(&shared.parts, found.ring, next, SHORTEST_WAIT);
                steps.push(wait.map(|()| Step::LookAgain).boxed());
            }
        }
    }
}

async fn look(shared: &Shared, max: usize) -> Result<Found, StoreError> {
    let parts = &shared.parts;
    let ring = parts.store.task_wake().listen();
    let now = parts.timer.now();
    let request = ClaimRequest {
        holder: parts.holder.clone(),
        now,
        lease: shared.lease,
        max,
    };
    let claimed = parts.store.claim_tasks(request).await?;
    Ok(Found {
        claimed,
        at: now,
        ring,
    })
}

/// Gives back tasks that will not be run here, so that whoever comes next need not wait for the end of the leases.
async fn hand_back(shared: &Shared, tasks: impl IntoIterator<Item = (TaskId, Fence)>) {
    let now = shared.parts.timer.now();
    for (id, fence) in tasks {
        // If the store will not, the lease ends by itself.
        let handover = shared
            .parts
            .store
            .pause_task(&id, fence, TaskPause::Handover, now);
        let _ = handover.await;
    }
}
