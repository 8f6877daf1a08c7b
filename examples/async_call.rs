//! One slow endpoint, called in three ways: synchronously, by polling, and by webhook. The result is the same.
//!
//! The service is an axum application that makes a report over generated data; the caller waits for it with a progress
//! bar on the terminal (plain lines where there is none). Two HTTP servers on loopback, a SQLite file in a temporary
//! folder, no other set-up:
//!
//! ```text
//! cargo run --example async_call
//! ```

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::post;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Request, Uri};
use ringback::client::{CallClient, PendingCall, WaitBy};
use ringback::delivery::PlainProfile;
use ringback::engine::{
    CallHandlers, Callbacks, CheckUnavailable, CredentialsCheck, Engine, TaskContext, TaskError, TaskRunner,
    TaskWork,
};
use ringback::json::RawJson;
use ringback::retry::Schedule;
use ringback::secret::Secret;
use ringback::store::{EncryptionKey, SqliteStore};
use ringback::system::{SystemEntropy, TokioTimer};
use ringback::task::{Results, TaskProgress};
use ringback::transport::{Guard, HttpSender, HyperSender, ResponseLimits};
use tokio::net::TcpListener;

type AnyError = Box<dyn Error + Send + Sync>;

const TOKEN: &str = "the user's access token";
const PARTS: u64 = 40;
const PART: Duration = Duration::from_millis(75);

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let began = Instant::now();
    let folder = tempfile::tempdir()?;
    let service = start_service(folder.path().join("ringback.db")).await?;
    let report: Uri = format!("{service}/report?accounts=3").parse()?;

    println!("synchronously: one request, answered when the report is done");
    let once = send(report.clone()).await?;
    let results: Results<RawJson> = serde_json::from_slice(&once)?;
    let synchronous = results.results.into_value().ok_or("there are no results")?;
    println!("  {}", synchronous.as_str());

    let client = start_client().await?;
    println!("by polling: accepted at once, and then asked for");
    let pending = client
        .call(request(report.clone())?)
        .wait_by(WaitBy::Polling)
        .start()
        .await?;
    let polled = watch(&pending).await?;
    println!("  {}", polled.as_str());

    println!("by webhook: accepted at once, and rung back");
    let pending = client
        .call(request(report)?)
        .wait_by(WaitBy::Webhook)
        .start()
        .await?;
    let rung = watch(&pending).await?;
    println!("  {}", rung.as_str());

    if synchronous != polled || polled != rung {
        return Err("the three reports differ".into());
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "\nok: the same report of {} bytes three ways ({seconds:.1} s)",
        rung.as_str().len()
    );
    Ok(())
}

/// The slow work: goes through generated transactions, part by part.
#[derive(Debug)]
struct Report;

#[async_trait]
impl TaskWork for Report {
    async fn run(&self, task: &TaskContext) -> Result<Bytes, TaskError> {
        let (mut count, mut cents) = (0_u64, 0_u64);
        for part in 0..PARTS {
            task.report(TaskProgress::of(part, PARTS).with_message(format!("part {} of {PARTS}", part + 1)));
            for number in 0..25_000 {
                let amount = (part * 25_000 + number).wrapping_mul(6_364_136_223_846_793_005) >> 48;
                count += 1;
                cents += amount;
            }
            tokio::time::sleep(PART).await;
        }
        let report = format!(
            r#"{{"transactions":{count},"sum":{}.{:02},"currency":"EUR"}}"#,
            cents / 100,
            cents % 100
        );
        Ok(Bytes::from(report))
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

/// Both servers are on this machine.
fn guard() -> Guard {
    Guard::default().allow_http().allow_loopback()
}

/// The service: a store, an engine on it, a runner for the work, a worker for the callbacks, and two routes.
async fn start_service(database: std::path::PathBuf) -> Result<String, AnyError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = format!("http://{}", listener.local_addr()?);
    let sender = HyperSender::builder().guard(guard()).build();
    let key = EncryptionKey::generate(&SystemEntropy); // a service has it from its configuration
    let engine = Engine::builder(SqliteStore::open(database, key)?, sender, TokioTimer)
        .profile(PlainProfile::new("callbacks", Schedule::truelayer()))
        .guard(guard())
        .build();
    let results = format!("{service}/results/");
    let runner = TaskRunner::builder(&engine, Report, results, Callbacks::new("callbacks")).build();
    let handlers = CallHandlers::new(runner.clone(), OneUser);
    let router = Router::new()
        .route("/report", handlers.start_route())
        .route("/results/{id}", handlers.results_route());
    tokio::spawn(async move { runner.run().await });
    tokio::spawn(async move { engine.worker().run().await });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(service)
}

/// The caller: a client, and the route that the service rings.
async fn start_client() -> Result<CallClient, AnyError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let webhook: Uri = format!("http://{}/rings", listener.local_addr()?).parse()?;
    let client = CallClient::builder(HyperSender::builder().guard(guard()).build(), TokioTimer)
        .webhook(webhook)
        .polls(
            Schedule::gaps([Duration::from_millis(100)])
                .repeat_last()
                .build()?
                .with_hint_cap(Duration::ZERO),
        )
        .build();
    let rings = {
        let client = client.clone();
        post(move |request: axum::extract::Request| async move {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, 64 * 1024).await.unwrap_or_default();
            let handled = client.handle(
                Request::from_parts(head, body),
                async |stray| -> Result<(), AnyError> {
                    println!("nobody waits for {stray:?}");
                    Ok(())
                },
            );
            handled.await.map(Body::from)
        })
    };
    let router = Router::new().route("/rings", rings);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(client)
}

fn request(uri: Uri) -> Result<Request<Bytes>, AnyError> {
    Ok(Request::get(uri)
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Bytes::new())?)
}

async fn send(uri: Uri) -> Result<Bytes, AnyError> {
    let client = HyperSender::builder().guard(guard()).build();
    let response = client.send(request(uri)?, &ResponseLimits::default()).await?;
    if !response.status().is_success() {
        return Err(format!("the service answered {}", response.status()).into());
    }
    Ok(response.into_body())
}

/// Waits for the results, and shows how far they are.
async fn watch(pending: &PendingCall) -> Result<RawJson, AnyError> {
    let mut bar = Bar::default();
    let mut results = std::pin::pin!(pending.raw_results());
    loop {
        let tick = std::pin::pin!(tokio::time::sleep(Duration::from_millis(100)));
        match select(results, tick).await {
            Either::Left((results, _)) => {
                bar.end();
                return Ok(results?);
            }
            Either::Right((_, waiting)) => {
                bar.show(pending.progress());
                results = waiting;
            }
        }
    }
}

/// A bar that fills where the service says how far it is, and a dot that goes to and fro where it does not.
#[derive(Default)]
struct Bar {
    ticks: usize,
    line: String,
}

impl Bar {
    const WIDTH: usize = 30;

    fn show(&mut self, progress: Option<TaskProgress>) {
        self.ticks += 1;
        let fraction = progress.as_ref().and_then(|progress| progress.fraction);
        let message = progress.and_then(|progress| progress.message).unwrap_or_default();
        if !std::io::stdout().is_terminal() {
            // A line for each second.
            if self.ticks.is_multiple_of(10) {
                let percent = fraction.map_or_else(|| "waiting".to_owned(), |fraction| fraction.to_string());
                println!("  {percent} {message}");
            }
            return;
        }
        let bar: String = match fraction {
            Some(fraction) => {
                let filled = (fraction.as_f64() * Self::WIDTH as f64).round() as usize;
                (0..Self::WIDTH)
                    .map(|at| if at < filled { '#' } else { '-' })
                    .collect()
            }
            None => {
                let place = self.ticks % (2 * Self::WIDTH - 2);
                let place = place.min(2 * Self::WIDTH - 2 - place);
                (0..Self::WIDTH)
                    .map(|at| if at == place { 'o' } else { '-' })
                    .collect()
            }
        };
        self.line = format!("  [{bar}] {message:<20}");
        print!("\r{}", self.line);
        let _ = std::io::stdout().flush();
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            print!("\r{}\r", " ".repeat(self.line.len()));
        }
    }
}
