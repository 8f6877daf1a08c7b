//! A signature, decoded; and a bounded list of them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Refusal, SignError};

/// A signature, decoded. Its length is that of its algorithm, so there is no shorter one to compare with.
///
/// Texts are read strictly: standard base64 with its padding and no stray bits, hexadecimal digits in lower
/// case. So a text that differs in one bit is another signature or none.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Signature {
    /// HMAC with SHA-256.
    HmacSha256([u8; 32]),
    /// Ed25519. Read and written always; its keys come with the feature `ed25519`.
    Ed25519([u8; 64]),
}

impl Signature {
    /// Reads 64 hexadecimal digits in lower case.
    ///
    /// # Errors
    ///
    /// [`Refusal::MalformedSignature`] for anything else.
    pub fn hmac_sha256_from_hex(text: &[u8]) -> Result<Self, Refusal> {
        hex(text).map(Self::HmacSha256).ok_or(Refusal::MalformedSignature)
    }

    /// Reads 32 bytes in base64.
    ///
    /// # Errors
    ///
    /// [`Refusal::MalformedSignature`] for anything else.
    pub fn hmac_sha256_from_base64(text: &[u8]) -> Result<Self, Refusal> {
        base64(text)
            .map(Self::HmacSha256)
            .ok_or(Refusal::MalformedSignature)
    }

    /// Reads 64 bytes in base64.
    ///
    /// # Errors
    ///
    /// [`Refusal::MalformedSignature`] for anything else.
    pub fn ed25519_from_base64(text: &[u8]) -> Result<Self, Refusal> {
        base64(text).map(Self::Ed25519).ok_or(Refusal::MalformedSignature)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::HmacSha256(bytes) => bytes,
            Self::Ed25519(bytes) => bytes,
        }
    }

    /// The bytes in standard base64, padded.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.as_bytes())
    }

    /// The bytes in hexadecimal, lower case.
    pub fn to_hex(&self) -> String {
        const DIGITS: [char; 16] = [
            '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
        ];
        let digit = |nibble: u8| DIGITS[usize::from(nibble & 0xf)];
        self.as_bytes()
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
            .collect()
    }
}

/// Names the algorithm only: a right signature for a wrong message must not end up in a log.
impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha256(_) => "HmacSha256(..)",
            Self::Ed25519(_) => "Ed25519(..)",
        })
    }
}

fn base64<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let length = STANDARD.decode_slice(text, &mut bytes).ok()?;
    (length == N).then_some(bytes)
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// At most [`LIMIT`](Self::LIMIT) signatures, kept in place rather than on the heap.
///
/// A message may carry several while keys are being changed; the bound keeps a hostile one from buying work.
#[derive(Debug, Clone, Default)]
pub struct Signatures([Option<Signature>; Self::LIMIT]);

impl Signatures {
    /// How many there can be: far more than any change of keys needs.
    pub const LIMIT: usize = 16;

    /// Adds one to the end.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManySignatures`] if the list is full.
    pub fn push(&mut self, signature: Signature) -> Result<(), Refusal> {
        let free = self
            .0
            .iter_mut()
            .find(|place| place.is_none())
            .ok_or(Refusal::TooManySignatures)?;
        *free = Some(signature);
        Ok(())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Signature> {
        self.0.iter().map_while(Option::as_ref)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Those made with HMAC and SHA-256.
    pub(super) fn hmac_sha256(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.iter().filter_map(|signature| match signature {
            Signature::HmacSha256(bytes) => Some(bytes),
            Signature::Ed25519(_) => None,
        })
    }

    /// Those made with Ed25519.
    #[cfg(feature = "ed25519")]
    pub(super) fn ed25519(&self) -> impl Iterator<Item = &[u8; 64]> {
        self.iter().filter_map(|signature| match signature {
            Signature::Ed25519(bytes) => Some(bytes),
            Signature::HmacSha256(_) => None,
        })
    }

    /// The first one made with HMAC and SHA-256: the newest key's, for schemes with room for one.
    ///
    /// # Errors
    ///
    /// [`SignError::KeyKind`] if there is none.
    pub fn newest_hmac_sha256(&self) -> Result<Signature, SignError> {
        self.hmac_sha256()
            .next()
            .copied()
            .map(Signature::HmacSha256)
            .ok_or(SignError::KeyKind)
    }
}
