//! What is known of the status of things, and who waits for it.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use chrono::{DateTime, Utc};

use crate::task::{LifeCycle, Observation, Outlook, Progress, Step};

/// Reports of statuses on one side, those who wait for them on the other, matched by key.
///
/// Reports come from wherever the application gets them: webhooks, polling, a message queue. What is reported under a
/// key that nobody watches is not kept. `R` is whatever goes with a report; the last one that was taken is handed to
/// whoever waits.
///
/// ```
/// use ringback::client::{Reported, Watches};
/// use ringback::provider::truv::TaskStatus;
/// use ringback::task::Observation;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let tasks = Watches::<String, TaskStatus, ()>::new();
/// let watch = tasks.watch("task-1".to_owned());
///
/// // In the handler of the webhook `task-status-updated`:
/// let reported = tasks.report("task-1", TaskStatus::Login, None, ());
/// assert!(matches!(reported, Reported::Taken(Observation::Taken(_))));
/// tasks.report("task-1", TaskStatus::Done, None, ());
///
/// let arrival = watch.reached(&TaskStatus::Parse).await.unwrap();
/// assert!(arrival.was_passed, "the report of `parse` was lost");
/// # }
/// ```
pub struct Watches<K, S, R> {
    entries: Arc<Mutex<HashMap<K, Entry<S, R>>>>,
}

struct Entry<S, R> {
    known: Option<Known<S, R>>,
    watches: usize,
    /// Those who wait, by the number of their wait.
    waiting: Vec<(u64, Waker)>,
    waits: u64,
}

struct Known<S, R> {
    progress: Progress<S>,
    detail: R,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// Somebody watches, and this is what the report was.
    Taken(Observation),
    /// Nobody watches: nobody ever has, or not any more.
    Unwatched,
}

/// A status that was waited for, or one after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival<S, R> {
    /// The present status.
    pub status: S,
    /// Whether it is a later one than that which was waited for.
    pub was_passed: bool,
    /// What went with the last report.
    pub detail: R,
}

impl<K, S, R> Watches<K, S, R>
where
    K: Eq + Hash + Clone,
    S: LifeCycle,
    R: Clone,
{
    /// Nothing is watched yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches what is reported under that key from now on, or what is known already if somebody else watches it. It is
    /// forgotten with the last watch.
    pub fn watch(&self, key: K) -> Watch<K, S, R> {
        self.entries()
            .entry(key.clone())
            .or_insert_with(|| Entry {
                known: None,
                watches: 0,
                waiting: Vec::new(),
                waits: 0,
            })
            .watches += 1;
        Watch {
            entries: Arc::clone(&self.entries),
            key,
        }
    }

    /// Reports a status, and when it was that of the thing, if that is known.
    pub fn report<Q>(&self, key: &Q, status: S, at: Option<DateTime<Utc>>, detail: R) -> Reported
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.report_after(key, status, at, |_| detail)
    }

    /// The same, where what goes with the status depends on what went with the one before it.
    pub(super) fn report_after<Q>(
        &self,
        key: &Q,
        status: S,
        at: Option<DateTime<Utc>>,
        detail: impl FnOnce(Option<&R>) -> R,
    ) -> Reported
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        report(&self.entries, key, status, at, detail)
    }

    /// Whether a key is watched.
    pub fn is_watched<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries().contains_key(key)
    }

    /// How many keys are watched.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<K, Entry<S, R>>> {
        lock(&self.entries)
    }
}

fn report<K, S, R, Q>(
    entries: &Mutex<HashMap<K, Entry<S, R>>>,
    key: &Q,
    status: S,
    at: Option<DateTime<Utc>>,
    detail: impl FnOnce(Option<&R>) -> R,
) -> Reported
where
    K: Eq + Hash + Borrow<Q>,
    S: LifeCycle,
    Q: Eq + Hash + ?Sized,
{
    let (observation, waiting) = {
        let mut entries = lock(entries);
        let Some(entry) = entries.get_mut(key) else {
            return Reported::Unwatched;
        };
        let observation = entry.observe(status, at, detail);
        let waiting = match observation {
            Observation::Taken(_) => std::mem::take(&mut entry.waiting),
            Observation::Stale | Observation::Irregular(_) => Vec::new(),
        };
        (observation, waiting)
    };
    for (_, waker) in waiting {
        waker.wake();
    }
    Reported::Taken(observation)
}

impl<S: LifeCycle, R> Entry<S, R> {
    fn observe(
        &mut self,
        status: S,
        at: Option<DateTime<Utc>>,
        detail: impl FnOnce(Option<&R>) -> R,
    ) -> Observation {
        match &mut self.known {
            None => {
                let progress = Progress::new(status, at);
                let detail = detail(None);
                self.known = Some(Known { progress, detail });
                Observation::Taken(Step::Documented)
            }
            Some(known) => {
                let observation = known.progress.observe(status, at);
                if let Observation::Taken(_) = observation {
                    known.detail = detail(Some(&known.detail));
                }
                observation
            }
        }
    }
}

/// Watches one key, for as long as it lives.
pub struct Watch<K: Eq + Hash, S, R> {
    entries: Arc<Mutex<HashMap<K, Entry<S, R>>>>,
    key: K,
}

impl<K, S, R> Watch<K, S, R>
where
    K: Eq + Hash,
    S: LifeCycle,
    R: Clone,
{
    /// The status as last reported, and what went with it; `None` if nothing was reported since the first watch.
    pub fn latest(&self) -> Option<(S, R)> {
        let entries = lock(&self.entries);
        let known = entries.get(&self.key)?.known.as_ref()?;
        Some((known.progress.status().clone(), known.detail.clone()))
    }

    /// Reports a status of the key that is watched, as [`Watches::report`] does.
    pub fn report(&self, status: S, at: Option<DateTime<Utc>>, detail: R) -> Reported {
        report(&self.entries, &self.key, status, at, |_| detail)
    }

    /// Waits for a status, without end. Dropping the future stops the waiting and changes nothing.
    ///
    /// # Errors
    ///
    /// The present status, if it is one from which the awaited one cannot come any more.
    pub async fn reached(&self, awaited: &S) -> Result<Arrival<S, R>, S> {
        let mut wait = Wait {
            watch: self,
            number: None,
        };
        std::future::poll_fn(|context| wait.poll(awaited, context.waker())).await
    }
}

struct Wait<'a, K: Eq + Hash, S, R> {
    watch: &'a Watch<K, S, R>,
    number: Option<u64>,
}

impl<K: Eq + Hash, S: LifeCycle, R: Clone> Wait<'_, K, S, R> {
    fn poll(&mut self, awaited: &S, waker: &Waker) -> Poll<Result<Arrival<S, R>, S>> {
        let mut entries = lock(&self.watch.entries);
        let Some(entry) = entries.get_mut(&self.watch.key) else {
            return Poll::Pending; // cannot be: there is an entry for as long as there is a watch
        };
        if let Some(known) = &entry.known {
            let status = known.progress.status();
            let was_passed = match status.outlook(awaited) {
                Outlook::Reached => Some(false),
                Outlook::Passed => Some(true),
                Outlook::Missed => return Poll::Ready(Err(status.clone())),
                Outlook::Ahead => None,
            };
            if let Some(was_passed) = was_passed {
                return Poll::Ready(Ok(Arrival {
                    status: status.clone(),
                    was_passed,
                    detail: known.detail.clone(),
                }));
            }
        }
        let number = *self.number.get_or_insert_with(|| {
            entry.waits += 1;
            entry.waits
        });
        match entry.waiting.iter_mut().find(|(waiting, _)| *waiting == number) {
            Some((_, present)) => present.clone_from(waker),
            None => entry.waiting.push((number, waker.clone())),
        }
        Poll::Pending
    }
}

impl<K: Eq + Hash, S, R> Drop for Wait<'_, K, S, R> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        if let Some(entry) = lock(&self.watch.entries).get_mut(&self.watch.key) {
            entry.waiting.retain(|(waiting, _)| *waiting != number);
        }
    }
}

impl<K: Eq + Hash, S, R> Drop for Watch<K, S, R> {
    fn drop(&mut self) {
        let forgotten = {
            let mut entries = lock(&self.entries);
            let Some(entry) = entries.get_mut(&self.key) else {
                return;
            };
            entry.watches -= 1;
            if entry.watches > 0 {
                return;
            }
            entries.remove(&self.key)
        };
        drop(forgotten); // not under the lock, since what went with a report is the caller's
    }
}

impl<K, S, R> Default for Watches<K, S, R> {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
        }
    }
}

impl<K, S, R> Clone for Watches<K, S, R> {
    fn clone(&self) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
        }
    }
}

impl<K, S, R> Debug for Watches<K, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches")
            .field("watched", &lock(&self.entries).len())
            .finish()
    }
}

impl<K: Eq + Hash, S, R> Debug for Watch<K, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;
    use crate::task::TaskStatus;

    type Tasks = Watches<u32, TaskStatus, &'static str>;

    fn is_pending<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn what_nobody_watches_is_not_kept() {
        let tasks = Tasks::new();
        assert_eq!(
            tasks.report(&1, TaskStatus::Running, None, ""),
            Reported::Unwatched
        );
        let (first, second) = (tasks.watch(1), tasks.watch(1));
        assert_eq!(first.latest(), None);
        tasks.report(&1, TaskStatus::Running, None, "a");
        drop(first);
        assert_eq!(second.latest(), Some((TaskStatus::Running, "a")));
        drop(second);
        assert!(tasks.is_empty());
        assert_eq!(tasks.watch(1).latest(), None);
    }

    #[test]
    fn who_stops_waiting_is_forgotten() {
        let tasks = Tasks::new();
        let watch = tasks.watch(1);
        {
            let mut waits = [(); 3].map(|()| Box::pin(watch.reached(&TaskStatus::Succeeded)));
            for wait in &mut waits {
                assert!(is_pending(wait.as_mut()));
                assert!(is_pending(wait.as_mut()));
            }
            assert_eq!(lock(&tasks.entries)[&1].waiting.len(), 3);
        }
        assert!(lock(&tasks.entries)[&1].waiting.is_empty());
    }

    #[test]
    fn an_end_is_not_undone_and_what_came_with_it_stays() {
        let tasks = Tasks::new();
        let watch = tasks.watch(1);
        tasks.report(&1, TaskStatus::Failed, None, "why");
        let late = tasks.report(&1, TaskStatus::Running, None, "late");
        assert!(matches!(late, Reported::Taken(Observation::Irregular(_))));
        assert_eq!(watch.latest(), Some((TaskStatus::Failed, "why")));
        let wait = std::pin::pin!(watch.reached(&TaskStatus::Succeeded));
        let missed = wait.poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(missed, Poll::Ready(Err(TaskStatus::Failed)));
    }
}
