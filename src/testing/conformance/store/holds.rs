//! What is kept back, and what becomes of it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::scene::*;
use super::waking::rang;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{DeadReason, Event, Limits, State, Target, Webhook};
use crate::id::DeliveryId;
use crate::retry::Flusher;
use crate::store::{HoldKey, Next, Release};

/// How many claims a store may take to move a thousand deliveries.
const CLAIMS_TO_MOVE: usize = 1_000;

fn webhooks(id: &str) -> HoldKey {
    HoldKey::Webhook(id.into())
}

fn subjects(subject: &str) -> HoldKey {
    HoldKey::Subject {
        scope: "scope".into(),
        subject: subject.into(),
    }
}

/// Enqueues an event about somebody, to a webhook.
async fn about(
    store: &dyn Store,
    subject: &str,
    number: u32,
    webhook: &str,
    now: DateTime<Utc>,
) -> Checked<DeliveryId> {
    let event = Event::builder("scope", format!("{subject}/{webhook}/{number}"), "kind").subject(subject);
    let event = event.build().expect("the checks' own events are whole");
    only(enqueue_event(store, new(event, vec![to_webhook(webhook)]), now).await?)
}

async fn hold(store: &dyn Store, key: HoldKey, now: DateTime<Utc>) -> Checked {
    equal(
        "a hold that is not there can be placed",
        store.hold(key, now).await?,
        true,
    )
}

async fn lift(store: &dyn Store, key: HoldKey, release: Release, now: DateTime<Utc>) -> Checked {
    equal(
        "a hold that is there can be lifted",
        store.lift(&key, release, now).await?,
        true,
    )
}

async fn states(store: &dyn Store, ids: &[DeliveryId]) -> Checked<Vec<State>> {
    let mut states = Vec::new();
    for id in ids {
        states.push(record(store, *id).await?.state);
    }
    Ok(states)
}

async fn all_are(store: &dyn Store, clause: &'static str, ids: &[DeliveryId], state: State) -> Checked {
    equal(clause, states(store, ids).await?, vec![state; ids.len()])
}

/// Nothing goes to a held webhook: what waited is kept back, and what comes.
pub async fn a_held_webhook_gets_nothing(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what waits for a held webhook is held, and what is enqueued for it";
    for id in ["a", "b"] {
        store.save_webhook(webhook(id), at(0)).await?;
    }
    let mut held = enqueue(store, "a", 0..3, at(0)).await?;
    let other = enqueue_one(store, "b", at(0)).await?;
    hold(store, webhooks("a"), at(1)).await?;
    held.extend(enqueue(store, "a", 3..5, at(2)).await?);
    let claimed = claim_one(store, at(3)).await?;
    equal("a hold keeps back its own only", claimed.id, other)?;
    deliver(store, &claimed, at(3)).await?;
    all_are(store, CLAUSE, &held, State::Held).await?;
    equal(
        "a hold is placed once",
        store.hold(webhooks("a"), at(4)).await?,
        false,
    )?;
    claims_nothing(store, "what is held is not claimed", at(100_000)).await
}

/// What is released goes in the order of ids, due since the hold was lifted.
pub async fn what_is_released_goes_in_order(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(limited("a", in_flight(1)), at(0)).await?;
    let mut all = enqueue(store, "a", 0..3, at(0)).await?;
    hold(store, webhooks("a"), at(1)).await?;
    all.extend(enqueue(store, "a", 3..6, at(2)).await?);
    let heard = store.wake().listen();
    lift(store, webhooks("a"), Release::All, at(10)).await?;
    rang("after a hold is lifted", heard).await?;
    all.extend(enqueue(store, "a", 6..8, at(11)).await?);
    equal(
        "what is released is due since the hold was lifted",
        record(store, all[0]).await?.due,
        at(10),
    )?;
    let mut served = Vec::new();
    for _ in &all {
        let claimed = claim_one(store, at(12)).await?;
        served.push(claimed.id);
        deliver(store, &claimed, at(12)).await?;
    }
    equal("what is released goes in the order of ids", served, all)?;
    equal(
        "a hold that is gone cannot be lifted",
        store.lift(&webhooks("a"), Release::All, at(13)).await?,
        false,
    )
}

/// What the release leaves out has expired; what is enqueued after the hold was lifted never has.
pub async fn a_release_leaves_out_what_is_older(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what the release leaves out is dead, for it has expired";
    store.save_webhook(webhook("a"), at(0)).await?;
    hold(store, webhooks("a"), at(0)).await?;
    let old = enqueue(store, "a", 0..2, at(99)).await?;
    let young = enqueue(store, "a", 2..4, at(100)).await?;
    lift(store, webhooks("a"), Release::Since(at(100)), at(200)).await?;
    all_are(store, CLAUSE, &old, State::Dead(DeadReason::Expired)).await?;
    let claimed = claim(store, 10, at(200)).await?;
    equal("what it includes is sent", ids(&claimed), young)?;
    deliver_all(store, &claimed, at(200)).await?;

    hold(store, subjects("u"), at(300)).await?;
    let dropped = about(store, "u", 0, "a", at(301)).await?;
    lift(store, subjects("u"), Release::Nothing, at(302)).await?;
    all_are(store, CLAUSE, &[dropped], State::Dead(DeadReason::Expired)).await?;
    let later = about(store, "u", 1, "a", at(302)).await?;
    equal(
        "a hold that is gone keeps nothing back",
        claim_one(store, at(302)).await?.id,
        later,
    )
}

/// A subject's hold concerns what is enqueued about it from then on, in its scope, wherever it goes.
pub async fn a_held_subject_waits(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let stranger = Webhook {
        scope: "another scope".into(),
        ..webhook("b")
    };
    store.save_webhook(stranger, at(0)).await?;
    let before = about(store, "u", 0, "a", at(0)).await?;
    hold(store, subjects("u"), at(1)).await?;
    let held = about(store, "u", 1, "a", at(2)).await?;
    let other = about(store, "v", 0, "a", at(2)).await?;
    let elsewhere = Event::builder("another scope", "e", "kind").subject("u").build();
    let elsewhere = new(
        elsewhere.expect("the checks' own events are whole"),
        vec![to_webhook("b")],
    );
    let elsewhere = only(enqueue_event(store, elsewhere, at(2)).await?)?;
    let called = Event::builder("scope", "called", "kind").subject("u").build();
    let called = new(
        called.expect("the checks' own events are whole"),
        vec![to(call("https://call.example/", Limits::default()))],
    );
    let called = only(enqueue_event(store, called, at(2)).await?)?;
    equal(
        "a subject's hold concerns what is enqueued about it from then on",
        distinct(&claim(store, 10, at(3)).await?),
        [before, other, elsewhere].into(),
    )?;
    all_are(store, "what is held is held", &[held, called], State::Held).await?;
    lift(store, subjects("u"), Release::All, at(4)).await?;
    equal(
        "what is released is sent",
        distinct(&claim(store, 10, at(4)).await?),
        [held, called].into(),
    )
}

/// What is under way when a webhook is held is settled as ever; a retry is kept back.
pub async fn what_is_under_way_is_settled(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what goes back to wait in a held lane is held";
    store.save_webhook(webhook("a"), at(0)).await?;
    enqueue(store, "a", 0..4, at(0)).await?;
    let claimed = claim(store, 10, at(0)).await?;
    let [accepted, failed, released, lost] = &claimed[..] else {
        return Err(Violation::new(
            "what is due is claimed",
            claimed.len().to_string(),
        ));
    };
    hold(store, webhooks("a"), at(1)).await?;
    deliver(store, accepted, at(2)).await?;
    fail(store, failed, 5, at(2)).await?;
    release(store, released, at(2)).await?;
    claims_nothing(store, CLAUSE, at(60)).await?;
    let kept = [failed.id, released.id, lost.id];
    all_are(store, CLAUSE, &kept, State::Held).await?;
    equal(
        "an ended lease is counted all the same",
        record(store, lost.id).await?.attempts,
        1,
    )?;
    store.replay(accepted.id, at(61)).await?;
    all_are(
        store,
        "what is replayed meanwhile is held",
        &[accepted.id],
        State::Held,
    )
    .await?;
    lift(store, webhooks("a"), Release::All, at(70)).await?;
    equal(
        "all of it is released",
        distinct(&claim(store, 10, at(70)).await?),
        distinct(&claimed),
    )
}

/// A delivery that two holds concern waits for both.
pub async fn two_holds_both_hold(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what another hold also concerns is kept back by that one";
    store.save_webhook(webhook("a"), at(0)).await?;
    let earlier = about(store, "u", 0, "a", at(0)).await?;
    hold(store, subjects("u"), at(1)).await?;
    let both = about(store, "u", 1, "a", at(2)).await?;
    hold(store, webhooks("a"), at(3)).await?;
    let later = about(store, "u", 2, "a", at(4)).await?;
    lift(store, webhooks("a"), Release::All, at(5)).await?;
    equal(
        "a subject's hold does not concern what came before it",
        claim_one(store, at(5)).await?.id,
        earlier,
    )?;
    all_are(store, CLAUSE, &[both, later], State::Held).await?;
    hold(store, webhooks("a"), at(6)).await?;
    lift(store, subjects("u"), Release::All, at(7)).await?;
    claims_nothing(store, CLAUSE, at(8)).await?;
    all_are(store, CLAUSE, &[both, later], State::Held).await?;
    lift(store, webhooks("a"), Release::All, at(9)).await?;
    equal(
        "what no hold concerns any more is sent",
        ids(&claim(store, 10, at(9)).await?),
        vec![both, later],
    )
}

/// Thousands are moved in steps, which claims take by themselves; what is enqueued meanwhile comes last.
pub async fn a_large_hold_is_lifted_in_steps(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let mut all = enqueue(store, "a", 0..1_000, at(0)).await?;
    hold(store, webhooks("a"), at(1)).await?;
    all.extend(enqueue(store, "a", 1_000..2_000, at(2)).await?);
    // Lifted before all that waited can have been kept back.
    lift(store, webhooks("a"), Release::Since(at(2)), at(3)).await?;
    all.extend(enqueue(store, "a", 2_000..2_010, at(4)).await?);
    let mut served = Vec::new();
    for _ in 0..CLAIMS_TO_MOVE {
        let due = store.next_due(at(5)).await?;
        let claimed = claim(store, 100, at(5)).await?;
        if claimed.is_empty() && due.is_none() {
            break;
        }
        ensure(
            "next_due knows of what is still to be moved",
            due.is_some_and(|due| due <= at(5)),
            || format!("{due:?}"),
        )?;
        served.extend(ids(&claimed));
        deliver_all(store, &claimed, at(5)).await?;
    }
    equal(
        "everything is released, in the order of ids",
        &served[..],
        &all[1_000..],
    )?;
    all_are(
        store,
        "what is older has expired",
        &all[..1_000],
        State::Dead(DeadReason::Expired),
    )
    .await?;
    hold(store, webhooks("a"), at(6)).await
}

/// A hold that is being lifted can be placed again.
pub async fn a_hold_can_be_placed_again(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    hold(store, webhooks("a"), at(0)).await?;
    let all = enqueue(store, "a", 0..2_000, at(1)).await?;
    lift(store, webhooks("a"), Release::Nothing, at(2)).await?;
    equal(
        "a hold that is being lifted is not lifted again",
        store.lift(&webhooks("a"), Release::All, at(2)).await?,
        false,
    )?;
    hold(store, webhooks("a"), at(3)).await?;
    claims_nothing(store, "what is held is not claimed", at(4)).await?;
    let left: Vec<_> = states(store, &all)
        .await?
        .into_iter()
        .filter(|state| *state == State::Held)
        .collect();
    lift(store, webhooks("a"), Release::All, at(5)).await?;
    let mut sent = 0;
    for _ in 0..CLAIMS_TO_MOVE {
        let claimed = claim(store, 100, at(5)).await?;
        deliver_all(store, &claimed, at(5)).await?;
        sent += claimed.len();
    }
    equal("what was not yet let go is held again", sent, left.len())
}

/// What awaits a run is kept back like anything else; released, it goes at once.
pub async fn what_awaits_a_run_is_held_too(store: &dyn Store) -> Result<(), Violation> {
    let flushed = Webhook {
        flusher: Some(Flusher::default()),
        ..webhook("a")
    };
    store.save_webhook(flushed, at(0)).await?;
    enqueue(store, "a", 0..3, at(0)).await?;
    let claimed = claim(store, 10, at(0)).await?;
    let (last, waiting) = (&claimed[2], &claimed[..2]);
    for claimed in waiting {
        settle_held(store, settlement(claimed, ERROR, Next::AwaitRun, at(0)), at(0)).await?;
    }
    hold(store, webhooks("a"), at(1)).await?;
    settle_held(store, settlement(last, ERROR, Next::AwaitRun, at(2)), at(2)).await?;
    all_are(
        store,
        "what awaits a run is held too",
        &ids(&claimed),
        State::Held,
    )
    .await?;
    claims_nothing(store, "a held webhook has no runs", at(1_000)).await?;
    lift(store, webhooks("a"), Release::All, at(1_001)).await?;
    equal(
        "what is released is due at once",
        ids(&claim(store, 10, at(1_001)).await?),
        ids(&claimed),
    )
}

/// A webhook that is removed is held no more, and what was kept back for it is buried.
pub async fn a_removed_webhook_is_not_held(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let mut all = enqueue(store, "a", 0..200, at(0)).await?;
    hold(store, webhooks("a"), at(1)).await?;
    all.extend(enqueue(store, "a", 200..400, at(2)).await?);
    store.remove_webhook(&"a".into(), at(3)).await?;
    for _ in 0..100 {
        claims_nothing(store, "nothing of a deleted webhook is claimed", at(4)).await?;
    }
    all_are(
        store,
        "what was kept back for a deleted webhook becomes dead",
        &all,
        State::Dead(DeadReason::WebhookDeleted),
    )
    .await?;
    store.save_webhook(webhook("a"), at(5)).await?;
    let fresh = only(enqueue(store, "a", 400..401, at(5)).await?)?;
    equal(
        "a webhook registered anew is not held",
        claim_one(store, at(5)).await?.id,
        fresh,
    )
}

/// A webhook can be held before it is registered.
pub async fn a_webhook_can_be_held_before_it_is_there(store: &dyn Store) -> Result<(), Violation> {
    hold(store, webhooks("a"), at(0)).await?;
    store.save_webhook(webhook("a"), at(1)).await?;
    let id = enqueue_one(store, "a", at(2)).await?;
    claims_nothing(store, "what is held is not claimed", at(3)).await?;
    store.save_webhook(limited("a", in_flight(5)), at(4)).await?;
    claims_nothing(store, "a change of a webhook does not end its hold", at(5)).await?;
    lift(store, webhooks("a"), Release::All, at(6)).await?;
    equal("what is released is sent", claim_one(store, at(6)).await?.id, id)?;
    let unknown = to(Target::Webhook("b".into()));
    hold(store, webhooks("b"), at(7)).await?;
    let unknown = only(enqueue_event(store, new(event("b"), vec![unknown]), at(7)).await?)?;
    all_are(
        store,
        "what is enqueued for a webhook that is not known is dead",
        &[unknown],
        State::Dead(DeadReason::WebhookDeleted),
    )
    .await
}

/// A clock that is set back while a hold is lifted leaves nothing behind.
pub async fn a_clock_set_back_loses_nothing_held(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    hold(store, webhooks("a"), at(100)).await?;
    let held = enqueue(store, "a", 0..300, at(100)).await?;
    lift(store, webhooks("a"), Release::All, at(100)).await?;
    let mut served = Vec::new();
    for round in 0..20 {
        let now = crate::time::after(at(0), Duration::from_secs(10 * round));
        let claimed = claim(store, 1_000, now).await?;
        deliver_all(store, &claimed, now).await?;
        served.extend(ids(&claimed));
    }
    equal("everything is released, in the order of ids", served, held)
}
