//! Yodlee.

use bytes::Bytes;
use http::request::Parts;

use super::{Payload, Protocol, Unreadable};
use crate::provider::yodlee::Event;

/// Yodlee's notifications, told apart by `notificationId`, where they have one.
///
/// Yodlee signs nothing. What a receiver can do: put a [secret](super::UrlSecret) into the callback URL it
/// subscribes, let only Yodlee's addresses in, and take a notification for no more than a hint, whose data comes
/// from the API.
///
/// The addresses are best checked by a firewall or load balancer, where the connection ends; [`Sources`](super::Sources)
/// is for those who have neither, and says what to mind behind a proxy.
///
/// ```
/// use ringback::receive::{Receiver, UrlSecret, YodleeEvents};
/// use ringback::secret::Secret;
/// use ringback::store::MemoryStore;
///
/// // Subscribed as https://hooks.example.com/yodlee?token=hunter2
/// let gate = UrlSecret::new("token", Secret::from("hunter2"));
/// let receiver = Receiver::new("yodlee", YodleeEvents, gate).seen(MemoryStore::new());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct YodleeEvents;

impl Protocol for YodleeEvents {
    type Event = Event;

    #[inline]
    fn read(&self, _head: &Parts, body: &Bytes) -> Result<Event, Unreadable> {
        Event::parse(body).map_err(|_| Unreadable)
    }

    #[inline]
    fn key(&self, _head: &Parts, payload: &Payload<Event>) -> Option<String> {
        payload.known()?.notification_id().map(str::to_owned)
    }
}
