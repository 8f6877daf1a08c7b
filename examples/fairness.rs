//! One webhook hangs on every attempt, another has 100,000 deliveries waiting: how much longer do the other 98, with
//! 1,000 waiting each, take than without the two? Alternating pairs in one process; prints each ratio and the median.
//!
//! ```text
//! cargo run --release --example fairness -- [--store memory|sqlite] [--pairs N] [--each N] [--backlog N]
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use ringback::delivery::{Event, PlainProfile};
use ringback::engine::{Dispatcher, Engine, EngineBuilder, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::{EncryptionKey, MemoryStore, SqliteStore};
use ringback::system::SystemEntropy;
use ringback::transport::{HttpSender, sender_fn};
use tokio::sync::Notify;

type AnyError = Box<dyn Error + Send + Sync>;

const HEALTHY: usize = 98;

struct Settings {
    store: String,
    pairs: usize,
    each: usize,
    backlog: usize,
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let settings = arguments()?;
    println!(
        "{HEALTHY} webhooks with {} waiting each, {} store",
        settings.each, settings.store
    );
    println!("pair\talone (s)\twith the two (s)\tratio");
    let mut ratios = Vec::new();
    for pair in 1..=settings.pairs {
        // Each comes first in turn, so that a machine that gets slower or faster favours neither.
        let with_the_two_first = pair % 2 == 0;
        let first = run(&settings, with_the_two_first).await?.as_secs_f64();
        let second = run(&settings, !with_the_two_first).await?.as_secs_f64();
        let (alone, beside) = if with_the_two_first {
            (second, first)
        } else {
            (first, second)
        };
        println!("{pair}\t{alone:.3}\t{beside:.3}\t{:.3}", beside / alone);
        ratios.push(beside / alone);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio: {:.3}", ratios[ratios.len() / 2]);
    Ok(())
}

/// The time until everything of the 98 is accepted.
async fn run(settings: &Settings, with_the_two: bool) -> Result<Duration, AnyError> {
    let accepted = Arc::new(AtomicUsize::new(0));
    let all = Arc::new(Notify::new());
    let (sender, expected) = (receivers(&accepted, &all, settings), HEALTHY * settings.each);
    let folder = tempfile::tempdir()?;
    let engine = match settings.store.as_str() {
        "sqlite" => with_profile(Engine::builder(
            SqliteStore::open(
                folder.path().join("fairness.db"),
                EncryptionKey::generate(&SystemEntropy),
            )?,
            sender,
            TokioTimer,
        )),
        _ => with_profile(Engine::builder(MemoryStore::new(), sender, TokioTimer)),
    };
    let dispatcher = engine.dispatcher();
    for number in 0..HEALTHY {
        fill(&dispatcher, &format!("healthy-{number}"), settings.each).await?;
    }
    if with_the_two {
        fill(&dispatcher, "hangs", settings.each).await?;
        fill(&dispatcher, "backlog", settings.backlog).await?;
    }

    let start = Instant::now();
    let worker = engine.worker();
    let work = worker.run();
    tokio::select! {
        stopped = work => stopped?,
        () = all.notified() => {}
    }
    let took = start.elapsed();
    assert_eq!(accepted.load(Ordering::Relaxed), expected);
    Ok(took)
}

/// Receivers that answer at once, but for the one that hangs. They count what the healthy ones accept.
fn receivers(accepted: &Arc<AtomicUsize>, all: &Arc<Notify>, settings: &Settings) -> impl HttpSender + use<> {
    let (accepted, all, expected) = (Arc::clone(accepted), Arc::clone(all), HEALTHY * settings.each);
    sender_fn(move |request: Request<Bytes>| {
        let (accepted, all) = (Arc::clone(&accepted), Arc::clone(&all));
        async move {
            let host = request.uri().host().unwrap_or_default();
            if host.starts_with("hangs") {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            if host.starts_with("healthy") && accepted.fetch_add(1, Ordering::Relaxed) + 1 == expected {
                all.notify_one();
            }
            Ok(Response::new(Bytes::new()))
        }
    })
}

fn with_profile(builder: EngineBuilder) -> Engine {
    builder
        .profile(PlainProfile::new("plain", Schedule::standard_webhooks()))
        .build()
}

async fn fill(dispatcher: &Dispatcher, name: &str, deliveries: usize) -> Result<(), AnyError> {
    let url = format!("https://{name}.example.com/hook");
    dispatcher.register(Registration::new(name, url, "plain")).await?;
    let mut left = 0..deliveries;
    loop {
        let batch: Vec<_> = left
            .by_ref()
            .take(1000)
            .map(|number| {
                Event::builder(name, number.to_string(), "tick")
                    .json("{}")
                    .build()
            })
            .collect::<Result<_, _>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        dispatcher.enqueue_all(batch).await?;
    }
}

fn arguments() -> Result<Settings, AnyError> {
    let mut settings = Settings {
        store: "memory".to_owned(),
        pairs: 5,
        each: 1_000,
        backlog: 100_000,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--store" if ["memory", "sqlite"].contains(&value.as_str()) => settings.store = value,
            "--pairs" => settings.pairs = value.parse::<usize>()?.max(1),
            "--each" => settings.each = value.parse()?,
            "--backlog" => settings.backlog = value.parse()?,
            _ => return Err(format!("unknown: {name} {value}").into()),
        }
    }
    Ok(settings)
}
