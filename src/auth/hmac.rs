//! Signing with a shared secret.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::Entry;
use http::{HeaderValue, Request};

use super::{AuthContext, AuthError, AuthErrorKind, AuthProvider, HmacAuth, HmacScheme};
use crate::signature::{BiSignature, HmacKey, Signer, StandardWebhooks, TruvSignature};

/// Signs each attempt anew, with the newest key and, where the scheme has room for them, the older ones too.
///
/// ```
/// use ringback::auth::{HmacAuth, HmacProvider, HmacScheme};
///
/// assert!(HmacProvider::new(&HmacAuth::new(HmacScheme::Truv, "secret")).is_ok());
/// assert!(HmacProvider::new(&HmacAuth::new(HmacScheme::Truv, "")).is_err(), "protects nothing");
/// ```
#[derive(Debug, Clone)]
pub struct HmacProvider {
    signer: Signer,
    is_standard: bool,
}

impl HmacProvider {
    /// Prepares the keys.
    ///
    /// # Errors
    ///
    /// [`AuthErrorKind::Misconfigured`] if there is no key, or one that the scheme refuses.
    pub fn new(config: &HmacAuth) -> Result<Self, AuthError> {
        let misconfigured = || AuthError::new(AuthErrorKind::Misconfigured);
        let keys: Vec<_> = config
            .keys
            .iter()
            .map(|secret| match config.scheme {
                HmacScheme::StandardWebhooks => {
                    secret.expose_str().ok_or_else(misconfigured).and_then(|text| {
                        HmacKey::from_whsec(text)
                            .map_err(|error| AuthError::with_source(AuthErrorKind::Misconfigured, error))
                    })
                }
                _ => HmacKey::new(secret.expose())
                    .map_err(|error| AuthError::with_source(AuthErrorKind::Misconfigured, error)),
            })
            .collect::<Result<_, _>>()?;
        let (newest, older) = keys.split_first().ok_or_else(misconfigured)?;
        let signer = match config.scheme {
            HmacScheme::BiSignature => Signer::new(BiSignature::path_only(), newest.clone()),
            HmacScheme::BiSignatureWithQuery => Signer::new(BiSignature::path_and_query(), newest.clone()),
            HmacScheme::Truv => Signer::new(TruvSignature, newest.clone()),
            HmacScheme::StandardWebhooks => Signer::new(StandardWebhooks, newest.clone()),
        };
        Ok(Self {
            signer: older.iter().cloned().fold(signer, Signer::also),
            is_standard: config.scheme == HmacScheme::StandardWebhooks,
        })
    }
}

#[async_trait]
impl AuthProvider for HmacProvider {
    async fn authenticate(
        &self,
        request: &mut Request<Bytes>,
        context: &AuthContext<'_>,
    ) -> Result<(), AuthError> {
        if self.is_standard {
            // Receivers tell copies by it. A profile that knows better has set it already.
            if let (Entry::Vacant(id), Ok(value)) = (
                request.headers_mut().entry("webhook-id"),
                HeaderValue::from_str(context.event.id().as_str()),
            ) {
                id.insert(value);
            }
        }
        self.signer
            .sign_request(request, context.now)
            .map_err(|error| AuthError::with_source(AuthErrorKind::NotApplicable, error))
    }
}
