//! Tasks.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rusqlite::{Params, Row};

use super::codec::{ceil, floor, instant, limit, optional_instant, whole};
use super::core::{Core, advance};
use super::database::Database;
use super::events::{Prepared, enqueue};
use super::fault::Fault;
use crate::id::{Fence, TaskId};
use crate::store::{
    ClaimRequest, ClaimedTask, EndedTask, Keep, NewTask, Settled, TaskEnd, TaskPause, TaskRecord,
};
use crate::task::{TaskProgress, TaskStatus};
use crate::time::after;
use crate::url::WebhookUrl;

const REQUEST_URI: &str = "tasks.request_uri";
const RESULTS_URI: &str = "tasks.results_uri";
const WEBHOOK_URI: &str = "tasks.webhook_uri";
const INPUT: &str = "tasks.input";
const PROGRESS: &str = "tasks.progress";
const RESULTS: &str = "tasks.results";
const DESCRIPTION: &str = "tasks.description";

/// What [`new_task`] reads, and the instant of the request after it.
macro_rules! columns {
    () => {
        "SELECT id, credentials_id, request_uri, input, results_uri, webhook_uri, deadline, requested_at"
    };
}

/// What a claim reads after those.
macro_rules! claim_columns {
    () => {
        concat!(
            columns!(),
            ", fence, runs, interruptions + (state = 'held'), failures, first_failure, number FROM tasks "
        )
    };
}

/// A task that can be claimed, by its number, as far as it can be read.
type Due = (i64, Result<ClaimedTask, Fault>);

impl Core {
    pub(super) fn create_task(&mut self, task: &NewTask, now: DateTime<Utc>) -> Result<bool, Fault> {
        let number = advance(&self.conn, "task", 1)?;
        let row = [task.id.as_str().as_bytes()];
        let webhook_uri = task.webhook_uri.as_ref();
        let webhook_uri = webhook_uri.map(|uri| self.conn.seal(WEBHOOK_URI, &row, uri.expose().as_bytes()));
        let created = self
            .conn
            .prepare_cached(
                "INSERT INTO tasks (number, id, credentials_id, request_uri, input, results_uri, webhook_uri,
                    deadline, requested_at, state, fence, runs, interruptions, failures, purged)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'queued', 0, 0, 0, 0, FALSE)
                 ON CONFLICT (id) DO NOTHING",
            )?
            .execute((
                number,
                task.id.as_str(),
                &task.credentials_id,
                self.conn.seal(REQUEST_URI, &row, task.request_uri.as_bytes())?,
                self.conn.seal(INPUT, &row, &task.input)?,
                self.conn.seal(RESULTS_URI, &row, task.results_uri.as_bytes())?,
                webhook_uri.transpose()?,
                floor(task.deadline),
                floor(now),
            ))?;
        self.rings.tasks |= created > 0;
        Ok(created > 0)
    }

    pub(super) fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, Fault> {
        self.conn
            .prepare_cached(concat!(
                columns!(),
                ", state, progress, finished_at, results_until, known_until, purged, results, error, description
                   FROM tasks WHERE id = ?1"
            ))?
            .query_and_then([id.as_str()], |row| record(&self.conn, row))?
            .next()
            .transpose()
    }

    pub(super) fn claim_tasks(&mut self, request: &ClaimRequest) -> Result<Vec<ClaimedTask>, Fault> {
        let now = whole(request.now);
        let mut due = self.due_tasks(
            concat!(
                claim_columns!(),
                "WHERE resumes_at <= ?1 ORDER BY resumes_at, number LIMIT ?2"
            ),
            (floor(now), limit(request.max)),
        )?;
        due.extend(self.due_tasks(
            concat!(
                claim_columns!(),
                "WHERE state = 'queued' ORDER BY number LIMIT ?1"
            ),
            [limit(request.max - due.len())],
        )?);
        let mut update = self.conn.prepare_cached(
            "UPDATE tasks SET state = 'held', fence = ?2, runs = ?3, interruptions = ?4, resumes_at = ?5,
                progress = NULL WHERE number = ?1",
        )?;
        let lease_ends = ceil(after(now, request.lease));
        let mut claimed = Vec::with_capacity(due.len());
        for (number, task) in due {
            match task {
                Ok(task) => {
                    update.execute((number, task.fence.0, task.runs, task.interruptions, lease_ends))?;
                    claimed.push(task);
                }
                // It holds up itself and no other, and to be put off is no interruption.
                Err(Fault::Unreadable(_)) => {
                    self.conn
                        .prepare_cached(
                            "UPDATE tasks SET state = iif(state = 'queued', 'paused', state), resumes_at = ?2
                             WHERE number = ?1",
                        )?
                        .execute((number, lease_ends))?;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(claimed)
    }

    fn due_tasks(&self, sql: &str, parameters: impl Params) -> Result<Vec<Due>, Fault> {
        self.conn
            .prepare_cached(sql)?
            .query_and_then(parameters, |row| {
                Ok((row.get("number")?, claimed_task(&self.conn, row)))
            })?
            .collect()
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
                "UPDATE tasks SET resumes_at = ?3 WHERE id = ?1 AND fence = ?2 AND state = 'held'",
            )?
            .execute((id.as_str(), fence.0, ceil(after(whole(now), lease))))?;
        Ok(settled(renewed))
    }

    pub(super) fn report_task(
        &mut self,
        id: &TaskId,
        fence: Fence,
        progress: &TaskProgress,
    ) -> Result<Settled, Fault> {
        let progress = serde_json::to_vec(progress).map_err(|_| Fault::Unreadable(PROGRESS))?;
        let progress = self.conn.seal(PROGRESS, &[id.as_str().as_bytes()], &progress)?;
        let noted = self
            .conn
            .prepare_cached("UPDATE tasks SET progress = ?3 WHERE id = ?1 AND fence = ?2 AND state = 'held'")?
            .execute((id.as_str(), fence.0, progress))?;
        Ok(settled(noted))
    }

    pub(super) fn pause_task(
        &mut self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, Fault> {
        let (due, failed) = match pause {
            TaskPause::Retry(due) => (due, true),
            TaskPause::Handover => (now, false),
        };
        let paused = self
            .conn
            .prepare_cached(
                "UPDATE tasks SET state = 'paused', resumes_at = ?3, failures = failures + ?4,
                    first_failure = coalesce(first_failure, iif(?4, ?5, NULL))
                 WHERE id = ?1 AND fence = ?2 AND state = 'held'",
            )?
            .execute((id.as_str(), fence.0, ceil(due), failed, floor(now)))?;
        self.rings.tasks |= paused > 0;
        Ok(settled(paused))
    }

    pub(super) fn finish_task(
        &mut self,
        settlement: &TaskFinish,
        callback: &[Prepared],
        now: DateTime<Utc>,
    ) -> Result<Settled, Fault> {
        let TaskFinish { id, fence, end, keep } = settlement;
        let (results, error, description) = match end {
            TaskEnd::Succeeded(results) => (Some(results.as_ref()), None, None),
            TaskEnd::Failed { error, description } => (None, Some(error), Some(description.as_bytes())),
        };
        let row = [id.as_str().as_bytes()];
        let results = results.map(|results| self.conn.seal(RESULTS, &row, results));
        let description = description.map(|text| self.conn.seal(DESCRIPTION, &row, text));
        let finished = self
            .conn
            .prepare_cached(
                "UPDATE tasks SET state = 'ended', resumes_at = NULL, finished_at = ?3, results_until = ?4,
                    known_until = ?5, results = ?6, error = ?7, description = ?8
                 WHERE id = ?1 AND iif(?2 IS NULL, state <> 'ended', fence = ?2 AND state = 'held')",
            )?
            .execute((
                id.as_str(),
                fence.map(|fence| fence.0),
                floor(now),
                ceil(keep.results_until),
                ceil(keep.known_until),
                results.transpose()?,
                error,
                description.transpose()?,
            ))?;
        if finished > 0 {
            let (_, sooner) = enqueue(&self.conn, &mut self.cache, &mut self.words, callback, now)?;
            self.rings.deliveries |= sooner;
        }
        Ok(settled(finished))
    }

    pub(super) fn purge_tasks(&mut self, max: usize, now: DateTime<Utc>) -> Result<usize, Fault> {
        let forgotten = self
            .conn
            .prepare_cached(
                "DELETE FROM tasks WHERE number IN
                    (SELECT number FROM tasks WHERE known_until <= ?1 ORDER BY known_until, number LIMIT ?2)",
            )?
            .execute((floor(now), limit(max)))?;
        let purged = self
            .conn
            .prepare_cached(
                "UPDATE tasks SET purged = TRUE, input = x'', results = iif(results IS NULL, NULL, x''),
                    description = iif(description IS NULL, NULL, x'')
                 WHERE number IN (SELECT number FROM tasks WHERE results_until <= ?1 AND purged = 0
                    ORDER BY results_until, number LIMIT ?2)",
            )?
            .execute((floor(now), limit(max - forgotten)))?;
        Ok(forgotten + purged)
    }

    pub(super) fn next_task_due(&self) -> Result<Option<DateTime<Utc>>, Fault> {
        // A queued one is due whatever the time; there can be many, but one is enough to know.
        let queued: bool = self
            .conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM tasks WHERE state = 'queued')")?
            .query_one([], |row| row.get(0))?;
        if queued {
            return Ok(Some(DateTime::<Utc>::MIN_UTC));
        }
        let next: Option<i64> = self
            .conn
            .prepare_cached("SELECT min(resumes_at) FROM tasks WHERE resumes_at IS NOT NULL")?
            .query_one([], |row| row.get(0))?;
        Ok(optional_instant(next, "resumes_at")?)
    }
}

/// A task's end, apart from its callback.
pub(super) struct TaskFinish {
    pub(super) id: TaskId,
    pub(super) fence: Option<Fence>,
    pub(super) end: TaskEnd,
    pub(super) keep: Keep,
}

fn settled(changed: usize) -> Settled {
    if changed > 0 {
        Settled::Done
    } else {
        Settled::LeaseLost
    }
}

fn new_task(conn: &Database, row: &Row<'_>) -> Result<NewTask, Fault> {
    let id: String = row.get(0)?;
    let identity = [id.as_bytes()];
    let bytes = |column| row.get::<_, Vec<u8>>(column);
    let webhook_uri: Option<Vec<u8>> = row.get(5)?;
    let webhook_uri = webhook_uri.map(|uri| {
        let uri = conn.open_text(WEBHOOK_URI, &identity, &uri)?;
        WebhookUrl::try_from(uri).map_err(|_| Fault::Unreadable(WEBHOOK_URI))
    });
    Ok(NewTask {
        credentials_id: row.get(1)?,
        request_uri: conn.open_text(REQUEST_URI, &identity, &bytes(2)?)?,
        input: Bytes::from(conn.open(INPUT, &identity, &bytes(3)?)?),
        results_uri: conn.open_text(RESULTS_URI, &identity, &bytes(4)?)?,
        webhook_uri: webhook_uri.transpose()?,
        deadline: instant(row.get(6)?, "deadline")?,
        id: TaskId::from(id),
    })
}

fn claimed_task(conn: &Database, row: &Row<'_>) -> Result<ClaimedTask, Fault> {
    Ok(ClaimedTask {
        task: new_task(conn, row)?,
        requested_at: instant(row.get(7)?, "requested_at")?,
        fence: Fence(row.get(8)?).next(),
        runs: row.get::<_, u32>(9)?.saturating_add(1),
        interruptions: row.get(10)?,
        failures: row.get(11)?,
        first_failure: optional_instant(row.get(12)?, "first_failure")?,
    })
}

fn record(conn: &Database, row: &Row<'_>) -> Result<TaskRecord, Fault> {
    let task = new_task(conn, row)?;
    let identity = [task.id.as_str().as_bytes()];
    let progress: Option<Vec<u8>> = row.get(9)?;
    let progress = progress.map(|json| {
        let json = conn.open(PROGRESS, &identity, &json)?;
        serde_json::from_slice(&json).map_err(|_| Fault::Unreadable(PROGRESS))
    });
    let state: String = row.get(8)?;
    let ended = match state.as_str() {
        "ended" => Some(ended(conn, &identity, row)?),
        _ => None,
    };
    Ok(TaskRecord {
        requested_at: instant(row.get(7)?, "requested_at")?,
        status: match (state.as_str(), &ended) {
            (_, Some(ended)) => ended.end.status(),
            ("queued", None) => TaskStatus::Queued,
            ("held" | "paused", None) => TaskStatus::Running,
            _ => return Err(Fault::Unreadable("state")),
        },
        progress: progress.transpose()?,
        ended,
        task,
    })
}

fn ended(conn: &Database, identity: &[&[u8]], row: &Row<'_>) -> Result<EndedTask, Fault> {
    let sealed = |column| row.get::<_, Option<Vec<u8>>>(column);
    Ok(EndedTask {
        end: match (sealed(14)?, row.get(15)?, sealed(16)?) {
            (Some(results), None, None) => TaskEnd::Succeeded(conn.open(RESULTS, identity, &results)?.into()),
            (None, Some(error), Some(description)) => TaskEnd::Failed {
                error,
                description: conn.open_text(DESCRIPTION, identity, &description)?,
            },
            _ => return Err(Fault::Unreadable("results")),
        },
        at: instant(row.get(10)?, "finished_at")?,
        keep: Keep {
            results_until: instant(row.get(11)?, "results_until")?,
            known_until: instant(row.get(12)?, "known_until")?,
        },
        is_purged: row.get(13)?,
    })
}
