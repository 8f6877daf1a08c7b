//! What the checks are told with: webhooks, events, and the calls they make over and over.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{Store, Violation, ensure};
use crate::delivery::{
    Attempt, AttemptReport, AutoDisable, Call, Compression, Event, EventPattern, Limits, Order, Outcome,
    Pacing, Target, Webhook,
};
use crate::id::{DeliveryId, HolderName, WebhookId};
use crate::store::{
    ClaimRequest, Claimed, ClaimedTarget, DeliveryRecord, Enqueued, NewDelivery, NewEvent, Next, Saved,
    Settled, Settlement,
};
use crate::time::after;
use crate::url::WebhookUrl;

pub(super) type Checked<T = ()> = Result<T, Violation>;

pub(super) const OK: Outcome = Outcome::Answered(StatusCode::OK);
pub(super) const ERROR: Outcome = Outcome::Answered(StatusCode::INTERNAL_SERVER_ERROR);

/// How long every lease is that says nothing else.
pub(super) const LEASE: Duration = Duration::from_secs(60);

pub(super) const MICROSECOND: Duration = Duration::from_micros(1);

/// So many seconds after the beginning of the check.
pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

pub(super) fn url(text: &str) -> WebhookUrl {
    WebhookUrl::parse(text).expect("the checks' own URLs are canonical")
}

/// An enabled webhook of scope `scope` with no limits to speak of.
pub(super) fn webhook(id: &str) -> Webhook {
    Webhook {
        id: id.into(),
        scope: "scope".into(),
        name: format!("webhook {id}"),
        events: vec![EventPattern::any()],
        url: url(&format!("https://{id}.example/hook")),
        auth: None,
        profile: "profile".into(),
        limits: in_flight(1_000),
        order: Order::Any,
        enabled: true,
        disabled: None,
        auto_disable: AutoDisable::never(),
        deadline: None,
        flusher: None,
        guard: None,
        compression: Compression::None,
        created_at: at(0),
        updated_at: at(0),
    }
}

pub(super) fn strict(id: &str) -> Webhook {
    Webhook {
        order: Order::Strict,
        ..webhook(id)
    }
}

pub(super) fn limited(id: &str, limits: Limits) -> Webhook {
    Webhook {
        limits,
        ..webhook(id)
    }
}

pub(super) fn in_flight(requests: u32) -> Limits {
    Limits {
        in_flight: NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN),
        rate: None,
    }
}

/// Saves a webhook whose scope is that of the one with its id, if there is one.
pub(super) async fn save(store: &dyn Store, webhook: Webhook, now: DateTime<Utc>) -> Checked {
    let saved = store.save_webhook(webhook, now).await?;
    super::equal("a webhook that keeps its scope is saved", saved, Saved::Done)
}

pub(super) fn call(text: &str, limits: Limits) -> Target {
    Target::Call(Call {
        url: url(text),
        profile: "profile".into(),
        auth: None,
        limits,
    })
}

/// An event of scope `scope`.
pub(super) fn event(id: &str) -> Event {
    let body = format!("{{\"id\":\"{id}\"}}");
    let event = Event::builder("scope", id, "kind").json(body).build();
    event.expect("the checks' own events are whole")
}

/// Events of which every byte must come through.
pub(super) fn odd_events() -> Vec<Event> {
    let header = HeaderName::from_static;
    let latin = HeaderValue::from_bytes(b"caf\xe9").unwrap_or_else(|_| HeaderValue::from_static("cafe"));
    let builders = [
        Event::builder("scope", "bytes", "kind").body(
            HeaderValue::from_static("application/octet-stream"),
            (0..=255).collect::<Vec<u8>>(),
        ),
        Event::builder("scope", "empty", "kind").body(HeaderValue::from_static("text/plain"), ""),
        Event::builder("scope", "headers", "kind")
            .json(b"{}".as_slice())
            .header(header("x-one"), HeaderValue::from_static("b"))
            .header(header("x-two"), latin)
            .header(header("x-one"), HeaderValue::from_static("a"))
            .header(header("x-none"), HeaderValue::from_static("")),
        Event::builder(
            "scope",
            "ein Ort / mit 'Zeichen'; \"und\" %_ \u{1f514}\u{301}",
            "kind é",
        )
        .subject("")
        .json(b"\xff\xfe{\"not\":\"utf-8\"}".as_slice()),
        Event::builder("scope", "large", "kind").json(vec![b'x'; 1 << 20]),
    ];
    let built = builders.map(|builder| builder.build().expect("the checks' own events are whole"));
    built.into()
}

pub(super) fn to(target: Target) -> NewDelivery {
    NewDelivery { target, body: None }
}

pub(super) fn to_webhook(id: &str) -> NewDelivery {
    to(Target::Webhook(id.into()))
}

pub(super) fn new(event: Event, deliveries: Vec<NewDelivery>) -> NewEvent {
    NewEvent {
        event: Arc::new(event),
        deliveries,
    }
}

/// Enqueues events with one delivery each, to that webhook. Their ids are made of the webhook's and a number from
/// `first` on.
pub(super) async fn enqueue(
    store: &dyn Store,
    webhook: &str,
    numbers: std::ops::Range<u32>,
    now: DateTime<Utc>,
) -> Checked<Vec<DeliveryId>> {
    let events = numbers
        .map(|number| new(event(&format!("{webhook}/{number}")), vec![to_webhook(webhook)]))
        .collect();
    let mut ids = Vec::new();
    for answer in store.enqueue(events, now).await? {
        ids.extend(fresh(answer)?);
    }
    Ok(ids)
}

/// The same, one call each and a microsecond apart, so that it is clear which has been due longest.
pub(super) async fn enqueue_in_turn(
    store: &dyn Store,
    webhook: &str,
    numbers: std::ops::Range<u32>,
    now: DateTime<Utc>,
) -> Checked<Vec<DeliveryId>> {
    let mut ids = Vec::new();
    for number in numbers {
        let now = after(now, MICROSECOND * number);
        ids.extend(enqueue(store, webhook, number..number + 1, now).await?);
    }
    Ok(ids)
}

/// Enqueues one event with one delivery.
pub(super) async fn enqueue_one(store: &dyn Store, webhook: &str, now: DateTime<Utc>) -> Checked<DeliveryId> {
    only(enqueue(store, webhook, 0..1, now).await?)
}

/// Enqueues this event, which must be new.
pub(super) async fn enqueue_event(
    store: &dyn Store,
    event: NewEvent,
    now: DateTime<Utc>,
) -> Checked<Vec<DeliveryId>> {
    fresh(only(store.enqueue(vec![event], now).await?)?)
}

fn fresh(answer: Enqueued) -> Checked<Vec<DeliveryId>> {
    match answer {
        Enqueued::Fresh(ids) => Ok(ids),
        other => Err(Violation::new(
            "an event whose id was not there before is fresh",
            format!("{other:?}"),
        )),
    }
}

/// The one thing there should be.
pub(super) fn only<T>(things: Vec<T>) -> Checked<T> {
    let seen = things.len();
    let mut things = things.into_iter();
    match (things.next(), things.next()) {
        (Some(thing), None) => Ok(thing),
        _ => Err(Violation::new(
            "what was asked for is there, once",
            format!("{seen} of it"),
        )),
    }
}

pub(super) fn request(max: usize, now: DateTime<Utc>) -> ClaimRequest {
    ClaimRequest {
        holder: HolderName::new("checker"),
        now,
        lease: LEASE,
        max,
    }
}

pub(super) async fn claim(store: &dyn Store, max: usize, now: DateTime<Utc>) -> Checked<Vec<Claimed>> {
    let claimed = store.claim(request(max, now)).await?;
    ensure(
        "a claim takes up to `max` deliveries",
        claimed.len() <= max,
        || format!("{} of {max}", claimed.len()),
    )?;
    Ok(claimed)
}

/// Claims the one delivery there is to claim.
pub(super) async fn claim_one(store: &dyn Store, now: DateTime<Utc>) -> Checked<Claimed> {
    let claimed = claim(store, 10, now).await?;
    let seen = ids(&claimed);
    only(claimed).map_err(|_| {
        Violation::new(
            "what is due can be claimed, once",
            format!("claimed at {now}, where one is due: {seen:?}"),
        )
    })
}

pub(super) async fn claims_nothing(store: &dyn Store, clause: &'static str, now: DateTime<Utc>) -> Checked {
    let claimed = claim(store, 10, now).await?;
    ensure(clause, claimed.is_empty(), || {
        format!("claimed at {now}: {:?}", ids(&claimed))
    })
}

pub(super) fn ids(claimed: &[Claimed]) -> Vec<DeliveryId> {
    claimed.iter().map(|claimed| claimed.id).collect()
}

pub(super) fn distinct(claimed: &[Claimed]) -> BTreeSet<DeliveryId> {
    claimed.iter().map(|claimed| claimed.id).collect()
}

/// How many of these go to that webhook.
pub(super) fn count_to(claimed: &[Claimed], webhook: &str) -> usize {
    let webhook = WebhookId::new(webhook);
    let goes_there = |claimed: &&Claimed| match &claimed.target {
        ClaimedTarget::Webhook(to) => to.id == webhook,
        ClaimedTarget::Call(_) | ClaimedTarget::Test(_) => false,
    };
    claimed.iter().filter(goes_there).count()
}

/// An attempt that took a second and was over at `now`.
pub(super) fn attempt(outcome: Outcome, now: DateTime<Utc>) -> AttemptReport {
    AttemptReport {
        started_at: now - TimeDelta::seconds(1),
        duration: Duration::from_secs(1),
        outcome,
        excerpt: Bytes::from_static(b"excerpt"),
    }
}

pub(super) fn settlement(claimed: &Claimed, outcome: Outcome, next: Next, now: DateTime<Utc>) -> Settlement {
    Settlement {
        id: claimed.id,
        fence: claimed.fence,
        attempt: Some(attempt(outcome, now)),
        next,
        pacing: Pacing::Keep,
    }
}

pub(super) async fn settle(
    store: &dyn Store,
    settlement: Settlement,
    now: DateTime<Utc>,
) -> Checked<Settled> {
    only(store.settle(vec![settlement], now).await?)
}

/// Settles a delivery whose lease holds.
pub(super) async fn settle_held(store: &dyn Store, settlement: Settlement, now: DateTime<Utc>) -> Checked {
    let settled = settle(store, settlement, now).await?;
    super::equal(
        "a settlement under the present fence takes effect",
        settled,
        Settled::Done,
    )
}

pub(super) async fn deliver(store: &dyn Store, claimed: &Claimed, now: DateTime<Utc>) -> Checked {
    settle_held(store, settlement(claimed, OK, Next::Delivered, now), now).await
}

pub(super) async fn deliver_all(store: &dyn Store, claimed: &[Claimed], now: DateTime<Utc>) -> Checked {
    for claimed in claimed {
        deliver(store, claimed, now).await?;
    }
    Ok(())
}

/// Fails a delivery, to be tried again after so many seconds.
pub(super) async fn fail(store: &dyn Store, claimed: &Claimed, seconds: u64, now: DateTime<Utc>) -> Checked {
    let again = after(now, Duration::from_secs(seconds));
    settle_held(store, settlement(claimed, ERROR, Next::Retry(again), now), now).await
}

pub(super) async fn release(store: &dyn Store, claimed: &Claimed, now: DateTime<Utc>) -> Checked<Settled> {
    only(store.release(vec![(claimed.id, claimed.fence)], now).await?)
}

pub(super) async fn record(store: &dyn Store, id: DeliveryId) -> Checked<DeliveryRecord> {
    match store.delivery(id).await? {
        Some(record) => Ok(record),
        None => Err(Violation::new(
            "reads see what has been committed",
            format!("there is no delivery {id}"),
        )),
    }
}

/// All that can be read of a delivery.
pub(super) async fn everything(store: &dyn Store, id: DeliveryId) -> Checked<(DeliveryRecord, Vec<Attempt>)> {
    Ok((record(store, id).await?, store.attempts(id).await?))
}
