//! P-521 keys, and sets of them as JWKS.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p521::ecdsa::{SigningKey, VerifyingKey};
use p521::pkcs8::{DecodePrivateKey, DecodePublicKey};
use p521::{FieldBytes, Sec1Point, SecretKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::json::{RawJson, SecretText};

/// The bytes of a coordinate, and of a scalar.
const SIZE: usize = 66;

/// The largest key set that is read, in bytes. TrueLayer's has about 1 KiB.
const LARGEST_SET: usize = 256 * 1024;

/// The most keys that are kept of a set.
const MOST_KEYS: usize = 64;

/// A private key and its name, which receivers find the public half by.
#[derive(Clone)]
pub struct TlSigningKey {
    kid: String,
    pub(super) key: SigningKey,
}

impl TlSigningKey {
    /// Reads PEM, as `openssl ecparam -genkey -name secp521r1` writes it (`EC PRIVATE KEY`), or PKCS #8
    /// (`PRIVATE KEY`). `kid` is the key's name.
    ///
    /// # Errors
    ///
    /// [`TlKeyError`].
    pub fn from_pem(kid: impl Into<String>, pem: &str) -> Result<Self, TlKeyError> {
        // OpenSSL puts the curve's name in a block of its own in front, unless told otherwise.
        let sec1 = pem
            .find("-----BEGIN EC PRIVATE KEY-----")
            .and_then(|at| pem.get(at..));
        let secret = match sec1 {
            Some(sec1) => SecretKey::from_sec1_pem(sec1).ok(),
            None => SecretKey::from_pkcs8_pem(pem).ok(),
        };
        Self::named(kid.into(), secret.ok_or(TlKeyError::Malformed)?.into())
    }

    /// Reads a private JWK, which names itself.
    ///
    /// # Errors
    ///
    /// [`TlKeyError`]; [`TlKeyError::Unsafe`] also if its two halves do not belong together.
    pub fn from_jwk(json: &str) -> Result<Self, TlKeyError> {
        let jwk: Jwk = serde_json::from_str(json).map_err(|_| TlKeyError::Malformed)?;
        let encoded = jwk.d.as_ref().and_then(|d| d.secret().expose_str());
        let scalar = encoded.and_then(decode).ok_or(TlKeyError::Malformed)?;
        let (kid, public) = jwk.verifying_key().ok_or(TlKeyError::Malformed)?;
        let key = Self::from_scalar(kid, &scalar)?;
        if *key.key.verifying_key() != public {
            return Err(TlKeyError::Unsafe);
        }
        Ok(key)
    }

    /// The key of a secret scalar: 66 bytes, big-endian. It must be random.
    ///
    /// # Errors
    ///
    /// [`TlKeyError`]; [`TlKeyError::Unsafe`] if it is zero or not below the curve's order.
    pub fn from_scalar(kid: impl Into<String>, scalar: &[u8; SIZE]) -> Result<Self, TlKeyError> {
        let key = SigningKey::from_slice(scalar).map_err(|_| TlKeyError::Unsafe)?;
        Self::named(kid.into(), key)
    }

    fn named(kid: String, key: SigningKey) -> Result<Self, TlKeyError> {
        if kid.is_empty() {
            return Err(TlKeyError::NoName);
        }
        Ok(Self { kid, key })
    }

    /// Its name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, as a set of one, to publish or to verify with.
    pub fn public(&self) -> KeySet {
        KeySet(vec![(self.kid.clone(), *self.key.verifying_key())])
    }
}

/// Shows the name alone.
impl fmt::Debug for TlSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlSigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Why something is no key for `Tl-Signature`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlKeyError {
    /// The key's name is empty, and receivers find the public half by it.
    #[error("the key has no name")]
    NoName,
    /// It is not a key of the curve P-521 in that form.
    #[error("not a P-521 key in the form expected")]
    Malformed,
    /// It is a number that is no secret of the curve, or two halves that do not belong together.
    #[error("the key is not a safe key of its curve")]
    Unsafe,
}

/// Public keys by name, as published in a JWKS document.
///
/// ```
/// use ringback::provider::truelayer::KeySet;
///
/// let keys = KeySet::parse(br#"{"keys":[
///     {"kty":"RSA","alg":"RS512","kid":"db2e","n":"piC9AfXk","e":"AQAB"},
///     {"kty":"EC","alg":"ES512","kid":"45fc","crv":"P-521",
///      "x":"oLuW4nFqoUuR8d7FVsUoI62libYdQlWGtLStnqdudLY92bQ0ra5eZAbkunrGTR9-w9mr4o2Etyb6pC7YB2-23WM",
///      "y":"AX1cjkGMiltikPrkX49qwuJDdcETaTsj-kyFP8jsF9W5XAB3Z4tBiQtc72DQnJYeKyAV_T6qZTtFKFr-Tp4iu-j7"}
/// ]}"#)?;
/// assert_eq!(keys.names().collect::<Vec<_>>(), ["45fc"]);
/// # Ok::<(), ringback::provider::truelayer::KeySetError>(())
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct KeySet(Vec<(String, VerifyingKey)>);

impl KeySet {
    /// No keys.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a JWKS document, as fetched.
    ///
    /// Keys that `Tl-Signature` cannot be made with are left out, as RFC 7517 has it: of another kind or curve,
    /// for another algorithm or use, without a name, or malformed. Coordinates may be shorter than 66 bytes, since
    /// TrueLayer's own lack their leading zeros.
    ///
    /// # Errors
    ///
    /// [`KeySetError`].
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > LARGEST_SET {
            return Err(KeySetError::TooLarge);
        }
        let set: Jwks = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        let keys = set.keys.iter();
        let keys: Vec<_> = keys
            .filter_map(|key| key.read::<Jwk>().ok()?.verifying_key())
            .take(MOST_KEYS + 1)
            .collect();
        if keys.len() > MOST_KEYS {
            return Err(KeySetError::TooLarge);
        }
        Ok(Self(keys))
    }

    /// The one public key of a PEM (`PUBLIC KEY`), under that name.
    ///
    /// # Errors
    ///
    /// [`TlKeyError`].
    pub fn from_pem(kid: impl Into<String>, pem: &str) -> Result<Self, TlKeyError> {
        let kid = kid.into();
        if kid.is_empty() {
            return Err(TlKeyError::NoName);
        }
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| TlKeyError::Malformed)?;
        Ok(Self(vec![(kid, key)]))
    }

    /// These keys and those: while one is being changed for another, both are published.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The names of the keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(kid, _)| kid.as_str())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JWKS document to publish.
    pub fn to_json(&self) -> String {
        let keys: Vec<_> = self.0.iter().map(|(kid, key)| Jwk::public(kid, key)).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// The keys of that name: one, in a set as it should be.
    pub(super) fn find(&self, kid: &str) -> impl Iterator<Item = &VerifyingKey> {
        self.0
            .iter()
            .filter_map(move |(name, key)| (name == kid).then_some(key))
    }
}

/// Shows the names alone.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySet")?;
        f.debug_list().entries(self.names()).finish()
    }
}

/// Why a document is no key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It has more than 256 KiB, or more than 64 keys that could be used.
    #[error("the key set is too large")]
    TooLarge,
    /// It is not a JSON object with an array of `keys`.
    #[error("not a key set")]
    Malformed,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<RawJson>,
}

/// A key as RFC 7517 and RFC 7518 write it, as far as P-521 needs.
#[derive(Deserialize, Serialize)]
struct Jwk {
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    kid: String,
    crv: String,
    x: String,
    y: String,
    #[serde(skip_serializing)]
    d: Option<SecretText>,
}

impl Jwk {
    fn public(kid: &str, key: &VerifyingKey) -> Self {
        let point = key.to_sec1_point(false);
        let (x, y) = point.as_bytes().split_at(1 + SIZE);
        Self {
            kty: "EC".to_owned(),
            alg: Some("ES512".to_owned()),
            usage: Some("sig".to_owned()),
            kid: kid.to_owned(),
            crv: "P-521".to_owned(),
            x: URL_SAFE_NO_PAD.encode(x.get(1..).unwrap_or_default()),
            y: URL_SAFE_NO_PAD.encode(y),
            d: None,
        }
    }

    /// The name and the public key, if `Tl-Signature` can be made with it.
    fn verifying_key(&self) -> Option<(String, VerifyingKey)> {
        let is_or_absent =
            |field: &Option<String>, value| field.as_deref().is_none_or(|field| field == value);
        let fits = self.kty == "EC"
            && self.crv == "P-521"
            && !self.kid.is_empty()
            && is_or_absent(&self.alg, "ES512")
            && is_or_absent(&self.usage, "sig");
        if !fits {
            return None;
        }
        let x = FieldBytes::from(*decode(&self.x)?);
        let y = FieldBytes::from(*decode(&self.y)?);
        let point = Sec1Point::from_affine_coordinates(&x, &y, false);
        let key = VerifyingKey::from_sec1_point(&point).ok()?;
        Some((self.kid.clone(), key))
    }
}

/// At most 66 bytes, big-endian, with the leading zeros that some writers leave out.
fn decode(text: &str) -> Option<Zeroizing<[u8; SIZE]>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    let mut padded = Zeroizing::new([0; SIZE]);
    let start = SIZE.checked_sub(bytes.len()).filter(|_| !bytes.is_empty())?;
    padded.get_mut(start..)?.copy_from_slice(&bytes);
    Some(padded)
}
