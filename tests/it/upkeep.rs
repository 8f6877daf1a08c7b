//! The upkeep: what is due is done, in small steps, whatever the store does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use http::{Response, StatusCode};
use ringback::delivery::{Event, PlainProfile};
use ringback::engine::{Engine, Notice, Registration, listener_fn};
use ringback::retry::Schedule;
use ringback::store::{MemoryStore, Seen, SeenKey, SeenStore, StoreErrorKind};
use ringback::testing::{Fault, FaultyStore, ManualTime};
use ringback::transport::sender_fn;

fn engine(
    store: &Arc<MemoryStore>,
    time: &ManualTime,
    plan: impl FnMut(&'static str) -> Fault + Send + 'static,
) -> Engine {
    let faulty = FaultyStore::new(Arc::clone(store), Arc::new(time.clone()), plan);
    let sender = sender_fn(|_| async { Ok(Response::new(Bytes::new())) });
    Engine::builder(faulty, sender, time.clone()).build()
}

/// Remembers so many keys for a second.
async fn remember(store: &MemoryStore, keys: usize) {
    let now = DateTime::UNIX_EPOCH;
    for number in 0..keys {
        let key = SeenKey::new("r", number.to_string());
        let Seen::Fresh(fence) = store.begin(&key, Duration::from_secs(9), now).await.unwrap() else {
            panic!("{key} is there already");
        };
        assert!(
            store
                .finish(&key, fence, Duration::from_secs(1), now)
                .await
                .unwrap()
        );
    }
}

async fn left(store: &MemoryStore) -> usize {
    store
        .forget_expired(usize::MAX, DateTime::<Utc>::MAX_UTC)
        .await
        .unwrap()
}

#[tokio::test]
async fn expired_keys_are_forgotten_in_small_steps() {
    let (store, time) = (
        Arc::new(MemoryStore::new()),
        ManualTime::new(DateTime::UNIX_EPOCH),
    );
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let engine = engine(&store, &time, move |method| {
        counted.fetch_add(usize::from(method == "forget_expired"), Ordering::SeqCst);
        Fault::None
    });
    remember(&store, 1_200).await;
    let upkeep = engine.upkeep();
    let mut running = std::pin::pin!(upkeep.run());
    assert!((&mut running).now_or_never().is_none());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "nothing has expired yet");
    while time.passed() < Duration::from_secs(121) {
        assert!(time.advance_to_next_wake());
        assert!((&mut running).now_or_never().is_none());
    }
    assert_eq!(
        calls.load(Ordering::SeqCst),
        1 + 3 + 1,
        "500, 500, 200, and a minute later none"
    );
    assert_eq!(left(&store).await, 0);
}

#[tokio::test]
async fn one_round_does_all_that_is_due_and_says_when_to_come_again() {
    let time = ManualTime::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(5));
    let store = Arc::new(MemoryStore::new());
    remember(&store, 700).await;
    let engine = engine(&store, &time, |_| Fault::None);
    let upkeep = engine.upkeep();
    let mut round = std::pin::pin!(upkeep.run_due());
    assert!(
        (&mut round).now_or_never().is_none(),
        "there is a pause between steps"
    );
    time.advance_to_next_wake();
    let again = round.now_or_never().unwrap().unwrap();
    assert!(again > DateTime::UNIX_EPOCH + TimeDelta::seconds(5));
    assert_eq!(left(&store).await, 0);
}

/// What a scheduler of one's own hears.
#[tokio::test]
async fn rounds_remember_what_was_told_and_none_keeps_the_rest_from_being_done() {
    let time = ManualTime::new(DateTime::UNIX_EPOCH);
    let is_broken = Arc::new(AtomicBool::new(false));
    let faults = Arc::clone(&is_broken);
    let store = FaultyStore::new(
        Arc::new(MemoryStore::new()),
        Arc::new(time.clone()),
        move |method| match method == "failing_webhooks" && faults.load(Ordering::SeqCst) {
            true => Fault::Refused(StoreErrorKind::Corrupt),
            false => Fault::None,
        },
    );
    let warnings = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&warnings);
    let sender = sender_fn(|_| async {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        Ok(response)
    });
    let engine = Engine::builder(store, sender, time.clone())
        .profile(PlainProfile::new("plain", Schedule::never()))
        .listener(listener_fn(move |notice| {
            heard.fetch_add(
                usize::from(matches!(notice, Notice::HealthWarning { .. })),
                Ordering::SeqCst,
            );
        }))
        .build();
    let dispatcher = engine.dispatcher();
    let registration = Registration::new("s", "https://example.com/", "plain");
    dispatcher.register(registration).await.unwrap();
    for n in 0..20 {
        let event = Event::builder("s", n.to_string(), "kind").build().unwrap();
        dispatcher.enqueue(event).await.unwrap();
    }
    let (worker, upkeep) = (engine.worker(), engine.upkeep());
    let mut working = std::pin::pin!(worker.run());
    for _ in 0..100 {
        assert!((&mut working).now_or_never().is_none());
        time.advance(Duration::from_millis(1));
    }
    is_broken.store(true, Ordering::SeqCst);
    assert!(upkeep.run_due().await.is_err());
    assert_eq!(
        warnings.load(Ordering::SeqCst),
        1,
        "what comes after what failed is done"
    );
    is_broken.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        time.advance(Duration::from_secs(300));
        upkeep.run_due().await.unwrap();
    }
    assert_eq!(warnings.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn failures_that_pass_are_waited_out_and_others_end_it() {
    let (store, time) = (
        Arc::new(MemoryStore::new()),
        ManualTime::new(DateTime::UNIX_EPOCH),
    );
    remember(&store, 1).await;
    time.advance(Duration::from_secs(5));
    let mut calls = 0;
    let engine = engine(&store, &time, move |_| {
        calls += 1;
        match calls {
            1..4 => Fault::Refused(StoreErrorKind::Unavailable),
            4 => Fault::ReplyLost,
            5..8 => Fault::None,
            _ => Fault::Refused(StoreErrorKind::Closed),
        }
    });
    let upkeep = engine.upkeep();
    let mut running = std::pin::pin!(upkeep.run());
    let ended = loop {
        match (&mut running).now_or_never() {
            Some(ended) => break ended,
            None => assert!(time.advance_to_next_wake()),
        }
    };
    assert_eq!(ended.unwrap_err().kind(), StoreErrorKind::Closed);
    assert_eq!(left(&store).await, 0, "it was forgotten before");
}

#[tokio::test]
async fn it_stops_when_told() {
    let (store, time) = (
        Arc::new(MemoryStore::new()),
        ManualTime::new(DateTime::UNIX_EPOCH),
    );
    let engine = engine(&store, &time, |_| Fault::None);
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let upkeep = engine.upkeep();
    let mut running = std::pin::pin!(upkeep.run_until(told.map(|_| ())));
    assert!((&mut running).now_or_never().is_none());
    tell.send(()).unwrap();
    assert!(running.now_or_never().unwrap().is_ok());
}
