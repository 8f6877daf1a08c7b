//! Receiving in axum (feature `axum`): a [`ReceiverLayer`] on the route, and [`Webhook`] in the handler.
//!
//! ```
//! use axum::Router;
//! use axum::routing::post;
//! use ringback::provider::powens::{Event, EventName};
//! use ringback::receive::axum::{ReceiverLayer, Webhook};
//! use ringback::receive::{Payload, PowensEvents, Receiver};
//! use ringback::signature::{BiSignature, HmacKey, MaxAge, Verifier};
//! use ringback::store::MemoryStore;
//!
//! async fn hook(Webhook(received): Webhook<Event>) -> Result<(), String> {
//!     match received.payload {
//!         Payload::Known(Event::ConnectionSynced(_)) => println!("{}", received.key),
//!         Payload::Known(_) | Payload::Unknown => {}
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::new(BiSignature::path_only(), [HmacKey::new("secret_key")?], MaxAge::minutes(5));
//! let protocol = PowensEvents::of(EventName::ConnectionSynced);
//! let receiver = Receiver::new("powens", protocol, verifier).seen(MemoryStore::new());
//! let app: Router = Router::new().route("/hooks/powens", post(hook).layer(ReceiverLayer::new(receiver)));
//! # Ok(())
//! # }
//! ```
//!
//! A handler can have any other extractor beside it, `State` for one. It runs only for messages that are authentic and
//! were not handled yet. If it answers with a 2xx, as `()` and `Ok(())` do, the message is remembered as handled; with
//! anything else, it is not, and its sender has to try again. What is refused never reaches it; why it was refused is in
//! the response's extensions ([`Rejection`](super::Rejection)), and told to the receiver's
//! [listener](super::Receiver::listener).
//!
//! The layer belongs on the route of that receiver alone, as above. Bodies are limited by the receiver
//! ([`limits`](super::Receiver::limits)), and axum's own limit does not apply. Within a
//! [`nest`](::axum::Router::nest), signatures are verified over the path as it came. To know which address a request was
//! sent from ([`Sources`](super::Sources)), serve with `into_make_service_with_connect_info::<SocketAddr>()`.

use std::convert::Infallible;
use std::net::SocketAddr;

use ::axum::extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts, OriginalUri};
use ::axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Extensions, StatusCode, Uri};

use super::Received;
#[doc(no_inline)]
pub use super::tower::ReceiverLayer;

/// What was received, given to a handler that has a [`ReceiverLayer`] on its route: a message that is authentic, read
/// as an event of type `E`, and not handled before.
///
/// `E` is the event type of the receiver's protocol, such as
/// [`powens::Event`](crate::provider::powens::Event) for [`PowensEvents`](super::PowensEvents).
#[derive(Debug)]
pub struct Webhook<E>(pub Received<E>);

impl<E: Send + 'static, S: Send + Sync> FromRequestParts<S> for Webhook<E> {
    type Rejection = NoReceiver;

    async fn from_request_parts(head: &mut Parts, _state: &S) -> Result<Self, NoReceiver> {
        Received::take_from(&mut head.extensions)
            .map(Self)
            .ok_or(NoReceiver)
    }
}

/// `Option<Webhook<E>>`: for a handler of several routes, of which not all have that receiver.
impl<E: Send + 'static, S: Send + Sync> OptionalFromRequestParts<S> for Webhook<E> {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(Received::take_from(&mut head.extensions).map(Self))
    }
}

/// There is no [`ReceiverLayer`] in front of the handler, or one whose protocol has events of another type. Answered
/// with 500: the message has to come again once that is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no receiver of events of this type is in front of the handler")]
pub struct NoReceiver;

impl IntoResponse for NoReceiver {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

/// The other end of the connection, if the server says.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(*peer)
}

/// The URI as it came, where a router has stripped a prefix off it.
pub(super) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    let OriginalUri(uri) = extensions.get::<OriginalUri>()?;
    Some(uri)
}
