//! The kinds of authentication that can be kept in a store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AuthError, AuthProvider, HmacProvider};
use crate::secret::Secret;

/// How deliveries prove themselves, as data: kept in the store, named by registrations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthConfig {
    /// A signature made with a shared secret.
    Hmac(HmacAuth),
}

/// A signature made with a shared secret.
///
/// The newest key signs. Keep the ones before it for as long as receivers may still know only those: where the
/// scheme has room for several signatures (Standard Webhooks), all of them sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacAuth {
    /// Which bytes are signed, and which headers carry the result.
    pub scheme: HmacScheme,
    /// The keys, the newest first.
    pub keys: Vec<Secret>,
}

impl HmacAuth {
    /// That scheme with one key.
    pub fn new(scheme: HmacScheme, key: impl Into<Secret>) -> Self {
        Self {
            scheme,
            keys: vec![key.into()],
        }
    }

    /// Puts a new key in front, and keeps so many of the old ones.
    pub fn rotate(&mut self, key: impl Into<Secret>, keep: usize) {
        self.keys.truncate(keep);
        self.keys.insert(0, key.into());
    }
}

/// The schemes that sign with a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HmacScheme {
    /// Powens: `BI-Signature` over method, path, date and body.
    BiSignature,
    /// The same with the query under the signature too.
    BiSignatureWithQuery,
    /// Truv: `X-WEBHOOK-SIGN` over the body.
    Truv,
    /// Standard Webhooks `v1`: `webhook-signature` over id, time and body.
    StandardWebhooks,
}

impl AuthConfig {
    /// What does the work, made from this.
    ///
    /// # Errors
    ///
    /// [`AuthErrorKind::Misconfigured`](super::AuthErrorKind::Misconfigured) if it cannot work as it is.
    pub fn provider(&self) -> Result<Arc<dyn AuthProvider>, AuthError> {
        match self {
            AuthConfig::Hmac(hmac) => Ok(Arc::new(HmacProvider::new(hmac)?)),
        }
    }

    /// The configuration as bytes for a store to keep. **They hold the secrets.**
    pub fn dangerous_to_bytes(&self) -> Vec<u8> {
        let AuthConfig::Hmac(hmac) = self;
        let keys = hmac.keys.iter().map(|key| key.expose().to_vec()).collect();
        let stored = Stored::Hmac {
            scheme: hmac.scheme,
            keys,
        };
        // Numbers and strings in a list: serialising them cannot fail.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what [`dangerous_to_bytes`](Self::dangerous_to_bytes) gave.
    ///
    /// # Errors
    ///
    /// [`AuthConfigError::Unreadable`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AuthConfigError> {
        let Stored::Hmac { scheme, keys } =
            serde_json::from_slice(bytes).map_err(|_| AuthConfigError::Unreadable)?;
        Ok(AuthConfig::Hmac(HmacAuth {
            scheme,
            keys: keys.into_iter().map(Secret::new).collect(),
        }))
    }
}

/// The form in which a configuration is stored. Kept apart, so that `AuthConfig` itself cannot be serialised
/// by accident.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Stored {
    Hmac { scheme: HmacScheme, keys: Vec<Vec<u8>> },
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthConfigError {
    /// The stored bytes are not one.
    #[error("not a stored authentication")]
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back_and_nothing_is_shown() {
        let mut hmac = HmacAuth::new(HmacScheme::Truv, "first");
        hmac.rotate("second", 1);
        let config = AuthConfig::Hmac(hmac);
        let bytes = config.dangerous_to_bytes();
        assert_eq!(AuthConfig::from_bytes(&bytes), Ok(config.clone()));
        assert!(!format!("{config:?}").contains("first"));
        assert_eq!(AuthConfig::from_bytes(b"{}"), Err(AuthConfigError::Unreadable));
    }
}
