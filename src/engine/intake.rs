//! Taking in what applications have submitted.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::select;

use super::assembly::Parts;
use super::flight::POSTPONED;
use super::listener::Notice;
use super::worker::{SHORTEST_WAIT, STORE_PAUSE, is_lasting};
use super::{Dispatcher, EnqueueError};
use crate::delivery::Webhook;
use crate::id::Scope;
use crate::observe;
use crate::store::{SetAside, StoreError, StoreErrorKind, Submission, SubmissionNo, TakeIn, TakenIn};
use crate::time::{after, elapsed, is_within};

/// How many submissions are taken in by one commit. Their bodies are in memory meanwhile.
const AT_ONCE: usize = 32;

impl Dispatcher {
    /// Submissions that cannot be enqueued, and why, the oldest first: up to `max` of them, from after that one on.
    /// Each is kept until it is [discarded](Self::discard).
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError> {
        self.parts.store.set_aside(after, max).await
    }

    /// Removes a submission that was set aside. Whether it was there. What is to be sent all the same can be enqueued first,
    /// under an id of its own.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError> {
        self.parts.store.discard(number).await
    }
}

/// Takes in whatever is submitted. Dropping it anywhere loses nothing; it ends by itself only when no waiting helps.
pub(super) async fn take_in_all(parts: &Arc<Parts>) -> StoreError {
    let dispatcher = Dispatcher::new(Arc::clone(parts));
    let mut place = Place::default();
    loop {
        let ring = parts.store.intake_wake().listen();
        place.go_back(parts.timer.now());
        match take_in_some(&dispatcher, place.after, place.at_once).await {
            Ok(looked) => {
                let is_empty = looked.last.is_none();
                place.go_on(looked, parts.timer.now());
                if is_empty {
                    let nap = place.nap(parts.timer.now()).min(parts.poll_interval);
                    select(ring, parts.timer.sleep(nap.max(SHORTEST_WAIT))).await;
                }
            }
            Err(error) if is_lasting(&error) => return error,
            // One of them it is, and the others are not to wait for it.
            Err(error) if is_unreadable(&error) && place.at_once > 1 => place.at_once = 1,
            Err(_) => parts.timer.sleep(STORE_PAUSE).await,
        }
    }
}

/// How far the looks have come. As long as all that is found is taken in, each begins in front. What is left to other
/// processes, or cannot be read, stays there, so from then on a look begins behind the last one; and now and then in front
/// again, since the webhooks may have changed, and since what was submitted earlier may have been committed later.
struct Place {
    after: Option<SubmissionNo>,
    /// How many are taken in by the next commit: one alone where one of many could not be read, then more and more again.
    at_once: usize,
    /// When there was nothing left to look at.
    at_end: Option<DateTime<Utc>>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            after: None,
            at_once: AT_ONCE,
            at_end: None,
        }
    }
}

impl Place {
    fn go_on(&mut self, looked: Looked, now: DateTime<Utc>) {
        self.at_once = (self.at_once * 2).min(AT_ONCE);
        if looked.left_some || self.after.is_some() {
            self.after = looked.last.or(self.after);
        }
        if looked.is_end && self.after.is_some() {
            self.at_end.get_or_insert(now);
        }
    }

    /// Begins in front again if it is time, or if the clock was set.
    fn go_back(&mut self, now: DateTime<Utc>) {
        if self
            .at_end
            .is_some_and(|at_end| !is_within(at_end, POSTPONED, now))
        {
            *self = Self::default();
        }
    }

    /// How long it can be until there is something to do that nobody rings for.
    fn nap(&self, now: DateTime<Utc>) -> Duration {
        self.at_end
            .map_or(Duration::MAX, |at_end| elapsed(now, after(at_end, POSTPONED)))
    }
}

fn is_unreadable(error: &StoreError) -> bool {
    error.kind() == StoreErrorKind::Corrupt
}

/// What came of a look.
struct Looked {
    /// The last submission that was there.
    last: Option<SubmissionNo>,
    /// Whether there were fewer than could be taken in at once.
    is_end: bool,
    /// Whether any was left to other processes, or for another time.
    left_some: bool,
}

/// The first `at_once` from there on. What cannot be taken in here and now is left where it is, and passed by.
async fn take_in_some(
    dispatcher: &Dispatcher,
    after: Option<SubmissionNo>,
    at_once: usize,
) -> Result<Looked, StoreError> {
    let parts = &dispatcher.parts;
    let submissions = parts.store.submissions(after, at_once).await?;
    let mut looked = Looked {
        last: submissions.last().map(|last| last.number),
        is_end: submissions.len() < at_once,
        left_some: false,
    };
    let mut known: BTreeMap<Scope, Option<Vec<Arc<Webhook>>>> = BTreeMap::new();
    let (mut taking, mut taken) = (Vec::new(), Vec::new());
    for submission in submissions {
        let Submission {
            number, scope, id, ..
        } = submission;
        if !known.contains_key(&scope) {
            let webhooks = match parts.store.webhooks(&scope).await {
                // One that is damaged, or that a newer version has written, holds up its scope and no other.
                Err(error) if is_unreadable(&error) => {
                    observe::unrendered(&scope, &id, &error);
                    None
                }
                webhooks => Some(webhooks?),
            };
            known.insert(scope.clone(), webhooks);
        }
        let Some(Some(webhooks)) = known.get(&scope) else {
            looked.left_some = true;
            continue;
        };
        let new = match submission.event {
            Some(event) => {
                // A panic in the user's profile costs this event, and no other.
                let made = AssertUnwindSafe(dispatcher.for_all(event, webhooks))
                    .catch_unwind()
                    .await;
                match made {
                    Ok(Ok(new)) => Some(new),
                    Ok(Err(EnqueueError::Store(error))) => return Err(error),
                    Ok(Err(error)) => {
                        observe::unrendered(&scope, &id, &error);
                        if let EnqueueError::UnknownProfile(_) = error {
                            looked.left_some = true;
                            continue;
                        }
                        None
                    }
                    Err(_panic) => None,
                }
            }
            None => None,
        };
        taken.push((scope, id, new.as_ref().map(|new| Arc::clone(&new.event))));
        taking.push(TakeIn { number, event: new });
    }
    if taking.is_empty() {
        return Ok(looked);
    }
    let answers = match parts.store.take_in(taking, parts.timer.now()).await {
        Err(error) if is_unreadable(&error) && at_once == 1 => {
            if let Some((scope, id, _)) = taken.first() {
                observe::unrendered(scope, id, &error);
            }
            looked.left_some = true;
            // If it is no single one after all, the others are not worth a storm of tries.
            parts.timer.sleep(STORE_PAUSE).await;
            return Ok(looked);
        }
        answers => answers?,
    };
    for ((scope, id, event), answer) in taken.into_iter().zip(&answers) {
        match (answer, event) {
            (TakenIn::Fresh(deliveries), Some(event)) => observe::enqueued(&event, deliveries),
            (TakenIn::SetAside(why), _) => {
                observe::set_aside(&scope, &id, *why);
                parts.tell(&Notice::SetAside {
                    scope,
                    event: id,
                    why: *why,
                });
            }
            _ => {}
        }
    }
    Ok(looked)
}
