//! Requests, from the moment receivers get them until workers have heard the end or given up waiting.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Request, StatusCode};

use super::row::Standing;
use super::{ActorNo, Book, ROUNDING};
use crate::delivery::Order;
use crate::id::{DeliveryId, Fence};
use crate::retry::{Decision, RetryAfter};
use crate::testing::simulation::violation::Invariant;
use crate::time::Clock;

/// A request under a claim.
#[derive(Debug)]
pub(super) struct Exchange {
    /// When it was over, by the wall clock, and what the worker had heard by then.
    pub(super) ended: Option<(DateTime<Utc>, Heard)>,
}

/// What a worker has heard of a receiver.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Heard {
    /// An answer.
    Answer(StatusCode, Option<RetryAfter>),
    /// That there will be none: the connection broke, or the sender panicked.
    Broken,
    /// None, in time.
    Nothing,
}

/// A request that has come to a receiver.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Arrival {
    pub(in super::super) worker: ActorNo,
    pub(in super::super) delivery: DeliveryId,
    pub(in super::super) fence: Fence,
}

impl Book {
    /// A request comes in from a worker. `None` if it is nobody's.
    pub(in super::super) fn arrives(&mut self, worker: ActorNo, request: &Request<Bytes>) -> Option<Arrival> {
        let address = (request.uri().to_string(), request.body().clone());
        let Some(id) = self.addresses.get(&address).copied() else {
            self.breach(Invariant::ScopeLeaked, || {
                format!("a request to {} belongs to no delivery", request.uri().path())
            });
            return None;
        };
        let row = self.rows.get_mut(&id)?;
        let unsent = |(_, flight): &(&Fence, &mut super::row::Flight)| {
            flight.worker == worker && flight.exchange.is_none()
        };
        let Some((fence, flight)) = row.flights.iter_mut().rev().find(unsent) else {
            self.breach(Invariant::DuplicatedWithoutFault, || {
                format!("worker {} sends delivery {id} without a claim for it", worker.0)
            });
            return None;
        };
        flight.exchange = Some(Exchange { ended: None });
        let fence = *fence;
        self.judge_start(id, fence);
        let most = self.actors.get_mut(&worker).is_some_and(|worker| {
            worker.under_way += 1;
            worker.under_way > worker.most
        });
        if most {
            self.breach(Invariant::OverLimitInFlight, || {
                format!("worker {} has more under way than it has places", worker.0)
            });
        }
        Some(Arrival {
            worker,
            delivery: id,
            fence,
        })
    }

    /// After an interruption nobody asked the schedule yet, so the worker that sends again must have waited itself.
    fn judge_start(&mut self, id: DeliveryId, fence: Fence) {
        let Some(row) = self.rows.get(&id) else { return };
        if !row.is_held_under(fence) {
            self.late_requests += 1;
            return self.log(|| format!("delivery {id} is sent under {fence}, which is lost"));
        }
        let awaits_runs = row.flights.get(&fence).is_some_and(|flight| flight.awaits_runs);
        if !row.interrupted || awaits_runs {
            return;
        }
        let now = self.time.now();
        match row.decide(row.attempts, row.due, None) {
            Decision::RetryAt(at) if at <= now + ROUNDING => {}
            Decision::RetryAt(at) => self.breach(Invariant::SentBeforeDue, || {
                format!("delivery {id} was interrupted, and is sent before {at}")
            }),
            Decision::GiveUp => self.breach(Invariant::AttemptsMiscounted, || {
                format!("delivery {id} was interrupted, and is sent after its schedule ended")
            }),
        }
    }

    /// The receiver has accepted a request, whether the worker will hear of it or not.
    pub(in super::super) fn is_accepted(&mut self, arrival: Arrival) {
        let id = arrival.delivery;
        let Some(row) = self.rows.get_mut(&id) else { return };
        let is_first = !std::mem::replace(&mut row.accepted, true);
        let is_held = row.is_held_under(arrival.fence);
        let was_known = is_held && std::mem::replace(&mut row.known_accepted, true);
        let lane = row.lane;
        if !is_first {
            self.duplicates += 1;
        }
        if was_known {
            self.breach(Invariant::DuplicatedWithoutFault, || {
                format!("delivery {id} was accepted again, though nothing had hidden that it was")
            });
        }
        if is_first && is_held && self.lanes[lane].order == Order::Strict {
            // One that is replayed has had its turn.
            let waiting = |(_, row): &(&DeliveryId, &super::row::Row)| {
                row.lane == lane
                    && !row.accepted
                    && row.replays == 0
                    && !matches!(row.standing, Standing::Final | Standing::Held)
            };
            let older = self.rows.range(..id).find(waiting).map(|(older, _)| *older);
            if let Some(older) = older {
                self.breach(Invariant::OutOfStrictOrder, || {
                    format!("delivery {id} was accepted before {older}")
                });
            }
        }
    }

    /// A request is over: answered, failed, or given up by its worker.
    pub(in super::super) fn is_over(&mut self, arrival: Arrival, heard: Heard) {
        let Arrival {
            worker,
            delivery: id,
            fence,
        } = arrival;
        let now = self.time.now();
        self.log(|| match heard {
            Heard::Answer(status, _) => format!("worker {} hears of {id}#{fence}: {status}", worker.0),
            Heard::Broken => format!("worker {} hears that {id}#{fence} has failed", worker.0),
            Heard::Nothing => format!("worker {} hears nothing of {id}#{fence}", worker.0),
        });
        if let Some(worker) = self.actors.get_mut(&worker) {
            worker.under_way = worker.under_way.saturating_sub(1);
        }
        let Some(flight) = self.rows.get_mut(&id).and_then(|row| row.flights.get_mut(&fence)) else {
            return;
        };
        if let Some(exchange) = &mut flight.exchange {
            exchange.ended = Some((now, heard));
        }
        let (lease_ends, claimed) = (flight.lease_ends, flight.claimed);
        if lease_ends < now && !self.was_disturbed(worker, claimed) {
            self.breach(Invariant::LeaseOutlived, || {
                format!("delivery {id} was under way until {now}, and its lease until {lease_ends}")
            });
        }
    }
}
