//! The log of attempts: written, and read by delivery.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::database::Database;
use super::fault::Fault;
use super::sealer::Sealer;
use super::transaction::{Columns, Query, query};
use crate::delivery::{Attempt, AttemptReport, Outcome};
use crate::id::DeliveryId;
use crate::store::codec::{floor, instant, micros, span_of_micros};

const EXCERPT: &str = "attempts.excerpt";

/// To be shared before positions are drawn.
const SHARE: &str = "LOCK TABLE ringback.log IN ROW SHARE MODE";

/// Their positions rise in the order given.
const INSERT: &str = "
    INSERT INTO ringback.attempts (delivery, number, webhook, test, scope, kind, outcome, status, accepted,
        recorded_at, started_at, duration, retry_at, excerpt)
    SELECT n.delivery, n.number, d.webhook, d.test, e.scope, e.kind, n.outcome, n.status, n.accepted, n.recorded_at, n.started_at,
        n.duration, n.retry_at, n.excerpt
    FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::integer[],
            $7::bytea[], $8::bigint[], $9::bigint[], $10::boolean[]) WITH ORDINALITY
        AS n (delivery, number, started_at, duration, outcome, status, excerpt, retry_at, recorded_at, accepted, place)
        ORDER BY place) n
    JOIN ringback.deliveries d ON d.id = n.delivery JOIN ringback.events e ON e.id = d.event
    ORDER BY n.place";

/// The columns that [`read`] reads, of attempts that are called `a`.
macro_rules! attempt_columns {
    () => {
        "a.delivery, a.number, a.started_at, a.duration, a.outcome, a.status, a.excerpt"
    };
}
pub(super) use attempt_columns;

/// Of a delivery that is there: what is left of others goes with the partitions that it is in.
const OF_DELIVERY: &str = concat!(
    "SELECT ",
    attempt_columns!(),
    " FROM ringback.attempts a WHERE a.delivery = (SELECT id FROM ringback.deliveries WHERE id = $1)
      ORDER BY a.number"
);

/// Attempts to record, column by column.
pub(super) struct NewAttempts {
    /// The same for all; none yet, if there are none.
    recorded_at: Option<DateTime<Utc>>,
    delivery: Vec<i64>,
    number: Vec<i64>,
    started_at: Vec<i64>,
    duration: Vec<i64>,
    outcome: Vec<&'static str>,
    status: Vec<Option<i32>>,
    excerpt: Vec<Vec<u8>>,
    retry_at: Vec<Option<i64>>,
    accepted: Vec<bool>,
    recorded: Vec<i64>,
}

/// What came of an attempt for the delivery.
pub(super) enum Consequence {
    Accepted,
    RetryAt(i64),
    End,
}

impl NewAttempts {
    pub(super) fn new() -> Self {
        Self {
            recorded_at: None,
            delivery: Vec::new(),
            number: Vec::new(),
            started_at: Vec::new(),
            duration: Vec::new(),
            outcome: Vec::new(),
            status: Vec::new(),
            excerpt: Vec::new(),
            retry_at: Vec::new(),
            accepted: Vec::new(),
            recorded: Vec::new(),
        }
    }

    /// When they are recorded.
    pub(super) fn recorded_at(&mut self, database: &Database, now: DateTime<Utc>) -> i64 {
        floor(*self.recorded_at.get_or_insert_with(|| database.recorded_at(now)))
    }

    pub(super) fn push(
        &mut self,
        sealer: &Sealer,
        delivery: i64,
        number: u32,
        report: &AttemptReport,
        consequence: Consequence,
        recorded_at: i64,
    ) -> Result<(), Fault> {
        let identity = [delivery.to_be_bytes(), i64::from(number).to_be_bytes()];
        let identity = [&identity[0][..], &identity[1]];
        self.recorded.push(recorded_at);
        self.delivery.push(delivery);
        self.number.push(number.into());
        self.started_at.push(floor(report.started_at));
        self.duration.push(micros(report.duration));
        self.outcome.push(report.outcome.as_str());
        let status = report.outcome.status();
        self.status.push(status.map(|status| status.as_u16().into()));
        self.excerpt
            .push(sealer.seal(EXCERPT, &identity, &report.excerpt)?);
        self.retry_at.push(match consequence {
            Consequence::RetryAt(at) => Some(at),
            Consequence::Accepted | Consequence::End => None,
        });
        self.accepted.push(matches!(consequence, Consequence::Accepted));
        Ok(())
    }

    /// The statement to run before the one that [writes](Self::insert).
    pub(super) fn share() -> Query<'static> {
        query(SHARE, &[])
    }

    pub(super) fn insert(&self) -> Query<'_> {
        query(
            INSERT,
            &[
                &self.delivery,
                &self.number,
                &self.started_at,
                &self.duration,
                &self.outcome,
                &self.status,
                &self.excerpt,
                &self.retry_at,
                &self.recorded,
                &self.accepted,
            ],
        )
    }
}

impl Database {
    pub(super) async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, Fault> {
        let rows = self.once(OF_DELIVERY, &[&id.0]).await?;
        let sealer = self.sealer();
        rows.iter().map(|row| read(&sealer, row)).collect()
    }
}

pub(super) fn read(sealer: &Sealer, row: &Row) -> Result<Attempt, Fault> {
    let (delivery, number): (i64, i64) = (row.read("delivery")?, row.read("number")?);
    let identity = [delivery.to_be_bytes(), number.to_be_bytes()];
    let identity = [&identity[0][..], &identity[1]];
    let status = row.read::<Option<i32>>("status")?.map(u16::try_from).transpose();
    let status = status.map_err(|_| Fault::Unreadable("status"))?;
    let outcome = Outcome::from_parts(row.read("outcome")?, status);
    Ok(Attempt {
        delivery: DeliveryId(delivery),
        number: row.count("number")?,
        report: AttemptReport {
            started_at: instant(row.read("started_at")?, "started_at")?,
            duration: span_of_micros(row.read("duration")?, "duration")?,
            outcome: outcome.ok_or(Fault::Unreadable("outcome"))?,
            excerpt: sealer.open(EXCERPT, &identity, row.read("excerpt")?)?.into(),
        },
    })
}
