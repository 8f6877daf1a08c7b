//! What has to be done now and then, beside sending.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::{Either, select, try_join_all};

use super::assembly::Parts;
use super::digests::Digester;
use super::retention::Purging;
use super::seen::Forgetting;
use super::tasks::PurgingTasks;
use super::watch::{FailingWatch, HealthWatch};
use super::worker::is_lasting;
use crate::store::StoreError;
use crate::time::elapsed;

/// How long a pass that has more to do leaves the store to others between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(2);

/// How long to leave a store alone that has just failed.
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// The longest that a pass sleeps before it looks at the clock again, since the clock may have been set meanwhile.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// Does everything that has to be done now and then:
///
/// - sends [digests](crate::delivery::Digest) when their windows are over;
/// - takes away the results of tasks, and then the tasks, when their time has come;
/// - removes history and deliveries that are [over for long enough](super::EngineBuilder::retention);
/// - forgets keys of messages that need no longer be kept;
/// - gives notice to webhooks that only fail, and then disables them, where they asked for that
///   ([`AutoDisable`](crate::delivery::AutoDisable)), late by no more than the
///   [interval](super::EngineBuilder::watch_interval) at which it looks;
/// - warns [listeners](super::Listener) of webhooks whose health is bad
///   ([`HealthLimits`](crate::delivery::HealthLimits)).
///
/// Run one beside the workers, in any process that has the engine. Several at once do no harm: each step is one small
/// commit, and what one has done another finds done. Where none runs, deliveries are sent all the same, but nothing
/// of the above happens.
///
/// Like a [`Worker`](super::Worker) it is one future, which runs where it is polled, on any runtime. Its passes go on
/// side by side, each in small steps with pauses between, so none keeps another or the sending waiting. Dropping it at
/// any moment loses nothing.
///
/// ```
/// # use ringback::engine::{Engine, TokioTimer};
/// # use ringback::store::MemoryStore;
/// # use ringback::transport::sender_fn;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sender = sender_fn(|_| async { Ok(http::Response::default()) });
/// # let engine = Engine::builder(MemoryStore::new(), sender, TokioTimer).build();
/// # let shutdown = || async {};
/// let (worker, upkeep) = (engine.worker(), engine.upkeep());
/// let (worked, kept_up) = tokio::join!(worker.run_until(shutdown()), upkeep.run_until(shutdown()));
/// worked?;
/// kept_up?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Upkeep {
    parts: Arc<Parts>,
    /// What goes on from one [`run_due`](Self::run_due) to the next, which remember what they have told.
    kept: Arc<Mutex<Vec<Box<dyn Pass>>>>,
}

/// A kind of upkeep, done step by step.
#[async_trait]
pub(super) trait Pass: Debug + Send + Sync {
    /// Does a little of what is due: about what fits into one small commit. May be dropped anywhere, as in a crash.
    ///
    /// # Errors
    ///
    /// The store's. The step is done again later, unless the error is a lasting one.
    async fn step(&mut self, parts: &Arc<Parts>) -> Result<Step, StoreError>;
}

/// What follows a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do.
    Again,
    /// There is nothing to do before this instant.
    Until(DateTime<Utc>),
}

impl Upkeep {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        let kept = Arc::default();
        Self { parts, kept }
    }

    /// Each kind of upkeep, in the order in which [`run_due`](Self::run_due) does them.
    fn passes(&self) -> Vec<Box<dyn Pass>> {
        let mut passes: Vec<Box<dyn Pass>> = vec![
            Box::new(Forgetting),
            Box::new(PurgingTasks),
            Box::new(Purging),
            Box::<FailingWatch>::default(),
            Box::<HealthWatch>::default(),
        ];
        let digests = self.parts.digests.values().cloned();
        passes.extend(digests.map(|digest| Box::new(Digester::new(digest)) as _));
        passes
    }

    /// Goes on without end.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Self::run_until).
    pub async fn run(&self) -> Result<(), StoreError> {
        self.run_until(std::future::pending()).await
    }

    /// Goes on until `stop` completes.
    ///
    /// # Errors
    ///
    /// The store's, where waiting helps nothing, as of a [worker](super::Worker::run_until). Failures that may pass are
    /// waited out.
    pub async fn run_until(&self, stop: impl Future<Output = ()> + Send) -> Result<(), StoreError> {
        let passes = self.passes();
        let all = try_join_all(passes.into_iter().map(|pass| self.go_on(pass)));
        match select(std::pin::pin!(stop), all).await {
            Either::Left(((), _)) => Ok(()),
            Either::Right((ended, _)) => ended.map(drop),
        }
    }

    /// Does all that is due now, and says when there will be more. For those who have a scheduler of their own: call
    /// it again at that time, or sooner.
    ///
    /// # Errors
    ///
    /// The store's, whether it may pass or not: the first, after everything else was tried. Whatever was not done is
    /// still due.
    pub async fn run_due(&self) -> Result<DateTime<Utc>, StoreError> {
        let mut passes = std::mem::take(&mut *self.kept());
        if passes.is_empty() {
            passes = self.passes();
        }
        let mut soonest = Ok(DateTime::<Utc>::MAX_UTC);
        for pass in &mut passes {
            let until = self.all_due(&mut **pass).await;
            soonest = soonest.and_then(|soonest| Ok(soonest.min(until?)));
        }
        *self.kept() = passes;
        soonest
    }

    async fn all_due(&self, pass: &mut dyn Pass) -> Result<DateTime<Utc>, StoreError> {
        loop {
            match pass.step(&self.parts).await? {
                Step::Until(until) => return Ok(until),
                Step::Again => self.parts.timer.sleep(STEP_PAUSE).await,
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Box<dyn Pass>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends only with an error that lasts.
    async fn go_on(&self, mut pass: Box<dyn Pass>) -> Result<(), StoreError> {
        let timer = &self.parts.timer;
        loop {
            let pause = match pass.step(&self.parts).await {
                Ok(Step::Again) => STEP_PAUSE,
                Ok(Step::Until(until)) => elapsed(timer.now(), until).clamp(STEP_PAUSE, LONGEST_NAP),
                Err(error) if is_lasting(&error) => return Err(error),
                Err(_) => STORE_PAUSE,
            };
            timer.sleep(pause).await;
        }
    }
}
