//! Does a page of history stay quick, and does removing a day of it keep a claim waiting? Builds an SQLite file with a
//! month of attempts over a hundred webhooks, asks for pages by every filter at the beginning, in the middle and at the
//! end, in both directions, and prints the median and the longest time. Then removes the oldest day while deliveries are
//! claimed and settled, and prints how long a claim had to wait at most, beside how long it has to without.
//!
//! ```text
//! cargo run --release --example history_bench -- [--attempts N] [--folder PATH]
//! ```

mod load;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use ringback::delivery::{
    AttemptReport, Cursor, Direction, Event, HistoryQuery, Outcome, OutcomeClass, Pacing, PagePosition,
    Retention,
};
use ringback::id::DeliveryId;
use ringback::store::encryption::EncryptionKeys;
use ringback::store::{
    ClaimRequest, DeliveryStore, Enqueued, Inspect, NewDelivery, NewEvent, Next, Purged, Settlement,
    SqliteStore,
};

type AnyError = Box<dyn Error + Send + Sync>;

/// How many pages of each kind are asked for.
const PAGES: i64 = 24;

/// What the engine's upkeep removes in a step, and how long it rests between two.
const STEP: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let (attempts, folder) = arguments()?;
    let temporary = tempfile::tempdir()?;
    let path = folder.as_deref().unwrap_or(temporary.path()).join("history.db");
    let start = Instant::now();
    let month = load::fill(&path, attempts).await?;
    println!(
        "{attempts} attempts in {:.0} s, {} MB",
        start.elapsed().as_secs_f64(),
        std::fs::metadata(&path)?.len() >> 20
    );
    let store = SqliteStore::open(&path, EncryptionKeys::dangerous_plaintext())?;
    println!("\npages of 100\tmedian\tlongest\tshortest page");
    for (name, query) in queries(&month) {
        time_pages(&store, name, query, month.attempts).await?;
    }
    let alone = claims(&store, month.end, 500).await?;
    println!("\nclaims without purging: {alone}");
    purge_a_day(&store, &month).await
}

/// What was loaded.
pub(crate) struct Month {
    attempts: i64,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

fn queries(month: &Month) -> Vec<(&'static str, HistoryQuery)> {
    let all = HistoryQuery::default;
    let outcome = |class| HistoryQuery {
        outcome: Some(class),
        ..all()
    };
    let status = |status| outcome(OutcomeClass::status(status));
    let webhook = |id: &str| HistoryQuery {
        webhook: Some(id.into()),
        ..all()
    };
    let kind = |kind: &str| HistoryQuery {
        kind: Some(kind.into()),
        ..all()
    };
    let middle = month.start + (month.end - month.start) / 2;
    let hour = HistoryQuery {
        since: Some(middle),
        until: Some(middle + TimeDelta::hours(1)),
        ..all()
    };
    vec![
        ("everything", all()),
        (
            "… with bodies",
            HistoryQuery {
                bodies: true,
                ..all()
            },
        ),
        ("webhook", webhook("w7")),
        ("webhook, rare", webhook("w99")),
        (
            "scope",
            HistoryQuery {
                scope: Some("s3".into()),
                ..all()
            },
        ),
        ("type", kind("kind-5")),
        ("type, rare", kind("kind-15")),
        ("status 200", status(StatusCode::OK)),
        ("status 503", status(StatusCode::SERVICE_UNAVAILABLE)),
        ("status 410, rare", status(StatusCode::GONE)),
        ("4xx", outcome(OutcomeClass::Hundred(4))),
        ("failed", outcome(OutcomeClass::Failed)),
        ("unanswered", outcome(OutcomeClass::Unanswered)),
        ("an hour", hour.clone()),
        (
            "delivery",
            HistoryQuery {
                delivery: Some(DeliveryId(month.attempts / 2)),
                ..all()
            },
        ),
        (
            "webhook and status",
            HistoryQuery {
                webhook: Some("w7".into()),
                ..status(StatusCode::SERVICE_UNAVAILABLE)
            },
        ),
        (
            "webhook and type",
            HistoryQuery {
                webhook: Some("w7".into()),
                ..kind("kind-5")
            },
        ),
        (
            "webhook and rare status",
            HistoryQuery {
                webhook: Some("w7".into()),
                ..status(StatusCode::GONE)
            },
        ),
        (
            "webhook in an hour",
            HistoryQuery {
                webhook: Some("w7".into()),
                ..hour
            },
        ),
    ]
}

async fn time_pages(
    store: &SqliteStore,
    name: &str,
    query: HistoryQuery,
    attempts: i64,
) -> Result<(), AnyError> {
    let mut times = Vec::new();
    let mut shortest = usize::MAX;
    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
        let places = (1..PAGES).map(|at| Cursor::at(attempts / PAGES * at));
        let middle = places.flat_map(|cursor| [PagePosition::After(cursor), PagePosition::Before(cursor)]);
        for page in std::iter::once(PagePosition::Start).chain(middle) {
            let query = HistoryQuery {
                direction,
                page,
                ..query.clone()
            };
            let start = Instant::now();
            let page = store.history(query).await?;
            times.push(start.elapsed());
            if page.has_more {
                shortest = shortest.min(page.entries.len());
            }
        }
    }
    let shortest = match shortest {
        usize::MAX => "the last".to_owned(),
        entries => entries.to_string(),
    };
    println!("{name}\t{}\t{shortest}", Times(times));
    Ok(())
}

async fn purge_a_day(store: &SqliteStore, month: &Month) -> Result<(), AnyError> {
    let retention = Retention {
        history: Duration::from_secs(29 * 24 * 60 * 60),
        ..Retention::default()
    };
    let start = Instant::now();
    let purging = async {
        let mut all = Purged::default();
        let mut steps = Vec::new();
        loop {
            let start = Instant::now();
            let step = store.purge(&retention, STEP, month.end).await?;
            steps.push(start.elapsed());
            all.bodies += step.bodies;
            all.attempts += step.attempts;
            all.deliveries += step.deliveries;
            all.events += step.events;
            all.figures += step.figures;
            if step.is_done {
                return Ok::<_, AnyError>((all, Times(steps)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let claiming = claims(store, month.end, usize::MAX);
    let (all, steps, waits) = {
        let mut claiming = std::pin::pin!(claiming);
        let mut waits = Vec::new();
        let purged = tokio::select! {
            purged = purging => purged?,
            claimed = &mut claiming => return Err(format!("claims ended: {:?}", claimed.err()).into()),
        };
        WAITS.with_borrow_mut(|noted| waits.append(noted));
        (purged.0, purged.1, waits)
    };
    let seconds = start.elapsed().as_secs_f64();
    println!("purged in {seconds:.0} s: {all:?}");
    println!("steps of {STEP}: {steps}");
    println!("claims meanwhile: {}", Times(waits));
    Ok(())
}

thread_local! {
    /// How long claims took so far, for whoever stops listening to [`claims`].
    static WAITS: std::cell::RefCell<Vec<Duration>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Enqueues, claims and settles so many times, a few milliseconds apart. How long the claims took.
async fn claims(store: &SqliteStore, now: DateTime<Utc>, rounds: usize) -> Result<Times, AnyError> {
    let mut number = 0_u64;
    let mut waits = Vec::new();
    for _ in 0..rounds {
        let events = (0..8).map(|_| {
            number += 1;
            let id = format!("new {rounds} {number}");
            let event = Event::builder("s7", id, "kind-1").json("{}").build();
            event.map(|event| NewEvent {
                event: event.into(),
                deliveries: vec![NewDelivery {
                    target: ringback::delivery::Target::Webhook("w7".into()),
                    body: None,
                }],
            })
        });
        let enqueued = store.enqueue(events.collect::<Result<_, _>>()?, now).await?;
        let is_new = enqueued.iter().all(|answer| matches!(answer, Enqueued::Fresh(_)));
        assert!(is_new, "{enqueued:?}");
        let request = ClaimRequest {
            holder: "bench".into(),
            now,
            lease: Duration::from_secs(60),
            max: 8,
        };
        let start = Instant::now();
        let claimed = store.claim(request).await?;
        let wait = start.elapsed();
        waits.push(wait);
        WAITS.with_borrow_mut(|noted| noted.push(wait));
        let settlements = claimed.into_iter().map(|claimed| Settlement {
            id: claimed.id,
            fence: claimed.fence,
            attempt: Some(AttemptReport {
                started_at: now,
                duration: Duration::from_millis(80),
                outcome: Outcome::Answered(StatusCode::OK),
                excerpt: Bytes::new(),
            }),
            next: Next::Delivered,
            pacing: Pacing::Gain,
        });
        store.settle(settlements.collect(), now).await?;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    WAITS.with_borrow_mut(Vec::clear);
    Ok(Times(waits))
}

struct Times(Vec<Duration>);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut times = self.0.clone();
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let longest = times.last().copied().unwrap_or_default();
        write!(f, "{median:.1?}\t{longest:.1?}")
    }
}

fn arguments() -> Result<(i64, Option<PathBuf>), AnyError> {
    let (mut attempts, mut folder) = (100_000, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--attempts" => attempts = value.parse()?,
            "--folder" => folder = Some(PathBuf::from(value)),
            _ => return Err(format!("unknown: {name}").into()),
        }
    }
    Ok((attempts, folder))
}
