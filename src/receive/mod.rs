//! The receiving side: bytes and headers in, a verified, typed event out, handled once.
//!
//! A [`Receiver`] takes an `http::Request<Bytes>`, as every framework can make one, through these steps:
//! bounded size, authenticity ([`Gate`]), gzip, reading ([`Protocol`]), de-duplication
//! ([`SeenStore`](crate::store::SeenStore)), the handler, and only then a 2xx. What is authentic but of unknown
//! shape reaches the handler as [`Payload::Unknown`]; it is never refused.
//!
//! | from | protocol | told apart by | gate |
//! |---|---|---|---|
//! | TrueLayer, Data API v1 | [`TrueLayerCallbacks`] | `(task_id, status)` | [`UrlSecret`] |
//! | TrueLayer, payments and Data API v3 | [`TrueLayerEvents`] | `event_id` | `PublishedKeys`, or a `TlVerifier` |
//! | Truv | [`TruvEvents`] | `webhook_id` | a [`Verifier`] |
//! | Powens | [`PowensEvents`] | `id_webhook_data` | a [`Verifier`], or a [`BearerToken`] |
//! | Yodlee | [`YodleeEvents`] | `notificationId` | [`UrlSecret`] |
//! | Standard Webhooks | [`StandardEvents`] | `webhook-id` | a [`Verifier`] |
//! | anyone | [`JsonEvents`], or a [`Protocol`] of one's own | what one says | a [`Gate`] of one's own |
//!
//! Around them: [`per_sender`] for many tenants on one route, [`Sources`] for providers that publish their addresses,
//! a [`Listener`] for logs and figures, and with features, a receiver in front of any tower service (`tower`) or axum
//! route (`axum`).
//!
//! [`Verifier`]: crate::signature::Verifier
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use ringback::receive::{Payload, Receiver, TruvEvents};
//! use ringback::signature::{HmacKey, MaxAge, Signer, TruvSignature, Verifier};
//! use ringback::store::MemoryStore;
//! use ringback::system::SystemClock;
//! use ringback::time::Clock;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::new(TruvSignature, [HmacKey::new("secret")?], MaxAge::unlimited());
//! let receiver = Receiver::new("truv", TruvEvents, verifier).seen(MemoryStore::new());
//!
//! let mut request = Request::post("/hook").body(Bytes::from(r#"{"webhook_id":"1","event_type":"link-deleted"}"#))?;
//! Signer::new(TruvSignature, HmacKey::new("secret")?).sign_request(&mut request, SystemClock.now())?;
//! for _copy in 0..2 {
//!     let response = receiver
//!         .handle(request.clone(), async |received| match received.payload {
//!             Payload::Known(event) => Ok::<_, std::io::Error>(assert_eq!(event.webhook_id(), "1")),
//!             Payload::Unknown => Ok(()),
//!         })
//!         .await;
//!     assert!(response.status().is_success()); // the second copy was not handled again
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What a forger can cost
//!
//! What is not authentic is never parsed, stored or handled. It costs its own bytes, a MAC over them, and where it is
//! gzip and carries a signature of the right form, at most one more MAC over what it inflates to, which is bounded
//! twice: by the [limit](Receiver::limits), and by a hundred times its own size or 1 MiB, whichever is more. That is
//! for senders that sign first and compress then. All refusals of the gate are the same 401.

#[cfg(feature = "axum")]
pub mod axum;
mod coding;
mod gate;
#[cfg(feature = "jws")]
mod key_set;
mod per_sender;
mod powens;
mod protocol;
mod receiver;
mod rejection;
mod report;
mod secrets;
mod sources;
mod standard;
#[cfg(feature = "tower")]
pub mod tower;
mod truelayer;
mod truv;
mod yodlee;

pub use gate::{Admission, Arrival, Gate, GateError};
#[cfg(feature = "jws")]
pub use key_set::{KeyFetchError, PlaceError, PublishedKeys};
pub use per_sender::per_sender;
pub use powens::PowensEvents;
pub use protocol::{JsonEvents, Payload, Protocol, Unreadable};
pub use receiver::{Received, Receiver};
pub use rejection::Rejection;
pub use report::{Ending, Listener, Report, listener_fn};
pub use secrets::{BearerToken, UrlSecret};
pub use sources::{PeerAddress, Sources};
pub use standard::StandardEvents;
pub use truelayer::{TrueLayerCallbacks, TrueLayerEvents};
pub use truv::TruvEvents;
pub use yodlee::YodleeEvents;
