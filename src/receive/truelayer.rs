//! TrueLayer.

use bytes::Bytes;
use http::request::Parts;

use super::{Payload, Protocol, Unreadable};
use crate::json;
use crate::provider::truelayer::{Callback, SignedEvent};

/// The callbacks of TrueLayer's Data API v1, told apart by `(task_id, status)`, since they have no id of their own.
///
/// They are not signed. A [secret](super::UrlSecret) in the `webhook_uri` of the call is the one proof they can have,
/// and they never hold the data, which is fetched from `results_uri`.
///
/// ```
/// use ringback::receive::{Receiver, TrueLayerCallbacks, UrlSecret};
/// use ringback::secret::Secret;
/// use ringback::store::MemoryStore;
///
/// // Called with webhook_uri=https://hooks.example.com/truelayer?k=hunter2
/// let gate = UrlSecret::new("k", Secret::from("hunter2"));
/// let receiver = Receiver::new("truelayer", TrueLayerCallbacks, gate).seen(MemoryStore::new());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TrueLayerCallbacks;

impl Protocol for TrueLayerCallbacks {
    type Event = Callback;

    #[inline]
    fn read(&self, _head: &Parts, body: &Bytes) -> Result<Callback, Unreadable> {
        json::parse(body).map_err(|_| Unreadable)
    }

    /// Both, as a JSON array: neither has a form that would leave room for a separator.
    #[inline]
    fn key(&self, _head: &Parts, payload: &Payload<Callback>) -> Option<String> {
        let callback = payload.known()?;
        serde_json::to_string(&(&callback.task_id, &callback.status)).ok()
    }
}

/// The signed events of TrueLayer's payments and Data API v3, told apart by `event_id`. Their proof is
/// `Tl-Signature`: `PublishedKeys` fetches the keys, and a
/// [`TlVerifier`](mod@crate::provider::truelayer) has those that it is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrueLayerEvents;

impl Protocol for TrueLayerEvents {
    type Event = SignedEvent;

    #[inline]
    fn read(&self, _head: &Parts, body: &Bytes) -> Result<SignedEvent, Unreadable> {
        SignedEvent::parse(body).map_err(|_| Unreadable)
    }

    #[inline]
    fn key(&self, _head: &Parts, payload: &Payload<SignedEvent>) -> Option<String> {
        payload.known()?.event_id().map(str::to_owned)
    }
}
