//! Ed25519 keys, as Standard Webhooks writes them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use zeroize::Zeroizing;

use super::scheme::Canonical;
use super::{KeyError, Refusal, Signatures, SignedDate};

/// A private key. Whoever has it can sign; receivers get its [public half](Self::verifying_key).
#[derive(Clone)]
pub struct Ed25519SigningKey(ed25519_dalek::SigningKey);

impl Ed25519SigningKey {
    /// The key that a seed stands for. The seed must be random.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads `whsk_` (which may be left out) and the base64 of the seed, or of the seed and the public key
    /// after it: both are in use.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotBase64`]; [`KeyError::Length`] for other than 32 or 64 bytes; [`KeyError::Unsafe`] if the
    /// two halves do not belong together.
    pub fn from_whsk(text: &str) -> Result<Self, KeyError> {
        let bytes = decode(text, "whsk_")?;
        if let Ok(seed) = bytes.as_slice().try_into() {
            return Ok(Self::from_seed(seed));
        }
        let pair = bytes.as_slice().try_into().map_err(|_| KeyError::Length)?;
        ed25519_dalek::SigningKey::from_keypair_bytes(pair)
            .map(Self)
            .map_err(|_| KeyError::Unsafe)
    }

    /// The public half.
    pub fn verifying_key(&self) -> Ed25519VerifyingKey {
        Ed25519VerifyingKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, canonical: Canonical<'_>) -> Result<[u8; 64], Refusal> {
        let (signed, _) = canonical.gather()?;
        Ok(self.0.sign(&signed).to_bytes())
    }
}

impl fmt::Debug for Ed25519SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519SigningKey(..)")
    }
}

/// A public key.
///
/// ```
/// use ringback::signature::{Ed25519SigningKey, Ed25519VerifyingKey};
///
/// let private = Ed25519SigningKey::from_whsk("whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")?;
/// let text = private.verifying_key().to_whpk();
/// assert_eq!(text, "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
/// assert_eq!(Ed25519VerifyingKey::from_whpk(&text)?, private.verifying_key());
/// # Ok::<_, ringback::signature::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Ed25519VerifyingKey(ed25519_dalek::VerifyingKey);

impl Ed25519VerifyingKey {
    /// Takes the 32 bytes of a public key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsafe`] if they are no point of the curve, or one of the few for which anyone can sign.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .ok()
            .filter(|key| !key.is_weak())
            .map(Self)
            .ok_or(KeyError::Unsafe)
    }

    /// Reads `whpk_` (which may be left out) and the base64 of 32 bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotBase64`], [`KeyError::Length`] for other than 32 bytes, and those of
    /// [`from_bytes`](Self::from_bytes).
    pub fn from_whpk(text: &str) -> Result<Self, KeyError> {
        let bytes = decode(text, "whpk_")?;
        Self::from_bytes(bytes.as_slice().try_into().map_err(|_| KeyError::Length)?)
    }

    /// The text to hand to receivers: `whpk_` and the base64 of the key.
    pub fn to_whpk(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.0.as_bytes()))
    }

    pub(super) fn verify<'a>(
        &self,
        canonical: Canonical<'a>,
        signatures: &Signatures,
    ) -> Result<Option<SignedDate<'a>>, Refusal> {
        let mut presented = signatures
            .ed25519()
            .map(ed25519_dalek::Signature::from_bytes)
            .peekable();
        presented.peek().ok_or(Refusal::UnknownKey)?;
        let (signed, date) = canonical.gather()?;
        let held = presented.any(|signature| self.0.verify_strict(&signed, &signature).is_ok());
        if held { Ok(date) } else { Err(Refusal::Mismatch) }
    }
}

impl fmt::Debug for Ed25519VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ed25519VerifyingKey")
            .field(&self.to_whpk())
            .finish()
    }
}

fn decode(text: &str, prefix: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let encoded = text.strip_prefix(prefix).unwrap_or(text);
    STANDARD
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| KeyError::NotBase64)
}
