//! What enqueueing, claiming and settling take in each store, for one delivery of a batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::StatusCode;
use ringback::delivery::{AttemptReport, Call, Event, Limits, Outcome, Pacing, Target};
use ringback::store::{
    ClaimRequest, DeliveryStore, EncryptionKey, MemoryStore, NewDelivery, NewEvent, Next, PostgresStore,
    Settlement, SqliteStore,
};
use ringback::system::{SystemClock, SystemEntropy};
use ringback::time::Clock;
use ringback::url::WebhookUrl;
use tokio_postgres::NoTls;

use crate::contest::median;
use crate::{AnyError, Row};

const BATCH: usize = 64;
const PAYLOAD: usize = 1024;
const LANES: usize = 16;

pub(crate) async fn claim_and_settle(rounds: usize) -> Result<Vec<Row>, AnyError> {
    let mut rows = measure("memory", &MemoryStore::new(), rounds).await?;
    let key = EncryptionKey::generate(&SystemEntropy);
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("speed.db"), key.clone())?;
    rows.extend(measure("SQLite", &store, rounds).await?);
    if let Ok(url) = std::env::var("RINGBACK_POSTGRES_URL") {
        let config: tokio_postgres::Config = url.parse()?;
        let schema = format!("ringback_speed_{}", std::process::id());
        let store = PostgresStore::builder()
            .schema(schema.parse()?)
            .connect(config.clone(), NoTls, key)
            .await?;
        let measured = measure("PostgreSQL", &store, rounds).await;
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        client
            .batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE"))
            .await?;
        rows.extend(measured?);
    }
    Ok(rows)
}

async fn measure(who: &str, store: &impl DeliveryStore, rounds: usize) -> Result<Vec<Row>, AnyError> {
    let calls = (0..LANES).map(call).collect::<Result<Vec<_>, _>>()?;
    let mut times = [(); 3].map(|()| Vec::with_capacity(rounds));
    for round in 0..rounds {
        let events = (0..BATCH)
            .map(|n| new_event(round * BATCH + n, calls.get(n % LANES)))
            .collect::<Result<Vec<_>, _>>()?;
        let now = SystemClock.now();
        let start = Instant::now();
        store.enqueue(events, now).await?;
        let enqueued = Instant::now();
        let request = ClaimRequest {
            holder: "speed".into(),
            now,
            lease: Duration::from_secs(60),
            max: BATCH,
        };
        let claimed = store.claim(request).await?;
        let claimed_at = Instant::now();
        if claimed.len() != BATCH {
            return Err(format!("{} of {BATCH} claimed", claimed.len()).into());
        }
        let settlements = claimed.into_iter().map(|claimed| Settlement {
            id: claimed.id,
            fence: claimed.fence,
            attempt: Some(report(now)),
            next: Next::Delivered,
            pacing: Pacing::Gain,
        });
        store.settle(settlements.collect(), now).await?;
        let spans = [enqueued - start, claimed_at - enqueued, claimed_at.elapsed()];
        for (times, span) in times.iter_mut().zip(spans) {
            times.push(span.as_nanos() as f64 / BATCH as f64);
        }
    }
    let works = ["enqueue, each of 64", "claim, each of 64", "settle, each of 64"];
    Ok(works
        .into_iter()
        .zip(times)
        .map(|(work, times)| Row {
            work,
            bytes: Some(PAYLOAD),
            who: who.to_owned(),
            nanos: median(times),
            ratio: None,
        })
        .collect())
}

fn call(number: usize) -> Result<Call, AnyError> {
    Ok(Call {
        url: WebhookUrl::parse(&format!("https://host-{number}.example.com/hook"))?,
        profile: "plain".into(),
        auth: None,
        limits: Limits {
            in_flight: std::num::NonZeroU32::MAX,
            ..Limits::default()
        },
    })
}

fn new_event(number: usize, call: Option<&Call>) -> Result<NewEvent, AnyError> {
    let body = Bytes::from(vec![b'x'; PAYLOAD]);
    let event = Event::builder("speed", number.to_string(), "measured")
        .json(body)
        .build()?;
    let deliveries = call.map(|call| NewDelivery {
        target: Target::Call(call.clone()),
        body: None,
    });
    Ok(NewEvent {
        event: Arc::new(event),
        deliveries: deliveries.into_iter().collect(),
    })
}

fn report(now: DateTime<Utc>) -> AttemptReport {
    AttemptReport {
        started_at: now,
        duration: Duration::from_millis(1),
        outcome: Outcome::Answered(StatusCode::OK),
        excerpt: Bytes::new(),
    }
}
