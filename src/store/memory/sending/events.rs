//! Which events were enqueued.

use std::collections::HashMap;

use crate::delivery::{Event, Fingerprint};
use crate::id::{DeliveryId, EventId, Scope};

/// By scope first: a scope's lookups stay near each other, however much another scope holds.
#[derive(Default)]
pub(super) struct Events(HashMap<Scope, HashMap<EventId, Recorded>>);

pub(super) struct Recorded {
    pub(super) fingerprint: Fingerprint,
    /// Its first delivery. The others have the ids that follow.
    first: DeliveryId,
    count: usize,
    /// How many of them are not forgotten.
    kept: usize,
}

impl Recorded {
    pub(super) fn new(fingerprint: Fingerprint, first: DeliveryId, count: usize) -> Self {
        Self {
            fingerprint,
            first,
            count,
            kept: count,
        }
    }

    /// The deliveries it had. Some may be forgotten by now.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = DeliveryId> + use<> {
        (self.first.0..).take(self.count).map(DeliveryId)
    }
}

impl Events {
    pub(super) fn get(&self, scope: &Scope, id: &EventId) -> Option<&Recorded> {
        self.0.get(scope)?.get(id)
    }

    pub(super) fn insert(&mut self, event: &Event, recorded: Recorded) {
        self.0
            .entry(event.scope().clone())
            .or_default()
            .insert(event.id().clone(), recorded);
    }

    pub(super) fn remove(&mut self, scope: &Scope, id: &EventId) {
        if let Some(events) = self.0.get_mut(scope) {
            events.remove(id);
            if events.is_empty() {
                self.0.remove(scope);
            }
        }
    }

    /// Notes that one of its deliveries was forgotten, and with the last one forgets the event.
    pub(super) fn remove_delivery(&mut self, event: &Event) {
        let Some(events) = self.0.get_mut(event.scope()) else {
            return;
        };
        if let Some(recorded) = events.get_mut(event.id())
            && recorded.kept > 1
        {
            recorded.kept -= 1;
            return;
        }
        events.remove(event.id());
        if events.is_empty() {
            self.0.remove(event.scope());
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }
}
