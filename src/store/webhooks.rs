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
/// What is saved is read back equal. From the moment `save_webhook` returns, claims go by the saved limits,
/// order, switch, URL and auth. A webhook that is removed is gone from every answer at once; its waiting
/// deliveries end as [`DeliveryStore`](super::DeliveryStore) says. Saving a webhook again under the id of a
/// removed one registers it anew. An auth record may be removed while webhooks still name it; their deliveries
/// then wait, and are neither sent bare nor lost.
///
/// # Errors
///
/// As the [module](super) says.
#[async_trait]
pub trait WebhookStore: Debug + Send + Sync + 'static {
    /// Adds a webhook, or puts it in place of the one with its id.
    async fn save_webhook(&self, webhook: Webhook, now: DateTime<Utc>) -> Result<(), StoreError>;

    /// Removes a webhook. Whether there was one.
    async fn remove_webhook(&self, id: &WebhookId, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// The webhook with that id.
    async fn webhook(&self, id: &WebhookId) -> Result<Option<Arc<Webhook>>, StoreError>;

    /// All webhooks of a scope, by id.
    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Arc<Webhook>>, StoreError>;

    /// Adds an auth record, or puts it in place of the one with its id.
    async fn save_auth(&self, record: AuthRecord) -> Result<(), StoreError>;

    /// Removes an auth record. Whether there was one.
    async fn remove_auth(&self, id: &AuthId) -> Result<bool, StoreError>;

    /// The auth record with that id.
    async fn auth(&self, id: &AuthId) -> Result<Option<Arc<AuthRecord>>, StoreError>;
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
