//! Registering webhooks.

use std::sync::Arc;

use super::{Dispatcher, RegisterError, Registration};
use crate::delivery::Webhook;
use crate::id::{Scope, WebhookId};
use crate::store::{Saved, StoreError, Switch, Switched};

impl Dispatcher {
    /// Registers a webhook, under the id it was [given](Registration::id) or a new one. Where that id is registered
    /// already, the registration is put in place of the old one, so a service may register at every start.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] if it could never be sent to, or the store fails.
    pub async fn register(&self, registration: Registration) -> Result<Webhook, RegisterError> {
        let id = registration
            .id
            .clone()
            .unwrap_or_else(|| WebhookId::from(self.unique().hex()));
        self.save(registration, id, |_| Ok(())).await
    }

    /// Changes a webhook to be as the registration says, all of it; to change a part, start from
    /// [`Registration::from`] the webhook. What waits for it goes by the new registration, the next attempt of each
    /// included. Its scope cannot change.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register), and [`RegisterError::UnknownWebhook`].
    pub async fn update(&self, id: &WebhookId, registration: Registration) -> Result<Webhook, RegisterError> {
        let unknown = || RegisterError::UnknownWebhook(id.clone());
        self.save(registration, id.clone(), |old| old.map(drop).ok_or_else(unknown))
            .await
    }

    /// Saves a webhook in place of one that may be replaced.
    async fn save(
        &self,
        registration: Registration,
        id: WebhookId,
        may_replace: impl Fn(Option<&Webhook>) -> Result<(), RegisterError>,
    ) -> Result<Webhook, RegisterError> {
        let store = &self.parts.store;
        loop {
            let (old, now) = (store.webhook(&id).await?, self.parts.timer.now());
            may_replace(old.as_deref())?;
            let webhook = registration
                .clone()
                .check(id.clone(), old.as_deref(), &self.parts, now)?;
            if let Some(auth) = webhook.auth.as_ref().filter(|auth| !self.parts.has_auth(auth))
                && store.auth(auth).await?.is_none()
            {
                return Err(RegisterError::UnknownAuth(auth.clone()));
            }
            // Whoever was faster may have disabled it, and what takes its place is to be as disabled.
            let saved = store.replace_webhook(old.as_deref(), webhook.clone(), now);
            match saved.await? {
                Saved::Done => return Ok(webhook),
                Saved::OtherScope => return Err(RegisterError::ScopeChanged),
                Saved::Changed => {}
            }
        }
    }

    /// Removes a webhook. What waits for it ends as dead. Whether there was one.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn remove(&self, id: &WebhookId) -> Result<bool, StoreError> {
        self.parts.store.remove_webhook(id, self.parts.timer.now()).await
    }

    /// Enables a webhook. What was kept goes, and it is no longer taken to be failing. The webhook as it is now; `None`
    /// if there is none of that id.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn enable(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        self.switch(id, Switch::On).await
    }

    /// Disables a webhook. What comes and what waits for it is kept until it is enabled again; what is in flight goes
    /// on. The webhook as it is now; `None` if there is none of that id.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn disable(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        self.switch(id, Switch::Off).await
    }

    async fn switch(&self, id: &WebhookId, switch: Switch) -> Result<Option<Arc<Webhook>>, StoreError> {
        let now = self.parts.timer.now();
        Ok(match self.parts.store.switch_webhook(id, switch, now).await? {
            Switched::Done(webhook) | Switched::Unchanged(webhook) => Some(webhook),
            Switched::Unknown => None,
        })
    }

    /// The webhook of that id.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError> {
        self.parts.store.webhook(id).await
    }

    /// The webhooks of a scope, by id.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError> {
        self.parts.store.webhooks(scope).await
    }

    /// Webhooks of every scope, by id: the first `max` after that id. Fewer than `max` are the last.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError> {
        self.parts.store.all_webhooks(after, max).await
    }
}
