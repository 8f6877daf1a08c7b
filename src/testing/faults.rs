//! Stores that fail.

mod stores;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::SeededEntropy;
use crate::engine::Timer;
use crate::store::{StoreError, StoreErrorKind};

/// What happens to one call of a [`FaultyStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the call is carried out and answered.
    None,
    /// The call is not carried out. The caller gets an error of this kind.
    Refused(StoreErrorKind),
    /// The call is carried out, but its answer is lost. The caller gets [`StoreErrorKind::Unknown`].
    ReplyLost,
    /// The call is carried out and answered, after this long.
    Delayed(Duration),
    /// The call is carried out at once, and answered after this long. Whoever stops waiting does not learn of it.
    AnsweredLate(Duration),
}

/// How many faults of each kind there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Calls that were not carried out.
    pub refused: u64,
    /// Calls whose answers were lost.
    pub replies_lost: u64,
    /// Calls that took long.
    pub delayed: u64,
}

/// A store around another one, with faults where a plan puts them.
///
/// The plan is asked once for each call, with the name of the called method ([`"claim"`](crate::store::DeliveryStore::claim),
/// say), and decides what happens to it. Delays are slept on the timer.
///
/// ```
/// use std::sync::Arc;
/// use chrono::DateTime;
/// use ringback::store::{DeliveryStore, MemoryStore, StoreErrorKind};
/// use ringback::testing::{Fault, FaultyStore, ManualTime};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let time = Arc::new(ManualTime::new(DateTime::UNIX_EPOCH));
/// let mut calls = 0;
/// let store = FaultyStore::new(Arc::new(MemoryStore::new()), time, move |method| {
///     calls += 1;
///     match method {
///         "reserve_numbers" if calls == 1 => Fault::ReplyLost,
///         _ => Fault::None,
///     }
/// });
/// let lost = store.reserve_numbers(5).await.unwrap_err();
/// assert_eq!(lost.kind(), StoreErrorKind::Unknown);
/// assert_eq!(store.reserve_numbers(1).await.unwrap(), 6, "the first call was carried out");
/// # });
/// ```
pub struct FaultyStore<S: ?Sized> {
    store: Arc<S>,
    timer: Arc<dyn Timer>,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    counts: FaultCounts,
}

type Plan = Box<dyn FnMut(&'static str) -> Fault + Send>;

impl<S: ?Sized> FaultyStore<S> {
    /// That store, with this plan.
    pub fn new(
        store: Arc<S>,
        timer: Arc<dyn Timer>,
        plan: impl FnMut(&'static str) -> Fault + Send + 'static,
    ) -> Self {
        let state = State {
            plan: Box::new(plan),
            counts: FaultCounts::default(),
        };
        Self {
            store,
            timer,
            state: Mutex::new(state),
        }
    }

    /// That store, with a plan drawn by lot: of 1,000 calls, about so many meet a fault. Each kind of fault is as
    /// likely as the others; delays are of up to a second.
    pub fn seeded(store: Arc<S>, timer: Arc<dyn Timer>, seed: u64, per_mille: u64) -> Self {
        let lots = SeededEntropy::new(seed);
        Self::new(store, timer, move |_| {
            if lots.below(1_000) >= per_mille {
                return Fault::None;
            }
            match lots.below(3) {
                0 => Fault::Refused(StoreErrorKind::Unavailable),
                1 => Fault::ReplyLost,
                _ => Fault::Delayed(Duration::from_millis(lots.below(1_000))),
            }
        })
    }

    /// The faults so far.
    pub fn counts(&self) -> FaultCounts {
        self.state().counts
    }

    async fn through<T, F>(&self, method: &'static str, call: impl FnOnce() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        match self.next_fault(method) {
            Fault::None => call().await,
            Fault::Refused(kind) => Err(StoreError::new(kind)),
            Fault::ReplyLost => {
                call().await?;
                Err(StoreError::new(StoreErrorKind::Unknown))
            }
            Fault::Delayed(span) => {
                self.timer.sleep(span).await;
                call().await
            }
            Fault::AnsweredLate(span) => {
                let answer = call().await;
                self.timer.sleep(span).await;
                answer
            }
        }
    }

    fn next_fault(&self, method: &'static str) -> Fault {
        let mut state = self.state();
        let fault = (state.plan)(method);
        match fault {
            Fault::None => {}
            Fault::Refused(_) => state.counts.refused += 1,
            Fault::ReplyLost => state.counts.replies_lost += 1,
            Fault::Delayed(_) | Fault::AnsweredLate(_) => state.counts.delayed += 1,
        }
        fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: fmt::Debug + ?Sized> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("store", &self.store)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use futures_util::FutureExt;

    use super::*;
    use crate::store::{DeliveryStore, MemoryStore};
    use crate::testing::ManualTime;

    type Faulty = FaultyStore<MemoryStore>;

    fn time() -> ManualTime {
        ManualTime::new(DateTime::<Utc>::UNIX_EPOCH)
    }

    fn reserve(store: &Faulty) -> Result<i64, StoreErrorKind> {
        let reserved = store.reserve_numbers(1).now_or_never().unwrap();
        reserved.map_err(|error| error.kind())
    }

    #[test]
    fn what_is_refused_is_not_carried_out_and_what_is_lost_is() {
        let mut plan = [Fault::Refused(StoreErrorKind::Closed), Fault::ReplyLost].into_iter();
        let store = Faulty::new(Arc::default(), Arc::new(time()), move |method| {
            assert_eq!(method, "reserve_numbers");
            plan.next().unwrap_or(Fault::None)
        });
        let answers = [(); 3].map(|()| reserve(&store));
        assert_eq!(
            answers,
            [Err(StoreErrorKind::Closed), Err(StoreErrorKind::Unknown), Ok(2)]
        );
        let counts = store.counts();
        assert_eq!((counts.refused, counts.replies_lost, counts.delayed), (1, 1, 0));
    }

    #[test]
    fn what_is_delayed_is_carried_out_later() {
        let time = time();
        let span = Duration::from_secs(5);
        let store = Faulty::new(Arc::default(), Arc::new(time.clone()), move |_| {
            Fault::Delayed(span)
        });
        let mut slow = store.reserve_numbers(1);
        assert!((&mut slow).now_or_never().is_none());
        time.advance(span);
        assert!(matches!(slow.now_or_never(), Some(Ok(1))));
    }

    #[test]
    fn a_seed_gives_the_same_faults_again() {
        let faults = |seed| {
            let time = Arc::new(time());
            let store = Faulty::seeded(Arc::default(), time, seed, 500);
            for _ in 0..100 {
                let _ = store.reserve_numbers(1).now_or_never();
            }
            store.counts()
        };
        assert_eq!(faults(1), faults(1));
        let counts = faults(2);
        let all = [counts.refused, counts.replies_lost, counts.delayed];
        assert!(all.into_iter().all(|count| count > 5), "{counts:?}");
    }
}
