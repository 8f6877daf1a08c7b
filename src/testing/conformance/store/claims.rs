//! What a claim takes and brings.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::auth::{AuthConfig, HmacAuth, HmacScheme};
use crate::delivery::{State, Target, Webhook};
use crate::store::{AuthRecord, ClaimedTarget, Enqueued, Next};
use crate::time::before;

/// Only what is due is claimed.
pub async fn only_what_is_due_is_claimed(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    claims_nothing(store, "an empty store has nothing to claim", at(0)).await?;
    let id = enqueue_one(store, "a", at(10)).await?;
    claims_nothing(store, "only deliveries that are due are claimed", at(9)).await?;
    let claimed = claim_one(store, at(10)).await?;
    equal("what is due is claimed", claimed.id, id)?;
    equal(
        "a claimed delivery is sending",
        record(store, id).await?.state,
        State::Sending,
    )?;
    fail(store, &claimed, 100, at(10)).await?;
    let early = before(at(110), MICROSECOND);
    claims_nothing(store, "a retry is not claimed before it is due", early).await?;
    equal(
        "a retry that is due is claimed",
        claim_one(store, at(110)).await?.id,
        id,
    )
}

/// A claim takes at most what it asks for, and the rest is there for the next.
pub async fn a_claim_takes_no_more_than_asked(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let all = enqueue(store, "a", 0..7, at(0)).await?.into_iter().collect();
    equal(
        "a claim of none takes none",
        claim(store, 0, at(0)).await?.len(),
        0,
    )?;
    let mut claimed = claim(store, 3, at(0)).await?;
    equal("a lane with enough due fills the claim", claimed.len(), 3)?;
    claimed.extend(claim(store, 10, at(0)).await?);
    equal("what one claim left, the next one takes", distinct(&claimed), all)
}

/// In a lane, what has been due longest goes first.
pub async fn the_oldest_due_goes_first(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let first = enqueue_one(store, "a", at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    fail(store, &claimed, 50, at(0)).await?;
    let second = only(enqueue(store, "a", 1..2, at(20)).await?)?;
    let third = only(enqueue(store, "a", 2..3, at(10)).await?)?;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.extend(ids(&claim(store, 1, at(60)).await?));
    }
    equal(
        "a lane gives what is due, oldest due first",
        order,
        vec![third, second, first],
    )
}

/// A claim brings the webhook and the auth record as they are now.
pub async fn a_claim_brings_things_as_they_stand(store: &dyn Store) -> Result<(), Violation> {
    let named = Webhook {
        auth: Some("key".into()),
        ..webhook("a")
    };
    save(store, named.clone(), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    let moved = Webhook {
        url: url("https://elsewhere.example/new"),
        ..named
    };
    save(store, moved.clone(), at(1)).await?;
    for secret in [None, Some("first"), Some("second"), None] {
        let kept = secret.map(|secret| AuthRecord {
            id: "key".into(),
            name: "a key".into(),
            config: AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, secret)),
        });
        match kept.clone() {
            Some(record) => store.save_auth(record).await?,
            None => {
                store.remove_auth(&"key".into()).await?;
            }
        }
        let claimed = claim_one(store, at(2)).await?;
        equal("the delivery is the same", claimed.id, id)?;
        ensure(
            "a claim brings the auth record as it is now, or none if the store knows none",
            claimed.auth.as_deref() == kept.as_ref(),
            || format!("{:?}", claimed.auth),
        )?;
        match &claimed.target {
            ClaimedTarget::Webhook(seen) => {
                equal("a claim brings the webhook as it is now", &**seen, &moved)?;
            }
            other => return Err(Violation::new("a claim keeps its target", format!("{other:?}"))),
        }
        release(store, &claimed, at(2)).await?;
    }
    Ok(())
}

/// A URL given with a call is claimed as it was given.
pub async fn a_call_is_claimed_as_given(store: &dyn Store) -> Result<(), Violation> {
    let target = call("https://caller.example/done?secret=1", in_flight(2));
    let event = new(event("e"), vec![to(target.clone())]);
    let id = only(enqueue_event(store, event, at(0)).await?)?;
    equal(
        "a record shows its target",
        &record(store, id).await?.target,
        &target,
    )?;
    let claimed = claim_one(store, at(0)).await?;
    let ClaimedTarget::Call(seen) = &claimed.target else {
        return Err(Violation::new(
            "a claim keeps its target",
            format!("{:?}", claimed.target),
        ));
    };
    equal(
        "a claim keeps its target",
        Target::Call(Arc::unwrap_or_clone(Arc::clone(seen))),
        target,
    )?;
    deliver(store, &claimed, at(0)).await?;
    equal(
        "a call's delivery ends like any other",
        record(store, id).await?.state,
        State::Delivered,
    )
}

/// Claims made at the same time get different deliveries, and keep the limits together.
pub async fn claims_at_the_same_time_do_not_overlap(store: &dyn Store) -> Result<(), Violation> {
    for id in ["a", "b", "c"] {
        save(store, limited(id, in_flight(10)), at(0)).await?;
        enqueue(store, id, 0..30, at(0)).await?;
    }
    let claims = (0..12).map(|_| claim(store, 5, at(0)));
    let mut all = Vec::new();
    for claimed in join_all(claims).await {
        all.extend(claimed?);
    }
    equal(
        "until its lease ends no other claim returns a delivery",
        distinct(&all).len(),
        all.len(),
    )?;
    for id in ["a", "b", "c"] {
        let flying = count_to(&all, id);
        ensure("the limit in flight holds across claims", flying <= 10, || {
            format!("{flying} of 10")
        })?;
    }
    equal("claims go on until every place is taken", all.len(), 30)
}

/// A call whose future is dropped may or may not have been carried out; called again, it is, and once.
pub async fn a_dropped_call_loses_nothing(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "dropping a future gives up the answer, not the call";
    save(store, webhook("a"), at(0)).await?;
    let events = || vec![new(event("e"), vec![to_webhook("a")])];
    let _ = store.enqueue(events(), at(0)).now_or_never();
    let id = match only(store.enqueue(events(), at(0)).await?)? {
        Enqueued::Fresh(ids) | Enqueued::Duplicate(ids) => only(ids)?,
        Enqueued::Conflict => return Err(Violation::new(CLAUSE, "a conflict with itself")),
    };
    let _ = store.claim(request(10, at(0))).now_or_never();
    let claimed = claim_one(store, at(60)).await?; // by now the lease of a lost claim has ended
    equal(
        "a claim whose answer is lost leaves its delivery until the lease ends",
        claimed.id,
        id,
    )?;
    let settlements = || vec![settlement(&claimed, OK, Next::Delivered, at(61))];
    let before = record(store, id).await?.attempts;
    let _ = store.settle(settlements(), at(61)).now_or_never();
    store.settle(settlements(), at(61)).await?;
    let (record, history) = everything(store, id).await?;
    equal(
        CLAUSE,
        (record.state, record.attempts),
        (State::Delivered, before + 1),
    )?;
    equal(
        "history matches the count",
        history.len(),
        record.attempts as usize,
    )
}
