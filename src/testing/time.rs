//! Time that passes when it is told to.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::engine::Timer;
use crate::time::{Clock, after};

/// A clock and timer that a test moves by hand. Clones share the time.
///
/// It has two hands, as a machine has. The wall clock, which [`now`](Clock::now) reads, can be
/// [`set`](Self::set) to anything, backwards too. Sleeps are measured by what has [passed](Self::advance), which
/// setting the wall clock does not change. They end in the order of their ends, and of their beginnings where two
/// end together, so a run can be repeated.
///
/// ```
/// use std::time::Duration;
/// use chrono::DateTime;
/// use futures_util::FutureExt;
/// use ringback::engine::Timer;
/// use ringback::testing::ManualTime;
///
/// let time = ManualTime::new(DateTime::UNIX_EPOCH);
/// let mut nap = time.sleep(Duration::from_secs(60));
/// assert!((&mut nap).now_or_never().is_none());
/// time.advance(Duration::from_secs(59));
/// assert!((&mut nap).now_or_never().is_none());
/// time.advance(Duration::from_secs(1));
/// assert!(nap.now_or_never().is_some());
/// ```
#[derive(Clone)]
pub struct ManualTime(Arc<Mutex<Hands>>);

struct Hands {
    wall: DateTime<Utc>,
    passed: Duration,
    /// By end, then by beginning. Once a sleep has ended it is not here any more.
    sleeps: BTreeMap<SleepKey, Waker>,
    begun: u64,
}

type SleepKey = (Duration, u64);

impl ManualTime {
    /// Time that stands still at this instant.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(Hands {
            wall: start,
            passed: Duration::ZERO,
            sleeps: BTreeMap::new(),
            begun: 0,
        })))
    }

    /// Lets time pass: the wall clock goes on, and sleeps that are over by then end.
    pub fn advance(&self, span: Duration) {
        let ended = {
            let mut hands = self.hands();
            hands.wall = after(hands.wall, span);
            hands.passed = hands.passed.saturating_add(span);
            let later = (hands.passed.saturating_add(Duration::from_nanos(1)), 0);
            let sleeping = hands.sleeps.split_off(&later);
            std::mem::replace(&mut hands.sleeps, sleeping)
        };
        for waker in ended.into_values() {
            waker.wake();
        }
    }

    /// Lets just so much time pass that the next sleep ends. Whether there was one.
    pub fn advance_to_next_wake(&self) -> bool {
        let next = {
            let hands = self.hands();
            hands.first_end().map(|ends| ends.saturating_sub(hands.passed))
        };
        if let Some(span) = next {
            self.advance(span);
        }
        next.is_some()
    }

    /// Sets the wall clock, as people and NTP do. No time passes, so no sleep ends.
    pub fn set(&self, wall: DateTime<Utc>) {
        self.hands().wall = wall;
    }

    /// What the wall clock will show when the next sleep ends; `None` if nobody sleeps.
    pub fn next_wake(&self) -> Option<DateTime<Utc>> {
        let hands = self.hands();
        let ends = hands.first_end()?;
        Some(after(hands.wall, ends.saturating_sub(hands.passed)))
    }

    /// How much time has passed, whatever was done to the wall clock meanwhile.
    pub fn passed(&self) -> Duration {
        self.hands().passed
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    fn first_end(&self) -> Option<Duration> {
        self.sleeps.first_key_value().map(|((ends, _), _)| *ends)
    }
}

impl Clock for ManualTime {
    fn now(&self) -> DateTime<Utc> {
        self.hands().wall
    }
}

#[async_trait]
impl Timer for ManualTime {
    async fn sleep(&self, span: Duration) {
        let key = {
            let mut hands = self.hands();
            hands.begun += 1;
            (hands.passed.saturating_add(span), hands.begun)
        };
        if !span.is_zero() {
            Sleep {
                time: self,
                key,
                begun: false,
            }
            .await;
        }
    }
}

impl fmt::Debug for ManualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hands = self.hands();
        f.debug_struct("ManualTime")
            .field("wall", &hands.wall)
            .field("passed", &hands.passed)
            .field("sleeps", &hands.sleeps.len())
            .finish()
    }
}

struct Sleep<'a> {
    time: &'a ManualTime,
    key: SleepKey,
    begun: bool,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut hands = self.time.hands();
        if self.begun && !hands.sleeps.contains_key(&self.key) {
            return Poll::Ready(());
        }
        let former = hands.sleeps.insert(self.key, cx.waker().clone());
        drop(hands);
        drop(former); // not under the lock: with a waker, a task and its sleeps may go
        self.begun = true;
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        let waker = self.time.hands().sleeps.remove(&self.key);
        drop(waker); // as above
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    const START: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn is_ready(sleep: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        Pin::new(sleep)
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn the_wall_clock_can_be_set_back_without_disturbing_sleeps() {
        let time = ManualTime::new(after(START, seconds(100)));
        let mut sleep = time.sleep(seconds(10));
        assert!(!is_ready(&mut sleep));
        time.set(START);
        assert_eq!(time.next_wake(), Some(after(START, seconds(10))));
        time.set(after(START, seconds(1_000_000)));
        assert!(!is_ready(&mut sleep), "setting the clock is no passing of time");
        time.set(START);
        time.advance(seconds(10));
        assert!(is_ready(&mut sleep));
        assert_eq!(time.now(), after(START, seconds(10)));
        assert_eq!(time.passed(), seconds(10));
    }

    #[test]
    fn a_dropped_sleep_is_forgotten_and_a_zero_one_is_over() {
        let time = ManualTime::new(START);
        assert!(is_ready(&mut time.sleep(Duration::ZERO)));
        let mut sleep = time.sleep(Duration::MAX);
        assert!(!is_ready(&mut sleep));
        assert!(time.next_wake().is_some());
        drop(sleep);
        assert_eq!(time.next_wake(), None);
        assert!(!time.advance_to_next_wake());
    }

    struct Noted(Arc<Mutex<Vec<u8>>>, u8);

    impl Wake for Noted {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().push(self.1);
        }
    }

    #[test]
    fn sleeps_end_in_the_order_of_their_ends_then_of_their_beginnings() {
        let time = ManualTime::new(START);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut sleeps = Vec::new();
        for (name, span) in [(0, 30), (1, 10), (2, 20), (3, 10)] {
            let waker = Waker::from(Arc::new(Noted(Arc::clone(&woken), name)));
            let mut sleep = time.sleep(seconds(span));
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            sleeps.push(sleep);
        }
        assert!(time.advance_to_next_wake());
        assert_eq!(*woken.lock().unwrap(), [1, 3]);
        time.advance(seconds(60));
        assert_eq!(*woken.lock().unwrap(), [1, 3, 2, 0]);
        assert!(sleeps.iter_mut().all(is_ready));
    }

    #[test]
    fn time_has_an_end() {
        let time = ManualTime::new(DateTime::<Utc>::MAX_UTC);
        time.advance(Duration::MAX);
        time.advance(Duration::MAX);
        assert_eq!(time.now(), DateTime::<Utc>::MAX_UTC);
        let mut sleep = time.sleep(seconds(1));
        assert!(!is_ready(&mut sleep), "nothing is later than the end of time");
    }
}
