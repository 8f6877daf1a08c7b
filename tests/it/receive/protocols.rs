//! Each provider's messages: read as typed events, and told apart by its own key.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use ringback::provider::powens::{self, EventName};
use ringback::provider::{truelayer, truv, yodlee};
use ringback::receive::{
    Payload, PowensEvents, Protocol, Received, Receiver, StandardEvents, TrueLayerCallbacks, TrueLayerEvents,
    TruvEvents, UrlSecret, YodleeEvents,
};
use ringback::secret::Secret;

fn request(target: &str, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::post(target).body(body.into()).unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
    request
}

/// What a receiver of this protocol makes of a request.
async fn received<P: Protocol>(protocol: P, request: Request<Bytes>) -> Received<P::Event> {
    let mut target = request.uri().path().to_owned();
    target.push_str("?k=v");
    let (mut head, body) = request.into_parts();
    head.uri = target.parse().unwrap();
    let receiver = Receiver::new("r", protocol, UrlSecret::new("k", Secret::from("v")));
    receiver.accept(Request::from_parts(head, body)).await.unwrap()
}

macro_rules! sample {
    ($path:literal) => {
        include_str!(concat!("../../samples/", $path))
    };
}

/// The digest of `{}`.
const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

#[tokio::test]
async fn truelayer_callbacks_are_told_apart_by_task_and_status() {
    let succeeded = sample!("truelayer/webhook-succeeded.json");
    let succeeded = received(TrueLayerCallbacks, request("/", &[], succeeded)).await;
    let callback = succeeded.payload.known().unwrap();
    assert_eq!(callback.status, truelayer::TaskStatus::Succeeded);
    assert_eq!(
        succeeded.key.key,
        format!(r#"["{}","Succeeded"]"#, callback.task_id)
    );
    // No two of them have the same key.
    let mut keys = Vec::new();
    for (task, status) in [
        ("a", "Failed"),
        ("a", "Succeeded"),
        ("a,b", "c"),
        ("a", "b,c"),
        (r#"a\",\"b"#, "c"),
    ] {
        let body = format!(r#"{{"task_id":"{task}","status":"{status}"}}"#);
        keys.push(
            received(TrueLayerCallbacks, request("/", &[], body))
                .await
                .key
                .key,
        );
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);

    let unknown = received(TrueLayerCallbacks, request("/", &[], "{}")).await;
    assert_eq!((unknown.payload, &*unknown.key.key), (Payload::Unknown, DIGEST));
}

#[tokio::test]
async fn truelayer_events_are_told_apart_by_event_id() {
    let body = sample!("truelayer/payment_executed.webhook.json");
    let executed = received(TrueLayerEvents, request("/", &[], body)).await;
    let event = executed.payload.known().unwrap();
    assert!(matches!(event, truelayer::SignedEvent::Payment(_)));
    assert_eq!(Some(&*executed.key.key), event.event_id());
}

#[tokio::test]
async fn truv_events_are_told_apart_by_webhook_id() {
    let body = sample!("truv/task-status-updated.json");
    let updated = received(TruvEvents, request("/", &[], body)).await;
    let event = updated.payload.known().unwrap();
    assert!(matches!(event, truv::Event::TaskStatusUpdated(_)));
    assert_eq!(updated.key.key, event.webhook_id());
}

#[tokio::test]
async fn yodlee_notifications_are_told_apart_by_notification_id() {
    let body = sample!("yodlee/DATA_UPDATES.USER_DATA.json");
    let updates = received(YodleeEvents, request("/", &[], body)).await;
    let event = updates.payload.known().unwrap();
    assert_eq!(event.name(), yodlee::EventName::DataUpdates);
    assert_eq!(Some(&*updates.key.key), event.notification_id());

    let form = request(
        "/",
        &[("content-type", "application/x-www-form-urlencoded")],
        "a=b",
    );
    assert_eq!(received(YodleeEvents, form).await.payload, Payload::Unknown);
}

#[tokio::test]
async fn powens_names_the_event_in_the_registration_or_the_url() {
    let body = sample!("powens/CONNECTION_SYNCED.json");
    let json = [("content-type", "application/json; charset=utf-8")];
    let by_uri =
        || PowensEvents::by_uri(|uri| EventName::from(uri.path().rsplit('/').next().unwrap_or_default()));
    let registered = PowensEvents::of(EventName::ConnectionSynced);
    for synced in [
        received(registered, request("/", &json, body)).await,
        received(by_uri(), request("/hooks/CONNECTION_SYNCED", &json, body)).await,
    ] {
        let event = synced.payload.known().unwrap();
        assert!(matches!(event, powens::Event::ConnectionSynced(_)));
        assert_eq!(synced.key.key, event.id_webhook_data().unwrap().as_str());
    }
    let unlisted = received(
        by_uri(),
        request("/hooks/NEW_EVENT", &json, r#"{"id_webhook_data":5}"#),
    )
    .await;
    assert!(matches!(
        unlisted.payload.known(),
        Some(powens::Event::Unknown(_))
    ));
    assert_eq!(unlisted.key.key, "5");
}

#[tokio::test]
async fn powens_may_send_other_than_json() {
    let cfonb = [("content-type", "text/cfonb120")];
    let protocol = PowensEvents::of(EventName::AccountFound);
    let found = received(protocol, request("/", &cfonb, "01FR76")).await;
    let Some(powens::Event::NotJson(body)) = found.payload.known() else {
        panic!("{found:?}");
    };
    assert_eq!(body.media_type.as_deref(), Some("text/cfonb120"));
    assert_eq!(body.body, "01FR76");
    assert!(found.key.key.starts_with("sha256:"));
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Invoice {
    number: u32,
}

#[tokio::test]
async fn standard_webhooks_are_told_apart_by_their_header_whatever_they_hold() {
    let id = [("webhook-id", "msg_1")];
    let invoice = received(
        StandardEvents::<Invoice>::new(),
        request("/", &id, r#"{"number":7}"#),
    )
    .await;
    assert_eq!(invoice.payload, Payload::Known(Invoice { number: 7 }));
    assert_eq!(invoice.key.key, "msg_1");
    let unknown = received(StandardEvents::<Invoice>::new(), request("/", &id, "seven")).await;
    assert_eq!(unknown.payload, Payload::Unknown);
    assert_eq!(unknown.key.key, "msg_1");

    // A header may hold other than ASCII, and other than UTF-8.
    let mut keys = BTreeSet::new();
    let ids = [
        &b"msg_\xc3\xa91"[..],
        b"msg_\xc3\xa92",
        b"msg_\xe91",
        b"msg_\\xe91",
        b"msg_\\\\xe91",
    ];
    for id in ids {
        let mut request = request("/", &[], r#"{"number":7}"#);
        let id = HeaderValue::from_bytes(id).unwrap();
        request.headers_mut().insert("webhook-id", id);
        keys.insert(received(StandardEvents::<Invoice>::new(), request).await.key.key);
    }
    assert_eq!(keys.len(), ids.len(), "{keys:?}");
}

#[tokio::test]
async fn a_key_that_stores_may_not_hold_is_kept_as_its_digest() {
    let key_of = async |id: &str| {
        let body = format!(r#"{{"webhook_id":"{id}","event_type":"link-deleted"}}"#);
        received(TruvEvents, request("/", &[], body)).await.key.key
    };
    let longest = "é".repeat(127);
    assert_eq!(key_of(&longest).await, longest);
    let (long, longer) = ("x".repeat(256), "x".repeat(1_000_000));
    let mut digests = vec![
        key_of(&long).await,
        key_of(&longer).await,
        key_of(r"a\u0000b").await,
        key_of(r"a\nb").await,
        key_of("").await,
    ];
    assert!(
        digests
            .iter()
            .all(|key| key.starts_with("sha256:") && key.len() == 71)
    );
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 5);
}
