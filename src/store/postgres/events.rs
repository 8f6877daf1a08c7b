//! Events, written and read.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Row;

use super::enqueue::{EventKey, Prepared};
use super::fault::Fault;
use super::sealer::Sealer;
use super::transaction::{Columns, Query, query};
use crate::delivery::{Event, Fingerprint};
use crate::id::Subject;
use crate::store::codec::{EventParts, header_lines};

const HEADERS: &str = "events.headers";
const FINGERPRINT: &str = "events.fingerprint";
const BODY: &str = "events.body";

/// In the order of their ids, so that of two batches with the same ids neither waits for the other.
const INSERT: &str = "
    INSERT INTO ringback.events (scope, event_id, kind, subject, media_type, headers, fingerprint, body, bare_since)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::bytea[],
            $8::bytea[], $9::bigint[])
        AS n (scope, event_id, kind, subject, media_type, headers, fingerprint, body, bare_since)
    ORDER BY n.scope COLLATE \"C\", n.event_id COLLATE \"C\"
    ON CONFLICT (scope, event_id) DO NOTHING RETURNING id, scope, event_id";

/// The columns that [`read`] reads, of events that are called `e`.
macro_rules! event_columns {
    () => {
        "e.scope, e.event_id, e.kind, e.subject, e.media_type, e.headers, e.body"
    };
}
pub(super) use event_columns;

/// Events, column by column.
#[derive(Default)]
pub(super) struct NewEvents<'a> {
    scope: Vec<&'a str>,
    event_id: Vec<&'a str>,
    kind: Vec<&'a str>,
    subject: Vec<Option<&'a str>>,
    media_type: Vec<&'a [u8]>,
    headers: Vec<Option<Vec<u8>>>,
    fingerprint: Vec<Vec<u8>>,
    body: Vec<Vec<u8>>,
    bare_since: Vec<Option<i64>>,
}

impl<'a> NewEvents<'a> {
    pub(super) fn of(sealer: &Sealer, events: &[&'a Prepared]) -> Result<Self, Fault> {
        let mut columns = Self::default();
        for new in events {
            let event = &new.event;
            let (scope, event_id) = new.key();
            let row = [scope.as_bytes(), event_id.as_bytes()];
            columns.scope.push(scope);
            columns.event_id.push(event_id);
            columns.kind.push(event.kind().as_str());
            columns.subject.push(event.subject().map(Subject::as_str));
            columns.media_type.push(event.media_type().as_bytes());
            let lines = header_lines(event.headers()).map(|lines| sealer.seal(HEADERS, &row, &lines));
            columns.headers.push(lines.transpose()?);
            columns
                .fingerprint
                .push(sealer.seal(FINGERPRINT, &row, &new.fingerprint.0)?);
            columns.body.push(sealer.seal(BODY, &row, event.body())?);
            columns.bare_since.push(new.bare_since());
        }
        Ok(columns)
    }

    pub(super) fn insert(&self) -> Query<'_> {
        query(
            INSERT,
            &[
                &self.scope,
                &self.event_id,
                &self.kind,
                &self.subject,
                &self.media_type,
                &self.headers,
                &self.fingerprint,
                &self.body,
                &self.bare_since,
            ],
        )
    }
}

/// The events in rows, by their row ids. What cannot be read is a matter for whoever wants it.
pub(super) fn by_row(
    sealer: &Sealer,
    rows: &[Row],
) -> Result<HashMap<i64, Result<Arc<Event>, Fault>>, Fault> {
    rows.iter()
        .map(|row| Ok((row.read("id")?, read(sealer, row))))
        .collect()
}

/// The event in a row with the columns of one.
fn read(sealer: &Sealer, row: &Row) -> Result<Arc<Event>, Fault> {
    let (scope, id): (&str, &str) = (row.read("scope")?, row.read("event_id")?);
    let identity = [scope.as_bytes(), id.as_bytes()];
    let lines = row.read::<Option<&[u8]>>("headers")?.unwrap_or_default();
    let parts = EventParts {
        scope,
        id,
        kind: row.read("kind")?,
        subject: row.read("subject")?,
        media_type: row.read("media_type")?,
        header_lines: sealer.open(HEADERS, &identity, lines)?,
        body: sealer.open(BODY, &identity, row.read("body")?)?,
    };
    Ok(Arc::new(parts.event()?))
}

/// A body that was read of an event's row.
pub(super) fn read_body(
    sealer: &Sealer,
    (scope, event): EventKey<'_>,
    sealed: &[u8],
) -> Result<Bytes, Fault> {
    let body = sealer.open(BODY, &[scope.as_bytes(), event.as_bytes()], sealed)?;
    Ok(body.into())
}

/// The fingerprint in a row that has one, beside scope and id.
pub(super) fn read_fingerprint(sealer: &Sealer, row: &Row) -> Result<Fingerprint, Fault> {
    let (scope, event_id): (&str, &str) = (row.read("scope")?, row.read("event_id")?);
    let sealed = row.read("fingerprint")?;
    let digest = sealer.open(FINGERPRINT, &[scope.as_bytes(), event_id.as_bytes()], sealed)?;
    digest
        .try_into()
        .map(Fingerprint)
        .map_err(|_| Fault::Unreadable(FINGERPRINT))
}
