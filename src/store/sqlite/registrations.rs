//! Webhooks and auth records.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use super::cache::read_webhook;
use super::codec::whole;
use super::core::Core;
use super::fault::Fault;
use super::lanes::Lanes;
use crate::delivery::{LaneKey, Webhook};
use crate::id::{AuthId, Scope, WebhookId};
use crate::store::AuthRecord;

impl Core {
    pub(super) fn save_webhook(&mut self, webhook: &Webhook, now: DateTime<Utc>) -> Result<(), Fault> {
        let json = serde_json::to_vec(webhook).map_err(|_| Fault::Unreadable("webhooks.json"))?;
        let json = self
            .conn
            .seal("webhooks.json", &[webhook.id.as_str().as_bytes()], &json)?;
        self.conn
            .prepare_cached(
                "INSERT INTO webhooks (id, scope, json) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET scope = excluded.scope, json = excluded.json",
            )?
            .execute((webhook.id.as_str(), webhook.scope.as_str(), json))?;
        self.cache.forget_webhook(&webhook.id);
        let mut lanes = Lanes::new(&self.conn, whole(now));
        let key = LaneKey::webhook(&webhook.id);
        lanes.open(key, webhook.into())?;
        self.rings.deliveries |= lanes.requeue()?;
        Ok(())
    }

    pub(super) fn remove_webhook(&mut self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, Fault> {
        self.cache.forget_webhook(id);
        let mut lanes = Lanes::new(&self.conn, whole(now));
        lanes.doom(LaneKey::webhook(id))?;
        self.rings.deliveries |= lanes.requeue()?;
        let removed = self
            .conn
            .prepare_cached("DELETE FROM webhooks WHERE id = ?1")?
            .execute([id.as_str()])?;
        Ok(removed > 0)
    }

    pub(super) fn webhook(&mut self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, Fault> {
        self.cache.webhook(&self.conn, id.as_str())
    }

    pub(super) fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, Fault> {
        self.conn
            .prepare_cached("SELECT id, json FROM webhooks WHERE scope = ?1 ORDER BY id")?
            .query_and_then([scope.as_str()], |row| {
                let (id, json): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
                read_webhook(&self.conn, &id, &json).map(Arc::new)
            })?
            .collect()
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
