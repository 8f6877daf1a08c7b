//! Receivers, and the lines on which workers reach them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};

use super::desk::{Command, Desk};
use super::faults::{FaultKind, Lots};
use super::ledger::{ActorNo, Arrival, Heard, Ledger};
use crate::engine::Timer;
use crate::id::DeliveryId;
use crate::retry::RetryAfter;
use crate::transport::{HttpSender, ResponseLimits, SendError, SendErrorKind};

/// What all receivers of a world have in common.
#[derive(Debug)]
pub(super) struct Receivers {
    pub(super) lots: Lots,
    /// Of a thousand requests, how many meet with trouble.
    pub(super) trouble: u64,
    /// Of a thousand deliveries, how many take down every worker that sends them.
    pub(super) poison: u64,
    pub(super) seed: u64,
    /// The host of a receiver that never accepts anything.
    pub(super) dead_host: Option<String>,
}

struct Reaction {
    is_accepted: bool,
    delay: Duration,
    end: End,
    fault: Option<FaultKind>,
}

enum End {
    Answer(StatusCode, Option<u64>),
    Break,
    Hang,
    Panic,
    KillWorker,
}

impl Receivers {
    fn react(&self, delivery: DeliveryId, host: Option<&str>, is_calm: bool) -> Reaction {
        let reaction = |is_accepted, end, fault| Reaction {
            is_accepted,
            delay: self.lots.millis(1, 40),
            end,
            fault: Some(fault),
        };
        if Lots::new(self.seed, delivery.0.unsigned_abs()).chance(self.poison) {
            return reaction(false, End::KillWorker, FaultKind::WorkerPoisoned);
        }
        if host.is_some() && host == self.dead_host.as_deref() {
            // What is down altogether would have its lane pause most of the time.
            let status = match self.lots.chance(300) {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::BAD_GATEWAY,
            };
            return reaction(false, End::Answer(status, None), FaultKind::ServerError);
        }
        if is_calm || !self.lots.chance(self.trouble) {
            let end = End::Answer(StatusCode::OK, None);
            return Reaction {
                fault: None,
                ..reaction(true, end, FaultKind::ReceiverSlow)
            };
        }
        let ok = || End::Answer(StatusCode::NO_CONTENT, None);
        let coin = self.lots.chance(500);
        match self.lots.below(14) {
            0..4 => Reaction {
                delay: self.lots.millis(300, 2_900),
                ..reaction(true, ok(), FaultKind::ReceiverSlow)
            },
            4..6 => reaction(coin, End::Hang, FaultKind::ReceiverHung),
            6 => Reaction {
                delay: self.lots.millis(2_900, 12_000),
                ..reaction(true, ok(), FaultKind::ReceiverHung)
            },
            7..9 => reaction(coin, End::Break, FaultKind::Disconnected),
            9 => reaction(coin, End::Panic, FaultKind::SenderPanicked),
            10 => {
                let hint = self.lots.below(20);
                let end = End::Answer(StatusCode::TOO_MANY_REQUESTS, Some(hint));
                reaction(false, end, FaultKind::TooManyRequests)
            }
            11 if self.lots.chance(300) => {
                reaction(false, End::Answer(StatusCode::GONE, None), FaultKind::Gone)
            }
            _ => {
                let end = End::Answer(StatusCode::INTERNAL_SERVER_ERROR, None);
                reaction(false, end, FaultKind::ServerError)
            }
        }
    }
}

/// One worker's line to all receivers.
pub(super) struct Line {
    pub(super) worker: ActorNo,
    pub(super) receivers: Arc<Receivers>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) desk: Arc<Desk>,
}

#[async_trait]
impl HttpSender for Line {
    async fn send(
        &self,
        request: Request<Bytes>,
        _limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        let Some(arrival) = self.ledger.book().arrives(self.worker, &request) else {
            return Err(SendErrorKind::Other.into());
        };
        let reaction = self
            .receivers
            .react(arrival.delivery, request.uri().host(), self.desk.is_calm());
        let mut exchange = Pending {
            ledger: &self.ledger,
            arrival,
            heard: Heard::Nothing,
        };
        self.note(arrival, &reaction);
        self.desk.time.sleep(reaction.delay).await;
        match reaction.end {
            End::Answer(status, hint) => {
                exchange.heard = Heard::Answer(status, hint.map(Duration::from_secs).map(RetryAfter::Delay));
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = status;
                if let Some(hint) = hint {
                    response
                        .headers_mut()
                        .insert(RETRY_AFTER, HeaderValue::from(hint));
                }
                Ok(response)
            }
            End::Break => {
                exchange.heard = Heard::Broken;
                Err(SendErrorKind::Closed.into())
            }
            End::Hang => std::future::pending().await,
            // Without the hook that prints panics: this one is meant.
            End::Panic => {
                exchange.heard = Heard::Broken;
                std::panic::resume_unwind(Box::new("a simulated panic"))
            }
            End::KillWorker => {
                self.desk.post(Command::Kill(self.worker));
                std::future::pending().await
            }
        }
    }

    fn supports_https(&self) -> bool {
        true
    }
}

impl Line {
    fn note(&self, arrival: Arrival, reaction: &Reaction) {
        let mut book = self.ledger.book();
        let id = arrival.delivery;
        book.log(|| {
            let what = if reaction.is_accepted {
                "accepted"
            } else {
                "not accepted"
            };
            format!("worker {} sends {id}#{}: {what}", arrival.worker.0, arrival.fence)
        });
        if let Some(fault) = reaction.fault {
            book.fault(fault, || format!("delivery {id}"));
        }
        if reaction.is_accepted {
            book.is_accepted(arrival);
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// A request under way; however it ends, the ledger learns of it.
struct Pending<'a> {
    ledger: &'a Ledger,
    arrival: Arrival,
    heard: Heard,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.ledger.book().is_over(self.arrival, self.heard);
    }
}
