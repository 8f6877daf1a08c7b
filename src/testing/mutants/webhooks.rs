//! What is broken about webhooks and auth records.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Mutant, MutantStore};
use crate::delivery::{Order, Webhook};
use crate::id::{AuthId, Scope, WebhookId};
use crate::store::{AuthRecord, FailingWebhook, Saved, StoreError, Switch, Switched, WebhookStore};

impl MutantStore {
    /// The webhook as the working store is to know it.
    fn altered(&self, webhook: &Webhook) -> Webhook {
        let mut altered = webhook.clone();
        match self.mutant {
            Mutant::InFlightLimitIgnored => altered.limits.in_flight = NonZeroU32::MAX,
            Mutant::StrictOrderIgnored => altered.order = Order::Any,
            Mutant::RateIgnored => altered.limits.rate = None,
            Mutant::SwitchIgnored => altered.enabled = true,
            Mutant::GoneIgnored => altered.auto_disable.when_gone = false,
            _ => {}
        }
        altered.flusher = altered.flusher.map(|flusher| self.mutant.flusher(flusher));
        altered
    }

    /// Saves a webhook; with limits that are frozen, those of the one that is there.
    async fn put(&self, webhook: Webhook, is_frozen: bool, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        let mut altered = self.altered(&webhook);
        if is_frozen && let Some(first) = self.store.webhook(&altered.id).await? {
            (altered.limits, altered.order) = (first.limits, first.order);
        }
        let saved = self.store.save_webhook(altered, now).await?;
        if saved == Saved::Done {
            let mut notes = self.notes();
            notes.removed.remove(&webhook.id);
            notes.webhooks.insert(webhook.id.clone(), Arc::new(webhook));
        }
        Ok(saved)
    }
}

#[async_trait]
impl WebhookStore for MutantStore {
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError> {
        if self.is(Mutant::WebhookMoved)
            && let Some(former) = self.store.webhook(&webhook.id).await?
            && former.scope != webhook.scope
        {
            self.store.remove_webhook(&webhook.id, now).await?;
        }
        self.put(webhook, self.is(Mutant::LimitsFrozen), now).await
    }

    async fn replace_webhook(
        &self,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        let is_as_it_was = self.webhook(&new.id).await?.as_deref() == old;
        if is_as_it_was || self.is(Mutant::WebhookReplacedBlindly) {
            return self.put(new, self.is(Mutant::ReplacedInNameOnly), now).await;
        }
        Ok(Saved::Changed)
    }

    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        let switch = match switch {
            Switch::OffIfFailingSince(_) if self.is(Mutant::DisableIgnoresRace) => Switch::Off,
            switch => switch,
        };
        let switched = self.store.switch_webhook(id, switch, now).await?;
        if let (Switched::Done(webhook), Switch::OffIfFailingSince(_)) = (&switched, switch)
            && self.is(Mutant::DisablingForgets)
        {
            self.store.remove_webhook(id, now).await?;
            let _ = self.store.save_webhook(Webhook::clone(webhook), now).await?;
        }
        if let Switched::Done(webhook) = &switched {
            self.notes().webhooks.insert(id.clone(), Arc::clone(webhook));
        }
        Ok(switched)
    }

    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        if self.is(Mutant::DeletedStillSent) {
            let was_there = self.webhook(id).await?.is_some();
            self.notes().removed.insert(id.clone());
            return Ok(was_there);
        }
        self.store.remove_webhook(id, now).await
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        let webhook = self.store.webhook(id).await?;
        let notes = self.notes();
        let webhook = webhook.filter(|webhook| !notes.removed.contains(&webhook.id));
        Ok(webhook.map(|webhook| notes.as_saved(self.mutant, webhook)))
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let mut webhooks = self.store.webhooks(scope).await?;
        let notes = self.notes();
        webhooks.retain(|webhook| !notes.removed.contains(&webhook.id));
        let as_saved = |webhook| notes.as_saved(self.mutant, webhook);
        Ok(webhooks.into_iter().map(as_saved).collect())
    }

    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        let after = after.filter(|_| !self.is(Mutant::PagesRepeated));
        self.store.all_webhooks(after, max).await
    }

    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError> {
        let mut failing = self.store.failing_webhooks(after, max).await?;
        for found in &mut failing {
            found.webhook = self.notes().as_saved(self.mutant, Arc::clone(&found.webhook));
        }
        if self.is(Mutant::FailingSinceKeptAfterSuccess) {
            let mut notes = self.notes();
            for webhook in failing {
                notes.failed.entry(webhook.webhook.id.clone()).or_insert(webhook);
            }
            failing = notes.failed.values().cloned().collect();
        }
        Ok(failing)
    }

    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError> {
        self.store.save_auth(record).await
    }

    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError> {
        if self.is(Mutant::AuthReplacedBlindly) {
            return self.store.save_auth(new).await.map(|()| true);
        }
        self.store.replace_auth(old, new).await
    }

    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        self.store.remove_auth(id).await
    }

    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError> {
        self.store.auth(id).await
    }

    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError> {
        let after = after.filter(|_| !self.is(Mutant::PagesRepeated));
        self.store.auths(after, max).await
    }

    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError> {
        if self.is(Mutant::AuthUsersForgotten) {
            return Ok(Vec::new());
        }
        self.store.webhooks_with_auth(id, max).await
    }
}
