//! Looking at deliveries, and sending them again.

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::StoreError;
use crate::delivery::{Attempt, Event, State, Target};
use crate::id::{DeliveryId, EventId, Scope};
use crate::secret::Hidden;

/// History and replay.
///
/// # Contract
///
/// Reads see what has been committed. History holds one entry for each attempt that was counted, in the order
/// of their numbers, which start at 1 and have no gaps. A replay puts a delivery that is final back to pending,
/// due at once, with a schedule that starts anew; its event id and its bytes stay, and its history goes on.
///
/// # Errors
///
/// As the [module](super) says.
#[async_trait]
pub trait Inspect: Debug + Send + Sync + 'static {
    /// The delivery with that id.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError>;

    /// The deliveries of an event, by id.
    async fn deliveries_of(&self, scope: &Scope, event: &EventId) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// Every attempt of a delivery, the first one first.
    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, StoreError>;

    /// Sends a final delivery again.
    async fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Replayed, StoreError>;
}

/// A delivery as the store holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: DeliveryId,
    /// What happened.
    pub event: Arc<Event>,
    /// The bytes that are sent.
    pub body: Bytes,
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
            .field("body", &Hidden(&self.body))
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
}
