//! Pages of history, and health.

use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::attempts::{self, attempt_columns};
use super::contents;
use super::database::Database;
use super::events;
use super::fault::Fault;
use super::inspect::{has_no_body, target};
use super::sealer::Sealer;
use super::transaction::{Columns, query};
use crate::delivery::{
    Health, HistoryEntry, HistoryPage, HistoryQuery, OutcomeClass, Target, Walk, Walked, minute_of,
    recorded_at,
};
use crate::id::WebhookId;
use crate::store::codec::{ceil, instant, optional_instant, unsigned, whole};

/// How many attempts are looked at for one page.
const LOOKS: i64 = 10_000;

/// Waits until nobody is about to record attempts, and keeps others from it until the commit.
const ALONE: &str = "LOCK TABLE ringback.log IN EXCLUSIVE MODE";

/// The last position that was drawn. With nothing under way, history is whole up to there.
const LAST: &str = "
    SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last FROM ringback.attempt_positions";

/// The attempts to look at for a page. `$1` is where it begins, `$2` the last position, `$3` to `$6` are filters that have
/// an index or leave partitions out; each may be missing.
macro_rules! looked_at {
    ($compare:literal, $order:literal) => {
        concat!(
            "SELECT * FROM ringback.attempts WHERE seq ",
            $compare,
            " $1 AND seq <= $2
                AND ($3::text IS NULL OR webhook = $3) AND ($4::bigint IS NULL OR delivery = $4)
                AND ($5::bigint IS NULL OR recorded_at >= $5) AND ($6::bigint IS NULL OR recorded_at < $6)
             ORDER BY seq ",
            $order,
            " LIMIT 10000"
        )
    };
}

/// Those of them that pass the other filters. `$12` is how many the page has at most.
macro_rules! page {
    ($compare:literal, $order:literal) => {
        concat!(
            "SELECT a.seq, ",
            attempt_columns!(),
            ", a.webhook, a.test, a.scope, a.kind, a.recorded_at, a.accepted, a.retry_at, e.event_id, e.subject,
                d.id, d.state, d.reason, d.purgeable, c.call, CASE WHEN $11 THEN c.body END AS body,
                CASE WHEN $11 AND c.body IS NULL THEN e.body END AS event_body
             FROM (",
            looked_at!($compare, $order),
            ") a JOIN ringback.deliveries d ON d.id = a.delivery JOIN ringback.events e ON e.id = d.event
                LEFT JOIN ringback.contents c ON d.own AND c.delivery = d.id
             WHERE ($7::text IS NULL OR a.scope = $7) AND ($8::text IS NULL OR a.kind = $8)
                AND ($9::text IS NULL OR a.outcome = $9) AND ($10::integer IS NULL OR a.status = $10)
                AND ($13::integer IS NULL OR a.status BETWEEN $13 AND $13 + 99)
                AND (NOT $14 OR a.status IS NULL) AND (NOT $15 OR a.status IS NULL OR a.status NOT BETWEEN 200 AND 299)
             ORDER BY a.seq ",
            $order,
            " LIMIT $12"
        )
    };
}

macro_rules! extent {
    ($compare:literal, $order:literal) => {
        concat!(
            "SELECT count(*) AS looks, min(seq) AS first, max(seq) AS last FROM (",
            looked_at!($compare, $order),
            ") a"
        )
    };
}

const PAGE_UP: &str = page!(">", "ASC");
const PAGE_DOWN: &str = page!("<=", "DESC");
const EXTENT_UP: &str = extent!(">", "ASC");
const EXTENT_DOWN: &str = extent!("<=", "DESC");

/// What is added up, and what is not yet.
const HEALTH: &str = "
    SELECT coalesce(sum(h.attempts), 0)::bigint AS attempts, coalesce(sum(h.accepted), 0)::bigint AS accepted,
        least(coalesce(sum(h.sending_time), 0), 9223372036854775807)::bigint AS sending_time
    FROM (SELECT attempts, accepted, sending_time FROM ringback.figures
            WHERE webhook = $1 AND minute BETWEEN $2 AND $3
          UNION ALL
          SELECT 1, a.accepted::int, least(a.duration, 86400000000) FROM ringback.attempts a
            WHERE a.webhook = $1 AND NOT a.test AND a.outcome <> 'interrupted'
                AND a.seq > (SELECT filed FROM ringback.log)
                AND a.recorded_at >= $4 AND a.recorded_at < $5) h";

/// Adds up what has been recorded since the last time, up to `$1`.
const FILE: &str = "
    INSERT INTO ringback.figures AS f (minute, webhook, attempts, accepted, sending_time)
    SELECT floor(a.recorded_at / 60000000.0)::bigint, a.webhook, count(*), count(*) FILTER (WHERE a.accepted),
        sum(least(a.duration, 86400000000))
    FROM ringback.attempts a
    WHERE a.seq > (SELECT filed FROM ringback.log) AND a.seq <= $1
        AND a.webhook IS NOT NULL AND NOT a.test AND a.outcome <> 'interrupted'
    GROUP BY 1, 2
    ON CONFLICT (webhook, minute) DO UPDATE SET attempts = f.attempts + excluded.attempts,
        accepted = f.accepted + excluded.accepted, sending_time = f.sending_time + excluded.sending_time";
const LOCK_FILED: &str = "SELECT filed FROM ringback.log FOR UPDATE";
const FILED: &str = "UPDATE ringback.log SET filed = greatest(filed, $1)";

impl Database {
    /// The instant under which something is recorded now. It does not go back within this process; processes go by the
    /// server's clock, and so differ by no more than a round trip.
    pub(super) fn recorded_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let mut last = self.last_recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded_at = recorded_at(whole(now), *last);
        *last = Some(recorded_at);
        recorded_at
    }

    /// Up to where history is whole: nothing will be recorded there any more.
    async fn whole_up_to(&self) -> Result<i64, Fault> {
        let [_, rows] = self
            .transaction()
            .await?
            .commit_with([query(ALONE, &[]), query(LAST, &[])])
            .await?;
        rows.first()
            .ok_or(Fault::Unreadable("attempt_positions"))?
            .read("last")
    }

    pub(super) async fn history(&self, asked: &HistoryQuery) -> Result<HistoryPage, Fault> {
        let last = self.whole_up_to().await?;
        let walk = asked.walk(last);
        let (page, extent) = match walk.ascends {
            true => (PAGE_UP, EXTENT_UP),
            false => (PAGE_DOWN, EXTENT_DOWN),
        };
        let outcome = Wanted::of(asked.outcome);
        let webhook = asked.webhook.as_ref().map(WebhookId::as_str);
        let delivery = asked.delivery.map(|id| id.0);
        let (since, until) = (asked.since.map(ceil), asked.until.map(ceil));
        let scope = asked.scope.as_ref().map(|scope| scope.as_str());
        let kind = asked.kind.as_ref().map(|kind| kind.as_str());
        let length = asked.page_length();
        let most = i64::try_from(length).unwrap_or(i64::MAX);
        let mut tx = self.transaction().await?;
        let sealer = tx.sealer();
        let rows = tx
            .query(
                page,
                &[
                    &walk.from,
                    &last,
                    &webhook,
                    &delivery,
                    &since,
                    &until,
                    &scope,
                    &kind,
                    &outcome.word,
                    &outcome.status,
                    &asked.bodies,
                    &most,
                    &outcome.hundred,
                    &outcome.unanswered,
                    &outcome.failed,
                ],
            )
            .await?;
        let end = match rows.last().filter(|_| rows.len() == length) {
            Some(row) => Some(row.read("seq")?),
            None => {
                let looked = tx
                    .query(extent, &[&walk.from, &last, &webhook, &delivery, &since, &until])
                    .await?;
                let looked = looked.first().ok_or(Fault::Unreadable("looks"))?;
                let furthest = if walk.ascends { "last" } else { "first" };
                match looked.read::<i64>("looks")? < LOOKS {
                    true => None,
                    false => looked.read::<Option<i64>>(furthest)?,
                }
            }
        };
        tx.commit().await?;
        let entries = rows.iter().map(|row| entry(&sealer, row, asked.bodies));
        Ok(asked.page_of(walk, entries.collect::<Result<_, _>>()?, walked(walk, end, last)))
    }

    pub(super) async fn health(
        &self,
        webhook: &WebhookId,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Health, Fault> {
        let (first, last) = (minute_of(since), minute_of(now));
        let start = |minute: i64| minute.saturating_mul(60_000_000);
        let (from, until) = (start(first), start(last.saturating_add(1)));
        let rows = self
            .once(HEALTH, &[&webhook.as_str(), &first, &last, &from, &until])
            .await?;
        let row = rows.first().ok_or(Fault::Unreadable("attempts"))?;
        Ok(Health {
            attempts: row.count("attempts")?,
            accepted: row.count("accepted")?,
            sending_time: Duration::from_micros(unsigned(row.read("sending_time")?, "sending_time")?),
        })
    }

    /// Adds up in figures what has been recorded since the last time.
    pub(super) async fn file(&self) -> Result<(), Fault> {
        let last = self.whole_up_to().await?;
        let mut tx = self.transaction().await?;
        tx.query(LOCK_FILED, &[]).await?;
        tx.commit_with([query(FILE, &[&last]), query(FILED, &[&last])])
            .await?;
        Ok(())
    }
}

/// How far a walk has come that stopped at this attempt, or went to the end.
fn walked(walk: Walk, end: Option<i64>, last: i64) -> Walked {
    let to = match (end, walk.ascends) {
        (Some(seq), true) => seq,
        (Some(seq), false) => seq - 1,
        (None, true) => last,
        (None, false) => 0,
    };
    Walked {
        to,
        has_more: end.is_some(),
    }
}

/// Which outcomes are asked for, as parameters.
#[derive(Default)]
struct Wanted {
    word: Option<&'static str>,
    status: Option<i32>,
    hundred: Option<i32>,
    unanswered: bool,
    failed: bool,
}

impl Wanted {
    fn of(class: Option<OutcomeClass>) -> Self {
        let mut wanted = Self::default();
        match class {
            None => {}
            Some(OutcomeClass::Exactly(outcome)) => {
                wanted.word = Some(outcome.as_str());
                wanted.status = outcome.status().map(|status| status.as_u16().into());
            }
            Some(OutcomeClass::Hundred(digit)) => wanted.hundred = Some(i32::from(digit) * 100),
            Some(OutcomeClass::Unanswered) => wanted.unanswered = true,
            Some(OutcomeClass::Failed) => wanted.failed = true,
        }
        wanted
    }
}

fn entry(sealer: &Sealer, row: &Row, bodies: bool) -> Result<HistoryEntry, Fault> {
    let attempt = attempts::read(sealer, row)?;
    let contents = contents::read(sealer, row)?;
    let target = match (row.read::<Option<&str>>("webhook")?, contents.call) {
        (Some(webhook), _) => target(webhook.into(), row.read("test")?),
        (None, Some(call)) => Target::Call(call),
        (None, None) => return Err(Fault::Unreadable("webhook")),
    };
    let (scope, event): (&str, &str) = (row.read("scope")?, row.read("event_id")?);
    let body = match contents.body {
        _ if !bodies || has_no_body(row)? => None,
        Some(body) => Some(body),
        None => Some(events::read_body(
            sealer,
            (scope, event),
            row.read("event_body")?,
        )?),
    };
    Ok(HistoryEntry {
        attempt,
        recorded_at: instant(row.read("recorded_at")?, "recorded_at")?,
        accepted: row.read("accepted")?,
        retry_at: optional_instant(row.read("retry_at")?, "retry_at")?,
        scope: scope.into(),
        event: event.into(),
        kind: row.read::<&str>("kind")?.into(),
        subject: row.read::<Option<&str>>("subject")?.map(Into::into),
        target,
        body,
    })
}
