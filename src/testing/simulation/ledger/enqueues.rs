//! Events taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::row::{Row, Standing};
use super::{Book, Taken};
use crate::delivery::{DeadReason, Event, LaneKey, State, Target};
use crate::engine::{EnqueueError, Receipt};
use crate::id::{DeliveryId, Fence, WebhookId};
use crate::store::{DeliveryRecord, Enqueued, NewDelivery, NewEvent};
use crate::testing::simulation::violation::Invariant;

impl Book {
    pub(in super::super) fn enqueued(
        &mut self,
        new: &NewEvent,
        answer: &Enqueued,
        stored: &[DeliveryRecord],
        now: DateTime<Utc>,
    ) {
        let event = &new.event;
        let key = (event.scope().clone(), event.id().clone());
        self.log(|| format!("enqueue {}/{}: {answer:?}", key.0, key.1));
        let fingerprint = event.fingerprint();
        let known = self.events.get(&key);
        let is_right = match (known, answer) {
            (None, Enqueued::Fresh(ids)) => ids.len() == new.deliveries.len(),
            (Some(known), Enqueued::Duplicate(ids)) => {
                known.fingerprint == fingerprint && known.deliveries == *ids
            }
            (Some(known), Enqueued::Conflict) => known.fingerprint != fingerprint,
            _ => false,
        };
        if !is_right {
            return self.breach(Invariant::EnqueueMisjudged, || {
                format!("{}/{} was answered {answer:?}", key.0, key.1)
            });
        }
        let Enqueued::Fresh(ids) = answer else { return };
        if stored.iter().map(|record| record.id).ne(ids.iter().copied()) {
            self.breach(Invariant::AcknowledgedNotStored, || {
                format!(
                    "of {}/{}, {} of {} deliveries are stored",
                    key.0,
                    key.1,
                    stored.len(),
                    ids.len()
                )
            });
        }
        self.last_delivery = self
            .last_delivery
            .max(ids.last().copied().unwrap_or(DeliveryId(0)));
        let states: BTreeMap<_, _> = stored.iter().map(|record| (record.id, record.state)).collect();
        for (id, delivery) in ids.iter().zip(&new.deliveries) {
            let state = states.get(id).copied().unwrap_or(State::Pending);
            self.open_row(*id, new, delivery, state, now);
        }
        let taken = Taken {
            fingerprint,
            deliveries: ids.clone(),
        };
        self.events.insert(key, taken);
    }

    fn open_row(
        &mut self,
        id: DeliveryId,
        new: &NewEvent,
        delivery: &NewDelivery,
        state: State,
        now: DateTime<Utc>,
    ) {
        let (lane, url, profile) = match &delivery.target {
            Target::Webhook(webhook) | Target::Test(webhook) => {
                let Some(no) = self.lane_nos.get(&delivery.target.lane()) else {
                    return;
                };
                let lane = &self.lanes[*no];
                if lane.scope.as_ref() != Some(new.event.scope()) {
                    self.breach(Invariant::ScopeLeaked, || {
                        format!(
                            "an event of {} is enqueued for a webhook elsewhere",
                            new.event.scope()
                        )
                    });
                    return;
                }
                let Some(webhook) = self.webhooks.get(webhook) else {
                    return;
                };
                (*no, webhook.url.clone(), webhook.profile.clone())
            }
            Target::Call(call) => {
                let lane = self.lane(delivery.target.lane(), None, call.limits);
                (lane, call.url.clone(), call.profile.clone())
            }
        };
        let Some(profile) = self.profiles.find(&profile).cloned() else {
            return;
        };
        let body = delivery.body.as_ref().unwrap_or(new.event.body()).clone();
        self.addresses.insert((url.expose().to_owned(), body), id);
        let row = Row {
            event: Arc::clone(&new.event),
            lane,
            profile,
            standing: Standing::Pending,
            seen: State::Pending,
            due: now,
            fence: Fence::UNCLAIMED,
            attempts: 0,
            first_failure: None,
            interrupted: false,
            awaits: None,
            replays: 0,
            history: Vec::new(),
            accepted: false,
            known_accepted: false,
            flights: BTreeMap::new(),
        };
        self.rows.insert(id, row);
        self.starts_to_wait(id, now);
        match state {
            State::Pending if self.is_held_for_sure(id) => self.breach(Invariant::ReleasedEarly, || {
                format!("delivery {id} was enqueued as pending, and is held")
            }),
            State::Pending => {}
            State::Held => self.is_kept_back(id),
            State::Dead(DeadReason::WebhookDeleted) if self.lanes[lane].removed => self.is_buried(id),
            state => self.breach(Invariant::IllegalTransition, || {
                format!("delivery {id} was enqueued as {state}")
            }),
        }
    }

    /// A delivery ends because its webhook is removed.
    pub(super) fn is_buried(&mut self, id: DeliveryId) {
        self.moves(id, State::Dead(DeadReason::WebhookDeleted), false);
        self.comes_to_its_end(id);
    }

    /// What the application was told when it enqueued an event.
    pub(in super::super) fn acknowledged(
        &mut self,
        event: &Event,
        expected: Acknowledgement,
        answer: &Result<Receipt, EnqueueError>,
    ) {
        let taken = self.events.get(&(event.scope().clone(), event.id().clone()));
        let knows = |receipt: &Receipt| taken.is_some_and(|taken| taken.deliveries == receipt.deliveries);
        let is_right = match (expected, answer) {
            (Acknowledgement::Taken { .. }, Ok(receipt)) => knows(receipt),
            (Acknowledgement::Again, Ok(receipt)) => !receipt.is_new && knows(receipt),
            (Acknowledgement::Refused, Err(EnqueueError::Conflict(_))) => true,
            _ => false,
        };
        let name = || format!("{}/{}", event.scope(), event.id());
        if !is_right {
            self.breach(Invariant::EnqueueMisjudged, || {
                format!(
                    "for {} the application expected to be {expected:?}, and got {answer:?}",
                    name()
                )
            });
        }
        if let (Acknowledgement::Taken { by_webhooks: true }, Ok(receipt)) = (expected, answer) {
            for webhook in self.unserved(event, receipt) {
                self.breach(Invariant::Lost, || {
                    format!("{} has no delivery to {webhook}", name())
                });
            }
        }
    }

    /// The webhooks that want an event and have no delivery of it.
    fn unserved(&self, event: &Event, receipt: &Receipt) -> Vec<WebhookId> {
        let lanes = receipt.deliveries.iter().filter_map(|id| self.rows.get(id));
        let served: BTreeSet<_> = lanes.map(|row| &self.lanes[row.lane].key).collect();
        let wanting = self.webhooks.values().filter(|webhook| webhook.wants(event));
        wanting
            .filter(|webhook| {
                let key = LaneKey::webhook(&webhook.id);
                let is_removed = self.lane_nos.get(&key).is_none_or(|no| self.lanes[*no].removed);
                !is_removed && !served.contains(&key)
            })
            .map(|webhook| webhook.id.clone())
            .collect()
    }
}

/// What an application expects of an enqueue.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Acknowledgement {
    /// Taken in, now or by a former try whose answer was lost.
    Taken {
        /// With a delivery to each webhook that wants it.
        by_webhooks: bool,
    },
    /// Known, with nothing added.
    Again,
    /// Refused for a conflict.
    Refused,
}
