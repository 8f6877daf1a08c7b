//! Removing what is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::book::Book;
use crate::delivery::{Event, Retention, State, minute_of};
use crate::id::{DeliveryId, EventId, Scope};
use crate::store::Purged;

/// What is over, in the order in which it came to be.
#[derive(Default)]
pub(super) struct Over {
    /// Deliveries that were delivered and have their bodies.
    with_bodies: BTreeSet<(DateTime<Utc>, DeliveryId)>,
    /// Deliveries that are dead, or have lost their bodies.
    others: BTreeSet<(DateTime<Utc>, DeliveryId)>,
    /// Events that were enqueued without deliveries.
    bare: BTreeMap<BareNo, (Scope, EventId)>,
    last_bare: u64,
}

/// When an event without deliveries was enqueued, and a number that rises from one to the next.
pub(super) type BareNo = (DateTime<Utc>, u64);

impl Over {
    pub(super) fn add(&mut self, id: DeliveryId, state: State, now: DateTime<Utc>) {
        let list = match state {
            State::Delivered => &mut self.with_bodies,
            _ => &mut self.others,
        };
        list.insert((now, id));
    }

    pub(super) fn add_bare(&mut self, event: &Event, now: DateTime<Utc>) -> BareNo {
        self.last_bare += 1;
        let no = (now, self.last_bare);
        self.bare.insert(no, (event.scope().clone(), event.id().clone()));
        no
    }

    pub(super) fn take_bare(&mut self, no: BareNo) -> Option<(Scope, EventId)> {
        self.bare.remove(&no)
    }

    pub(super) fn remove(&mut self, id: DeliveryId, ended_at: DateTime<Utc>) {
        // Most are delivered, and most that go have their bodies.
        if !self.with_bodies.remove(&(ended_at, id)) {
            self.others.remove(&(ended_at, id));
        }
    }
}

impl Book {
    pub(super) fn purge(&mut self, retention: &Retention, max: usize, now: DateTime<Utc>) -> Purged {
        let mut purged = Purged::default();
        let mut left = max.max(1);
        let history_before = retention.history_before(now);
        self.purge_bodies(retention.bodies_before(now), &mut left, &mut purged);
        self.purge_attempts(history_before, &mut left, &mut purged);
        self.purge_deliveries(history_before, &mut left, &mut purged);
        self.purge_bare_events(history_before, &mut left, &mut purged);
        self.purge_figures(history_before, &mut left, &mut purged);
        purged.is_done = left > 0;
        purged
    }

    fn purge_bodies(&mut self, before: DateTime<Utc>, left: &mut usize, purged: &mut Purged) {
        for (ended_at, id) in first(&self.over.with_bodies, before, *left) {
            self.over.with_bodies.remove(&(ended_at, id));
            self.over.others.insert((ended_at, id));
            *left -= 1;
            purged.bodies += 1;
            let Some(row) = self.rows.get_mut(&id) else {
                continue;
            };
            (row.body, row.bodiless) = (None, true);
            let event = Arc::clone(&row.event);
            self.empty_event(&event);
        }
    }

    fn purge_attempts(&mut self, before: DateTime<Utc>, left: &mut usize, purged: &mut Purged) {
        let old = self
            .log
            .records
            .iter()
            .filter(|(_, record)| record.recorded_at < before);
        let old: Vec<_> = old.map(|(seq, _)| *seq).take(*left).collect();
        *left -= old.len();
        purged.attempts += old.len();
        for seq in old {
            let Some(record) = self.log.records.remove(&seq) else {
                continue;
            };
            if let Some(row) = self.rows.get_mut(&record.delivery()) {
                row.history.remove(seq);
            }
        }
    }

    fn purge_deliveries(&mut self, before: DateTime<Utc>, left: &mut usize, purged: &mut Purged) {
        for (_, id) in first(&self.over.others, before, *left) {
            // Some of its attempts may be left, if they were recorded under a clock that was ahead.
            while let Some(row) = self.rows.get_mut(&id).filter(|row| !row.history.is_empty()) {
                if *left == 0 {
                    return;
                }
                if let Some(seq) = row.history.pop() {
                    self.log.records.remove(&seq);
                    *left -= 1;
                    purged.attempts += 1;
                }
            }
            if *left == 0 {
                return;
            }
            let event = self.rows.get(&id).map(|row| Arc::clone(&row.event));
            self.forget_final(id);
            *left -= 1;
            purged.deliveries += 1;
            if let Some(event) = event {
                if self.events.get(event.scope(), event.id()).is_none() {
                    purged.events += 1;
                }
                self.empty_event(&event);
            }
        }
    }

    fn purge_bare_events(&mut self, before: DateTime<Utc>, left: &mut usize, purged: &mut Purged) {
        while *left > 0
            && let Some(oldest) = self.over.bare.first_entry()
            && oldest.key().0 < before
        {
            let (scope, event) = oldest.remove();
            self.events.remove(&scope, &event);
            *left -= 1;
            purged.events += 1;
        }
    }

    fn purge_figures(&mut self, before: DateTime<Utc>, left: &mut usize, purged: &mut Purged) {
        let before = minute_of(before);
        while *left > 0
            && let Some(figures) = self.log.figures.first_entry()
            && figures.key().0 < before
        {
            figures.remove();
            *left -= 1;
            purged.figures += 1;
        }
    }

    /// Takes the bytes from an event that no delivery can need any more.
    fn empty_event(&mut self, event: &Event) {
        let Some(recorded) = self.events.get(event.scope(), event.id()) else {
            return;
        };
        let deliveries = recorded.deliveries();
        let mut rows = deliveries.filter_map(|id| self.rows.get(&id));
        if !rows.all(|row| row.bodiless) {
            return;
        }
        let emptied = Arc::new(event.without_body());
        for id in recorded.deliveries() {
            if let Some(row) = self.rows.get_mut(&id) {
                row.event = Arc::clone(&emptied);
            }
        }
    }
}

fn first(
    list: &BTreeSet<(DateTime<Utc>, DeliveryId)>,
    before: DateTime<Utc>,
    max: usize,
) -> Vec<(DateTime<Utc>, DeliveryId)> {
    let over = list.iter().take_while(|(ended_at, _)| *ended_at < before);
    over.take(max).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{Enqueued, NewEvent};

    #[test]
    fn of_events_enqueued_at_the_same_time_the_first_goes_first_whatever_its_id() {
        let mut book = Book::keeping(100);
        let enqueue = |book: &mut Book, id: &str| {
            let event = Arc::new(Event::builder("s", id, "ping").build().unwrap());
            let deliveries = Vec::new();
            book.enqueue(NewEvent { event, deliveries }.into(), DateTime::UNIX_EPOCH)
        };
        enqueue(&mut book, "9");
        enqueue(&mut book, "10");
        let now = DateTime::UNIX_EPOCH + Duration::from_secs(1);
        let retention = Retention {
            history: Duration::ZERO,
            bodies: Duration::ZERO,
        };
        assert_eq!(book.purge(&retention, 1, now).events, 1);
        assert_eq!(enqueue(&mut book, "10"), Enqueued::Duplicate(vec![]));
        assert_eq!(enqueue(&mut book, "9"), Enqueued::Fresh(vec![]));
    }
}
