//! Taking events in.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{DeadReason, Event, State, Target};
use crate::store::{Enqueued, NewDelivery};

/// The same event a second time adds nothing.
pub async fn a_duplicate_adds_nothing(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let first = enqueue_event(
        store,
        new(event("e"), vec![to_webhook("a"), to_webhook("a")]),
        at(0),
    )
    .await?;
    let again = store
        .enqueue(vec![new(event("e"), vec![to_webhook("a")])], at(5))
        .await?;
    equal(
        "an event that is there already with the same fingerprint is a duplicate, with the deliveries it had then",
        again,
        vec![Enqueued::Duplicate(first.clone())],
    )?;
    let claimed = claim(store, 10, at(10)).await?;
    equal(
        "a duplicate adds nothing",
        distinct(&claimed),
        first.iter().copied().collect(),
    )?;
    deliver_all(store, &claimed, at(10)).await?;
    let late = store
        .enqueue(vec![new(event("e"), vec![to_webhook("a")])], at(20))
        .await?;
    equal(
        "a delivered event's id stays taken",
        late,
        vec![Enqueued::Duplicate(first)],
    )?;
    claims_nothing(store, "a duplicate adds nothing", at(20)).await
}

/// The same id with another event changes nothing.
pub async fn a_conflict_changes_nothing(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    let before = everything(store, id).await?;
    let others = [
        Event::builder("scope", "a/0", "kind").json(b"{\"other\":1}".as_slice()),
        Event::builder("scope", "a/0", "other").json(b"{\"id\":\"a/0\"}".as_slice()),
        Event::builder("scope", "a/0", "kind")
            .json(b"{\"id\":\"a/0\"}".as_slice())
            .subject("s"),
    ];
    for other in others {
        let other = other.build().expect("the checks' own events are whole");
        let answers = store
            .enqueue(vec![new(other, vec![to_webhook("a")])], at(1))
            .await?;
        equal(
            "an event id with another fingerprint is a conflict",
            answers,
            vec![Enqueued::Conflict],
        )?;
    }
    equal("a conflict changes nothing", everything(store, id).await?, before)?;
    let claimed = claim_one(store, at(2)).await?;
    equal(
        "a conflict leaves the event as it was",
        claimed.body,
        event("a/0").body().clone(),
    )
}

/// A batch is answered in its order, and sees itself.
pub async fn a_batch_is_answered_in_order(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    save(store, webhook("b"), at(0)).await?;
    let differs = Event::builder("scope", "1", "other").build();
    let differs = differs.expect("the checks' own events are whole");
    let batch = vec![
        new(event("1"), vec![to_webhook("a")]),
        new(event("2"), vec![to_webhook("b"), to_webhook("a")]),
        new(event("1"), vec![to_webhook("b")]),
        new(differs, vec![to_webhook("b")]),
        new(event("3"), vec![]),
        new(event("4"), vec![to_webhook("b")]),
    ];
    let answers = store.enqueue(batch, at(0)).await?;
    let fresh: Vec<_> = answers
        .iter()
        .flat_map(|answer| match answer {
            Enqueued::Fresh(ids) => ids.clone(),
            _ => Vec::new(),
        })
        .collect();
    let [one, two_b, two_a, four] = fresh[..] else {
        return Err(Violation::new(
            "a batch is answered in the order of its events",
            format!("{answers:?}"),
        ));
    };
    let expected = vec![
        Enqueued::Fresh(vec![one]),
        Enqueued::Fresh(vec![two_b, two_a]),
        Enqueued::Duplicate(vec![one]),
        Enqueued::Conflict,
        Enqueued::Fresh(vec![]),
        Enqueued::Fresh(vec![four]),
    ];
    equal(
        "a batch is answered in the order of its events",
        answers,
        expected,
    )?;
    for (id, webhook) in [(one, "a"), (two_b, "b"), (two_a, "a"), (four, "b")] {
        equal(
            "an event's deliveries are answered in the order given",
            record(store, id).await?.target,
            Target::Webhook(webhook.into()),
        )?;
    }
    equal(
        "an empty batch has no answers",
        store.enqueue(vec![], at(0)).await?,
        vec![],
    )
}

/// Delivery ids rise in a batch and from one call to the next.
pub async fn ids_rise(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    save(store, webhook("b"), at(0)).await?;
    let mut all = enqueue(store, "b", 0..20, at(9)).await?;
    all.extend(enqueue(store, "a", 0..20, at(0)).await?);
    all.extend(
        enqueue_event(
            store,
            new(event("x"), vec![to_webhook("b"), to_webhook("a")]),
            at(1),
        )
        .await?,
    );
    ensure(
        "delivery ids rise in the order of the batch, and from one call to the next",
        all.windows(2).all(|pair| pair[0] < pair[1]),
        || format!("{all:?}"),
    )
}

/// An event without deliveries is recorded all the same.
pub async fn an_event_without_deliveries_takes_its_id(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let none = enqueue_event(store, new(event("e"), vec![]), at(0)).await?;
    equal("an event without deliveries has none", none, vec![])?;
    let again = store
        .enqueue(vec![new(event("e"), vec![to_webhook("a")])], at(1))
        .await?;
    equal(
        "an event without any delivery is recorded all the same, so that its id is taken",
        again,
        vec![Enqueued::Duplicate(vec![])],
    )?;
    claims_nothing(store, "a duplicate adds nothing", at(2)).await
}

/// What is for a webhook that the store does not know is recorded as dead.
pub async fn an_unknown_webhook_means_dead(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let both = enqueue_event(
        store,
        new(event("e"), vec![to_webhook("nobody"), to_webhook("a")]),
        at(0),
    )
    .await?;
    let [dead, alive] = both[..] else {
        return Err(Violation::new(
            "every delivery of an event gets an id",
            format!("{both:?}"),
        ));
    };
    equal(
        "what is enqueued for a webhook that the store does not know is recorded as dead",
        record(store, dead).await?.state,
        State::Dead(DeadReason::WebhookDeleted),
    )?;
    let claimed = claim_one(store, at(1)).await?;
    equal("what is dead is not claimed", claimed.id, alive)
}

/// What is enqueued is pending, due at once, and reads as it was given.
pub async fn what_is_enqueued_is_due_at_once(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let rendered = NewDelivery {
        target: Target::Webhook("a".into()),
        body: Some(Bytes::from_static(b"{\"rendered\":true}")),
    };
    let both = enqueue_event(store, new(event("e"), vec![rendered, to_webhook("a")]), at(3)).await?;
    let bodies = [
        Bytes::from_static(b"{\"rendered\":true}"),
        event("e").body().clone(),
    ];
    for (id, body) in both.iter().zip(&bodies) {
        let record = record(store, *id).await?;
        equal("what is enqueued is pending", record.state, State::Pending)?;
        equal("what is enqueued is due at once", record.due, at(3))?;
        equal("a record says when it was enqueued", record.created_at, at(3))?;
        equal(
            "nothing is attempted yet",
            (record.attempts, record.first_failure),
            (0, None),
        )?;
        equal(
            "a record shows the bytes that are sent, the event's own where no others are given",
            record.body.as_ref(),
            Some(body),
        )?;
        equal("a record shows its event", &*record.event, &event("e"))?;
        equal("what is new has no history", store.attempts(*id).await?.len(), 0)?;
    }
    let mut claimed = claim(store, 10, at(3)).await?;
    claimed.sort_by_key(|claimed| claimed.id);
    equal(
        "what is due can be claimed, all of it",
        ids(&claimed),
        both.clone(),
    )?;
    equal(
        "a claim brings the bytes to send",
        claimed.iter().map(|claimed| claimed.body.clone()).collect(),
        bodies.to_vec(),
    )?;
    let listed = store.deliveries_of(&"scope".into(), &"e".into()).await?;
    equal(
        "the deliveries of an event are listed by id",
        listed.iter().map(|record| record.id).collect(),
        both,
    )
}

/// Bodies are bytes, headers keep all their values, ids keep every character.
pub async fn everything_is_kept_byte_for_byte(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    for event in odd_events() {
        let id = only(enqueue_event(store, new(event.clone(), vec![to_webhook("a")]), at(0)).await?)?;
        equal(
            "an event is read back equal",
            &*record(store, id).await?.event,
            &event,
        )?;
        let claimed = claim_one(store, at(0)).await?;
        equal("an event is claimed as it was enqueued", &*claimed.event, &event)?;
        ensure(
            "the bytes to send are those that were enqueued",
            claimed.body == *event.body(),
            || format!("{} bytes for {}", claimed.body.len(), event.body().len()),
        )?;
        let listed = only(store.deliveries_of(event.scope(), event.id()).await?)?;
        equal("a delivery is found by its event's id", listed.id, id)?;
        deliver(store, &claimed, at(0)).await?;
    }
    Ok(())
}

/// One event id in two scopes is two events.
pub async fn scopes_are_kept_apart(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let mut found = Vec::new();
    for scope in ["scope", "other", "scop", ""] {
        let event = Event::builder(scope, "e", "kind").json(scope.to_owned()).build();
        let event = event.expect("the checks' own events are whole");
        let id = only(enqueue_event(store, new(event, vec![to_webhook("a")]), at(0)).await?)?;
        found.push((scope, id));
    }
    for (scope, id) in found {
        let record = only(store.deliveries_of(&scope.into(), &"e".into()).await?)?;
        equal("an event id is unique within its scope", record.id, id)?;
        equal(
            "an event stays in its scope",
            record.event.scope().as_str(),
            scope,
        )?;
    }
    let none = store.deliveries_of(&"nowhere".into(), &"e".into()).await?;
    equal("an event is found only in its scope", none.len(), 0)
}

/// Reserved numbers are given out once.
pub async fn numbers_are_given_out_once(store: &dyn Store) -> Result<(), Violation> {
    let mut given = BTreeSet::new();
    for count in [1, 5, 1, 0, 3, 100, 1] {
        let first = store.reserve_numbers(count).await?;
        for number in first..first + i64::from(count) {
            ensure(
                "reserved numbers are ones that no other call will get",
                given.insert(number),
                || format!("{number} twice"),
            )?;
        }
    }
    Ok(())
}
