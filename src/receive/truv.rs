//! Truv.

use bytes::Bytes;
use http::request::Parts;

use super::{Payload, Protocol, Unreadable};
use crate::provider::truv::Event;

/// Truv's webhooks, told apart by `webhook_id`, which stays the same when one is sent again.
///
/// Its signature covers no date, so nothing but remembering what was [seen](super::Receiver::seen) keeps an old
/// message from being handled again.
///
/// ```
/// use ringback::receive::{Receiver, TruvEvents};
/// use ringback::signature::{HmacKey, MaxAge, TruvSignature, Verifier};
/// use ringback::store::MemoryStore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let verifier = Verifier::new(TruvSignature, [HmacKey::new("access secret")?], MaxAge::unlimited());
/// let receiver = Receiver::new("truv", TruvEvents, verifier).seen(MemoryStore::new());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TruvEvents;

impl Protocol for TruvEvents {
    type Event = Event;

    #[inline]
    fn read(&self, _head: &Parts, body: &Bytes) -> Result<Event, Unreadable> {
        Event::parse(body).map_err(|_| Unreadable)
    }

    #[inline]
    fn key(&self, _head: &Parts, payload: &Payload<Event>) -> Option<String> {
        Some(payload.known()?.webhook_id().to_owned())
    }
}
