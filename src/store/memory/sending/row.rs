//! One delivery.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::history::Kept;
use super::lanes::LaneNo;
use crate::delivery::{Call, Event, State, Target};
use crate::id::{DeliveryId, Fence, WebhookId};
use crate::store::DeliveryRecord;

pub(super) struct Row {
    pub(super) event: Arc<Event>,
    pub(super) body: Option<Bytes>,
    pub(super) route: Route,
    /// `None` where the webhook was unknown when it was enqueued.
    pub(super) lane: Option<LaneNo>,
    pub(super) state: State,
    pub(super) fence: Fence,
    pub(super) claimed_at: DateTime<Utc>,
    pub(super) lease_ends: DateTime<Utc>,
    pub(super) attempts: u32,
    pub(super) first_failure: Option<DateTime<Utc>>,
    pub(super) interrupted: bool,
    /// The number of the first run that may take it, if it awaits one, or did when it was claimed.
    pub(super) awaits: Option<u64>,
    pub(super) due: DateTime<Utc>,
    pub(super) created_at: DateTime<Utc>,
    /// How many attempts there ever were.
    pub(super) attempted: u32,
    /// Those that are kept, in order.
    pub(super) history: Kept,
    pub(super) ends: u32,
    /// When it came to be final, while it is.
    pub(super) ended_at: Option<DateTime<Utc>>,
    /// Whether it was delivered so long ago that its bytes are gone.
    pub(super) bodiless: bool,
}

pub(super) enum Route {
    Webhook(WebhookId),
    Call(Arc<Call>),
    Test(WebhookId),
}

impl Row {
    pub(super) fn go(&mut self, next: State) {
        debug_assert!(
            self.state == next || self.state.advance(next).or(self.state.replayed()) == Ok(next),
            "{} to {next}",
            self.state
        );
        self.state = next;
    }

    pub(super) fn kept_body(&self) -> Option<Bytes> {
        let body = self.body.as_ref().unwrap_or(self.event.body());
        (!self.bodiless).then(|| body.clone())
    }

    pub(super) fn target(&self) -> Target {
        match &self.route {
            Route::Webhook(webhook) => Target::Webhook(webhook.clone()),
            Route::Call(call) => Target::Call((**call).clone()),
            Route::Test(webhook) => Target::Test(webhook.clone()),
        }
    }

    pub(super) fn webhook(&self) -> Option<&WebhookId> {
        match &self.route {
            Route::Webhook(webhook) | Route::Test(webhook) => Some(webhook),
            Route::Call(_) => None,
        }
    }

    /// The webhook it goes to, unless it is there to try it out.
    pub(super) fn served_webhook(&self) -> Option<&WebhookId> {
        match &self.route {
            Route::Webhook(webhook) => Some(webhook),
            Route::Call(_) | Route::Test(_) => None,
        }
    }

    pub(super) fn show(&self, id: DeliveryId) -> DeliveryRecord {
        DeliveryRecord {
            id,
            event: Arc::clone(&self.event),
            body: self.kept_body(),
            target: self.target(),
            state: self.state,
            attempts: self.attempts,
            first_failure: self.first_failure,
            due: self.due,
            created_at: self.created_at,
        }
    }
}
