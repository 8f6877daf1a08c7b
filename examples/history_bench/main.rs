//! Does a page of history stay quick, and does removing a day of it keep a claim waiting? Builds an SQLite file with a
//! month of attempts over a hundred webhooks, asks for pages by every filter at the beginning, in the middle and at the
//! end, in both directions, and prints how long they took. Then removes the oldest day while deliveries are enqueued,
//! claimed and settled, and prints how long claims had to wait, beside how long they have to without.
//!
//! ```text
//! cargo run --release --example history_bench -- [--attempts N] [--folder PATH] [--pages-only | --purge-only]
//! ```
//!
//! With a folder, the file is kept there, and one that is there already is used: each time it has a day less.

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
use ringback::system::SystemClock;
use ringback::time::Clock;

type AnyError = Box<dyn Error + Send + Sync>;

/// How many pages of each kind are asked for.
const PAGES: i64 = 24;

/// What the engine's upkeep removes in a step, and how long it rests between two.
const STEP: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

/// How many claims are timed without purging.
const ROUNDS: usize = 2000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let options = Options::parse(std::env::args().skip(1))?;
    let temporary = tempfile::tempdir()?;
    let path = options.folder.as_deref().unwrap_or(temporary.path());
    let path = path.join("history.db");
    if !path.exists() {
        let start = Instant::now();
        let unfinished = path.with_extension("unfinished");
        load::fill(&unfinished, options.attempts).await?;
        std::fs::rename(unfinished, &path)?;
        println!("loaded in {:.0} s", start.elapsed().as_secs_f64());
    }
    let month = load::month(&path)?;
    let megabytes = std::fs::metadata(&path)?.len() >> 20;
    println!("{} attempts, {megabytes} MB", month.last - month.first + 1);
    let store = SqliteStore::open(&path, EncryptionKeys::dangerous_plaintext())?;
    if options.pages {
        println!("\npages of 100\t{}\tshortest page\tload {}", Times::HEAD, load());
        for (name, query) in queries(&month) {
            time_pages(&store, name, query, &month).await?;
        }
    }
    if options.purge {
        purge_a_day(&store, &month).await?;
    }
    Ok(())
}

/// What the file holds: the positions of the first and the last attempt, and when these were.
pub(crate) struct Month {
    first: i64,
    last: i64,
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
                delivery: Some(DeliveryId(month.first.midpoint(month.last) * 4 / 5)),
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
    month: &Month,
) -> Result<(), AnyError> {
    let mut times = Vec::new();
    let mut shortest = usize::MAX;
    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
        let apart = (month.last - month.first) / PAGES;
        let places = (1..PAGES).map(|at| Cursor::at(month.first + apart * at));
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
    println!("\n\t{}\tload", Times::HEAD);
    let mut alone = Vec::new();
    deliver(store, month.end, ROUNDS, &mut alone).await?;
    println!("claims without purging\t{}\t{}", Times(alone), load());
    let a_day_less = (month.end - month.start - TimeDelta::days(1)).to_std()?;
    let retention = Retention {
        history: a_day_less,
        ..Retention::default()
    };
    let start = Instant::now();
    let (mut all, mut steps, mut waits) = (Purged::default(), Vec::new(), Vec::new());
    let purging = async {
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
                return Ok::<_, AnyError>(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        purged = purging => purged?,
        delivered = deliver(store, month.end, usize::MAX, &mut waits) => delivered?,
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("claims while purging\t{}\t{}", Times(waits), load());
    println!("steps of {STEP}\t{}", Times(steps));
    println!("purged in {seconds:.0} s: {all:?}");
    Ok(())
}

/// Enqueues, claims and settles so many times, a few milliseconds apart. Notes how long each claim took.
async fn deliver(
    store: &SqliteStore,
    now: DateTime<Utc>,
    rounds: usize,
    waits: &mut Vec<Duration>,
) -> Result<(), AnyError> {
    let batch = SystemClock.now().timestamp_micros();
    let mut number = 0_u64;
    for _ in 0..rounds {
        let events = (0..8).map(|_| {
            number += 1;
            let event = Event::builder("s7", format!("new {batch} {number}"), "kind-1").json("{}");
            event.build().map(|event| NewEvent {
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
        waits.push(start.elapsed());
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
    Ok(())
}

struct Times(Vec<Duration>);

impl Times {
    const HEAD: &str = "median\tp99\tlongest";
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut times = self.0.clone();
        times.sort();
        let at = |part: usize| times.get(part).copied().unwrap_or_default();
        let (median, p99) = (at(times.len() / 2), at(times.len() * 99 / 100));
        let longest = at(times.len().saturating_sub(1));
        write!(f, "{median:.1?}\t{p99:.1?}\t{longest:.1?}")
    }
}

/// How busy the machine is with other things as well, where it says so: what is slow because of that is not ours.
fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split(' ').next().unwrap_or("unknown").to_owned()
}

struct Options {
    attempts: i64,
    folder: Option<PathBuf>,
    pages: bool,
    purge: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, AnyError> {
        let mut options = Self {
            attempts: 100_000,
            folder: None,
            pages: true,
            purge: true,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--attempts" => options.attempts = value()?.parse()?,
                "--folder" => options.folder = Some(PathBuf::from(value()?)),
                "--pages-only" => options.purge = false,
                "--purge-only" => options.pages = false,
                _ => return Err(format!("unknown: {name}").into()),
            }
        }
        Ok(options)
    }
}
