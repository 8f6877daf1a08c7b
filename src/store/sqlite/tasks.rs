//! Tasks.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rusqlite::Row;

use super::codec::{ceil, floor, instant, limit, optional_instant, whole};
use super::core::{Core, advance};
use super::events::{Prepared, enqueue};
use super::fault::Fault;
use crate::id::{Fence, TaskId};
use crate::store::{ClaimRequest, ClaimedTask, NewTask, Settled, TaskEnd, TaskRecord};
use crate::task::TaskStatus;
use crate::time::after;
use crate::url::WebhookUrl;

/// What [`new_task`] reads, and the instant of the request after it.
macro_rules! columns {
    () => {
        "SELECT id, credentials_id, request_uri, input, results_uri, webhook_uri, requested_at"
    };
}

impl Core {
    pub(super) fn create_task(&mut self, task: &NewTask, now: DateTime<Utc>) -> Result<bool, Fault> {
        let number = advance(&self.conn, "task", 1)?;
        let created = self
            .conn
            .prepare_cached(
                "INSERT INTO tasks (number, id, credentials_id, request_uri, input, results_uri, webhook_uri,
                    requested_at, fence, runs, open)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, TRUE) ON CONFLICT (id) DO NOTHING",
            )?
            .execute((
                number,
                task.id.as_str(),
                &task.credentials_id,
                &task.request_uri,
                task.input.as_ref(),
                &task.results_uri,
                task.webhook_uri.as_ref().map(WebhookUrl::expose),
                floor(now),
            ))?;
        self.rings.tasks |= created > 0;
        Ok(created > 0)
    }

    pub(super) fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, Fault> {
        self.conn
            .prepare_cached(concat!(
                columns!(),
                ", open, runs, finished_at, results, error, description FROM tasks WHERE id = ?1"
            ))?
            .query_and_then([id.as_str()], record)?
            .next()
            .transpose()
    }

    /// Those that run were created before those that are queued, since claims go in that order; so passing over
    /// the ones whose lease still holds takes as many steps as there are runners, however many are queued.
    pub(super) fn claim_tasks(&mut self, request: &ClaimRequest) -> Result<Vec<ClaimedTask>, Fault> {
        let now = whole(request.now);
        let claimable: Vec<(i64, ClaimedTask)> = self
            .conn
            .prepare_cached(concat!(
                columns!(),
                ", fence, runs, number FROM tasks WHERE open AND (lease_ends IS NULL OR lease_ends <= ?1)
                   ORDER BY number LIMIT ?2"
            ))?
            .query_and_then((floor(now), limit(request.max)), |row| {
                let claimed = ClaimedTask {
                    task: new_task(row)?,
                    requested_at: instant(row.get(6)?, "requested_at")?,
                    fence: Fence(row.get(7)?).next(),
                    runs: row.get::<_, u32>(8)?.saturating_add(1),
                };
                Ok::<_, Fault>((row.get(9)?, claimed))
            })?
            .collect::<Result<_, _>>()?;
        let mut update = self
            .conn
            .prepare_cached("UPDATE tasks SET fence = ?2, runs = ?3, lease_ends = ?4 WHERE number = ?1")?;
        let lease_ends = ceil(after(now, request.lease));
        for (number, claimed) in &claimable {
            update.execute((number, claimed.fence.0, claimed.runs, lease_ends))?;
        }
        Ok(claimable.into_iter().map(|(_, claimed)| claimed).collect())
    }

    pub(super) fn renew_task(
        &mut self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, Fault> {
        let renewed = self
            .conn
            .prepare_cached(
                "UPDATE tasks SET lease_ends = ?3 WHERE id = ?1 AND fence = ?2 AND runs > 0 AND open",
            )?
            .execute((id.as_str(), fence.0, ceil(after(whole(now), lease))))?;
        Ok(settled(renewed))
    }

    pub(super) fn finish_task(
        &mut self,
        id: &TaskId,
        fence: Fence,
        end: &TaskEnd,
        callback: &[Prepared],
        now: DateTime<Utc>,
    ) -> Result<Settled, Fault> {
        let (results, error, description) = match end {
            TaskEnd::Succeeded(results) => (Some(results.as_ref()), None, None),
            TaskEnd::Failed { error, description } => (None, Some(error), Some(description)),
        };
        let finished = self
            .conn
            .prepare_cached(
                "UPDATE tasks SET open = FALSE, lease_ends = NULL, finished_at = ?3, results = ?4, error = ?5,
                    description = ?6 WHERE id = ?1 AND fence = ?2 AND runs > 0 AND open",
            )?
            .execute((id.as_str(), fence.0, floor(now), results, error, description))?;
        if finished > 0 {
            let (_, sooner) = enqueue(&self.conn, callback, now)?;
            self.rings.deliveries |= sooner;
        }
        Ok(settled(finished))
    }

    pub(super) fn next_task_due(&self) -> Result<Option<DateTime<Utc>>, Fault> {
        // A queued one is due whatever the time; there can be many, but one is enough to know.
        let queued: bool = self
            .conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM tasks WHERE open AND lease_ends IS NULL)")?
            .query_one([], |row| row.get(0))?;
        if queued {
            return Ok(Some(DateTime::<Utc>::MIN_UTC));
        }
        let ends: Option<i64> = self
            .conn
            .prepare_cached("SELECT min(lease_ends) FROM tasks WHERE open")?
            .query_one([], |row| row.get(0))?;
        optional_instant(ends, "lease_ends")
    }
}

fn settled(changed: usize) -> Settled {
    if changed > 0 {
        Settled::Done
    } else {
        Settled::LeaseLost
    }
}

fn new_task(row: &Row<'_>) -> Result<NewTask, Fault> {
    let webhook_uri: Option<String> = row.get(5)?;
    Ok(NewTask {
        id: TaskId::from(row.get::<_, String>(0)?),
        credentials_id: row.get(1)?,
        request_uri: row.get(2)?,
        input: Bytes::from(row.get::<_, Vec<u8>>(3)?),
        results_uri: row.get(4)?,
        webhook_uri: webhook_uri
            .map(WebhookUrl::try_from)
            .transpose()
            .map_err(|_| Fault::Unreadable("webhook_uri"))?,
    })
}

fn record(row: &Row<'_>) -> Result<TaskRecord, Fault> {
    let (open, runs): (bool, u32) = (row.get(7)?, row.get(8)?);
    let results: Option<Vec<u8>> = row.get(10)?;
    let end = match (results, row.get(11)?, row.get(12)?) {
        _ if open => None,
        (Some(results), None, None) => Some(TaskEnd::Succeeded(results.into())),
        (None, Some(error), Some(description)) => Some(TaskEnd::Failed { error, description }),
        _ => return Err(Fault::Unreadable("results")),
    };
    let status = match &end {
        Some(end) => end.status(),
        None if runs == 0 => TaskStatus::Queued,
        None => TaskStatus::Running,
    };
    Ok(TaskRecord {
        task: new_task(row)?,
        requested_at: instant(row.get(6)?, "requested_at")?,
        status,
        end,
        finished_at: optional_instant(row.get(9)?, "finished_at")?,
    })
}
