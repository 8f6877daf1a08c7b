//! Turns, limits and order.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{Limits, Order, Rate, State, Webhook};
use crate::store::Next;

/// A lane with a thousand waiting does not keep those with one waiting.
pub async fn lanes_take_turns(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("big"), at(0)).await?;
    enqueue(store, "big", 0..1_000, at(0)).await?;
    let mut singles = Vec::new();
    for (id, now) in [
        ("a", at(1)),
        ("b", at(2)),
        ("c", at(3)),
        ("d", at(4)),
        ("e", at(5)),
    ] {
        save(store, webhook(id), at(0)).await?;
        singles.push(enqueue_one(store, id, now).await?);
    }
    let mut served = Vec::new();
    for _ in 0..3 {
        let claimed = claim(store, 2, at(10)).await?;
        deliver_all(store, &claimed, at(10)).await?;
        served.extend(ids(&claimed));
    }
    let missed: Vec<_> = singles.into_iter().filter(|id| !served.contains(id)).collect();
    ensure(
        "the lane that has waited longest since its work became due or since it was last served goes first",
        missed.is_empty(),
        || format!("three claims of two served {served:?}, and never {missed:?}"),
    )
}

/// Over many claims, lanes that all have work get the same.
pub async fn turns_are_even(store: &dyn Store) -> Result<(), Violation> {
    for (id, waiting) in [("a", 1_000), ("b", 40), ("c", 40)] {
        save(store, webhook(id), at(0)).await?;
        enqueue(store, id, 0..waiting, at(0)).await?;
    }
    let mut served = BTreeMap::from([("a", 0), ("b", 0), ("c", 0)]);
    for round in 0..30 {
        let claimed = claim(store, 1, at(10 + round)).await?;
        for (id, count) in &mut served {
            *count += count_to(&claimed, id);
        }
        deliver_all(store, &claimed, at(10 + round)).await?;
    }
    equal(
        "lanes take turns, however much waits in one",
        served,
        BTreeMap::from([("a", 10), ("b", 10), ("c", 10)]),
    )
}

/// A claim shares its places among the lanes.
pub async fn a_claim_shares_its_places(store: &dyn Store) -> Result<(), Violation> {
    for id in ["a", "b"] {
        save(store, webhook(id), at(0)).await?;
        enqueue(store, id, 0..50, at(0)).await?;
    }
    let claimed = claim(store, 10, at(0)).await?;
    let shares = (count_to(&claimed, "a"), count_to(&claimed, "b"));
    equal(
        "a claim shares the places it was given among the lanes",
        shares,
        (5, 5),
    )
}

/// No more are in flight than the limit, whoever claims; a settled one makes room.
pub async fn the_limit_in_flight_holds(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a lane never gives more than its allowance";
    save(store, limited("a", in_flight(3)), at(0)).await?;
    let all = enqueue_in_turn(store, "a", 0..10, at(-1)).await?;
    let mut first = claim(store, 2, at(0)).await?;
    first.extend(claim(store, 10, at(0)).await?);
    equal(CLAUSE, distinct(&first), all[..3].iter().copied().collect())?;
    claims_nothing(store, CLAUSE, at(1)).await?;
    deliver(store, &first[0], at(1)).await?;
    equal(
        "a delivery that is settled makes room",
        ids(&claim(store, 10, at(1)).await?),
        vec![all[3]],
    )?;
    fail(store, &first[1], 100, at(1)).await?;
    equal(
        "a retry that waits holds no place",
        ids(&claim(store, 10, at(1)).await?),
        vec![all[4]],
    )?;
    release(store, &first[2], at(1)).await?;
    equal(
        "a delivery that is released makes room",
        ids(&claim(store, 10, at(1)).await?),
        vec![all[2]],
    )?;
    claims_nothing(store, CLAUSE, at(2)).await
}

/// A lane at its limit does not keep the others.
pub async fn a_full_lane_keeps_nobody(store: &dyn Store) -> Result<(), Violation> {
    for id in ["full", "a", "b"] {
        save(store, limited(id, in_flight(1)), at(0)).await?;
        enqueue(store, id, 0..50, at(0)).await?;
    }
    let claimed = claim(store, 3, at(0)).await?;
    equal("each lane gives one", claimed.len(), 3)?;
    let mut others: Vec<_> = claimed
        .into_iter()
        .filter(|claimed| count_to(std::slice::from_ref(claimed), "full") == 0)
        .collect();
    for round in 1..20 {
        deliver_all(store, &others, at(round)).await?;
        others = claim(store, 2, at(round)).await?;
        equal(
            "a lane whose receiver hangs holds only its own places",
            (count_to(&others, "a"), count_to(&others, "b")),
            (1, 1),
        )?;
    }
    Ok(())
}

/// In a strict lane they go one after another, and a failed one comes first again.
pub async fn strict_order_holds(store: &dyn Store) -> Result<(), Violation> {
    const ONE: &str = "in a strict lane only the oldest goes, and only when none is in flight";
    save(store, strict("a"), at(0)).await?;
    let all = enqueue(store, "a", 0..5, at(0)).await?;
    let claimed = claim(store, 10, at(0)).await?;
    equal(ONE, ids(&claimed), vec![all[0]])?;
    claims_nothing(store, ONE, at(1)).await?;
    fail(store, &claimed[0], 100, at(1)).await?;
    claims_nothing(
        store,
        "in a strict lane a failed one is retried before the next goes",
        at(50),
    )
    .await?;
    let claimed = claim(store, 10, at(101)).await?;
    equal(ONE, ids(&claimed), vec![all[0]])?;
    release(store, &claimed[0], at(101)).await?;
    let claimed = claim(store, 10, at(101)).await?;
    equal(
        "in a strict lane a released one goes again",
        ids(&claimed),
        vec![all[0]],
    )?;
    let expired = at(101 + 60);
    let claimed = claim(store, 10, expired).await?;
    equal(
        "in a strict lane an interrupted one goes again",
        ids(&claimed),
        vec![all[0]],
    )?;
    settle_held(
        store,
        settlement(&claimed[0], ERROR, Next::Exhausted, expired),
        expired,
    )
    .await?;
    let claimed = claim(store, 10, expired).await?;
    equal("after a dead one the next goes", ids(&claimed), vec![all[1]])?;
    deliver(store, &claimed[0], expired).await?;
    for id in &all[2..] {
        let claimed = claim(store, 10, expired).await?;
        equal(ONE, ids(&claimed), vec![*id])?;
        deliver(store, &claimed[0], expired).await?;
    }
    claims_nothing(store, "what is delivered is not claimed", expired).await
}

/// Strict order is the order of enqueueing, even where the clock went back meanwhile.
pub async fn strict_order_does_not_go_by_the_clock(store: &dyn Store) -> Result<(), Violation> {
    save(store, strict("a"), at(0)).await?;
    let first = only(enqueue(store, "a", 0..1, at(50)).await?)?;
    let second = only(enqueue(store, "a", 1..2, at(0)).await?)?;
    claims_nothing(store, "in a strict lane only the oldest of all goes", at(10)).await?;
    let mut order = Vec::new();
    for _ in 0..2 {
        let claimed = claim_one(store, at(50)).await?;
        deliver(store, &claimed, at(50)).await?;
        order.push(claimed.id);
    }
    equal(
        "a strict lane goes in the order of enqueueing",
        order,
        vec![first, second],
    )
}

/// No more go over time than the rate lets.
pub async fn the_rate_holds(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a lane gives no more over time than its rate";
    let rate = Rate {
        interval: Duration::from_secs(10),
        burst: NonZeroU32::MIN.saturating_add(1),
    };
    let limits = Limits {
        rate: Some(rate),
        ..in_flight(1_000)
    };
    save(store, limited("a", limits), at(0)).await?;
    enqueue(store, "a", 0..20, at(0)).await?;
    for (second, expected) in [
        (0, 2),
        (0, 0),
        (5, 0),
        (9, 0),
        (10, 1),
        (19, 0),
        (20, 1),
        (60, 2),
        (61, 0),
    ] {
        let claimed = claim(store, 10, at(second)).await?;
        deliver_all(store, &claimed, at(second)).await?;
        equal(CLAUSE, (second, claimed.len()), (second, expected))?;
    }
    Ok(())
}

/// A disabled webhook keeps its deliveries, and sends them once it is enabled.
pub async fn a_disabled_webhook_keeps_its_deliveries(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "while a webhook is disabled its deliveries are kept and not sent";
    let off = Webhook {
        enabled: false,
        ..webhook("a")
    };
    save(store, webhook("a"), at(0)).await?;
    let early = enqueue(store, "a", 0..2, at(0)).await?;
    let flying = only(claim(store, 1, at(0)).await?)?;
    save(store, off, at(1)).await?;
    let late = enqueue(store, "a", 2..4, at(2)).await?;
    claims_nothing(store, CLAUSE, at(3)).await?;
    claims_nothing(store, CLAUSE, at(1_000_000)).await?;
    for id in [early[1], late[0], late[1]] {
        equal(CLAUSE, record(store, id).await?.state, State::Pending)?;
    }
    let again = claim(store, 10, at(3)).await?;
    equal(CLAUSE, again.len(), 0)?;
    save(store, webhook("a"), at(1_000_001)).await?;
    let mut sent = distinct(&claim(store, 10, at(1_000_001)).await?);
    sent.insert(flying.id);
    let expected = early.into_iter().chain(late).collect();
    equal(
        "once it is enabled, a webhook's deliveries are sent",
        sent,
        expected,
    )
}

/// Claims go by the limits and the order as last saved.
pub async fn changed_limits_take_effect(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a lane's limits and order are those of its webhook as last saved";
    save(store, limited("a", in_flight(1)), at(0)).await?;
    let all = enqueue_in_turn(store, "a", 0..10, at(-1)).await?;
    let mut flying = claim(store, 10, at(0)).await?;
    equal(CLAUSE, flying.len(), 1)?;
    save(store, limited("a", in_flight(3)), at(0)).await?;
    flying.extend(claim(store, 10, at(0)).await?);
    equal(CLAUSE, flying.len(), 3)?;
    save(store, limited("a", in_flight(1)), at(0)).await?;
    deliver(store, &flying[0], at(0)).await?;
    claims_nothing(store, CLAUSE, at(0)).await?;
    save(store, strict("a"), at(0)).await?;
    deliver(store, &flying[1], at(0)).await?;
    claims_nothing(store, CLAUSE, at(0)).await?;
    fail(store, &flying[2], 10, at(0)).await?;
    claims_nothing(store, CLAUSE, at(5)).await?;
    save(
        store,
        Webhook {
            order: Order::Any,
            ..limited("a", in_flight(2))
        },
        at(5),
    )
    .await?;
    equal(
        CLAUSE,
        distinct(&claim(store, 10, at(5)).await?),
        all[3..5].iter().copied().collect(),
    )
}

/// Calls take turns by scheme, host and port, under the limits of the last one.
pub async fn calls_wait_by_origin(store: &dyn Store) -> Result<(), Violation> {
    let enqueue = async |id: &str, url: &str, limit: u32| {
        let event = new(event(id), vec![to(call(url, in_flight(limit)))]);
        only(enqueue_event(store, event, at(0)).await?)
    };
    let first = enqueue("1", "https://caller.example/one", 1).await?;
    let second = enqueue("2", "https://caller.example/two?x=1", 1).await?;
    let other_port = enqueue("3", "https://caller.example:8443/one", 1).await?;
    let other_host = enqueue("4", "https://other.example/one", 1).await?;
    let claimed = distinct(&claim(store, 10, at(0)).await?);
    equal(
        "calls to one scheme, host and port share a lane",
        claimed,
        [first, other_port, other_host].into(),
    )?;
    enqueue("5", "https://caller.example/three", 2).await?;
    equal(
        "a lane's limits are those of the call last enqueued in it",
        ids(&claim(store, 10, at(0)).await?),
        vec![second],
    )
}

/// After the clock went back, what is due by it still goes.
pub async fn a_clock_set_back_stops_nothing(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    enqueue(store, "a", 0..1, at(1_000_000)).await?;
    let claimed = claim_one(store, at(1_000_000)).await?;
    deliver(store, &claimed, at(1_000_000)).await?;
    let id = only(enqueue(store, "a", 1..2, at(0)).await?)?;
    let claimed = claim_one(store, at(0)).await?;
    equal("what is due by the caller's `now` is claimed", claimed.id, id)?;
    deliver(store, &claimed, at(0)).await?;

    // A lane that was served while the clock was ahead, and still has work.
    enqueue(store, "a", 2..4, at(1)).await?;
    let ahead = only(claim(store, 1, at(1_000_000)).await?)?;
    deliver(store, &ahead, at(1_000_000)).await?;
    let due = store.next_due(at(2)).await?;
    ensure(
        "next_due is `now` or earlier if there is work already",
        due.is_some_and(|due| due <= at(2)),
        || format!("{due:?} asked at {}", at(2)),
    )?;
    let claimed = claim(store, 1, at(2)).await?;
    equal("what is due by the caller's `now` is claimed", claimed.len(), 1)
}
