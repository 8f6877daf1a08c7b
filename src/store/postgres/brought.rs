//! What a claim brings with it: deliveries, with all that is needed to send them.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::contents;
use super::events::event_columns;
use super::fault::Fault;
use super::registrations::Registered;
use super::sealer::Sealer;
use super::transaction::{Columns, Query, query};
use crate::delivery::Event;
use crate::id::{DeliveryId, Fence};
use crate::store::codec::{instant, optional_instant};
use crate::store::{Claimed, ClaimedTarget};

/// What was claimed, in the order in which it was claimed.
const BRING: &str = "
    SELECT d.id, d.event, d.fence, d.attempts, d.first_failure, d.interrupted, d.due, d.webhook, d.test, c.body, c.call
    FROM unnest($1::bigint[]) WITH ORDINALITY AS n (id, place)
    JOIN ringback.deliveries d ON d.id = n.id
    LEFT JOIN ringback.contents c ON d.own AND c.delivery = d.id
    ORDER BY n.place";

/// Its events, each once, since one event often goes to many webhooks.
const EVENTS: &str = concat!(
    "SELECT e.id, ",
    event_columns!(),
    " FROM ringback.events e WHERE e.id IN (SELECT event FROM ringback.deliveries WHERE id = ANY($1::bigint[]))"
);

const WEBHOOKS: &str = "
    SELECT w.id, w.json FROM ringback.webhooks w
    WHERE w.id IN (SELECT webhook FROM ringback.deliveries WHERE id = ANY($1::bigint[]))";

const AUTHS: &str = "
    SELECT a.id, a.name, a.config FROM ringback.auths a WHERE a.id IN
        (SELECT w.auth FROM ringback.deliveries d JOIN ringback.webhooks w ON w.id = d.webhook
            WHERE d.id = ANY($1::bigint[])
         UNION SELECT c.auth FROM ringback.contents c WHERE c.delivery = ANY($1::bigint[]))";

/// The statements that bring deliveries, their events, their webhooks, and what these prove themselves with.
pub(super) fn queries(deliveries: &Vec<i64>) -> [Query<'_>; 4] {
    [BRING, EVENTS, WEBHOOKS, AUTHS].map(|sql| query(sql, &[deliveries]))
}

/// What deliveries refer to.
pub(super) struct Brought {
    pub(super) sealer: Sealer,
    pub(super) registered: Registered,
    pub(super) events: HashMap<i64, Result<Arc<Event>, Fault>>,
    pub(super) failing_since: HashMap<i64, DateTime<Utc>>,
}

impl Brought {
    /// The deliveries. What cannot be read, perhaps because a newer version wrote it, holds up itself and no other: it stays
    /// claimed until its lease ends, and is tried again then.
    pub(super) fn claimed(&self, rows: &[Row]) -> Result<Vec<Claimed>, Fault> {
        rows.iter()
            .map(|row| self.read(row))
            .filter(|claimed| !matches!(claimed, Err(Fault::Unreadable(_))))
            .collect()
    }

    fn read(&self, row: &Row) -> Result<Claimed, Fault> {
        let id = row.read("id")?;
        let event = self
            .events
            .get(&row.read("event")?)
            .ok_or(Fault::Unreadable("event"))?
            .clone()?;
        let contents = contents::read(&self.sealer, row)?;
        let target = match (row.read::<Option<&str>>("webhook")?, contents.call) {
            (Some(webhook), None) => {
                let webhook = self.registered.webhook(webhook)?;
                let target = if row.read("test")? {
                    ClaimedTarget::Test
                } else {
                    ClaimedTarget::Webhook
                };
                webhook.map(target)
            }
            (None, call) => call.map(|call| ClaimedTarget::Call(Arc::new(call))),
            (Some(_), Some(_)) => None,
        };
        let target = target.ok_or(Fault::Unreadable("webhook"))?;
        let auth = target.auth().and_then(|id| self.registered.auth(id));
        Ok(Claimed {
            id: DeliveryId(id),
            fence: Fence(row.read("fence")?),
            attempts: row.count("attempts")?,
            first_failure: optional_instant(row.read("first_failure")?, "first_failure")?,
            interrupted: row.read("interrupted")?,
            failing_since: self.failing_since.get(&id).copied(),
            due: instant(row.read("due")?, "due")?,
            body: contents.body.unwrap_or_else(|| event.body().clone()),
            event,
            target,
            auth,
        })
    }
}
