//! The runs of a flusher over one lane.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{Limits, Order, Outcome, Rate, State, Webhook};
use crate::id::DeliveryId;
use crate::retry::Flusher;
use crate::store::{Claimed, Next, Settlement};

const PERIOD: i64 = 100;
const CONSECUTIVE: u32 = 3;

/// A webhook whose runs are 100 seconds apart and stop after 3 failures in a row or 2 timeouts.
fn flushed(id: &str) -> Webhook {
    let flusher = Flusher::default()
        .with_max_consecutive_failures(NonZeroU32::new(CONSECUTIVE).unwrap_or(NonZeroU32::MIN))
        .with_period(Duration::from_secs(PERIOD.unsigned_abs()));
    Webhook {
        flusher: flusher.ok(),
        ..webhook(id)
    }
}

async fn await_run(store: &dyn Store, claimed: &Claimed, outcome: Outcome, now: DateTime<Utc>) -> Checked {
    settle_held(store, settlement(claimed, outcome, Next::AwaitRun, now), now).await
}

/// So many deliveries of webhook `a` that have failed at `now`.
async fn failed(
    store: &dyn Store,
    numbers: std::ops::Range<u32>,
    now: DateTime<Utc>,
) -> Checked<Vec<DeliveryId>> {
    let all = enqueue(store, "a", numbers, now).await?;
    for claimed in claim(store, 100, now).await? {
        await_run(store, &claimed, ERROR, now).await?;
    }
    Ok(all)
}

/// What failed waits for the next run, a period after the first failure; a first send does not.
pub async fn what_failed_awaits_a_run(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what is settled to await a run waits for one";
    store.save_webhook(flushed("a"), at(0)).await?;
    let ids = failed(store, 0..2, at(0)).await?;
    let record = record(store, ids[0]).await?;
    equal(CLAUSE, (record.state, record.due), (State::Pending, at(PERIOD)))?;
    claims_nothing(store, CLAUSE, at(PERIOD - 1)).await?;
    equal(
        "the next run is waited for",
        store.next_due(at(1)).await?,
        Some(at(PERIOD)),
    )?;
    let first = enqueue_one_more(store, 2, at(50)).await?;
    equal(
        "first sends go at once",
        ids_of(store, at(50)).await?,
        vec![first],
    )?;
    equal(
        "a run starts on its tick",
        ids_of(store, at(PERIOD)).await?,
        vec![ids[0]],
    )
}

/// A run has one in flight at a time, oldest first, whatever the limit; first sends go beside it.
pub async fn a_run_takes_one_at_a_time(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a run takes what awaits it one at a time, oldest first";
    store.save_webhook(flushed("a"), at(0)).await?;
    let waiting = failed(store, 0..3, at(0)).await?;
    for (round, id) in (0..).zip(waiting) {
        let now = at(PERIOD + round);
        let claimed = claim_one(store, now).await?;
        equal(CLAUSE, claimed.id, id)?;
        claims_nothing(store, CLAUSE, now).await?;
        let first = enqueue_one_more(store, 10 + u32::try_from(round).unwrap_or(0), now).await?;
        let beside = claim_one(store, now).await?;
        equal("first sends go beside a run", beside.id, first)?;
        deliver(store, &beside, now).await?;
        claims_nothing(store, CLAUSE, now).await?;
        deliver(store, &claimed, now).await?;
    }
    claims_nothing(store, "a run is over when nothing is left", at(PERIOD + 5)).await
}

/// What the run takes goes before first sends, where there is a place for one only.
pub async fn a_run_goes_before_first_sends(store: &dyn Store) -> Result<(), Violation> {
    let narrow = Webhook {
        limits: in_flight(1),
        ..flushed("a")
    };
    store.save_webhook(narrow, at(0)).await?;
    let waiting = failed_one_by_one(store, 0..2, at(0)).await?;
    enqueue(store, "a", 5..7, at(PERIOD - 1)).await?;
    for id in waiting {
        let claimed = claim_one(store, at(PERIOD)).await?;
        equal(
            "what the run takes goes before anything else of its lane",
            claimed.id,
            id,
        )?;
        deliver(store, &claimed, at(PERIOD)).await?;
    }
    Ok(())
}

/// What fails or arrives during a run is left to the next.
pub async fn a_run_leaves_out_what_comes_during_it(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what comes to wait during a run is left to the next";
    store.save_webhook(flushed("a"), at(0)).await?;
    // One that is in flight when the run starts, and older than those of the run.
    let early = enqueue_one_more(store, 0, at(0)).await?;
    let early_claim = claim_one(store, at(0)).await?;
    let waiting = failed(store, 1..3, at(0)).await?;
    // Before its lease ends, while the run has the first of its own in flight:
    store.save_webhook(shorter(), at(1)).await?;
    let first = claim_one(store, at(21)).await?;
    equal("a run starts on its tick", first.id, waiting[0])?;
    await_run(store, &early_claim, ERROR, at(21)).await?;
    let late = enqueue_one_more(store, 9, at(22)).await?;
    let late_claim = claim_one(store, at(22)).await?;
    await_run(store, &late_claim, ERROR, at(22)).await?;
    await_run(store, &first, ERROR, at(23)).await?;
    let second = claim_one(store, at(23)).await?;
    equal(CLAUSE, second.id, waiting[1])?;
    deliver(store, &second, at(23)).await?;
    claims_nothing(store, CLAUSE, at(24)).await?;
    let mut served = Vec::new();
    for round in 0..3 {
        let claimed = claim_one(store, at(41 + round)).await?;
        served.push(claimed.id);
        deliver(store, &claimed, at(41 + round)).await?;
    }
    equal(
        "the next run takes it, oldest first",
        served,
        vec![early, first.id, late],
    )
}

/// The same webhook with runs 20 seconds apart.
fn shorter() -> Webhook {
    let flusher = flushed("a").flusher;
    let shorter = flusher.and_then(|flusher| flusher.with_period(Duration::from_secs(20)).ok());
    Webhook {
        flusher: shorter,
        ..flushed("a")
    }
}

/// Failures in a row stop a run; the rest waits for the next, which begins with the oldest again.
pub async fn failures_in_a_row_stop_a_run(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a run stops after too many failures in a row";
    store.save_webhook(flushed("a"), at(0)).await?;
    let waiting = failed(store, 0..6, at(0)).await?;
    for run in 1..3 {
        let now = at(PERIOD * run);
        for id in &waiting[..CONSECUTIVE as usize] {
            let claimed = claim_one(store, now).await?;
            equal("a run goes oldest first", claimed.id, *id)?;
            await_run(store, &claimed, ERROR, now).await?;
        }
        claims_nothing(store, CLAUSE, after_seconds(now, PERIOD - 1)).await?;
    }
    for id in &waiting {
        let claimed = claim_one(store, at(PERIOD * 3)).await?;
        equal("what is left waits for the next run", claimed.id, *id)?;
        deliver(store, &claimed, at(PERIOD * 3)).await?;
    }
    Ok(())
}

/// Timeouts stop a run though successes come between; a success resets the failures.
pub async fn timeouts_stop_a_run(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(flushed("a"), at(0)).await?;
    failed(store, 0..12, at(0)).await?;
    let now = at(PERIOD);
    for outcome in [ERROR, Outcome::TimedOut, OK, ERROR, Outcome::Panicked, OK] {
        let claimed = claim_one(store, now).await?;
        match outcome {
            OK => deliver(store, &claimed, now).await?,
            outcome => await_run(store, &claimed, outcome, now).await?,
        }
    }
    let claimed = claim_one(store, now).await?;
    await_run(store, &claimed, Outcome::TimedOut, now).await?;
    claims_nothing(
        store,
        "a run stops after too many timeouts, in a row or not",
        at(PERIOD + 1),
    )
    .await
}

/// A lease that ends in a run is a failure in it; a first send's lease that ends awaits a run.
pub async fn an_ended_lease_is_a_failure_in_a_run(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "an ended lease counts as a failure in the run, and the run goes on";
    store.save_webhook(flushed("a"), at(0)).await?;
    let first = enqueue_one_more(store, 0, at(0)).await?;
    claim_one(store, at(0)).await?;
    claims_nothing(store, "a first send whose lease has ended awaits a run", at(60)).await?;
    equal(
        "an ended lease is counted",
        record(store, first).await?.attempts,
        1,
    )?;
    let others = failed(store, 1..5, at(60)).await?;
    let run = at(60 + PERIOD);
    equal(CLAUSE, claim_one(store, run).await?.id, first)?;
    for (ended, id) in (1..).zip(&others[..CONSECUTIVE as usize - 1]) {
        let claimed = claim_one(store, after_seconds(run, 60 * ended)).await?;
        equal(CLAUSE, claimed.id, *id)?;
    }
    // The third failure in a row. By now the next tick has passed, so the next run waits for the one after.
    claims_nothing(store, CLAUSE, after_seconds(run, 60 * 3)).await?;
    let next = claim_one(store, after_seconds(run, PERIOD * 2)).await?;
    equal("the next run begins with the oldest", next.id, first)
}

/// A release, or a settlement without an attempt, is no outcome for the run.
pub async fn what_is_not_counted_is_no_outcome_in_a_run(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(flushed("a"), at(0)).await?;
    let waiting = failed(store, 0..6, at(0)).await?;
    let now = at(PERIOD);
    for _ in 0..5 {
        let claimed = claim_one(store, now).await?;
        equal(
            "what was released is taken again by the run",
            claimed.id,
            waiting[0],
        )?;
        release(store, &claimed, now).await?;
    }
    let put_off = claim_one(store, now).await?;
    let postponed = Settlement {
        attempt: None,
        ..settlement(&put_off, OK, Next::Retry(at(PERIOD + 30)), now)
    };
    settle_held(store, postponed, now).await?;
    for id in &waiting[1..] {
        let claimed = claim_one(store, now).await?;
        equal("what was put off is left to the next run", claimed.id, *id)?;
        deliver(store, &claimed, now).await?;
    }
    claims_nothing(store, "what was put off is left to the next run", at(PERIOD + 50)).await?;
    equal(
        "the next run takes it",
        ids_of(store, at(PERIOD * 2)).await?,
        vec![put_off.id],
    )
}

/// A run ends with its last; the next keeps the beat, and ticks that were missed are not made up for.
pub async fn runs_keep_their_beat(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(flushed("a"), at(0)).await?;
    failed(store, 0..1, at(0)).await?;
    let claimed = claim_one(store, at(PERIOD)).await?;
    await_run(store, &claimed, ERROR, at(PERIOD + 30)).await?;
    equal(
        "ticks are counted from the last run's start",
        store.next_due(at(PERIOD + 30)).await?,
        Some(at(PERIOD * 2)),
    )?;
    let claimed = claim_one(store, at(PERIOD * 2)).await?;
    await_run(store, &claimed, ERROR, at(PERIOD * 2 + 30)).await?;
    let claimed = claim_one(store, at(PERIOD * 5 + 50)).await?;
    await_run(store, &claimed, ERROR, at(PERIOD * 5 + 51)).await?;
    claims_nothing(store, "a run that is late is not made up for", at(PERIOD * 6)).await?;
    claim_one(store, at(PERIOD * 6 + 50)).await?;
    Ok(())
}

/// Limits and the switch hold in runs as in anything else, and the bell rings when a run may go on.
pub async fn runs_keep_to_limits(store: &dyn Store) -> Result<(), Violation> {
    let slow = |enabled| Webhook {
        limits: Limits {
            rate: Some(Rate {
                interval: Duration::from_secs(10),
                burst: NonZeroU32::MIN,
            }),
            ..in_flight(5)
        },
        enabled,
        ..flushed("a")
    };
    store.save_webhook(slow(true), at(0)).await?;
    let waiting = failed_one_by_one(store, 0..2, at(0)).await?;
    store.save_webhook(slow(false), at(50)).await?;
    claims_nothing(store, "a webhook that is off has no runs", at(120)).await?;
    let heard = store.wake().listen();
    store.save_webhook(slow(true), at(150)).await?;
    super::waking::rang("after a webhook is enabled whose run is due", heard).await?;
    let claimed = claim_one(store, at(150)).await?;
    equal(
        "a run that could not start starts when it can",
        claimed.id,
        waiting[0],
    )?;
    let heard = store.wake().listen();
    deliver(store, &claimed, at(151)).await?;
    super::waking::rang("after what a run had in flight is settled", heard).await?;
    claims_nothing(store, "the rate holds in runs", at(159)).await?;
    equal(
        "the rate holds in runs",
        claim_one(store, at(160)).await?.id,
        waiting[1],
    )
}

/// Without a flusher by now, what awaits a run goes when it is due, and what is to await one at once.
pub async fn without_its_flusher_nothing_awaits_runs(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(flushed("a"), at(0)).await?;
    let waiting = failed(store, 0..2, at(0)).await?;
    let under_way = enqueue_one_more(store, 5, at(0)).await?;
    let claimed = claim_one(store, at(1)).await?;
    store.save_webhook(webhook("a"), at(2)).await?;
    await_run(store, &claimed, ERROR, at(3)).await?;
    let claimed = claim_one(store, at(3)).await?;
    equal(
        "what is to await a run that nobody starts goes at once",
        claimed.id,
        under_way,
    )?;
    deliver(store, &claimed, at(3)).await?;
    claims_nothing(store, "what awaited a run goes when it is due", at(PERIOD - 1)).await?;
    equal(
        "what awaited a run goes when it is due",
        ids_of(store, at(PERIOD)).await?,
        waiting,
    )
}

/// A flusher in strict order is as none.
pub async fn there_are_no_runs_in_strict_order(store: &dyn Store) -> Result<(), Violation> {
    let both = Webhook {
        order: Order::Strict,
        ..flushed("a")
    };
    store.save_webhook(both, at(0)).await?;
    enqueue(store, "a", 0..2, at(0)).await?;
    let first = claim_one(store, at(0)).await?;
    await_run(store, &first, ERROR, at(1)).await?;
    equal(
        "strict order comes before runs",
        claim_one(store, at(1)).await?.id,
        first.id,
    )
}

/// What awaits a run is buried with its webhook, and replayed like anything else.
pub async fn what_awaits_a_run_can_end(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(flushed("a"), at(0)).await?;
    let waiting = failed(store, 0..2, at(0)).await?;
    store.remove_webhook(&"a".into(), at(1)).await?;
    for _ in 0..10 {
        claims_nothing(store, "nothing of a deleted webhook is claimed", at(PERIOD)).await?;
    }
    for id in &waiting {
        let state = record(store, *id).await?.state;
        ensure(
            "what waits for a deleted webhook becomes dead",
            state.is_final(),
            || state.to_string(),
        )?;
    }
    store.save_webhook(flushed("a"), at(200)).await?;
    store.replay(waiting[1], at(200)).await?;
    equal(
        "a replay is a first send",
        claim_one(store, at(200)).await?.id,
        waiting[1],
    )
}

/// A clock that is set back neither puts the next run off nor lets a run take anything twice.
pub async fn a_clock_set_back_stops_no_runs(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(flushed("a"), at(100_000)).await?;
    let waiting = failed(store, 0..2, at(100_000)).await?;
    claims_nothing(store, "the clock is set back", at(0)).await?;
    equal(
        "a run starts a period later",
        ids_of(store, at(PERIOD)).await?,
        vec![waiting[0]],
    )?;
    Ok(())
}

async fn enqueue_one_more(store: &dyn Store, number: u32, now: DateTime<Utc>) -> Checked<DeliveryId> {
    only(enqueue(store, "a", number..number + 1, now).await?)
}

/// As [`failed`], where the lane lets but one go at a time.
async fn failed_one_by_one(
    store: &dyn Store,
    numbers: std::ops::Range<u32>,
    start: DateTime<Utc>,
) -> Checked<Vec<DeliveryId>> {
    let all = enqueue(store, "a", numbers, start).await?;
    for (round, _) in (0..).zip(&all) {
        let now = after_seconds(start, 10 * round);
        let claimed = claim_one(store, now).await?;
        await_run(store, &claimed, ERROR, now).await?;
    }
    Ok(all)
}

async fn ids_of(store: &dyn Store, now: DateTime<Utc>) -> Checked<Vec<DeliveryId>> {
    Ok(ids(&claim(store, 10, now).await?))
}

fn after_seconds(instant: DateTime<Utc>, seconds: i64) -> DateTime<Utc> {
    crate::time::after(instant, Duration::from_secs(seconds.unsigned_abs()))
}
