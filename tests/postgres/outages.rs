//! What becomes of a store's calls when one of those who make them, or the server, is slow or gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use libtest_mimic::Trial;
use ringback::delivery::{Event, PlainProfile};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::{
    DeliveryStore, EncryptionKey, EncryptionKeys, PostgresStore, StoreError, StoreErrorKind, WebhookStore,
};
use ringback::transport::sender_fn;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::scene::{event, now, request, to_webhook, webhook};
use crate::server::{Server, key, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "outages::who_stands_still_holds_others_up_for_seconds_only",
            standing_still,
        ),
        trial("outages::who_comes_waits_for_nobody", coming),
        trial("outages::a_pool_that_is_used_up_is_waited_for", used_up_pool),
        trial(
            "outages::a_key_is_replaced_however_few_the_connections_are",
            replaced_key,
        ),
        trial(
            "outages::a_worker_goes_on_after_statements_that_took_too_long",
            timeouts,
        ),
    ]
}

/// All that is under way when another process brings a new key needs a connection, and each of them has one already.
async fn replaced_key(server: Server) {
    let next = EncryptionKey::new([8; 32]);
    for connections in [1, 4] {
        let server = Server::new();
        let open = |connections, keys: EncryptionKeys| {
            let builder = server
                .builder()
                .connections(connections)
                .patience(Duration::from_secs(5));
            builder.connect(server.config.clone(), NoTls, keys)
        };
        let store = open(connections, EncryptionKeys::new(key()).and(next.clone()))
            .await
            .unwrap();
        store.reserve_numbers(1).await.unwrap();
        let _other = open(1, EncryptionKeys::new(next.clone()).and(key()))
            .await
            .unwrap();
        let start = Instant::now();
        let mut calls = JoinSet::new();
        for _ in 0..24 {
            let store = store.clone();
            calls.spawn(async move {
                // The first call under the old key is undone, and says so.
                match store.reserve_numbers(1).await {
                    Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                        store.reserve_numbers(1).await
                    }
                    answer => answer,
                }
            });
        }
        for answer in calls.join_all().await {
            answer.unwrap();
        }
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "the pool was waited for"
        );
        server.drop_schema().await;
    }
    server.drop_schema().await;
}

/// A process that is frozen, or a machine that is gone, in the middle of a transaction.
async fn standing_still(server: Server) {
    let store = server.store().await;
    store.save_webhook(webhook(0, 5), now()).await.unwrap();
    let holder = server.client().await;
    let lock = format!("BEGIN; SELECT FROM \"{}\".lanes FOR UPDATE", server.schema);
    holder.batch_execute(&lock).await.unwrap();
    // It waits for the lane, with nobody to go on once it has it.
    let frozen = std::thread::spawn({
        let server = server.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let store = server.store().await;
                let enqueue = store.enqueue(vec![event("frozen".into(), vec![to_webhook(0)])], now());
                let waited = tokio::time::timeout(Duration::from_secs(1), enqueue).await;
                assert!(waited.is_err(), "it went past a lane that is locked");
            });
            runtime
        }
    });
    let frozen = tokio::task::block_in_place(|| frozen.join().unwrap());
    holder.batch_execute("ROLLBACK").await.unwrap();
    let start = Instant::now();
    let others = store.enqueue(vec![event("other".into(), vec![to_webhook(0)])], now());
    let went_on = tokio::time::timeout(Duration::from_secs(60), others).await;
    went_on.expect("everyone stands still").unwrap();
    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(1), "nothing stood still");
    std::thread::spawn(move || drop(frozen)).join().unwrap();
    let claimed = store.claim(request(9, now())).await.unwrap();
    assert_eq!(claimed.len(), 1, "what was not committed has left nothing behind");
}

/// A process that starts does not wait for transactions under way, and so nobody waits behind it.
async fn coming(server: Server) {
    let _first = server.store().await;
    let busy = server.client().await;
    let share = format!(
        "BEGIN; LOCK TABLE \"{}\".encryption_keys IN ROW SHARE MODE",
        server.schema
    );
    busy.batch_execute(&share).await.unwrap();
    let second = tokio::time::timeout(Duration::from_secs(60), server.store()).await;
    second.expect("it waits").next_due(now()).await.unwrap();
}

async fn used_up_pool(server: Server) {
    let one = |patience| {
        let builder = PostgresStore::builder()
            .schema(server.schema.clone())
            .connections(1);
        builder
            .patience(patience)
            .connect(server.config.clone(), tokio_postgres::NoTls, key())
    };
    let (patient, hasty) = (
        one(Duration::from_secs(120)).await.unwrap(),
        one(Duration::from_millis(100)).await.unwrap(),
    );
    patient.save_webhook(webhook(0, 50), now()).await.unwrap();
    let enqueue = |store: &PostgresStore, id: usize| {
        let store = store.clone();
        async move {
            store
                .enqueue(vec![event(id.to_string(), vec![to_webhook(0)])], now())
                .await
        }
    };
    // One connection is enough for any number of calls.
    let calls = (0..40).map(|id| enqueue(&patient, id)).collect::<JoinSet<_>>();
    calls
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>, StoreError>>()
        .unwrap();

    let holder = server.client().await;
    let lock = format!("BEGIN; SELECT FROM \"{}\".lanes FOR UPDATE", server.schema);
    holder.batch_execute(&lock).await.unwrap();
    let first = tokio::spawn(enqueue(&hasty, 100));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let error = enqueue(&hasty, 101).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    holder.batch_execute("ROLLBACK").await.unwrap();
    first.await.unwrap().unwrap();
    enqueue(&hasty, 101).await.unwrap();
    assert_eq!(patient.claim(request(100, now())).await.unwrap().len(), 42);
}

/// Lanes are locked for longer than statements may take, again and again, under a worker.
async fn timeouts(server: Server) {
    let mut config = server.config.clone();
    config.options("-c statement_timeout=300ms");
    let store = loop {
        let builder = server.builder();
        match builder
            .connect(config.clone(), tokio_postgres::NoTls, key())
            .await
        {
            Ok(store) => break store,
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable), // where the machine is busy
        }
    };
    let received = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let counted = Arc::clone(&received);
    let sender = sender_fn(move |request: Request<Bytes>| {
        let id = String::from_utf8(request.body().to_vec()).unwrap();
        *counted.lock().unwrap().entry(id).or_default() += 1;
        async { Ok(Response::new(Bytes::new())) }
    });
    let schedule = Schedule::gaps([Duration::from_millis(10)])
        .repeat_last()
        .build()
        .unwrap();
    let engine = Engine::builder(store, sender, TokioTimer)
        .profile(PlainProfile::new("p", schedule))
        .build();
    let dispatcher = engine.dispatcher();
    let registration = Registration::new("s", "https://example.com/", "p");
    while dispatcher.register(registration.clone().id("w")).await.is_err() {}
    let worker = tokio::spawn(async move { engine.worker().run().await });

    let holder = server.client().await;
    let (mut taken_in, mut failures) = (0, 0);
    for id in 0..60 {
        if id % 10 == 0 {
            let lock = format!("BEGIN; SELECT FROM \"{}\".lanes FOR UPDATE", server.schema);
            holder.batch_execute(&lock).await.unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        let event = Event::builder("s", id.to_string(), "t")
            .json(id.to_string())
            .build()
            .unwrap();
        match dispatcher.enqueue(event).await {
            Ok(_) => taken_in += 1,
            Err(_) => failures += 1,
        }
        if id % 10 == 2 {
            holder.batch_execute("ROLLBACK").await.unwrap();
        }
    }
    assert!(
        failures > 0 && taken_in > 0,
        "{taken_in} enqueued, {failures} refused"
    );
    let start = Instant::now();
    while received.lock().unwrap().len() < taken_in {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{} of {taken_in}",
            received.lock().unwrap().len()
        );
        assert!(!worker.is_finished(), "the worker gave up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.abort();
    // Nothing was settled that was not committed, and nothing was sent again for being settled late.
    let received = received.lock().unwrap();
    assert!(received.values().all(|times| *times == 1), "{received:?}");
}
