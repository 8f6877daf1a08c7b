//! Powens.

use std::fmt;

use bytes::Bytes;
use http::Uri;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::{Payload, Protocol, Unreadable};
use crate::json;
use crate::provider::powens::{Event, EventName, NotJson, UnknownBody};

/// Powens' webhooks, told apart by `id_webhook_data`.
///
/// No body says which event it is: that follows from the URL it came to. A body that is not JSON, such as CFONB, is
/// [`Event::NotJson`], with its media type; where there is no `id_webhook_data` in it, the digest of its bytes stands in.
///
/// ```
/// use ringback::provider::powens::EventName;
/// use ringback::receive::{PowensEvents, Receiver};
/// use ringback::signature::{BiSignature, HmacKey, MaxAge, Verifier};
/// use ringback::store::MemoryStore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let verifier = Verifier::new(BiSignature::path_only(), [HmacKey::new("secret_key")?], MaxAge::unlimited());
///
/// // One URL, one event.
/// let protocol = PowensEvents::of(EventName::ConnectionSynced);
/// let receiver = Receiver::new("powens", protocol, verifier.clone()).seen(MemoryStore::new());
///
/// // All of them below one path: /hooks/powens/CONNECTION_SYNCED, and so on.
/// let protocol = PowensEvents::by_uri(|uri| EventName::from(uri.path().rsplit('/').next().unwrap_or_default()));
/// let receiver = Receiver::new("powens", protocol, verifier).seen(MemoryStore::new());
/// # Ok(())
/// # }
/// ```
pub struct PowensEvents {
    name: Box<dyn Fn(&Uri) -> EventName + Send + Sync>,
}

impl PowensEvents {
    /// What comes to a URL that is registered for one event.
    pub fn of(name: EventName) -> Self {
        Self::by_uri(move |_| name.clone())
    }

    /// What comes to several URLs, which say the event. A name that is not listed makes an [`Event::Unknown`].
    pub fn by_uri(name: impl Fn(&Uri) -> EventName + Send + Sync + 'static) -> Self {
        Self { name: Box::new(name) }
    }
}

impl Protocol for PowensEvents {
    type Event = Event;

    #[inline]
    fn read(&self, head: &Parts, body: &Bytes) -> Result<Event, Unreadable> {
        let media_type = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        Event::parse(&(self.name)(&head.uri), media_type, body).map_err(|_| Unreadable)
    }

    #[inline]
    fn key(&self, _head: &Parts, payload: &Payload<Event>) -> Option<String> {
        let event = payload.known()?;
        let Event::NotJson(NotJson { body, .. }) = event else {
            return event.id_webhook_data().map(ToString::to_string);
        };
        // Its media type is not signed, so what is JSON all the same may be a copy of a message that was called so.
        let body: UnknownBody = json::parse(body).ok()?;
        body.id_webhook_data.value().map(ToString::to_string)
    }
}

impl fmt::Debug for PowensEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PowensEvents").finish_non_exhaustive()
    }
}
