//! The way in: what is let in, how it is read, and that it is handled once.

mod axum;
mod gates;
mod gzip;
mod key_set;
mod protocols;
mod storm;
mod twice;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use proptest::prelude::*;
use ringback::provider::powens::{Event, EventName};
use ringback::receive::{Payload, PowensEvents, Protocol, Receiver, Rejection};
use ringback::signature::{BiSignature, HmacKey, MaxAge, Refusal, Signer, Verifier};
use ringback::testing::ManualTime;
use ringback::time::Clock;

const BODY: &str = r#"{"user":{"id":20},"connection":{"id":7,"state":null},"id_webhook_data":90313}"#;

fn time() -> ManualTime {
    ManualTime::new(DateTime::from_timestamp(1_780_000_000, 0).unwrap())
}

fn verifier() -> Verifier {
    let key = HmacKey::new("secret_key").unwrap();
    Verifier::new(BiSignature::path_only(), [key], MaxAge::minutes(5))
}

fn receiver(time: &ManualTime) -> Receiver<PowensEvents> {
    let protocol = PowensEvents::of(EventName::ConnectionSynced);
    Receiver::new("powens", protocol, verifier()).clock(time.clone())
}

/// A request as Powens sends it: these bytes on the wire, and under the signature.
fn signed(time: &ManualTime, body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::post("https://hooks.example.com/powens?tenant=a")
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap();
    Signer::new(BiSignature::path_only(), HmacKey::new("secret_key").unwrap())
        .sign_request(&mut request, time.now())
        .unwrap();
    request
}

/// What a handler was given.
struct Handled<E>(Arc<Mutex<Vec<Payload<E>>>>);

impl<E> Handled<E> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Has a handler that succeeds handle the request.
async fn ring<P: Protocol>(
    receiver: &Receiver<P>,
    request: Request<Bytes>,
    handled: &Handled<P::Event>,
) -> Response<Bytes> {
    let handled = handled.0.clone();
    receiver
        .handle(request, async move |received| {
            handled.lock().unwrap().push(received.payload);
            Ok::<_, Infallible>(())
        })
        .await
}

/// What a sender can see of an answer.
fn seen_by_sender(response: &Response<Bytes>) -> (StatusCode, HeaderMap, Bytes) {
    (
        response.status(),
        response.headers().clone(),
        response.body().clone(),
    )
}

fn refusal(response: &Response<Bytes>) -> Option<&Refusal> {
    match response.extensions().get::<Rejection>() {
        Some(Rejection::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

#[tokio::test]
async fn a_good_message_is_handled_and_accepted() {
    let (time, handled) = (time(), Handled::new());
    let response = ring(&receiver(&time), signed(&time, BODY), &handled).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(response.body().is_empty());
    let handled = handled.0.lock().unwrap();
    let [Payload::Known(Event::ConnectionSynced(synced))] = handled.as_slice() else {
        panic!("{handled:?}");
    };
    assert!(synced.connection.value().unwrap().failure().is_none());
}

#[tokio::test]
async fn what_was_received_is_there_as_it_came() {
    let time = time();
    let received = receiver(&time).accept(signed(&time, BODY)).await.unwrap();
    assert_eq!(received.body, BODY);
    assert_eq!(received.head.uri.query(), Some("tenant=a"));
    assert_eq!(received.key.to_string(), "powens/90313");
    assert_eq!(
        received.payload.known().unwrap().name(),
        EventName::ConnectionSynced
    );
}

#[tokio::test]
async fn refusals_look_the_same_to_the_sender_and_say_why_to_the_log() {
    let (time, handled) = (time(), Handled::new());
    let receiver = receiver(&time);
    let good = || signed(&time, BODY);
    let with = |name: &'static str, value: &str| {
        let mut request = good();
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let mut other_body = good();
    *other_body.body_mut() = Bytes::from_static(b"{}");
    let mut other_path = good();
    *other_path.uri_mut() = "/elsewhere".parse().unwrap();
    let mut unsigned = good();
    unsigned.headers_mut().remove("bi-signature");
    let mut twice = good();
    twice
        .headers_mut()
        .append("bi-signature", HeaderValue::from_static(zeros));
    let stale = good();
    time.advance(Duration::from_secs(301));
    let mut undated = good();
    undated
        .headers_mut()
        .insert("bi-signature-date", "today".parse().unwrap());

    let mut answers = Vec::new();
    for (request, expected) in [
        (other_body, Some(Refusal::Mismatch)),
        (other_path, Some(Refusal::Mismatch)),
        (with("bi-signature", zeros), Some(Refusal::Mismatch)),
        (with("bi-signature", ""), Some(Refusal::MalformedSignature)),
        (
            unsigned,
            Some(Refusal::MissingHeader("bi-signature".parse().unwrap())),
        ),
        (
            twice,
            Some(Refusal::RepeatedHeader("bi-signature".parse().unwrap())),
        ),
        (undated, Some(Refusal::Mismatch)),
        (stale, Some(Refusal::Stale)),
    ] {
        let response = ring(&receiver, request, &handled).await;
        assert_eq!(refusal(&response), expected.as_ref());
        answers.push(seen_by_sender(&response));
    }
    assert_eq!(handled.count(), 0);
    answers.dedup();
    assert_eq!(
        answers,
        [(StatusCode::UNAUTHORIZED, HeaderMap::new(), Bytes::new())]
    );
}

#[tokio::test]
async fn an_authentic_message_of_unknown_shape_is_handled() {
    let (time, handled) = (time(), Handled::new());
    let receiver = receiver(&time);
    for body in ["", "[]", "null", "{\"id\":", "\u{fffd}", r#"{"user":1,"user":2}"#] {
        let response = ring(&receiver, signed(&time, body), &handled).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{body}");
    }
    assert_eq!(*handled.0.lock().unwrap(), vec![Payload::Unknown; 6]);
}

#[tokio::test]
async fn the_largest_body_is_taken_and_no_larger_one() {
    let (time, handled) = (time(), Handled::new());
    let receiver = receiver(&time).limits(BODY.len(), 1 << 20);
    assert_eq!(receiver.wire_limit(), BODY.len());
    let response = ring(&receiver, signed(&time, BODY), &handled).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let response = ring(&receiver, signed(&time, format!("{BODY} ")), &handled).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(matches!(
        response.extensions().get::<Rejection>(),
        Some(Rejection::TooLarge)
    ));
    assert_eq!(handled.count(), 1);
}

#[tokio::test]
async fn handling_can_be_spawned() {
    let time = time();
    let receiver = Arc::new(receiver(&time));
    let request = signed(&time, BODY);
    let spawned = tokio::spawn(async move {
        let handler = async |received: ringback::receive::Received<Event>| {
            tokio::task::yield_now().await;
            drop(received);
            Ok::<_, Infallible>(())
        };
        receiver.handle(request, handler).await.status()
    });
    assert_eq!(spawned.await.unwrap(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_was_received_prints_nothing_but_its_key() {
    let time = time();
    let received = receiver(&time).accept(signed(&time, BODY)).await.unwrap();
    let printed = format!("{received:?}");
    assert!(printed.contains("90313"), "{printed}");
    for hidden in ["tenant", "bi-signature", "connection"] {
        assert!(!printed.contains(hidden), "{printed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_are_too_strange_to_be_received(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        codings in proptest::collection::vec("gzip|identity|br|", 0..3),
        is_signed in any::<bool>(),
    ) {
        let time = time();
        let mut request = signed(&time, body.clone());
        if !is_signed {
            request.headers_mut().remove("bi-signature");
        }
        for coding in &codings {
            request.headers_mut().append("content-encoding", coding.parse().unwrap());
        }
        match receiver(&time).accept(request).now_or_never().unwrap() {
            Ok(received) => prop_assert!(is_signed && received.body == body && codings.len() < 2),
            Err(Rejection::Coding) => prop_assert!(!codings.is_empty()),
            Err(rejection) => prop_assert!(!is_signed && matches!(rejection, Rejection::Refused(_))),
        }
    }
}
