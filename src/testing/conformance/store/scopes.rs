//! An event stays in its scope.

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{DeadReason, Event, State, Target, Webhook};
use crate::store::{Replayed, Saved};

const NEVER: &str = "an event never reaches a webhook of another scope";

fn elsewhere(id: &str) -> Webhook {
    Webhook {
        scope: "elsewhere".into(),
        ..webhook(id)
    }
}

/// A webhook cannot be moved to another scope.
pub async fn a_webhook_keeps_its_scope(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    equal(
        "a webhook never changes its scope",
        store.save_webhook(elsewhere("a"), at(1)).await?,
        Saved::OtherScope,
    )?;
    equal(
        "a webhook that cannot be saved is as it was",
        store.webhook(&"a".into()).await?.as_deref(),
        Some(&webhook("a")),
    )?;
    equal(
        "a webhook that cannot be saved is in no other scope",
        store.webhooks(&"elsewhere".into()).await?,
        Vec::new(),
    )
}

/// What is enqueued for a webhook of another scope is dead, be it a test.
pub async fn what_is_enqueued_across_scopes_is_dead(store: &dyn Store) -> Result<(), Violation> {
    save(store, elsewhere("a"), at(0)).await?;
    let across = vec![to_webhook("a"), to(Target::Test("a".into()))];
    let ids = enqueue_event(store, new(event("1"), across), at(1)).await?;
    for id in ids {
        equal(
            "what is enqueued for a webhook of another scope is recorded as dead",
            record(store, id).await?.state,
            State::Dead(DeadReason::WebhookDeleted),
        )?;
    }
    claims_nothing(store, NEVER, at(2)).await?;
    // What belongs there goes there.
    let own = Event::builder("elsewhere", "1", "kind").build();
    let own = new(
        own.expect("the checks' own events are whole"),
        vec![to_webhook("a")],
    );
    let own = only(enqueue_event(store, own, at(2)).await?)?;
    equal(
        "what is due can be claimed",
        claim_one(store, at(2)).await?.id,
        own,
    )
}

/// Under the id of a removed webhook another can be registered, in another scope. Nothing of the old one's comes to it:
/// not what waited, not what was in flight, not what is replayed.
pub async fn a_reused_id_gets_nothing_of_the_old_scope(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let ids = enqueue(store, "a", 0..4, at(0)).await?;
    let test = new(event("test"), vec![to(Target::Test("a".into()))]);
    let test = only(enqueue_event(store, test, at(0)).await?)?;
    let flying = claim(store, 2, at(0)).await?;
    store.remove_webhook(&"a".into(), at(1)).await?;
    save(store, elsewhere("a"), at(1)).await?;
    for claimed in &flying {
        fail(store, claimed, 1, at(2)).await?;
    }
    for second in 3..23 {
        claims_nothing(store, NEVER, at(second)).await?;
    }
    for id in ids.into_iter().chain([test]) {
        let state = record(store, id).await?.state;
        ensure(
            "what waits for a deleted webhook becomes dead",
            state == State::Dead(DeadReason::WebhookDeleted),
            || format!("{id} is {state}"),
        )?;
        equal(
            "what went to a webhook of another scope is not replayed",
            store.replay(id, at(30)).await?,
            Replayed::WebhookDeleted,
        )?;
    }
    claims_nothing(store, NEVER, at(31)).await
}
