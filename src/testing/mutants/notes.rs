//! What a mutant remembers so as to break its promise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::Mutant;
use crate::delivery::{DigestEntry, Event, Webhook};
use crate::id::{DeliveryId, EventId, EventType, Fence, Scope, TaskId, WebhookId};
use crate::store::{Claimed, ClaimedTarget, FailingWebhook, WindowNo};

#[derive(Default)]
pub(super) struct Notes {
    /// The latest claim of each delivery that was not settled or released since, and when its lease ends.
    pub(super) held: BTreeMap<DeliveryId, (Claimed, DateTime<Utc>)>,
    /// Webhooks as they were saved, where the store was given something else.
    pub(super) webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
    pub(super) removed: BTreeSet<WebhookId>,
    pub(super) forgotten: BTreeSet<DeliveryId>,
    /// Attempts counted before the last replay.
    pub(super) counted_before: BTreeMap<DeliveryId, u32>,
    /// Events enqueued once more under another id, by that id, as they were given.
    pub(super) twins: BTreeMap<(Scope, EventId), Arc<Event>>,
    /// Webhooks that once were failing.
    pub(super) failed: BTreeMap<WebhookId, FailingWebhook>,
    /// Every delivery there was, and when it was enqueued.
    pub(super) enqueued: BTreeMap<DeliveryId, DateTime<Utc>>,
    pub(super) task_fences: BTreeMap<TaskId, Fence>,
    /// How many updates were recorded.
    pub(super) updates: usize,
    /// The digest and scope of each window that was sealed.
    pub(super) sealed: BTreeMap<WindowNo, (EventType, Scope)>,
    /// What came for windows that were sealed.
    pub(super) late: BTreeMap<WindowNo, Vec<DigestEntry>>,
}

impl Notes {
    pub(super) fn present_fence(&self, id: DeliveryId, otherwise: Fence) -> Fence {
        self.held.get(&id).map_or(otherwise, |(claimed, _)| claimed.fence)
    }

    pub(super) fn ended(&self, now: DateTime<Utc>) -> Vec<(DeliveryId, Fence)> {
        let held = self.held.values();
        held.filter(|(_, ends)| *ends <= now)
            .map(|(claimed, _)| (claimed.id, claimed.fence))
            .collect()
    }

    /// One that somebody holds, apart from these.
    pub(super) fn another_held(&self, besides: &[Claimed], now: DateTime<Utc>) -> Option<Claimed> {
        let held = self.held.values().filter(|(_, ends)| *ends > now);
        held.map(|(claimed, _)| claimed)
            .find(|claimed| besides.iter().all(|other| other.id != claimed.id))
            .cloned()
    }

    /// An event that is the same but for its id, under which it can be enqueued once more.
    pub(super) fn twin(&mut self, event: &Arc<Event>) -> Event {
        let id = EventId::from(format!("{}#{}", event.id(), self.twins.len()));
        let key = (event.scope().clone(), id.clone());
        self.twins.insert(key, Arc::clone(event));
        rebuilt(event, event.scope().clone(), id, event.body().clone())
    }

    /// Shows a webhook as if the store had been given what the caller gave: what the mutant alters is as it was saved,
    /// and the rest as the store has it.
    pub(super) fn as_saved(&self, mutant: Mutant, webhook: Arc<Webhook>) -> Arc<Webhook> {
        let Some(saved) = self.webhooks.get(&webhook.id) else {
            return webhook;
        };
        let mut shown = Webhook::clone(&webhook);
        match mutant {
            Mutant::InFlightLimitIgnored
            | Mutant::StrictOrderIgnored
            | Mutant::RateIgnored
            | Mutant::LimitsFrozen
            | Mutant::ReplacedInNameOnly => (shown.limits, shown.order) = (saved.limits, saved.order),
            Mutant::SwitchIgnored => shown.enabled = saved.enabled,
            Mutant::GoneIgnored => shown.auto_disable = saved.auto_disable,
            Mutant::RunNeverStops | Mutant::RunsTooOften => shown.flusher = saved.flusher,
            _ => return webhook,
        }
        Arc::new(shown)
    }

    /// Shows a claim as if the store had been given what the caller gave.
    pub(super) fn disguise(&self, mutant: Mutant, claimed: &mut Claimed) {
        let key = (claimed.event.scope().clone(), claimed.event.id().clone());
        if let Some(given) = self.twins.get(&key) {
            claimed.event = Arc::clone(given);
        }
        if let ClaimedTarget::Webhook(webhook) = &mut claimed.target {
            *webhook = self.as_saved(mutant, Arc::clone(webhook));
        }
        if let Some(before) = self.counted_before.get(&claimed.id) {
            claimed.attempts = claimed.attempts.saturating_add(*before);
        }
    }
}

/// The event with another scope, id and body.
pub(super) fn rebuilt(event: &Event, scope: Scope, id: EventId, body: Bytes) -> Event {
    let mut builder = Event::builder(scope, id, event.kind().clone()).body(event.media_type().clone(), body);
    if let Some(subject) = event.subject() {
        builder = builder.subject(subject.clone());
    }
    for (name, value) in event.headers() {
        builder = builder.header(name.clone(), value.clone());
    }
    builder.build().expect("what was built once can be built again")
}
