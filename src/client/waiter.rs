//! Waiting for reports and asking, whichever is first.

use std::future::pending;
use std::hash::Hash;
use std::pin::pin;

use chrono::{DateTime, Utc};
use futures_util::future::{Either, select};

use super::patience::{Patience, Polled, StatusSource, WaitError};
use super::watch::{Arrival, Watch};
use crate::retry::{Decision, Progress, RetryAfter, Schedule};
use crate::system::{Entropy, Timer};
use crate::task::LifeCycle;
use crate::time::elapsed;

impl<K, S, R> Watch<K, S, R>
where
    K: Eq + Hash,
    S: LifeCycle,
    R: Clone,
{
    /// Waits until a status has come, by reports or by asking, whichever is first. Dropping the future ends the wait and
    /// leaves nothing behind; the watch can be waited on again.
    ///
    /// # Errors
    ///
    /// [`WaitError`] if it cannot come any more, or not in time, or if asking fails for good.
    pub async fn wait<E: Send>(
        &self,
        awaited: &S,
        patience: &Patience,
        source: &dyn StatusSource<S, R, Error = E>,
        timer: &dyn Timer,
        entropy: &dyn Entropy,
    ) -> Result<Arrival<S, R>, WaitError<S, E>> {
        let reached = pin!(self.reached(awaited));
        let over = timer.sleep(patience.deadline);
        let asking = pin!(self.ask(patience, source, timer, entropy));
        match select(reached, select(over, asking)).await {
            Either::Left((Ok(arrival), _)) => Ok(arrival),
            Either::Left((Err(status), _)) => Err(WaitError::Missed(status)),
            Either::Right((Either::Left(_), _)) => Err(WaitError::TimedOut),
            Either::Right((Either::Right((error, _)), _)) => Err(WaitError::Source(error)),
        }
    }

    /// Asks as the schedule says and reports the answers. Completes only if there is no use in asking again.
    async fn ask<E: Send>(
        &self,
        patience: &Patience,
        source: &dyn StatusSource<S, R, Error = E>,
        timer: &dyn Timer,
        entropy: &dyn Entropy,
    ) -> E {
        let Some(schedule) = &patience.polls else {
            return pending().await;
        };
        let mut pace = Pace::new(schedule, timer.now());
        while let Some(due) = pace.next(timer.now(), entropy) {
            timer.sleep(elapsed(timer.now(), due)).await;
            let Polled { status, retry_after } = match source.ask().await {
                Ok(polled) => polled,
                Err(error) => return error,
            };
            if let Some((status, at, detail)) = status {
                self.report(status, at, detail);
            }
            pace.asked(retry_after);
        }
        pending().await
    }
}

/// When to ask next: a schedule, gone through from the beginning of the wait.
pub(super) struct Pace<'a> {
    schedule: &'a Schedule,
    began: DateTime<Utc>,
    asked: u32,
    retry_after: Option<RetryAfter>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(schedule: &'a Schedule, began: DateTime<Utc>) -> Self {
        Self {
            schedule,
            began,
            asked: 0,
            retry_after: None,
        }
    }

    /// When to ask next; `None` if not again.
    pub(super) fn next(&self, now: DateTime<Utc>, entropy: &dyn Entropy) -> Option<DateTime<Utc>> {
        let progress = Progress {
            // The beginning counts as the first time that nothing came.
            attempts: self.asked.saturating_add(1),
            first_failure: self.began,
            now,
            retry_after: self.retry_after,
            random: entropy.next_u64(),
        };
        match self.schedule.decide(&progress) {
            Decision::RetryAt(due) => Some(due),
            Decision::GiveUp => None,
        }
    }

    pub(super) fn asked(&mut self, retry_after: Option<RetryAfter>) {
        self.asked = self.asked.saturating_add(1);
        self.retry_after = retry_after;
    }
}
