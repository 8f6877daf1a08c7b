//! Registrations, and the records of how deliveries prove themselves.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreError;
use crate::auth::AuthConfig;
use crate::delivery::Webhook;
use crate::id::{AuthId, Scope, WebhookId};

/// Keeps webhooks and auth records.
///
/// # Contract
///
/// **Saved.** What is saved, by `save_webhook` or by `replace_webhook`, is read back equal. From the moment the call
/// returns, claims go by the saved limits, order, switch, URL and auth. A webhook that is removed is gone from every answer at once; its waiting
/// deliveries end as [`DeliveryStore`](super::DeliveryStore) says. Saving a webhook again under the id of a
/// removed one registers it anew.
///
/// **A webhook never changes its scope.** Saving one over another of the same id and a different scope changes nothing
/// and answers [`Saved::OtherScope`].
///
/// **Failing.** The store knows since when a webhook has been failing: from the first attempt settled as failed, when
/// that was known, until the first one settled as delivered
/// ([`failing_since`](crate::delivery::failing_since) is the rule). Saving a webhook leaves it as it is; but where the
/// webhook was disabled and is enabled, it is failing no more, whatever was before.
///
/// **Compared and changed in one commit.** `switch_webhook` and `replace_webhook` look and change in one commit. So whoever
/// disables a webhook for failing does so only if it is still failing since the same instant, and whoever registers one
/// anew, as enabled as it was, does not enable what was disabled meanwhile. What `replace_webhook` compares with is what
/// `webhook` answers, and where that differs it answers [`Saved::Changed`], whatever else could be said.
///
/// **Auth records.** One may be removed while webhooks still name it; their deliveries then wait, and are neither sent
/// bare nor lost. `replace_auth` compares and replaces in one commit.
///
/// **Lists** are in the order of ids, compared byte by byte, begin after the id that is given, and have `max` entries
/// unless there are no more.
///
/// # Errors
///
/// As the [module](super) says.
///
/// # Cancellation
///
/// As the [module](super) says.
#[async_trait]
pub trait WebhookStore: Debug + Send + Sync + 'static {
    /// Adds a webhook, or puts it in place of the one with its id.
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<Saved, StoreError>;

    /// Puts a webhook in place of that one, if it is still as it was; of none, if there is none of its id.
    async fn replace_webhook(
        &self,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError>;

    /// Enables or disables a webhook.
    async fn switch_webhook(
        &self,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError>;

    /// Removes a webhook. Whether there was one.
    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// The webhook with that id.
    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError>;

    /// All webhooks of a scope, by id.
    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError>;

    /// Webhooks of every scope.
    async fn all_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<Arc<Webhook>>, StoreError>;

    /// Webhooks that are enabled and failing.
    async fn failing_webhooks(
        &self,
        after: Option<&WebhookId>,
        max: usize,
    ) -> Result<Vec<FailingWebhook>, StoreError>;

    /// Adds an auth record, or puts it in place of the one with its id.
    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError>;

    /// Puts an auth record in place of that one, if it is still as it was; of none, if there is none of its id. Whether
    /// it did.
    async fn replace_auth(&self, old: Option<&AuthRecord>, new: AuthRecord) -> Result<bool, StoreError>;

    /// Removes an auth record. Whether there was one.
    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError>;

    /// The auth record with that id.
    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError>;

    /// Auth records.
    async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<Arc<AuthRecord>>, StoreError>;

    /// The first webhooks, by id, that name this auth record, there or not.
    async fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Result<Vec<WebhookId>, StoreError>;
}

/// How deliveries prove themselves: created once, named by as many webhooks as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRecord {
    /// Its id, unique in the store.
    pub id: AuthId,
    /// A name for people.
    pub name: String,
    /// The kind, with its secrets.
    pub config: AuthConfig,
}

/// Whether a webhook was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It was.
    Done,
    /// There is one of that id in another scope. Nothing was changed.
    OtherScope,
    /// The one to be replaced is not as it was; of `replace_webhook` only. Nothing was changed.
    Changed,
}

/// How to switch a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Enable it. It is failing no more, and [`Webhook::disabled`] says nothing.
    On,
    /// Disable it, by hand: [`Webhook::disabled`] says nothing.
    Off,
    /// Disable it for failing, if it is enabled and still failing since that very instant; [`Webhook::disabled`] then
    /// says so.
    OffIfFailingSince(DateTime<Utc>),
}

/// What came of switching a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switched {
    /// It was switched, and is now like this; `updated_at` is the instant of the call.
    Done(Arc<Webhook>),
    /// It was so already, or it is not failing since that instant. Nothing was changed.
    Unchanged(Arc<Webhook>),
    /// There is no such webhook.
    Unknown,
}

/// A webhook that has had nothing but failures for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingWebhook {
    /// Which one.
    pub webhook: Arc<Webhook>,
    /// Since when.
    pub since: DateTime<Utc>,
}
