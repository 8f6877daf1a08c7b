//! webhooksmith: events into its store, its worker, a receiver that verifies its signatures.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use webhooksmith::{SqliteEngine, WebhookEngine};

use crate::AnyError;
use crate::deliveries::{BATCH, IN_FLIGHT, PAYLOAD, WEBHOOKS};
use crate::receiver::Receiver;

const SECRET: &str = "the secret of every webhook here";

/// One engine for each kind of store, alike in all but type.
enum Engine {
    Sqlite(SqliteEngine),
    Postgres(WebhookEngine),
}

macro_rules! with {
    ($engine:ident in $either:expr, $do:expr) => {
        match $either {
            Engine::Sqlite($engine) => $do,
            Engine::Postgres($engine) => $do,
        }
    };
}

/// Deliveries a second from memory.
pub(crate) async fn from_memory(deliveries: usize) -> Result<f64, AnyError> {
    deliver(sqlite("sqlite::memory:").await?, deliveries).await
}

/// Deliveries a second from a file in that folder.
pub(crate) async fn from_sqlite(folder: &Path, deliveries: usize) -> Result<f64, AnyError> {
    let url = format!("sqlite:{}?mode=rwc", folder.join("smith.db").display());
    deliver(sqlite(&url).await?, deliveries).await
}

/// Deliveries a second from a schema of its own, which is dropped in the end.
pub(crate) async fn from_postgres(url: &str, deliveries: usize) -> Result<f64, AnyError> {
    let schema = format!("webhooksmith_peer_{}", std::process::id());
    let options = url
        .parse::<PgConnectOptions>()?
        .options([("search_path", &schema)]);
    // As many connections as deliveries at once, as its documentation advises for the most throughput.
    let pool = PgPoolOptions::new()
        .max_connections(IN_FLIGHT)
        .connect_with(options)
        .await?;
    let (create, drop) = (
        format!("CREATE SCHEMA {schema}"),
        format!("DROP SCHEMA {schema} CASCADE"),
    );
    sqlx::raw_sql(&create).execute(&pool).await?;
    let builder = WebhookEngine::builder().pool(pool.clone());
    let engine = builder
        .batch_size(i64::from(IN_FLIGHT))
        .allow_insecure_urls()
        .build()
        .await?;
    let per_second = deliver(Engine::Postgres(engine), deliveries).await;
    sqlx::raw_sql(&drop).execute(&pool).await?;
    per_second
}

async fn sqlite(url: &str) -> Result<Engine, AnyError> {
    let builder = SqliteEngine::builder().database_url(url);
    Ok(Engine::Sqlite(builder.allow_insecure_urls().build().await?))
}

async fn deliver(engine: Engine, deliveries: usize) -> Result<f64, AnyError> {
    let engine = Arc::new(engine);
    with!(engine in &*engine, engine.migrate().await?);
    let receiver = Receiver::start(deliveries, Box::new(check)).await?;
    let url = format!("http://{}/hooks/peers", receiver.address);
    let mut endpoints = Vec::new();
    for _ in 0..WEBHOOKS {
        let endpoint = with!(engine in &*engine, engine.register(&url, SECRET).await?);
        endpoints.push(endpoint.id);
    }
    let enqueue = {
        let engine = Arc::clone(&engine);
        async move |first: usize| -> Result<(), AnyError> {
            let last = (first + BATCH).min(deliveries);
            with!(engine in &*engine, {
                let mut transaction = engine.pool().begin().await?;
                for number in first..last {
                    let endpoint = endpoints[number % WEBHOOKS];
                    engine.send_in_tx("measured", event(number), endpoint, &mut transaction).await?;
                }
                transaction.commit().await?;
            });
            Ok(())
        }
    };
    let start = Instant::now();
    // The worker begins once there is something to do: it would sleep for half a second otherwise.
    enqueue(0).await?;
    let enqueueing = tokio::spawn(async move {
        for first in (BATCH..deliveries).step_by(BATCH) {
            enqueue(first).await?;
        }
        Ok::<_, AnyError>(())
    });
    // Asked after each batch, which the worker finishes before it stops.
    let all_received = poll_fn(|_| match receiver.distinct() < deliveries {
        true => Poll::Pending,
        false => Poll::Ready(()),
    });
    with!(engine in &*engine, engine.run_graceful(all_received).await);
    let took = start.elapsed();
    enqueueing.await??;
    let stats = with!(engine in &*engine, engine.queue_stats().await?);
    match usize::try_from(stats.delivered) {
        Ok(delivered) if delivered == deliveries && receiver.verified() == deliveries => {
            Ok(deliveries as f64 / took.as_secs_f64())
        }
        _ => Err(format!("{} received, {stats:?}", receiver.verified()).into()),
    }
}

fn event(number: usize) -> serde_json::Value {
    let id = format!("{number:016}");
    let rest = json!({ "id": id, "data": "" }).to_string().len();
    json!({ "id": id, "data": "x".repeat(PAYLOAD.saturating_sub(rest)) })
}

/// What the receiver asks of each request. The id is anywhere in the body: the fields come as the store orders them.
fn check(request: &Request<Bytes>) -> Result<usize, StatusCode> {
    #[derive(Deserialize)]
    struct Numbered<'a> {
        id: &'a str,
    }

    let header = |name| request.headers().get(name)?.to_str().ok();
    let (timestamp, signature) = header("x-hooksmith-timestamp")
        .and_then(|timestamp| timestamp.parse().ok())
        .zip(header("x-hooksmith-signature"))
        .ok_or(StatusCode::UNAUTHORIZED)?;
    if !webhooksmith::signing::verify(SECRET, timestamp, request.body(), signature) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    serde_json::from_slice(request.body())
        .ok()
        .and_then(|Numbered { id }| id.parse().ok())
        .ok_or(StatusCode::UNPROCESSABLE_ENTITY)
}
