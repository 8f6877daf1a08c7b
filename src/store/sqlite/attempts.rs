//! History.

use bytes::Bytes;
use rusqlite::Row;

use super::codec::{floor, instant, micros, span_of_micros};
use super::database::Database;
use super::fault::Fault;
use crate::delivery::{Attempt, AttemptReport, Outcome};
use crate::id::DeliveryId;

const EXCERPT: &str = "attempts.excerpt";

pub(super) fn record(
    conn: &Database,
    delivery: i64,
    number: u32,
    report: &AttemptReport,
) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO attempts (delivery, number, started_at, duration, outcome, status, excerpt)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        delivery,
        number,
        floor(report.started_at),
        micros(report.duration),
        report.outcome.as_str(),
        report.outcome.status().map(|status| status.as_u16()),
        conn.seal(
            EXCERPT,
            &[&delivery.to_be_bytes(), &i64::from(number).to_be_bytes()],
            &report.excerpt,
        )?,
    ))?;
    Ok(())
}

pub(super) fn of(conn: &Database, delivery: DeliveryId) -> Result<Vec<Attempt>, Fault> {
    conn.prepare_cached(
        "SELECT number, started_at, duration, outcome, status, excerpt FROM attempts
         WHERE delivery = ?1 ORDER BY number",
    )?
    .query_and_then([delivery.0], |row| read(conn, delivery, row))?
    .collect()
}

fn read(conn: &Database, delivery: DeliveryId, row: &Row<'_>) -> Result<Attempt, Fault> {
    let number: u32 = row.get(0)?;
    let word: String = row.get(3)?;
    let identity = [delivery.0.to_be_bytes(), i64::from(number).to_be_bytes()];
    let identity = [&identity[0][..], &identity[1]];
    let excerpt = conn.open(EXCERPT, &identity, &row.get::<_, Vec<u8>>(5)?)?;
    Ok(Attempt {
        delivery,
        number,
        report: AttemptReport {
            started_at: instant(row.get(1)?, "started_at")?,
            duration: span_of_micros(row.get(2)?, "duration")?,
            outcome: Outcome::from_parts(&word, row.get(4)?).ok_or(Fault::Unreadable("outcome"))?,
            excerpt: Bytes::from(excerpt),
        },
    })
}
