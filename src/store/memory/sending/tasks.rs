//! Tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::id::{Fence, TaskId};
use crate::store::{
    ClaimRequest, ClaimedTask, EndedTask, NewTask, Settled, TaskEnd, TaskPause, TaskRecord, TaskSettlement,
};
use crate::task::{TaskProgress, TaskStatus};
use crate::time::after;

/// By number, which is the order of creation.
#[derive(Default)]
pub(super) struct Tasks {
    numbers: BTreeMap<TaskId, u64>,
    rows: BTreeMap<u64, Row>,
    created: u64,
    queued: BTreeSet<u64>,
    /// Those that have run and have yet to end, by when they can be claimed.
    resuming: BTreeSet<(DateTime<Utc>, u64)>,
    /// Those that have ended, by until when their results are kept, and by until when they are known.
    unpurged: BTreeSet<(DateTime<Utc>, u64)>,
    ended: BTreeSet<(DateTime<Utc>, u64)>,
}

struct Row {
    record: TaskRecord,
    fence: Fence,
    runs: u32,
    interruptions: u32,
    failures: u32,
    first_failure: Option<DateTime<Utc>>,
    /// Whether somebody holds it, or did until the lease ended.
    is_held: bool,
    /// When the lease ends, or when it is due. Means nothing while it is queued, or once it has ended.
    resumes_at: DateTime<Utc>,
}

impl Tasks {
    pub(super) fn create(&mut self, task: NewTask, now: DateTime<Utc>) -> bool {
        if self.numbers.contains_key(&task.id) {
            return false;
        }
        self.created += 1;
        self.numbers.insert(task.id.clone(), self.created);
        self.queued.insert(self.created);
        let row = Row {
            record: TaskRecord {
                task,
                requested_at: now,
                status: TaskStatus::Queued,
                progress: None,
                ended: None,
            },
            fence: Fence::UNCLAIMED,
            runs: 0,
            interruptions: 0,
            failures: 0,
            first_failure: None,
            is_held: false,
            resumes_at: now,
        };
        self.rows.insert(self.created, row);
        true
    }

    pub(super) fn get(&self, id: &TaskId) -> Option<TaskRecord> {
        let row = self.rows.get(self.numbers.get(id)?)?;
        Some(row.record.clone())
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Vec<ClaimedTask> {
        let resumed = self.resuming.iter().take_while(|(at, _)| *at <= request.now);
        let due = resumed.map(|(_, number)| number).chain(&self.queued);
        let due: Vec<u64> = due.copied().take(request.max).collect();
        let mut claimed = Vec::with_capacity(due.len());
        for number in due {
            let Some(row) = self.rows.get_mut(&number) else {
                continue;
            };
            self.queued.remove(&number);
            self.resuming.remove(&(row.resumes_at, number));
            row.resumes_at = after(request.now, request.lease);
            self.resuming.insert((row.resumes_at, number));
            row.interruptions = row.interruptions.saturating_add(u32::from(row.is_held));
            row.is_held = true;
            row.record.status = TaskStatus::Running;
            row.record.progress = None;
            row.fence = row.fence.next();
            row.runs = row.runs.saturating_add(1);
            claimed.push(ClaimedTask {
                task: row.record.task.clone(),
                requested_at: row.record.requested_at,
                fence: row.fence,
                runs: row.runs,
                interruptions: row.interruptions,
                failures: row.failures,
                first_failure: row.first_failure,
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
        let Some(number) = self.held(id, fence) else {
            return Settled::LeaseLost;
        };
        self.resume_at(number, after(now, lease));
        Settled::Done
    }

    pub(super) fn report(&mut self, id: &TaskId, fence: Fence, progress: TaskProgress) -> Settled {
        let held = self.held(id, fence);
        let Some(row) = held.and_then(|number| self.rows.get_mut(&number)) else {
            return Settled::LeaseLost;
        };
        row.record.progress = Some(progress);
        Settled::Done
    }

    pub(super) fn pause(
        &mut self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Settled {
        let held = self.held(id, fence);
        let Some((number, row)) = held.and_then(|number| Some((number, self.rows.get_mut(&number)?))) else {
            return Settled::LeaseLost;
        };
        row.is_held = false;
        let due = match pause {
            TaskPause::Handover => now,
            TaskPause::Retry(due) => {
                row.failures = row.failures.saturating_add(1);
                row.first_failure.get_or_insert(now);
                due
            }
        };
        self.resume_at(number, due);
        Settled::Done
    }

    pub(super) fn finish(&mut self, settlement: &TaskSettlement, now: DateTime<Utc>) -> Option<()> {
        let number = match settlement.fence {
            Some(fence) => self.held(&settlement.id, fence)?,
            None => *self.numbers.get(&settlement.id)?,
        };
        let row = self.rows.get_mut(&number)?;
        if row.record.ended.is_some() {
            return None;
        }
        let keep = settlement.keep;
        row.is_held = false;
        row.record.status = settlement.end.status();
        row.record.ended = Some(EndedTask {
            end: settlement.end.clone(),
            at: now,
            keep,
            is_purged: false,
        });
        self.queued.remove(&number);
        self.resuming.remove(&(row.resumes_at, number));
        self.unpurged.insert((keep.results_until, number));
        self.ended.insert((keep.known_until, number));
        Some(())
    }

    pub(super) fn purge(&mut self, max: usize, now: DateTime<Utc>) -> usize {
        let forgotten = first_until(&self.ended, now, max);
        for number in &forgotten {
            let Some(row) = self.rows.remove(number) else {
                continue;
            };
            self.numbers.remove(&row.record.task.id);
            if let Some(ended) = row.record.ended {
                self.ended.remove(&(ended.keep.known_until, *number));
                self.unpurged.remove(&(ended.keep.results_until, *number));
            }
        }
        let purged = first_until(&self.unpurged, now, max - forgotten.len());
        for number in &purged {
            let Some(row) = self.rows.get_mut(number) else {
                continue;
            };
            row.record.task.input = Bytes::new();
            if let Some(ended) = &mut row.record.ended {
                self.unpurged.remove(&(ended.keep.results_until, *number));
                ended.is_purged = true;
                match &mut ended.end {
                    TaskEnd::Succeeded(results) => *results = Bytes::new(),
                    TaskEnd::Failed { description, .. } => description.clear(),
                }
            }
        }
        forgotten.len() + purged.len()
    }

    pub(super) fn next_due(&self) -> Option<DateTime<Utc>> {
        if !self.queued.is_empty() {
            return Some(DateTime::<Utc>::MIN_UTC); // at once
        }
        self.resuming.first().map(|(at, _)| *at)
    }

    fn held(&self, id: &TaskId, fence: Fence) -> Option<u64> {
        let number = self.numbers.get(id)?;
        let row = self.rows.get(number)?;
        (row.is_held && row.fence == fence).then_some(*number)
    }

    fn resume_at(&mut self, number: u64, at: DateTime<Utc>) {
        if let Some(row) = self.rows.get_mut(&number) {
            self.resuming.remove(&(row.resumes_at, number));
            self.resuming.insert((at, number));
            row.resumes_at = at;
        }
    }
}

/// The first `max` whose instant has come.
fn first_until(index: &BTreeSet<(DateTime<Utc>, u64)>, now: DateTime<Utc>, max: usize) -> Vec<u64> {
    let come = index.iter().take_while(|(at, _)| *at <= now).take(max);
    come.map(|(_, number)| *number).collect()
}
