//! Webhooks and auth records that were parsed already, and the events that came last.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use zeroize::Zeroizing;

use super::database::Database;
use super::fault::Fault;
use crate::auth::AuthConfig;
use crate::delivery::{Event, Webhook};
use crate::id::{AuthId, Scope, WebhookId};
use crate::store::AuthRecord;

/// How many of each are kept. When there are more, all are dropped: it is memory that is limited here, and who
/// has so many has few that are busy.
const CAPACITY: usize = 4096;

/// How many bytes the events have that are kept: those of some thousands. Most are sent as soon as they have come, and need
/// not be read and decrypted for that. Where much is waiting, what comes is not what is sent next, and this is of no use.
const EVENT_BYTES: usize = 8 << 20;

#[derive(Default)]
pub(super) struct Cache {
    webhooks: HashMap<WebhookId, Arc<Webhook>>,
    /// Those of scopes, whole.
    by_scope: HashMap<Scope, Vec<Arc<Webhook>>>,
    auths: HashMap<AuthId, Arc<AuthRecord>>,
    /// By row id: the first are those that came first.
    events: BTreeMap<i64, Arc<Event>>,
    event_bytes: usize,
    version: i64,
}

impl Cache {
    /// To be called at the start of each transaction: drops everything if another connection has committed. Whether
    /// everything was kept.
    pub(super) fn keep_if_current(&mut self, conn: &Connection) -> Result<bool, Fault> {
        let version = conn
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        let is_current = version == self.version;
        if !is_current {
            self.forget();
            self.version = version;
        }
        Ok(is_current)
    }

    pub(super) fn forget(&mut self) {
        self.webhooks.clear();
        self.by_scope.clear();
        self.auths.clear();
        self.forget_events();
    }

    pub(super) fn forget_webhook(&mut self, id: &WebhookId) {
        self.webhooks.remove(id);
        self.by_scope.clear();
    }

    pub(super) fn forget_auth(&mut self, id: &AuthId) {
        self.auths.remove(id);
    }

    pub(super) fn forget_events(&mut self) {
        self.events.clear();
        self.event_bytes = 0;
    }

    /// Keeps an event that was taken in, in place of those that came first.
    pub(super) fn keep_event(&mut self, row: i64, event: &Arc<Event>) {
        self.event_bytes += size(event);
        self.events.insert(row, Arc::clone(event));
        while self.event_bytes > EVENT_BYTES
            && let Some((_, event)) = self.events.pop_first()
        {
            self.event_bytes -= size(&event);
        }
    }

    /// The event in that row, if it is one of those that are kept.
    pub(super) fn event(&self, row: i64) -> Option<Arc<Event>> {
        self.events.get(&row).cloned()
    }

    /// The webhooks of a scope, by id, which `read` reads.
    pub(super) fn webhooks_of(
        &mut self,
        scope: &Scope,
        read: impl FnOnce() -> Result<Vec<Arc<Webhook>>, Fault>,
    ) -> Result<Vec<Arc<Webhook>>, Fault> {
        if let Some(webhooks) = self.by_scope.get(scope) {
            return Ok(webhooks.clone());
        }
        let webhooks = read()?;
        if self.by_scope.values().map(|known| known.len() + 1).sum::<usize>() >= CAPACITY {
            self.by_scope.clear();
        }
        self.by_scope.insert(scope.clone(), webhooks.clone());
        Ok(webhooks)
    }

    pub(super) fn webhook(&mut self, conn: &Database, id: &str) -> Result<Option<Arc<Webhook>>, Fault> {
        remembered(&mut self.webhooks, id, |id| {
            let json: Option<Vec<u8>> = conn
                .prepare_cached("SELECT json FROM webhooks WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            json.map(|json| read_webhook(conn, id, &json)).transpose()
        })
    }

    pub(super) fn auth(&mut self, conn: &Database, id: &str) -> Result<Option<Arc<AuthRecord>>, Fault> {
        remembered(&mut self.auths, id, |id| {
            conn.prepare_cached("SELECT name, config FROM auths WHERE id = ?1")?
                .query_row([id], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
                })
                .optional()?
                .map(|(name, config)| {
                    let config = Zeroizing::new(conn.open("auths.config", &[id.as_bytes()], &config)?);
                    Ok(AuthRecord {
                        id: id.into(),
                        name,
                        config: AuthConfig::from_bytes(&config).map_err(|_| Fault::Unreadable("config"))?,
                    })
                })
                .transpose()
        })
    }
}

/// About what an event takes: its texts are short beside its body, and a few hundred bytes in all.
fn size(event: &Event) -> usize {
    event.body().len() + 512
}

pub(super) fn read_webhook(conn: &Database, id: &str, json: &[u8]) -> Result<Webhook, Fault> {
    let json = conn.open("webhooks.json", &[id.as_bytes()], json)?;
    serde_json::from_slice(&json).map_err(|_| Fault::Unreadable("webhooks.json"))
}

fn remembered<K, V>(
    known: &mut HashMap<K, Arc<V>>,
    id: &str,
    read: impl FnOnce(&str) -> Result<Option<V>, Fault>,
) -> Result<Option<Arc<V>>, Fault>
where
    K: Borrow<str> + Hash + Eq + for<'a> From<&'a str>,
{
    if let Some(value) = known.get(id) {
        return Ok(Some(Arc::clone(value)));
    }
    let Some(value) = read(id)?.map(Arc::new) else {
        return Ok(None);
    };
    if known.len() >= CAPACITY {
        known.clear();
    }
    known.insert(K::from(id), Arc::clone(&value));
    Ok(Some(value))
}
