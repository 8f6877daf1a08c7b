//! What is told to `tracing` and counted with `metrics`, where those features are on.
//!
//! Nothing that is told or counted holds a body, a URL, a header, a key or a token: ids, names and outcomes only. With
//! the features off, none of it is compiled in. With them on, it costs what the application's subscriber and recorder
//! make of it.
//!
//! # Events and spans (feature `tracing`)
//!
//! Their target is `ringback`. Everything about one delivery has the field `delivery`, the number that
//! `Receipt` and history give it, so a search for `delivery=17` tells its story.
//!
//! | event | level | fields | when |
//! |---|---|---|---|
//! | `enqueued` | debug | `delivery`, `event`, `scope`, `kind` | after the commit |
//! | span `attempt` | debug | `delivery`, `number`, `event`, `scope`, `kind`, `webhook`, `profile` | around an attempt: what the sender tells is within it |
//! | `attempted` | debug | `outcome`, `took_ms`; within the span | when it is over |
//! | `postponed` | warn | within the span | when nothing could be sent, since no proof could be made or the profile is not known here |
//! | `delivered` | info | `delivery` | after the commit |
//! | `to be tried again` | debug | `delivery`, `at` | after the commit; without `at`, in the flusher's next run |
//! | `dead` | warn | `delivery`, `reason` | after the commit |
//! | `set aside` | warn | `event`, `scope`, `why` | when a submission cannot be enqueued, after the commit |
//! | `lease lost` | warn | `delivery` | when what a worker reports comes too late to count |
//! | `received` | debug | `receiver`, `key`, `ending` and `took_ms` | when a receiver is done with a message: handled, or known already |
//! | `not received` | warn | the same, and `why` | when it rejected one, or was dropped in the middle |
//!
//! # Figures (feature `metrics`)
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `ringback_enqueued_total` | counter | | deliveries enqueued here |
//! | `ringback_attempts_total` | counter | `profile`, `outcome` | attempts made here; the outcome is `2xx`, `3xx`, `4xx`, `5xx`, `timed_out`, `failed` or `panicked` |
//! | `ringback_attempt_seconds` | histogram | `profile` | how long an attempt took |
//! | `ringback_postponed_total` | counter | `profile` | claims that came to no attempt: no proof could be made, the profile is not known here, or an interrupted attempt was judged |
//! | `ringback_settled_total` | counter | `state` | deliveries that went to `delivered`, `dead`, or back to `pending`, as committed |
//! | `ringback_set_aside_total` | counter | `why` | submissions that could not be enqueued |
//! | `ringback_leases_lost_total` | counter | | reports that came too late to count |
//! | `ringback_received_total` | counter | `receiver`, `ending` | messages that came to a receiver, by [how they ended](crate::receive::Ending::as_str) |
//! | `ringback_receive_seconds` | histogram | `receiver` | how long a receiver took, the handler included |
//!
//! Each process counts what it does itself. How much waits, and how webhooks fare, is for all processes together in the
//! store, and asked from there. Labels have the names of profiles and receivers, which are the application's own and
//! few; ids and tenants are never labels.

use std::time::Duration;

use crate::store::SeenKey;

#[cfg(feature = "engine")]
pub(crate) use sending::{attempt, attempted, enqueued, set_aside, settled};

/// A receiver is done with a message. `why` says why it was rejected.
pub(crate) fn received(
    receiver: &str,
    key: Option<&SeenKey>,
    ending: &'static str,
    why: Option<&dyn std::fmt::Display>,
    took: Duration,
) {
    #[cfg(feature = "tracing")]
    {
        let key = key.map(|key| key.key.as_str());
        let took_ms = millis(took);
        if matches!(ending, "handled" | "duplicate") {
            tracing::debug!(target: "ringback", receiver, key, ending, took_ms, "received");
        } else {
            let why = why.map(tracing::field::display);
            tracing::warn!(target: "ringback", receiver, key, ending, why, took_ms, "not received");
        }
    }
    #[cfg(feature = "metrics")]
    {
        metrics::counter!("ringback_received_total", "receiver" => receiver.to_owned(), "ending" => ending)
            .increment(1);
        metrics::histogram!("ringback_receive_seconds", "receiver" => receiver.to_owned())
            .record(took.as_secs_f64());
    }
    let _ = (receiver, key, ending, why, took);
}

#[cfg(feature = "tracing")]
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(feature = "engine")]
mod sending {
    #[cfg(feature = "metrics")]
    use crate::delivery::Outcome;
    use crate::delivery::{AttemptReport, Event};
    use crate::id::{DeliveryId, EventId, Scope};
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    use crate::store::Next;
    use crate::store::{Claimed, SetAside, Settled, Settlement};

    /// These deliveries of the event are committed.
    pub(crate) fn enqueued(event: &Event, deliveries: &[DeliveryId]) {
        #[cfg(feature = "tracing")]
        for delivery in deliveries {
            tracing::debug!(
                target: "ringback",
                delivery = delivery.0,
                event = event.id().as_str(),
                scope = event.scope().as_str(),
                kind = event.kind().as_str(),
                "enqueued"
            );
        }
        #[cfg(feature = "metrics")]
        metrics::counter!("ringback_enqueued_total").increment(deliveries.len() as u64);
        let _ = (event, deliveries);
    }

    /// What was submitted with that id was set aside, and that is committed.
    pub(crate) fn set_aside(scope: &Scope, event: &EventId, why: SetAside) {
        #[cfg(feature = "tracing")]
        tracing::warn!(
            target: "ringback",
            event = event.as_str(),
            scope = scope.as_str(),
            why = why.as_str(),
            "set aside"
        );
        #[cfg(feature = "metrics")]
        metrics::counter!("ringback_set_aside_total", "why" => why.as_str()).increment(1);
        let _ = (scope, event, why);
    }

    /// The attempt that a claim is for, within its span.
    #[cfg(feature = "tracing")]
    pub(crate) fn attempt<F: Future>(claimed: &Claimed, attempt: F) -> impl Future<Output = F::Output> {
        use tracing::Instrument;

        attempt.instrument(tracing::debug_span!(
            target: "ringback",
            "attempt",
            delivery = claimed.id.0,
            number = claimed.attempts.saturating_add(1),
            event = claimed.event.id().as_str(),
            scope = claimed.event.scope().as_str(),
            kind = claimed.event.kind().as_str(),
            webhook = claimed.target.webhook().map(|webhook| webhook.id.as_str()),
            profile = claimed.target.profile().as_str(),
        ))
    }

    /// The attempt that a claim is for.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn attempt<F: Future>(_claimed: &Claimed, attempt: F) -> F {
        attempt
    }

    /// This came of it; `None` if there was none. To be told within its span.
    pub(crate) fn attempted(claimed: &Claimed, report: Option<&AttemptReport>) {
        #[cfg(feature = "tracing")]
        match report {
            Some(report) => tracing::debug!(
                target: "ringback",
                outcome = %report.outcome,
                took_ms = super::millis(report.duration),
                "attempted"
            ),
            None => tracing::warn!(target: "ringback", "postponed"),
        }
        #[cfg(feature = "metrics")]
        {
            let profile = claimed.target.profile().as_str().to_owned();
            match report {
                Some(report) => {
                    let outcome = class(report.outcome);
                    metrics::counter!("ringback_attempts_total", "profile" => profile.clone(), "outcome" => outcome)
                        .increment(1);
                    metrics::histogram!("ringback_attempt_seconds", "profile" => profile)
                        .record(report.duration.as_secs_f64());
                }
                None => metrics::counter!("ringback_postponed_total", "profile" => profile).increment(1),
            }
        }
        let _ = (claimed, report);
    }

    /// This is committed.
    pub(crate) fn settled<'a>(settled: impl Iterator<Item = (&'a Settlement, &'a Settled)>) {
        for (settlement, settled) in settled {
            let next = (*settled == Settled::Done).then_some(settlement.next);
            #[cfg(feature = "tracing")]
            trace(settlement.id, next);
            #[cfg(feature = "metrics")]
            count(next);
            let _ = next;
        }
    }

    #[cfg(feature = "tracing")]
    fn trace(delivery: DeliveryId, next: Option<Next>) {
        use crate::delivery::DeadReason;

        let delivery = delivery.0;
        let dead = |reason: DeadReason| {
            tracing::warn!(target: "ringback", delivery, reason = reason.as_str(), "dead");
        };
        match next {
            None => tracing::warn!(target: "ringback", delivery, "lease lost"),
            Some(Next::Delivered) => tracing::info!(target: "ringback", delivery, "delivered"),
            Some(Next::Retry(at)) => tracing::debug!(target: "ringback", delivery, %at, "to be tried again"),
            Some(Next::AwaitRun) => tracing::debug!(target: "ringback", delivery, "to be tried again"),
            Some(Next::Exhausted) => dead(DeadReason::Exhausted),
            Some(Next::Gone) => dead(DeadReason::Gone),
        }
    }

    #[cfg(feature = "metrics")]
    fn count(next: Option<Next>) {
        let state = match next {
            None => return metrics::counter!("ringback_leases_lost_total").increment(1),
            Some(Next::Delivered) => "delivered",
            Some(Next::Retry(_) | Next::AwaitRun) => "pending",
            Some(Next::Exhausted | Next::Gone) => "dead",
        };
        metrics::counter!("ringback_settled_total", "state" => state).increment(1);
    }

    /// Few words for outcomes, so that there are few figures.
    #[cfg(feature = "metrics")]
    fn class(outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Answered(status) => match status.as_u16() / 100 {
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                _ => "5xx",
            },
            Outcome::TimedOut => "timed_out",
            Outcome::Failed(_) => "failed",
            Outcome::Panicked => "panicked",
            Outcome::Interrupted => "interrupted",
        }
    }
}
