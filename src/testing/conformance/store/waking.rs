//! When there is work, and the bell that says so.

use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{Either, select};

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{Limits, Rate, Webhook};
use crate::store::{Listen, Next, Settlement, Wake};

/// How long after a call's answer its bell may ring.
const PATIENCE: Duration = Duration::from_millis(500);

/// `next_due` is never later than there is something to claim, and `None` once there is nothing.
pub async fn next_due_is_never_too_late(store: &dyn Store) -> Result<(), Violation> {
    nothing_due(store, at(0)).await?;
    save(store, limited("a", in_flight(2)), at(0)).await?;
    nothing_due(store, at(0)).await?;
    enqueue(store, "a", 0..3, at(0)).await?;
    due_by(store, at(0), at(0)).await?;
    due_by(store, at(100), at(100)).await?;
    let claimed = claim(store, 10, at(0)).await?;
    due_by(store, at(1), at(60)).await?; // at its limit: the first lease to end makes a place
    let [one, two] = &claimed[..] else {
        return Err(Violation::new(
            "what is due is claimed",
            format!("{}", claimed.len()),
        ));
    };
    fail(store, one, 20, at(1)).await?;
    due_by(store, at(1), at(1)).await?; // a place is free, and one waits
    let third = only(claim(store, 10, at(1)).await?)?;
    due_by(store, at(2), at(60)).await?; // at its limit again
    deliver(store, two, at(2)).await?;
    due_by(store, at(2), at(21)).await?;
    deliver(store, &third, at(3)).await?;
    due_by(store, at(3), at(21)).await?;
    let last = claim_one(store, at(21)).await?;
    due_by(store, at(22), at(81)).await?;
    deliver(store, &last, at(22)).await?;
    nothing_due(store, at(22)).await
}

/// The rate's next opening is not missed.
pub async fn next_due_knows_the_rate(store: &dyn Store) -> Result<(), Violation> {
    let rate = Rate {
        interval: Duration::from_secs(10),
        burst: NonZeroU32::MIN,
    };
    let limits = Limits {
        rate: Some(rate),
        ..in_flight(5)
    };
    save(store, limited("a", limits), at(0)).await?;
    enqueue(store, "a", 0..3, at(0)).await?;
    for round in 0..3 {
        let claimed = claim_one(store, at(10 * round)).await?;
        deliver(store, &claimed, at(10 * round)).await?;
        if round < 2 {
            due_by(store, at(10 * round), at(10 * round + 10)).await?;
        }
    }
    nothing_due(store, at(20)).await
}

/// In a strict lane the oldest one's time is what counts.
pub async fn next_due_knows_strict_order(store: &dyn Store) -> Result<(), Violation> {
    save(store, strict("a"), at(0)).await?;
    enqueue(store, "a", 0..3, at(0)).await?;
    let first = claim_one(store, at(0)).await?;
    due_by(store, at(1), at(60)).await?;
    fail(store, &first, 5, at(1)).await?;
    due_by(store, at(1), at(6)).await?;
    let first = claim_one(store, at(6)).await?;
    deliver(store, &first, at(7)).await?;
    due_by(store, at(7), at(7)).await
}

/// The bell rings when something becomes due sooner than was said.
pub async fn the_bell_rings(store: &dyn Store) -> Result<(), Violation> {
    save(store, limited("a", in_flight(1)), at(0)).await?;
    let heard = store.wake().listen();
    enqueue(store, "a", 0..2, at(0)).await?;
    rang("after an enqueue", heard).await?;

    let first = claim_one(store, at(0)).await?;
    let heard = store.wake().listen();
    deliver(store, &first, at(1)).await?;
    rang("after a settlement that makes room for what waits", heard).await?;

    let second = claim_one(store, at(1)).await?;
    let heard = store.wake().listen();
    fail(store, &second, 5, at(2)).await?;
    rang("after a settlement with an early retry", heard).await?;

    let second = claim_one(store, at(7)).await?;
    let heard = store.wake().listen();
    release(store, &second, at(8)).await?;
    rang("after a release", heard).await?;

    let second = claim_one(store, at(8)).await?;
    let heard = store.wake().listen();
    let postponed = Settlement {
        attempt: None,
        ..settlement(&second, OK, Next::Retry(at(9)), at(8))
    };
    settle_held(store, postponed, at(8)).await?;
    rang("after a settlement that postpones", heard).await?;

    let second = claim_one(store, at(9)).await?;
    deliver(store, &second, at(9)).await?;
    let heard = store.wake().listen();
    store.replay(second.id, at(10)).await?;
    rang("after a replay", heard).await
}

/// The bell rings when a webhook's limits or switch let more go.
pub async fn the_bell_rings_for_changed_webhooks(store: &dyn Store) -> Result<(), Violation> {
    let off = Webhook {
        enabled: false,
        ..webhook("a")
    };
    save(store, off, at(0)).await?;
    enqueue(store, "a", 0..5, at(0)).await?;
    let heard = store.wake().listen();
    save(store, limited("a", in_flight(1)), at(1)).await?;
    rang("after a webhook is enabled", heard).await?;
    due_by(store, at(1), at(1)).await?;
    claim_one(store, at(1)).await?;
    let heard = store.wake().listen();
    save(store, limited("a", in_flight(2)), at(2)).await?;
    rang("after a webhook's limit is raised", heard).await?;
    due_by(store, at(2), at(2)).await
}

async fn due_by(store: &dyn Store, now: DateTime<Utc>, latest: DateTime<Utc>) -> Checked {
    let due = store.next_due(now).await?;
    ensure(
        "next_due may be too early, never too late",
        due.is_some_and(|due| due <= latest),
        || format!("{due:?} asked at {now}, where something can be claimed at {latest}"),
    )
}

async fn nothing_due(store: &dyn Store, now: DateTime<Utc>) -> Checked {
    equal(
        "next_due is `None` if there is nothing to wait for",
        store.next_due(now).await?,
        None,
    )
}

/// Whether the bell rings, at the latest a little after the call that rings it was answered.
pub(super) async fn rang(when: &'static str, mut heard: Listen) -> Checked {
    if (&mut heard).now_or_never().is_some() {
        return Ok(());
    }
    let over = Wake::default();
    let patience = over.listen();
    thread::spawn(move || {
        thread::sleep(PATIENCE);
        over.ring();
    });
    match select(heard, patience).await {
        Either::Left(_) => Ok(()),
        Either::Right(_) => Err(Violation::new(
            "the bell rings when something may have become due sooner",
            format!("no ring {when}"),
        )),
    }
}
