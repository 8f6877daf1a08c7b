//! Tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::id::{Fence, TaskId};
use crate::store::{ClaimRequest, ClaimedTask, NewTask, Settled, TaskRecord, TaskSettlement};
use crate::task::TaskStatus;
use crate::time::after;

#[derive(Default)]
pub(super) struct Tasks {
    rows: BTreeMap<TaskId, Row>,
    /// What has yet to end, in the order of creation. Those that run come before those that are queued, since
    /// claims go in this order; so a claim passes over as many as there are runners, however many are queued.
    open: BTreeMap<u64, TaskId>,
    created: u64,
}

struct Row {
    record: TaskRecord,
    fence: Fence,
    runs: u32,
    /// Its place in `open`.
    number: u64,
    /// From when on it can be claimed: at once, or when the lease ends.
    claimable: DateTime<Utc>,
}

impl Tasks {
    pub(super) fn create(&mut self, task: NewTask, now: DateTime<Utc>) -> bool {
        if self.rows.contains_key(&task.id) {
            return false;
        }
        self.created += 1;
        let id = task.id.clone();
        self.open.insert(self.created, id.clone());
        let record = TaskRecord {
            task,
            requested_at: now,
            status: TaskStatus::Queued,
            end: None,
            finished_at: None,
        };
        self.rows.insert(
            id,
            Row {
                record,
                fence: Fence::UNCLAIMED,
                runs: 0,
                number: self.created,
                claimable: DateTime::<Utc>::MIN_UTC,
            },
        );
        true
    }

    pub(super) fn get(&self, id: &TaskId) -> Option<TaskRecord> {
        self.rows.get(id).map(|row| row.record.clone())
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Vec<ClaimedTask> {
        let due: Vec<_> = self
            .open
            .values()
            .filter(|id| self.rows.get(*id).is_some_and(|row| row.claimable <= request.now))
            .take(request.max)
            .cloned()
            .collect();
        let mut claimed = Vec::with_capacity(due.len());
        for id in due {
            let Some(row) = self.rows.get_mut(&id) else {
                continue;
            };
            row.claimable = after(request.now, request.lease);
            row.record.status = TaskStatus::Running;
            row.fence = row.fence.next();
            row.runs = row.runs.saturating_add(1);
            claimed.push(ClaimedTask {
                task: row.record.task.clone(),
                requested_at: row.record.requested_at,
                fence: row.fence,
                runs: row.runs,
            });
        }
        claimed
    }

    pub(super) fn renew(
        &mut self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Settled {
        let Some(row) = self.held(id, fence) else {
            return Settled::LeaseLost;
        };
        row.claimable = after(now, lease);
        Settled::Done
    }

    pub(super) fn finish(&mut self, settlement: &TaskSettlement, now: DateTime<Utc>) -> Option<()> {
        let row = self.held(&settlement.id, settlement.fence)?;
        row.record.status = settlement.end.status();
        row.record.end = Some(settlement.end.clone());
        row.record.finished_at = Some(now);
        let number = row.number;
        self.open.remove(&number);
        Some(())
    }

    pub(super) fn next_due(&self, _now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut soonest = None;
        for row in self.open.values().filter_map(|id| self.rows.get(id)) {
            if row.record.status == TaskStatus::Queued {
                return Some(row.claimable); // at once; no need to pass over all the others that are queued
            }
            soonest = [soonest, Some(row.claimable)].into_iter().flatten().min();
        }
        soonest
    }

    fn held(&mut self, id: &TaskId, fence: Fence) -> Option<&mut Row> {
        self.rows
            .get_mut(id)
            .filter(|row| row.record.status == TaskStatus::Running && row.fence == fence)
    }
}
