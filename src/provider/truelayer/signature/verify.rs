//! Verifying.

use chrono::{DateTime, Utc};
use http::HeaderName;
use p521::ecdsa::signature::Verifier as _;

use super::{KeySet, TlSignature};
use crate::json::UrlText;
use crate::signature::{MaxAge, Message, Refusal, date};

pub(super) static TIMESTAMP: HeaderName = HeaderName::from_static("x-tl-webhook-timestamp");

/// Verifies `Tl-Signature`s against a set of keys.
///
/// Keys are changed now and then. On [`Refusal::UnknownKey`], fetch the set anew, once, and ask again
/// ([`with_keys`](Self::with_keys)).
///
/// Covered are the method, the path, the headers that the signature names, and the body. Not covered: the query,
/// and headers that it does not name. So demand those that matter ([`requiring`](Self::requiring)). Paths are
/// taken with and without a slash at their end, as TrueLayer's own libraries take them.
///
/// ```
/// use chrono::DateTime;
/// use http::Request;
/// use ringback::provider::truelayer::{KeySet, TlVerifier};
/// use ringback::signature::{MaxAge, Message, Refusal};
///
/// let verifier = TlVerifier::new(KeySet::empty(), MaxAge::unlimited()).published_by_truelayer();
/// let request = Request::post("/hook").body("{}").unwrap();
/// let refused = verifier.verify(&Message::from(&request), DateTime::UNIX_EPOCH);
/// assert_eq!(refused.unwrap_err(), Refusal::MissingHeader("tl-signature".parse().unwrap()));
/// ```
#[derive(Debug, Clone)]
pub struct TlVerifier {
    keys: KeySet,
    max_age: MaxAge,
    required: Vec<HeaderName>,
    sources: Option<Vec<UrlText>>,
}

impl TlVerifier {
    /// Where TrueLayer publishes the keys of its webhooks \[TL17\].
    pub const LIVE_KEYS: &'static str = "https://webhooks.truelayer.com/.well-known/jwks";

    /// Where TrueLayer publishes the keys of its sandbox's webhooks \[TL17\].
    pub const SANDBOX_KEYS: &'static str = "https://webhooks.truelayer-sandbox.com/.well-known/jwks";

    /// Accepts what one of the keys signed, no longer ago than the limit.
    ///
    /// TrueLayer publishes no limit, nor whether a retry is dated anew. Under a limit, the signature must cover
    /// `X-Tl-Webhook-Timestamp`.
    pub fn new(keys: KeySet, max_age: MaxAge) -> Self {
        Self {
            keys,
            max_age,
            required: Vec::new(),
            sources: None,
        }
    }

    /// Demands that the signature covers these headers too.
    #[must_use]
    pub fn requiring(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.required.extend(names);
        self
    }

    /// Demands that the message names one of these places as that where its key is published (`jku`).
    #[must_use]
    pub fn published_at<S: Into<UrlText>>(self, sources: impl IntoIterator<Item = S>) -> Self {
        Self {
            sources: Some(sources.into_iter().map(Into::into).collect()),
            ..self
        }
    }

    /// [`published_at`](Self::published_at) with TrueLayer's two.
    #[must_use]
    pub fn published_by_truelayer(self) -> Self {
        self.published_at([Self::LIVE_KEYS, Self::SANDBOX_KEYS])
    }

    /// The same with other keys.
    #[must_use]
    pub fn with_keys(self, keys: KeySet) -> Self {
        Self { keys, ..self }
    }

    /// Checks the signature, and then the signed date against `now`.
    ///
    /// # Errors
    ///
    /// Why the message is not to be trusted. [`Refusal::UnknownKey`] if no key of that name is in the set.
    pub fn verify(&self, message: &Message<'_>, now: DateTime<Utc>) -> Result<TlVerified, Refusal> {
        let signature = TlSignature::of(message)?;
        self.check_claims(&signature)?;
        self.check_signature(message, &signature)?;
        let signed_at = self.signed_date(message, &signature)?;
        if let Some(signed_at) = signed_at {
            self.max_age.check(signed_at, now)?;
        }
        Ok(TlVerified {
            signed_at,
            kid: signature.kid().to_owned(),
            jku: signature.jku().cloned(),
        })
    }

    fn check_claims(&self, signature: &TlSignature<'_>) -> Result<(), Refusal> {
        if let Some(sources) = &self.sources {
            let is_known = |jku| sources.contains(jku);
            if !signature.jku().is_some_and(is_known) {
                return Err(Refusal::UnknownSource);
            }
        }
        let dated = (self.max_age != MaxAge::unlimited()).then_some(&TIMESTAMP);
        match self
            .required
            .iter()
            .chain(dated)
            .find(|name| !signature.covers(name))
        {
            Some(name) => Err(Refusal::UnsignedHeader(name.clone())),
            None => Ok(()),
        }
    }

    fn check_signature(&self, message: &Message<'_>, signature: &TlSignature<'_>) -> Result<(), Refusal> {
        let mut keys = self.keys.find(signature.kid()).peekable();
        keys.peek().ok_or(Refusal::UnknownKey)?;
        let keys: Vec<_> = keys.collect();
        let path = message.path();
        let other_path = match path.strip_suffix('/') {
            Some(shorter) => shorter.to_owned(),
            None => format!("{path}/"),
        };
        for path in [path, &other_path] {
            let signed = signature.signed_bytes(message, path)?;
            let holds = |key: &&_| {
                p521::ecdsa::VerifyingKey::verify(key, signed.as_bytes(), &signature.signature).is_ok()
            };
            if keys.iter().any(holds) {
                return Ok(());
            }
        }
        Err(Refusal::Mismatch)
    }

    /// The date, if the signature covers one.
    fn signed_date(
        &self,
        message: &Message<'_>,
        signature: &TlSignature<'_>,
    ) -> Result<Option<DateTime<Utc>>, Refusal> {
        if !signature.covers(&TIMESTAMP) {
            return Ok(None);
        }
        date::iso8601(message.sole_header(&TIMESTAMP)?).map(Some)
    }
}

/// What is known of a message whose `Tl-Signature` held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlVerified {
    /// When it was signed, if the signature covers `X-Tl-Webhook-Timestamp`.
    pub signed_at: Option<DateTime<Utc>>,
    /// The name of the key that signed it.
    pub kid: String,
    /// Where the sender says that the key is published. Only if it is one of the known places does this say
    /// which of TrueLayer's environments sent the message.
    pub jku: Option<UrlText>,
}
