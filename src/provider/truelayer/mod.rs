//! TrueLayer: asynchronous calls to the Data API v1, and the signed webhooks of its siblings.
//!
//! # The protocol on one page
//!
//! **What it sends.** A Data API call with `async=true` is answered at once with `results_uri`, `status` and
//! `task_id` ([`Accepted`]). `results_uri` can be polled; where the call gave a `webhook_uri`, a [`Callback`]
//! is posted there when the task has ended. It names the task and never holds the data, which is fetched from
//! `results_uri` with a token of the same `credentials_id` \[TL1\]. The batch endpoint takes its `webhook_uri`
//! in the body ([`BatchRequest`]) and has results under another path, so `results_uri` is followed, never
//! built \[TL4\]. Payments v3, PayDirect and Data API v3 send events to one configured URI ([`SignedEvent`]).
//!
//! **How it proves itself.** Callbacks of v1 are not signed: the official advice is a secret of one's own in
//! `webhook_uri` \[TL3\]. The other products sign with `Tl-Signature`, a detached ES512 JWS over method, path,
//! named headers and body \[TL17\]
//! (`TlVerifier` and `TlSigner`, feature `jws`). There are no fixed source addresses \[TL3\].
//!
//! **When it tries again.** Delivered is any 2xx; anything else is tried again, with jittered exponential
//! backoff, a few fast tries first, at most 6 \[TL1\]. That is seven attempts. The siblings differ: up to 72
//! hours \[TL13, TL14\].
//!
//! **What the documents leave open.** All delays, timeouts and the handling of redirects; what polling answers
//! before the results are there, and for how long after; any event id for callbacks, so they are told apart
//! by `(task_id, status)`. `request_timestamp` is printed as the year 1, `task_id` as something that is not
//! quite a UUID, `results_uri` with a slash that the reply did not have: all are text here. The keys of Data
//! API v3 events are not public, so they are read as far as they agree with payments v3. The list of error
//! codes is cut off in every copy, and has grown: [`ErrorCode`] is open.
//!
//! # Sources
//!
//! * TL1 <https://docs.truelayer.com/docs/asynchronous-calls-and-webhooks>
//! * TL3 <https://support.truelayer.com/hc/en-us/articles/360018792614>
//! * TL4 <https://docs.truelayer.com/docs/accessing-data-in-batch>
//! * TL7 <https://docs.truelayer.com/docs/data-v3-errors>
//! * TL12 <https://docs.truelayer.com/docs/payments-v3-webhook-notifications>, `…/payment-webhook-specifications`
//! * TL13, TL14 <https://docs.truelayer.com/docs/set-up-webhook-notifications-payments-v2>,
//!   `…/webhook-notifications-paydirect`
//! * TL17 <https://github.com/TrueLayer/truelayer-signing/blob/main/request-signing-v2.md>
//! * TL21 <https://docs.truelayer.com/docs/data-api-errors>
//!
//! ```
//! use ringback::json;
//! use ringback::provider::truelayer::{Callback, ErrorCode, RetryHelps};
//!
//! let callback: Callback =
//!     json::parse(br#"{"task_id":"e1245d07","status":"Failed","error":"access_denied"}"#)?;
//! let error = ErrorCode::of(&callback).unwrap();
//! assert_eq!(error.retry_helps(), RetryHelps::No);
//! # Ok::<(), json::PayloadError>(())
//! ```

mod batch;
mod data;
mod error;
mod event;
mod profile;
mod secret;
#[cfg(feature = "jws")]
mod signature;

pub use batch::BatchRequest;
pub use data::{Account, AccountNumber, AccountProvider};
pub use error::{ErrorCode, Problem, RetryHelps};
pub use event::{
    AccountIdentifier, DirectEvent, EventType, PaymentEvent, PaymentMethod, PaymentSource, SettlementRisk,
    SignedEvent,
};
pub use profile::truelayer;
pub use secret::{SecretParameter, SecretParameterError};
#[cfg(feature = "jws")]
pub use signature::{
    KeySet, KeySetError, TlKeyError, TlSignature, TlSigner, TlSigningKey, TlVerified, TlVerifier,
};

pub use crate::task::{Accepted, Callback, Results, TaskStatus};
