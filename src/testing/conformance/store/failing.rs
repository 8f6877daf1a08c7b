//! Webhooks that fail, and their switches.

use chrono::{DateTime, Utc};

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{AutoDisable, DisableReason, Disabled, Outcome, State, Target, Webhook};
use crate::id::WebhookId;
use crate::store::{Claimed, Next, Settlement, Switch, Switched};

/// Since when the webhook `a` is failing, as claims and the list of failing ones both say.
async fn failing_since(store: &dyn Store) -> Checked<Option<DateTime<Utc>>> {
    let listed = store.failing_webhooks(None, 10).await?;
    let found = listed
        .iter()
        .find(|failing| failing.webhook.id == WebhookId::new("a"));
    if let Some(found) = found {
        equal(
            "a failing webhook is listed as it is registered",
            Some(&*found.webhook),
            store.webhook(&"a".into()).await?.as_deref(),
        )?;
    }
    Ok(found.map(|found| found.since))
}

fn gone(claimed: &Claimed, second: i64) -> Settlement {
    let outcome = Outcome::Answered(http::StatusCode::GONE);
    settlement(claimed, outcome, Next::Gone, at(second))
}

async fn switch(store: &dyn Store, switch: Switch, now: DateTime<Utc>) -> Checked<Switched> {
    Ok(store.switch_webhook(&"a".into(), switch, now).await?)
}

/// Failing begins with the first failure, goes on through the others, and ends with the first success.
pub async fn failing_begins_and_ends(store: &dyn Store) -> Result<(), Violation> {
    const SINCE: &str = "a webhook is failing from its first failure until its first success";
    save(store, webhook("a"), at(0)).await?;
    save(store, webhook("b"), at(0)).await?;
    enqueue(store, "a", 0..2, at(0)).await?;
    equal(SINCE, failing_since(store).await?, None)?;
    let claimed = claim(store, 2, at(0)).await?;
    let [first, second] = &claimed[..] else {
        return Err(Violation::new(
            "what is due can be claimed",
            format!("{}", claimed.len()),
        ));
    };
    fail(store, first, 0, at(5)).await?;
    equal(SINCE, failing_since(store).await?, Some(at(5)))?;
    fail(store, second, 10, at(7)).await?;
    equal(SINCE, failing_since(store).await?, Some(at(5)))?;

    let again = claim_one(store, at(8)).await?;
    equal(
        "a claim says since when the webhook is failing",
        again.failing_since,
        Some(at(5)),
    )?;
    save(store, webhook("a"), at(8)).await?;
    equal(
        "saving a webhook leaves it as failing as it was",
        failing_since(store).await?,
        Some(at(5)),
    )?;
    deliver(store, &again, at(9)).await?;
    equal(SINCE, failing_since(store).await?, None)?;
    let second = claim_one(store, at(20)).await?;
    equal(
        "a claim says since when the webhook is failing",
        second.failing_since,
        None,
    )?;
    let exhausted = settlement(&second, ERROR, Next::Exhausted, at(21));
    settle_held(store, exhausted, at(21)).await?;
    equal(SINCE, failing_since(store).await?, Some(at(21)))?;
    save(store, webhook("b"), at(22)).await?;
    ensure(
        "webhooks fail each by itself",
        store.failing_webhooks(None, 10).await?.len() == 1,
        || "another is failing too".into(),
    )
}

/// Interruptions and panics are not the receiver's doing, and neither is what was not attempted.
pub async fn our_own_failures_do_not_count(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what the receiver has nothing to do with does not make its webhook failing";
    save(store, webhook("a"), at(0)).await?;
    enqueue_one(store, "a", at(0)).await?;
    let lost = claim_one(store, at(0)).await?;
    let again = claim_one(store, at(60)).await?;
    let late = settlement(&lost, ERROR, Next::Retry(at(61)), at(61));
    settle(store, late, at(61)).await?;
    equal(CLAUSE, failing_since(store).await?, None)?;
    let panicked = settlement(&again, Outcome::Panicked, Next::Retry(at(62)), at(62));
    settle_held(store, panicked, at(62)).await?;
    let again = claim_one(store, at(63)).await?;
    let postponed = Settlement {
        attempt: None,
        ..settlement(&again, ERROR, Next::Retry(at(64)), at(64))
    };
    settle_held(store, postponed, at(64)).await?;
    equal(CLAUSE, failing_since(store).await?, None)
}

/// A test that fails does not make its webhook failing, and one that is accepted does not end it.
pub async fn tests_do_not_count(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a test does not count for how the webhook fares";
    let webhook = Webhook {
        auto_disable: AutoDisable::never().when_gone(),
        ..webhook("a")
    };
    save(store, webhook, at(0)).await?;
    let test = async |number: u32, second| -> Checked<Claimed> {
        let event = event(&format!("test {number}"));
        enqueue_event(store, new(event, vec![to(Target::Test("a".into()))]), at(second)).await?;
        let claimed = claim_one(store, at(second)).await?;
        equal("a claimed test is one", claimed.target.is_test(), true)?;
        Ok(claimed)
    };
    let failed = settlement(&test(1, 0).await?, ERROR, Next::Exhausted, at(1));
    settle_held(store, failed, at(1)).await?;
    equal(CLAUSE, failing_since(store).await?, None)?;
    settle_held(store, gone(&test(2, 2).await?, 3), at(3)).await?;
    let after = store.webhook(&"a".into()).await?;
    equal(
        "a test disables nothing",
        after.is_some_and(|webhook| webhook.enabled),
        true,
    )?;
    enqueue_one(store, "a", at(4)).await?;
    fail(store, &claim_one(store, at(4)).await?, 1_000, at(5)).await?;
    deliver(store, &test(3, 6).await?, at(7)).await?;
    equal(CLAUSE, failing_since(store).await?, Some(at(5)))
}

/// A test goes to a webhook that is disabled or has no place free, one at a time.
pub async fn tests_wait_for_nobody(store: &dyn Store) -> Result<(), Violation> {
    let off = Webhook {
        enabled: false,
        ..strict("a")
    };
    save(store, off, at(0)).await?;
    enqueue_one(store, "a", at(0)).await?;
    let tests = [1, 2].map(|n| new(event(&format!("test {n}")), vec![to(Target::Test("a".into()))]));
    for test in tests {
        enqueue_event(store, test, at(1)).await?;
    }
    let first = claim_one(store, at(2)).await?;
    equal("a test waits in a lane of its own", first.target.is_test(), true)?;
    claims_nothing(store, "a webhook is tested once at a time", at(3)).await?;
    deliver(store, &first, at(3)).await?;
    let second = claim_one(store, at(3)).await?;
    equal("a test waits in a lane of its own", second.target.is_test(), true)?;
    equal(
        "a delivery's record says that it is a test",
        record(store, second.id).await?.target,
        Target::Test("a".into()),
    )
}

/// Switching does what it says, and says what it did.
pub async fn a_switch_says_what_it_did(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a switch says whether it changed anything, and how the webhook is";
    equal(
        CLAUSE,
        switch(store, Switch::Off, at(0)).await?,
        Switched::Unknown,
    )?;
    save(store, webhook("a"), at(0)).await?;
    let delivery = enqueue_one(store, "a", at(0)).await?;
    let is_now = async || -> Checked<_> {
        let webhook = store.webhook(&"a".into()).await?;
        webhook.ok_or_else(|| Violation::new("what is saved is read back", "nothing"))
    };
    let switched = switch(store, Switch::On, at(1)).await?;
    equal(CLAUSE, switched, Switched::Unchanged(is_now().await?))?;
    let off = Webhook {
        enabled: false,
        updated_at: at(2),
        ..webhook("a")
    };
    let switched = switch(store, Switch::Off, at(2)).await?;
    equal(CLAUSE, switched, Switched::Done(is_now().await?))?;
    equal(CLAUSE, &*is_now().await?, &off)?;
    claims_nothing(store, "nothing is claimed for a disabled webhook", at(3)).await?;
    let switched = switch(store, Switch::Off, at(3)).await?;
    equal(CLAUSE, switched, Switched::Unchanged(is_now().await?))?;
    let on = Webhook {
        enabled: true,
        updated_at: at(4),
        ..off
    };
    let switched = switch(store, Switch::On, at(4)).await?;
    equal(CLAUSE, switched, Switched::Done(is_now().await?))?;
    equal(CLAUSE, &*is_now().await?, &on)?;
    equal(
        "what was kept goes once the webhook is enabled",
        claim_one(store, at(4)).await?.id,
        delivery,
    )
}

/// Who disables a webhook for failing does so only if it is still failing since the same instant.
pub async fn a_switch_for_failing_compares(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a webhook is disabled for failing only while it is failing since that very instant";
    let enabled = async || -> Checked<bool> {
        let webhook = store.webhook(&"a".into()).await?;
        Ok(webhook.is_some_and(|webhook| webhook.enabled))
    };
    let fails_at = async |number: u32, second| -> Checked {
        enqueue(store, "a", number..number + 1, at(second)).await?;
        let claimed = claim_one(store, at(second)).await?;
        settle_held(
            store,
            settlement(&claimed, ERROR, Next::Exhausted, at(second)),
            at(second),
        )
        .await
    };
    save(store, webhook("a"), at(0)).await?;
    switch(store, Switch::OffIfFailingSince(at(0)), at(1)).await?;
    equal(CLAUSE, enabled().await?, true)?;
    fails_at(1, 10).await?;
    enqueue(store, "a", 2..3, at(11)).await?;
    deliver(store, &claim_one(store, at(11)).await?, at(11)).await?;
    switch(store, Switch::OffIfFailingSince(at(10)), at(12)).await?;
    equal(CLAUSE, enabled().await?, true)?;
    fails_at(3, 20).await?;
    switch(store, Switch::OffIfFailingSince(at(10)), at(21)).await?;
    equal(CLAUSE, enabled().await?, true)?;

    let mut kept = enqueue(store, "a", 4..5, at(21)).await?;
    let off = switch(store, Switch::OffIfFailingSince(at(20)), at(22)).await?;
    let disabled = Disabled {
        at: at(22),
        reason: DisableReason::Failing { since: at(20) },
    };
    ensure(
        CLAUSE,
        matches!(&off, Switched::Done(webhook) if !webhook.enabled && webhook.disabled == Some(disabled)),
        || format!("{off:?}"),
    )?;
    equal(
        "a disabled webhook is not listed as failing",
        failing_since(store).await?,
        None,
    )?;
    let again = switch(store, Switch::OffIfFailingSince(at(20)), at(23)).await?;
    ensure(CLAUSE, matches!(again, Switched::Unchanged(_)), || {
        format!("{again:?}")
    })?;
    kept.extend(enqueue(store, "a", 6..7, at(24)).await?);
    claims_nothing(store, "nothing is claimed for a disabled webhook", at(24)).await?;

    let on = switch(store, Switch::On, at(30)).await?;
    ensure(
        "one call enables a webhook again",
        matches!(&on, Switched::Done(webhook) if webhook.enabled && webhook.disabled.is_none()),
        || format!("{on:?}"),
    )?;
    equal(
        "a webhook that was enabled again is not failing",
        failing_since(store).await?,
        None,
    )?;
    equal(
        "what waited and what came meanwhile was kept",
        ids(&claim(store, 10, at(30)).await?),
        kept,
    )?;
    // Saving it enabled is another way.
    fails_at(5, 40).await?;
    let switched = switch(store, Switch::OffIfFailingSince(at(40)), at(41)).await?;
    equal(CLAUSE, matches!(switched, Switched::Done(_)), true)?;
    save(store, webhook("a"), at(42)).await?;
    equal(
        "a webhook that was saved enabled is not failing",
        failing_since(store).await?,
        None,
    )
}

/// `410 Gone` disables the webhook in the commit that settles it, if the webhook asked for that and was not changed
/// meanwhile.
pub async fn gone_disables_where_asked(store: &dyn Store) -> Result<(), Violation> {
    let asks = Webhook {
        auto_disable: AutoDisable::never().when_gone(),
        ..webhook("a")
    };
    let standing = async || -> Checked<(bool, Option<Disabled>)> {
        let webhook = store.webhook(&"a".into()).await?;
        let standing = webhook.map(|webhook| (webhook.enabled, webhook.disabled));
        standing.ok_or_else(|| Violation::new("what is saved is read back", "nothing"))
    };
    save(store, webhook("a"), at(0)).await?;
    enqueue(store, "a", 0..1, at(0)).await?;
    settle_held(store, gone(&claim_one(store, at(0)).await?, 1), at(1)).await?;
    equal(
        "who did not ask for it is not disabled",
        standing().await?,
        (true, None),
    )?;

    enqueue(store, "a", 1..2, at(2)).await?;
    let claimed = claim_one(store, at(2)).await?;
    let changed = Webhook {
        updated_at: at(3),
        ..asks
    };
    save(store, changed, at(3)).await?;
    settle_held(store, gone(&claimed, 4), at(4)).await?;
    equal(
        "what was claimed before a change does not disable what was changed",
        standing().await?,
        (true, None),
    )?;

    let ids = enqueue(store, "a", 2..4, at(5)).await?;
    let claimed = only(claim(store, 1, at(5)).await?)?;
    settle_held(store, gone(&claimed, 6), at(6)).await?;
    let disabled = Disabled {
        at: at(6),
        reason: DisableReason::Gone,
    };
    equal(
        "a receiver that is gone disables its webhook, if it asked for that",
        standing().await?,
        (false, Some(disabled)),
    )?;
    claims_nothing(store, "nothing is claimed for a disabled webhook", at(7)).await?;
    for id in ids {
        let expected = match id == claimed.id {
            true => Next::Gone.state(),
            false => State::Pending,
        };
        equal(
            "what waits for a disabled webhook is kept",
            record(store, id).await?.state,
            expected,
        )?;
    }
    Ok(())
}
