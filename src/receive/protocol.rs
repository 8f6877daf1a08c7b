//! What a message says.

use std::fmt::{self, Debug};
use std::marker::PhantomData;

use bytes::Bytes;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::json;

/// Reads a provider's messages, and tells copies of one from each other.
///
/// # Contract
///
/// Pure. `read` is given the head of the request and the verified, inflated body, which may be anything at all: it
/// must not panic, and what it cannot read is [`Unreadable`], which loses nothing. `key` is the same for every
/// copy of one message and different for different ones; whoever has seen a message can send a copy with other headers,
/// so only those that are signed may count.
///
/// # Errors
///
/// [`Unreadable`], and no other: a message that got this far is authentic, and is handled.
///
/// ```
/// use bytes::Bytes;
/// use http::request::Parts;
/// use ringback::receive::{Payload, Protocol, Unreadable};
///
/// /// GitHub's: a header names the event, and the body is left as it is.
/// #[derive(Debug)]
/// struct GitHubEvents;
///
/// impl Protocol for GitHubEvents {
///     type Event = String;
///
///     fn read(&self, head: &Parts, _body: &Bytes) -> Result<String, Unreadable> {
///         let name = head.headers.get("x-github-event").ok_or(Unreadable)?;
///         Ok(name.to_str().map_err(|_| Unreadable)?.to_owned())
///     }
///
///     /// `X-GitHub-Delivery` would be one, but the signature covers the body alone.
///     fn key(&self, _head: &Parts, _payload: &Payload<String>) -> Option<String> {
///         None
///     }
/// }
/// ```
pub trait Protocol: Debug + Send + Sync + 'static {
    /// What a message is read as.
    type Event: Send + 'static;

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the shape is not one that is known. The handler gets the bytes then.
    fn read(&self, head: &Parts, body: &Bytes) -> Result<Self::Event, Unreadable>;

    /// The provider's own key of a message; `None` where it has none, and then a digest of the body stands in.
    fn key(&self, head: &Parts, payload: &Payload<Self::Event>) -> Option<String>;
}

/// What came, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<E> {
    /// It is of a known shape.
    Known(E),
    /// It is authentic and of a shape that is not known: a new kind of event, perhaps. The bytes are in
    /// [`Received::body`](super::Received::body).
    Unknown,
}

impl<E> Payload<E> {
    /// What came, if it is of a known shape.
    pub fn known(&self) -> Option<&E> {
        match self {
            Self::Known(event) => Some(event),
            Self::Unknown => None,
        }
    }
}

/// The shape of a message is not one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shape of the message is not known")]
pub struct Unreadable;

/// A protocol of one's own: each message is a JSON document of one type.
///
/// ```
/// use ringback::receive::JsonEvents;
///
/// #[derive(serde::Deserialize)]
/// struct Shipped {
///     delivery: String,
/// }
///
/// let protocol = JsonEvents::new(|shipped: &Shipped| Some(shipped.delivery.clone()));
/// ```
pub struct JsonEvents<T> {
    key: fn(&T) -> Option<String>,
    event: PhantomData<fn() -> T>,
}

impl<T> JsonEvents<T> {
    /// Messages of that type, told apart by that key.
    pub fn new(key: fn(&T) -> Option<String>) -> Self {
        Self {
            key,
            event: PhantomData,
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Protocol for JsonEvents<T> {
    type Event = T;

    fn read(&self, _head: &Parts, body: &Bytes) -> Result<T, Unreadable> {
        json::parse(body).map_err(|_| Unreadable)
    }

    fn key(&self, _head: &Parts, payload: &Payload<T>) -> Option<String> {
        payload.known().and_then(self.key)
    }
}

impl<T> Debug for JsonEvents<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonEvents<{}>", std::any::type_name::<T>())
    }
}
