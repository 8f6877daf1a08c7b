//! Sending again what is final.

use super::scene::*;
use super::{Store, Violation, equal};
use crate::delivery::State;
use crate::id::DeliveryId;
use crate::store::{Next, Replayed};

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
