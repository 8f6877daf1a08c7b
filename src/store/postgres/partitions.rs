//! The partitions of history: one for each day, made ahead, and dropped when all in it is over.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::database::Database;
use super::fault::Fault;
use super::schema::Schema;
use super::transaction::Columns;
use crate::time::Clock;

/// For how many days partitions are there ahead of time, today's included.
const AHEAD: usize = 4;

/// What the names of partitions begin with; a date follows.
const PREFIX: &str = "attempts_";

/// Whoever reads or writes history for long is not waited for while everyone else waits behind this.
const PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";

const OLDEST: &str = "
    SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'ringback.attempts'::regclass AND c.relname ~ '^attempts_[0-9]{8}$' ORDER BY c.relname LIMIT 1";

/// The days for which this process has seen to partitions.
#[derive(Debug, Default)]
pub(super) struct Made(AtomicI64);

/// Makes those that are missing, as far as they can be made now.
pub(super) async fn make_ahead(
    client: &Client,
    schema: &Schema,
    clock: &dyn Clock,
    made: &Made,
) -> Result<(), Fault> {
    let today = clock.now().date_naive();
    for day in today.iter_days().take(AHEAD) {
        let number = day.signed_duration_since(NaiveDate::default()).num_days();
        if made.0.load(Ordering::SeqCst) < number {
            if !make(client, schema, day).await? {
                break;
            }
            made.0.fetch_max(number, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// Whether it has been seen to. If it can never be made, since what belongs there was recorded before, that stays where it
/// is.
async fn make(client: &Client, schema: &Schema, day: NaiveDate) -> Result<bool, Fault> {
    let name = format!("{PREFIX}{}", day.format("%Y%m%d"));
    let (from, to) = (start(day), end(day));
    let make = format!(
        "BEGIN; {PATIENCE};
         CREATE TABLE IF NOT EXISTS ringback.{name} PARTITION OF ringback.attempts FOR VALUES FROM ({from}) TO ({to});
         COMMIT"
    );
    match client.batch_execute(&schema.qualify_text(&make)).await {
        Ok(()) => Ok(true),
        Err(error) => {
            client.batch_execute("ROLLBACK").await?;
            Ok(error.code() == Some(&SqlState::CHECK_VIOLATION))
        }
    }
}

/// Drops the oldest partition, if all in it was recorded before. How many attempts were in it; `None` if nothing is to be
/// dropped, or not now, since somebody has been reading it for long.
pub(super) async fn drop_oldest(database: &Database, before: DateTime<Utc>) -> Result<Option<usize>, Fault> {
    let oldest = database.once(OLDEST, &[]).await?;
    let Some(row) = oldest.first() else {
        return Ok(None);
    };
    let name: &str = row.read("name")?;
    let day = name
        .strip_prefix(PREFIX)
        .map(|day| NaiveDate::parse_from_str(day, "%Y%m%d"));
    let is_over = day
        .and_then(Result::ok)
        .is_some_and(|day| end(day) <= before.timestamp_micros());
    if !is_over {
        return Ok(None);
    }
    let mut client = database.pool.get().await?;
    let sql = |sql: &str| database.schema.qualify_text(&format!("{sql} ringback.{name}"));
    // Apart from the drop, so that of two who both do this neither holds what the other waits for. And what a role's
    // statements may take is for statements that somebody waits for.
    let tx = client.transaction().await?;
    tx.batch_execute("SET LOCAL statement_timeout = 0").await?;
    let attempts: i64 = match tx.query_one(&sql("SELECT count(*) FROM"), &[]).await {
        Ok(row) => row.try_get(0)?,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    tx.commit().await?;
    let drop = format!("BEGIN; {PATIENCE}; {}; COMMIT", sql("DROP TABLE"));
    if client.batch_execute(&drop).await.is_err() {
        client.batch_execute("ROLLBACK").await?;
        return Ok(None);
    }
    Ok(Some(usize::try_from(attempts).unwrap_or(0)))
}

fn start(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp_micros()
}

fn end(day: NaiveDate) -> i64 {
    start(day.checked_add_days(Days::new(1)).unwrap_or(day))
}
