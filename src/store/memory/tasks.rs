//! Tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::id::{Fence, TaskId};
use crate::store::{ClaimRequest, ClaimedTask, NewTask, Settled, TaskRecord, TaskSettlement};
use crate::task::TaskStatus;
use crate::time::after;

#[derive(Default)]
pub(super) struct Tasks {
    rows: BTreeMap<TaskId, Row>,
    /// What can be claimed: when (at once, or when the lease ends), then in the order of creation.
    open: BTreeSet<(DateTime<Utc>, u64, TaskId)>,
    created: u64,
}

struct Row {
    record: TaskRecord,
    fence: Fence,
    runs: u32,
    /// Its entry in `open`.
    place: Option<(DateTime<Utc>, u64)>,
}

impl Tasks {
    pub(super) fn create(&mut self, task: NewTask, now: DateTime<Utc>) -> bool {
        if self.rows.contains_key(&task.id) {
            return false;
        }
        self.created += 1;
        let id = task.id.clone();
        let place = (DateTime::<Utc>::MIN_UTC, self.created);
        self.open.insert((place.0, place.1, id.clone()));
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
                place: Some(place),
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
            .iter()
            .take_while(|(at, ..)| *at <= request.now)
            .take(request.max)
            .cloned()
            .collect();
        let mut claimed = Vec::with_capacity(due.len());
        for (_, _, id) in due {
            self.place(&id, Some(after(request.now, request.lease)));
            let Some(row) = self.rows.get_mut(&id) else {
                continue;
            };
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
        if self.held(id, fence).is_none() {
            return Settled::LeaseLost;
        }
        self.place(id, Some(after(now, lease)));
        Settled::Done
    }

    pub(super) fn finish(&mut self, settlement: &TaskSettlement, now: DateTime<Utc>) -> Option<()> {
        let row = self.held(&settlement.id, settlement.fence)?;
        row.record.status = settlement.end.status();
        row.record.end = Some(settlement.end.clone());
        row.record.finished_at = Some(now);
        self.place(&settlement.id, None);
        Some(())
    }

    pub(super) fn next_due(&self, _now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.open.first().map(|(at, ..)| *at)
    }

    fn held(&mut self, id: &TaskId, fence: Fence) -> Option<&mut Row> {
        self.rows
            .get_mut(id)
            .filter(|row| row.record.status == TaskStatus::Running && row.fence == fence)
    }

    /// Moves a task to another place among those that can be claimed, or out of them.
    fn place(&mut self, id: &TaskId, at: Option<DateTime<Utc>>) {
        let Some(row) = self.rows.get_mut(id) else { return };
        let Some((old, order)) = row.place.take() else {
            return;
        };
        self.open.remove(&(old, order, id.clone()));
        if let Some(at) = at {
            row.place = Some((at, order));
            self.open.insert((at, order, id.clone()));
        }
    }
}
