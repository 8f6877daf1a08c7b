//! Asynchronous calls.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::scene::{
    self, Checked, LEASE, MICROSECOND, at, event, only, request, save, to_webhook, url, webhook,
};
use super::waking::rang;
use super::{Store, Violation, ensure, equal};
use crate::delivery::State;
use crate::id::Fence;
use crate::store::{ClaimedTask, EndedTask, Keep, NewTask, Settled, TaskEnd, TaskRecord, TaskSettlement};
use crate::task::TaskStatus;
use crate::time::before;

/// For how long the tasks of these checks are kept.
pub(super) const KEEP: Keep = Keep {
    results_until: DateTime::<Utc>::MAX_UTC,
    known_until: DateTime::<Utc>::MAX_UTC,
};

/// A task is created once, `Queued`, and reads as it was given.
pub async fn a_task_is_created_once(store: &dyn Store) -> Result<(), Violation> {
    let new = task("t");
    equal("an unknown task is not there", store.task(&new.id).await?, None)?;
    equal(
        "a new id is new",
        store.create_task(new.clone(), at(1)).await?,
        true,
    )?;
    let other = NewTask {
        input: Bytes::from_static(b"other"),
        webhook_uri: None,
        ..new.clone()
    };
    equal(
        "an id that is taken is not new",
        store.create_task(other, at(2)).await?,
        false,
    )?;
    let expected = TaskRecord {
        task: new,
        requested_at: at(1),
        status: TaskStatus::Queued,
        progress: None,
        ended: None,
    };
    equal(
        "a task is created queued, and a second one changes nothing",
        read(store, "t").await?,
        expected,
    )
}

/// Claims go in the order of creation, up to `max`, each task to one runner.
pub async fn claims_go_in_the_order_of_creation(store: &dyn Store) -> Result<(), Violation> {
    let names = ["d", "b", "a", "c", "e"];
    for (name, now) in names.into_iter().zip([9, 3, 7, 1, 5]) {
        store.create_task(task(name), at(now)).await?;
    }
    let mut claimed = store.claim_tasks(request(2, at(10))).await?;
    claimed.extend(store.claim_tasks(request(0, at(10))).await?);
    claimed.extend(store.claim_tasks(request(1, at(10))).await?);
    claimed.extend(store.claim_tasks(request(10, at(10))).await?);
    let order: Vec<_> = claimed.iter().map(|claimed| claimed.task.id.as_str()).collect();
    equal("claims go in the order of creation", order, names.to_vec())?;
    for claimed in &claimed {
        equal("the first claim is the first run", claimed.runs, 1)?;
        ensure(
            "a claim raises the fence",
            claimed.fence > Fence::UNCLAIMED,
            || format!("{}", claimed.fence),
        )?;
        equal(
            "a claim brings the task as it was given",
            &claimed.task,
            &task(claimed.task.id.as_str()),
        )?;
        let record = read(store, claimed.task.id.as_str()).await?;
        equal("a claimed task is running", record.status, TaskStatus::Running)?;
        equal(
            "a claim says when it was asked",
            claimed.requested_at,
            record.requested_at,
        )?;
    }
    let none = store.claim_tasks(request(10, at(11))).await?;
    equal("what is claimed is not claimed again", none, vec![])
}

/// A running task whose lease has ended goes to another runner, under a higher fence.
pub async fn an_ended_lease_is_claimed_again(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    let first = claim_one(store, at(0)).await?;
    let early = store
        .claim_tasks(request(10, before(at(60), MICROSECOND)))
        .await?;
    equal(
        "until its lease ends, no other claim returns a task",
        early,
        vec![],
    )?;
    let second = claim_one(store, at(60)).await?;
    equal(
        "a claim's fence is one higher than before",
        second.fence,
        first.fence.next(),
    )?;
    equal("runs are counted", second.runs, 2)?;
    equal(
        "a task that is claimed again is still running",
        read(store, "t").await?.status,
        TaskStatus::Running,
    )
}

/// A renewed lease lasts from then on; a lost one cannot be renewed.
pub async fn a_lease_can_be_renewed(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    let queued = store
        .renew_task(&"t".into(), Fence::UNCLAIMED, LEASE, at(0))
        .await?;
    equal("a queued task has no lease to renew", queued, Settled::LeaseLost)?;
    let first = claim_one(store, at(0)).await?;
    let renewed = store.renew_task(&"t".into(), first.fence, LEASE, at(50)).await?;
    equal("a lease that holds can be renewed", renewed, Settled::Done)?;
    let early = store
        .claim_tasks(request(10, before(at(110), MICROSECOND)))
        .await?;
    equal("a renewed lease lasts from then on", early, vec![])?;
    let second = claim_one(store, at(110)).await?;
    let lost = store.renew_task(&"t".into(), first.fence, LEASE, at(111)).await?;
    equal(
        "a lease that was taken over cannot be renewed",
        lost,
        Settled::LeaseLost,
    )?;
    finish(store, &second, success(), at(112)).await?;
    let over = store
        .renew_task(&"t".into(), second.fence, LEASE, at(113))
        .await?;
    equal("a finished task has no lease to renew", over, Settled::LeaseLost)?;
    let nobody = store
        .renew_task(&"nobody".into(), second.fence, LEASE, at(113))
        .await?;
    equal(
        "an unknown task has no lease to renew",
        nobody,
        Settled::LeaseLost,
    )
}

/// The end and the callback are there together.
pub async fn an_end_comes_with_its_callback(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "the end is stored and the callback enqueued in one commit";
    save(store, webhook("a"), at(0)).await?;
    let failure = TaskEnd::Failed {
        error: "code".into(),
        description: "what people read".into(),
    };
    for (name, end) in [("good", success()), ("bad", failure)] {
        store.create_task(task(name), at(0)).await?;
        let claimed = claim_one(store, at(1)).await?;
        let heard = store.wake().listen();
        let settled = finish(store, &claimed, end.clone(), at(2)).await?;
        equal(
            "a task is finished under its present fence",
            settled,
            Settled::Done,
        )?;
        rang("after a callback was enqueued", heard).await?;
        let record = read(store, name).await?;
        equal(
            "a finished task shows its end",
            (record.status, record.ended),
            (end.status(), Some(ended(end, at(2)))),
        )?;
        let listed = store.deliveries_of(&"scope".into(), &name.into()).await?;
        equal(
            CLAUSE,
            listed.iter().map(|record| record.state).collect(),
            vec![State::Pending],
        )?;
        let delivery = scene::claim_one(store, at(2)).await?;
        equal(
            "a callback is sent like any delivery",
            delivery.event.id().as_str(),
            name,
        )?;
        scene::deliver(store, &delivery, at(3)).await?;
    }
    Ok(())
}

/// A task that asked for no callback ends without one.
pub async fn an_end_needs_no_callback(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    let settled = store.finish_task(settlement(&claimed, success()), at(1)).await?;
    equal("a task can end without a callback", settled, Settled::Done)?;
    scene::claims_nothing(store, "there is never a callback that was not asked for", at(1)).await
}

/// Who lost the lease can neither end the task nor call back.
pub async fn a_late_end_changes_nothing(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "with a fence that is not the task's present one, finishing changes nothing";
    save(store, webhook("a"), at(0)).await?;
    store.create_task(task("t"), at(0)).await?;
    let before = read(store, "t").await?;
    let unclaimed = TaskSettlement {
        id: "t".into(),
        fence: Some(Fence::UNCLAIMED),
        end: success(),
        keep: KEEP,
        callback: None,
    };
    let settled = store.finish_task(unclaimed, at(0)).await?;
    equal("a queued task cannot be finished", settled, Settled::LeaseLost)?;
    equal(CLAUSE, read(store, "t").await?, before)?;

    let late = claim_one(store, at(0)).await?;
    let held = claim_one(store, at(60)).await?;
    let before = read(store, "t").await?;
    for fence in [late.fence, Fence::UNCLAIMED, held.fence.next(), Fence(i64::MIN)] {
        let other = ClaimedTask {
            fence,
            ..held.clone()
        };
        equal(
            CLAUSE,
            finish(store, &other, success(), at(61)).await?,
            Settled::LeaseLost,
        )?;
        equal(CLAUSE, read(store, "t").await?, before.clone())?;
        let listed = store.deliveries_of(&"scope".into(), &"t".into()).await?;
        equal("a late end enqueues no callback", listed.len(), 0)?;
    }
    equal(
        "who holds the lease can finish",
        finish(store, &held, success(), at(62)).await?,
        Settled::Done,
    )?;
    let unknown = TaskSettlement {
        id: "nobody".into(),
        ..settlement(&held, success())
    };
    let settled = store.finish_task(unknown, at(63)).await?;
    equal("an unknown task cannot be finished", settled, Settled::LeaseLost)
}

/// A lease that has ended but that nobody took over still lets its holder finish.
pub async fn an_ended_lease_holds_until_it_is_taken(store: &dyn Store) -> Result<(), Violation> {
    store.create_task(task("t"), at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    let settled = finish(store, &claimed, success(), at(500)).await?;
    equal("the fence is what decides, not the clock", settled, Settled::Done)
}

/// A finished task never changes again.
pub async fn what_is_finished_stays_so(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a finished task never changes again";
    save(store, webhook("a"), at(0)).await?;
    store.create_task(task("t"), at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    finish(store, &claimed, success(), at(1)).await?;
    let ended = read(store, "t").await?;
    let failure = TaskEnd::Failed {
        error: "code".into(),
        description: String::new(),
    };
    equal(
        CLAUSE,
        finish(store, &claimed, failure, at(2)).await?,
        Settled::LeaseLost,
    )?;
    equal(CLAUSE, store.create_task(task("t"), at(3)).await?, false)?;
    let again = store.claim_tasks(request(10, at(1_000_000))).await?;
    equal("a finished task is not claimed", again, vec![])?;
    equal(CLAUSE, read(store, "t").await?, ended)?;
    let listed = store.deliveries_of(&"scope".into(), &"t".into()).await?;
    equal("one end, one callback", listed.len(), 1)
}

/// `next_task_due` is never too late, and the bell rings for a new task.
pub async fn waiting_ends_in_time(store: &dyn Store) -> Result<(), Violation> {
    let due_by = async |now, latest| {
        let due = store.next_task_due(now).await?;
        ensure(
            "next_task_due is the earliest instant at which a claim could return a task",
            due.is_some_and(|due| due <= latest),
            || format!("{due:?} asked at {now}, where a task can be claimed at {latest}"),
        )
    };
    equal(
        "there is nothing to wait for",
        store.next_task_due(at(0)).await?,
        None,
    )?;
    let heard = store.task_wake().listen();
    store.create_task(task("t"), at(0)).await?;
    rang("after a task was created", heard).await?;
    due_by(at(0), at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    due_by(at(1), at(60)).await?;
    store
        .renew_task(&"t".into(), claimed.fence, LEASE, at(30))
        .await?;
    due_by(at(31), at(90)).await?;
    finish(store, &claimed, success(), at(40)).await?;
    equal(
        "there is nothing to wait for",
        store.next_task_due(at(40)).await?,
        None,
    )
}

/// Inputs and results are bytes.
pub async fn inputs_and_results_are_bytes(store: &dyn Store) -> Result<(), Violation> {
    let all: Bytes = (0..=255).collect::<Vec<u8>>().into();
    let names: BTreeSet<_> = ["", "a 'name' / \u{1f514}"].into();
    for (name, bytes) in names.into_iter().zip([Bytes::new(), all]) {
        let new = NewTask {
            input: bytes.clone(),
            credentials_id: String::new(),
            ..task(name)
        };
        store.create_task(new.clone(), at(0)).await?;
        let claimed = claim_one(store, at(0)).await?;
        equal("a claim brings the task as it was given", &claimed.task, &new)?;
        let end = TaskEnd::Succeeded(bytes);
        store
            .finish_task(settlement(&claimed, end.clone()), at(1))
            .await?;
        equal(
            "results are kept byte for byte",
            read(store, name).await?.ended,
            Some(ended(end, at(1))),
        )?;
    }
    Ok(())
}

pub(super) fn task(id: &str) -> NewTask {
    NewTask {
        id: id.into(),
        credentials_id: "credentials".into(),
        request_uri: "/accounts?from=1".into(),
        input: Bytes::from_static(b"input"),
        results_uri: format!("https://api.example/results/{}", id.len()),
        webhook_uri: Some(url("https://caller.example/done")),
        deadline: at(5_000),
    }
}

pub(super) fn success() -> TaskEnd {
    TaskEnd::Succeeded(Bytes::from_static(b"{\"results\":[]}"))
}

pub(super) async fn read(store: &dyn Store, id: &str) -> Checked<TaskRecord> {
    only(store.task(&id.into()).await?.into_iter().collect())
}

pub(super) async fn claim_one(store: &dyn Store, now: DateTime<Utc>) -> Checked<ClaimedTask> {
    only(store.claim_tasks(request(10, now)).await?)
}

pub(super) fn settlement(claimed: &ClaimedTask, end: TaskEnd) -> TaskSettlement {
    TaskSettlement {
        id: claimed.task.id.clone(),
        fence: Some(claimed.fence),
        end,
        keep: KEEP,
        callback: None,
    }
}

fn ended(end: TaskEnd, at: DateTime<Utc>) -> EndedTask {
    EndedTask {
        end,
        at,
        keep: KEEP,
        is_purged: false,
    }
}

/// Finishes a task, with a callback whose event has the task's id.
pub(super) async fn finish(
    store: &dyn Store,
    claimed: &ClaimedTask,
    end: TaskEnd,
    now: DateTime<Utc>,
) -> Checked<Settled> {
    let callback = scene::new(event(claimed.task.id.as_str()), vec![to_webhook("a")]);
    let settlement = TaskSettlement {
        callback: Some(callback),
        ..settlement(claimed, end)
    };
    Ok(store.finish_task(settlement, now).await?)
}
