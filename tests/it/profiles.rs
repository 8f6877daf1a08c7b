//! Each provider's profile in an engine: what goes out is what our own side reads, and goes out again the same.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use http::{HeaderValue, Request, Response};
use proptest::prelude::*;
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{
    Direction, Event, EventBuilder, HistoryEntry, HistoryQuery, Ids, Profile, RenderError,
};
use ringback::engine::{Engine, EnqueueError, Registration, TokioTimer};
use ringback::id::DeliveryId;
use ringback::json::{self, Maybe, OpaqueId, RawJson};
use ringback::provider::truelayer::{TlSigner, TlSigningKey, TlVerifier};
use ringback::provider::{self, ProviderProfile, powens, truelayer, truv, yodlee};
use ringback::retry::Schedule;
use ringback::signature::{HmacKey, MaxAge, Message, StandardWebhooks, TruvSignature, Verifier};
use ringback::store::MemoryStore;
use ringback::system::SystemClock;
use ringback::time::Clock;

/// Refuses each delivery's first two attempts, and keeps every request.
struct Rig {
    engine: Engine,
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
}

fn rig(profile: ProviderProfile) -> Rig {
    let requests: Arc<Mutex<Vec<Request<Bytes>>>> = Arc::default();
    let kept = Arc::clone(&requests);
    let sender = ringback::transport::sender_fn(move |request: Request<Bytes>| {
        let mut kept = kept.lock().unwrap();
        kept.push(request);
        let status = if kept.len().is_multiple_of(3) { 204 } else { 503 };
        async move { Ok(Response::builder().status(status).body(Bytes::new()).unwrap()) }
    });
    let quickly = Schedule::gaps([5, 10].map(Duration::from_millis))
        .build()
        .unwrap();
    let tl_key = TlSigningKey::from_scalar("k", &[1; 66]).unwrap();
    let engine = Engine::builder(MemoryStore::new(), sender, TokioTimer)
        .profiles(provider::profiles())
        .profile(profile.with_schedule(quickly).with_flusher(None))
        .auth("tl", TlSigner::new(tl_key))
        .build();
    Rig { engine, requests }
}

impl Rig {
    /// Sends an event to one webhook, and returns the three requests it took.
    async fn send(&self, profile: &str, auth: Option<&str>, event: Event) -> Vec<Request<Bytes>> {
        let dispatcher = self.engine.dispatcher();
        let mut registration =
            Registration::new("s", "https://example.com/hook", profile).events([event.kind().as_str()]);
        if let Some(auth) = auth {
            registration = registration.auth(auth);
        }
        let webhook = dispatcher.register(registration).await.unwrap();
        let before = self.requests.lock().unwrap().len();
        let id = dispatcher.enqueue(event).await.unwrap().deliveries[0];
        self.work_until_final(id).await;
        dispatcher.remove(&webhook.id).await.unwrap();
        let requests = self.requests.lock().unwrap()[before..].to_vec();
        assert_eq!(requests.len(), 3);
        for request in &requests {
            assert_eq!(
                request.body(),
                requests[0].body(),
                "every attempt sends the same bytes"
            );
        }
        requests
    }

    async fn work_until_final(&self, id: DeliveryId) {
        let dispatcher = self.engine.dispatcher();
        let done = async {
            while !dispatcher
                .delivery_record(id)
                .await
                .unwrap()
                .unwrap()
                .state
                .is_final()
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), self.engine.worker().run_until(done))
            .await
            .unwrap()
            .unwrap();
    }
}

fn event(kind: &str, body: &str) -> Event {
    builder(kind).json(body.to_owned()).build().unwrap()
}

fn builder(kind: &str) -> EventBuilder {
    Event::builder("s", format!("{kind}/1"), kind).subject("31")
}

#[tokio::test]
async fn powens_numbers_every_json_body() {
    let rig = rig(provider::powens());
    let mut numbers = Vec::new();
    for kind in ["USER_CREATED", "USER_DELETED"] {
        let sent = rig.send("powens", None, event(kind, r#"{ "id": 31 }"#)).await;
        let name = powens::EventName::from(kind);
        let read = powens::Event::parse(&name, Some("application/json"), sent[0].body()).unwrap();
        numbers.push(read.id_webhook_data().and_then(OpaqueId::as_i64).unwrap());
        assert!(sent[0].body().ends_with(b", \"id\": 31 }"));
    }
    assert_ne!(numbers[0], numbers[1]);

    let cfonb = Bytes::from_static(b"0130004    00001EUR2 \xe9");
    let event = builder("ACCOUNT_FOUND")
        .body(HeaderValue::from_static("text/plain"), cfonb.clone())
        .build()
        .unwrap();
    let sent = rig.send("powens", None, event).await;
    assert_eq!(*sent[0].body(), cfonb);
}

#[tokio::test]
async fn truv_identifies_types_and_dates_each_body() {
    let rig = rig(provider::truv());
    let hmac = AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, "secret"));
    rig.engine.dispatcher().save_auth("hmac", "", hmac).await.unwrap();
    let event = event("task-status-updated", r#"{"task_id":"478f","status":"login"}"#);
    let sent = rig.send("truv", Some("hmac"), event).await;

    let read = truv::Event::parse(sent[0].body()).unwrap();
    assert_eq!(read.webhook_id().len(), 32);
    assert_eq!(*read.event_type(), truv::EventType::TaskStatusUpdated);
    assert!(read.happened_at().is_some());
    let verifier = Verifier::new(
        TruvSignature,
        [HmacKey::new("secret").unwrap()],
        MaxAge::unlimited(),
    );
    for request in &sent {
        verifier
            .verify(&Message::from(request), SystemClock.now())
            .unwrap();
        assert_eq!(request.headers()["user-agent"], "Truv-Webhook-Service/2.0");
    }
}

#[tokio::test]
async fn yodlee_identifies_each_notification() {
    let body = r#"{"event":{"info":"REFRESH.PROCESS_COMPLETED","data":{"providerAccount":[]}}}"#;
    let sent = rig(provider::yodlee())
        .send("yodlee", None, event("REFRESH", body))
        .await;
    let read = yodlee::Event::parse(sent[0].body()).unwrap();
    assert_eq!(read.notification_id().unwrap().len(), 36);
    assert_eq!(read.name(), yodlee::EventName::Refresh);
}

#[tokio::test]
async fn truelayer_leaves_the_body_and_signs_each_attempt() {
    let body = r#"{"event_type":"example","event_id":"18b2842b"}"#;
    let sent = rig(provider::truelayer())
        .send("truelayer", Some("tl"), event("example", body))
        .await;
    let keys = TlSigningKey::from_scalar("k", &[1; 66]).unwrap().public();
    let verifier = TlVerifier::new(keys, MaxAge::minutes(5));
    for request in &sent {
        assert_eq!(request.body(), body);
        verifier
            .verify(&Message::from(request), SystemClock.now())
            .unwrap();
    }
    assert!(truelayer::SignedEvent::parse(sent[0].body()).is_ok());
}

#[tokio::test]
async fn standard_webhooks_sends_the_events_own_id() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let rig = rig(provider::standard_webhooks());
    let hmac = AuthConfig::Hmac(HmacAuth::new(HmacScheme::StandardWebhooks, SECRET));
    rig.engine.dispatcher().save_auth("hmac", "", hmac).await.unwrap();
    let sent = rig
        .send("standard_webhooks", Some("hmac"), event("order", "{}"))
        .await;
    let verifier = Verifier::new(
        StandardWebhooks,
        [HmacKey::from_whsec(SECRET).unwrap()],
        MaxAge::minutes(5),
    );
    for request in &sent {
        assert_eq!(request.headers()["webhook-id"], "order/1");
        verifier
            .verify(&Message::from(request), SystemClock.now())
            .unwrap();
    }
}

#[tokio::test]
async fn what_has_no_place_for_an_id_is_not_taken_in() {
    let rig = rig(provider::powens());
    let dispatcher = rig.engine.dispatcher();
    let everything = Registration::new("s", "https://example.com/hook", "powens").events(["*"]);
    dispatcher.register(everything).await.unwrap();
    let refused = dispatcher.enqueue(event("USER_CREATED", "[]")).await;
    assert!(matches!(
        refused,
        Err(EnqueueError::Render(RenderError::NotAnObject))
    ));
}

#[tokio::test]
async fn truvs_history_is_written_in_truvs_shape() {
    let sample: truv::WebhookRequestPage =
        json::parse(include_bytes!("../samples/truv/webhook-requests-page.json")).unwrap();
    let published = &sample.results.items()[0];
    let body = serde_json::to_vec(&published.webhook_payload).unwrap();

    let rig = rig(provider::truv());
    let dispatcher = rig.engine.dispatcher();
    let url = published.webhook_url.value().unwrap().as_str();
    let registration = Registration::new("s", url, "truv").events(["*"]);
    let webhook = dispatcher.register(registration).await.unwrap();
    let event = builder("task-status-updated").json(body).build().unwrap();
    let id = dispatcher.enqueue(event).await.unwrap().deliveries[0];
    rig.work_until_final(id).await;

    let query = HistoryQuery {
        webhook: Some(webhook.id.clone()),
        direction: Direction::OldestFirst,
        bodies: true,
        ..HistoryQuery::default()
    };
    let entries = dispatcher.history(query).await.unwrap().entries;
    let records: Vec<_> = entries
        .iter()
        .map(|entry| truv::WebhookRequestRecord::of(&webhook, entry))
        .collect();
    let statuses: Vec<_> = records.iter().map(|record| record.status_code.value()).collect();
    assert_eq!(statuses, [Some(&503), Some(&503), Some(&204)]);

    let mut page = truv::WebhookRequestPage::of(records.into_iter().take(1), None, None);
    let Maybe::Value(results) = &mut page.results else {
        unreachable!()
    };
    assert_eq!(results[0].webhook_id, Maybe::from(webhook.id.to_string()));
    results[0].webhook_id = published.webhook_id.clone();
    assert_eq!(page, sample);

    let not_truvs = HistoryEntry {
        body: Some("[1.0]".into()),
        ..entries[0].clone()
    };
    let not_truvs = truv::WebhookRequestRecord::of(&webhook, &not_truvs);
    assert_eq!(
        serde_json::to_value(&not_truvs.webhook_payload).unwrap(),
        serde_json::json!([1.0])
    );
    assert!(not_truvs.event_created_at.is_null());
}

fn render(profile: &ProviderProfile, event: &Event) -> Result<String, RenderError> {
    let ids = Ids {
        number: 7,
        unique: [0xab; 16],
    };
    let body = profile.render(event, &ids, DateTime::UNIX_EPOCH)?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn an_id_that_is_there_already_stays_or_is_refused() {
    let (truv, powens, yodlee) = (provider::truv(), provider::powens(), provider::yodlee());
    let whole = r#"{"webhook_id":"w","event_type":"t","event_created_at":"2026"}"#;
    assert_eq!(render(&truv, &event("t", whole)).unwrap(), whole);
    let whole = r#"{"event":{"info":"REFRESH","notificationId":"64b7ed1a-1530523285"}}"#;
    assert_eq!(render(&yodlee, &event("t", whole)).unwrap(), whole);
    for (profile, body, error) in [
        (&truv, r#"{"webhook_id":7}"#, RenderError::KeyTaken),
        (&truv, r#"{"webhook_id":""}"#, RenderError::KeyTaken),
        (&truv, r#"{"webhook\u005fid":null}"#, RenderError::KeyTaken),
        (&truv, "", RenderError::NotAnObject),
        (&powens, r#"{"id_webhook_data":7}"#, RenderError::KeyTaken),
        (&powens, r#"{"id_webhook_data":null}"#, RenderError::KeyTaken),
        (&powens, "{} {}", RenderError::NotAnObject),
        (
            &yodlee,
            r#"{"event":{"notificationId":7}}"#,
            RenderError::KeyTaken,
        ),
        (&yodlee, r#"{"event":[]}"#, RenderError::NotAnObject),
        (&yodlee, r#"{"info":"REFRESH"}"#, RenderError::NotAnObject),
    ] {
        assert_eq!(render(profile, &event("t", body)), Err(error), "{body}");
    }
    let nested = event("t", r#"{"user":{"id_webhook_data":1}}"#);
    assert_eq!(
        render(&powens, &nested).unwrap(),
        r#"{"id_webhook_data":7,"user":{"id_webhook_data":1}}"#
    );
}

#[test]
fn powens_goes_by_the_media_type() {
    let sent_as = |media_type: &'static [u8], body: &'static str| {
        let media_type = HeaderValue::from_bytes(media_type).unwrap();
        render(
            &provider::powens(),
            &builder("t").body(media_type, body).build().unwrap(),
        )
    };
    for json in [
        b"application/json".as_slice(),
        b"Application/JSON; charset=utf-8",
        b"application/vnd.x+json",
    ] {
        assert_eq!(sent_as(json, "{}").unwrap(), r#"{"id_webhook_data":7}"#);
        assert_eq!(sent_as(json, "01"), Err(RenderError::NotAnObject));
    }
    assert_eq!(sent_as(b"text/plain", "{}").unwrap(), "{}");
}

#[test]
fn ids_that_cannot_be_sent_as_headers_are_refused() {
    for id in ["a b", " a", "a\n", "é", "a.b", "\u{7f}"] {
        let event = Event::builder("s", id, "t").build().unwrap();
        assert_eq!(
            render(&provider::standard_webhooks(), &event),
            Err(RenderError::UnsendableId),
            "{id}"
        );
    }
}

#[test]
fn an_event_brings_its_own_user_agent_before_the_profile_does() {
    let mut headers = http::HeaderMap::new();
    let own = builder("t")
        .header(http::header::USER_AGENT, HeaderValue::from_static("own"))
        .build()
        .unwrap();
    provider::truv().headers(&own, &mut headers);
    assert!(headers.is_empty());
    provider::truv()
        .with_user_agent(None)
        .headers(&event("t", "{}"), &mut headers);
    assert!(headers.is_empty());
    provider::truv().headers(&event("t", "{}"), &mut headers);
    assert_eq!(headers["user-agent"], "Truv-Webhook-Service/2.0");
}

#[test]
fn the_published_numbers_are_the_defaults() {
    let profiles = provider::profiles();
    for (name, seconds, retries) in [
        ("truelayer", 15, Some(6)),
        ("truv", 10, Some(3)),
        ("powens", 15, None),
        ("yodlee", 15, Some(8)),
        ("standard_webhooks", 15, Some(9)),
    ] {
        let profile = profiles.find(&name.into()).unwrap();
        assert_eq!(profile.deadline(), Duration::from_secs(seconds), "{name}");
        assert_eq!(profile.schedule().max_retries(), retries, "{name}");
        assert_eq!(profile.is_numbered(), name == "powens");
    }
}

proptest! {
    /// Whatever the body, a profile refuses it, or makes JSON of it in which all that was there still is.
    #[test]
    fn no_body_breaks_a_profile(near in "\\{(\"[a-z]\":(1|\\{\\}|\"\\}\"),?){0,3} *\\} *", bytes: Vec<u8>) {
        let all = [provider::truv(), provider::powens(), provider::yodlee(), provider::truelayer()];
        for body in [near.into_bytes(), bytes] {
            let event = builder("t").json(body.clone()).build().unwrap();
            for profile in &all {
                let ids = Ids { number: -1, unique: [0; 16] };
                if let Ok(rendered) = profile.render(&event, &ids, DateTime::UNIX_EPOCH)
                    && rendered != body
                {
                    let text = std::str::from_utf8(&rendered).unwrap();
                    prop_assert!(RawJson::parse(text).is_ok());
                    prop_assert!(rendered.ends_with(body.trim_ascii_start().get(1..).unwrap()));
                }
            }
        }
    }
}
