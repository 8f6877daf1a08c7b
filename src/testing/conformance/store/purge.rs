//! Removing what is over, and nothing else.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::history::all;
use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{HistoryQuery, Retention, State};
use crate::id::DeliveryId;
use crate::store::{Enqueued, Next, Purged, Replayed};

const DAY: i64 = 24 * 60 * 60;

/// Ten days, bodies one day.
fn retention() -> Retention {
    let day = Duration::from_secs(24 * 60 * 60);
    Retention {
        history: day * 10,
        bodies: day,
    }
}

/// Removes all that need not be kept, step by step. The sum.
async fn purge(store: &dyn Store, max: usize, now: DateTime<Utc>) -> Checked<Purged> {
    let mut all = Purged::default();
    for _ in 0..10_000 {
        let step = store.purge(&retention(), max, now).await?;
        let removed = step.bodies + step.attempts + step.deliveries + step.figures;
        ensure("a step removes no more than it is told", removed <= max, || {
            format!("{step:?} of {max}")
        })?;
        all.bodies += step.bodies;
        all.attempts += step.attempts;
        all.deliveries += step.deliveries;
        all.events += step.events;
        all.figures += step.figures;
        all.is_done = step.is_done;
        if step.is_done {
            return Ok(all);
        }
        ensure(
            "a step that is not the last removes something",
            removed + step.events > 0,
            || format!("{step:?}"),
        )?;
    }
    Err(Violation::new("purging comes to an end", "10,000 steps"))
}

async fn end(store: &dyn Store, webhook: &str, next: Next, now: DateTime<Utc>) -> Checked<DeliveryId> {
    let id = enqueue_one(store, webhook, now).await?;
    let claimed = claim_one(store, now).await?;
    settle_held(store, settlement(&claimed, OK, next, now), now).await?;
    Ok(id)
}

async fn exists(store: &dyn Store, id: DeliveryId) -> Checked<bool> {
    Ok(store.delivery(id).await?.is_some())
}

/// What is delivered or dead goes when it has been so for long enough, with its event, its attempts and its figures.
pub async fn what_is_over_goes_in_time(store: &dyn Store) -> Result<(), Violation> {
    for id in ["a", "b"] {
        store.save_webhook(webhook(id), at(0)).await?;
    }
    let delivered = end(store, "a", Next::Delivered, at(0)).await?;
    let dead = end(store, "b", Next::Exhausted, at(0)).await?;
    let early = purge(store, 100, at(10 * DAY)).await?;
    equal(
        "nothing goes before its time",
        (early.attempts, early.deliveries, early.events),
        (0, 0, 0),
    )?;
    for id in [delivered, dead] {
        ensure("nothing goes before its time", exists(store, id).await?, || {
            format!("{id} is gone")
        })?;
        equal("nothing goes before its time", store.attempts(id).await?.len(), 1)?;
    }
    let now = at(10 * DAY + 60);
    let purged = purge(store, 100, now).await?;
    equal(
        "what is over for long enough goes",
        (purged.attempts, purged.deliveries, purged.events, purged.figures),
        (2, 2, 2, 2),
    )?;
    for id in [delivered, dead] {
        ensure(
            "what is over for long enough goes",
            !exists(store, id).await?,
            || format!("{id} is there"),
        )?;
        equal("attempts go in time", store.attempts(id).await?.len(), 0)?;
        equal(
            "what is not there is not replayed",
            store.replay(id, now).await?,
            Replayed::Unknown,
        )?;
    }
    equal(
        "attempts go in time",
        all(store, HistoryQuery::default()).await?.len(),
        0,
    )?;
    let health = store.health(&"a".into(), at(0), now).await?;
    equal("figures go in time", health.attempts, 0)?;
    let again = enqueue_one(store, "a", now).await?;
    ensure("ids rise", again > dead, || format!("{again} after {dead}"))
}

/// A body goes long before its delivery; then there is no replay, and the event's id is still taken.
pub async fn bodies_go_first(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let event = new(event("e"), vec![to_webhook("a")]);
    let id = only(enqueue_event(store, event.clone(), at(0)).await?)?;
    let claimed = claim_one(store, at(0)).await?;
    deliver(store, &claimed, at(0)).await?;
    let query = HistoryQuery {
        bodies: true,
        ..HistoryQuery::default()
    };

    equal(
        "nothing goes before its time",
        purge(store, 100, at(DAY)).await?.bodies,
        0,
    )?;
    let kept = only(all(store, query.clone()).await?)?;
    equal(
        "nothing goes before its time",
        kept.body.as_ref(),
        Some(event.event.body()),
    )?;
    equal(
        "bodies go in time",
        purge(store, 100, at(DAY + 1)).await?.bodies,
        1,
    )?;
    let record = record(store, id).await?;
    equal(
        "without its body, a delivery is still there",
        (record.state, record.body.is_none(), record.event.id().as_str()),
        (State::Delivered, true, "e"),
    )?;
    ensure(
        "an event's bytes go with the last body",
        record.event.body().is_empty(),
        || format!("{} bytes", record.event.body().len()),
    )?;
    let entry = only(all(store, query).await?)?;
    equal("bodies go in time", entry.body, None)?;
    equal(
        "without its body, a delivery cannot be replayed",
        store.replay(id, at(DAY + 1)).await?,
        Replayed::BodyPurged,
    )?;
    let again = only(store.enqueue(vec![event], at(DAY + 1)).await?)?;
    equal(
        "without its body, an event's id is taken as before",
        again,
        Enqueued::Duplicate(vec![id]),
    )
}

/// However old it is, what is not over stays as it is, and what is dead keeps its body.
pub async fn what_is_not_over_stays(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what is not over stays as it is";
    store.save_webhook(webhook("a"), at(0)).await?;
    let dead = end(store, "a", Next::Exhausted, at(99 * DAY)).await?;
    // One event on its way to three: it arrives, is on its way, waits.
    let ids = enqueue_event(
        store,
        new(
            event("e"),
            vec![to_webhook("a"), to_webhook("a"), to_webhook("a")],
        ),
        at(0),
    )
    .await?;
    let mut claimed = claim(store, 2, at(0)).await?;
    claimed.sort_by_key(|claimed| claimed.id);
    let [arrives, under_way] = claimed.as_slice() else {
        return Err(Violation::new(
            "what is due can be claimed",
            format!("{claimed:?}"),
        ));
    };
    deliver(store, arrives, at(0)).await?;
    let mut before = Vec::new();
    for id in [ids[1], ids[2], dead] {
        before.push(everything(store, id).await?);
    }
    let purged = purge(store, 1, at(100 * DAY)).await?;
    equal(
        "what is over goes",
        (purged.bodies, purged.attempts, purged.deliveries),
        (1, 1, 1),
    )?;
    equal("an event goes with the last of its deliveries", purged.events, 0)?;
    for (id, before) in [ids[1], ids[2], dead].into_iter().zip(before) {
        equal(CLAUSE, everything(store, id).await?, before)?;
    }
    deliver(store, under_way, at(100 * DAY)).await?;
    let waiting = claim_one(store, at(100 * DAY)).await?;
    equal(CLAUSE, (waiting.id, &waiting.body), (ids[2], event("e").body()))?;
    equal(CLAUSE, store.replay(dead, at(100 * DAY)).await?, Replayed::Done)?;
    let replayed = claim_one(store, at(100 * DAY)).await?;
    equal(
        "what is dead keeps its body",
        (replayed.id, &replayed.body),
        (dead, event("a/0").body()),
    )
}

/// Old attempts of what goes on and on are removed; the others keep their numbers.
pub async fn old_attempts_go_from_what_goes_on(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    for day in 0..5 {
        let claimed = claim_one(store, at(day * DAY)).await?;
        fail(store, &claimed, DAY as u64, at(day * DAY)).await?;
    }
    let now = at(12 * DAY + 60);
    let purged = purge(store, 2, now).await?;
    equal(
        "attempts go in time",
        (purged.attempts, purged.deliveries, purged.events),
        (3, 0, 0),
    )?;
    let numbers = async || -> Checked<Vec<u32>> {
        let attempts = store.attempts(id).await?;
        Ok(attempts.iter().map(|attempt| attempt.number).collect())
    };
    equal(
        "the attempts that are kept are the last",
        numbers().await?,
        vec![4, 5],
    )?;
    let claimed = claim_one(store, now).await?;
    equal("what was counted counts", claimed.attempts, 5)?;
    fail(store, &claimed, 60, now).await?;
    equal("numbers go on", numbers().await?, vec![4, 5, 6])?;
    let query = HistoryQuery {
        delivery: Some(id),
        ..HistoryQuery::default()
    };
    equal(
        "the attempts that are kept are in history",
        all(store, query).await?.len(),
        3,
    )
}

/// An attempt goes with its delivery, even where the clock was set back before the delivery ended; what it counted for stays.
pub async fn figures_outlive_attempts(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(120)).await?;
    let claimed = claim_one(store, at(120)).await?;
    fail(store, &claimed, 3600, at(120)).await?;
    store.remove_webhook(&"a".into(), at(60)).await?;
    equal(
        "what waits for a removed webhook is not sent",
        claim(store, 10, at(60)).await?.len(),
        0,
    )?;
    let now = at(10 * DAY + 61);
    let purged = purge(store, 10, now).await?;
    equal(
        "an attempt goes with its delivery",
        (purged.attempts, purged.deliveries, purged.figures),
        (1, 1, 0),
    )?;
    ensure("what is over goes", !exists(store, id).await?, || format!("{id}"))?;
    let health = store.health(&"a".into(), at(0), now).await?;
    equal("figures outlive their attempts", health.attempts, 1)
}

/// A purge goes in small steps, whatever it removes, and an event that had no deliveries goes as well.
pub async fn purging_is_bounded(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    enqueue(store, "a", 0..20, at(0)).await?;
    let claimed = claim(store, 20, at(0)).await?;
    deliver_all(store, &claimed, at(0)).await?;
    for number in 0..3 {
        enqueue_event(store, new(event(&format!("bare {number}")), vec![]), at(0)).await?;
    }
    let purged = purge(store, 7, at(11 * DAY)).await?;
    equal(
        "what is over goes",
        (
            purged.bodies,
            purged.attempts,
            purged.deliveries,
            purged.events,
            purged.figures,
        ),
        (20, 20, 20, 23, 1),
    )?;
    let nothing = store.purge(&retention(), 7, at(11 * DAY)).await?;
    equal(
        "once all is removed there is nothing to remove",
        nothing,
        Purged {
            is_done: true,
            ..Purged::default()
        },
    )?;
    let bare = only(
        store
            .enqueue(vec![new(event("bare 0"), vec![])], at(11 * DAY))
            .await?,
    )?;
    equal(
        "the id of an event that is gone is free",
        bare,
        Enqueued::Fresh(vec![]),
    )
}
