//! Real processes on a real server: workers are killed and frozen, the server crashes, and events are enqueued all the
//! while. What was enqueued is received, and no delivery is in flight at two workers unless a lease ran out.
//!
//! A worker is this test binary itself, started again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Request;
use libtest_mimic::{Failed, Trial};
use ringback::auth::{AuthContext, AuthError, AuthProvider};
use ringback::delivery::{Event, Limits, PlainProfile};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::PostgresStore;
use ringback::store::postgres::ServerClock;
use ringback::system::Timer;
use ringback::time::Clock;
use ringback::transport::{Guard, HyperSender};
use tokio_postgres::{Config, NoTls};

use crate::cluster::{self, Cluster};
use crate::receiver::{serve, status};
use crate::server;

const SECONDS: usize = 30;
const WORKERS: usize = 4;
const CRASHES: [usize; 2] = [10, 20];
const WEBHOOKS: usize = 4;

/// Fewer than these, and the machine was too busy for the test to show anything.
const FEWEST_EVENTS: usize = 60;

const AUTH_DEADLINE: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_millis(1_500);
const LEASE: Duration = Duration::from_secs(4);

/// One event in as many hangs at its receiver the first time, for longer than any lease.
const HANGS: usize = 20;
const HANG: Duration = Duration::from_secs(60);

const NUMBER: &str = "RINGBACK_TEST_WORKER";
const DATABASE: &str = "RINGBACK_TEST_DATABASE";
const RECEIVER: &str = "RINGBACK_TEST_RECEIVER";
const ENQUEUES: &str = "RINGBACK_TEST_ENQUEUES";

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    let name = "processes::workers_are_killed_and_the_server_crashes_and_nothing_is_lost";
    let run = || {
        server::runtime().block_on(kill_and_crash());
        Ok::<_, Failed>(())
    };
    let is_ignored = !server::is_there() || !cluster::can_be_made();
    [Trial::test(name, run).with_ignored_flag(is_ignored)].into_iter()
}

/// Runs as a worker, if this process was started as one.
pub(crate) fn work() -> bool {
    let number = std::env::var(NUMBER).ok().and_then(|number| number.parse().ok());
    if let Some(number) = number {
        server::runtime().block_on(worker(number));
    }
    number.is_some()
}

async fn worker(number: usize) {
    let config: Config = std::env::var(DATABASE).unwrap().parse().unwrap();
    let store = loop {
        let builder = PostgresStore::builder().connections(4);
        match builder.connect(config.clone(), NoTls, server::key()).await {
            Ok(store) => break store,
            // It may be recovering.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let schedule = Schedule::gaps([Duration::from_millis(100)]).repeat_last();
    let profile = PlainProfile::new("quick", schedule.build().unwrap()).with_deadline(DEADLINE);
    let guard = Guard::default().allow_http().allow_loopback();
    let timer = ServerTimer(store.clock().clone());
    let sender = HyperSender::builder().guard(guard.clone()).build();
    let engine = Engine::builder(store, sender, timer)
        .profile(profile)
        .guard(guard)
        .auth("stamp", Stamp(number))
        .auth_deadline(AUTH_DEADLINE)
        .longest_deadline(DEADLINE)
        .lease_margin(MARGIN)
        .build();
    let dispatcher = engine.dispatcher();
    let receiver = std::env::var(RECEIVER).unwrap();
    let limits = Limits {
        in_flight: NonZeroU32::new(32).unwrap(),
        rate: None,
    };
    for webhook in 0..WEBHOOKS {
        let registration = Registration::new("s", format!("{receiver}/{webhook}"), "quick")
            .id(format!("w{webhook}"))
            .events([format!("t{webhook}")])
            .auth("stamp")
            .limits(limits);
        while dispatcher.register(registration.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    if std::env::var_os(ENQUEUES).is_some() {
        tokio::spawn(async move {
            for count in 0.. {
                let id = format!("{number}-{count}");
                let event = Event::builder("s", id.as_str(), format!("t{}", count % WEBHOOKS));
                let event = event.json(format!("\"{id}\"")).build().unwrap();
                while dispatcher.enqueue(event.clone()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                println!("{id}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    engine.worker().run().await.unwrap();
}

/// Tokio's timer, going by the server's clock.
#[derive(Debug)]
struct ServerTimer(ServerClock);

impl Clock for ServerTimer {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
}

#[async_trait]
impl Timer for ServerTimer {
    async fn sleep(&self, span: Duration) {
        TokioTimer.sleep(span).await;
    }
}

/// Says in each request which worker sends it, and when.
#[derive(Debug)]
struct Stamp(usize);

#[async_trait]
impl AuthProvider for Stamp {
    async fn authenticate(
        &self,
        request: &mut Request<Bytes>,
        context: &AuthContext<'_>,
    ) -> Result<(), AuthError> {
        let headers = request.headers_mut();
        headers.insert("x-worker", self.0.into());
        headers.insert("x-sent-at", context.now.timestamp_micros().into());
        Ok(())
    }
}

/// A worker's process. Dropped, it is killed.
struct Worker {
    number: usize,
    child: Child,
}

impl Worker {
    /// Starts one that, if there is a place for what it says, enqueues and says of each event that it was enqueued.
    fn start(number: usize, database: &str, receiver: &str, told: Option<&Arc<Mutex<Told>>>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .env(NUMBER, number.to_string())
            .env(DATABASE, database)
            .env(RECEIVER, receiver)
            .stdout(Stdio::piped());
        if told.is_some() {
            command.env(ENQUEUES, "");
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if let Some(told) = told.map(Arc::clone) {
            std::thread::spawn(move || {
                for id in lines.map_while(Result::ok) {
                    told.lock().unwrap().insert(id, Instant::now());
                }
            });
        }
        Self { number, child }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill(); // SIGKILL
        let _ = self.child.wait();
    }
}

/// The events whose enqueue returned, and when that was heard of.
type Told = BTreeMap<String, Instant>;

/// A request as its receiver saw it.
#[derive(Debug, Clone)]
struct Exchange {
    event: String,
    worker: usize,
    sent_at: i64,
    start: Instant,
    /// When it was answered, or its connection ended; `None` if it is open.
    end: Option<Instant>,
    hangs: bool,
}

#[derive(Debug, Clone, Default)]
struct Exchanges(Arc<Mutex<Vec<Exchange>>>);

impl Exchanges {
    async fn receive(self, request: Request<Bytes>) -> http::Response<Bytes> {
        let number = |name| request.headers()[name].to_str().unwrap().parse::<i64>().unwrap();
        let event: String = serde_json::from_slice(request.body()).unwrap();
        let count: usize = event.split_once('-').unwrap().1.parse().unwrap();
        let (open, hangs) = {
            let mut exchanges = self.0.lock().unwrap();
            let is_first = !exchanges.iter().any(|exchange| exchange.event == event);
            let hangs = is_first && count % HANGS == HANGS - 1;
            exchanges.push(Exchange {
                event,
                worker: number("x-worker").try_into().unwrap(),
                sent_at: number("x-sent-at"),
                start: Instant::now(),
                end: None,
                hangs,
            });
            let at = exchanges.len() - 1;
            (
                Open {
                    exchanges: self.clone(),
                    at,
                },
                hangs,
            )
        };
        let takes = Duration::from_millis(count as u64 % 7);
        tokio::time::sleep(if hangs { HANG } else { takes }).await;
        drop(open);
        status(200)
    }

    /// One that has begun to hang this moment, at one of these workers.
    fn hanging(&self, workers: &[Worker]) -> Option<Exchange> {
        let exchanges = self.0.lock().unwrap();
        let is_fresh = |exchange: &&Exchange| {
            exchange.hangs && exchange.end.is_none() && exchange.start.elapsed() < DEADLINE / 4
        };
        let is_there = |exchange: &&Exchange| workers.iter().any(|worker| worker.number == exchange.worker);
        exchanges.iter().rev().filter(is_fresh).find(is_there).cloned()
    }

    fn count(&self, event: &str) -> usize {
        let exchanges = self.0.lock().unwrap();
        exchanges
            .iter()
            .filter(|exchange| exchange.event == event)
            .count()
    }
}

/// Ends an exchange, also where its connection ends it.
struct Open {
    exchanges: Exchanges,
    at: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.exchanges.0.lock().unwrap()[self.at].end = Some(Instant::now());
    }
}

/// A worker that stands still with a request in flight, while its lease runs out.
struct Frozen {
    worker: usize,
    event: String,
}

async fn kill_and_crash() {
    let cluster = Cluster::start();
    let exchanges = Exchanges::default();
    let receiving = exchanges.clone();
    let receiver = serve(move |request| receiving.clone().receive(request)).await;
    let receiver = format!("http://{receiver}");
    let told = Arc::new(Mutex::new(Told::new()));

    let mut numbers = 0..;
    let mut start = |told| Worker::start(numbers.next().unwrap(), &cluster.url(), &receiver, told);
    let mut workers: Vec<_> = (0..WORKERS).map(|_| start(Some(&told))).collect();
    let mut frozen: Option<Frozen> = None;
    let mut has_frozen = false;
    // From when on all of them can have begun.
    eventually("an event", || !told.lock().unwrap().is_empty()).await;
    let began = Instant::now();
    let mut crashed = Vec::new();
    for second in 0..SECONDS {
        if let Some(Frozen { worker, event }) = &frozen
            && exchanges.count(event) > 1
        {
            signal(&workers, *worker, "-CONT");
            frozen = None;
        }
        if CRASHES.contains(&second) {
            tokio::task::block_in_place(|| {
                cluster.crash();
                cluster.go_on();
            });
            crashed.push(Instant::now());
        }
        let is_frozen = |worker: &Worker| {
            frozen
                .as_ref()
                .is_some_and(|frozen| frozen.worker == worker.number)
        };
        let oldest = workers.iter().position(|worker| !is_frozen(worker)).unwrap();
        drop(workers.remove(oldest));
        workers.push(start(Some(&told)));
        let next = began + Duration::from_secs(second as u64 + 1);
        while Instant::now() < next {
            if second >= 3
                && !has_frozen
                && let Some(Exchange { worker, event, .. }) = exchanges.hanging(&workers)
            {
                signal(&workers, worker, "-STOP");
                (frozen, has_frozen) = (Some(Frozen { worker, event }), true);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    workers.clear();
    let ended = Instant::now();

    let _workers: Vec<_> = (0..WORKERS).map(|_| start(None)).collect();
    let database = Database::connect(&cluster.config()).await;
    while database.undelivered().await > 0 {
        assert!(
            ended.elapsed() < Duration::from_secs(120),
            "not delivered in two minutes"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let attempts = database.attempts().await;
    let told = told.lock().unwrap();
    let spans = [began, crashed[0], crashed[1], ended];
    for span in spans.windows(2) {
        let in_span = told.values().filter(|at| (span[0]..span[1]).contains(at)).count();
        assert!(
            in_span >= FEWEST_EVENTS / 30,
            "{in_span} events enqueued between two crashes"
        );
    }
    assert!(
        told.len() >= FEWEST_EVENTS,
        "only {} events were enqueued",
        told.len()
    );
    judge(&told, &exchanges.0.lock().unwrap(), &attempts);
}

fn signal(workers: &[Worker], number: usize, signal: &str) {
    workers
        .iter()
        .find(|worker| worker.number == number)
        .unwrap()
        .signal(signal);
}

/// An attempt as history has it; its instants are microseconds.
struct Attempt {
    start: i64,
    end: i64,
    is_interrupted: bool,
}

/// Attempts by event, in order.
type Attempts = BTreeMap<String, Vec<Attempt>>;

fn judge(told: &Told, exchanges: &[Exchange], attempts: &Attempts) {
    let mut by_event: BTreeMap<&str, Vec<&Exchange>> = BTreeMap::new();
    for exchange in exchanges {
        by_event.entry(&exchange.event).or_default().push(exchange);
    }
    let lost: Vec<_> = told
        .keys()
        .filter(|event| !by_event.contains_key(event.as_str()))
        .collect();
    assert!(lost.is_empty(), "enqueued and never received: {lost:?}");

    let lease = i64::try_from(LEASE.as_micros()).unwrap();
    let interrupted = attempts
        .values()
        .flatten()
        .filter(|attempt| attempt.is_interrupted);
    for attempt in interrupted.clone() {
        let held = attempt.end - attempt.start;
        assert!(held >= lease, "taken from its worker after {held} us of {lease}");
    }

    let (mut overlaps, mut seen_late) = (0, 0);
    for (event, exchanges) in &by_event {
        let attempts = &attempts[*event];
        // The attempt that a request belongs to is the last that had begun by then.
        let numbers: Vec<_> = exchanges
            .iter()
            .map(|exchange| {
                attempts
                    .iter()
                    .rposition(|attempt| attempt.start <= exchange.sent_at)
                    .unwrap()
            })
            .collect();
        for (later, number) in numbers.iter().enumerate() {
            for earlier in 0..later {
                let before = &attempts[numbers[earlier]];
                assert_ne!(numbers[earlier], *number, "{event}: two requests in one attempt");
                if exchanges[earlier]
                    .end
                    .is_some_and(|end| end <= exchanges[later].start)
                {
                    continue;
                }
                // Its worker had ended it by then, and only its receiver was told late.
                if !before.is_interrupted && before.end <= attempts[*number].start {
                    seen_late += 1;
                    continue;
                }
                assert!(
                    before.is_interrupted,
                    "{event}: in flight twice, though no lease ran out"
                );
                assert!(
                    before.end <= exchanges[later].sent_at,
                    "{event}: in flight twice under a lease"
                );
                overlaps += 1;
            }
        }
    }
    println!(
        "{SECONDS} kills, {} crashes, {} enqueued, {} received, {} of them again; {} interrupted, {overlaps} in flight twice \
         after a lease ran out, {seen_late} seen to end late",
        CRASHES.len(),
        told.len(),
        exchanges.len(),
        exchanges.len() - by_event.len(),
        interrupted.clone().count(),
    );
    assert!(
        interrupted.count() > SECONDS / 2,
        "hardly anything was in flight when workers were killed"
    );
    assert!(overlaps > 0, "the worker that was frozen held nothing");
}

/// A look at the tables from outside.
struct Database(tokio_postgres::Client);

impl Database {
    async fn connect(config: &Config) -> Self {
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        Self(client)
    }

    async fn undelivered(&self) -> i64 {
        let count = "SELECT count(*) FROM ringback.deliveries WHERE state <> 'delivered'";
        self.0.query_one(count, &[]).await.unwrap().get(0)
    }

    async fn attempts(&self) -> Attempts {
        let select = "
            SELECT e.event_id, a.started_at, a.started_at + a.duration, a.outcome = 'interrupted'
            FROM ringback.attempts a JOIN ringback.deliveries d ON d.id = a.delivery
            JOIN ringback.events e ON e.id = d.event ORDER BY a.delivery, a.number";
        let mut attempts = Attempts::new();
        for row in self.0.query(select, &[]).await.unwrap() {
            attempts.entry(row.get(0)).or_default().push(Attempt {
                start: row.get(1),
                end: row.get(2),
                is_interrupted: row.get(3),
            });
        }
        attempts
    }
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what}: not within a minute"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
