//! Encryption of what a store keeps: XChaCha20-Poly1305, under keys that the application supplies and can replace.
//!
//! A copy of a database (a backup, a stolen disk, a snapshot of a volume) then gives away neither the secrets nor the
//! contents in it. Each value is encrypted by itself, with a random nonce of 192 bits, and bound to its place: the column and
//! the row it belongs to are authenticated with it, so that a value which somebody moved to another row, or changed, is not
//! read. What stays readable is what a store looks for: ids, scopes, types, states and instants. Each store's documentation
//! says exactly which columns are which.
//!
//! # Replacing a key
//!
//! 1. Give every process the new key in second place, to read with: `EncryptionKeys::new(old).and(new)`.
//! 2. Give every process the new key in first place: `EncryptionKeys::new(new).and(old)`. From the first that opens the
//!    store so, all of them write under the new key.
//! 3. Have what was written before encrypted anew, while everything runs
//!    ([`SqliteStore::encrypt_anew`](super::SqliteStore::encrypt_anew), and `PostgresStore` has the same).
//! 4. Once that has returned, take the old key out, and destroy it when no backup needs it any more.
//!
//! The first step is for several processes alone: one that does not have the new key would otherwise end with
//! [`WrongKey`](super::StoreErrorKind::WrongKey) at the second, with nothing lost. The same steps turn encryption on or off in
//! a store that exists, with [`EncryptionKeys::dangerous_plaintext`] for the old or the new key.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::system::Entropy;
use crate::system::SystemEntropy;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// A key for what a store keeps: 256 random bits.
///
/// It is as long-lived as the data. Keep it where the database is not, such as in the secrets of the deployment: whoever
/// has both reads everything, and whoever has lost it reads nothing.
///
/// ```
/// use ringback::store::{EncryptionKey, EncryptionKeyError};
///
/// // As `openssl rand -base64 32` prints one.
/// let key = EncryptionKey::from_base64("G8VnVeIvA2ZzgeKfRkoXbWRxfNS02+ewmRQ6k2gGvVo=")?;
/// assert_eq!(format!("{key:?}"), format!("EncryptionKey({})", key.id()));
/// assert_eq!(EncryptionKey::from_base64("hunter2").unwrap_err(), EncryptionKeyError);
/// # Ok::<(), EncryptionKeyError>(())
/// ```
#[derive(Clone)]
pub struct EncryptionKey {
    id: KeyId,
    cipher: Arc<XChaCha20Poly1305>,
}

/// The text is not 32 bytes in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("an encryption key is 32 bytes, written in base64")]
pub struct EncryptionKeyError;

impl EncryptionKey {
    /// The key of these bytes. They must be random: a password is none, and neither is its hash.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        // A value that only the key gives, and that gives away nothing of it.
        let digest = Sha256::new().chain_update(b"ringback: the id of the encryption key ");
        let digest = digest.chain_update(bytes.as_slice()).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self {
            id: KeyId(u64::from_be_bytes(id)),
            cipher: Arc::new(XChaCha20Poly1305::new((&*bytes).into())),
        }
    }

    /// Reads 32 bytes written in base64, with padding.
    ///
    /// # Errors
    ///
    /// If it is anything else.
    pub fn from_base64(text: &str) -> Result<Self, EncryptionKeyError> {
        let bytes = STANDARD.decode(text.trim_ascii()).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| EncryptionKeyError)?;
        let bytes = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| EncryptionKeyError)?;
        Ok(Self::new(bytes))
    }

    /// Draws one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; KEY_BYTES];
        entropy.fill(&mut bytes);
        Self::new(bytes)
    }

    /// What the key is called where it is not to be seen: in the store, in errors and logs. It follows from the key.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id)
    }
}

/// The name of an [`EncryptionKey`]: 64 bits that follow from it and do not betray it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// What stands for no key.
    const PLAINTEXT: Self = Self(0);

    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PLAINTEXT => f.write_str("no key"),
            Self(id) => write!(f, "{id:016x}"),
        }
    }
}

/// The keys that a store is opened with: the first encrypts, all of them decrypt.
///
/// ```
/// use ringback::store::{EncryptionKey, EncryptionKeys};
/// use ringback::system::SystemEntropy;
///
/// let (old, new) = (EncryptionKey::generate(&SystemEntropy), EncryptionKey::generate(&SystemEntropy));
/// let keys = EncryptionKeys::new(new).and(old);
/// ```
#[derive(Debug, Clone)]
pub struct EncryptionKeys(Vec<Option<EncryptionKey>>);

impl EncryptionKeys {
    /// One key, for everything.
    pub fn new(key: EncryptionKey) -> Self {
        Self(vec![Some(key)])
    }

    /// One more key to decrypt with.
    #[must_use]
    pub fn and(mut self, key: EncryptionKey) -> Self {
        self.0.push(Some(key));
        self
    }

    /// Reads what was kept without encryption too, so that it can be [encrypted
    /// anew](super::SqliteStore::encrypt_anew). Until that is done, whoever can write to the database can put values there
    /// that no key vouches for.
    #[must_use]
    pub fn and_plaintext(mut self) -> Self {
        self.0.push(None);
        self
    }

    /// No encryption: whoever reads the database, or a copy of it, reads every secret and every body in it. For databases
    /// that are encrypted by other means.
    pub fn dangerous_plaintext() -> Self {
        Self(vec![None])
    }

    /// The keys' ids, the one that encrypts first.
    pub(super) fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(id_of)
    }

    fn find(&self, id: KeyId) -> Option<&Option<EncryptionKey>> {
        self.0.iter().find(|key| id_of(key) == id)
    }
}

fn id_of(key: &Option<EncryptionKey>) -> KeyId {
    key.as_ref().map_or(KeyId::PLAINTEXT, EncryptionKey::id)
}

impl From<EncryptionKey> for EncryptionKeys {
    fn from(key: EncryptionKey) -> Self {
        Self::new(key)
    }
}

/// Where a value is kept: its column, and what identifies its row there. A value that was moved is not read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) column: &'a str,
    pub(super) row: &'a [&'a [u8]],
}

impl Place<'_> {
    /// The place in bytes, such that no two places have the same.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for part in std::iter::once(&self.column.as_bytes()).chain(self.row) {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part);
        }
        data
    }
}

/// A value is not what was kept there: it was damaged, changed or moved, or its key is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is kept there cannot be decrypted")]
pub(super) struct Undecipherable;

/// Encrypts with one key, and decrypts with all. What it makes of a value is the id of the key, the nonce, the value
/// encrypted, the tag; or, without a key, the id that stands for none and the value. What is empty stays empty.
#[derive(Debug)]
pub(super) struct Vault {
    keys: EncryptionKeys,
    current: KeyId,
}

impl Vault {
    pub(super) fn new(keys: EncryptionKeys) -> Self {
        let current = keys.ids().next().unwrap_or(KeyId::PLAINTEXT);
        Self { keys, current }
    }

    pub(super) fn keys(&self) -> &EncryptionKeys {
        &self.keys
    }

    /// The key that encrypts.
    pub(super) fn current(&self) -> KeyId {
        self.current
    }

    /// Encrypts with this key from now on. Whether it is there.
    pub(super) fn switch_to(&mut self, id: KeyId) -> bool {
        let is_there = self.keys.find(id).is_some();
        if is_there {
            self.current = id;
        }
        is_there
    }

    pub(super) fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, Undecipherable> {
        if value.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.keys.find(self.current).ok_or(Undecipherable)?;
        let mut sealed = Vec::with_capacity(8 + NONCE_BYTES + value.len() + TAG_BYTES);
        sealed.extend_from_slice(&self.current.to_bytes());
        let Some(key) = key else {
            sealed.extend_from_slice(value);
            return Ok(sealed);
        };
        let mut nonce = [0; NONCE_BYTES];
        SystemEntropy.fill(&mut nonce);
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(value);
        let tag = key
            .cipher
            .encrypt_inout_detached(
                &XNonce::from(nonce),
                &place.associated_data(),
                sealed[start..].as_mut().into(),
            )
            .map_err(|_| Undecipherable)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, Undecipherable> {
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        let (id, rest) = sealed.split_at_checked(8).ok_or(Undecipherable)?;
        let key = KeyId::from_bytes(id).and_then(|id| self.keys.find(id));
        let Some(key) = key.ok_or(Undecipherable)? else {
            return Ok(rest.to_vec());
        };
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Undecipherable)?;
        let (value, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Undecipherable)?;
        let mut value = value.to_vec();
        key.cipher
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                &place.associated_data(),
                value.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| Undecipherable)?;
        Ok(value)
    }

    /// The value under the key that encrypts now; nothing, if that is the one it is under.
    pub(super) fn anew(&self, place: Place<'_>, sealed: &[u8]) -> Result<Option<Vec<u8>>, Undecipherable> {
        if sealed.is_empty() || sealed.starts_with(&self.current.to_bytes()) {
            return Ok(None);
        }
        let value = Zeroizing::new(self.open(place, sealed)?);
        self.seal(place, &value).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place<'static> = Place {
        column: "auths.config",
        row: &[b"orders-key"],
    };

    fn key(byte: u8) -> EncryptionKey {
        EncryptionKey::new([byte; KEY_BYTES])
    }

    #[test]
    fn what_was_moved_changed_or_cut_is_not_read() {
        let vault = Vault::new(key(1).into());
        let sealed = vault.seal(PLACE, b"hunter2").unwrap();
        assert_eq!(vault.open(PLACE, &sealed).unwrap(), b"hunter2");
        for (column, row) in [
            ("auths.config", &[&b"other-key"[..]][..]),
            ("webhooks.json", &[b"orders-key"]),
            ("auths.config", &[b"orders", b"-key"]),
            ("auths.config", &[]),
        ] {
            let elsewhere = Place { column, row };
            assert_eq!(
                vault.open(elsewhere, &sealed),
                Err(Undecipherable),
                "{elsewhere:?}"
            );
        }
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(vault.open(PLACE, &changed), Err(Undecipherable), "bit {bit}");
        }
        for length in 1..sealed.len() {
            assert_eq!(vault.open(PLACE, &sealed[..length]), Err(Undecipherable));
        }
        assert_eq!(
            Vault::new(key(2).into()).open(PLACE, &sealed),
            Err(Undecipherable)
        );
    }

    #[test]
    fn plain_values_are_read_only_where_that_was_said() {
        let plain = Vault::new(EncryptionKeys::dangerous_plaintext())
            .seal(PLACE, b"hunter2")
            .unwrap();
        assert!(plain.ends_with(b"hunter2"));
        assert_eq!(Vault::new(key(1).into()).open(PLACE, &plain), Err(Undecipherable));
        let turning_on = Vault::new(EncryptionKeys::new(key(1)).and_plaintext());
        assert_eq!(turning_on.open(PLACE, &plain).unwrap(), b"hunter2");
        let sealed = turning_on.anew(PLACE, &plain).unwrap().unwrap();
        assert_eq!(
            Vault::new(key(1).into()).open(PLACE, &sealed).unwrap(),
            b"hunter2"
        );
        assert_eq!(turning_on.anew(PLACE, &sealed).unwrap(), None, "once is enough");
    }

    #[test]
    fn one_value_never_looks_the_same_twice() {
        let vault = Vault::new(key(1).into());
        assert_ne!(vault.seal(PLACE, b"x").unwrap(), vault.seal(PLACE, b"x").unwrap());
    }

    #[test]
    fn keys_are_read_from_base64_and_never_shown() {
        let text = STANDARD.encode([7; KEY_BYTES]);
        let read = EncryptionKey::from_base64(&format!(" {text}\n")).unwrap();
        assert_eq!(read.id(), key(7).id());
        assert_ne!(key(7).id(), key(8).id());
        for wrong in [
            "",
            "AAAA",
            &text[1..],
            &format!("{text}AAAA"),
            &text.replace('=', ""),
        ] {
            assert_eq!(EncryptionKey::from_base64(wrong).unwrap_err(), EncryptionKeyError);
        }
        let shown = format!("{:?}", EncryptionKeys::new(read).and_plaintext());
        assert!(!shown.contains(&text) && !shown.contains("7, 7"), "{shown}");
    }

    proptest! {
        #[test]
        fn anything_comes_back_as_it_was(value in proptest::collection::vec(any::<u8>(), 0..300), other: [u8; 32]) {
            let old = Vault::new(key(1).into());
            let sealed = old.seal(PLACE, &value).unwrap();
            prop_assert_eq!(old.open(PLACE, &sealed).unwrap(), value.clone());
            let keys = EncryptionKeys::new(EncryptionKey::new(other)).and(key(1));
            let both = Vault::new(keys);
            let anew = both.anew(PLACE, &sealed).unwrap();
            prop_assert_eq!(anew.is_none(), value.is_empty());
            prop_assert_eq!(both.open(PLACE, &anew.unwrap_or_default()).unwrap(), value);
        }

        #[test]
        fn no_bytes_make_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Vault::new(key(1).into()).open(PLACE, &bytes).is_err() || bytes.is_empty());
        }
    }
}
