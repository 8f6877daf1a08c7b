//! What is submitted, and taken in.

use futures_util::future::join;

use super::scene::*;
use super::waking::rang;
use super::{Store, Violation, ensure, equal};
use crate::delivery::Event;
use crate::store::{SetAside, Submission, TakeIn, TakenIn};

/// A submission waits until it is taken in, and then its event is enqueued as it was submitted.
pub async fn what_is_submitted_is_taken_in_whole(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what is submitted is taken in as it was submitted";
    save(store, webhook("a"), at(0)).await?;
    for event in odd_events() {
        store.submit(vec![event.clone()]).await?;
        claims_nothing(store, "a submission is no delivery yet", at(0)).await?;
        let submission = only(store.submissions(None, 10).await?)?;
        equal(CLAUSE, submission.event.as_ref(), Some(&event))?;
        let named = (&submission.scope, &submission.id);
        equal(CLAUSE, named, (event.scope(), event.id()))?;
        let to_one = taking(&submission, 1);
        let id = match only(store.take_in(vec![to_one], at(1)).await?)? {
            TakenIn::Fresh(ids) => only(ids)?,
            other => return Err(Violation::new(CLAUSE, format!("{other:?}"))),
        };
        let claimed = claim_one(store, at(1)).await?;
        equal(CLAUSE, (claimed.id, &*claimed.event), (id, &event))?;
        deliver(store, &claimed, at(1)).await?;
        none_waits(store).await?;
    }
    Ok(())
}

/// They come in order, and no more of them than asked.
pub async fn submissions_come_in_order(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "submissions come in the order in which they were submitted, and no more than asked";
    store.submit(vec![event("3"), event("1")]).await?;
    store.submit(vec![]).await?;
    store.submit(vec![event("2")]).await?;
    let seen = async |max| -> Checked<Vec<String>> {
        let submissions = store.submissions(None, max).await?;
        Ok(submissions.iter().map(|one| one.id.to_string()).collect())
    };
    equal(CLAUSE, seen(2).await?, vec!["3".to_owned(), "1".to_owned()])?;
    equal(CLAUSE, seen(10).await?.len(), 3)?;
    let all = store.submissions(None, 10).await?;
    let (Some(first), Some(last)) = (all.first(), all.get(2)) else {
        return Err(Violation::new(CLAUSE, format!("{all:?}")));
    };
    let behind = store.submissions(Some(first.number), 1).await?;
    let behind: Vec<_> = behind.iter().map(|one| one.id.as_str()).collect();
    equal(
        "submissions come from after the one that is named",
        behind,
        vec!["1"],
    )?;
    equal(CLAUSE, store.submissions(Some(last.number), 10).await?.len(), 0)?;
    store
        .take_in(vec![taking(first, 0), taking(last, 0)], at(0))
        .await?;
    equal(CLAUSE, seen(10).await?, vec!["1".to_owned()])?;
    // Not even a number that is free again names another submission.
    let left = only(store.submissions(None, 10).await?)?;
    store.take_in(vec![taking(&left, 0)], at(0)).await?;
    store.submit(vec![event("4")]).await?;
    let next = only(store.submissions(None, 10).await?)?;
    ensure(
        "a submission's number is never given out again",
        all.iter().all(|other| other.number < next.number),
        || format!("{} after {all:?}", next.number),
    )
}

/// Of two that take it in, one does.
pub async fn a_submission_is_taken_in_once(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a submission is taken in once";
    save(store, webhook("a"), at(0)).await?;
    store.submit(vec![event("e"), event("f")]).await?;
    let both = store.submissions(None, 10).await?;
    let take = || both.iter().map(|one| taking(one, 1)).collect::<Vec<_>>();
    let (one, other) = join(store.take_in(take(), at(0)), store.take_in(take(), at(0))).await;
    let mut answers = [one?, other?];
    answers.sort_by_key(|answers| answers.contains(&TakenIn::Gone));
    equal(CLAUSE, &answers[1], &vec![TakenIn::Gone; 2])?;
    let fresh = |answer: &TakenIn| matches!(answer, TakenIn::Fresh(ids) if ids.len() == 1);
    ensure(CLAUSE, answers[0].iter().all(fresh), || {
        format!("{:?}", answers[0])
    })?;
    let late = store.take_in(take(), at(1)).await?;
    equal(CLAUSE, late, vec![TakenIn::Gone; 2])?;
    let claimed = claim(store, 10, at(2)).await?;
    equal(CLAUSE, claimed.len(), 2)
}

/// What was enqueued already is not enqueued again, and does not stay.
pub async fn a_submitted_duplicate_adds_nothing(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what was enqueued before is a duplicate, and gone";
    save(store, webhook("a"), at(0)).await?;
    enqueue_event(store, new(event("e"), vec![to_webhook("a")]), at(0)).await?;
    store.submit(vec![event("e"), event("f"), event("f")]).await?;
    let take = store
        .submissions(None, 10)
        .await?
        .iter()
        .map(|one| taking(one, 1))
        .collect();
    let answers = store.take_in(take, at(0)).await?;
    let duplicates = answers.iter().map(|answer| *answer == TakenIn::Duplicate);
    equal(CLAUSE, duplicates.collect(), vec![true, false, true])?;
    none_waits(store).await?;
    equal(CLAUSE, claim(store, 10, at(0)).await?.len(), 2)
}

/// What cannot be enqueued is set aside: it is not in the way, and not lost.
pub async fn what_cannot_be_enqueued_is_set_aside(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what cannot be enqueued is kept, and not given out";
    save(store, webhook("a"), at(0)).await?;
    enqueue_event(store, new(event("e"), vec![]), at(0)).await?;
    let other = Event::builder("scope", "e", "kind").json("{}").build();
    let other = other.expect("the checks' own events are whole");
    store
        .submit(vec![other.clone(), event("unusable"), event("g")])
        .await?;
    let all = store.submissions(None, 10).await?;
    let mut take: Vec<_> = all.iter().map(|one| taking(one, 1)).collect();
    if let Some(unusable) = take.get_mut(1) {
        unusable.event = None;
    }
    let answers = store.take_in(take.clone(), at(0)).await?;
    let aside = |why| Some(TakenIn::SetAside(why));
    equal(CLAUSE, answers.first().cloned(), aside(SetAside::Conflict))?;
    equal(CLAUSE, answers.get(1).cloned(), aside(SetAside::Unusable))?;
    none_waits(store).await?;
    equal(
        "a submission that was set aside is taken in by nobody",
        store.take_in(take, at(1)).await?,
        vec![TakenIn::Gone; 3],
    )?;
    equal(CLAUSE, claim(store, 10, at(1)).await?.len(), 1)?;
    let kept = store.set_aside(None, 1).await?;
    let (first, why) = only(kept)?;
    equal(CLAUSE, (first.event, why), (Some(other), SetAside::Conflict))?;
    let (second, why) = only(store.set_aside(Some(first.number), 10).await?)?;
    equal(
        CLAUSE,
        (second.event, why),
        (Some(event("unusable")), SetAside::Unusable),
    )?;
    equal(
        "what was set aside is discarded once",
        (
            store.discard(first.number).await?,
            store.discard(first.number).await?,
        ),
        (true, false),
    )?;
    equal(CLAUSE, store.set_aside(None, 10).await?.len(), 1)?;
    store.submit(vec![event("h")]).await?;
    let waiting = only(store.submissions(None, 10).await?)?;
    equal(
        "only what was set aside can be discarded",
        store.discard(waiting.number).await?,
        false,
    )
}

/// The bells ring: the intake's for what is submitted, the deliveries' for what is taken in.
pub async fn the_bells_ring(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let heard = store.intake_wake().listen();
    store.submit(vec![event("e")]).await?;
    rang("after a submission", heard).await?;
    let submission = only(store.submissions(None, 10).await?)?;
    let heard = store.wake().listen();
    store.take_in(vec![taking(&submission, 1)], at(0)).await?;
    rang("after a submission was taken in", heard).await
}

/// Takes a submission in, for so many deliveries to the webhook `a`.
fn taking(submission: &Submission, deliveries: usize) -> TakeIn {
    let deliveries = vec![to_webhook("a"); deliveries];
    TakeIn {
        number: submission.number,
        event: submission.event.clone().map(|event| new(event, deliveries)),
    }
}

async fn none_waits(store: &dyn Store) -> Checked {
    equal(
        "what was taken in, or set aside, is not given out any more",
        store.submissions(None, 10).await?.len(),
        0,
    )
}
