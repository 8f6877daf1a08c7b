//! Real processes, killed with SIGKILL, on a real SQLite file, sending to a real receiver.
//!
//! The process that is killed is this test binary itself, started again to run [`child`] alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use http::StatusCode;
use ringback::delivery::{Event, Outcome, PlainProfile, State};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::{EncryptionKey, Inspect, SqliteStore};
use ringback::transport::{Guard, HyperSender};

use crate::server::{serve, status};

const DATABASE: &str = "RINGBACK_TEST_DATABASE";
const RECEIVER: &str = "RINGBACK_TEST_RECEIVER";
/// The number of the first event to enqueue; without it, none is.
const FIRST: &str = "RINGBACK_TEST_FIRST";
const GAPS: &str = "RINGBACK_TEST_GAPS_MS";
const LEASE_MARGIN: &str = "RINGBACK_TEST_LEASE_MARGIN_MS";

/// A third of a lease. What a killed process held is soon taken up again, and now and then what a living one holds on a
/// busy machine.
const SHORT: Duration = Duration::from_millis(100);
/// The same, where no machine is so busy that a living process loses what it holds.
const LONG: Duration = Duration::from_secs(4);

/// What runs in the process that is killed: registers a webhook once, enqueues events one after another, says of
/// each that it was enqueued, and sends them.
#[test]
fn child() {
    let Ok(database) = std::env::var(DATABASE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let gaps: Vec<_> = std::env::var(GAPS)
            .unwrap()
            .split(',')
            .map(|ms| ms.parse().unwrap())
            .collect();
        let schedule = Schedule::gaps(gaps.into_iter().map(Duration::from_millis))
            .repeat_last()
            .build()
            .unwrap();
        let lease_margin = Duration::from_millis(std::env::var(LEASE_MARGIN).unwrap().parse().unwrap());
        let guard = Guard::default().allow_http().allow_loopback();
        let store = SqliteStore::open(&database, EncryptionKey::new([1; 32])).unwrap();
        let engine = Engine::builder(
            store,
            HyperSender::builder().guard(guard.clone()).build(),
            TokioTimer,
        )
        .profile(PlainProfile::new("quick", schedule).with_deadline(2 * lease_margin))
        .guard(guard)
        .in_flight(16)
        .auth_deadline(Duration::ZERO)
        .longest_deadline(2 * lease_margin)
        .lease_margin(lease_margin)
        .build();
        let dispatcher = engine.dispatcher();
        if dispatcher.webhooks(&"s".into()).await.unwrap().is_empty() {
            let url = std::env::var(RECEIVER).unwrap();
            dispatcher
                .register(Registration::new("s", url, "quick"))
                .await
                .unwrap();
        }
        if let Ok(first) = std::env::var(FIRST) {
            tokio::spawn(async move {
                for number in first.parse::<u64>().unwrap().. {
                    dispatcher.enqueue(event(number)).await.unwrap();
                    println!("enqueued {number}");
                }
            });
        }
        engine.worker().run().await.unwrap();
    });
}

fn event(number: u64) -> Event {
    Event::builder("s", number.to_string(), "t")
        .json(number.to_string())
        .build()
        .unwrap()
}

/// A process that ends with the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(
    database: &Path,
    receiver: &str,
    gaps_ms: &str,
    lease_margin: Duration,
    first: Option<u64>,
) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child", "--nocapture", "--test-threads=1"]);
    command
        .env(DATABASE, database)
        .env(RECEIVER, receiver)
        .env(GAPS, gaps_ms)
        .env(LEASE_MARGIN, lease_margin.as_millis().to_string());
    if let Some(first) = first {
        command.env(FIRST, first.to_string());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    Process(command.spawn().unwrap())
}

async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !done().await {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what}: not within a minute"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_leaves_its_retries_to_the_next_one() {
    let rings = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&rings);
    let receiver = serve(move |request| {
        let is_first_event = request.body() == "1000000";
        let refuse = is_first_event && counted.fetch_add(1, Ordering::SeqCst) < 3;
        async move { status(if refuse { 503 } else { 200 }) }
    });
    let url = format!("http://{}/hook", receiver.await);
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("ringback.db");

    let first = start(&database, &url, "50,4000,50", LONG, Some(1_000_000));
    eventually("the file", async || database.exists()).await;
    let store = SqliteStore::open(&database, EncryptionKey::new([1; 32])).unwrap();
    let deliveries = async || store.deliveries_of(&"s".into(), &"1000000".into()).await.unwrap();
    eventually("the first delivery", async || !deliveries().await.is_empty()).await;
    let id = deliveries().await[0].id;
    let attempts = async || store.attempts(id).await.unwrap();
    eventually("two attempts", async || attempts().await.len() == 2).await;
    drop(first); // SIGKILL
    assert_eq!(
        attempts().await.len(),
        2,
        "it died between the second and the third"
    );

    let second = start(&database, &url, "50,4000,50", LONG, None);
    let state = async || store.delivery(id).await.unwrap().unwrap().state;
    eventually("the end", async || state().await == State::Delivered).await;
    drop(second); // SIGKILL
    let outcomes: Vec<_> = attempts()
        .await
        .iter()
        .map(|a| (a.number, a.report.outcome))
        .collect();
    let refused = Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        outcomes,
        [
            (1, refused),
            (2, refused),
            (3, refused),
            (4, Outcome::Answered(StatusCode::OK))
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_lose_nothing_and_repeat_only_what_was_in_flight() {
    const KILLS: u64 = 100;
    let received = Arc::new(Mutex::new(BTreeMap::<u64, u64>::new()));
    let counted = Arc::clone(&received);
    let receiver = serve(move |request| {
        let number = std::str::from_utf8(request.body()).unwrap().parse().unwrap();
        *counted.lock().unwrap().entry(number).or_default() += 1;
        async move {
            // A receiver takes its time, so that there is something in flight to be killed.
            tokio::time::sleep(Duration::from_millis(number % 7)).await;
            status(200)
        }
    });
    let url = format!("http://{}/hook", receiver.await);
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("ringback.db");

    let mut enqueued = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for run in 0..KILLS {
        let mut child = start(&database, &url, "20", SHORT, Some(run * 1_000_000));
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The harness may print before the first one on the same line.
                if let Some((_, number)) = line.split_once("enqueued ") {
                    let _ = tell.send(number.parse::<u64>().unwrap());
                }
            }
        });
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Any moment from the opening of the file on.
        tokio::time::sleep(Duration::from_millis(random >> 57)).await;
        if run % 4 != 0 {
            let _ = told
                .recv_timeout(Duration::from_secs(30))
                .map(|number| enqueued.push(number));
            tokio::time::sleep(Duration::from_micros((random >> 40) & 0x7fff)).await;
        }
        drop(child); // SIGKILL
        reader.join().unwrap();
        enqueued.extend(told.try_iter());
    }

    let last = start(&database, &url, "20", SHORT, None);
    let store = SqliteStore::open(&database, EncryptionKey::new([1; 32])).unwrap();
    let event_ids = || enqueued.iter().map(|number| (*number, number.to_string()));
    let mut interrupted = 0;
    let mut undelivered: Vec<_> = event_ids().collect();
    eventually("everything delivered", async || {
        let mut still = Vec::new();
        for (number, event) in undelivered.drain(..) {
            let deliveries = store
                .deliveries_of(&"s".into(), &event.as_str().into())
                .await
                .unwrap();
            assert!(deliveries.len() <= 1);
            match deliveries.first() {
                Some(delivery) if delivery.state == State::Delivered => {
                    let attempts = store.attempts(delivery.id).await.unwrap();
                    interrupted += attempts
                        .iter()
                        .filter(|a| a.report.outcome == Outcome::Interrupted)
                        .count();
                }
                // Its enqueue returned, but no webhook had been registered by then: that cannot be, see `child`.
                None => panic!("{number} was enqueued and is not there"),
                Some(_) => still.push((number, event)),
            }
        }
        undelivered = still;
        undelivered.is_empty()
    })
    .await;
    drop(last); // SIGKILL

    let received = received.lock().unwrap();
    let lost: Vec<_> = enqueued
        .iter()
        .filter(|number| !received.contains_key(number))
        .collect();
    assert!(lost.is_empty(), "enqueued and never received: {lost:?}");
    let repeated: u64 = enqueued.iter().map(|number| received[number] - 1).sum();
    println!(
        "{KILLS} kills, {} enqueued, {repeated} received again, {interrupted} interrupted",
        enqueued.len()
    );
    assert!(enqueued.len() as u64 > KILLS, "the processes hardly did anything");
    assert!(interrupted > 0, "nothing was in flight at any kill");
    assert!(
        repeated <= interrupted as u64,
        "{repeated} repeated, though only {interrupted} were in flight"
    );
}
