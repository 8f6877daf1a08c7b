//! Sending what was enqueued.

use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::assembly::Parts;
use super::flight::fly;
use super::intake::take_in_all;
use super::listener::Landed;
use crate::id::{DeliveryId, Fence};
use crate::observe;
use crate::store::{ClaimRequest, Claimed, Listen, Settled, StoreError, StoreErrorKind};
use crate::time::elapsed;

/// How long to leave a store alone that has just failed.
pub(super) const STORE_PAUSE: Duration = Duration::from_millis(250);

/// The shortest wait after a look that did not find more to send, whatever the store says of the next.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// How many deliveries land before the worker looks up: what is claimed in their place goes out while others still land,
/// so that neither waits for all of the other.
const LANDED_AT_ONCE: usize = 8;

/// Claims deliveries, sends them, and records what came of it. Beside that, it takes in what applications
/// [submit](crate::store::IntakeStore) in transactions of their own.
///
/// A worker is one future: it runs where it is polled, on any runtime. Everything in flight is polled by that
/// one task, so a sender that blocks its thread stalls the worker. Any number of workers, here and in other
/// processes, can run over one store.
///
/// A webhook whose receiver answers 429 or 503, or not in time, is slowed down until it answers otherwise
/// ([`Pace`](crate::delivery::Pace)). Only one with a flusher is not: what its receiver does slows its runs.
///
/// Dropping the future is what a crash is: what was in flight stays claimed until its lease ends, is recorded as
/// interrupted, and is sent again. To stop without that, let the future given to
/// [`run_until`](Self::run_until) complete.
#[derive(Debug, Clone)]
pub struct Worker {
    parts: Arc<Parts>,
}

impl Worker {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Works without end.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Self::run_until).
    pub async fn run(&self) -> Result<(), StoreError> {
        self.run_until(pending()).await
    }

    /// Works until `stop` completes, then claims no more, gives what is in flight the engine's grace period to
    /// finish, and hands the rest back uncounted.
    ///
    /// Failures of the store that may pass are waited out: nothing is lost by them, and nothing is reported as done that
    /// was not committed.
    ///
    /// # Errors
    ///
    /// The store's, where waiting helps nothing: it was [closed](StoreErrorKind::Closed), or a newer version of this
    /// crate has [taken it over](StoreErrorKind::TooNew), or another process has encrypted it under a
    /// [key](StoreErrorKind::WrongKey) that this one was not given. What was in flight is dropped then, and sent again.
    pub async fn run_until(&self, stop: impl Future<Output = ()> + Send) -> Result<(), StoreError> {
        let mut flights = FuturesUnordered::new();
        let mut chores: FuturesUnordered<BoxFuture<'_, Chore>> = FuturesUnordered::new();
        chores.push(stop.map(|()| Chore::Stop).boxed());
        chores.push(take_in_all(&self.parts).map(Chore::IntakeEnded).boxed());
        let mut shift = Shift::new(&self.parts);
        loop {
            if let Some(settle) = shift.start_settling() {
                chores.push(settle);
            }
            if let Some(look) = shift.start_looking() {
                chores.push(look);
            }
            if shift.is_over() {
                return Ok(());
            }
            let event = poll_fn(|cx| {
                let mut landed = 0;
                while landed < LANDED_AT_ONCE
                    && let Poll::Ready(Some(flown)) = flights.poll_next_unpin(cx)
                {
                    shift.land(flown);
                    landed += 1;
                }
                match chores.poll_next_unpin(cx) {
                    Poll::Ready(Some(chore)) => Poll::Ready(Some(chore)),
                    _ if landed > 0 => Poll::Ready(None),
                    _ => Poll::Pending,
                }
            });
            match event.await {
                None => {}
                Some(Chore::Stop) => chores.push(shift.stop()),
                Some(Chore::GraceOver) => {
                    // What has its answer by now counts.
                    while let Some(Some(flown)) = flights.next().now_or_never() {
                        shift.land(flown);
                    }
                    flights.clear();
                    chores.push(shift.end_grace());
                }
                Some(Chore::IntakeEnded(error)) => return Err(error),
                Some(Chore::HandedBack) => shift.handing_back -= 1,
                Some(Chore::Settled {
                    settled: Err(error), ..
                }) if is_lasting(&error) => return Err(error),
                Some(Chore::Settled { landed, settled }) => {
                    chores.extend(shift.settled(landed, settled));
                }
                Some(Chore::Looked(Ok(found))) => {
                    let (claimed, then) = shift.found(found);
                    for claimed in claimed {
                        flights.push(fly(Arc::clone(&self.parts), claimed));
                    }
                    chores.extend(then);
                }
                Some(Chore::Looked(Err(error))) if is_lasting(&error) => return Err(error),
                Some(Chore::Looked(Err(_))) => {
                    shift.looking = false;
                    chores.push(shift.rest());
                }
                Some(Chore::LookAgain) => (shift.looking, shift.waiting) = (false, false),
                Some(Chore::Rested) => shift.resting = false,
            }
        }
    }
}

/// What a worker does beside sending.
enum Chore {
    Stop,
    GraceOver,
    IntakeEnded(StoreError),
    HandedBack,
    Settled {
        landed: Vec<Landed>,
        settled: Result<Vec<Settled>, StoreError>,
    },
    Looked(Result<Found, StoreError>),
    LookAgain,
    Rested,
}

/// What a look at the store found.
struct Found {
    claimed: Vec<Claimed>,
    /// Whether there was less than was asked for.
    is_all: bool,
    /// When it looked.
    at: DateTime<Utc>,
    /// Listening since before the look.
    ring: Listen,
}

/// One run of a worker, as far as it is not the flights themselves.
struct Shift<'a> {
    parts: &'a Arc<Parts>,
    /// What is in flight, to be handed back if it does not land in time.
    aloft: BTreeSet<(DeliveryId, Fence)>,
    /// Landed, not yet settled. It gathers while a settlement is under way: that is all the batching there is, so
    /// at low load nothing waits for company.
    landed: Vec<Landed>,
    /// Empty: the room of what was settled last, for what lands during the next settlement.
    room: Vec<Landed>,
    settling: bool,
    /// Looking for work, or waiting for some.
    looking: bool,
    waiting: bool,
    /// Leaving a store alone that has failed.
    resting: bool,
    /// Calls that give claims back; there can be two, for what did not land and for what was found too late.
    handing_back: usize,
    stopping: bool,
    grace_is_over: bool,
}

impl<'a> Shift<'a> {
    fn new(parts: &'a Arc<Parts>) -> Self {
        Self {
            parts,
            aloft: BTreeSet::new(),
            landed: Vec::new(),
            room: Vec::new(),
            settling: false,
            looking: false,
            waiting: false,
            resting: false,
            handing_back: 0,
            stopping: false,
            grace_is_over: false,
        }
    }

    fn is_over(&self) -> bool {
        let idle =
            self.aloft.is_empty() && self.landed.is_empty() && !self.settling && self.handing_back == 0;
        self.stopping && idle && !self.looking
    }

    fn land(&mut self, landed: Landed) {
        // By the fence too: a worker that lost a lease may hold the same delivery anew.
        self.aloft
            .remove(&(landed.settlement.id, landed.settlement.fence));
        self.landed.push(landed);
    }

    fn start_settling(&mut self) -> Option<BoxFuture<'a, Chore>> {
        if self.settling || self.resting || self.landed.is_empty() {
            return None;
        }
        self.settling = true;
        let landed = std::mem::replace(&mut self.landed, std::mem::take(&mut self.room));
        let parts = self.parts;
        let settle = async move {
            let settlements = landed.iter().map(|landed| landed.settlement.clone()).collect();
            let settled = parts.store.settle(settlements, parts.timer.now()).await;
            if let Ok(answers) = &settled {
                observe::settled(landed.iter().map(|landed| &landed.settlement).zip(answers));
                parts.tell_settled(&landed, answers).await;
            }
            Chore::Settled { landed, settled }
        };
        Some(settle.boxed())
    }

    fn settled(
        &mut self,
        mut landed: Vec<Landed>,
        settled: Result<Vec<Settled>, StoreError>,
    ) -> Option<BoxFuture<'a, Chore>> {
        self.settling = false;
        if settled.is_ok() || self.grace_is_over {
            // Where the lease was lost, someone else has the delivery and will settle it.
            landed.clear();
            self.room = landed;
            return None;
        }
        // They are settled again later. Those that were settled all the same then answer that the lease is lost.
        self.landed.splice(0..0, landed);
        Some(self.rest())
    }

    fn start_looking(&mut self) -> Option<BoxFuture<'a, Chore>> {
        // What has landed but is not settled still holds memory and a lease, so a store that is slow to settle is
        // not asked for more than it can take.
        let free = self
            .parts
            .in_flight
            .saturating_sub(self.aloft.len() + self.landed.len());
        if self.stopping || self.looking || self.resting || free == 0 {
            return None;
        }
        self.looking = true;
        let parts = self.parts;
        Some(async move { Chore::Looked(look(parts, free).await) }.boxed())
    }

    /// Takes what was found, and says what to do next.
    fn found(&mut self, found: Found) -> (Vec<Claimed>, Option<BoxFuture<'a, Chore>>) {
        self.looking = false;
        let claims = found.claimed.iter().map(|claimed| (claimed.id, claimed.fence));
        if self.stopping {
            return (Vec::new(), Some(self.hand_back(claims.collect())));
        }
        self.aloft.extend(claims);
        let then = found.is_all.then(|| {
            (self.looking, self.waiting) = (true, true);
            let next = self.parts.store.next_due(found.at);
            let shortest = match found.claimed.is_empty() {
                true => SHORTEST_WAIT,
                false => Duration::ZERO,
            };
            wait_for_more(self.parts, found.ring, next, shortest)
                .map(|()| Chore::LookAgain)
                .boxed()
        });
        (found.claimed, then)
    }

    fn rest(&mut self) -> BoxFuture<'a, Chore> {
        self.resting = true;
        let parts = self.parts;
        async move {
            parts.timer.sleep(STORE_PAUSE).await;
            Chore::Rested
        }
        .boxed()
    }

    fn stop(&mut self) -> BoxFuture<'a, Chore> {
        self.stopping = true;
        if self.waiting {
            self.looking = false;
        }
        let parts = self.parts;
        async move {
            parts.timer.sleep(parts.grace).await;
            Chore::GraceOver
        }
        .boxed()
    }

    /// Gives up on what has not landed.
    fn end_grace(&mut self) -> BoxFuture<'a, Chore> {
        self.grace_is_over = true;
        let claims = std::mem::take(&mut self.aloft);
        self.hand_back(claims.into_iter().collect())
    }

    /// If the store will not have them back, the leases end by themselves.
    fn hand_back(&mut self, claims: Vec<(DeliveryId, Fence)>) -> BoxFuture<'a, Chore> {
        self.handing_back += 1;
        let parts = self.parts;
        async move {
            let _ = parts.store.release(claims, parts.timer.now()).await;
            Chore::HandedBack
        }
        .boxed()
    }
}

/// Whether no waiting helps.
pub(super) fn is_lasting(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Closed | StoreErrorKind::TooNew | StoreErrorKind::WrongKey
    )
}

async fn look(parts: &Parts, max: usize) -> Result<Found, StoreError> {
    let ring = parts.store.wake().listen();
    let now = parts.timer.now();
    let request = ClaimRequest {
        holder: parts.holder.clone(),
        now,
        lease: parts.lease(),
        max,
    };
    let claimed = parts.store.claim(request).await?;
    if elapsed(now, parts.timer.now()) > parts.lease_margin / 2 && !claimed.is_empty() {
        // The answer was so long in coming that the leases may not last. If the store will not have the claims back,
        // the leases end by themselves.
        let claims = claimed
            .iter()
            .map(|claimed| (claimed.id, claimed.fence))
            .collect();
        let _ = parts.store.release(claims, parts.timer.now()).await;
        return Ok(Found {
            claimed: Vec::new(),
            is_all: false,
            at: now,
            ring,
        });
    }
    Ok(Found {
        is_all: claimed.len() < max,
        claimed,
        at: now,
        ring,
    })
}

/// Completes when there may be more to claim: when the store rings, or when it said that something becomes due. What was
/// found is on its way by then, and does not wait for the store to say so.
pub(super) async fn wait_for_more(
    parts: &Parts,
    ring: Listen,
    next: impl Future<Output = Result<Option<DateTime<Utc>>, StoreError>>,
    shortest: Duration,
) {
    let due = async {
        let Ok(Some(next)) = next.await else {
            return pending().await;
        };
        let span = elapsed(parts.timer.now(), next).max(shortest);
        if !span.is_zero() {
            parts.timer.sleep(span).await; // timers take a millisecond even for nothing
        }
    };
    // Whatever the store says, or does not say.
    let polled = parts.timer.sleep(parts.poll_interval);
    match select(ring, select(pin!(due), polled)).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}
