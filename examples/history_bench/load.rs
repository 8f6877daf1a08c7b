//! A month of attempts, written straight into the store's tables: through its methods it would take hours.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{Response, StatusCode};
use ringback::delivery::{AttemptReport, Event, Outcome, Pacing, PlainProfile, SendFailure, Target};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::encryption::EncryptionKeys;
use ringback::store::{ClaimRequest, DeliveryStore, NewDelivery, NewEvent, Next, Settlement, SqliteStore};
use ringback::system::SystemClock;
use ringback::time::Clock;
use ringback::transport::sender_fn;
use rusqlite::{Connection, params};

use super::{AnyError, Month};

const WEBHOOKS: i64 = 100;
const SCOPES: i64 = 20;
const KINDS: i64 = 16;

/// One delivery in four has two attempts.
fn delivery_of(attempt: i64) -> i64 {
    attempt * 4 / 5
}

/// What is in a file that was filled.
pub(super) fn month(path: &Path) -> Result<Month, AnyError> {
    let conn = Connection::open(path)?;
    let (first, last) = conn.query_row("SELECT min(seq), max(seq) FROM attempts", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let recorded_at = |seq: i64| -> Result<DateTime<Utc>, AnyError> {
        let sql = "SELECT recorded_at FROM attempts WHERE seq = ?1";
        let micros = conn.query_row(sql, [seq], |row| row.get(0))?;
        Ok(DateTime::from_timestamp_micros(micros).ok_or("an instant is none")?)
    };
    Ok(Month {
        first,
        last,
        start: recorded_at(first)?,
        end: recorded_at(last)?,
    })
}

pub(super) async fn fill(path: &Path, attempts: i64) -> Result<(), AnyError> {
    let end = SystemClock.now();
    let month = Planned {
        attempts,
        start: end - TimeDelta::days(30),
        end,
    };
    templates(path, &month).await?;
    let mut conn = Connection::open(path)?;
    conn.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000")?;
    let indexes = drop_indexes(&conn)?;
    insert_all(&mut conn, &month)?;
    file_all(&conn)?;
    for index in indexes {
        conn.execute_batch(&index)?;
    }
    Ok(())
}

/// What a file is filled with.
struct Planned {
    attempts: i64,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

/// Every webhook with one delivery of each type, and every outcome: rows to copy from, through the store itself.
async fn templates(path: &Path, month: &Planned) -> Result<(), AnyError> {
    let store = SqliteStore::open(path, EncryptionKeys::dangerous_plaintext())?;
    let nowhere = sender_fn(|_| async { Ok(Response::new(Bytes::new())) });
    let engine = Engine::builder(store.clone(), nowhere, TokioTimer)
        .profile(PlainProfile::new("plain", Schedule::never()))
        .build();
    for webhook in 0..WEBHOOKS {
        let url = format!("https://w{webhook}.example.com/hook");
        let registration = Registration::new(scope_of(webhook), url, "plain").id(format!("w{webhook}"));
        engine.dispatcher().register(registration.events(["*"])).await?;
    }
    let events = (0..WEBHOOKS).flat_map(|webhook| (0..KINDS).map(move |kind| (webhook, kind)));
    let events = events.map(|(webhook, kind)| {
        let body = format!("{{\"id\":{webhook},\"text\":\"{}\"}}", "x".repeat(200));
        let event = Event::builder(
            scope_of(webhook),
            format!("template {webhook} {kind}"),
            format!("kind-{kind}"),
        );
        let event = event.json(body).build()?;
        Ok::<_, AnyError>(NewEvent {
            event: event.into(),
            deliveries: vec![NewDelivery {
                target: Target::Webhook(format!("w{webhook}").into()),
                body: None,
            }],
        })
    });
    store
        .enqueue(events.collect::<Result<_, _>>()?, month.start)
        .await?;
    let outcomes = [
        Outcome::Answered(StatusCode::OK),
        Outcome::Answered(StatusCode::NO_CONTENT),
        Outcome::Answered(StatusCode::INTERNAL_SERVER_ERROR),
        Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE),
        Outcome::Answered(StatusCode::NOT_FOUND),
        Outcome::Answered(StatusCode::GONE),
        Outcome::TimedOut,
        Outcome::Failed(SendFailure::Connect),
    ];
    let mut next = outcomes.into_iter().cycle();
    loop {
        let request = ClaimRequest {
            holder: "load".into(),
            now: month.start,
            lease: Duration::from_secs(60),
            max: 500,
        };
        let claimed = store.claim(request).await?;
        if claimed.is_empty() {
            break;
        }
        let settlements = claimed.into_iter().map(|claimed| Settlement {
            id: claimed.id,
            fence: claimed.fence,
            attempt: Some(AttemptReport {
                started_at: month.start,
                duration: Duration::from_millis(80),
                outcome: next.next().unwrap_or(Outcome::TimedOut),
                excerpt: Bytes::from_static(b"<html><body>upstream unavailable</body></html>"),
            }),
            next: Next::Delivered,
            pacing: Pacing::Keep,
        });
        store.settle(settlements.collect(), month.start).await?;
    }
    store.close().await;
    Ok(())
}

fn scope_of(webhook: i64) -> String {
    format!("s{}", webhook % SCOPES)
}

/// Takes the indexes of the large tables away. How to make them again.
fn drop_indexes(conn: &Connection) -> Result<Vec<String>, AnyError> {
    let mut select = conn.prepare(
        "SELECT name, sql FROM sqlite_schema
         WHERE type = 'index' AND tbl_name IN ('events', 'deliveries') AND sql IS NOT NULL",
    )?;
    let indexes = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let indexes: Vec<(String, String)> = indexes.collect::<Result<_, _>>()?;
    for (name, _) in &indexes {
        conn.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    Ok(indexes.into_iter().map(|(_, sql)| sql).collect())
}

/// What deliveries of one webhook and type have in common.
struct Mix {
    scope_text: String,
    kind_text: String,
    lane: i64,
    webhook: i64,
    scope: i64,
    kind: i64,
}

fn insert_all(conn: &mut Connection, month: &Planned) -> Result<(), AnyError> {
    let Templates {
        rare,
        common,
        outcomes,
    } = Templates::read(conn)?;
    let first_delivery: i64 = conn.query_row("SELECT max(id) + 1 FROM deliveries", [], |row| row.get(0))?;
    let first_event: i64 = conn.query_row("SELECT max(id) + 1 FROM events", [], |row| row.get(0))?;
    let first_seq: i64 = conn.query_row("SELECT max(seq) + 1 FROM attempts", [], |row| row.get(0))?;
    let (media_type, fingerprint, body): (Vec<u8>, Vec<u8>, Vec<u8>) = conn.query_row(
        "SELECT media_type, fingerprint, body FROM events WHERE length(body) > 0 LIMIT 1",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let excerpt: Vec<u8> = conn.query_row("SELECT excerpt FROM attempts LIMIT 1", [], |row| row.get(0))?;
    let (start, end) = (month.start.timestamp_micros(), month.end.timestamp_micros());
    let bodies_until = (month.end - TimeDelta::days(7)).timestamp_micros();
    let tx = conn.transaction()?;
    {
        let mut events = tx.prepare(
            "INSERT INTO events (id, scope, event_id, kind, media_type, fingerprint, first_delivery, deliveries, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8)",
        )?;
        let mut deliveries = tx.prepare(
            "INSERT INTO deliveries (id, event, lane, state, reason, rank, due, fence, attempts, history,
                first_failure, interrupted, created_at, own, webhook, test, scope, kind, last_attempt, ended_at, purgeable)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?7, ?7, ?8, 0, ?6, 0, ?9, 0, ?10, ?11, ?12, ?13, ?14)",
        )?;
        let mut attempts = tx.prepare(
            "INSERT INTO attempts (seq, delivery, number, previous, webhook, test, scope, kind, outcome, accepted,
                recorded_at, started_at, duration, retry_at, excerpt)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9, ?10, ?11, 80000, ?12, ?13)",
        )?;
        for n in 0..month.attempts {
            let delivery = delivery_of(n);
            let luck = scramble(delivery);
            let mixes = if delivery % 10_007 == 0 { &rare } else { &common };
            let mix = &mixes[(luck % mixes.len() as u64) as usize];
            let at = start + (end - start) / month.attempts * n;
            let (is_retried, is_retry) = (n % 5 == 0, n % 5 == 1);
            let chance = scramble(n ^ 0x5eed) % 1_000_000;
            let outcome = match (is_retried, chance) {
                (true, 0..400_000) => "503",
                (true, 400_000..700_000) => "500",
                (true, 700_000..900_000) => "timed out",
                (true, _) => "no connection",
                (false, 0..2) => "410",
                (false, 2..10_000) => "404",
                (false, 10_000..40_000) => "204",
                (false, _) => "200",
            };
            let outcome_no = outcomes.get(outcome).ok_or("an outcome has no word")?;
            let accepted = outcome.starts_with('2');
            let seq = first_seq + n;
            attempts.execute(params![
                seq,
                first_delivery + delivery,
                1 + i64::from(is_retry),
                is_retry.then_some(seq - 1),
                mix.webhook,
                mix.scope,
                mix.kind,
                outcome_no,
                accepted,
                at,
                at - 80_000,
                is_retried.then_some(at + 60_000_000),
                excerpt,
            ])?;
            if is_retried {
                continue; // its delivery is written with its last attempt
            }
            let has_body = at >= bodies_until || !accepted;
            events.execute(params![
                first_event + delivery,
                mix.scope_text,
                format!("{luck:016x}-{delivery}"),
                mix.kind_text,
                media_type,
                fingerprint,
                first_delivery + delivery,
                if has_body { body.as_slice() } else { b"" },
            ])?;
            deliveries.execute(params![
                first_delivery + delivery,
                first_event + delivery,
                mix.lane,
                if accepted { "delivered" } else { "dead" },
                (!accepted).then_some("exhausted"),
                at - 80_000,
                1 + i64::from(is_retry),
                is_retry.then_some(at),
                mix.webhook,
                mix.scope,
                mix.kind,
                seq,
                at,
                if accepted && has_body { 1 } else { 2 },
            ])?;
        }
        let last_delivery = first_delivery + delivery_of(month.attempts - 1);
        tx.execute(
            "UPDATE counters SET value = ?1 WHERE name = 'delivery'",
            [last_delivery],
        )?;
        tx.execute(
            "UPDATE log SET last = ?1, recorded_at = ?2",
            (first_seq + month.attempts - 1, end),
        )?;
    }
    tx.commit()?;
    Ok(())
}

/// Every webhook with every type, and every outcome.
struct Templates {
    rare: Vec<Mix>,
    common: Vec<Mix>,
    outcomes: HashMap<String, i64>,
}

impl Templates {
    fn read(conn: &Connection) -> Result<Self, AnyError> {
        let mut select = conn.prepare(
            "SELECT e.scope, e.kind, d.lane, d.webhook, d.scope, d.kind, w.word FROM deliveries d
             JOIN events e ON e.id = d.event JOIN words w ON w.id = d.webhook",
        )?;
        let mut rows = select.query([])?;
        let (mut rare, mut common) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let mix = Mix {
                scope_text: row.get(0)?,
                kind_text: row.get(1)?,
                lane: row.get(2)?,
                webhook: row.get(3)?,
                scope: row.get(4)?,
                kind: row.get(5)?,
            };
            if row.get::<_, String>(6)? == "w99" || mix.kind_text == "kind-15" {
                rare.push(mix);
            } else {
                common.push(mix);
            }
        }
        let mut select = conn.prepare("SELECT word, id FROM words WHERE role = 4")?;
        let outcomes = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let outcomes = outcomes.collect::<Result<_, _>>()?;
        Ok(Self {
            rare,
            common,
            outcomes,
        })
    }
}

/// Files everything, as the store does a thousand at a time.
fn file_all(conn: &Connection) -> Result<(), AnyError> {
    conn.execute_batch("DELETE FROM postings; DELETE FROM chapters; DELETE FROM health")?;
    for column in ["webhook", "scope", "kind", "outcome"] {
        conn.execute_batch(&format!(
            "INSERT INTO postings (word, seq) SELECT {column}, seq FROM attempts ORDER BY {column}, seq"
        ))?;
    }
    conn.execute_batch(
        "INSERT INTO chapters (first, last, earliest, latest)
            SELECT min(seq), max(seq), min(recorded_at), max(recorded_at) FROM attempts GROUP BY seq / 1024;
         INSERT INTO health (minute, webhook, attempts, accepted, sending_time)
            SELECT recorded_at / 60000000, webhook, count(*), sum(accepted), sum(duration) FROM attempts GROUP BY 1, 2;
         UPDATE log SET filed = last",
    )?;
    Ok(())
}

/// A number that looks like any other, the same each time.
fn scramble(number: i64) -> u64 {
    let mut x = number.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 29)
}
