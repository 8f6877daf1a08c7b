//! The whole story on one machine: an application makes an asynchronous call, the service answers `Queued`, works,
//! stores the result, and rings back with a signed webhook until it is accepted. The receiver refuses the first
//! ring, hangs on the second, drops the third and accepts the fourth; then it fetches the result.
//!
//! Two real HTTP servers on loopback, a SQLite file in a temporary folder, no other set-up. With `RINGBACK_LOG` set to a
//! level, what the crate tells `tracing` is printed beside it: the story of the delivery, by its id.
//!
//! ```text
//! cargo run --example quickstart
//! RINGBACK_LOG=debug cargo run --example quickstart
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::PlainProfile;
use ringback::engine::{
    CallHandlers, Callbacks, CheckUnavailable, CredentialsCheck, Engine, TaskContext, TaskError, TaskRunner,
    TaskWork, TokioTimer,
};
use ringback::receive::{JsonEvents, Payload, Receiver};
use ringback::retry::Schedule;
use ringback::secret::Secret;
use ringback::signature::{BiSignature, HmacKey, MaxAge, Verifier};
use ringback::store::{EncryptionKey, MemoryStore, SqliteStore};
use ringback::system::SystemEntropy;
use ringback::task::{self, Accepted, Callback, TaskStatus};
use ringback::transport::{Guard, HttpSender, HyperSender, ResponseLimits};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

type AnyError = Box<dyn Error + Send + Sync>;

// What nobody else may see, and no log shows.
pub(crate) const KEY: &str = "a key that both sides know";
pub(crate) const TOKEN: &str = "the application's access token";
pub(crate) const PASSWORD: &str = "the-password-of-the-webhook";

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    if let Ok(level) = std::env::var("RINGBACK_LOG") {
        let level: LevelFilter = level.parse()?;
        let ours = Targets::new().with_target("ringback", level);
        tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer())
            .with(ours)
            .init();
    }
    run().await
}

/// The whole story.
pub(crate) async fn run() -> Result<(), AnyError> {
    let timeline = Timeline(Instant::now());
    let guard = Guard::default().allow_http().allow_loopback(); // both servers are on this machine

    // The service: a store, an engine on it, and a runner for the slow work.
    let folder = tempfile::tempdir()?;
    let key = EncryptionKey::generate(&SystemEntropy); // a service has it from its configuration
    let store = SqliteStore::open(folder.path().join("ringback.db"), key)?;
    let schedule = Schedule::gaps([300, 600, 900].map(Duration::from_millis)).build()?;
    let profile = PlainProfile::new("callbacks", schedule).with_deadline(Duration::from_secs(1));
    let sender = HyperSender::builder().guard(guard.clone()).build();
    let engine = Engine::builder(store, sender, TokioTimer)
        .profile(profile)
        .guard(guard.clone())
        .build();
    let key = AuthConfig::Hmac(HmacAuth::new(HmacScheme::BiSignature, KEY));
    engine
        .dispatcher()
        .save_auth("callback-key", "callbacks", key)
        .await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = format!("http://{}", listener.local_addr()?);
    let callbacks = Callbacks::new("callbacks").with_auth("callback-key");
    let runner = TaskRunner::builder(
        &engine,
        SlowReport(timeline),
        format!("{service}/results/"),
        callbacks,
    )
    .build();
    let handlers = CallHandlers::new(runner.clone(), OneUser);
    tokio::spawn(serve(listener, move |request| {
        serve_calls(handlers.clone(), request)
    }));
    let (stop_worker, worker_stops) = oneshot::channel::<()>();
    let (stop_runner, runner_stops) = oneshot::channel::<()>();
    let worker = tokio::spawn({
        let worker = engine.worker();
        async move { worker.run_until(async { drop(worker_stops.await) }).await }
    });
    let running = tokio::spawn(async move { runner.run_until(async { drop(runner_stops.await) }).await });

    // The application: a receiver that is in trouble at first.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let webhook_uri = format!("http://{}/rings?password={PASSWORD}", listener.local_addr()?);
    let webhook_uri: Uri = webhook_uri.parse()?;
    let verifier = Verifier::new(BiSignature::path_only(), [HmacKey::new(KEY)?], MaxAge::minutes(5));
    let protocol =
        JsonEvents::new(|ring: &Callback| Some(format!("{}/{}", ring.task_id, ring.status.as_str())));
    let receiver = Arc::new(Receiver::new("reports", protocol, verifier).seen(MemoryStore::new()));
    let (rang, mut rings) = mpsc::channel(1);
    let count = Arc::new(AtomicU32::new(0));
    tokio::spawn(serve(listener, move |request| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        take_ring(timeline, number, Arc::clone(&receiver), rang.clone(), request)
    }));

    // It calls, and is answered at once.
    let client = HyperSender::builder().guard(guard).build();
    let call: Uri = format!("{service}/reports?from=2026-01-01").parse()?;
    let call = task::asynchronous(&call, Some(&webhook_uri))?;
    timeline.note("application", "makes an asynchronous call");
    let accepted: Accepted = serde_json::from_slice(&get(&client, call).await?)?;
    timeline.note(
        "service",
        &format!("answers {}: task {}", accepted.status.as_str(), accepted.task_id),
    );

    // The ring comes when it comes; then the results are there.
    let ring = rings.recv().await.ok_or("nobody rang")?;
    let results_uri = ring.results_uri.value().ok_or("the ring names no results")?;
    let results = get(&client, results_uri.as_str().parse()?).await?;
    timeline.note(
        "application",
        &format!("fetches the results: {}", String::from_utf8_lossy(&results)),
    );

    // What the service knows of it.
    let _ = (stop_worker.send(()), stop_runner.send(()));
    let (worked, ran) = tokio::try_join!(worker, running)?;
    worked?;
    ran?;
    let dispatcher = engine.dispatcher();
    let event = format!("{}/{}", ring.task_id, ring.status.as_str()).into();
    let deliveries = dispatcher.deliveries_of(&"tasks".into(), &event).await?;
    let delivery = deliveries.first().ok_or("the delivery is not in the history")?;
    let attempts = dispatcher.attempts(delivery.id).await?;
    for attempt in &attempts {
        let outcome = attempt.report.outcome;
        timeline.note(
            "history",
            &format!(
                "attempt {}: {outcome} after {:?}",
                attempt.number, attempt.report.duration
            ),
        );
    }
    timeline.end(&format!(
        "ok: task {} {}, {} attempts, signature verified, results fetched",
        ring.task_id,
        ring.status.as_str(),
        attempts.len(),
    ));
    Ok(())
}

/// The slow work.
#[derive(Debug)]
struct SlowReport(Timeline);

#[async_trait]
impl TaskWork for SlowReport {
    async fn run(&self, task: &TaskContext) -> Result<Bytes, TaskError> {
        self.0.note("service", &format!("works on {}", task.request_uri));
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.0.note("service", "stores the result and rings back");
        Ok(Bytes::from(r#"[{"account":"checking","balance":1024.50}]"#))
    }
}

/// Who may call: one user, with one token.
#[derive(Debug)]
struct OneUser;

#[async_trait]
impl CredentialsCheck for OneUser {
    async fn credentials(&self, token: &Secret) -> Result<Option<String>, CheckUnavailable> {
        Ok((*token == Secret::from(TOKEN)).then(|| "user-7".to_owned()))
    }
}

/// The service's two routes: start a call, fetch its results.
async fn serve_calls(handlers: CallHandlers, request: Request<Bytes>) -> Result<Response<Bytes>, AnyError> {
    Ok(if request.uri().path().starts_with("/results/") {
        handlers.results(request).await
    } else {
        handlers.start(request).await
    })
}

/// The application's route. An error drops the connection without an answer.
async fn take_ring<P>(
    timeline: Timeline,
    number: u32,
    receiver: Arc<Receiver<P>>,
    rang: mpsc::Sender<Callback>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, AnyError>
where
    P: ringback::receive::Protocol<Event = Callback>,
{
    match number {
        1 => {
            timeline.note("receiver", "ring 1: refuses with 503");
            answer(StatusCode::SERVICE_UNAVAILABLE, "")
        }
        2 => {
            timeline.note("receiver", "ring 2: hangs");
            std::future::pending().await
        }
        3 => {
            timeline.note("receiver", "ring 3: drops the connection");
            Err("dropped".into())
        }
        _ => {
            let response = receiver
                .handle(request, async |received| -> Result<(), AnyError> {
                    let Payload::Known(ring) = received.payload else {
                        return Ok(());
                    };
                    let status = ring.status.as_str();
                    timeline.note(
                        "receiver",
                        &format!("ring {number}: signature verified, {status}"),
                    );
                    if ring.status == TaskStatus::Succeeded {
                        rang.send(ring).await?;
                    }
                    Ok(())
                })
                .await;
            Ok(response)
        }
    }
}

async fn get(client: &HyperSender, uri: Uri) -> Result<Bytes, AnyError> {
    let request = Request::get(uri)
        .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Bytes::new())?;
    let response = client.send(request, &ResponseLimits::default()).await?;
    if !response.status().is_success() {
        return Err(format!("the service answered {}", response.status()).into());
    }
    Ok(response.into_body())
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Result<Response<Bytes>, AnyError> {
    Ok(Response::builder().status(status).body(body.into())?)
}

/// An HTTP server: every request goes to the handler; where that fails, the connection is closed.
async fn serve<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Bytes>, AnyError>> + Send,
{
    while let Ok((stream, _)) = listener.accept().await {
        let handler = handler.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let handler = handler.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let response = handler(Request::from_parts(head, body)).await?;
                Ok::<_, AnyError>(response.map(Full::new))
            }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

/// Says on the terminal who does what, and when.
#[derive(Debug, Clone, Copy)]
struct Timeline(Instant);

impl Timeline {
    fn note(self, who: &str, what: &str) {
        println!("{:>7.3} s  {who:<12} {what}", self.0.elapsed().as_secs_f64());
    }

    fn end(self, what: &str) {
        println!("\n{what} ({:.1} s)", self.0.elapsed().as_secs_f64());
    }
}
