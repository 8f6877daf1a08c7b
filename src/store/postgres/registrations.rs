//! Webhooks and auth records.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use zeroize::Zeroizing;

use super::database::Database;
use super::fault::Fault;
use super::holds;
use super::lane_rows::{LaneNo, NewLanes};
use super::lanes::{LOCK_BY_KEY, Lanes};
use super::sealer::Sealer;
use super::transaction::{Columns, Transaction, query};
use crate::auth::AuthConfig;
use crate::delivery::{DisableReason, Disabled, LaneKey, LaneRules, Webhook};
use crate::id::{AuthId, Scope, WebhookId};
use crate::store::codec::{instant, limit, whole};
use crate::store::{AuthRecord, FailingWebhook, Saved, Switch, Switched};

const SCOPE: &str = "SELECT scope FROM ringback.webhooks WHERE id = $1";
const SAVE: &str = "
    INSERT INTO ringback.webhooks (id, scope, auth, json) VALUES ($1, $2, $3, $4)
    ON CONFLICT (id) DO UPDATE SET auth = excluded.auth, json = excluded.json";
const REMOVE: &str = "DELETE FROM ringback.webhooks WHERE id = $1 RETURNING id";
const WEBHOOK: &str = "SELECT id, json FROM ringback.webhooks WHERE id = $1";
const OF_SCOPE: &str = "SELECT id, json FROM ringback.webhooks WHERE scope = $1 ORDER BY id";
const ALL: &str = "
    SELECT id, json FROM ringback.webhooks WHERE $1::text IS NULL OR id > $1 ORDER BY id LIMIT $2";

/// Goes by the lanes that fail, which are few, and not by the webhooks, which may be many.
const FAILING: &str = "
    SELECT w.id, w.json, l.failing_since
    FROM ringback.lanes l JOIN ringback.webhooks w ON w.id = substr(l.key, length('webhook ') + 1)
    WHERE l.failing_since IS NOT NULL AND l.enabled AND l.key LIKE 'webhook %' AND ($1::text IS NULL OR w.id > $1)
    ORDER BY w.id LIMIT $2";

const WITH_AUTH: &str = "SELECT id FROM ringback.webhooks WHERE auth = $1 ORDER BY id LIMIT $2";

const SAVE_AUTH: &str = "
    INSERT INTO ringback.auths (id, name, config) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, config = excluded.config";
const ADD_AUTH: &str = "
    INSERT INTO ringback.auths (id, name, config) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING RETURNING id";
const LOCK_AUTH: &str = "SELECT id, name, config FROM ringback.auths WHERE id = $1 FOR UPDATE";
const REMOVE_AUTH: &str = "DELETE FROM ringback.auths WHERE id = $1 RETURNING id";
const AUTH: &str = "SELECT id, name, config FROM ringback.auths WHERE id = $1";
const AUTHS: &str = "
    SELECT id, name, config FROM ringback.auths WHERE $1::text IS NULL OR id > $1 ORDER BY id LIMIT $2";

const JSON: &str = "webhooks.json";
const CONFIG: &str = "auths.config";

impl Database {
    /// Whether it was saved, and whether its lane has come to have work.
    pub(super) async fn save_webhook(
        &self,
        webhook: &Webhook,
        now: DateTime<Utc>,
    ) -> Result<(Saved, bool), Fault> {
        let mut tx = self.transaction().await?;
        let mut lanes = Lanes::new(whole(now));
        let lane = lock_to_save(&mut tx, &mut lanes, webhook).await?;
        save(tx, lanes, lane, webhook).await
    }

    /// As `save_webhook`.
    pub(super) async fn replace_webhook(
        &self,
        old: Option<&Webhook>,
        new: &Webhook,
        now: DateTime<Utc>,
    ) -> Result<(Saved, bool), Fault> {
        let mut tx = self.transaction().await?;
        let mut lanes = Lanes::new(whole(now));
        let lane = lock_to_save(&mut tx, &mut lanes, new).await?;
        let present = webhook_in(&mut tx, new.id.as_str()).await?;
        if present.as_deref() != old {
            tx.roll_back().await?;
            return Ok((Saved::Changed, false));
        }
        save(tx, lanes, lane, new).await
    }

    /// What came of it, and whether its lane has come to have work.
    pub(super) async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<(Switched, bool), Fault> {
        let mut tx = self.transaction().await?;
        let mut lanes = Lanes::new(whole(now));
        let keys = [LaneKey::webhook(id).as_str().to_owned()];
        let [locked, found] = tx
            .run([query(LOCK_BY_KEY, &[&&keys[..]]), query(WEBHOOK, &[&id.as_str()])])
            .await?;
        let lane = lanes.add(&locked)?.first().copied();
        let (Some(lane), Some(row)) = (lane, found.first()) else {
            tx.roll_back().await?;
            return Ok((Switched::Unknown, false));
        };
        let webhook = read_webhook(&tx.sealer(), row)?;
        let failing_since = lanes.look(lane)?.failing_since;
        let switched = match switch {
            Switch::On if !webhook.enabled => Webhook {
                enabled: true,
                disabled: None,
                updated_at: now,
                ..(*webhook).clone()
            },
            Switch::Off if webhook.enabled => disabled(&webhook, None, now),
            Switch::OffIfFailingSince(since) if webhook.enabled && failing_since == Some(whole(since)) => {
                disabled(&webhook, Some(DisableReason::Failing { since }), now)
            }
            _ => {
                tx.roll_back().await?;
                return Ok((Switched::Unchanged(webhook), false));
            }
        };
        put(&mut tx, &mut lanes, lane, &switched).await?;
        Ok((Switched::Done(Arc::new(switched)), lanes.write(tx).await?))
    }

    /// Whether there was one, and whether a lane has come to have something to be buried.
    pub(super) async fn remove_webhook(
        &self,
        id: &WebhookId,
        now: DateTime<Utc>,
    ) -> Result<(bool, bool), Fault> {
        let keys = [LaneKey::webhook(id), LaneKey::test(id)];
        let [own, test] = keys.each_ref().map(|key| [key.as_str().to_owned()]);
        let mut tx = self.transaction().await?;
        // Whoever makes the lane for tests has the webhook's own locked, so that of tests is looked for with it locked.
        let [_, own, test, removed] = tx
            .run([
                holds::lock(),
                query(LOCK_BY_KEY, &[&&own[..]]),
                query(LOCK_BY_KEY, &[&&test[..]]),
                query(REMOVE, &[&id.as_str()]),
            ])
            .await?;
        let mut lanes = Lanes::new(whole(now));
        lanes.add(&own)?;
        lanes.add(&test)?;
        for key in &keys {
            lanes.doom(&mut tx, key).await?;
        }
        holds::lift_removed(&mut tx, &mut lanes, id, now).await?;
        Ok((!removed.is_empty(), lanes.write(tx).await?))
    }

    pub(super) async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, Fault> {
        let rows = self.once(WEBHOOK, &[&id.as_str()]).await?;
        let sealer = self.sealer();
        rows.first().map(|row| read_webhook(&sealer, row)).transpose()
    }

    pub(super) async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, Fault> {
        let rows = self.once(OF_SCOPE, &[&scope.as_str()]).await?;
        let sealer = self.sealer();
        rows.iter().map(|row| read_webhook(&sealer, row)).collect()
    }

    pub(super) async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, Fault> {
        let rows = self
            .once(ALL, &[&after.map(WebhookId::as_str), &limit(max)])
            .await?;
        let sealer = self.sealer();
        rows.iter().map(|row| read_webhook(&sealer, row)).collect()
    }

    pub(super) async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, Fault> {
        let rows = self
            .once(FAILING, &[&after.map(WebhookId::as_str), &limit(max)])
            .await?;
        let sealer = self.sealer();
        let failing = rows.iter().map(|row| {
            Ok(FailingWebhook {
                webhook: read_webhook(&sealer, row)?,
                since: instant(row.read("failing_since")?, "failing_since")?,
            })
        });
        failing.collect()
    }

    pub(super) async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, Fault> {
        let rows = self.once(WITH_AUTH, &[&id.as_str(), &limit(max)]).await?;
        rows.iter()
            .map(|row| row.read::<&str>("id").map(WebhookId::from))
            .collect()
    }

    pub(super) async fn save_auth(&self, record: &AuthRecord) -> Result<(), Fault> {
        let tx = self.transaction().await?;
        let config = seal_config(&tx.sealer(), record)?;
        tx.commit_with([query(SAVE_AUTH, &[&record.id.as_str(), &record.name, &config])])
            .await?;
        Ok(())
    }

    pub(super) async fn replace_auth(
        &self,
        old: Option<&AuthRecord>,
        new: &AuthRecord,
    ) -> Result<bool, Fault> {
        let mut tx = self.transaction().await?;
        let sealer = tx.sealer();
        let id = new.id.as_str();
        let config = seal_config(&sealer, new)?;
        let present = tx.query(LOCK_AUTH, &[&id]).await?;
        let present = present.first().map(|row| read_auth(&sealer, row)).transpose()?;
        if present.as_deref() != old {
            tx.roll_back().await?;
            return Ok(false);
        }
        let save = if old.is_some() { SAVE_AUTH } else { ADD_AUTH };
        let [added] = tx.commit_with([query(save, &[&id, &new.name, &config])]).await?;
        Ok(old.is_some() || !added.is_empty())
    }

    pub(super) async fn remove_auth(&self, id: &AuthId) -> Result<bool, Fault> {
        let removed = self.once(REMOVE_AUTH, &[&id.as_str()]).await?;
        Ok(!removed.is_empty())
    }

    pub(super) async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, Fault> {
        let rows = self.once(AUTH, &[&id.as_str()]).await?;
        let sealer = self.sealer();
        rows.first().map(|row| read_auth(&sealer, row)).transpose()
    }

    pub(super) async fn auths(
        &self,
        after: Option<&AuthId>,
        max: usize,
    ) -> Result<Vec<Arc<AuthRecord>>, Fault> {
        let rows = self
            .once(AUTHS, &[&after.map(AuthId::as_str), &limit(max)])
            .await?;
        let sealer = self.sealer();
        rows.iter().map(|row| read_auth(&sealer, row)).collect()
    }
}

/// Saves a webhook, whose lane is locked, and commits.
async fn save(
    mut tx: Transaction<'_>,
    mut lanes: Lanes,
    lane: LaneNo,
    webhook: &Webhook,
) -> Result<(Saved, bool), Fault> {
    let scope = tx.query(SCOPE, &[&webhook.id.as_str()]).await?;
    let scope = scope.first().map(|row| row.read::<&str>("scope")).transpose()?;
    if scope.is_some_and(|scope| scope != webhook.scope.as_str()) {
        tx.roll_back().await?;
        return Ok((Saved::OtherScope, false));
    }
    put(&mut tx, &mut lanes, lane, webhook).await?;
    holds::close_if_held(&mut tx, &mut lanes, &webhook.id, lane).await?;
    Ok((Saved::Done, lanes.write(tx).await?))
}

/// Locks what a webhook is saved under: the holds, then its lane, which is made first if need be. If the webhook is just
/// being removed, there is no lane of that name any more once the lock is had; then it is a new one.
async fn lock_to_save(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    webhook: &Webhook,
) -> Result<LaneNo, Fault> {
    tx.run([holds::lock()]).await?;
    let key = LaneKey::webhook(&webhook.id);
    let mut new = NewLanes::default();
    new.push(&key, &LaneRules::from(webhook));
    let keys = [key.as_str().to_owned()];
    loop {
        let [_, locked] = tx.run([new.insert(), query(LOCK_BY_KEY, &[&&keys[..]])]).await?;
        if let Some(no) = lanes.add(&locked)?.first() {
            return Ok(*no);
        }
    }
}

/// Writes a webhook down, and has its lane go by it.
pub(super) async fn put(
    tx: &mut Transaction<'_>,
    lanes: &mut Lanes,
    lane: LaneNo,
    webhook: &Webhook,
) -> Result<(), Fault> {
    let (id, scope) = (webhook.id.as_str(), webhook.scope.as_str());
    let json = serde_json::to_vec(webhook).map_err(|_| Fault::Unreadable(JSON))?;
    let json = tx.sealer().seal(JSON, &[id.as_bytes()], &json)?;
    let auth = webhook.auth.as_ref().map(AuthId::as_str);
    lanes.change(tx, lane, LaneRules::from(webhook)).await?;
    tx.query(SAVE, &[&id, &scope, &auth, &json]).await?;
    Ok(())
}

/// The webhook, disabled for that reason or by hand.
pub(super) fn disabled(webhook: &Webhook, reason: Option<DisableReason>, now: DateTime<Utc>) -> Webhook {
    Webhook {
        enabled: false,
        disabled: reason.map(|reason| Disabled { at: now, reason }),
        updated_at: now,
        ..webhook.clone()
    }
}

/// The webhook of that id, in a transaction that has its lane locked.
pub(super) async fn webhook_in(tx: &mut Transaction<'_>, id: &str) -> Result<Option<Arc<Webhook>>, Fault> {
    let rows = tx.query(WEBHOOK, &[&id]).await?;
    let sealer = tx.sealer();
    rows.first().map(|row| read_webhook(&sealer, row)).transpose()
}

fn read_webhook(sealer: &Sealer, row: &Row) -> Result<Arc<Webhook>, Fault> {
    let id: &str = row.read("id")?;
    let json = sealer.open(JSON, &[id.as_bytes()], row.read("json")?)?;
    let webhook = serde_json::from_slice(&json);
    webhook.map(Arc::new).map_err(|_| Fault::Unreadable(JSON))
}

fn seal_config(sealer: &Sealer, record: &AuthRecord) -> Result<Vec<u8>, Fault> {
    let config = Zeroizing::new(record.config.dangerous_to_bytes());
    sealer.seal(CONFIG, &[record.id.as_str().as_bytes()], &config)
}

fn read_auth(sealer: &Sealer, row: &Row) -> Result<Arc<AuthRecord>, Fault> {
    let id: &str = row.read("id")?;
    let config = Zeroizing::new(sealer.open(CONFIG, &[id.as_bytes()], row.read("config")?)?);
    Ok(Arc::new(AuthRecord {
        id: id.into(),
        name: row.read("name")?,
        config: AuthConfig::from_bytes(&config).map_err(|_| Fault::Unreadable(CONFIG))?,
    }))
}

/// The webhooks and auth records that a claim brings.
pub(super) struct Registered {
    webhooks: HashMap<String, Result<Arc<Webhook>, Fault>>,
    auths: HashMap<AuthId, Arc<AuthRecord>>,
}

impl Registered {
    pub(super) fn read(sealer: &Sealer, webhooks: &[Row], auths: &[Row]) -> Result<Self, Fault> {
        let webhooks = webhooks
            .iter()
            .map(|row| Ok((row.read("id")?, read_webhook(sealer, row))));
        // Without a proof that can be read, a delivery waits and is not sent.
        let auths = auths.iter().filter_map(|row| read_auth(sealer, row).ok());
        Ok(Self {
            webhooks: webhooks.collect::<Result<_, Fault>>()?,
            auths: auths.map(|record| (record.id.clone(), record)).collect(),
        })
    }

    pub(super) fn webhook(&self, id: &str) -> Result<Option<Arc<Webhook>>, Fault> {
        self.webhooks.get(id).cloned().transpose()
    }

    pub(super) fn auth(&self, id: &AuthId) -> Option<Arc<AuthRecord>> {
        self.auths.get(id).cloned()
    }
}
