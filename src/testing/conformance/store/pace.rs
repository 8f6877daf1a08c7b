//! How fast lanes go: slowed by what their receivers bear, and never for long.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::StatusCode;

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{Outcome, Pace, Pacing, Webhook};
use crate::retry::Flusher;
use crate::store::{Claimed, Next, Settlement, Switch};
use crate::time::{after, before};

const SLOWED: &str = "a lane that is slowed gives no more than its pace";
const PAUSED: &str = "a lane that pauses gives nothing";
const OVER: &str = "a pause comes to its end";

/// What a delivery comes back with that was too much for its receiver, to be tried again much later.
fn slowed(claimed: &Claimed, asked: Option<u64>, now: DateTime<Utc>) -> Settlement {
    let outcome = Outcome::Answered(StatusCode::TOO_MANY_REQUESTS);
    let later = after(now, Duration::from_secs(1_000_000));
    Settlement {
        pacing: Pacing::Slow(asked.map(Duration::from_secs)),
        ..settlement(claimed, outcome, Next::Retry(later), now)
    }
}

async fn slow(store: &dyn Store, claimed: &[Claimed], now: DateTime<Utc>) -> Checked {
    for claimed in claimed {
        settle_held(store, slowed(claimed, None, now), now).await?;
    }
    Ok(())
}

async fn gain(store: &dyn Store, claimed: &[Claimed], now: DateTime<Utc>) -> Checked {
    for claimed in claimed {
        let settlement = Settlement {
            pacing: Pacing::Gain,
            ..settlement(claimed, OK, Next::Delivered, now)
        };
        settle_held(store, settlement, now).await?;
    }
    Ok(())
}

/// Half of the places go, down to one; then it pauses, longer each time.
pub async fn a_slowed_lane_gives_less(store: &dyn Store) -> Result<(), Violation> {
    save(store, limited("a", in_flight(8)), at(0)).await?;
    enqueue(store, "a", 0..40, at(0)).await?;
    for places in [8, 4, 2, 1] {
        let claimed = claim(store, 40, at(0)).await?;
        equal(SLOWED, claimed.len(), places)?;
        slow(store, &claimed, at(0)).await?;
    }
    let mut now = at(0);
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        let open = after(now, Duration::from_secs(pause));
        claims_nothing(store, PAUSED, before(open, MICROSECOND)).await?;
        let due = store.next_due(now).await?;
        ensure(
            "next_due is not later than a pause ends",
            due.is_some_and(|due| due <= open),
            || format!("{due:?}, where it ends at {open}"),
        )?;
        let claimed = claim(store, 40, open).await?;
        equal(OVER, claimed.len(), 1)?;
        slow(store, &claimed, open).await?;
        now = open;
    }
    Ok(())
}

/// What was in flight when a lane was slowed was sent at its earlier pace, and says nothing of the new one.
pub async fn of_what_was_sent_together_one_counts(store: &dyn Store) -> Result<(), Violation> {
    save(store, limited("a", in_flight(8)), at(0)).await?;
    enqueue(store, "a", 0..40, at(0)).await?;
    let claimed = claim(store, 40, at(0)).await?;
    slow(store, &claimed[..3], at(0)).await?;
    claims_nothing(store, SLOWED, at(0)).await?; // five are in flight
    gain(store, &claimed[3..], at(0)).await?;
    equal(SLOWED, claim(store, 40, at(0)).await?.len(), 4)
}

/// A lane at one place pauses for what its receiver asks for, an hour at most, and others go on.
pub async fn a_pause_holds_up_its_lane_alone(store: &dyn Store) -> Result<(), Violation> {
    let mut now = at(0);
    for (asked, given) in [(20, 20), (86_400, Pace::LONGEST_ASKED.as_secs())] {
        for id in ["a", "b"] {
            let (id, numbers) = (format!("{id}{asked}"), 0..3);
            save(store, limited(&id, in_flight(1)), now).await?;
            enqueue(store, &id, numbers, now).await?;
        }
        let claimed = claim(store, 10, now).await?;
        equal("each lane gives its one", claimed.len(), 2)?;
        for (number, claimed) in claimed.iter().enumerate() {
            let slowed = match number {
                0 => slowed(claimed, Some(asked), now),
                _ => settlement(claimed, OK, Next::Delivered, now),
            };
            settle_held(store, slowed, now).await?;
        }
        for _ in 0..2 {
            let other = claim_one(store, now).await?;
            deliver(store, &other, now).await?;
        }
        let open = after(now, Duration::from_secs(given));
        claims_nothing(store, PAUSED, before(open, MICROSECOND)).await?;
        for _ in 0..2 {
            let claimed = claim_one(store, open).await?;
            gain(store, &[claimed], open).await?;
        }
        now = open;
    }
    Ok(())
}

/// What is released or interrupted has come back too: the pace does not wait for it.
pub async fn what_comes_back_uncounted_is_not_waited_for(store: &dyn Store) -> Result<(), Violation> {
    save(store, limited("a", in_flight(8)), at(0)).await?;
    enqueue(store, "a", 0..40, at(0)).await?;
    let claimed = claim(store, 40, at(0)).await?;
    slow(store, &claimed[..1], at(0)).await?;
    for claimed in &claimed[1..4] {
        release(store, claimed, at(0)).await?;
    }
    let again = claim(store, 40, at(60)).await?; // the leases of the others have ended
    equal(SLOWED, again.len(), 4)?;
    slow(store, &again, at(60)).await?;
    equal(SLOWED, claim(store, 40, at(60)).await?.len(), 2)
}

/// Answers win places back, one once there were as many as there are places, up to the limit.
pub async fn the_pace_is_won_back(store: &dyn Store) -> Result<(), Violation> {
    const BACK: &str = "a lane wins its places back one after the other";
    save(store, limited("a", in_flight(4)), at(0)).await?;
    enqueue(store, "a", 0..60, at(0)).await?;
    for places in [4, 2, 1] {
        let claimed = claim(store, 60, at(0)).await?;
        equal(SLOWED, claimed.len(), places)?;
        slow(store, &claimed, at(0)).await?;
    }
    for places in [1, 2, 3, 4, 4] {
        let claimed = claim(store, 60, at(1)).await?;
        equal(BACK, claimed.len(), places)?;
        gain(store, &claimed, at(1)).await?;
    }
    Ok(())
}

/// Whoever enables a webhook again wants to see it tried.
pub async fn a_webhook_enabled_again_begins_at_full_pace(store: &dyn Store) -> Result<(), Violation> {
    save(store, limited("a", in_flight(1)), at(0)).await?;
    enqueue(store, "a", 0..3, at(0)).await?;
    let claimed = claim_one(store, at(0)).await?;
    settle_held(store, slowed(&claimed, Some(600), at(0)), at(0)).await?;
    save(store, limited("a", in_flight(2)), at(1)).await?;
    claims_nothing(store, PAUSED, at(1)).await?;
    for switch in [Switch::Off, Switch::On] {
        store.switch_webhook(&"a".into(), switch, at(2)).await?;
    }
    equal(
        "a webhook that is enabled again begins at full pace",
        claim(store, 10, at(2)).await?.len(),
        2,
    )
}

/// Calls to one scheme, host and port share a lane, and so its pace.
pub async fn calls_to_one_origin_have_one_pace(store: &dyn Store) -> Result<(), Violation> {
    for (number, target) in ["https://a.example/1", "https://a.example/2", "https://b.example/"]
        .into_iter()
        .enumerate()
    {
        let to = vec![to(call(target, in_flight(1)))];
        enqueue_event(store, new(event(&number.to_string()), to), at(0)).await?;
    }
    let claimed = claim(store, 10, at(0)).await?;
    equal("each origin gives its one", claimed.len(), 2)?;
    settle_held(store, slowed(&claimed[0], Some(20), at(0)), at(0)).await?;
    deliver(store, &claimed[1], at(0)).await?;
    claims_nothing(store, PAUSED, at(19)).await?;
    claim_one(store, at(20)).await.map(drop)
}

/// What cannot be proved cannot be sent in a run either.
pub async fn a_pause_holds_up_runs(store: &dyn Store) -> Result<(), Violation> {
    let flushed = Webhook {
        flusher: Some(Flusher::default()),
        ..webhook("a")
    };
    save(store, flushed, at(0)).await?;
    enqueue(store, "a", 0..2, at(0)).await?;
    let claimed = claim(store, 10, at(0)).await?;
    for (claimed, second) in claimed.iter().zip([0, 290]) {
        let paused = Settlement {
            pacing: Pacing::Pause(Duration::from_secs(30)),
            ..settlement(claimed, ERROR, Next::AwaitRun, at(second))
        };
        store.settle(vec![paused], at(second)).await?;
    }
    claims_nothing(store, PAUSED, at(319)).await?;
    equal(OVER, claim_one(store, at(320)).await?.id, claimed[0].id)
}

/// A pause that was reckoned from a time that has not come holds nothing up.
pub async fn a_clock_set_back_ends_pauses(store: &dyn Store) -> Result<(), Violation> {
    save(store, limited("a", in_flight(1)), at(0)).await?;
    enqueue(store, "a", 0..2, at(0)).await?;
    let claimed = claim_one(store, at(10_000)).await?;
    settle_held(store, slowed(&claimed, Some(3_600), at(10_001)), at(10_001)).await?;
    claims_nothing(store, PAUSED, at(10_002)).await?;
    claim_one(store, at(0)).await.map(drop)
}
