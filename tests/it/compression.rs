//! Bodies that are compressed on their way, and read at the other end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderValue, Request, Response, StatusCode};
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{Compression, Event, PlainProfile};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::receive::{Payload, Received, Receiver, StandardEvents};
use ringback::retry::Schedule;
use ringback::signature::{HmacKey, MaxAge, TruvSignature, Verifier};
use ringback::store::MemoryStore;
use ringback::transport::{Guard, HyperSender};

use crate::server::serve;

const KEY: &str = "k3y";

/// What came in over the wire: how the body was coded, how long it was, and what the receiver made of it.
#[derive(Debug, Clone, PartialEq)]
struct Rung {
    coding: Option<HeaderValue>,
    wire_length: usize,
    body: Bytes,
}

/// Sends these events through a worker and a real socket to a receiver that verifies. In the order of their ids.
async fn ring(compression: Compression, events: Vec<Event>) -> Vec<Rung> {
    let count = events.len();
    let rung = Arc::new(Mutex::new(Vec::new()));
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let notes = Arc::clone(&rung);
    let refused_once = Arc::new(Mutex::new(false));
    let verifier = Verifier::new(TruvSignature, [HmacKey::new(KEY).unwrap()], MaxAge::minutes(5));
    let protocol = StandardEvents::<serde_json::Value>::new();
    let receiver = Arc::new(Receiver::new("r", protocol, verifier).seen(MemoryStore::new()));
    let address = serve(move |request: Request<Bytes>| {
        let (notes, told, refused_once) = (Arc::clone(&notes), told.clone(), Arc::clone(&refused_once));
        let receiver = Arc::clone(&receiver);
        async move {
            // The first one is sent twice, and is the same both times.
            if !std::mem::replace(&mut *refused_once.lock().unwrap(), true) {
                return Response::builder()
                    .status(StatusCode::BAD_GATEWAY)
                    .body(Bytes::new())
                    .unwrap();
            }
            let coding = request.headers().get(CONTENT_ENCODING).cloned();
            let wire_length = request.body().len();
            assert_eq!(
                request.headers()[CONTENT_LENGTH],
                wire_length.to_string().as_str()
            );
            let answer = receiver
                .handle(request, async |received: Received<_>| {
                    assert!(matches!(received.payload, Payload::Known(_)));
                    notes.lock().unwrap().push(Rung {
                        coding,
                        wire_length,
                        body: received.body,
                    });
                    Ok::<_, Infallible>(())
                })
                .await;
            assert_eq!(answer.status(), StatusCode::NO_CONTENT);
            told.send(()).unwrap();
            answer
        }
    })
    .await;
    let guard = Guard::default().allow_http().allow_loopback();
    let sender = HyperSender::builder().guard(guard.clone()).build();
    let schedule = Schedule::gaps([std::time::Duration::from_millis(5); 3])
        .build()
        .unwrap();
    let engine = Engine::builder(MemoryStore::new(), sender, TokioTimer)
        .profile(PlainProfile::new("plain", schedule))
        .guard(guard)
        .build();
    let dispatcher = engine.dispatcher();
    let key = AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, KEY));
    dispatcher.save_auth("key", "key", key).await.unwrap();
    let hook = Registration::new("s", format!("http://{address}/"), "plain")
        .auth("key")
        .compression(compression);
    dispatcher.register(hook).await.unwrap();
    dispatcher.enqueue_all(events).await.unwrap();
    let all = async {
        for _ in 0..count {
            heard.recv().await.unwrap();
        }
    };
    engine.worker().run_until(all).await.unwrap();
    let mut rung = rung.lock().unwrap().clone();
    rung.sort_by_key(|rung| rung.body.len());
    rung
}

fn event(id: &str, body: String) -> Event {
    let event = Event::builder("s", id, "t").json(body);
    event
        .header("webhook-id".parse().unwrap(), id.parse().unwrap())
        .build()
        .unwrap()
}

fn json(numbers: usize) -> String {
    let numbers: Vec<_> = (0..numbers).map(|number| number.to_string()).collect();
    format!(r#"{{"type":"t","numbers":[{}]}}"#, numbers.join(","))
}

#[tokio::test]
async fn what_is_large_goes_compressed_and_signed_as_it_goes() {
    let events = || vec![event("small", json(10)), event("large", json(100_000))];
    let plain = ring(Compression::None, events()).await;
    let packed = ring(Compression::gzip_above(1_024), events()).await;
    for rung in [&plain[0], &plain[1], &packed[0]] {
        assert_eq!((rung.coding.as_ref(), rung.wire_length), (None, rung.body.len()));
    }
    assert_eq!(packed[1].coding.as_ref().unwrap(), "gzip");
    assert!(
        packed[1].wire_length * 2 < packed[1].body.len(),
        "{}",
        packed[1].wire_length
    );
    assert_eq!(packed[1].body, plain[1].body);
    assert_eq!(packed[1].body, json(100_000));
}

#[tokio::test]
async fn what_would_not_become_smaller_goes_as_it_is() {
    let rung = ring(Compression::gzip_above(0), vec![event("tiny", "{}".to_owned())]).await;
    assert_eq!((rung[0].coding.as_ref(), rung[0].wire_length), (None, 2));
}
