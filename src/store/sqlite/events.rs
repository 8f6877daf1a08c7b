//! Events, and taking them in with their deliveries.

use std::borrow::Borrow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::{CachedStatement, Row};

use super::cache::Cache;
use super::codec::{EventParts, ending, floor, header_lines, limit, state_words, whole};
use super::contents;
use super::core::{advance, last};
use super::database::Database;
use super::fault::Fault;
use super::holds;
use super::lanes::Lanes;
use super::words::{Role, WordNo, Words};
use crate::delivery::{DeadReason, Event, Fingerprint, State, Target};
use crate::id::{DeliveryId, Subject};
use crate::store::encryption::{Place, Vault};
use crate::store::holds::moved_with;
use crate::store::{Enqueued, NewDelivery, NewEvent};

const HEADERS: &str = "events.headers";
const FINGERPRINT: &str = "events.fingerprint";
const BODY: &str = "events.body";

/// An event to take in, with what can be worked out before the store's thread sees it.
pub(super) struct Prepared {
    event: Arc<Event>,
    fingerprint: Fingerprint,
    deliveries: Vec<NewDelivery>,
    sealed: Sealed,
}

/// What of an event is kept encrypted, under the key that was the latest.
struct Sealed {
    headers: Option<Vec<u8>>,
    fingerprint: Vec<u8>,
    body: Vec<u8>,
}

impl Prepared {
    pub(super) fn new(new: NewEvent, vault: &Vault) -> Result<Self, Fault> {
        let fingerprint = new.event.fingerprint();
        Ok(Self {
            sealed: Sealed::new(&new.event, &fingerprint, vault)?,
            fingerprint,
            event: new.event,
            deliveries: new.deliveries,
        })
    }
}

impl Sealed {
    fn new(event: &Event, fingerprint: &Fingerprint, vault: &Vault) -> Result<Self, Fault> {
        let row = &row_of(event);
        let seal = |column, value: &[u8]| {
            let sealed = vault.seal(Place { column, row }, value);
            sealed.map_err(|_| Fault::Unreadable(column))
        };
        let headers = header_lines(event.headers()).map(|lines| seal(HEADERS, &lines));
        Ok(Self {
            headers: headers.transpose()?,
            fingerprint: seal(FINGERPRINT, &fingerprint.0)?,
            body: seal(BODY, event.body())?,
        })
    }
}

/// What identifies an event's row to what is encrypted in it.
fn row_of(event: &Event) -> [&[u8]; 2] {
    [event.scope().as_str().as_bytes(), event.id().as_str().as_bytes()]
}

/// Takes in events. The answers, and whether a lane has come to have work.
pub(super) fn enqueue(
    conn: &Database,
    cache: &mut Cache,
    words: &mut Words,
    events: &[impl Borrow<Prepared>],
    now: DateTime<Utc>,
) -> Result<(Vec<Enqueued>, bool), Fault> {
    let now = whole(now);
    let first_id = last(conn, "delivery")? + 1;
    let mut next_id = first_id;
    let mut lanes = Lanes::new(conn, now);
    let mut inserts = Inserts::prepare(conn, now)?;
    let mut answers = Vec::with_capacity(events.len());
    for new in events {
        let new: &Prepared = new.borrow();
        let Some(event) = inserts.event(new, next_id)? else {
            answers.push(known(conn, new)?);
            continue;
        };
        cache.keep_event(event, &new.event);
        let first = next_id;
        let event = Inserted {
            id: event,
            event: &new.event,
            scope: words.number(conn, Role::Scope, new.event.scope().as_str())?,
            kind: words.number(conn, Role::Kind, new.event.kind().as_str())?,
        };
        for delivery in &new.deliveries {
            let webhook = match delivery.target.webhook() {
                Some(webhook) => Some(words.number(conn, Role::Webhook, webhook.as_str())?),
                None => None,
            };
            inserts.delivery(&mut lanes, next_id, &event, webhook, delivery)?;
            next_id += 1;
        }
        answers.push(Enqueued::Fresh((first..next_id).map(DeliveryId).collect()));
    }
    if next_id > first_id {
        advance(conn, "delivery", next_id - first_id)?;
    }
    let enqueued = events.iter().map(|new| {
        let new: &Prepared = new.borrow();
        new.deliveries.len()
    });
    let enqueued = enqueued.sum();
    holds::move_held(conn, &mut lanes, moved_with(enqueued))?;
    Ok((answers, lanes.requeue()?))
}

/// An event's row, and its words.
struct Inserted<'e> {
    id: i64,
    event: &'e Event,
    scope: WordNo,
    kind: WordNo,
}

/// The statements for every event and every delivery, prepared once for a batch.
struct Inserts<'c> {
    conn: &'c Database,
    now: DateTime<Utc>,
    event: CachedStatement<'c>,
    delivery: CachedStatement<'c>,
}

impl<'c> Inserts<'c> {
    fn prepare(conn: &'c Database, now: DateTime<Utc>) -> Result<Self, Fault> {
        Ok(Self {
            conn,
            now,
            event: conn.prepare_cached(
                "INSERT INTO events (scope, event_id, kind, subject, media_type, headers, fingerprint,
                    first_delivery, deliveries, bare_since, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (scope, event_id) DO NOTHING",
            )?,
            delivery: conn.prepare_cached(
                "INSERT INTO deliveries (id, event, lane, state, reason, rank, due, fence, attempts, history,
                    interrupted, created_at, own, webhook, test, held_by, scope, kind, ended_at, purgeable)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?,
        })
    }

    /// The row id of the event, if its id was not taken.
    fn event(&mut self, new: &Prepared, first_delivery: i64) -> Result<Option<i64>, Fault> {
        let (conn, event, mut sealed) = (self.conn, &new.event, &new.sealed);
        let anew;
        if !conn.encrypts_like(&sealed.fingerprint) {
            anew = Sealed::new(event, &new.fingerprint, conn.vault())?;
            sealed = &anew;
        }
        let inserted = self.event.execute((
            event.scope().as_str(),
            event.id().as_str(),
            event.kind().as_str(),
            event.subject().map(Subject::as_str),
            event.media_type().as_bytes(),
            &sealed.headers,
            &sealed.fingerprint,
            first_delivery,
            limit(new.deliveries.len()),
            new.deliveries.is_empty().then_some(floor(self.now)),
            &sealed.body,
        ))?;
        Ok((inserted > 0).then(|| conn.last_insert_rowid()))
    }

    fn delivery(
        &mut self,
        lanes: &mut Lanes<'_>,
        id: i64,
        event: &Inserted<'_>,
        webhook: Option<WordNo>,
        new: &NewDelivery,
    ) -> Result<(), Fault> {
        let (conn, now) = (self.conn, self.now);
        let is_test = new.target.is_test();
        let lane = match &new.target {
            Target::Webhook(webhook) | Target::Test(webhook) => {
                lanes.of_webhook(webhook, is_test, event.event.scope())?
            }
            Target::Call(call) => Some(lanes.open(new.target.lane(), call.into())?),
        };
        let due = floor(now);
        let hold = match lane {
            Some(lane) => match lanes.get(lane)?.hold {
                Some((hold, _)) => Some(hold),
                None => holds::of_subject(conn, event.event.scope(), event.event.subject())?,
            },
            None => None,
        };
        let (state, rank) = match lane {
            Some(_) if hold.is_some() => (State::Held, due),
            Some(lane) => (State::Pending, lanes.get(lane)?.waits_until(due).rank),
            None => (State::Dead(DeadReason::WebhookDeleted), due),
        };
        let (word, reason) = state_words(state);
        let (ended_at, purgeable) = ending(state, now).unzip();
        let own = contents::insert(conn, id, new)?;
        self.delivery.execute((
            id,
            event.id,
            lane,
            word,
            reason,
            rank,
            due,
            own,
            webhook,
            is_test,
            hold,
            event.scope,
            event.kind,
            ended_at,
            purgeable,
        ))?;
        Ok(())
    }
}

/// What becomes of an event whose id is taken.
fn known(conn: &Database, new: &Prepared) -> Result<Enqueued, Fault> {
    let (scope, event) = (new.event.scope().as_str(), new.event.id().as_str());
    let (fingerprint, first, count): (Vec<u8>, i64, i64) = conn
        .prepare_cached(
            "SELECT fingerprint, first_delivery, deliveries FROM events WHERE scope = ?1 AND event_id = ?2",
        )?
        .query_one((scope, event), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let fingerprint = conn.open(FINGERPRINT, &[scope.as_bytes(), event.as_bytes()], &fingerprint)?;
    if fingerprint != new.fingerprint.0 {
        return Ok(Enqueued::Conflict);
    }
    let mut ids =
        conn.prepare_cached("SELECT id FROM deliveries WHERE id >= ?1 AND id < ?1 + ?2 ORDER BY id")?;
    let ids = ids.query_map((first, count), |row| row.get(0).map(DeliveryId))?;
    Ok(Enqueued::Duplicate(ids.collect::<Result<_, _>>()?))
}

/// The event in that row.
pub(super) fn event(conn: &Database, id: i64) -> Result<Arc<Event>, Fault> {
    let mut select = conn.prepare_cached(
        "SELECT scope, event_id, kind, subject, media_type, headers, body FROM events WHERE id = ?1",
    )?;
    let mut rows = select.query([id])?;
    let row = rows.next()?.ok_or(Fault::Unreadable("event"))?;
    let (scope, id) = (text(row, 0)?, text(row, 1)?);
    let identity = [scope.as_bytes(), id.as_bytes()];
    let parts = EventParts {
        scope,
        id,
        kind: text(row, 2)?,
        subject: row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)?,
        media_type: bytes(row, 4)?,
        header_lines: conn.open(HEADERS, &identity, bytes(row, 5)?)?,
        body: conn.open(BODY, &identity, bytes(row, 6)?)?,
    };
    Ok(Arc::new(parts.event()?))
}

pub(super) fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, Fault> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

/// Bytes; none, where nothing is.
pub(super) fn bytes<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r [u8], Fault> {
    let bytes = row.get_ref(column)?.as_blob_or_null();
    Ok(bytes.map_err(rusqlite::Error::from)?.unwrap_or_default())
}
