//! Keys, prepared once and used often.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use super::scheme::Canonical;
#[cfg(feature = "ed25519")]
use super::{Ed25519SigningKey, Ed25519VerifyingKey};
use super::{Refusal, Signature, Signatures, SignedDate};

/// What makes signatures.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SigningKey {
    /// A secret shared with the receiver.
    Hmac(HmacKey),
    /// A private key, whose public half the receiver has.
    #[cfg(feature = "ed25519")]
    Ed25519(Ed25519SigningKey),
}

impl SigningKey {
    pub(super) fn sign(&self, canonical: Canonical<'_>) -> Result<Signature, Refusal> {
        match self {
            Self::Hmac(key) => key.sign(canonical).map(Signature::HmacSha256),
            #[cfg(feature = "ed25519")]
            Self::Ed25519(key) => key.sign(canonical).map(Signature::Ed25519),
        }
    }
}

impl From<HmacKey> for SigningKey {
    fn from(key: HmacKey) -> Self {
        Self::Hmac(key)
    }
}

#[cfg(feature = "ed25519")]
impl From<Ed25519SigningKey> for SigningKey {
    fn from(key: Ed25519SigningKey) -> Self {
        Self::Ed25519(key)
    }
}

/// What checks signatures.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum VerifyingKey {
    /// A secret shared with the sender.
    Hmac(HmacKey),
    /// The sender's public key.
    #[cfg(feature = "ed25519")]
    Ed25519(Ed25519VerifyingKey),
}

impl VerifyingKey {
    /// The signed date, if one of the signatures was made with this key over these bytes. `Mismatch` if none
    /// was, `UnknownKey` if none is of this key's kind.
    pub(super) fn verify<'a>(
        &self,
        canonical: Canonical<'a>,
        signatures: &Signatures,
    ) -> Result<Option<SignedDate<'a>>, Refusal> {
        match self {
            Self::Hmac(key) => key.verify(canonical, signatures),
            #[cfg(feature = "ed25519")]
            Self::Ed25519(key) => key.verify(canonical, signatures),
        }
    }
}

impl From<HmacKey> for VerifyingKey {
    fn from(key: HmacKey) -> Self {
        Self::Hmac(key)
    }
}

#[cfg(feature = "ed25519")]
impl From<Ed25519VerifyingKey> for VerifyingKey {
    fn from(key: Ed25519VerifyingKey) -> Self {
        Self::Ed25519(key)
    }
}

/// A secret for HMAC with SHA-256. Both sides hold the same one.
///
/// The secret is hashed into the key's two starting states once, here; each use begins with a copy of them.
///
/// ```
/// use ringback::signature::{HmacKey, KeyError};
///
/// let key = HmacKey::new("clé-secrète")?;
/// assert_eq!(format!("{key:?}"), "HmacKey(..)");
/// assert_eq!(HmacKey::new("").unwrap_err(), KeyError::Empty);
/// # Ok::<_, KeyError>(())
/// ```
#[derive(Clone)]
pub struct HmacKey(Hmac<Sha256>);

impl HmacKey {
    /// Takes the bytes as they are, a text in UTF-8. What Powens and Truv give out is used like this, also
    /// where it looks like base64 or hexadecimal; for Standard Webhooks see [`from_whsec`](Self::from_whsec).
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`]: with an empty secret, everyone could sign.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        // HMAC takes a key of any length.
        Hmac::new_from_slice(secret)
            .map(Self)
            .map_err(|_| KeyError::Length)
    }

    /// The HMAC of the pieces, one after the other.
    pub(super) fn mac(&self, pieces: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        pieces.iter().for_each(|piece| mac.update(piece));
        mac.finalize().into_bytes().into()
    }

    fn sign(&self, canonical: Canonical<'_>) -> Result<[u8; 32], Refusal> {
        self.mac_of(canonical).map(|(mac, _)| mac)
    }

    fn verify<'a>(
        &self,
        canonical: Canonical<'a>,
        signatures: &Signatures,
    ) -> Result<Option<SignedDate<'a>>, Refusal> {
        if signatures.hmac_sha256().next().is_none() {
            return Err(Refusal::UnknownKey);
        }
        let (right, date) = self.mac_of(canonical)?;
        let held = signatures.hmac_sha256().fold(Choice::from(0), |held, presented| {
            held | is_same(&right, presented)
        });
        if held.into() {
            Ok(date)
        } else {
            Err(Refusal::Mismatch)
        }
    }

    /// The HMAC, and the date it covers.
    fn mac_of<'a>(&self, canonical: Canonical<'a>) -> Result<([u8; 32], Option<SignedDate<'a>>), Refusal> {
        let mut mac = self.0.clone();
        let date = canonical.write(&mut |piece| mac.update(piece))?;
        Ok((mac.finalize().into_bytes().into(), date))
    }
}

/// Whether two are the same, in a time that does not depend on where they differ. Eight bytes at once, since a barrier against
/// the optimizer stands behind each comparison.
fn is_same(right: &[u8; 32], presented: &[u8; 32]) -> Choice {
    let words = right.as_chunks::<8>().0.iter().zip(presented.as_chunks::<8>().0);
    let difference = words.fold(0, |difference, (right, presented)| {
        difference | (u64::from_ne_bytes(*right) ^ u64::from_ne_bytes(*presented))
    });
    difference.ct_eq(&0)
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey(..)")
    }
}

/// Why a text or a run of bytes is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is nothing in it.
    #[error("the secret is empty")]
    Empty,
    /// It is not base64.
    #[error("the key is not base64")]
    NotBase64,
    /// It is too short or too long for its kind.
    #[error("the key has a length that its kind does not allow")]
    Length,
    /// Its bytes are no point of the curve, a point that anyone could sign for, or two halves that do not
    /// belong together.
    #[error("the key is not a safe key of its curve")]
    Unsafe,
}
