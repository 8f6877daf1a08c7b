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
//! | `postponed` | warn | within the span | when nothing was sent: no proof could be made, the profile is not known here, or an interrupted attempt was judged |
//! | `delivered` | info | `delivery` | after the commit |
//! | `to be tried again` | debug | `delivery`, `at` | after the commit; without `at`, in the flusher's next run |
//! | `dead` | warn | `delivery`, `reason` | after the commit |
//! | `set aside` | warn | `event`, `scope`, `why` | when a submission cannot be enqueued, after the commit |
//! | `cannot be rendered` | warn | `event`, `scope`, `why` | when nothing can be made of what was submitted, of a digest or of a task's end, since a profile is not known here or cannot send it |
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
//! | `ringback_unrendered_total` | counter | | events of which nothing could be made, since a profile is not known here or cannot send them |
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
pub(crate) use sending::{
    Figures, attempt, attempted, enqueued, enqueued_with_a_task, set_aside, settled, unrendered,
};

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
    use std::collections::HashMap;

    #[cfg(feature = "metrics")]
    use metrics::{Key, Label, Level, Metadata};

    #[cfg(feature = "metrics")]
    use crate::delivery::Outcome;
    use crate::delivery::{AttemptReport, Event};
    use crate::id::{DeliveryId, EventId, ProfileName, Scope};
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    use crate::store::Next;
    use crate::store::{Claimed, NewEvent, SetAside, Settled, Settlement, Store};

    /// These deliveries of the event are committed.
    pub(crate) fn enqueued(event: &Event, deliveries: &[DeliveryId]) {
        #[cfg(feature = "tracing")]
        for delivery in deliveries {
            tell_enqueued(event, *delivery);
        }
        #[cfg(feature = "metrics")]
        metrics::counter!("ringback_enqueued_total").increment(deliveries.len() as u64);
        let _ = (event, deliveries);
    }

    /// A task's end is committed, and this callback with it. Which delivery that is, is asked of the store if somebody
    /// listens, and only then.
    pub(crate) async fn enqueued_with_a_task(store: &dyn Store, callback: &NewEvent) {
        #[cfg(feature = "tracing")]
        if tracing::enabled!(target: "ringback", tracing::Level::DEBUG) {
            let event = &callback.event;
            // Where the store fails, nothing but this line is missed.
            let found = store.deliveries_of(event.scope(), event.id()).await;
            for delivery in found.unwrap_or_default() {
                tell_enqueued(event, delivery.id);
            }
        }
        #[cfg(feature = "metrics")]
        metrics::counter!("ringback_enqueued_total").increment(callback.deliveries.len() as u64);
        let _ = (store, callback);
    }

    #[cfg(feature = "tracing")]
    fn tell_enqueued(event: &Event, delivery: DeliveryId) {
        tracing::debug!(
            target: "ringback",
            delivery = delivery.0,
            event = event.id().as_str(),
            scope = event.scope().as_str(),
            kind = event.kind().as_str(),
            "enqueued"
        );
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

    /// Nothing can be made of this event here, and whoever it came from has gone by now.
    pub(crate) fn unrendered(scope: &Scope, event: &EventId, why: &dyn std::fmt::Display) {
        #[cfg(feature = "tracing")]
        tracing::warn!(
            target: "ringback",
            event = event.as_str(),
            scope = scope.as_str(),
            %why,
            "cannot be rendered"
        );
        #[cfg(feature = "metrics")]
        metrics::counter!("ringback_unrendered_total").increment(1);
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

    /// The names and labels under which attempts are counted, made once for all profiles.
    #[derive(Debug, Default)]
    pub(crate) struct Figures {
        #[cfg(feature = "metrics")]
        of_profiles: HashMap<ProfileName, OfProfile>,
    }

    #[cfg(feature = "metrics")]
    #[derive(Debug)]
    struct OfProfile {
        /// By [`class`].
        attempts: [Key; CLASSES.len()],
        seconds: Key,
        postponed: Key,
    }

    impl Figures {
        pub(crate) fn of<'a>(profiles: impl Iterator<Item = &'a ProfileName>) -> Self {
            #[cfg(feature = "metrics")]
            return Self {
                of_profiles: profiles
                    .map(|name| (name.clone(), OfProfile::new(name)))
                    .collect(),
            };
            #[cfg(not(feature = "metrics"))]
            {
                let _ = profiles;
                Self {}
            }
        }
    }

    #[cfg(feature = "metrics")]
    impl OfProfile {
        fn new(profile: &ProfileName) -> Self {
            let profile = || Label::new("profile", profile.shared());
            Self {
                attempts: CLASSES.map(|outcome| {
                    let labels = vec![profile(), Label::from_static_parts("outcome", outcome)];
                    Key::from_parts("ringback_attempts_total", labels)
                }),
                seconds: Key::from_parts("ringback_attempt_seconds", vec![profile()]),
                postponed: Key::from_parts("ringback_postponed_total", vec![profile()]),
            }
        }

        fn count(&self, report: Option<&AttemptReport>) {
            static METADATA: Metadata<'static> =
                Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
            metrics::with_recorder(|recorder| match report {
                Some(report) => {
                    let attempts = &self.attempts[class(report.outcome)];
                    recorder.register_counter(attempts, &METADATA).increment(1);
                    let seconds = recorder.register_histogram(&self.seconds, &METADATA);
                    seconds.record(report.duration.as_secs_f64());
                }
                None => recorder.register_counter(&self.postponed, &METADATA).increment(1),
            });
        }
    }

    /// This came of it; `None` if there was none. To be told within its span.
    pub(crate) fn attempted(figures: &Figures, claimed: &Claimed, report: Option<&AttemptReport>) {
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
        match figures.of_profiles.get(claimed.target.profile()) {
            Some(of_profile) => of_profile.count(report),
            None => OfProfile::new(claimed.target.profile()).count(report), // unknown to this process
        }
        let _ = (figures, claimed, report);
    }

    /// This is committed.
    pub(crate) fn settled<'a>(settled: impl Iterator<Item = (&'a Settlement, &'a Settled)>) {
        #[cfg(feature = "metrics")]
        let mut counts = Counts::default();
        for (settlement, settled) in settled {
            let next = (*settled == Settled::Done).then_some(settlement.next);
            #[cfg(feature = "tracing")]
            trace(settlement.id, next);
            #[cfg(feature = "metrics")]
            counts.add(next);
            let _ = next;
        }
        #[cfg(feature = "metrics")]
        counts.tell();
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

    /// What one commit settled, counted together: a counter is looked up once for all of it.
    #[cfg(feature = "metrics")]
    #[derive(Default)]
    struct Counts {
        delivered: u64,
        pending: u64,
        dead: u64,
        leases_lost: u64,
    }

    #[cfg(feature = "metrics")]
    impl Counts {
        fn add(&mut self, next: Option<Next>) {
            let count = match next {
                None => &mut self.leases_lost,
                Some(Next::Delivered) => &mut self.delivered,
                Some(Next::Retry(_) | Next::AwaitRun) => &mut self.pending,
                Some(Next::Exhausted | Next::Gone) => &mut self.dead,
            };
            *count += 1;
        }

        fn tell(self) {
            let by_state = [
                ("delivered", self.delivered),
                ("pending", self.pending),
                ("dead", self.dead),
            ];
            for (state, count) in by_state.into_iter().filter(|(_, count)| *count > 0) {
                metrics::counter!("ringback_settled_total", "state" => state).increment(count);
            }
            if self.leases_lost > 0 {
                metrics::counter!("ringback_leases_lost_total").increment(self.leases_lost);
            }
        }
    }

    /// Few words for outcomes, so that there are few figures.
    #[cfg(feature = "metrics")]
    const CLASSES: [&str; 8] = [
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "timed_out",
        "failed",
        "panicked",
        "interrupted",
    ];

    /// The place of an outcome's word in [`CLASSES`].
    #[cfg(feature = "metrics")]
    fn class(outcome: Outcome) -> usize {
        match outcome {
            Outcome::Answered(status) => match status.as_u16() / 100 {
                2 => 0,
                3 => 1,
                4 => 2,
                _ => 3,
            },
            Outcome::TimedOut => 4,
            Outcome::Failed(_) => 5,
            Outcome::Panicked => 6,
            Outcome::Interrupted => 7,
        }
    }
}
