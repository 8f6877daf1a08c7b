//! The worker, on the memory store and Tokio's time.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{DeadReason, Event, Limits, Order, Outcome, PlainProfile, Profile, State};
use ringback::engine::{Engine, EngineBuilder, Registration, Timer, TokioTimer};
use ringback::id::ProfileName;
use ringback::retry::Schedule;
use ringback::signature::{BiSignature, HmacKey, MaxAge, Message, StandardWebhooks, Verifier};
use ringback::store::{EncryptionKey, MemoryStore, Replayed, SqliteStore, StoreErrorKind};
use ringback::system::SystemClock;
use ringback::testing::{Fault, FaultyStore, ManualTime};
use ringback::time::Clock;
use ringback::transport::{HttpSender, SendError, SendErrorKind, sender_fn};

const URL: &str = "https://example.com/hook";

fn quick() -> PlainProfile {
    let gaps = [10, 20, 30].map(Duration::from_millis);
    PlainProfile::new("quick", Schedule::gaps(gaps).build().unwrap()).with_deadline(Duration::from_millis(80))
}

fn engine(sender: impl HttpSender) -> EngineBuilder {
    Engine::builder(MemoryStore::new(), sender, TokioTimer).profile(quick())
}

fn event(id: usize) -> Event {
    Event::builder("s", format!("e{id}"), "t")
        .json(format!("{{\"n\":{id}}}"))
        .build()
        .unwrap()
}

/// Works until the condition holds.
async fn work_until(engine: &Engine, done: impl AsyncFn() -> bool) {
    let stop = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !done().await {
            assert!(tokio::time::Instant::now() < deadline, "it takes too long");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // The condition need not be Send, and the worker asks for one that is.
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let worker = engine.worker();
    let work = worker.run_until(async {
        let _ = told.await;
    });
    let stop = async {
        stop.await;
        let _ = tell.send(());
    };
    tokio::join!(work, stop).0.unwrap();
}

#[tokio::test]
async fn refusals_hangs_and_panics_each_cost_an_attempt_and_history_shows_them() {
    let calls = AtomicUsize::new(0);
    let sender = sender_fn(move |_: Request<Bytes>| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            match call {
                0 => Ok(Response::builder()
                    .status(503)
                    .body(Bytes::from("later"))
                    .unwrap()),
                1 => std::future::pending().await,
                2 => panic!("a bug in a user's sender"),
                _ => Ok(Response::new(Bytes::new())),
            }
        }
    });
    let engine = engine(sender).build();
    let dispatcher = engine.dispatcher();
    dispatcher
        .register(Registration::new("s", URL, "quick"))
        .await
        .unwrap();
    let receipt = dispatcher.enqueue(event(1)).await.unwrap();
    let id = receipt.deliveries[0];
    work_until(&engine, async || {
        dispatcher
            .delivery_record(id)
            .await
            .unwrap()
            .unwrap()
            .state
            .is_final()
    })
    .await;

    assert_eq!(
        dispatcher.delivery_record(id).await.unwrap().unwrap().state,
        State::Delivered
    );
    let attempts = dispatcher.attempts(id).await.unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.report.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE),
            Outcome::TimedOut,
            Outcome::Panicked,
            Outcome::Answered(StatusCode::OK),
        ]
    );
    assert_eq!(attempts[0].report.excerpt, "later");
}

#[tokio::test]
async fn what_is_never_accepted_ends_as_dead_and_can_be_replayed() {
    let sender = sender_fn(|_: Request<Bytes>| async { Err(SendError::from(SendErrorKind::Connect)) });
    let engine = engine(sender).build();
    let dispatcher = engine.dispatcher();
    dispatcher
        .register(Registration::new("s", URL, "quick"))
        .await
        .unwrap();
    let id = dispatcher.enqueue(event(1)).await.unwrap().deliveries[0];
    let state = async || dispatcher.delivery_record(id).await.unwrap().unwrap().state;
    work_until(&engine, async || state().await.is_final()).await;
    assert_eq!(state().await, State::Dead(DeadReason::Exhausted));
    assert_eq!(
        dispatcher.attempts(id).await.unwrap().len(),
        4,
        "the first and three retries"
    );

    assert_eq!(dispatcher.replay(id).await.unwrap(), Replayed::Done);
    work_until(&engine, async || state().await.is_final()).await;
    assert_eq!(dispatcher.attempts(id).await.unwrap().len(), 8, "history goes on");
}

#[tokio::test]
async fn each_attempt_is_signed_with_the_key_of_the_moment() {
    let (sent, mut received) = tokio::sync::mpsc::unbounded_channel();
    let sender = sender_fn(move |request: Request<Bytes>| {
        let _ = sent.send(request);
        async { Ok(Response::builder().status(500).body(Bytes::new()).unwrap()) }
    });
    let engine = engine(sender).build();
    let dispatcher = engine.dispatcher();
    let mut hmac = HmacAuth::new(HmacScheme::BiSignature, "old");
    dispatcher
        .save_auth("k", "key", AuthConfig::Hmac(hmac.clone()))
        .await
        .unwrap();
    dispatcher
        .register(Registration::new("s", URL, "quick").auth("k"))
        .await
        .unwrap();
    dispatcher.enqueue(event(1)).await.unwrap();

    let verify = |request: &Request<Bytes>, key: &str| {
        let key = HmacKey::new(key).unwrap();
        let verifier = Verifier::new(BiSignature::path_only(), [key], MaxAge::minutes(5));
        verifier
            .verify(&Message::from(request), SystemClock.now())
            .is_ok()
    };
    let worker = engine.worker();
    worker
        .run_until(async {
            let first = received.recv().await.unwrap();
            assert!(verify(&first, "old"));
            hmac.rotate("new", Duration::ZERO, SystemClock.now());
            dispatcher
                .save_auth("k", "key", AuthConfig::Hmac(hmac))
                .await
                .unwrap();
            let second = received.recv().await.unwrap();
            assert!(verify(&second, "new"));
            assert!(!verify(&second, "old"));
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn what_nothing_can_prove_is_not_sent_and_not_counted() {
    let sender = sender_fn(|_: Request<Bytes>| async { panic!("sent without its proof") });
    let engine = engine(sender).build();
    let dispatcher = engine.dispatcher();
    let config = AuthConfig::Hmac(HmacAuth::new(HmacScheme::BiSignature, "key"));
    dispatcher.save_auth("missing", "key", config).await.unwrap();
    dispatcher
        .register(Registration::new("s", URL, "quick").auth("missing"))
        .await
        .unwrap();
    dispatcher.revoke_auth(&"missing".into()).await.unwrap();
    let id = dispatcher.enqueue(event(1)).await.unwrap().deliveries[0];
    engine
        .worker()
        .run_until(tokio::time::sleep(Duration::from_millis(100)))
        .await
        .unwrap();
    let record = dispatcher.delivery_record(id).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (State::Pending, 0));
}

/// What a receiver saw that refuses every third body once.
#[derive(Default)]
struct Seen {
    bodies: Vec<Bytes>,
    at_once: usize,
    most_at_once: usize,
}

fn picky_receiver() -> (Arc<Mutex<Seen>>, impl HttpSender) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    let sender = sender_fn(move |request: Request<Bytes>| {
        let seen = Arc::clone(&shared);
        async move {
            {
                let mut seen = seen.lock().unwrap();
                seen.at_once += 1;
                seen.most_at_once = seen.most_at_once.max(seen.at_once);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            let mut seen = seen.lock().unwrap();
            seen.at_once -= 1;
            let is_new = !seen.bodies.contains(request.body());
            seen.bodies.push(request.into_body());
            let refuse = is_new && seen.bodies.len() % 3 == 0;
            Ok(Response::builder()
                .status(if refuse { 500 } else { 200 })
                .body(Bytes::new())
                .unwrap())
        }
    });
    (seen, sender)
}

#[tokio::test]
async fn no_more_are_in_flight_than_allowed() {
    let (seen, sender) = picky_receiver();
    let engine = engine(sender).build();
    let dispatcher = engine.dispatcher();
    let limits = Limits {
        in_flight: NonZeroU32::new(3).unwrap(),
        rate: None,
    };
    dispatcher
        .register(Registration::new("s", URL, "quick").limits(limits))
        .await
        .unwrap();
    dispatcher
        .enqueue_all((0..30).map(event).collect())
        .await
        .unwrap();
    work_until(&engine, async || seen.lock().unwrap().bodies.len() >= 40).await;
    assert_eq!(seen.lock().unwrap().most_at_once, 3);
}

#[tokio::test]
async fn strict_order_is_kept_through_refusals() {
    let (seen, sender) = picky_receiver();
    let engine = engine(sender).build();
    let dispatcher = engine.dispatcher();
    dispatcher
        .register(Registration::new("s", URL, "quick").order(Order::Strict))
        .await
        .unwrap();
    let event = |n| {
        Event::builder("s", format!("{n}"), "t")
            .json(format!("{n:02}"))
            .build()
            .unwrap()
    };
    dispatcher
        .enqueue_all((0..12).map(event).collect())
        .await
        .unwrap();
    work_until(&engine, async || {
        seen.lock()
            .unwrap()
            .bodies
            .last()
            .is_some_and(|last| last == "11")
    })
    .await;
    let mut seen = seen.lock().unwrap();
    assert_eq!(seen.most_at_once, 1);
    assert!(seen.bodies.is_sorted(), "{:?}", seen.bodies);
    assert!(seen.bodies.len() > 12, "some were refused");
    seen.bodies.dedup();
    assert_eq!(seen.bodies.len(), 12);
}

#[tokio::test]
async fn stopping_waits_for_what_is_in_flight_and_hands_the_rest_back_uncounted() {
    let sender = sender_fn(|request: Request<Bytes>| async move {
        let hangs = request.body().as_ref() == b"{\"n\":1}";
        tokio::time::sleep(Duration::from_millis(if hangs { 60_000 } else { 30 })).await;
        Ok(Response::new(Bytes::new()))
    });
    let profile = PlainProfile::new("patient", Schedule::never()).with_deadline(Duration::from_secs(20));
    let engine = engine(sender)
        .profile(profile)
        .grace(Duration::from_millis(150))
        .build();
    let dispatcher = engine.dispatcher();
    dispatcher
        .register(Registration::new("s", URL, "patient"))
        .await
        .unwrap();
    let receipts = dispatcher.enqueue_all(vec![event(1), event(2)]).await.unwrap();
    let started = tokio::time::Instant::now();
    engine
        .worker()
        .run_until(tokio::time::sleep(Duration::from_millis(10)))
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    let record = async |n: usize| {
        dispatcher
            .delivery_record(receipts[n].deliveries[0])
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(
        (record(0).await.state, record(0).await.attempts),
        (State::Pending, 0)
    );
    assert_eq!(
        (record(1).await.state, record(1).await.attempts),
        (State::Delivered, 1)
    );
}

#[tokio::test]
async fn what_has_its_answer_as_the_grace_ends_counts() {
    const EVENTS: usize = 40;
    let (time, second) = (
        ManualTime::new(chrono::DateTime::UNIX_EPOCH),
        Duration::from_secs(1),
    );
    let clock = time.clone();
    let sender = sender_fn(move |_: Request<Bytes>| {
        let clock = clock.clone();
        async move {
            clock.sleep(10 * second).await;
            Ok(Response::new(Bytes::new()))
        }
    });
    let engine = Engine::builder(MemoryStore::new(), sender, time.clone())
        .profile(PlainProfile::new("plain", Schedule::never()))
        .in_flight(EVENTS)
        .grace(9 * second)
        .build();
    let dispatcher = engine.dispatcher();
    let limits = Limits {
        in_flight: NonZeroU32::new(EVENTS as u32).unwrap(),
        ..Limits::default()
    };
    dispatcher
        .register(Registration::new("s", URL, "plain").limits(limits))
        .await
        .unwrap();
    let receipts = dispatcher
        .enqueue_all((0..EVENTS).map(event).collect())
        .await
        .unwrap();
    let worker = engine.worker();
    let mut working = pin!(worker.run_until(time.sleep(second)));
    let mut context = Context::from_waker(Waker::noop());
    let mut has_ended = || (0..100).any(|_| working.as_mut().poll(&mut context).is_ready());
    assert!(!has_ended());
    time.advance(second);
    assert!(!has_ended());
    time.advance(9 * second);
    assert!(has_ended());
    for receipt in receipts {
        let record = dispatcher.delivery_record(receipt.deliveries[0]).await.unwrap();
        assert_eq!(record.unwrap().state, State::Delivered);
    }
}

#[tokio::test]
async fn nothing_waits_for_the_store_to_say_when_more_is_due() {
    let store = FaultyStore::new(
        Arc::new(MemoryStore::new()),
        Arc::new(TokioTimer),
        |method| match method {
            "next_due" => Fault::Delayed(Duration::from_secs(3_600)),
            _ => Fault::None,
        },
    );
    let sender = sender_fn(|_: Request<Bytes>| async { Ok(Response::new(Bytes::new())) });
    let engine = Engine::builder(store, sender, TokioTimer)
        .profile(quick())
        .build();
    let dispatcher = engine.dispatcher();
    dispatcher
        .register(Registration::new("s", URL, "quick"))
        .await
        .unwrap();
    let delivered = async |id| {
        let record = dispatcher.delivery_record(id).await.unwrap().unwrap();
        record.state == State::Delivered
    };
    let first = dispatcher.enqueue(event(1)).await.unwrap().deliveries[0];
    let second = std::cell::OnceCell::new();
    work_until(&engine, async || {
        if !delivered(first).await {
            return false;
        }
        if second.get().is_none() {
            let receipt = dispatcher.enqueue(event(2)).await.unwrap();
            second.set(receipt.deliveries[0]).unwrap();
        }
        delivered(*second.get().unwrap()).await
    })
    .await;
}

/// What another process enqueues rings no bell here, and is found by the clock.
#[tokio::test]
async fn a_store_that_does_not_say_when_more_is_due_is_asked_again_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SqliteStore::open(folder.path().join("w.db"), EncryptionKey::new([1; 32])).unwrap();
    let here = FaultyStore::new(Arc::new(open()), Arc::new(TokioTimer), |method| match method {
        "next_due" => Fault::Delayed(Duration::from_secs(3_600)),
        _ => Fault::None,
    });
    let sender = || sender_fn(|_: Request<Bytes>| async { Ok(Response::new(Bytes::new())) });
    let engine = Engine::builder(here, sender(), TokioTimer)
        .profile(quick())
        .poll_interval(Duration::from_millis(20))
        .build();
    let elsewhere = Engine::builder(open(), sender(), TokioTimer)
        .profile(quick())
        .build();
    let dispatcher = elsewhere.dispatcher();
    dispatcher
        .register(Registration::new("s", URL, "quick"))
        .await
        .unwrap();
    let id = std::cell::OnceCell::new();
    work_until(&engine, async || {
        let Some(id) = id.get() else {
            // By now the worker has asked when more is due.
            let receipt = dispatcher.enqueue(event(1)).await.unwrap();
            id.set(receipt.deliveries[0]).unwrap();
            return false;
        };
        let record = dispatcher.delivery_record(*id).await.unwrap().unwrap();
        record.state == State::Delivered
    })
    .await;
}

#[tokio::test]
async fn a_worker_whose_store_is_closed_says_so() {
    let store = SqliteStore::open_in_memory().unwrap();
    let sender = sender_fn(|_: Request<Bytes>| async { Ok(Response::new(Bytes::new())) });
    let engine = Engine::builder(store.clone(), sender, TokioTimer).build();
    store.close().await;
    let ended = engine
        .worker()
        .run_until(tokio::time::sleep(Duration::from_secs(20)))
        .await;
    assert_eq!(ended.unwrap_err().kind(), StoreErrorKind::Closed);
}

#[tokio::test]
async fn a_standard_webhook_s_id_is_the_event_s() {
    let (sent, mut received) = tokio::sync::mpsc::unbounded_channel();
    let sender = sender_fn(move |request: Request<Bytes>| {
        let _ = sent.send(request);
        async { Ok(Response::new(Bytes::new())) }
    });
    let engine = engine(sender).build();
    let dispatcher = engine.dispatcher();
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    let config = AuthConfig::Hmac(HmacAuth::new(HmacScheme::StandardWebhooks, secret));
    dispatcher.save_auth("k", "key", config).await.unwrap();
    dispatcher
        .register(Registration::new("s", URL, "quick").auth("k"))
        .await
        .unwrap();
    dispatcher.enqueue(event(1)).await.unwrap();
    let worker = engine.worker();
    let check = async {
        let request = received.recv().await.unwrap();
        assert_eq!(request.headers()["webhook-id"], "e1");
        let key = HmacKey::from_whsec(secret).unwrap();
        let verifier = Verifier::new(StandardWebhooks, [key], MaxAge::minutes(5));
        verifier
            .verify(&Message::from(&request), SystemClock.now())
            .unwrap();
    };
    worker.run_until(check).await.unwrap();
}

/// Panics when asked what an answer means, and when asked for the schedule.
#[derive(Debug)]
struct Broken;

impl Profile for Broken {
    fn name(&self) -> ProfileName {
        "broken".into()
    }

    fn schedule(&self) -> &Schedule {
        panic!("a bug in a user's profile")
    }
}

#[tokio::test]
async fn a_profile_that_panics_costs_its_own_deliveries_and_no_others() {
    let sender = sender_fn(|_: Request<Bytes>| async {
        Ok(Response::builder().status(500).body(Bytes::new()).unwrap())
    });
    let engine = engine(sender).profile(Broken).build();
    let dispatcher = engine.dispatcher();
    dispatcher
        .register(Registration::new("s", URL, "quick"))
        .await
        .unwrap();
    dispatcher
        .register(Registration::new("s", URL, "broken"))
        .await
        .unwrap();
    let deliveries = dispatcher.enqueue(event(1)).await.unwrap().deliveries;
    let (mut healthy, mut broken) = (None, None);
    work_until(&engine, async || {
        let mut final_ones = 0;
        for id in &deliveries {
            final_ones += usize::from(
                dispatcher
                    .delivery_record(*id)
                    .await
                    .unwrap()
                    .unwrap()
                    .state
                    .is_final(),
            );
        }
        final_ones == 1
    })
    .await;
    for id in deliveries {
        let record = dispatcher.delivery_record(id).await.unwrap().unwrap();
        let outcomes: Vec<_> = dispatcher
            .attempts(id)
            .await
            .unwrap()
            .into_iter()
            .map(|attempt| attempt.report.outcome)
            .collect();
        match record.state {
            State::Dead(DeadReason::Exhausted) => healthy = Some(outcomes.len()),
            _ => broken = Some(outcomes),
        }
    }
    assert_eq!(healthy, Some(4));
    assert_eq!(broken, Some(vec![Outcome::Panicked]));
}
