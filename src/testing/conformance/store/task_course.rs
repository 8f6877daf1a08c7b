//! What becomes of an asynchronous call between its first run and its end, and after it.

use chrono::{DateTime, Utc};

use super::scene::{self, Checked, LEASE, MICROSECOND, at, event, request, to_webhook, webhook};
use super::tasks::{KEEP, claim_one, finish, read, settlement, success, task};
use super::waking::rang;
use super::{Store, Violation, ensure, equal};
use crate::id::Fence;
use crate::store::{ClaimedTask, Keep, Settled, TaskEnd, TaskPause, TaskSettlement};
use crate::task::{TaskProgress, TaskStatus};
use crate::time::before;

/// A task that is to be retried is claimed no sooner than that, and its failures are counted.
pub async fn a_retry_waits_until_it_is_due(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    let mut claimed = claim_one(store, at(0)).await?;
    for (failures, now) in [(1, 1), (2, 101)] {
        let heard = store.task_wake().listen();
        let due = at(now + 90);
        let paused = pause(store, &claimed, TaskPause::Retry(due), at(now)).await?;
        equal("a running task can be paused", paused, Settled::Done)?;
        rang("after a task was paused", heard).await?;
        equal(
            "a paused task is still running",
            read(store, "t").await?.status,
            TaskStatus::Running,
        )?;
        let early = store.claim_tasks(request(10, before(due, MICROSECOND))).await?;
        equal("a retry is claimed no sooner than it is due", early, vec![])?;
        let next = store.next_task_due(at(now)).await?;
        equal("next_task_due knows of the retry", next, Some(due))?;
        let again = claim_one(store, due).await?;
        equal(
            "a retry raises the fence and the runs, and counts a failure, not an interruption",
            (again.fence, again.runs, again.failures, again.interruptions),
            (claimed.fence.next(), claimed.runs + 1, failures, 0),
        )?;
        equal("the first failure is kept", again.first_failure, Some(at(1)))?;
        claimed = again;
    }
    Ok(())
}

/// A task that is handed over can be claimed at once, and nothing is counted.
pub async fn a_handover_counts_nothing(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    let first = claim_one(store, at(0)).await?;
    pause(store, &first, TaskPause::Handover, at(10)).await?;
    let second = claim_one(store, at(10)).await?;
    equal(
        "a handover counts neither a failure nor an interruption",
        (
            second.runs,
            second.failures,
            second.interruptions,
            second.first_failure,
        ),
        (2, 0, 0, None),
    )
}

/// A claim over an ended lease counts an interruption.
pub async fn interruptions_are_counted(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    for run in 0..4 {
        let claimed = claim_one(store, at(60 * i64::from(run))).await?;
        equal(
            "a lease that ended is an interruption",
            (claimed.interruptions, claimed.failures),
            (run, 0),
        )?;
    }
    Ok(())
}

/// Whoever does not hold a task cannot pause it.
pub async fn only_the_holder_can_pause(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "with a fence that is not the present holder's, pausing changes nothing";
    let pauses = [TaskPause::Handover, TaskPause::Retry(at(1_000_000))];
    store.create_task(task("t"), at(0)).await?;
    for pause in pauses {
        let queued = store
            .pause_task(&"t".into(), Fence::UNCLAIMED, pause, at(0))
            .await?;
        equal(CLAUSE, queued, Settled::LeaseLost)?;
        let nobody = store
            .pause_task(&"nobody".into(), Fence::UNCLAIMED.next(), pause, at(0))
            .await?;
        equal(CLAUSE, nobody, Settled::LeaseLost)?;
    }
    let late = claim_one(store, at(0)).await?;
    let held = claim_one(store, at(60)).await?;
    for kind in pauses {
        equal(
            CLAUSE,
            pause(store, &late, kind, at(61)).await?,
            Settled::LeaseLost,
        )?;
    }
    equal(
        "a late pause leaves the lease",
        store.claim_tasks(request(10, at(100))).await?,
        vec![],
    )?;
    pause(store, &held, TaskPause::Retry(at(200)), at(100)).await?;
    for kind in pauses {
        equal(
            CLAUSE,
            pause(store, &held, kind, at(101)).await?,
            Settled::LeaseLost,
        )?;
    }
    let renewed = store
        .renew_task(&held.task.id, held.fence, LEASE, at(101))
        .await?;
    equal("a paused task has no lease to renew", renewed, Settled::LeaseLost)?;
    let finished = finish(store, &held, success(), at(101)).await?;
    equal(
        "a paused task has no holder to finish it",
        finished,
        Settled::LeaseLost,
    )?;
    let again = claim_one(store, at(200)).await?;
    equal(
        "a refused pause counts nothing",
        (again.runs, again.failures),
        (3, 1),
    )
}

/// Those that have run before are claimed before those that have not, in the order in which they became due.
pub async fn what_has_run_goes_first(store: &dyn Store) -> Result<(), Violation> {
    for name in ["a", "b", "c", "d", "e"] {
        store.create_task(task(name), at(0)).await?;
    }
    let first = store.claim_tasks(request(3, at(0))).await?;
    for (claimed, due) in first.iter().zip([30, 10, 20]) {
        pause(store, claimed, TaskPause::Retry(at(due)), at(1)).await?;
    }
    let mut order = Vec::new();
    for max in [2, 10] {
        let claimed = store.claim_tasks(request(max, at(25))).await?;
        order.extend(claimed.into_iter().map(|claimed| claimed.task.id.to_string()));
    }
    let expected = ["b", "c", "d", "e"].map(str::to_owned).to_vec();
    equal(
        "what is due again goes first, then what is queued",
        order,
        expected,
    )
}

/// The latest report of progress is what is read, until the task is claimed again.
pub async fn the_latest_progress_is_kept(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    for progress in [
        TaskProgress::of(1, 3).with_message("a 'message' \u{1f514}"),
        TaskProgress::default(),
        TaskProgress::of(2, 3),
    ] {
        let noted = report(store, &claimed, progress.clone(), at(1)).await?;
        equal("a holder can report progress", noted, Settled::Done)?;
        equal(
            "the latest progress is kept",
            read(store, "t").await?.progress,
            Some(progress),
        )?;
    }
    let early = store
        .claim_tasks(request(10, before(at(60), MICROSECOND)))
        .await?;
    equal("a report does not end the lease", early, vec![])?;
    let again = claim_one(store, at(60)).await?;
    equal(
        "a claim forgets what was reported",
        read(store, "t").await?.progress,
        None,
    )?;
    report(store, &again, TaskProgress::of(1, 2), at(61)).await?;
    finish(store, &again, success(), at(62)).await?;
    let late = report(store, &again, TaskProgress::of(2, 2), at(63)).await?;
    equal("a finished task takes no report", late, Settled::LeaseLost)
}

/// Whoever does not hold a task cannot report progress on it.
pub async fn only_the_holder_reports_progress(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "with a fence that is not the present holder's, reporting changes nothing";
    store.create_task(task("t"), at(0)).await?;
    let progress = || TaskProgress::of(9, 10);
    let queued = store
        .report_task(&"t".into(), Fence::UNCLAIMED, progress(), at(0))
        .await?;
    equal(CLAUSE, queued, Settled::LeaseLost)?;
    let late = claim_one(store, at(0)).await?;
    let held = claim_one(store, at(60)).await?;
    equal(
        CLAUSE,
        report(store, &late, progress(), at(61)).await?,
        Settled::LeaseLost,
    )?;
    equal(CLAUSE, read(store, "t").await?.progress, None)?;
    pause(store, &held, TaskPause::Handover, at(62)).await?;
    equal(
        CLAUSE,
        report(store, &held, progress(), at(63)).await?,
        Settled::LeaseLost,
    )?;
    equal(CLAUSE, read(store, "t").await?.progress, None)
}

/// A task ends without a fence wherever it stands, with its callback, once.
pub async fn a_task_can_be_cancelled_whoever_holds_it(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    for name in ["paused", "held", "queued"] {
        store.create_task(task(name), at(0)).await?;
    }
    let first = store.claim_tasks(request(1, at(0))).await?;
    for claimed in &first {
        pause(store, claimed, TaskPause::Retry(at(50)), at(1)).await?;
    }
    store.claim_tasks(request(1, at(2))).await?;
    for name in ["queued", "held", "paused"] {
        equal(
            "a task can be cancelled",
            cancel(store, name, at(3)).await?,
            Settled::Done,
        )?;
        let record = read(store, name).await?;
        equal(
            "a cancelled task has failed",
            (record.status, record.ended.map(|ended| ended.end)),
            (TaskStatus::Failed, Some(cancelled())),
        )?;
        equal(
            "a task is cancelled once",
            cancel(store, name, at(4)).await?,
            Settled::LeaseLost,
        )?;
        let listed = store.deliveries_of(&"scope".into(), &name.into()).await?;
        equal("one cancellation, one callback", listed.len(), 1)?;
    }
    equal(
        "an unknown task cannot be cancelled",
        cancel(store, "nobody", at(5)).await?,
        Settled::LeaseLost,
    )?;
    equal(
        "there is nothing to wait for",
        store.next_task_due(at(5)).await?,
        None,
    )
}

/// Once a task was cancelled its runner can neither renew, report, pause nor finish, and nobody claims it.
pub async fn a_cancelled_task_is_nobodys(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "who held a task that was cancelled holds it no more";
    store.create_task(task("t"), at(0)).await?;
    let held = claim_one(store, at(0)).await?;
    cancel(store, "t", at(1)).await?;
    let ended = read(store, "t").await?;
    let answers = [
        store.renew_task(&held.task.id, held.fence, LEASE, at(2)).await?,
        report(store, &held, TaskProgress::of(1, 2), at(2)).await?,
        pause(store, &held, TaskPause::Handover, at(2)).await?,
        finish(store, &held, success(), at(2)).await?,
    ];
    equal(CLAUSE, answers, [Settled::LeaseLost; 4])?;
    equal(
        CLAUSE,
        store.claim_tasks(request(10, at(1_000_000))).await?,
        vec![],
    )?;
    equal("an end stays as it is", read(store, "t").await?, ended)
}

/// Results, input and description go at their time and no sooner; what is left goes when nothing need be known.
pub async fn results_go_when_their_time_has_come(store: &dyn Store) -> Result<(), Violation> {
    let failure = TaskEnd::Failed {
        error: "code".into(),
        description: "what people read".into(),
    };
    let kept = Keep {
        results_until: at(100),
        known_until: at(200),
    };
    for (name, end) in [("good", success()), ("bad", failure)] {
        store.create_task(task(name), at(0)).await?;
        let claimed = claim_one(store, at(0)).await?;
        let settlement = TaskSettlement {
            keep: kept,
            ..settlement(&claimed, end.clone())
        };
        store.finish_task(settlement, at(1)).await?;
    }
    store.create_task(task("open"), at(0)).await?;
    let good = read(store, "good").await?;
    let early = store.purge_tasks(10, before(at(100), MICROSECOND)).await?;
    equal("nothing is taken away before its time", early, 0)?;
    equal(
        "nothing is taken away before its time",
        read(store, "good").await?,
        good,
    )?;

    equal(
        "results go when their time has come",
        store.purge_tasks(10, at(100)).await?,
        2,
    )?;
    equal("they go once", store.purge_tasks(10, at(150)).await?, 0)?;
    for name in ["good", "bad"] {
        let record = read(store, name).await?;
        ensure(
            "the input goes with the results",
            record.task.input.is_empty(),
            || format!("{} bytes", record.task.input.len()),
        )?;
        let whole = match record.ended {
            Some(ended) if ended.is_purged => match ended.end {
                TaskEnd::Succeeded(results) => results.is_empty(),
                TaskEnd::Failed { error, description } => error == "code" && description.is_empty(),
            },
            _ => false,
        };
        ensure("the end stays, and its content goes", whole, || name.to_owned())?;
    }
    equal(
        "what need not be known is forgotten",
        store.purge_tasks(10, at(200)).await?,
        2,
    )?;
    for name in ["good", "bad"] {
        equal("it is gone", store.task(&name.into()).await?, None)?;
    }
    equal(
        "what has not ended stays",
        read(store, "open").await?.task.input,
        task("open").input,
    )
}

/// A purge takes no more than it was asked to, what is known longest first.
pub async fn purging_is_bounded(store: &dyn Store) -> Result<(), Violation> {
    for number in 0..7_i64 {
        let name = number.to_string();
        store.create_task(task(&name), at(0)).await?;
        let claimed = claim_one(store, at(0)).await?;
        let settlement = TaskSettlement {
            keep: Keep {
                results_until: at(10),
                known_until: at(20 + number),
            },
            ..settlement(&claimed, success())
        };
        store.finish_task(settlement, at(1)).await?;
    }
    let mut steps = Vec::new();
    for max in [0, 3, 2, 10, 10] {
        steps.push(store.purge_tasks(max, at(22)).await?);
    }
    // Three are forgotten, and of the other four the results go.
    equal(
        "a purge takes at most so many, and tells how many",
        steps,
        vec![0, 3, 2, 2, 0],
    )?;
    let mut left = 0;
    for number in 0..7 {
        left += usize::from(store.task(&number.to_string().into()).await?.is_some());
    }
    equal("what is to be known is known", left, 4)
}

/// A task that was forgotten leaves nothing behind: its id can be used again.
pub async fn a_forgotten_task_lends_its_id(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    let settlement = TaskSettlement {
        keep: Keep {
            results_until: at(2),
            known_until: at(2),
        },
        ..settlement(&claimed, success())
    };
    store.finish_task(settlement, at(1)).await?;
    equal(
        "a task whose times have both come is taken away whole",
        store.purge_tasks(1, at(2)).await?,
        1,
    )?;
    equal("it is gone", store.task(&"t".into()).await?, None)?;
    equal("its id is free", store.create_task(task("t"), at(3)).await?, true)?;
    let again = claim_one(store, at(3)).await?;
    equal("nothing of it is left", (again.runs, again.interruptions), (1, 0))?;
    scene::claims_nothing(store, "no callback was asked for", at(3)).await
}

async fn pause(
    store: &dyn Store,
    claimed: &ClaimedTask,
    pause: TaskPause,
    now: DateTime<Utc>,
) -> Checked<Settled> {
    Ok(store
        .pause_task(&claimed.task.id, claimed.fence, pause, now)
        .await?)
}

async fn report(
    store: &dyn Store,
    claimed: &ClaimedTask,
    progress: TaskProgress,
    now: DateTime<Utc>,
) -> Checked<Settled> {
    Ok(store
        .report_task(&claimed.task.id, claimed.fence, progress, now)
        .await?)
}

/// Ends a task whoever holds it, with a callback whose event has the task's id.
async fn cancel(store: &dyn Store, id: &str, now: DateTime<Utc>) -> Checked<Settled> {
    let settlement = TaskSettlement {
        id: id.into(),
        fence: None,
        end: cancelled(),
        keep: KEEP,
        callback: Some(scene::new(event(id), vec![to_webhook("a")])),
    };
    Ok(store.finish_task(settlement, now).await?)
}

fn cancelled() -> TaskEnd {
    TaskEnd::Failed {
        error: "cancelled".into(),
        description: String::new(),
    }
}
