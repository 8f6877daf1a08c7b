//! The ways in which deliveries prove themselves, kept in the store.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Dispatcher;
use crate::auth::{AuthConfig, AuthError, GeneratedKey, HmacAuth, HmacScheme};
use crate::id::{AuthId, WebhookId};
use crate::store::{AuthRecord, StoreError};

/// How many of the webhooks that keep an auth record from being removed are named.
const USERS_NAMED: usize = 100;

impl Dispatcher {
    /// Keeps a way of proving deliveries under an id that registrations name, in place of any other of that id.
    /// Attempts from now on go by it, in every process. Saved anew at each start, a key undoes its
    /// [rotations](Self::rotate_auth).
    ///
    /// # Errors
    ///
    /// [`SaveAuthError::Unusable`] if it could not prove anything, such as one with an empty key or with a token URL
    /// that the engine's guard does not allow.
    pub async fn save_auth(
        &self,
        id: impl Into<AuthId>,
        name: impl Into<String>,
        config: AuthConfig,
    ) -> Result<(), SaveAuthError> {
        config.provider(&self.parts.auth_tools())?;
        let record = AuthRecord {
            id: id.into(),
            name: name.into(),
            config,
        };
        Ok(self.parts.store.save_auth(record).await?)
    }

    /// Makes a key of 32 random bytes for a signature scheme, and keeps it under that id, which must be new. The key is
    /// shown this once.
    ///
    /// ```
    /// use ringback::auth::HmacScheme;
    /// # use ringback::engine::{Engine, GenerateAuthError, TokioTimer};
    /// # use ringback::store::MemoryStore;
    /// # let sender = ringback::transport::sender_fn(|_| async { Ok(http::Response::default()) });
    /// # let dispatcher = Engine::builder(MemoryStore::new(), sender, TokioTimer).build().dispatcher();
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let key = dispatcher.generate_auth("orders", "Orders", HmacScheme::StandardWebhooks).await?;
    /// assert!(key.expose().starts_with("whsec_"));
    /// # Ok::<(), GenerateAuthError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`GenerateAuthError::IdTaken`] if there is one of that id.
    pub async fn generate_auth(
        &self,
        id: impl Into<AuthId>,
        name: impl Into<String>,
        scheme: HmacScheme,
    ) -> Result<GeneratedKey, GenerateAuthError> {
        let key = self.key(scheme);
        let id = id.into();
        let record = AuthRecord {
            id: id.clone(),
            name: name.into(),
            config: AuthConfig::Hmac(HmacAuth::new(scheme, &key)),
        };
        match self.parts.store.replace_auth(None, record).await? {
            true => Ok(key),
            false => Err(GenerateAuthError::IdTaken(id)),
        }
    }

    /// Makes a new key for a signature scheme, in place of the one it has, in such a way that receivers have the time of
    /// the overlap to install it ([`HmacAuth::rotate`] says how). It is stored with its times, so it goes by them in
    /// every process, and goes on after a restart. The new key is shown this once.
    ///
    /// # Errors
    ///
    /// [`RotateAuthError::Unknown`], or [`RotateAuthError::NotHmac`] for one that has no key.
    pub async fn rotate_auth(&self, id: &AuthId, overlap: Duration) -> Result<RotatedKey, RotateAuthError> {
        loop {
            let Some(old) = self.parts.store.auth(id).await? else {
                return Err(RotateAuthError::Unknown(id.clone()));
            };
            let AuthConfig::Hmac(mut hmac) = old.config.clone() else {
                return Err(RotateAuthError::NotHmac(id.clone()));
            };
            let key = self.key(hmac.scheme);
            let overlap_ends = hmac.rotate(&key, overlap, self.parts.timer.now());
            let new = AuthRecord {
                config: AuthConfig::Hmac(hmac),
                ..(*old).clone()
            };
            // Where somebody else was faster, theirs is what is rotated.
            if self.parts.store.replace_auth(Some(&old), new).await? {
                return Ok(RotatedKey { key, overlap_ends });
            }
        }
    }

    fn key(&self, scheme: HmacScheme) -> GeneratedKey {
        let mut random = zeroize::Zeroizing::new([0; 32]);
        self.parts.entropy.fill(&mut *random);
        scheme.key(&random)
    }

    /// What is known of the auth record of that id, without its secrets.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn auth(&self, id: &AuthId) -> Result<Option<AuthInfo>, StoreError> {
        let record = self.parts.store.auth(id).await?;
        Ok(record.as_deref().map(AuthInfo::from))
    }

    /// What is known of the auth records, without their secrets, by id: the first `max` after that id. Fewer than `max`
    /// are the last.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn auths(&self, after: Option<&AuthId>, max: usize) -> Result<Vec<AuthInfo>, StoreError> {
        let records = self.parts.store.auths(after, max).await?;
        Ok(records.iter().map(|record| AuthInfo::from(&**record)).collect())
    }

    /// Removes an auth record that no webhook names. Whether there was one.
    ///
    /// # Errors
    ///
    /// [`RemoveAuthError::InUse`] if webhooks name it. Have them name another first, or
    /// [revoke](Self::revoke_auth) it.
    pub async fn remove_auth(&self, id: &AuthId) -> Result<bool, RemoveAuthError> {
        let users = self.parts.store.webhooks_with_auth(id, USERS_NAMED).await?;
        match users.is_empty() {
            true => Ok(self.revoke_auth(id).await?),
            false => Err(RemoveAuthError::InUse(users)),
        }
    }

    /// Removes an auth record whoever names it, such as one whose key has become known. Deliveries of the webhooks that
    /// still name it wait, and are neither sent bare nor lost. Whether there was one.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn revoke_auth(&self, id: &AuthId) -> Result<bool, StoreError> {
        let removed = self.parts.store.remove_auth(id).await;
        self.parts.forget_auth(id);
        removed
    }
}

/// A new key, and how long the old one still counts.
#[derive(Debug)]
#[must_use = "the key is shown only once"]
pub struct RotatedKey {
    /// The new key.
    pub key: GeneratedKey,
    /// Until when receivers have to have installed it.
    pub overlap_ends: DateTime<Utc>,
}

/// What can be told of an auth record: everything but its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthInfo {
    /// Its id.
    pub id: AuthId,
    /// Its name, for people.
    pub name: String,
    /// What kind it is.
    pub kind: AuthKind,
}

/// What kind an auth record is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthKind {
    /// A signature made with a shared secret.
    #[non_exhaustive]
    Hmac {
        /// Which.
        scheme: HmacScheme,
        /// When each of its keys signs, the newest first.
        keys: Vec<KeyTimes>,
    },
    /// Headers that are the same on every request.
    #[non_exhaustive]
    Headers {
        /// What they are called.
        names: Vec<http::HeaderName>,
    },
    /// An access token, by OAuth 2.0 client credentials.
    #[non_exhaustive]
    OAuth2 {
        /// The id of the client.
        client_id: String,
    },
}

/// When a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyTimes {
    /// From when on; `None`: it always did.
    pub from: Option<DateTime<Utc>>,
    /// Until when; `None`: no end is set.
    pub until: Option<DateTime<Utc>>,
}

impl From<&AuthRecord> for AuthInfo {
    fn from(record: &AuthRecord) -> Self {
        let kind = match &record.config {
            AuthConfig::Hmac(hmac) => AuthKind::Hmac {
                scheme: hmac.scheme,
                keys: hmac
                    .keys
                    .iter()
                    .map(|key| KeyTimes {
                        from: key.from,
                        until: key.until,
                    })
                    .collect(),
            },
            AuthConfig::Headers(headers) => AuthKind::Headers {
                names: headers.headers.iter().map(|(name, _)| name.clone()).collect(),
            },
            AuthConfig::OAuth2(oauth2) => AuthKind::OAuth2 {
                client_id: oauth2.client_id.clone(),
            },
        };
        Self {
            id: record.id.clone(),
            name: record.name.clone(),
            kind,
        }
    }
}

/// Why a way of proving deliveries was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveAuthError {
    /// It could not prove anything as it is.
    #[error("the authentication cannot be used: {0}")]
    Unusable(#[from] AuthError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateAuthError {
    /// There is an authentication of that id, and its key is not overwritten.
    #[error("there is an authentication `{0}` already")]
    IdTaken(AuthId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a key was not rotated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateAuthError {
    /// There is none of that id in the store.
    #[error("there is no authentication `{0}`")]
    Unknown(AuthId),
    /// It has no key.
    #[error("the authentication `{0}` has no key to rotate")]
    NotHmac(AuthId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an auth record was not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveAuthError {
    /// These webhooks name it, perhaps with others after them.
    #[error("the authentication is used by {} webhook(s)", .0.len())]
    InUse(Vec<WebhookId>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
