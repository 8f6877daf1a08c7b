//! Signing with a shared secret.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::Entry;
use http::{HeaderValue, Request};

use super::{AuthContext, AuthError, AuthErrorKind, AuthProvider, HmacAuth, HmacScheme};
use crate::secret::Secret;
use crate::signature::{BiSignature, HmacKey, Signer, StandardWebhooks, TruvSignature};

/// Signs each attempt anew, with the keys whose time it is.
///
/// ```
/// use ringback::auth::{HmacAuth, HmacProvider, HmacScheme};
///
/// assert!(HmacProvider::new(&HmacAuth::new(HmacScheme::Truv, "secret")).is_ok());
/// assert!(HmacProvider::new(&HmacAuth::new(HmacScheme::Truv, "")).is_err(), "protects nothing");
/// ```
#[derive(Debug, Clone)]
pub struct HmacProvider {
    /// Who signs from which instant on, in order of time; nobody, where no key is for that time.
    phases: Vec<(DateTime<Utc>, Option<Signer>)>,
    is_standard: bool,
}

impl HmacProvider {
    /// Prepares the keys.
    ///
    /// # Errors
    ///
    /// [`AuthErrorKind::Misconfigured`] if there is no key, or one that the scheme refuses.
    pub fn new(config: &HmacAuth) -> Result<Self, AuthError> {
        if config.keys.is_empty() {
            return Err(AuthError::new(AuthErrorKind::Misconfigured));
        }
        for key in &config.keys {
            prepare(config.scheme, &key.secret)?;
        }
        let changes = config.keys.iter().flat_map(|key| [key.from, key.until]);
        let mut starts: Vec<_> = changes.flatten().chain([DateTime::<Utc>::MIN_UTC]).collect();
        starts.sort_unstable();
        starts.dedup();
        let phases = starts
            .into_iter()
            .map(|start| signer(config, start).map(|signer| (start, signer)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            phases,
            is_standard: config.scheme == HmacScheme::StandardWebhooks,
        })
    }

    fn signer_at(&self, now: DateTime<Utc>) -> Option<&Signer> {
        let begun = self.phases.iter().take_while(|(start, _)| *start <= now);
        begun.last().and_then(|(_, signer)| signer.as_ref())
    }
}

/// Who signs at that instant.
fn signer(config: &HmacAuth, now: DateTime<Utc>) -> Result<Option<Signer>, AuthError> {
    let mut keys = config
        .signing_at(now)
        .map(|key| prepare(config.scheme, &key.secret));
    let Some(newest) = keys.next().transpose()? else {
        return Ok(None);
    };
    let signer = match config.scheme {
        HmacScheme::BiSignature => Signer::new(BiSignature::path_only(), newest),
        HmacScheme::BiSignatureWithQuery => Signer::new(BiSignature::path_and_query(), newest),
        HmacScheme::Truv => Signer::new(TruvSignature, newest),
        HmacScheme::StandardWebhooks => Signer::new(StandardWebhooks, newest),
    };
    keys.try_fold(signer, |signer, older| Ok(signer.also(older?)))
        .map(Some)
}

fn prepare(scheme: HmacScheme, secret: &Secret) -> Result<HmacKey, AuthError> {
    let key = match scheme {
        HmacScheme::StandardWebhooks => {
            let text = secret.expose_str();
            HmacKey::from_whsec(text.ok_or_else(|| AuthError::new(AuthErrorKind::Misconfigured))?)
        }
        _ => HmacKey::new(secret.expose()),
    };
    key.map_err(|error| AuthError::with_source(AuthErrorKind::Misconfigured, error))
}

#[async_trait]
impl AuthProvider for HmacProvider {
    async fn authenticate(
        &self,
        request: &mut Request<Bytes>,
        context: &AuthContext<'_>,
    ) -> Result<(), AuthError> {
        let Some(signer) = self.signer_at(context.now) else {
            return Err(AuthError::new(AuthErrorKind::Misconfigured));
        };
        if self.is_standard {
            // Receivers tell copies by it. A profile that knows better has set it already.
            if let (Entry::Vacant(id), Ok(value)) = (
                request.headers_mut().entry("webhook-id"),
                HeaderValue::from_str(context.event.id().as_str()),
            ) {
                id.insert(value);
            }
        }
        signer
            .sign_request(request, context.now)
            .map_err(|error| AuthError::with_source(AuthErrorKind::NotApplicable, error))
    }
}
