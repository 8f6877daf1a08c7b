//! Webhooks and auth records.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row};
use zeroize::Zeroizing;

use super::cache::{Cache, read_webhook};
use super::codec::{instant, limit, whole};
use super::core::Core;
use super::database::Database;
use super::fault::Fault;
use super::holds;
use super::lanes::Lanes;
use crate::delivery::{DisableReason, Disabled, LaneKey, Webhook};
use crate::id::{AuthId, Scope, WebhookId};
use crate::store::{AuthRecord, FailingWebhook, Saved, Switch, Switched};

impl Core {
    pub(super) fn save_webhook(&mut self, webhook: &Webhook, now: DateTime<Utc>) -> Result<Saved, Fault> {
        let Self {
            conn, cache, rings, ..
        } = self;
        let scope: Option<String> = conn
            .prepare_cached("SELECT scope FROM webhooks WHERE id = ?1")?
            .query_row([webhook.id.as_str()], |row| row.get(0))
            .optional()?;
        if scope.is_some_and(|scope| scope != webhook.scope.as_str()) {
            return Ok(Saved::OtherScope);
        }
        let mut lanes = Lanes::new(conn, whole(now));
        put(conn, cache, &mut lanes, webhook)?;
        rings.deliveries |= lanes.requeue()?;
        Ok(Saved::Done)
    }

    pub(super) fn replace_webhook(
        &mut self,
        old: Option<&Webhook>,
        new: &Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, Fault> {
        let present = self.cache.webhook(&self.conn, new.id.as_str())?;
        match present.as_deref() == old {
            true => self.save_webhook(new, now),
            false => Ok(Saved::Changed),
        }
    }

    pub(super) fn switch_webhook(
        &mut self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, Fault> {
        let Self {
            conn, cache, rings, ..
        } = self;
        let Some(webhook) = cache.webhook(conn, id.as_str())? else {
            return Ok(Switched::Unknown);
        };
        let mut lanes = Lanes::new(conn, whole(now));
        let failing_since = match lanes.find(LaneKey::webhook(id))? {
            Some(lane) => lanes.get(lane)?.failing_since,
            None => None,
        };
        let switched = match switch {
            Switch::On if !webhook.enabled => {
                let enabled = Webhook {
                    enabled: true,
                    disabled: None,
                    updated_at: now,
                    ..(*webhook).clone()
                };
                put(conn, cache, &mut lanes, &enabled)?;
                Switched::Done(Arc::new(enabled))
            }
            Switch::Off if webhook.enabled => {
                Switched::Done(disable(conn, cache, &mut lanes, &webhook, None, now)?)
            }
            Switch::OffIfFailingSince(since) if webhook.enabled && failing_since == Some(whole(since)) => {
                let reason = Some(DisableReason::Failing { since });
                Switched::Done(disable(conn, cache, &mut lanes, &webhook, reason, now)?)
            }
            _ => return Ok(Switched::Unchanged(webhook)),
        };
        rings.deliveries |= lanes.requeue()?;
        Ok(switched)
    }

    pub(super) fn remove_webhook(&mut self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, Fault> {
        self.cache.forget_webhook(id);
        let mut lanes = Lanes::new(&self.conn, whole(now));
        lanes.doom(LaneKey::webhook(id))?;
        lanes.doom(LaneKey::test(id))?;
        holds::lift_removed(&self.conn, &mut lanes, id, now)?;
        self.rings.deliveries |= lanes.requeue()?;
        let removed = self
            .conn
            .prepare_cached("DELETE FROM webhooks WHERE id = ?1")?
            .execute([id.as_str()])?;
        Ok(removed > 0)
    }

    pub(super) fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, Fault> {
        self.conn
            .prepare_cached("SELECT id, json FROM webhooks WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2")?
            .query_and_then((after.map(WebhookId::as_str), limit(max)), |row| {
                read_row(&self.conn, row)
            })?
            .collect()
    }

    /// Goes by the lanes that fail, which are few, and not by the webhooks, which may be many.
    pub(super) fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, Fault> {
        self.conn
            .prepare_cached(
                "SELECT webhooks.id, webhooks.json, lanes.failing_since
                 FROM lanes CROSS JOIN webhooks ON webhooks.id = substr(lanes.key, length('webhook ') + 1)
                 WHERE lanes.failing_since IS NOT NULL AND lanes.enabled AND (?1 IS NULL OR webhooks.id > ?1)
                 ORDER BY webhooks.id LIMIT ?2",
            )?
            .query_and_then((after.map(WebhookId::as_str), limit(max)), |row| {
                Ok(FailingWebhook {
                    webhook: read_row(&self.conn, row)?,
                    since: instant(row.get(2)?, "failing_since")?,
                })
            })?
            .collect()
    }

    pub(super) fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, Fault> {
        self.conn
            .prepare_cached("SELECT id FROM webhooks WHERE auth = ?1 ORDER BY id LIMIT ?2")?
            .query_and_then((id.as_str(), limit(max)), |row| {
                Ok(WebhookId::from(row.get::<_, String>(0)?))
            })?
            .collect()
    }

    pub(super) fn webhook(&mut self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, Fault> {
        self.cache.webhook(&self.conn, id.as_str())
    }

    pub(super) fn webhooks(&mut self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, Fault> {
        let conn = &self.conn;
        self.cache.webhooks_of(scope, || {
            conn.prepare_cached("SELECT id, json FROM webhooks WHERE scope = ?1 ORDER BY id")?
                .query_and_then([scope.as_str()], |row| read_row(conn, row))?
                .collect()
        })
    }

    pub(super) fn save_auth(&mut self, record: &AuthRecord) -> Result<(), Fault> {
        let id = record.id.as_str();
        let config = Zeroizing::new(record.config.dangerous_to_bytes());
        let config = self.conn.seal("auths.config", &[id.as_bytes()], &config)?;
        self.conn
            .prepare_cached(
                "INSERT INTO auths (id, name, config) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, config = excluded.config",
            )?
            .execute((id, &record.name, config))?;
        self.cache.forget_auth(&record.id);
        Ok(())
    }

    pub(super) fn replace_auth(&mut self, old: Option<&AuthRecord>, new: &AuthRecord) -> Result<bool, Fault> {
        let present = self.cache.auth(&self.conn, new.id.as_str())?;
        let is_as_it_was = present.as_deref() == old;
        if is_as_it_was {
            self.save_auth(new)?;
        }
        Ok(is_as_it_was)
    }

    pub(super) fn auths(
        &mut self,
        after: Option<&AuthId>,
        max: usize,
    ) -> Result<Vec<Arc<AuthRecord>>, Fault> {
        let ids: Vec<String> = self
            .conn
            .prepare_cached("SELECT id FROM auths WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2")?
            .query_map((after.map(AuthId::as_str), limit(max)), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let records = ids.iter().map(|id| self.cache.auth(&self.conn, id));
        records.filter_map(Result::transpose).collect()
    }

    pub(super) fn remove_auth(&mut self, id: &AuthId) -> Result<bool, Fault> {
        self.cache.forget_auth(id);
        let removed = self
            .conn
            .prepare_cached("DELETE FROM auths WHERE id = ?1")?
            .execute([id.as_str()])?;
        Ok(removed > 0)
    }

    pub(super) fn auth(&mut self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, Fault> {
        self.cache.auth(&self.conn, id.as_str())
    }
}

/// Reads a webhook whose id and text come first in the row.
fn read_row(conn: &Database, row: &Row<'_>) -> Result<Arc<Webhook>, Fault> {
    let (id, json): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
    read_webhook(conn, &id, &json).map(Arc::new)
}

/// Writes a webhook down, and has its lane go by it.
fn put(conn: &Database, cache: &mut Cache, lanes: &mut Lanes<'_>, webhook: &Webhook) -> Result<(), Fault> {
    let json = serde_json::to_vec(webhook).map_err(|_| Fault::Unreadable("webhooks.json"))?;
    let json = conn.seal("webhooks.json", &[webhook.id.as_str().as_bytes()], &json)?;
    conn.prepare_cached(
        "INSERT INTO webhooks (id, scope, auth, json) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET auth = excluded.auth, json = excluded.json",
    )?
    .execute((
        webhook.id.as_str(),
        webhook.scope.as_str(),
        webhook.auth.as_ref().map(AuthId::as_str),
        json,
    ))?;
    cache.forget_webhook(&webhook.id);
    let key = LaneKey::webhook(&webhook.id);
    let lane = lanes.open(key, webhook.into())?;
    holds::close_if_held(conn, lanes, &webhook.id, lane)
}

/// Disables a webhook, for that reason or by hand.
pub(super) fn disable(
    conn: &Database,
    cache: &mut Cache,
    lanes: &mut Lanes<'_>,
    webhook: &Webhook,
    reason: Option<DisableReason>,
    now: DateTime<Utc>,
) -> Result<Arc<Webhook>, Fault> {
    let disabled = Webhook {
        enabled: false,
        disabled: reason.map(|reason| Disabled { at: now, reason }),
        updated_at: now,
        ..webhook.clone()
    };
    put(conn, cache, lanes, &disabled)?;
    Ok(Arc::new(disabled))
}
