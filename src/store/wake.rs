//! Telling whoever waits for work that there is some.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A bell that a store rings when something may have become due sooner than it last said.
///
/// Ringing is a hint that saves waiting, never a promise: who listens looks for work by the clock as well. It
/// needs no runtime.
///
/// ```
/// use ringback::store::Wake;
///
/// let wake = Wake::default();
/// let heard = wake.listen(); // from here on, no ring is missed
/// wake.ring();
/// # futures_util::FutureExt::now_or_never(heard).expect("it rang");
/// ```
#[derive(Clone, Default)]
pub struct Wake(Arc<Mutex<Bell>>);

#[derive(Default)]
struct Bell {
    rings: u64,
    waiting: Vec<(u64, Waker)>,
    next_listener: u64,
}

impl Wake {
    /// Wakes all who listen.
    pub fn ring(&self) {
        let waiting = {
            let mut bell = self.bell();
            bell.rings = bell.rings.wrapping_add(1);
            std::mem::take(&mut bell.waiting)
        };
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// A future that completes at the first ring after this call.
    pub fn listen(&self) -> Listen {
        let mut bell = self.bell();
        bell.next_listener = bell.next_listener.wrapping_add(1);
        Listen {
            wake: self.clone(),
            since: bell.rings,
            listener: bell.next_listener,
        }
    }

    fn bell(&self) -> MutexGuard<'_, Bell> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake").finish_non_exhaustive()
    }
}

/// Completes when the [`Wake`] it came from rings.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Listen {
    wake: Wake,
    since: u64,
    listener: u64,
}

impl Future for Listen {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut bell = self.wake.bell();
        if bell.rings != self.since {
            return Poll::Ready(());
        }
        match bell
            .waiting
            .iter_mut()
            .find(|(listener, _)| *listener == self.listener)
        {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => bell.waiting.push((self.listener, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Listen {
    fn drop(&mut self) {
        self.wake
            .bell()
            .waiting
            .retain(|(listener, _)| *listener != self.listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_between_listening_and_waiting_is_heard() {
        let wake = Wake::default();
        let mut heard = wake.listen();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut heard).poll(&mut cx).is_pending());
        wake.ring();
        assert!(Pin::new(&mut heard).poll(&mut cx).is_ready());
        assert!(
            Pin::new(&mut wake.listen()).poll(&mut cx).is_pending(),
            "an earlier ring is not heard"
        );
    }

    #[test]
    fn who_stops_listening_is_forgotten() {
        let wake = Wake::default();
        let mut heard = wake.listen();
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut heard).poll(&mut cx);
        let _ = Pin::new(&mut heard).poll(&mut cx);
        assert_eq!(wake.bell().waiting.len(), 1);
        drop(heard);
        assert!(wake.bell().waiting.is_empty());
    }
}
