//! Payloads, schedules and the receiver, with no feature on: no runtime, no I/O.

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Request, StatusCode};
use ringback::provider::{self, powens, truelayer, truv, yodlee};
use ringback::receive::{JsonEvents, Payload, Receiver};
use ringback::retry::{Decision, Progress, Schedule};
use ringback::signature::{HmacKey, MaxAge, Signer, TruvSignature, Verifier};
use ringback::store::MemoryStore;
use ringback::system::SystemClock;
use ringback::time::Clock;
use ringback::{json, task};

#[test]
fn payloads_of_each_provider_are_read_whole() {
    let body = Bytes::from_static(include_bytes!("../../samples/powens/CONNECTION_SYNCED.json"));
    let event = powens::Event::parse(&powens::EventName::ConnectionSynced, None, &body).unwrap();
    assert!(json::unfamiliar(&event).is_empty());

    let event = truv::Event::parse(include_bytes!("../../samples/truv/task-status-updated.json")).unwrap();
    assert!(json::unfamiliar(&event).is_empty());

    let event =
        yodlee::Event::parse(include_bytes!("../../samples/yodlee/DATA_UPDATES.USER_DATA.json")).unwrap();
    assert!(json::unfamiliar(&event).is_empty());

    let callback: truelayer::Callback =
        json::parse(include_bytes!("../../samples/truelayer/webhook-succeeded.json")).unwrap();
    assert!(json::unfamiliar(&callback).is_empty());
    assert_eq!(callback.status, task::TaskStatus::Succeeded);
}

/// The instants of all retries after a first failure at zero, if each attempt fails at once.
fn retries(schedule: &Schedule) -> Vec<Duration> {
    let start = DateTime::<Utc>::UNIX_EPOCH;
    let mut progress = Progress {
        attempts: 1,
        first_failure: start,
        now: start,
        retry_after: None,
        random: 0,
    };
    let mut retries = Vec::new();
    while let Decision::RetryAt(at) = schedule.decide(&progress) {
        retries.push((at - start).to_std().unwrap());
        progress = Progress {
            attempts: progress.attempts + 1,
            now: at,
            ..progress
        };
    }
    retries
}

#[test]
fn schedules_decide() {
    let marks = [10, 20, 40, 80, 160, 320, 640, 1280].map(|minutes| Duration::from_secs(minutes * 60));
    assert_eq!(retries(&Schedule::yodlee()), marks);
    assert_eq!(retries(&Schedule::truv()), [30, 60, 90].map(Duration::from_secs));
    assert_eq!(retries(&Schedule::truelayer()).len(), 6);
    assert_eq!(retries(&Schedule::standard_webhooks()).len(), 9);
}

#[test]
fn each_provider_has_a_profile() {
    let profiles = provider::profiles();
    for name in ["truelayer", "truv", "powens", "yodlee", "standard_webhooks"] {
        let profile = profiles.find(&name.into()).unwrap();
        assert_eq!(profile.name().as_str(), name);
    }
}

/// For futures that wait for nothing: no executor is among the dependencies.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_receiver_needs_no_runtime() {
    let key = HmacKey::new("secret").unwrap();
    let verifier = Verifier::new(TruvSignature, [key.clone()], MaxAge::unlimited());
    let protocol = JsonEvents::new(|callback: &task::Callback| Some(callback.task_id.to_string()));
    let receiver = Receiver::new("calls", protocol, verifier).seen(MemoryStore::new());

    let body = Bytes::from_static(include_bytes!("../../samples/truelayer/webhook-succeeded.json"));
    let mut ring = Request::post("/hook").body(body).unwrap();
    Signer::new(TruvSignature, key)
        .sign_request(&mut ring, SystemClock.now())
        .unwrap();
    let mut handled = 0;
    let mut receive = |ring| {
        let handler = async |received: ringback::receive::Received<_>| {
            assert!(matches!(received.payload, Payload::Known(_)));
            handled += 1;
            Ok::<_, Infallible>(())
        };
        at_once(receiver.handle(ring, handler)).status()
    };

    assert_eq!(receive(ring.clone()), StatusCode::NO_CONTENT);
    assert_eq!(receive(ring.clone()), StatusCode::NO_CONTENT);
    *ring.body_mut() = Bytes::from_static(b"{}");
    assert_eq!(receive(ring), StatusCode::UNAUTHORIZED);
    assert_eq!(handled, 1);
}
