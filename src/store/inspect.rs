//! Looking at deliveries, and sending them again.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::StoreError;
use crate::delivery::{Attempt, Event, State, Target};
use crate::id::{DeliveryId, EventId, Scope};

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
