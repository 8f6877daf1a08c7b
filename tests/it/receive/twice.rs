//! Copies of one message: handled once, by one handler at a time, and again only if that failed.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use ringback::provider::powens::{Event, EventName};
use ringback::receive::{
    Admission, Arrival, Gate, GateError, PowensEvents, Received, Receiver, Rejection, per_sender,
};
use ringback::store::{EncryptionKey, MemoryStore, SeenClaim, SeenStore, SqliteStore, StoreErrorKind};
use ringback::system::SystemEntropy;
use ringback::testing::{Fault, FaultyStore, ManualTime};
use ringback::time::Clock;
use tokio::sync::Notify;

use super::{BODY, Handled, receiver, ring, signed, time, verifier};

type PowensReceiver = Receiver<PowensEvents>;

fn remembering(time: &ManualTime) -> PowensReceiver {
    receiver(time).seen(MemoryStore::new())
}

async fn fail(receiver: &PowensReceiver, request: Request<Bytes>) -> Response<Bytes> {
    receiver.handle(request, async |_| Err("failed")).await
}

fn is_busy(response: &Response<Bytes>) -> bool {
    response.status() == StatusCode::SERVICE_UNAVAILABLE
        && response.headers()[RETRY_AFTER] == "5"
        && matches!(
            response.extensions().get::<Rejection>(),
            Some(Rejection::InProgress)
        )
}

#[tokio::test]
async fn a_copy_is_accepted_and_not_handled_again() {
    let (time, handled) = (time(), Handled::new());
    let receiver = remembering(&time);
    for _ in 0..3 {
        // Each attempt is dated and signed anew.
        time.advance(Duration::from_secs(300));
        let response = ring(&receiver, signed(&time, BODY), &handled).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(handled.count(), 1);
    let other = BODY.replace("90313", "90314");
    ring(&receiver, signed(&time, other), &handled).await;
    assert_eq!(handled.count(), 2);
}

#[tokio::test]
async fn a_copy_is_one_whatever_the_headers_say_that_are_not_signed() {
    let (time, handled) = (time(), Handled::new());
    let receiver = remembering(&time);
    ring(&receiver, signed(&time, BODY), &handled).await;
    for media_type in [
        "text/plain",
        "application/pdf",
        "application/problem+json",
        "\u{e9}",
    ] {
        let mut copy = signed(&time, BODY);
        let media_type = HeaderValue::from_bytes(media_type.as_bytes()).unwrap();
        copy.headers_mut().insert(CONTENT_TYPE, media_type);
        let response = ring(&receiver, copy, &handled).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    let mut copy = signed(&time, BODY);
    copy.headers_mut().remove(CONTENT_TYPE);
    ring(&receiver, copy, &handled).await;
    assert_eq!(handled.count(), 1);
}

#[tokio::test]
async fn a_key_is_kept_for_seven_days() {
    let (time, handled) = (time(), Handled::new());
    let receiver = remembering(&time);
    ring(&receiver, signed(&time, BODY), &handled).await;
    time.advance(Duration::from_secs(7 * 24 * 60 * 60 - 1));
    ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(handled.count(), 1);
    time.advance(Duration::from_secs(1));
    ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(handled.count(), 2);
}

#[tokio::test]
async fn without_a_store_every_copy_is_handled() {
    let (time, handled) = (time(), Handled::new());
    let receiver = receiver(&time);
    ring(&receiver, signed(&time, BODY), &handled).await;
    ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(handled.count(), 2);
}

#[tokio::test]
async fn receivers_that_share_a_store_each_handle_a_message() {
    let (time, handled) = (time(), Handled::new());
    let store = MemoryStore::new();
    for name in ["accounting", "mail"] {
        let receiver = Receiver::new(name, PowensEvents::of(EventName::ConnectionSynced), verifier())
            .clock(time.clone())
            .seen(store.clone());
        ring(&receiver, signed(&time, BODY), &handled).await;
        ring(&receiver, signed(&time, BODY), &handled).await;
    }
    assert_eq!(handled.count(), 2);
}

#[tokio::test]
async fn names_of_receivers_and_senders_are_told_apart_wherever_they_have_slashes() {
    let time = time();
    let key_of = async |name: &str, sender: Option<&str>| {
        let sender = sender.map(str::to_owned);
        let gate = per_sender(move |_: &Parts| {
            let found = sender.clone().map(|sender| (sender, verifier()));
            async move { Ok(found) }
        });
        let protocol = PowensEvents::of(EventName::ConnectionSynced);
        let receiver = Receiver::new(name, protocol, gate).clock(time.clone());
        receiver
            .accept(signed(&time, BODY))
            .await
            .unwrap()
            .key
            .to_string()
    };
    let mut keys = Vec::new();
    for (name, sender) in [
        ("powens", "eu/acme"),
        ("powens/eu", "acme"),
        ("powens%2Feu", "acme"),
    ] {
        keys.push(key_of(name, Some(sender)).await);
    }
    let bare = Receiver::new(
        "powens/eu/acme",
        PowensEvents::of(EventName::ConnectionSynced),
        verifier(),
    );
    let received = bare.clock(time.clone()).accept(signed(&time, BODY)).await;
    keys.push(received.unwrap().key.to_string());
    assert_eq!(keys[0], "powens/eu/acme/90313");
    let distinct: BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
}

#[tokio::test]
async fn while_one_copy_is_handled_the_next_is_told_to_come_back() {
    let time = time();
    let receiver = Arc::new(remembering(&time));
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = tokio::spawn({
        let (receiver, request) = (receiver.clone(), signed(&time, BODY));
        let (begun, go_on) = (begun.clone(), go_on.clone());
        async move {
            let handler = async |_: Received<Event>| {
                begun.notify_one();
                go_on.notified().await;
                Ok::<_, Infallible>(())
            };
            receiver.handle(request, handler).await.status()
        }
    });
    begun.notified().await;
    let handled = Handled::new();
    assert!(is_busy(&ring(&receiver, signed(&time, BODY), &handled).await));
    go_on.notify_one();
    assert_eq!(first.await.unwrap(), StatusCode::NO_CONTENT);
    let response = ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(handled.count(), 0);
}

#[tokio::test]
async fn what_a_handler_failed_at_is_handled_with_the_next_copy() {
    let (time, handled) = (time(), Handled::new());
    let receiver = remembering(&time);
    let response = fail(&receiver, signed(&time, BODY)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(matches!(
        response.extensions().get::<Rejection>(),
        Some(Rejection::Handler)
    ));
    let response = ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(handled.count(), 1);
}

#[tokio::test]
async fn what_a_handler_panicked_at_is_handled_when_its_lease_has_ended() {
    let (time, handled) = (time(), Handled::new());
    let receiver = Arc::new(remembering(&time).lease(Duration::from_secs(90)));
    let (inner, request) = (receiver.clone(), signed(&time, BODY));
    let panicked = tokio::spawn(async move {
        let handler = async |_: Received<Event>| -> Result<(), Infallible> { panic!("as told") };
        inner.handle(request, handler).await.status()
    });
    assert!(panicked.await.unwrap_err().is_panic());

    time.advance(Duration::from_secs(89));
    assert!(is_busy(&ring(&receiver, signed(&time, BODY), &handled).await));
    time.advance(Duration::from_secs(1));
    let response = ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(handled.count(), 1);
}

#[tokio::test]
async fn a_late_handler_does_not_undo_what_took_over() {
    let (time, handled) = (time(), Handled::new());
    let receiver = remembering(&time);
    let response = receiver
        .handle(signed(&time, BODY), async |_| {
            time.advance(Duration::from_secs(60));
            ring(&receiver, signed(&time, BODY), &handled).await;
            Err("late, and failed")
        })
        .await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let response = ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(handled.count(), 1);
}

/// A receiver whose store meets this fault at the first call of that method.
fn faulty(time: &ManualTime, method: &'static str, fault: Fault) -> PowensReceiver {
    let mut fault = Some(fault);
    let plan = move |called| match fault.take_if(|_| called == method) {
        Some(fault) => fault,
        None => Fault::None,
    };
    let store = Arc::new(MemoryStore::new());
    receiver(time).seen(FaultyStore::new(store, Arc::new(time.clone()), plan))
}

#[tokio::test]
async fn a_store_that_fails_costs_a_later_copy_and_never_the_message() {
    let refused = Fault::Refused(StoreErrorKind::Unavailable);
    for (method, fault, handled_before, handled_in_the_end) in [
        ("begin", refused, 0, 1),
        // The lease was taken, though nobody was told.
        ("begin", Fault::ReplyLost, 0, 1),
        // Handled, and not remembered: at least once.
        ("finish", refused, 1, 2),
        ("finish", Fault::ReplyLost, 1, 1),
    ] {
        let (time, handled) = (time(), Handled::new());
        let receiver = faulty(&time, method, fault);
        let response = ring(&receiver, signed(&time, BODY), &handled).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "5");
        assert!(matches!(
            response.extensions().get::<Rejection>(),
            Some(Rejection::Store(_))
        ));
        assert_eq!(handled.count(), handled_before, "{method} {fault:?}");

        time.advance(Duration::from_secs(60));
        let response = ring(&receiver, signed(&time, BODY), &handled).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(handled.count(), handled_in_the_end, "{method} {fault:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_given_up_is_handled_when_its_lease_has_ended() {
    let (time, handled) = (time(), Handled::new());
    let receiver = faulty(&time, "abandon", Fault::Refused(StoreErrorKind::Unavailable));
    let response = fail(&receiver, signed(&time, BODY)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(is_busy(&ring(&receiver, signed(&time, BODY), &handled).await));
    time.advance(Duration::from_secs(60));
    ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(handled.count(), 1);
}

#[tokio::test]
async fn a_handler_s_own_transaction_counts_only_while_its_claim_holds() {
    let (time, handled) = (time(), Handled::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let store = SqliteStore::open(&path, EncryptionKey::generate(&SystemEntropy)).unwrap();
    let receiver = receiver(&time).seen(store.clone());
    let own = rusqlite::Connection::open(&path).unwrap();
    let finish = |claim: &SeenClaim| {
        own.execute(
            SqliteStore::FINISH_SEEN,
            SqliteStore::finish_seen_parameters(claim),
        )
        .unwrap()
    };
    let response = receiver
        .handle(signed(&time, BODY), async |received: Received<Event>| {
            let claim = received.claim.unwrap();
            time.advance(Duration::from_secs(60));
            ring(&receiver, signed(&time, BODY), &handled).await;
            match finish(&claim) {
                0 => Err("another copy has taken over"),
                _ => Ok(()),
            }
        })
        .await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(handled.count(), 1);

    // One that holds is kept for as long as the receiver would have kept it.
    let other = r#"{"id_webhook_data":2}"#;
    let response = receiver
        .handle(signed(&time, other), async |received: Received<Event>| {
            assert_eq!(finish(&received.claim.unwrap()), 1);
            Err("after the commit")
        })
        .await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        ring(&receiver, signed(&time, other), &handled).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(handled.count(), 1);
    time.advance(Duration::from_secs(7 * 24 * 60 * 60));
    ring(&receiver, signed(&time, other), &handled).await;
    assert_eq!(handled.count(), 2);
}

#[tokio::test]
async fn keys_that_need_not_be_kept_are_forgotten_along_the_way() {
    let (time, handled) = (time(), Handled::new());
    let store = MemoryStore::new();
    let receiver = receiver(&time).seen(store.clone());
    let message = |number: i64| signed(&time, format!("{{\"id_webhook_data\":{number}}}"));
    for number in 0..63 {
        ring(&receiver, message(number), &handled).await;
    }
    time.advance(Duration::from_secs(7 * 24 * 60 * 60));
    ring(&receiver, message(63), &handled).await;
    assert_eq!(store.forget_expired(1_000, time.now()).await.unwrap(), 0);
}

/// Tells its two tenants apart by the path.
#[derive(Debug)]
struct ByPath;

#[async_trait]
impl Gate for ByPath {
    async fn admit(&self, arrival: &Arrival<'_>, _now: DateTime<Utc>) -> Result<Admission, GateError> {
        Ok(Admission::of_sender(arrival.head.uri.path()))
    }
}

#[tokio::test]
async fn one_sender_s_key_does_not_hide_another_s_message() {
    let protocol = PowensEvents::of(EventName::ConnectionSynced);
    let receiver = Receiver::new("tenants", protocol, ByPath).seen(MemoryStore::new());
    let handled = Handled::new();
    for path in ["/a", "/b", "/a", "/b"] {
        let request = Request::post(path).body(Bytes::from(BODY)).unwrap();
        assert_eq!(
            ring(&receiver, request, &handled).await.status(),
            StatusCode::NO_CONTENT
        );
    }
    assert_eq!(handled.count(), 2);
}
