//! `Tl-Signature`: a detached JWS by ES512 over method, path, named headers and body.

mod jws;
mod keys;
mod sign;
mod verify;

pub use jws::TlSignature;
pub use keys::{KeySet, KeySetError, TlKeyError, TlSigningKey};
pub use sign::TlSigner;
pub use verify::{TlVerified, TlVerifier};
