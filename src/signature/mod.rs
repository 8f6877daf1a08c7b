//! Signatures over the exact bytes of a message: made with a [`Signer`], checked with a [`Verifier`].
//!
//! A [`Scheme`] says *what* is signed and where the signature travels; a key says *how*. Any scheme works
//! with any key it has room for, and a scheme of one's own takes a dozen lines (see [`Scheme`]).
//!
//! | scheme | signs | keys |
//! |---|---|---|
//! | [`BiSignature`] (Powens) | method, path, date, body | [`HmacKey`] |
//! | [`TruvSignature`] | body | [`HmacKey`] |
//! | [`StandardWebhooks`] | id, timestamp, body | [`HmacKey`] (`v1`), `Ed25519SigningKey` (`v1a`, feature `ed25519`) |
//!
//! ```
//! use chrono::{DateTime, Utc};
//! use http::Request;
//! use ringback::signature::{BiSignature, HmacKey, MaxAge, Message, Refusal, Signer, Verifier};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now: DateTime<Utc> = "2022-06-27T11:08:52.577831Z".parse()?;
//!
//! let signer = Signer::new(BiSignature::path_only(), HmacKey::new("secret_key")?);
//! let mut request = Request::post("https://example.net/v1/webhook-listener").body(r#"{"id": 1, "state": "done"}"#)?;
//! signer.sign_request(&mut request, now)?;
//! assert_eq!(request.headers()["bi-signature"], "GVtud1v5GUAqTGvCgbxdjk+/+KTNLYKdQe4j88dxTbo=");
//!
//! // While keys are being changed, the newest and the one before it both verify.
//! let keys = [HmacKey::new("next_key")?, HmacKey::new("secret_key")?];
//! let verifier = Verifier::new(BiSignature::path_only(), keys, MaxAge::minutes(5));
//! let verified = verifier.verify(&Message::from(&request), now)?;
//! assert_eq!(verified.signed_at, Some(now));
//! assert_eq!(verified.key, 1);
//!
//! *request.body_mut() = r#"{"id": 2, "state": "done"}"#;
//! assert_eq!(verifier.verify(&Message::from(&request), now), Err(Refusal::Mismatch));
//! # Ok(())
//! # }
//! ```
//!
//! What holds for every scheme:
//!
//! - The bytes on the wire are what is signed. Nothing is parsed, decoded or written anew before a MAC.
//! - Signatures are decoded strictly, have the one length their algorithm gives, and are compared as bytes in
//!   constant time. A header that occurs twice is refused, never resolved by taking one of the two.
//! - The signature is checked first and the signed date after it, so [`Refusal::Stale`] is said of authentic
//!   messages only. No date overflows the arithmetic.
//! - An empty secret is no key.
//! - Verifying with an HMAC key allocates nothing on the heap.
//! - No error and no `Debug` shows key material or the signature that would have been right.

mod bi;
pub mod date;
#[cfg(feature = "ed25519")]
mod ed25519;
mod keys;
mod scheme;
mod sign;
mod standard;
mod truv;
mod value;
mod verify;

pub use bi::BiSignature;
pub use date::SignedDate;
#[cfg(feature = "ed25519")]
pub use ed25519::{Ed25519SigningKey, Ed25519VerifyingKey};
pub use keys::{HmacKey, KeyError, SigningKey, VerifyingKey};
pub use scheme::{Message, Scheme};
pub use sign::{SignError, Signer};
pub use standard::StandardWebhooks;
pub use truv::TruvSignature;
pub use value::{Signature, Signatures};
pub use verify::{MaxAge, Refusal, Verified, Verifier};
