//! Standard Webhooks.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use http::HeaderName;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{Payload, Protocol, Unreadable};
use crate::json;

static ID: HeaderName = HeaderName::from_static("webhook-id");

/// Webhooks by the Standard Webhooks specification, with bodies of one's own JSON type, told apart by the header
/// `webhook-id`, which is signed and is there whatever the body holds.
///
/// ```
/// use ringback::receive::{Receiver, StandardEvents};
/// use ringback::signature::{HmacKey, MaxAge, StandardWebhooks, Verifier};
/// use ringback::store::MemoryStore;
///
/// #[derive(serde::Deserialize)]
/// struct Invoice {
///     number: String,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = HmacKey::from_whsec("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let verifier = Verifier::new(StandardWebhooks, [key], MaxAge::minutes(5));
/// let receiver = Receiver::new("invoices", StandardEvents::<Invoice>::new(), verifier).seen(MemoryStore::new());
/// # Ok(())
/// # }
/// ```
pub struct StandardEvents<T>(PhantomData<fn() -> T>);

impl<T> StandardEvents<T> {
    /// Bodies of that type.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: DeserializeOwned + Send + 'static> Protocol for StandardEvents<T> {
    type Event = T;

    fn read(&self, _head: &Parts, body: &Bytes) -> Result<T, Unreadable> {
        json::parse(body).map_err(|_| Unreadable)
    }

    fn key(&self, head: &Parts, _payload: &Payload<T>) -> Option<String> {
        // Any byte may be in it, and each is signed.
        Some(head.headers.get(&ID)?.as_bytes().escape_ascii().to_string())
    }
}

impl<T> Default for StandardEvents<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for StandardEvents<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StandardEvents<{}>", std::any::type_name::<T>())
    }
}
