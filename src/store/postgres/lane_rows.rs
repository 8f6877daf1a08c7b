//! How a lane is kept: as a row, read one at a time and written column by column.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio_postgres::Row;

use super::fault::Fault;
use super::transaction::{Columns, Query, query};
use crate::delivery::{Lane, LaneKey, LaneRules, Limits, Order, Rate};
use crate::id::WebhookId;
use crate::store::codec::{ceil, floor, nanos, optional_instant, unsigned};
use crate::store::waiting::{HoldNo, Place, Waiting, pace_column, pace_read};

/// A lane's row id. They rise in the order in which lanes were opened.
pub(super) type LaneNo = i64;

/// The columns that [`read`] reads, of lanes that are called `l`.
macro_rules! lane_columns {
    () => {
        "l.id, l.key, l.max_in_flight, l.rate_interval_ns, l.rate_burst, l.strict, l.enabled, l.in_flight,
            l.whole_at, l.turn, l.opens_at, l.ready, l.runs, l.failing_since,
            l.hold, l.closed, l.pace"
    };
}
pub(super) use lane_columns;

/// Those that are there already stay as they are, and so does a webhook that is to be tried out but is not there. Their ids
/// rise in the order given, since of lanes that have had no turn the one that was opened first goes first; the rows come in
/// the order of their names, so that of two batches with the same ones neither waits for the other.
const INSERT: &str = "
    WITH new AS MATERIALIZED (
        SELECT nextval('ringback.lane_ids') AS id, n.*
        FROM (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::boolean[],
                    $7::text[]) WITH ORDINALITY
                AS n (key, max_in_flight, rate_interval_ns, rate_burst, strict, enabled, tries_out, place)
            WHERE NOT EXISTS (SELECT FROM ringback.lanes l WHERE l.key = n.key)
                AND (n.tries_out IS NULL OR EXISTS (SELECT FROM ringback.webhooks w WHERE w.id = n.tries_out))
            ORDER BY n.place) n)
    INSERT INTO ringback.lanes (id, key, max_in_flight, rate_interval_ns, rate_burst, strict, enabled)
    SELECT id, key, max_in_flight, rate_interval_ns, rate_burst, strict, enabled FROM new
    ORDER BY key ON CONFLICT (key) DO NOTHING";

const CHANGE: &str = "
    UPDATE ringback.lanes SET max_in_flight = $2, rate_interval_ns = $3, rate_burst = $4, strict = $5, enabled = $6
    WHERE id = $1";

const WRITE: &str = "
    UPDATE ringback.lanes l
    SET in_flight = n.in_flight, whole_at = n.whole_at, turn = n.turn, opens_at = n.opens_at, ready = n.ready,
        runs = n.runs, failing_since = n.failing_since, hold = n.hold, closed = n.closed, pace = n.pace
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::text[],
            $8::bigint[], $9::bigint[], $10::boolean[], $11::text[])
        AS n (id, in_flight, whole_at, turn, opens_at, ready, runs, failing_since, hold, closed, pace)
    WHERE l.id = n.id";

pub(super) fn read(row: &Row) -> Result<Waiting, Fault> {
    let rate = match (
        row.read::<Option<i64>>("rate_interval_ns")?,
        row.read::<Option<i64>>("rate_burst")?,
    ) {
        (Some(interval), Some(burst)) => Some(Rate {
            interval: Duration::from_nanos(unsigned(interval, "rate_interval_ns")?),
            burst: unsigned(burst, "rate_burst")
                .map(NonZeroU32::new)?
                .ok_or(Fault::Unreadable("rate_burst"))?,
        }),
        _ => None,
    };
    let in_flight = NonZeroU32::new(row.count("max_in_flight")?);
    let limits = Limits {
        in_flight: in_flight.ok_or(Fault::Unreadable("max_in_flight"))?,
        rate,
    };
    let lane = Lane {
        limits,
        order: if row.read("strict")? {
            Order::Strict
        } else {
            Order::Any
        },
        enabled: row.read("enabled")?,
        whole_at: optional_instant(row.read("whole_at")?, "whole_at")?,
        pace: pace_read(row.read("pace")?).map_err(|_| Fault::Unreadable("pace"))?,
    };
    let runs = row
        .read::<Option<&str>>("runs")?
        .map(serde_json::from_str)
        .transpose();
    Ok(Waiting {
        lane,
        doomed: row.read::<Option<&str>>("key")?.is_none(),
        in_flight: row.count("in_flight")?,
        failing_since: optional_instant(row.read("failing_since")?, "failing_since")?,
        turn: row.read("turn")?,
        place: match (row.read("ready")?, row.read("opens_at")?) {
            (true, _) => Place::Ready,
            (false, Some(at)) => Place::Later(at),
            (false, None) => Place::Nowhere,
        },
        runs: runs.map_err(|_| Fault::Unreadable("runs"))?,
        hold: row.read::<Option<HoldNo>>("hold")?.zip(Some(row.read("closed")?)),
    })
}

/// The rows of lanes that have changed, column by column.
#[derive(Default)]
pub(super) struct Changes {
    no: Vec<LaneNo>,
    in_flight: Vec<i64>,
    whole_at: Vec<Option<i64>>,
    turn: Vec<i64>,
    opens_at: Vec<Option<i64>>,
    ready: Vec<bool>,
    runs: Vec<Option<String>>,
    failing_since: Vec<Option<i64>>,
    hold: Vec<Option<HoldNo>>,
    closed: Vec<bool>,
    pace: Vec<Option<String>>,
}

impl Changes {
    pub(super) fn push(&mut self, no: LaneNo, waiting: &Waiting) -> Result<(), Fault> {
        let runs = waiting.runs.as_ref().map(serde_json::to_string).transpose();
        self.no.push(no);
        self.in_flight.push(waiting.in_flight.into());
        self.whole_at.push(waiting.lane.whole_at.map(ceil));
        self.turn.push(waiting.turn);
        self.opens_at.push(waiting.place.opens_at());
        self.ready.push(waiting.place == Place::Ready);
        self.runs.push(runs.map_err(|_| Fault::Unreadable("runs"))?);
        self.failing_since.push(waiting.failing_since.map(floor));
        self.hold.push(waiting.hold.map(|(no, _)| no));
        self.closed.push(waiting.closed_by().is_some());
        let pace = pace_column(&waiting.lane.pace);
        self.pace.push(pace.map_err(|_| Fault::Unreadable("pace"))?);
        Ok(())
    }

    /// The statement that writes them.
    pub(super) fn write(&self) -> Query<'_> {
        query(
            WRITE,
            &[
                &self.no,
                &self.in_flight,
                &self.whole_at,
                &self.turn,
                &self.opens_at,
                &self.ready,
                &self.runs,
                &self.failing_since,
                &self.hold,
                &self.closed,
                &self.pace,
            ],
        )
    }
}

/// Lanes that are to be there, column by column.
#[derive(Default)]
pub(super) struct NewLanes {
    keys: Vec<String>,
    max_in_flight: Vec<i64>,
    rate_interval_ns: Vec<Option<i64>>,
    rate_burst: Vec<Option<i64>>,
    strict: Vec<bool>,
    enabled: Vec<bool>,
    /// The webhook that is tried out in it, and that must be there.
    tries_out: Vec<Option<String>>,
}

impl NewLanes {
    pub(super) fn push(&mut self, key: &LaneKey, rules: &LaneRules) {
        let new = RuleColumns::of(rules);
        self.keys.push(key.as_str().to_owned());
        self.max_in_flight.push(new.max_in_flight);
        self.rate_interval_ns.push(new.rate_interval_ns);
        self.rate_burst.push(new.rate_burst);
        self.strict.push(new.strict);
        self.enabled.push(new.enabled);
        self.tries_out.push(None);
    }

    /// One in which a webhook is tried out.
    pub(super) fn push_test(&mut self, webhook: &WebhookId) {
        self.push(&LaneKey::test(webhook), &LaneRules::TEST);
        self.tries_out.pop();
        self.tries_out.push(Some(webhook.to_string()));
    }

    /// The statement that makes those that are not there.
    pub(super) fn insert(&self) -> Query<'_> {
        query(
            INSERT,
            &[
                &self.keys,
                &self.max_in_flight,
                &self.rate_interval_ns,
                &self.rate_burst,
                &self.strict,
                &self.enabled,
                &self.tries_out,
            ],
        )
    }
}

/// What a lane's rules say, as columns.
pub(super) struct RuleColumns {
    max_in_flight: i64,
    rate_interval_ns: Option<i64>,
    rate_burst: Option<i64>,
    strict: bool,
    enabled: bool,
}

impl RuleColumns {
    pub(super) fn of(rules: &LaneRules) -> Self {
        let rate = rules.limits.rate;
        Self {
            max_in_flight: rules.limits.in_flight.get().into(),
            rate_interval_ns: rate.map(|rate| nanos(rate.interval)),
            rate_burst: rate.map(|rate| rate.burst.get().into()),
            strict: rules.order == Order::Strict,
            enabled: rules.enabled,
        }
    }

    /// The statement that has a lane follow them.
    pub(super) fn change<'a>(&'a self, no: &'a LaneNo) -> Query<'a> {
        query(
            CHANGE,
            &[
                no,
                &self.max_in_flight,
                &self.rate_interval_ns,
                &self.rate_burst,
                &self.strict,
                &self.enabled,
            ],
        )
    }
}
