//! Taking events in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::RegisterError;
use super::assembly::Parts;
use super::registration::check_destination;
use crate::delivery::{
    Attempt, Call, Event, Health, HistoryPage, HistoryQuery, Ids, Profile, RenderError, Target, Webhook,
};
use crate::id::{DeliveryId, EventId, ProfileName, Scope, WebhookId};
use crate::observe;
use crate::store::{
    DeadReplayed, DeliveryRecord, Enqueued, NewDelivery, NewEvent, ReplayDead, Replayed, StoreError,
};
use crate::time::before;

/// How many dead deliveries are replayed in one commit.
const REPLAYED_AT_ONCE: usize = 256;

/// How many numbers are asked of the store at once, for profiles that number deliveries.
const NUMBERS_AT_ONCE: u32 = 256;

/// Registers webhooks, and takes in events for them.
///
/// Once an `enqueue` has returned, the deliveries are the store's and survive what the store survives.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    pub(super) parts: Arc<Parts>,
    numbers: Arc<Mutex<std::ops::Range<i64>>>,
}

impl Dispatcher {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self {
            parts,
            numbers: Arc::default(),
        }
    }

    /// Takes in an event, for every webhook of its scope that wants it.
    ///
    /// # Errors
    ///
    /// As [`enqueue_all`](Self::enqueue_all).
    pub async fn enqueue(&self, event: Event) -> Result<Receipt, EnqueueError> {
        let receipts = self.enqueue_all(vec![event]).await?;
        Ok(receipts.into_iter().next().unwrap_or_default())
    }

    /// Takes in many events in one commit. The receipts are in their order.
    ///
    /// # Errors
    ///
    /// If one event cannot be taken in, none is, but for [`EnqueueError::Conflict`]: then those that do not
    /// conflict are. Enqueueing the same events again is always safe.
    pub async fn enqueue_all(&self, events: Vec<Event>) -> Result<Vec<Receipt>, EnqueueError> {
        let mut new = Vec::with_capacity(events.len());
        let mut scope: Option<(Scope, Vec<Arc<Webhook>>)> = None;
        for event in events {
            if scope.as_ref().is_none_or(|(of, _)| of != event.scope()) {
                scope = Some((
                    event.scope().clone(),
                    self.parts.store.webhooks(event.scope()).await?,
                ));
            }
            let webhooks = scope
                .as_ref()
                .map(|(_, webhooks)| webhooks.as_slice())
                .unwrap_or_default();
            new.push(self.for_all(event, webhooks).await?);
        }
        self.commit(new).await
    }

    /// Takes in an event for the one URL that was given with a call, whatever is registered.
    ///
    /// # Errors
    ///
    /// As [`enqueue_all`](Self::enqueue_all), and [`EnqueueError::Destination`] if the URL may not be called.
    pub async fn enqueue_to(&self, event: Event, call: Call) -> Result<Receipt, EnqueueError> {
        check_destination(&call.url, &self.parts.guard, &self.parts).map_err(EnqueueError::Destination)?;
        let new = self.for_call(event, call).await?;
        let receipts = self.commit(vec![new]).await?;
        Ok(receipts.into_iter().next().unwrap_or_default())
    }

    /// Sends an event to one webhook alone, to try it out: whatever types of event it asked for, and whether or not it
    /// is enabled. Its scope must be the webhook's.
    ///
    /// It is one attempt, made at once, with the webhook's URL, authentication and profile, and with the header
    /// `webhook-test: true`. It waits behind no others, and nothing is inferred from how it fares: it is neither a
    /// success nor a failure of the webhook's. In history it is marked as a test.
    ///
    /// # Errors
    ///
    /// [`EnqueueError::UnknownWebhook`] if there is no such webhook in the event's scope, and as
    /// [`enqueue_all`](Self::enqueue_all).
    pub async fn send_test(&self, id: &WebhookId, event: Event) -> Result<Receipt, EnqueueError> {
        let webhook = self.parts.store.webhook(id).await?;
        let webhook = webhook.filter(|webhook| webhook.scope == *event.scope());
        let webhook = webhook.ok_or_else(|| EnqueueError::UnknownWebhook(id.clone()))?;
        let event = Arc::new(event);
        let delivery = self
            .delivery(&event, Target::Test(id.clone()), &webhook.profile)
            .await?;
        let new = NewEvent {
            event,
            deliveries: vec![delivery],
        };
        let receipts = self.commit(vec![new]).await?;
        Ok(receipts.into_iter().next().unwrap_or_default())
    }

    /// What goes to the one URL, left for the caller to commit. If the guard no longer lets it pass, history will say so.
    pub(super) async fn for_call(&self, event: Event, call: Call) -> Result<NewEvent, EnqueueError> {
        let event = Arc::new(event);
        let profile = call.profile.clone();
        let delivery = self.delivery(&event, Target::Call(call), &profile).await?;
        Ok(NewEvent {
            event,
            deliveries: vec![delivery],
        })
    }

    /// What goes to those of these webhooks that want the event, left for the caller to commit.
    pub(super) async fn for_all(
        &self,
        event: Event,
        webhooks: &[Arc<Webhook>],
    ) -> Result<NewEvent, EnqueueError> {
        let event = Arc::new(event);
        let mut deliveries = Vec::new();
        for webhook in webhooks.iter().filter(|webhook| webhook.wants(&event)) {
            let target = Target::Webhook(webhook.id.clone());
            deliveries.push(self.delivery(&event, target, &webhook.profile).await?);
        }
        Ok(NewEvent { event, deliveries })
    }

    async fn commit(&self, new: Vec<NewEvent>) -> Result<Vec<Receipt>, EnqueueError> {
        let events: Vec<_> = new.iter().map(|new| Arc::clone(&new.event)).collect();
        let enqueued = self.parts.store.enqueue(new, self.parts.timer.now()).await?;
        let receipts = events
            .into_iter()
            .zip(enqueued)
            .map(|(event, enqueued)| match enqueued {
                Enqueued::Fresh(deliveries) => {
                    observe::enqueued(&event, &deliveries);
                    Ok(Receipt {
                        deliveries,
                        is_new: true,
                    })
                }
                Enqueued::Duplicate(deliveries) => Ok(Receipt {
                    deliveries,
                    is_new: false,
                }),
                Enqueued::Conflict => Err(EnqueueError::Conflict(event.id().clone())),
            });
        receipts.collect()
    }

    async fn delivery(
        &self,
        event: &Arc<Event>,
        target: Target,
        profile: &ProfileName,
    ) -> Result<NewDelivery, EnqueueError> {
        let found = self.parts.profiles.find(profile);
        let profile = found.ok_or_else(|| EnqueueError::UnknownProfile(profile.clone()))?;
        let ids = self.ids(profile.as_ref()).await?;
        let body = profile.render(event, &ids, self.parts.timer.now())?;
        let body = (body != event.body()).then_some(body);
        Ok(NewDelivery { target, body })
    }

    async fn ids(&self, profile: &dyn Profile) -> Result<Ids, StoreError> {
        let number = if profile.is_numbered() {
            self.number().await?
        } else {
            0
        };
        Ok(Ids {
            number,
            ..self.unique()
        })
    }

    /// A number of its own. Fetched from the store by the hundred, so that most events need no call for it.
    async fn number(&self) -> Result<i64, StoreError> {
        if let Some(number) = self.next_number(None) {
            return Ok(number);
        }
        let first = self.parts.store.reserve_numbers(NUMBERS_AT_ONCE).await?;
        let fetched = first..first + i64::from(NUMBERS_AT_ONCE);
        Ok(self.next_number(Some(fetched)).unwrap_or(first))
    }

    fn next_number(&self, fetched: Option<std::ops::Range<i64>>) -> Option<i64> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetched) = fetched {
            *numbers = fetched;
        }
        numbers.next()
    }

    /// A random version 4 UUID.
    pub(super) fn unique(&self) -> Ids {
        let mut bytes = [0; 16];
        self.parts.entropy.fill(&mut bytes);
        let unique = uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes();
        Ids { number: 0, unique }
    }

    /// The delivery of that id.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn delivery_record(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        self.parts.store.delivery(id).await
    }

    /// The deliveries of an event.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn deliveries_of(
        &self,
        scope: &Scope,
        event: &EventId,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.parts.store.deliveries_of(scope, event).await
    }

    /// Every attempt of a delivery that is kept, the first one first.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        self.parts.store.attempts(id).await
    }

    /// A page of what was attempted. Where there [may be more](HistoryPage::has_more), ask again with the page's
    /// cursor, even if it has few entries or none.
    ///
    /// # Errors
    ///
    /// If the store fails.
    ///
    /// ```
    /// # use ringback::delivery::PlainProfile;
    /// # use ringback::engine::{Dispatcher, Engine, Registration, TokioTimer};
    /// # use ringback::retry::Schedule;
    /// # use ringback::store::MemoryStore;
    /// # use ringback::transport::sender_fn;
    /// use ringback::delivery::{HistoryQuery, OutcomeClass, PagePosition};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sender = sender_fn(|_| async { Ok(http::Response::default()) });
    /// # let dispatcher = Engine::builder(MemoryStore::new(), sender, TokioTimer).build().dispatcher();
    /// let mut query = HistoryQuery {
    ///     scope: Some("tenant-7".into()),
    ///     outcome: Some(OutcomeClass::Failed),
    ///     ..HistoryQuery::default()
    /// };
    /// loop {
    ///     let page = dispatcher.history(query.clone()).await?;
    ///     for entry in &page.entries {
    ///         println!("{} {}: {}", entry.attempt.request_id(), entry.kind, entry.attempt.report.outcome);
    ///     }
    ///     if !page.has_more {
    ///         break;
    ///     }
    ///     query.page = PagePosition::After(page.after);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.parts.store.history(query).await
    }

    /// How sending to a webhook went over the last so long, by whole minutes. What is worth a warning of it is for
    /// [`HealthLimits`](crate::delivery::HealthLimits) to say.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn health(&self, webhook: &WebhookId, window: Duration) -> Result<Health, StoreError> {
        let now = self.parts.timer.now();
        self.parts.store.health(webhook, before(now, window), now).await
    }

    /// Sends a delivery again that is dead or was delivered: at once, with the same bytes and event id, and a
    /// schedule that starts anew.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn replay(&self, id: DeliveryId) -> Result<Replayed, StoreError> {
        self.parts.store.replay(id, self.parts.timer.now()).await
    }

    /// Sends every delivery of a webhook again that is dead, or those that came to be dead since then. It goes through
    /// them in small commits, so that sending goes on meanwhile; those that die anew after this was called are left. How
    /// many were replayed; and, where the webhook is deleted, how many could not be.
    ///
    /// # Errors
    ///
    /// If the store fails. What was replayed up to then is; calling again goes on with the others.
    pub async fn replay_dead_of(
        &self,
        webhook: &WebhookId,
        since: Option<DateTime<Utc>>,
    ) -> Result<DeadReplayed, StoreError> {
        let mut all = DeadReplayed::default();
        loop {
            let request = ReplayDead {
                webhook: webhook.clone(),
                since,
                after: all.next,
                max: REPLAYED_AT_ONCE,
            };
            let step = self
                .parts
                .store
                .replay_dead(request, self.parts.timer.now())
                .await?;
            all.replayed += step.replayed;
            all.skipped += step.skipped;
            all.next = step.next;
            if all.next.is_none() {
                return Ok(all);
            }
        }
    }
}

/// What became of an event that was enqueued.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Receipt {
    /// Its deliveries, one for each webhook that wanted it when it was new.
    pub deliveries: Vec<DeliveryId>,
    /// Whether it is new; if not, nothing was added.
    pub is_new: bool,
}

/// Why an event was not taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// Another event of this scope has that id, with other bytes.
    #[error("another event has the id `{0}`")]
    Conflict(EventId),
    /// A webhook's profile is none that this engine was built with.
    #[error("there is no profile `{0}`")]
    UnknownProfile(ProfileName),
    /// There is no webhook of that id in the event's scope.
    #[error("there is no webhook `{0}` in the event's scope")]
    UnknownWebhook(WebhookId),
    /// A profile cannot send such a body.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The URL given with the call may not be called.
    #[error("the callback's destination cannot be used")]
    Destination(#[source] RegisterError),
    /// The store failed. Whether the event was taken in is certain unless the kind is
    /// [`Unknown`](crate::store::StoreErrorKind::Unknown); enqueueing it again is safe.
    #[error(transparent)]
    Store(#[from] StoreError),
}
