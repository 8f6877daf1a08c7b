//! Looking at deliveries and what was attempted, sending again, and removing what is over.

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::StoreError;
use crate::delivery::{Attempt, Event, Health, HistoryPage, HistoryQuery, Retention, State, Target};
use crate::id::{DeliveryId, EventId, Scope, WebhookId};
use crate::secret::Hidden;

/// History, health, replay and retention.
///
/// # Contract
///
/// Reads see what has been committed. History holds one entry for each attempt that was counted. A delivery's are
/// numbered from 1, without gaps. Those that are kept are the last of them, unless a clock was set back: what goes is
/// decided attempt by attempt.
///
/// **Pages.** History has one order, that in which attempts were recorded. An attempt that is recorded while someone
/// pages through comes after everything that a page has shown; so, in either direction, pages that follow each other show
/// each attempt once that was there all the while, whatever is added or purged meanwhile. A call looks at a bounded number
/// of attempts: where filters have little in common, or bodies are large, a page can be short or even empty and yet not be
/// the last.
///
/// **Health** is added up by the minute in which attempts were recorded.
///
/// **Replay.** A replay puts a delivery that is final back to pending, due at once, with a schedule that starts anew; its
/// event id and its bytes stay, and its history goes on.
///
/// **Purging** removes what is over for longer than the [`Retention`] says, in steps that each remove a bounded number of
/// things, the oldest first of each kind. What is pending, held or being sent is never touched, nor its event, however old
/// they are. An event goes with the last of its deliveries, and its bytes when each of those that are left has been
/// delivered and lost its own.
///
/// # Errors
///
/// As the [module](super) says.
///
/// # Cancellation
///
/// As the [module](super) says.
#[async_trait]
pub trait Inspect: Debug + Send + Sync + 'static {
    /// The delivery with that id.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError>;

    /// The deliveries of an event, by id.
    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// Every attempt of a delivery that is kept, the first one first.
    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError>;

    /// A page of what was attempted.
    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, StoreError>;

    /// How the attempts of a webhook went that were recorded from `since` until now, by whole minutes.
    async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, StoreError>;

    /// Sends a final delivery again.
    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError>;

    /// Sends deliveries of a webhook again that are dead, in the order of their ids. Looks at no more than
    /// `request.max` of them.
    async fn replay_dead(&self, request: ReplayDead, now: DateTime<Utc>) -> Result<DeadReplayed, StoreError>;

    /// Removes up to `max` things, at least one, that need not be kept any more.
    async fn purge(
        &self,
        retention: &Retention,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Purged, StoreError>;
}

/// Which dead deliveries to send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayDead {
    /// Those of this webhook.
    pub webhook: WebhookId,
    /// Only those that came to be dead at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Only those after this one: [`DeadReplayed::next`] of the call before.
    pub after: Option<DeliveryId>,
    /// How many to look at, at least one.
    pub max: usize,
}

/// What became of dead deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeadReplayed {
    /// How many are pending again.
    pub replayed: usize,
    /// How many were not replayed, since the webhook is deleted.
    pub skipped: usize,
    /// Where to go on, if there may be more.
    pub next: Option<DeliveryId>,
}

/// What a step of purging removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Bodies of deliveries that were delivered.
    pub bodies: usize,
    /// Attempts.
    pub attempts: usize,
    /// Deliveries that were delivered or dead.
    pub deliveries: usize,
    /// Events: with the last of their deliveries, or without any.
    pub events: usize,
    /// Health figures: each is a webhook's of a minute.
    pub figures: usize,
    /// Whether nothing is left to remove at present.
    pub is_done: bool,
}

/// A delivery as the store holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: DeliveryId,
    /// What happened. Its body is empty once no delivery can need it any more.
    pub event: Arc<Event>,
    /// The bytes that are sent; `None` once they were purged.
    pub body: Option<Bytes>,
    /// Where it goes.
    pub target: Target,
    /// Where it stands.
    pub state: State,
    /// Attempts counted since it was enqueued or last replayed.
    pub attempts: u32,
    /// When the first of them was known to have failed.
    pub first_failure: Option<DateTime<Utc>>,
    /// When it is, or last was, due.
    pub due: DateTime<Utc>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
}

impl fmt::Debug for DeliveryRecord {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryRecord")
            .field("id", &self.id)
            .field("event", &self.event)
            .field("body", &self.body.as_ref().map(Hidden))
            .field("target", &self.target)
            .field("state", &self.state)
            .field("attempts", &self.attempts)
            .field("first_failure", &self.first_failure)
            .field("due", &self.due)
            .field("created_at", &self.created_at)
            .finish()
    }
}

/// What became of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// It is pending again.
    Done,
    /// There is no such delivery.
    Unknown,
    /// It is not at its end, so there is nothing to replay.
    NotFinal(State),
    /// The webhook it went to is deleted.
    WebhookDeleted,
    /// It was delivered so long ago that its body is no longer kept.
    BodyPurged,
}
