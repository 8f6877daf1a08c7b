//! What the tests of the store tell of: webhooks, events, and the calls made over and over.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::StatusCode;
use ringback::delivery::{
    AttemptReport, AutoDisable, Compression, Event, EventPattern, Limits, Order, Outcome, Pacing, Target,
    Webhook,
};
use ringback::store::{ClaimRequest, Claimed, NewDelivery, NewEvent, Next, Settlement};
use ringback::url::WebhookUrl;

const LEASE: Duration = Duration::from_secs(600);

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

pub(crate) fn name(lane: usize) -> String {
    format!("w{lane}")
}

pub(crate) fn webhook(lane: usize, in_flight: u32) -> Webhook {
    Webhook {
        id: name(lane).into(),
        scope: "s".into(),
        name: String::new(),
        events: vec![EventPattern::any()],
        url: WebhookUrl::parse(&format!("https://{}.example/hook", name(lane))).unwrap(),
        auth: None,
        profile: "p".into(),
        limits: Limits {
            in_flight: NonZeroU32::new(in_flight).unwrap(),
            rate: None,
        },
        order: Order::Any,
        enabled: true,
        disabled: None,
        auto_disable: AutoDisable::never(),
        deadline: None,
        flusher: None,
        guard: None,
        compression: Compression::None,
        created_at: now(),
        updated_at: now(),
    }
}

pub(crate) fn to_webhook(lane: usize) -> NewDelivery {
    NewDelivery {
        target: Target::Webhook(name(lane).into()),
        body: None,
    }
}

pub(crate) fn event(id: String, deliveries: Vec<NewDelivery>) -> NewEvent {
    NewEvent {
        event: Arc::new(Event::builder("s", id, "t").subject("u").build().unwrap()),
        deliveries,
    }
}

pub(crate) fn request(max: usize, now: DateTime<Utc>) -> ClaimRequest {
    ClaimRequest {
        holder: "contention".into(),
        now,
        lease: LEASE,
        max,
    }
}

pub(crate) fn settlement(claimed: &Claimed, next: Next, now: DateTime<Utc>) -> Settlement {
    let status = match next {
        Next::Delivered => StatusCode::OK,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Settlement {
        id: claimed.id,
        fence: claimed.fence,
        attempt: Some(AttemptReport {
            started_at: now,
            duration: Duration::ZERO,
            outcome: Outcome::Answered(status),
            excerpt: Bytes::new(),
        }),
        next,
        pacing: Pacing::Keep,
    }
}
