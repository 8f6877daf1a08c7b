//! What was received already.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::scene::{Checked, LEASE, MICROSECOND, at};
use super::{Store, Violation, ensure, equal};
use crate::id::Fence;
use crate::store::{Seen, SeenKey};
use crate::time::before;

const KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// One of all copies is handled; the others hear that it is, and then that it was.
pub async fn one_copy_is_handled(store: &dyn Store) -> Result<(), Violation> {
    let fence = fresh(store, "k", at(0)).await?;
    equal(
        "the others hear that it is in progress",
        begin(store, "k", at(1)).await?,
        Seen::InProgress,
    )?;
    let finished = store.finish(&key("k"), fence, KEEP, at(2)).await?;
    equal("who holds the lease can finish", finished, true)?;
    for now in [at(2), at(100_000)] {
        equal(
            "after `finish`, everyone hears that it is done",
            begin(store, "k", now).await?,
            Seen::Done,
        )?;
    }
    Ok(())
}

/// Of copies that come at the same time, one is fresh.
pub async fn of_many_at_once_one_is_fresh(store: &dyn Store) -> Result<(), Violation> {
    let answers = join_all((0..16).map(|_| begin(store, "k", at(0)))).await;
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let fresh = answers
        .iter()
        .filter(|seen| matches!(seen, Seen::Fresh(_)))
        .count();
    equal("of all that begin a key that is not done, one is fresh", fresh, 1)
}

/// A handler that never came back is replaced once its lease has ended, and its word counts no more.
pub async fn an_ended_lease_is_taken_over(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a handler whose lease was taken over has lost it";
    let first = fresh(store, "k", at(0)).await?;
    let early = before(at(60), MICROSECOND);
    equal(
        "a lease lasts as long as it says",
        begin(store, "k", early).await?,
        Seen::InProgress,
    )?;
    let second = fresh(store, "k", at(60)).await?;
    ensure("fences do not come twice", second != first, || {
        format!("{first} again")
    })?;
    equal(CLAUSE, store.finish(&key("k"), first, KEEP, at(61)).await?, false)?;
    equal(CLAUSE, begin(store, "k", at(61)).await?, Seen::InProgress)?;
    equal(CLAUSE, store.abandon(&key("k"), first, at(62)).await?, false)?;
    equal(CLAUSE, begin(store, "k", at(62)).await?, Seen::InProgress)?;
    equal(
        "who holds the lease can finish",
        store.finish(&key("k"), second, KEEP, at(63)).await?,
        true,
    )?;
    equal(
        "what is done cannot be abandoned",
        store.abandon(&key("k"), second, at(64)).await?,
        false,
    )?;
    equal(
        "what is done stays done",
        begin(store, "k", at(64)).await?,
        Seen::Done,
    )?;
    equal(
        "what was never begun cannot be finished",
        store.finish(&key("other"), second, KEEP, at(65)).await?,
        false,
    )?;
    fresh(store, "other", at(66)).await?;
    Ok(())
}

/// A lease that has ended but that nobody took over still holds.
pub async fn an_ended_lease_holds_until_it_is_taken(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "only a lease that ended and was taken over is lost";
    let fence = fresh(store, "k", at(0)).await?;
    equal(CLAUSE, store.finish(&key("k"), fence, KEEP, at(500)).await?, true)?;
    equal(
        "after `finish`, everyone hears that it is done",
        begin(store, "k", at(501)).await?,
        Seen::Done,
    )
}

/// After a handler gave up, the next copy is handled.
pub async fn an_abandoned_key_is_fresh_again(store: &dyn Store) -> Result<(), Violation> {
    let first = fresh(store, "k", at(0)).await?;
    let gone = store.abandon(&key("k"), first, at(1)).await?;
    equal("who holds the lease can give it up", gone, true)?;
    let second = fresh(store, "k", at(1)).await?;
    ensure("fences do not come twice", second != first, || {
        format!("{first} again")
    })?;
    let late = store.finish(&key("k"), first, KEEP, at(2)).await?;
    equal("who gave the lease up has lost it", late, false)?;
    equal(
        "who gave the lease up has lost it",
        begin(store, "k", at(2)).await?,
        Seen::InProgress,
    )
}

/// A key is done for as long as it is kept, and forgotten after that.
pub async fn keys_are_kept_as_long_as_asked(store: &dyn Store) -> Result<(), Violation> {
    let fence = fresh(store, "k", at(0)).await?;
    store
        .finish(&key("k"), fence, Duration::from_secs(100), at(10))
        .await?;
    equal(
        "what must be kept is not forgotten",
        store.forget_expired(10, at(109)).await?,
        0,
    )?;
    equal(
        "a key is done for as long as it is kept",
        begin(store, "k", at(109)).await?,
        Seen::Done,
    )?;
    equal(
        "what need not be kept is forgotten",
        store.forget_expired(10, at(110)).await?,
        1,
    )?;
    let again = fresh(store, "k", at(111)).await?;
    ensure("fences do not come twice", again != fence, || {
        format!("{fence} again")
    })?;
    let late = store.finish(&key("k"), fence, KEEP, at(112)).await?;
    equal("who was forgotten has lost the lease", late, false)
}

/// Forgetting takes no more than it is told, and leaves what is being handled or must be kept.
pub async fn forgetting_is_bounded(store: &dyn Store) -> Result<(), Violation> {
    for number in 0..10 {
        let name = format!("old/{number}");
        let fence = fresh(store, &name, at(0)).await?;
        store
            .finish(&key(&name), fence, Duration::from_secs(1), at(0))
            .await?;
    }
    let kept = fresh(store, "kept", at(0)).await?;
    store.finish(&key("kept"), kept, KEEP, at(0)).await?;
    fresh(store, "handled", at(90)).await?;
    let mut forgotten = Vec::new();
    for max in [0, 4, 4, 4, 4] {
        forgotten.push(store.forget_expired(max, at(100)).await?);
    }
    equal(
        "up to `max` keys are forgotten, and it is said how many",
        forgotten,
        vec![0, 4, 4, 2, 0],
    )?;
    equal(
        "what must be kept is not forgotten",
        begin(store, "kept", at(100)).await?,
        Seen::Done,
    )?;
    equal(
        "what is being handled is not forgotten",
        begin(store, "handled", at(100)).await?,
        Seen::InProgress,
    )
}

/// One provider's key at two receivers is two keys.
pub async fn receivers_are_kept_apart(store: &dyn Store) -> Result<(), Violation> {
    let keys = [
        SeenKey::new("one", "k"),
        SeenKey::new("two", "k"),
        SeenKey::new("one/k", ""),
        SeenKey::new("", "one/k"),
        SeenKey::new("ein 'Ort'", "\u{1f514} %_"),
    ];
    for key in &keys {
        let seen = store.begin(key, LEASE, at(0)).await?;
        ensure(
            "two receivers may both have to handle one message",
            matches!(seen, Seen::Fresh(_)),
            || format!("{seen:?} for {key}"),
        )?;
    }
    Ok(())
}

fn key(key: &str) -> SeenKey {
    SeenKey::new("receiver", key)
}

async fn begin(store: &dyn Store, name: &str, now: DateTime<Utc>) -> Checked<Seen> {
    Ok(store.begin(&key(name), LEASE, now).await?)
}

async fn fresh(store: &dyn Store, name: &str, now: DateTime<Utc>) -> Checked<Fence> {
    match begin(store, name, now).await? {
        Seen::Fresh(fence) => Ok(fence),
        other => Err(Violation::new(
            "a key that is neither done nor in progress is fresh",
            format!("{other:?} for {name} at {now}"),
        )),
    }
}
