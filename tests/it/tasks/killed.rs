//! The offering process, killed with SIGKILL at each point where something could be lost. Whoever waits gets the result
//! all the same, once the process is there again.
//!
//! The process that is killed is this test binary itself, started again to run [`child`] alone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Uri};
use ringback::client::{CallClient, Stray, WaitBy};
use ringback::delivery::{PlainProfile, State};
use ringback::engine::{
    CallHandlers, Callbacks, Engine, TaskContext, TaskError, TaskRunner, TaskWork, TokioTimer,
};
use ringback::retry::Schedule;
use ringback::store::{EncryptionKey, Inspect, SqliteStore, Store, TaskStore};
use ringback::task::TaskStatus;
use ringback::testing::{Fault, FaultyStore};
use ringback::transport::{Guard, HyperSender};
use tokio::net::TcpListener;

use super::office::Tokens;
use crate::server::{serve, status};

const DATABASE: &str = "RINGBACK_TEST_TASKS_DATABASE";
const ADDRESS: &str = "RINGBACK_TEST_TASKS_ADDRESS";
/// Where the process stands still, to be killed; without it, it does not.
const POINT: &str = "RINGBACK_TEST_TASKS_POINT";

const FOR_EVER: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The task was accepted, and nobody has begun to work on it.
    Accepted,
    /// It is being worked on.
    Running,
    /// The work is done, and nothing of that is stored.
    Worked,
    /// The end is stored, and the callback not sent.
    Committed,
    /// The callback is being sent.
    Ringing,
}

impl Point {
    const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Running,
        Self::Worked,
        Self::Committed,
        Self::Ringing,
    ];

    fn name(self) -> String {
        format!("{self:?}")
    }

    /// What becomes of a call to the store in a process that is to stand still here.
    fn fault(self, method: &str) -> Fault {
        match (self, method) {
            (Self::Accepted, "claim_tasks") | (Self::Worked, "finish_task") => Fault::Delayed(FOR_EVER),
            // Nothing is sent before it is killed.
            (Self::Committed, "claim") => Fault::Delayed(FOR_EVER),
            _ => Fault::None,
        }
    }
}

#[derive(Debug)]
struct Work(Option<Point>);

#[async_trait]
impl TaskWork for Work {
    async fn run(&self, _: &TaskContext) -> Result<Bytes, TaskError> {
        println!("working");
        if self.0 == Some(Point::Running) {
            std::future::pending::<()>().await;
        }
        println!("worked");
        Ok(Bytes::from_static(b"[1,2]"))
    }
}

fn guard() -> Guard {
    Guard::default().allow_http().allow_loopback()
}

fn open(database: impl AsRef<Path>) -> SqliteStore {
    SqliteStore::open(database, EncryptionKey::new([1; 32])).unwrap()
}

/// What runs in the process that is killed: the service.
#[test]
fn child() {
    let Ok(database) = std::env::var(DATABASE) else {
        return;
    };
    let point = std::env::var(POINT).ok();
    let point = Point::ALL.into_iter().find(|at| Some(at.name()) == point);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(open(database));
        let store = FaultyStore::new(store, Arc::new(TokioTimer), move |method| {
            point.map_or(Fault::None, |point| point.fault(method))
        });
        let again = Schedule::gaps([Duration::from_millis(50)])
            .repeat_last()
            .build()
            .unwrap();
        let sender = HyperSender::builder().guard(guard()).build();
        let engine = Engine::builder(store, sender, TokioTimer)
            .profile(PlainProfile::new("callbacks", again).with_deadline(Duration::from_secs(2)))
            .guard(guard())
            // A lease of 300 ms, so that what a killed process was sending is soon sent again.
            .auth_deadline(Duration::ZERO)
            .longest_deadline(Duration::from_millis(200))
            .lease_margin(Duration::from_millis(100))
            .build();
        let address = std::env::var(ADDRESS).unwrap();
        let results = format!("http://{address}/results/");
        let runner = TaskRunner::builder(&engine, Work(point), results, Callbacks::new("callbacks"))
            .lease(Duration::from_secs(1))
            .build();
        let handlers = CallHandlers::new(runner.clone(), Tokens);
        let router = axum::Router::new()
            .route("/reports", handlers.start_route())
            .route("/results/{id}", handlers.results_route());
        let listener = TcpListener::bind(&address).await.unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        println!("listening");
        let worker = engine.worker();
        let (ran, worked) = tokio::join!(runner.run(), worker.run());
        ran.and(worked).unwrap();
    });
}

/// The service's process.
struct Service {
    child: Child,
    said: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Service {
    fn start(database: &Path, address: &str, point: Option<Point>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "tasks::killed::child",
            "--nocapture",
            "--test-threads=1",
        ]);
        command.env(DATABASE, database).env(ADDRESS, address);
        if let Some(point) = point {
            command.env(POINT, point.name());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut service = Self { child, said };
        service.says("listening");
        service
    }

    /// Waits until it has said so.
    fn says(&mut self, what: &str) {
        // The harness may print before the first one on the same line.
        let found = self
            .said
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains(what));
        assert!(found, "it ended before it was {what}");
    }

    fn kill(mut self) {
        self.child.kill().unwrap(); // SIGKILL
        self.child.wait().unwrap();
    }
}

async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "{what}: not within a minute");
}

async fn killed_at(point: Point, by: WaitBy) {
    // The caller: a client, and its route for callbacks, which hangs for as long as it is to.
    let sender = HyperSender::builder().guard(guard()).build();
    let hangs = Arc::new(AtomicBool::new(point == Point::Ringing));
    let rung = Arc::new(AtomicBool::new(false));
    let (late, known) = (
        Arc::new(std::sync::OnceLock::<CallClient>::new()),
        (Arc::clone(&hangs), Arc::clone(&rung)),
    );
    let client_of = Arc::clone(&late);
    let address = serve(move |request: Request<Bytes>| {
        let (client, (hangs, rung)) = (client_of.get().cloned(), known.clone());
        async move {
            rung.store(true, Ordering::SeqCst);
            if hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            match client {
                Some(client) => client.handle(request, async |_: Stray| Ok::<_, ()>(())).await,
                None => status(503),
            }
        }
    });
    let webhook: Uri = format!("http://{}/rings", address.await).parse().unwrap();
    let polls = Schedule::gaps([Duration::from_millis(50)])
        .repeat_last()
        .build()
        .unwrap();
    let client = CallClient::builder(sender, TokioTimer)
        .webhook(webhook)
        .polls(polls.with_hint_cap(Duration::ZERO))
        .deadline(Duration::from_secs(60))
        .build();
    late.set(client.clone()).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("ringback.db");
    // A port that is free now, and will be again after the kill.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let mut service = Service::start(&database, &address, Some(point));

    let request = Request::get(format!("http://{address}/reports"))
        .header("authorization", "Bearer user-1")
        .body(Bytes::new())
        .unwrap();
    let pending = client.call(request).wait_by(by).start().await.unwrap();
    let task = pending.task_id().unwrap().clone();
    let waiting = tokio::spawn(async move { pending.results::<Vec<u8>>().await });

    let store = open(&database);
    let seen = async || store.task(&task).await.unwrap().unwrap().status;
    match point {
        Point::Accepted => assert_eq!(seen().await, TaskStatus::Queued),
        Point::Running => service.says("working"),
        Point::Worked => {
            service.says("worked");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Point::Committed => eventually("the commit", async || seen().await == TaskStatus::Succeeded).await,
        Point::Ringing => eventually("the first ring", async || rung.load(Ordering::SeqCst)).await,
    }
    service.kill();
    let expected = match point {
        Point::Accepted => TaskStatus::Queued,
        Point::Running | Point::Worked => TaskStatus::Running,
        Point::Committed | Point::Ringing => TaskStatus::Succeeded,
    };
    assert_eq!(
        seen().await,
        expected,
        "{point:?}: it was killed where it was to be"
    );
    hangs.store(false, Ordering::SeqCst);

    let service = Service::start(&database, &address, None);
    let results = waiting.await.unwrap();
    assert_eq!(results.unwrap(), [1, 2], "{point:?}, {by:?}");
    if by == WaitBy::Webhook {
        let event = format!("{task}/Succeeded").as_str().into();
        let deliveries = async || store.deliveries_of(&"tasks".into(), &event).await.unwrap();
        eventually("the delivery", async || {
            deliveries()
                .await
                .iter()
                .all(|delivery| delivery.state == State::Delivered)
        })
        .await;
        assert_eq!(deliveries().await.len(), 1, "{point:?}: one end, one callback");
    }
    service.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_rung_back_gets_the_result_wherever_the_service_was_killed() {
    for point in Point::ALL {
        killed_at(point, WaitBy::Webhook).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_polls_gets_the_result_wherever_the_service_was_killed() {
    for point in [Point::Accepted, Point::Running, Point::Worked, Point::Committed] {
        killed_at(point, WaitBy::Polling).await;
    }
}
