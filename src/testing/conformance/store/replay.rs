//! Sending again what is final.

use super::scene::*;
use super::{Store, Violation, equal};
use crate::delivery::State;
use crate::id::DeliveryId;
use crate::store::{DeadReplayed, Next, ReplayDead, Replayed};

/// A replay starts the schedule anew; the event and the history stay.
pub async fn a_replay_starts_anew(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    for (number, next) in [(0, Next::Delivered), (1, Next::Exhausted), (2, Next::Gone)] {
        let id = only(enqueue(store, "a", number..number + 1, at(0)).await?)?;
        let claimed = claim_one(store, at(0)).await?;
        fail(store, &claimed, 0, at(1)).await?;
        let claimed = claim_one(store, at(1)).await?;
        settle_held(store, settlement(&claimed, ERROR, next, at(2)), at(2)).await?;
        let (before, history) = everything(store, id).await?;

        equal(
            "what is final can be replayed",
            store.replay(id, at(50)).await?,
            Replayed::Done,
        )?;
        let (after, kept) = everything(store, id).await?;
        equal(
            "a replayed delivery is pending, due at once",
            (after.state, after.due),
            (State::Pending, at(50)),
        )?;
        equal(
            "a replayed delivery's schedule starts anew",
            (after.attempts, after.first_failure),
            (0, None),
        )?;
        equal(
            "a replayed delivery keeps its event, its bytes and its target",
            (&after.event, &after.body, &after.target, after.created_at),
            (&before.event, &before.body, &before.target, before.created_at),
        )?;
        equal("a replay leaves history as it is", kept, history)?;

        let claimed = claim_one(store, at(50)).await?;
        equal("a replayed delivery is sent again", claimed.id, id)?;
        equal(
            "a replayed delivery's schedule starts anew",
            (claimed.attempts, claimed.first_failure, claimed.interrupted),
            (0, None, false),
        )?;
        deliver(store, &claimed, at(51)).await?;
        let (after, kept) = everything(store, id).await?;
        equal("attempts are counted since the replay", after.attempts, 1)?;
        equal(
            "history goes on through a replay",
            kept.iter().map(|attempt| attempt.number).collect(),
            vec![1, 2, 3],
        )?;
    }
    Ok(())
}

/// Only what is final is replayed.
pub async fn only_what_is_final_is_replayed(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    for state in [State::Pending, State::Sending] {
        let before = everything(store, id).await?;
        equal(
            "what is not final is not replayed",
            store.replay(id, at(5)).await?,
            Replayed::NotFinal(state),
        )?;
        equal(
            "a replay that is refused changes nothing",
            everything(store, id).await?,
            before,
        )?;
        claim(store, 1, at(5)).await?;
    }
    for id in [DeliveryId(id.0 + 1_000), DeliveryId(0), DeliveryId(-1)] {
        equal(
            "what is not there is not replayed",
            store.replay(id, at(5)).await?,
            Replayed::Unknown,
        )?;
    }
    Ok(())
}

/// There is nobody to replay to once the webhook is deleted; there is again once it is registered anew.
pub async fn a_deleted_webhook_gets_no_replay(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    deliver(store, &claimed, at(0)).await?;
    store.remove_webhook(&"a".into(), at(1)).await?;
    let before = everything(store, id).await?;
    equal(
        "what went to a deleted webhook is not replayed",
        store.replay(id, at(2)).await?,
        Replayed::WebhookDeleted,
    )?;
    equal(
        "a replay that is refused changes nothing",
        everything(store, id).await?,
        before,
    )?;
    save(store, webhook("a"), at(3)).await?;
    equal(
        "a webhook registered anew can be replayed to",
        store.replay(id, at(4)).await?,
        Replayed::Done,
    )?;
    equal(
        "a replayed delivery is sent again",
        claim_one(store, at(4)).await?.id,
        id,
    )
}

/// Every dead delivery of a webhook is replayed, so many at a time; nothing else is.
pub async fn the_dead_are_replayed_in_batches(store: &dyn Store) -> Result<(), Violation> {
    for id in ["a", "b"] {
        store.save_webhook(webhook(id), at(0)).await?;
    }
    let mut dead = Vec::new();
    let mut others = Vec::new();
    for (number, to, next) in [
        (0, "a", Next::Exhausted),
        (1, "a", Next::Delivered),
        (2, "a", Next::Gone),
        (3, "b", Next::Exhausted),
        (4, "a", Next::Exhausted),
        (5, "a", Next::Retry(at(1_000))),
        (6, "a", Next::Exhausted),
        (7, "a", Next::Gone),
    ] {
        let now = at(i64::from(number));
        let id = only(enqueue(store, to, number..number + 1, now).await?)?;
        let claimed = claim_one(store, now).await?;
        settle_held(store, settlement(&claimed, ERROR, next, now), now).await?;
        match next {
            Next::Exhausted | Next::Gone if to == "a" => dead.push(id),
            _ => others.push((id, everything(store, id).await?)),
        }
    }
    let mut request = ReplayDead {
        webhook: "a".into(),
        since: Some(at(2)),
        after: None,
        max: 2,
    };
    let mut replayed = 0;
    loop {
        let answer = store.replay_dead(request.clone(), at(50)).await?;
        equal("what has a webhook is not skipped", answer.skipped, 0)?;
        super::ensure("a batch is as large as it is told", answer.replayed <= 2, || {
            format!("{answer:?}")
        })?;
        replayed += answer.replayed;
        request.after = answer.next;
        if answer.next.is_none() {
            break;
        }
    }
    equal(
        "all that are dead since then are replayed",
        replayed,
        dead.len() - 1,
    )?;
    equal(
        "what died before is left",
        record(store, dead[0]).await?.state,
        Next::Exhausted.state(),
    )?;
    for id in &dead[1..] {
        let record = record(store, *id).await?;
        equal(
            "a replayed delivery is pending, due at once, and its schedule starts anew",
            (record.state, record.due, record.attempts, record.first_failure),
            (State::Pending, at(50), 0, None),
        )?;
    }
    for (id, before) in others {
        equal(
            "nothing but the dead is replayed",
            everything(store, id).await?,
            before,
        )?;
    }
    let mut claimed = ids(&claim(store, 10, at(50)).await?);
    claimed.sort_unstable();
    equal("a replayed delivery is sent again", claimed, dead.split_off(1))
}

/// There is nobody to replay to once the webhook is deleted.
pub async fn a_deleted_webhook_gets_no_batch(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    for number in 0..3 {
        enqueue(store, "a", number..number + 1, at(0)).await?;
        let claimed = claim_one(store, at(0)).await?;
        settle_held(store, settlement(&claimed, ERROR, Next::Gone, at(0)), at(0)).await?;
    }
    store.remove_webhook(&"a".into(), at(1)).await?;
    let request = ReplayDead {
        webhook: "a".into(),
        since: None,
        after: None,
        max: 10,
    };
    equal(
        "what went to a deleted webhook is not replayed",
        store.replay_dead(request.clone(), at(2)).await?,
        DeadReplayed {
            skipped: 3,
            ..DeadReplayed::default()
        },
    )?;
    let unknown = ReplayDead {
        webhook: "unknown".into(),
        ..request
    };
    equal(
        "a webhook that never was has nothing to replay",
        store.replay_dead(unknown, at(2)).await?,
        DeadReplayed::default(),
    )
}
