//! Tasks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::database::Database;
use super::enqueue::{self, Prepared};
use super::fault::Fault;
use super::sealer::Sealer;
use super::transaction::{Columns, query};
use crate::id::{Fence, TaskId};
use crate::store::codec::{ceil, floor, instant, limit, optional_instant, whole};
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

const CREATE: &str = "
    INSERT INTO ringback.tasks (id, credentials_id, request_uri, input, results_uri, webhook_uri, deadline,
        requested_at, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued') ON CONFLICT (id) DO NOTHING RETURNING number";

/// The columns that [`new_task`] reads, and the instant of the request.
macro_rules! task_columns {
    () => {
        "t.id, t.credentials_id, t.request_uri, t.input, t.results_uri, t.webhook_uri, t.deadline, t.requested_at"
    };
}

const TASK: &str = concat!(
    "SELECT ",
    task_columns!(),
    ", t.state, t.progress, t.finished_at, t.results_until, t.known_until, t.purged, t.results, t.error,
        t.description FROM ringback.tasks t WHERE t.id = $1"
);

/// Those that have run before first; what another runner is just claiming is left to it.
const CLAIM: &str = concat!(
    "WITH resumed AS (
        SELECT number, 1 AS part, resumes_at FROM ringback.tasks WHERE resumes_at <= $1
        ORDER BY resumes_at, number LIMIT $2 FOR UPDATE SKIP LOCKED
     ), queued AS (
        SELECT number, 2 AS part, NULL::bigint AS resumes_at FROM ringback.tasks WHERE state = 'queued'
        ORDER BY number LIMIT greatest($2 - (SELECT count(*) FROM resumed), 0) FOR UPDATE SKIP LOCKED
     ), due AS (
        SELECT * FROM resumed UNION ALL SELECT * FROM queued
     ), claimed AS (
        UPDATE ringback.tasks t SET state = 'held', fence = t.fence + 1, runs = t.runs + 1,
            interruptions = t.interruptions + (t.state = 'held')::int, resumes_at = $3, progress = NULL
        FROM due WHERE t.number = due.number
        RETURNING due.part, due.resumes_at AS was_due, t.number, t.fence, t.runs, t.interruptions, t.failures,
            t.first_failure, ",
    task_columns!(),
    ") SELECT * FROM claimed ORDER BY part, was_due, number"
);

const RENEW: &str = "
    UPDATE ringback.tasks SET resumes_at = $3 WHERE id = $1 AND fence = $2 AND state = 'held' RETURNING number";

const REPORT: &str = "
    UPDATE ringback.tasks SET progress = $3 WHERE id = $1 AND fence = $2 AND state = 'held' RETURNING number";

const PAUSE: &str = "
    UPDATE ringback.tasks SET state = 'paused', resumes_at = $3, failures = failures + $4::bigint,
        first_failure = coalesce(first_failure, CASE WHEN $4::bigint > 0 THEN $5::bigint END)
    WHERE id = $1 AND fence = $2 AND state = 'held' RETURNING number";

/// Until what was to be their leases has ended.
const PUT_OFF: &str = "
    UPDATE ringback.tasks t SET state = 'paused', runs = t.runs - 1
    FROM unnest($1::bigint[], $2::bigint[]) AS n (number, fence) WHERE t.number = n.number AND t.fence = n.fence AND t.state = 'held'";

const FINISH: &str = "
    UPDATE ringback.tasks SET state = 'ended', resumes_at = NULL, finished_at = $3, results_until = $4,
        known_until = $5, results = $6, error = $7, description = $8
    WHERE id = $1 AND CASE WHEN $2::bigint IS NULL THEN state <> 'ended' ELSE fence = $2 AND state = 'held' END
    RETURNING number";

const FORGET: &str = "
    DELETE FROM ringback.tasks WHERE number IN
        (SELECT number FROM ringback.tasks WHERE known_until <= $1 ORDER BY known_until, number LIMIT $2
         FOR UPDATE SKIP LOCKED)
    RETURNING number";

const PURGE: &str = "
    UPDATE ringback.tasks SET purged = TRUE, input = '', results = CASE WHEN results IS NOT NULL THEN ''::bytea END,
        description = CASE WHEN description IS NOT NULL THEN ''::bytea END
    WHERE number IN (SELECT number FROM ringback.tasks WHERE results_until <= $1 AND NOT purged
        ORDER BY results_until, number LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING number";

const NEXT_DUE: &str = "
    SELECT EXISTS (SELECT FROM ringback.tasks WHERE state = 'queued') AS queued,
        (SELECT min(resumes_at) FROM ringback.tasks WHERE resumes_at IS NOT NULL) AS resumes_at";

impl Database {
    pub(super) async fn create_task(&self, task: &NewTask, now: DateTime<Utc>) -> Result<bool, Fault> {
        let tx = self.transaction().await?;
        let sealer = tx.sealer();
        let row = [task.id.as_str().as_bytes()];
        let webhook_uri = task.webhook_uri.as_ref().map(|uri| uri.expose().as_bytes());
        let webhook_uri = webhook_uri
            .map(|uri| sealer.seal(WEBHOOK_URI, &row, uri))
            .transpose()?;
        let [created] = tx
            .commit_with([query(
                CREATE,
                &[
                    &task.id.as_str(),
                    &task.credentials_id,
                    &sealer.seal(REQUEST_URI, &row, task.request_uri.as_bytes())?,
                    &sealer.seal(INPUT, &row, &task.input)?,
                    &sealer.seal(RESULTS_URI, &row, task.results_uri.as_bytes())?,
                    &webhook_uri,
                    &floor(task.deadline),
                    &floor(now),
                ],
            )])
            .await?;
        Ok(!created.is_empty())
    }

    pub(super) async fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, Fault> {
        let rows = self.once(TASK, &[&id.as_str()]).await?;
        let sealer = self.sealer();
        rows.first().map(|row| record(&sealer, row)).transpose()
    }

    pub(super) async fn claim_tasks(&self, request: &ClaimRequest) -> Result<Vec<ClaimedTask>, Fault> {
        let now = whole(request.now);
        let lease_ends = ceil(after(now, request.lease));
        let rows = self
            .once(CLAIM, &[&floor(now), &limit(request.max), &lease_ends])
            .await?;
        let sealer = self.sealer();
        let mut claimed = Vec::with_capacity(rows.len());
        let (mut unreadable, mut fences) = (Vec::<i64>::new(), Vec::<i64>::new());
        for row in &rows {
            match claimed_task(&sealer, row) {
                // It holds up itself and no other, and to be put off is no interruption.
                Err(Fault::Unreadable(_)) => {
                    unreadable.push(row.read("number")?);
                    fences.push(row.read("fence")?);
                }
                task => claimed.push(task?),
            }
        }
        if !unreadable.is_empty() {
            // Should this fail, what was claimed is held all the same.
            let _ = self.once(PUT_OFF, &[&unreadable, &fences]).await;
        }
        Ok(claimed)
    }

    pub(super) async fn renew_task(
        &self,
        id: &TaskId,
        fence: Fence,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Settled, Fault> {
        let until = ceil(after(whole(now), lease));
        let renewed = self.once(RENEW, &[&id.as_str(), &fence.0, &until]).await?;
        Ok(settled(&renewed))
    }

    pub(super) async fn report_task(
        &self,
        id: &TaskId,
        fence: Fence,
        progress: &TaskProgress,
    ) -> Result<Settled, Fault> {
        let json = serde_json::to_vec(progress).map_err(|_| Fault::Unreadable(PROGRESS))?;
        let tx = self.transaction().await?;
        let json = tx.sealer().seal(PROGRESS, &[id.as_str().as_bytes()], &json)?;
        let [noted] = tx
            .commit_with([query(REPORT, &[&id.as_str(), &fence.0, &json])])
            .await?;
        Ok(settled(&noted))
    }

    pub(super) async fn pause_task(
        &self,
        id: &TaskId,
        fence: Fence,
        pause: TaskPause,
        now: DateTime<Utc>,
    ) -> Result<Settled, Fault> {
        let (due, failures) = match pause {
            TaskPause::Retry(due) => (due, 1i64),
            TaskPause::Handover => (now, 0),
        };
        let paused = self
            .once(
                PAUSE,
                &[&id.as_str(), &fence.0, &ceil(due), &failures, &floor(now)],
            )
            .await?;
        Ok(settled(&paused))
    }

    /// Whether it took effect, and whether a lane has come to have work.
    pub(super) async fn finish_task(
        &self,
        finish: &TaskFinish,
        callback: &[Prepared],
        now: DateTime<Utc>,
    ) -> Result<(Settled, bool), Fault> {
        let TaskFinish { id, fence, end, keep } = finish;
        let (results, error, description) = match end {
            TaskEnd::Succeeded(results) => (Some(&results[..]), None, None),
            TaskEnd::Failed { error, description } => (None, Some(error), Some(description.as_bytes())),
        };
        let mut tx = self.transaction().await?;
        let sealer = tx.sealer();
        let row = [id.as_str().as_bytes()];
        let results = results
            .map(|results| sealer.seal(RESULTS, &row, results))
            .transpose()?;
        let description = description
            .map(|text| sealer.seal(DESCRIPTION, &row, text))
            .transpose()?;
        let finished = tx
            .query(
                FINISH,
                &[
                    &id.as_str(),
                    &fence.map(|fence| fence.0),
                    &floor(now),
                    &ceil(keep.results_until),
                    &ceil(keep.known_until),
                    &results,
                    &error,
                    &description,
                ],
            )
            .await?;
        if finished.is_empty() {
            tx.roll_back().await?;
            return Ok((Settled::LeaseLost, false));
        }
        if callback.is_empty() {
            tx.commit().await?;
            return Ok((Settled::Done, false));
        }
        let taken_in = enqueue::take_in(&mut tx, callback).await?;
        tx.commit().await?;
        Ok((
            Settled::Done,
            taken_in.sooner | self.move_behind(callback, now).await,
        ))
    }

    pub(super) async fn purge_tasks(&self, max: usize, now: DateTime<Utc>) -> Result<usize, Fault> {
        let now = floor(now);
        let mut tx = self.transaction().await?;
        let forgotten = tx.query(FORGET, &[&now, &limit(max)]).await?.len();
        let left = limit(max.saturating_sub(forgotten));
        let [purged] = tx.commit_with([query(PURGE, &[&now, &left])]).await?;
        Ok(forgotten + purged.len())
    }

    pub(super) async fn next_task_due(&self) -> Result<Option<DateTime<Utc>>, Fault> {
        let rows = self.once(NEXT_DUE, &[]).await?;
        let row = rows.first().ok_or(Fault::Unreadable("queued"))?;
        if row.read("queued")? {
            return Ok(Some(DateTime::<Utc>::MIN_UTC)); // at once
        }
        Ok(optional_instant(row.read("resumes_at")?, "resumes_at")?)
    }
}

/// A task's end, apart from its callback.
pub(super) struct TaskFinish {
    pub(super) id: TaskId,
    pub(super) fence: Option<Fence>,
    pub(super) end: TaskEnd,
    pub(super) keep: Keep,
}

fn settled(changed: &[Row]) -> Settled {
    match changed.is_empty() {
        true => Settled::LeaseLost,
        false => Settled::Done,
    }
}

fn new_task(sealer: &Sealer, row: &Row) -> Result<NewTask, Fault> {
    let id: &str = row.read("id")?;
    let identity = [id.as_bytes()];
    let webhook_uri = row.read::<Option<&[u8]>>("webhook_uri")?.map(|uri| {
        let uri = sealer.open_text(WEBHOOK_URI, &identity, uri)?;
        WebhookUrl::try_from(uri).map_err(|_| Fault::Unreadable(WEBHOOK_URI))
    });
    Ok(NewTask {
        id: id.into(),
        credentials_id: row.read("credentials_id")?,
        request_uri: sealer.open_text(REQUEST_URI, &identity, row.read("request_uri")?)?,
        input: sealer.open(INPUT, &identity, row.read("input")?)?.into(),
        results_uri: sealer.open_text(RESULTS_URI, &identity, row.read("results_uri")?)?,
        webhook_uri: webhook_uri.transpose()?,
        deadline: instant(row.read("deadline")?, "deadline")?,
    })
}

fn claimed_task(sealer: &Sealer, row: &Row) -> Result<ClaimedTask, Fault> {
    Ok(ClaimedTask {
        task: new_task(sealer, row)?,
        requested_at: instant(row.read("requested_at")?, "requested_at")?,
        fence: Fence(row.read("fence")?),
        runs: row.count("runs")?,
        interruptions: row.count("interruptions")?,
        failures: row.count("failures")?,
        first_failure: optional_instant(row.read("first_failure")?, "first_failure")?,
    })
}

fn record(sealer: &Sealer, row: &Row) -> Result<TaskRecord, Fault> {
    let task = new_task(sealer, row)?;
    let identity = [task.id.as_str().as_bytes()];
    let progress = row.read::<Option<&[u8]>>("progress")?.map(|json| {
        let json = sealer.open(PROGRESS, &identity, json)?;
        serde_json::from_slice(&json).map_err(|_| Fault::Unreadable(PROGRESS))
    });
    let state: &str = row.read("state")?;
    let ended = match state {
        "ended" => Some(ended(sealer, &identity, row)?),
        _ => None,
    };
    Ok(TaskRecord {
        requested_at: instant(row.read("requested_at")?, "requested_at")?,
        status: match (state, &ended) {
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

fn ended(sealer: &Sealer, identity: &[&[u8]], row: &Row) -> Result<EndedTask, Fault> {
    let sealed = |column| row.read::<Option<&[u8]>>(column);
    Ok(EndedTask {
        end: match (sealed("results")?, row.read("error")?, sealed("description")?) {
            (Some(results), None, None) => {
                TaskEnd::Succeeded(sealer.open(RESULTS, identity, results)?.into())
            }
            (None, Some(error), Some(description)) => TaskEnd::Failed {
                error,
                description: sealer.open_text(DESCRIPTION, identity, description)?,
            },
            _ => return Err(Fault::Unreadable("results")),
        },
        at: instant(row.read("finished_at")?, "finished_at")?,
        keep: Keep {
            results_until: instant(row.read("results_until")?, "results_until")?,
            known_until: instant(row.read("known_until")?, "known_until")?,
        },
        is_purged: row.read("purged")?,
    })
}
