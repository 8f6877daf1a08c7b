//! The receiving side: bytes and headers in, a verified, typed event out, handled once.
//!
//! A [`Receiver`] takes an `http::Request<Bytes>`, as every framework can make one, through these steps:
//! bounded size, authenticity ([`Gate`]), gzip, reading ([`Protocol`]), de-duplication
//! ([`SeenStore`](crate::store::SeenStore)), the handler, and only then a 2xx. What is authentic but of unknown
//! shape reaches the handler as [`Payload::Unknown`]; it is never refused.
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use http::Request;
//! use ringback::receive::{JsonEvents, Payload, Receiver};
//! use ringback::signature::{HmacKey, MaxAge, Signer, TruvSignature, Verifier};
//! use ringback::store::MemoryStore;
//! use ringback::system::SystemClock;
//! use ringback::time::Clock;
//!
//! #[derive(serde::Deserialize)]
//! struct Shipped {
//!     webhook_id: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::new(TruvSignature, [HmacKey::new("secret")?], MaxAge::unlimited());
//! let protocol = JsonEvents::new(|event: &Shipped| Some(event.webhook_id.clone()));
//! let receiver = Receiver::new("shipping", protocol, verifier).seen(MemoryStore::new());
//!
//! let mut request = Request::post("/hook").body(Bytes::from(r#"{"webhook_id":"1"}"#))?;
//! Signer::new(TruvSignature, HmacKey::new("secret")?).sign_request(&mut request, SystemClock.now())?;
//! for _copy in 0..2 {
//!     let response = receiver
//!         .handle(request.clone(), async |received| match received.payload {
//!             Payload::Known(shipped) => Ok::<_, std::io::Error>(assert_eq!(shipped.webhook_id, "1")),
//!             Payload::Unknown => Ok(()),
//!         })
//!         .await;
//!     assert!(response.status().is_success()); // the second copy was not handled again
//! }
//! # Ok(())
//! # }
//! ```

mod gate;
#[cfg(feature = "gzip")]
mod inflate;
mod protocol;
mod receiver;

pub use gate::{Gate, UrlSecret};
pub use protocol::{JsonEvents, Payload, Protocol, Unreadable};
pub use receiver::{Received, Receiver, Rejection};
