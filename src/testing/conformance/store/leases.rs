//! Leases and fences.

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{Outcome, State};
use crate::id::{DeliveryId, Fence};
use crate::store::{Claimed, Next, Settled, Settlement};
use crate::time::before;

const LATE: &str = "a settlement or release with a fence that is not the present one changes nothing";

/// Until a lease ends, no other claim returns its delivery; from then on the next one does.
pub async fn a_lease_keeps_others_away(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    claim_one(store, at(0)).await?;
    for now in [at(0), at(30), before(at(60), MICROSECOND)] {
        claims_nothing(
            store,
            "until its lease ends no other claim returns a delivery",
            now,
        )
        .await?;
    }
    let again = claim_one(store, at(60)).await?;
    equal("a delivery whose lease has ended is claimed again", again.id, id)
}

/// A lease is as long as each claim says.
pub async fn each_claim_has_its_own_lease(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    enqueue(store, "a", 0..2, at(0)).await?;
    let long = only(claim(store, 1, at(0)).await?)?;
    let short = crate::store::ClaimRequest {
        lease: std::time::Duration::from_secs(5),
        ..request(1, at(0))
    };
    let short = only(store.claim(short).await?)?;
    let again = claim_one(store, at(5)).await?;
    equal("a lease is as long as its claim says", again.id, short.id)?;
    claims_nothing(store, "a lease is as long as its claim says", at(59)).await?;
    deliver(store, &again, at(59)).await?;
    equal(
        "a lease is as long as its claim says",
        claim_one(store, at(60)).await?.id,
        long.id,
    )
}

/// The attempt of a lease that ended is recorded as interrupted, and counts.
pub async fn an_ended_lease_is_an_interrupted_attempt(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    let first = claim_one(store, at(1)).await?;
    ensure(
        "what was never claimed was not interrupted",
        !first.interrupted,
        || "marked as interrupted".into(),
    )?;
    let again = claim_one(store, at(100)).await?;
    equal("an interrupted attempt counts", again.attempts, 1)?;
    ensure(
        "after an interruption the claim says so",
        again.interrupted,
        || "not marked".into(),
    )?;
    ensure(
        "an interruption is a failure",
        again.first_failure.is_some(),
        || "no first failure".into(),
    )?;
    let kept = only(store.attempts(id).await?)?;
    equal(
        "the attempt of a lease that ended is recorded as interrupted",
        (kept.number, kept.report.outcome),
        (1, Outcome::Interrupted),
    )?;
    equal(
        "an interrupted attempt counts",
        record(store, id).await?.attempts,
        1,
    )?;

    fail(store, &again, 0, at(101)).await?;
    let third = claim_one(store, at(101)).await?;
    ensure(
        "once its schedule was asked, it is not marked any more",
        !third.interrupted,
        || "marked as interrupted".into(),
    )?;
    equal(
        "the first failure stays",
        third.first_failure,
        again.first_failure,
    )?;
    equal("attempts count on", third.attempts, 2)
}

/// A delivery that every worker dies of gets on all the same.
pub async fn interruptions_add_up(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    for round in 0..5 {
        let claimed = claim_one(store, at(60 * i64::from(round))).await?;
        equal("every interrupted attempt counts", claimed.attempts, round)?;
        equal(
            "history holds one entry for each attempt that was counted",
            store.attempts(id).await?.len(),
            claimed.attempts as usize,
        )?;
    }
    Ok(())
}

/// However small the claims, everything whose lease ended comes back.
pub async fn small_claims_find_every_ended_lease(store: &dyn Store) -> Result<(), Violation> {
    for webhook in ["a", "b"] {
        save(store, limited(webhook, in_flight(3)), at(0)).await?;
        enqueue(store, webhook, 0..3, at(0)).await?;
    }
    let all = distinct(&claim(store, 10, at(0)).await?);
    let mut again = Vec::new();
    for _ in 0..6 {
        again.extend(claim(store, 1, at(60)).await?);
    }
    equal(
        "a delivery whose lease has ended is claimed again",
        distinct(&again),
        all,
    )
}

/// Each claim's fence is one higher than ever before for its delivery.
pub async fn fences_rise(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    let mut last = Fence::UNCLAIMED;
    let mut rises = |claimed: &Claimed| {
        let expected = last.next();
        last = claimed.fence;
        equal(
            "a claim's fence is one higher than ever before",
            claimed.fence,
            expected,
        )
    };
    let claimed = claim_one(store, at(0)).await?;
    rises(&claimed)?;
    release(store, &claimed, at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    rises(&claimed)?;
    fail(store, &claimed, 0, at(0)).await?;
    rises(&claim_one(store, at(0)).await?)?;
    let claimed = claim_one(store, at(60)).await?;
    rises(&claimed)?;
    deliver(store, &claimed, at(60)).await?;
    store.replay(id, at(60)).await?;
    rises(&claim_one(store, at(60)).await?)
}

/// Who lost the lease cannot write: not while another holds it, nor after anything else.
pub async fn a_late_settlement_changes_nothing(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    let early = claim_one(store, at(0)).await?;
    let held = claim_one(store, at(60)).await?;
    refused(store, &early, at(61)).await?;
    fail(store, &held, 10, at(62)).await?;
    refused(store, &early, at(63)).await?;
    refused(store, &held, at(63)).await?;
    let last = claim_one(store, at(72)).await?;
    refused(store, &held, at(73)).await?;
    deliver(store, &last, at(74)).await?;
    for claimed in [&early, &held, &last] {
        refused(store, claimed, at(75)).await?;
    }
    store.replay(id, at(76)).await?;
    refused(store, &last, at(77)).await?;
    let final_claim = claim_one(store, at(78)).await?;
    settle_held(store, settlement(&final_claim, ERROR, Next::Gone, at(79)), at(79)).await?;
    refused(store, &final_claim, at(80)).await
}

/// What was never claimed cannot be settled, nor what is not there.
pub async fn only_what_is_claimed_can_be_settled(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let both = enqueue(store, "a", 0..2, at(0)).await?;
    let claimed = only(claim(store, 1, at(0)).await?)?;
    for id in both {
        for fence in [
            Fence::UNCLAIMED,
            claimed.fence.next(),
            Fence(i64::MAX),
            Fence(i64::MIN),
        ] {
            let other = Claimed {
                id,
                fence,
                ..claimed.clone()
            };
            refused(store, &other, at(1)).await?;
        }
    }
    let nobody = Claimed {
        id: DeliveryId(claimed.id.0 + 1_000),
        ..claimed.clone()
    };
    let settled = settle(store, settlement(&nobody, OK, Next::Delivered, at(1)), at(1)).await?;
    equal(
        "a delivery that is not there cannot be settled",
        settled,
        Settled::LeaseLost,
    )?;
    let released = release(store, &nobody, at(1)).await?;
    equal(
        "a delivery that is not there cannot be released",
        released,
        Settled::LeaseLost,
    )?;
    deliver(store, &claimed, at(1)).await
}

/// A lease that has ended but that nobody took over still holds.
pub async fn an_ended_lease_holds_until_it_is_taken(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a lease that has ended but that nobody took over still holds";
    save(store, webhook("a"), at(0)).await?;
    enqueue(store, "a", 0..2, at(0)).await?;
    let claimed = claim(store, 2, at(0)).await?;
    let [settled, released] = &claimed[..] else {
        return Err(Violation::new(
            "what is due is claimed",
            format!("{}", claimed.len()),
        ));
    };
    let answer = settle(store, settlement(settled, OK, Next::Delivered, at(500)), at(500)).await?;
    equal(CLAUSE, answer, Settled::Done)?;
    let (row, history) = everything(store, settled.id).await?;
    equal(
        CLAUSE,
        (row.state, row.attempts, history.len()),
        (State::Delivered, 1, 1),
    )?;
    equal(CLAUSE, release(store, released, at(500)).await?, Settled::Done)?;
    let (row, history) = everything(store, released.id).await?;
    equal(
        CLAUSE,
        (row.state, row.attempts, history.len()),
        (State::Pending, 0, 0),
    )
}

/// In one batch, too, a fence is good for one settlement.
pub async fn a_batch_settles_each_once(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    enqueue(store, "a", 0..2, at(0)).await?;
    let claimed = claim(store, 2, at(0)).await?;
    let [one, two] = &claimed[..] else {
        return Err(Violation::new(
            "what is due is claimed",
            format!("{}", claimed.len()),
        ));
    };
    let stale = Settlement {
        fence: Fence::UNCLAIMED,
        ..settlement(two, OK, Next::Delivered, at(1))
    };
    let batch = vec![
        stale,
        settlement(one, OK, Next::Delivered, at(1)),
        settlement(one, ERROR, Next::Gone, at(1)),
        settlement(two, ERROR, Next::Exhausted, at(1)),
    ];
    equal(
        "the answers are in the order of the settlements",
        store.settle(batch, at(1)).await?,
        vec![
            Settled::LeaseLost,
            Settled::Done,
            Settled::LeaseLost,
            Settled::Done,
        ],
    )?;
    equal(
        "a fence is good for one settlement",
        record(store, one.id).await?.state,
        State::Delivered,
    )?;
    equal(
        "an empty batch has no answers",
        store.settle(vec![], at(1)).await?,
        vec![],
    )?;
    equal(
        "an empty batch has no answers",
        store.release(vec![], at(1)).await?,
        vec![],
    )
}

/// Tries to settle in every way and to release, and sees that nothing is changed.
async fn refused(
    store: &dyn Store,
    claimed: &Claimed,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), Violation> {
    let before = everything(store, claimed.id).await?;
    for next in [Next::Delivered, Next::Retry(now), Next::Exhausted, Next::Gone] {
        let answer = settle(store, settlement(claimed, OK, next, now), now).await?;
        equal("a late settlement is answered so", answer, Settled::LeaseLost)?;
    }
    let without = Settlement {
        attempt: None,
        ..settlement(claimed, OK, Next::Retry(now), now)
    };
    equal(
        "a late settlement is answered so",
        settle(store, without, now).await?,
        Settled::LeaseLost,
    )?;
    equal(
        "a late release is answered so",
        release(store, claimed, now).await?,
        Settled::LeaseLost,
    )?;
    equal(LATE, everything(store, claimed.id).await?, before)
}
