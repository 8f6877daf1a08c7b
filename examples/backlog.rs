//! Does a claim get slower, or the process larger, as deliveries pile up? Fills two SQLite files, one with ten
//! thousand waiting deliveries and one with a million, claims and settles in batches from both in turn, and prints the
//! median times, their ratio and the process's resident memory.
//!
//! ```text
//! cargo run --release --example backlog -- [--small N] [--large N] [--claims N]
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;
use http::Response;
use ringback::delivery::{AttemptReport, Event, Outcome, Pacing, PlainProfile};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::{ClaimRequest, DeliveryStore, EncryptionKey, Next, Settlement, SqliteStore};
use ringback::system::{SystemClock, SystemEntropy};
use ringback::time::Clock;
use ringback::transport::sender_fn;

type AnyError = Box<dyn Error + Send + Sync>;

const BATCH: usize = 64;
const WEBHOOKS: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let (small, large, claims) = arguments()?;
    let folder = tempfile::tempdir()?;
    let key = EncryptionKey::generate(&SystemEntropy);
    let few = SqliteStore::open(folder.path().join("few.db"), key.clone())?;
    let many = SqliteStore::open(folder.path().join("many.db"), key)?;
    for (store, deliveries) in [(&few, small), (&many, large)] {
        let start = Instant::now();
        fill(store, deliveries).await?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{deliveries} enqueued in {seconds:.1} s; resident memory {} MB",
            resident_mb()
        );
    }

    let (mut from_few, mut from_many) = (Vec::new(), Vec::new());
    for _ in 0..claims {
        from_few.push(claim_and_settle(&few).await?);
        from_many.push(claim_and_settle(&many).await?);
    }
    let (few, many) = (median(from_few), median(from_many));
    println!("claim of {BATCH}, {small} waiting:\t{few:?}");
    println!("claim of {BATCH}, {large} waiting:\t{many:?}");
    println!(
        "ratio: {:.2}; resident memory {} MB",
        many.as_secs_f64() / few.as_secs_f64(),
        resident_mb()
    );
    Ok(())
}

async fn fill(store: &SqliteStore, deliveries: usize) -> Result<(), AnyError> {
    let nowhere = sender_fn(|_| async { Ok(Response::new(Bytes::new())) });
    let engine = Engine::builder(store.clone(), nowhere, TokioTimer)
        .profile(PlainProfile::new("plain", Schedule::never()))
        .build();
    let dispatcher = engine.dispatcher();
    for webhook in 0..WEBHOOKS {
        let url = format!("https://host-{webhook}.example.com/hook");
        dispatcher
            .register(Registration::new("s", url, "plain").events([format!("type-{webhook}")]))
            .await?;
    }
    let body = Bytes::from(vec![b' '; 1024]);
    let mut left = 0..deliveries;
    loop {
        let batch: Vec<_> = left
            .by_ref()
            .take(1000)
            .map(|n| {
                Event::builder("s", n.to_string(), format!("type-{}", n % WEBHOOKS))
                    .json(body.clone())
                    .build()
            })
            .collect::<Result<_, _>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        dispatcher.enqueue_all(batch).await?;
    }
}

/// The time of the claim; the settlement is there so that the next claim finds other deliveries.
async fn claim_and_settle(store: &SqliteStore) -> Result<Duration, AnyError> {
    let request = ClaimRequest {
        holder: "backlog".into(),
        now: SystemClock.now(),
        lease: Duration::from_secs(60),
        max: BATCH,
    };
    let start = Instant::now();
    let claimed = store.claim(request).await?;
    let took = start.elapsed();
    let attempt = AttemptReport {
        started_at: DateTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        outcome: Outcome::TimedOut,
        excerpt: Bytes::new(),
    };
    let settlements = claimed
        .into_iter()
        .map(|c| Settlement {
            id: c.id,
            fence: c.fence,
            attempt: Some(attempt.clone()),
            next: Next::Delivered,
            pacing: Pacing::Gain,
        })
        .collect();
    store.settle(settlements, SystemClock.now()).await?;
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What Linux says of this process; 0 elsewhere.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .unwrap_or_default()
        / 1024
}

fn arguments() -> Result<(usize, usize, usize), AnyError> {
    let (mut small, mut large, mut claims) = (10_000, 1_000_000, 100);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value: usize = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?
            .parse()?;
        match name.as_str() {
            "--small" => small = value,
            "--large" => large = value,
            "--claims" => claims = value.max(1),
            _ => return Err(format!("unknown: {name}").into()),
        }
    }
    Ok((small, large, claims))
}
