//! Taking in what applications have submitted.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::select;

use super::Dispatcher;
use super::assembly::Parts;
use super::listener::Notice;
use super::worker::{SHORTEST_WAIT, STORE_PAUSE, is_lasting};
use crate::delivery::Webhook;
use crate::id::Scope;
use crate::observe;
use crate::store::{SetAside, StoreError, Submission, SubmissionNo, TakeIn, TakenIn};

/// How many submissions are taken in by one commit. Their bodies are in memory meanwhile.
const AT_ONCE: usize = 32;

impl Dispatcher {
    /// Submissions that no event could be made of, and why, the oldest first: up to `max` of them, from after that one on.
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
    loop {
        let ring = parts.store.intake_wake().listen();
        match take_in_some(&dispatcher).await {
            Ok(0) => {
                let nap = parts.timer.sleep(parts.poll_interval.max(SHORTEST_WAIT));
                select(ring, nap).await;
            }
            Ok(_) => {}
            Err(error) if is_lasting(&error) => return error,
            Err(_) => parts.timer.sleep(STORE_PAUSE).await,
        }
    }
}

/// How many were there to be taken in.
async fn take_in_some(dispatcher: &Dispatcher) -> Result<usize, StoreError> {
    let parts = &dispatcher.parts;
    let submissions = parts.store.submissions(None, AT_ONCE).await?;
    if submissions.is_empty() {
        return Ok(0);
    }
    let mut known: BTreeMap<Scope, Vec<Arc<Webhook>>> = BTreeMap::new();
    let (mut taking, mut taken) = (Vec::new(), Vec::new());
    for submission in submissions {
        if !known.contains_key(&submission.scope) {
            let webhooks = parts.store.webhooks(&submission.scope).await?;
            known.insert(submission.scope.clone(), webhooks);
        }
        let webhooks = known
            .get(&submission.scope)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let new = match submission.event {
            // A panic in the user's profile costs this event, and no other.
            Some(event) => {
                let made = AssertUnwindSafe(dispatcher.for_all(event, webhooks))
                    .catch_unwind()
                    .await;
                made.ok().transpose()?
            }
            None => None,
        };
        taken.push((
            submission.scope,
            submission.id,
            new.as_ref().map(|new| Arc::clone(&new.event)),
        ));
        taking.push(TakeIn {
            number: submission.number,
            event: new,
        });
    }
    let answers = parts.store.take_in(taking, parts.timer.now()).await?;
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
    Ok(answers.len())
}
