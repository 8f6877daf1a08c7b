//! What a settlement or release records.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::scene::*;
use super::{Store, Violation, equal};
use crate::delivery::{AttemptReport, Outcome, SendFailure};
use crate::store::{Next, Settlement};

/// Whatever came of an attempt, it and its consequence are recorded together, and read back equal.
pub async fn an_attempt_and_its_outcome_are_one(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let mut outcomes = vec![
        OK,
        ERROR,
        Outcome::Answered(StatusCode::from_u16(999).unwrap_or(StatusCode::IM_A_TEAPOT)),
        Outcome::TimedOut,
        Outcome::Panicked,
        Outcome::Interrupted,
    ];
    outcomes.extend(SendFailure::ALL.map(Outcome::Failed));
    let mut number = 0;
    for outcome in outcomes {
        for next in [
            Next::Delivered,
            Next::Retry(at(1_000)),
            Next::Exhausted,
            Next::Gone,
        ] {
            let id = only(enqueue(store, "a", number..number + 1, at(0)).await?)?;
            let claimed = claim_one(store, at(0)).await?;
            let report = AttemptReport {
                started_at: at(1),
                duration: Duration::from_micros(2_500_001),
                outcome,
                excerpt: Bytes::from_static(b"not \xff text"),
            };
            let settlement = Settlement {
                attempt: Some(report.clone()),
                ..settlement(&claimed, outcome, next, at(5))
            };
            settle_held(store, settlement, at(5)).await?;
            let (record, history) = everything(store, id).await?;
            equal(
                "the state after a settlement is the one it names",
                record.state,
                next.state(),
            )?;
            equal("a settled attempt counts", record.attempts, 1)?;
            let kept = only(history)?;
            equal(
                "an attempt is recorded with its outcome",
                kept.report,
                report.clone(),
            )?;
            equal(
                "attempts are numbered from 1",
                (kept.delivery, kept.number),
                (id, 1),
            )?;
            let failed = (next != Next::Delivered).then(|| report.finished_at());
            equal(
                "the first failure is when it was known",
                record.first_failure,
                failed,
            )?;
            number += 1;
        }
    }
    Ok(())
}

/// Attempts are counted and kept one by one, and the first failure stays the first.
pub async fn attempts_add_up(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    let mut now = at(0);
    for round in 0..6 {
        let claimed = claim_one(store, now).await?;
        equal(
            "a claim says how many attempts there were",
            claimed.attempts,
            round,
        )?;
        equal("a claim says when it was due", claimed.due, now)?;
        let first_failure = (round > 0).then(|| at(0));
        equal(
            "a claim says when the first attempt failed",
            claimed.first_failure,
            first_failure,
        )?;
        fail(store, &claimed, 10, now).await?;
        let (record, history) = everything(store, id).await?;
        now = at(10 * i64::from(round + 1));
        equal("a retry is due when its settlement says", record.due, now)?;
        equal(
            "history matches the count",
            history.len(),
            record.attempts as usize,
        )?;
        equal(
            "history is in the order of the numbers, which have no gaps",
            history.iter().map(|attempt| attempt.number).collect(),
            (1..=round + 1).collect::<Vec<_>>(),
        )?;
    }
    let claimed = claim_one(store, now).await?;
    deliver(store, &claimed, now).await?;
    let (record, history) = everything(store, id).await?;
    equal(
        "the last attempt counts too",
        (record.attempts, history.len()),
        (7, 7),
    )?;
    claims_nothing(store, "what is delivered is not claimed", at(1_000_000)).await
}

/// A settlement without an attempt counts none.
pub async fn without_an_attempt_nothing_counts(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a settlement without an attempt counts none";
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    for round in 0..3 {
        let claimed = claim_one(store, at(10 * round)).await?;
        equal(CLAUSE, (claimed.attempts, claimed.first_failure), (0, None))?;
        let settlement = Settlement {
            attempt: None,
            ..settlement(&claimed, OK, Next::Retry(at(10 * round + 10)), at(10 * round))
        };
        settle_held(store, settlement, at(10 * round)).await?;
        let (record, history) = everything(store, id).await?;
        equal(CLAUSE, (record.attempts, history.len()), (0, 0))?;
        equal(
            "a postponed delivery is due when its settlement says",
            record.due,
            at(10 * round + 10),
        )?;
    }
    claims_nothing(store, "a postponed delivery waits for its time", at(29)).await
}

/// After an interruption, a settlement without an attempt can end a delivery: its schedule was asked late.
pub async fn an_interrupted_delivery_can_end(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(0)).await?;
    claim_one(store, at(0)).await?;
    let again = claim_one(store, at(60)).await?;
    let settlement = Settlement {
        attempt: None,
        ..settlement(&again, OK, Next::Exhausted, at(61))
    };
    settle_held(store, settlement, at(61)).await?;
    let (record, history) = everything(store, id).await?;
    equal(
        "the state after a settlement is the one it names",
        record.state,
        Next::Exhausted.state(),
    )?;
    equal(
        "a settlement without an attempt counts none",
        (record.attempts, history.len()),
        (1, 1),
    )
}

/// A release counts nothing and leaves the delivery due as before.
pub async fn a_release_counts_nothing(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a released delivery is pending, due as before, and nothing is counted";
    save(store, webhook("a"), at(0)).await?;
    let id = enqueue_one(store, "a", at(3)).await?;
    let mut expected = everything(store, id).await?;
    for round in 0..3 {
        let claimed = claim_one(store, at(10 * round + 10)).await?;
        release(store, &claimed, at(10 * round + 11)).await?;
        equal(CLAUSE, everything(store, id).await?, expected.clone())?;
        let claimed = claim_one(store, at(10 * round + 11)).await?;
        fail(store, &claimed, 5, at(10 * round + 12)).await?;
        expected = everything(store, id).await?;
    }
    Ok(())
}
