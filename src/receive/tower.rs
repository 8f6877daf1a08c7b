//! A [`Receiver`] in front of any tower service (feature `tower`), and so of any axum route.
//!
//! [`ReceiverLayer`] reads each request's body up to the receiver's limit, has the receiver verify and read it, and
//! lets through to the service behind it only what is authentic and was not handled yet. The service finds what was
//! received with [`Received::take_from`]; the request itself is as it came, with the bytes that came. A 2xx of the
//! service says that the message is handled; anything else, that its sender has to try again.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use ringback::receive::tower::ReceiverLayer;
//! use ringback::receive::{Received, Receiver, TruvEvents};
//! use ringback::provider::truv::Event;
//! use ringback::signature::{HmacKey, MaxAge, Signer, TruvSignature, Verifier};
//! use ringback::store::MemoryStore;
//! # use ringback::system::SystemClock;
//! # use ringback::time::Clock;
//! use tower_layer::Layer;
//! use tower_service::Service;
//!
//! #[derive(Clone)]
//! struct Hook;
//!
//! impl Service<Request<Full<Bytes>>> for Hook {
//!     type Response = Response<Full<Bytes>>;
//!     type Error = std::convert::Infallible;
//!     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
//!     # fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
//!     #     std::task::Poll::Ready(Ok(()))
//!     # }
//!
//!     fn call(&mut self, mut request: Request<Full<Bytes>>) -> Self::Future {
//!         let received = Received::<Event>::take_from(request.extensions_mut()).expect("there is a receiver in front");
//!         assert_eq!(received.key.key, "1");
//!         std::future::ready(Ok(Response::new(Full::default())))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::new(TruvSignature, [HmacKey::new("secret")?], MaxAge::unlimited());
//! let receiver = Receiver::new("truv", TruvEvents, verifier).seen(MemoryStore::new());
//! let mut service = ReceiverLayer::new(receiver).layer(Hook);
//!
//! let mut request = Request::post("/hook").body(r#"{"webhook_id":"1","event_type":"link-deleted"}"#)?;
//! let unsigned = request.clone().map(Full::from);
//! assert_eq!(service.call(unsigned).await?.status(), StatusCode::UNAUTHORIZED);
//! Signer::new(TruvSignature, HmacKey::new("secret")?).sign_request(&mut request, SystemClock.now())?;
//! assert_eq!(service.call(request.map(Full::from)).await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::request::Parts;
use http::{Extensions, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tower_layer::Layer;
use tower_service::Service;

use super::rejection::answer;
use super::report::{Handling, Reporting};
use super::{Protocol, Received, Receiver, Rejection};
use crate::store::SeenClaim;
use crate::system::Timer;

/// Puts a [`Receiver`] in front of a service. See the [module](self).
pub struct ReceiverLayer<P> {
    receiver: Arc<Receiver<P>>,
    patience: Patience,
}

impl<P> ReceiverLayer<P> {
    /// That receiver, or one that is shared with others.
    pub fn new(receiver: impl Into<Arc<Receiver<P>>>) -> Self {
        Self {
            receiver: receiver.into(),
            patience: Patience::default(),
        }
    }

    /// Gives up on a body that is not complete after that long, and answers 408. Default: waits for as long as the
    /// server does, which for most is for ever; so set it here or there, or each who sends slowly holds a connection
    /// and what has come of the body. 30 seconds are enough for 16 MiB over 5 Mbit/s.
    #[must_use]
    pub fn read_within(mut self, deadline: Duration, timer: impl Timer) -> Self {
        self.patience.limited = Some((deadline, Arc::new(timer)));
        self
    }
}

impl<P> Clone for ReceiverLayer<P> {
    fn clone(&self) -> Self {
        Self {
            receiver: Arc::clone(&self.receiver),
            patience: self.patience.clone(),
        }
    }
}

impl<P: fmt::Debug> fmt::Debug for ReceiverLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReceiverLayer").field(&self.receiver).finish()
    }
}

impl<P, S> Layer<S> for ReceiverLayer<P> {
    type Service = ReceiverService<P, S>;

    fn layer(&self, inner: S) -> Self::Service {
        ReceiverService {
            layer: self.clone(),
            inner,
        }
    }
}

/// A service with a [`Receiver`] in front. Made by a [`ReceiverLayer`].
pub struct ReceiverService<P, S> {
    layer: ReceiverLayer<P>,
    inner: S,
}

impl<P, S: Clone> Clone for ReceiverService<P, S> {
    fn clone(&self) -> Self {
        Self {
            layer: self.layer.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<P: fmt::Debug, S> fmt::Debug for ReceiverService<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReceiverService")
            .field(&self.layer.receiver)
            .finish()
    }
}

impl<P, S, B, C> Service<Request<B>> for ReceiverService<P, S>
where
    P: Protocol,
    S: Service<Request<B>, Response = Response<C>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + From<Bytes> + Send + 'static,
    B::Data: Send,
    B::Error: Send,
    C: Default + Send,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<C>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        // The one that was polled until it was ready, and not its clone.
        let unready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, unready);
        Box::pin(async move { layer.attend(inner, request).await })
    }
}

/// A message to be handled: what the service behind is given, and the claim to finish or abandon.
type Ticket<B> = (Request<B>, Option<SeenClaim>);

impl<P: Protocol> ReceiverLayer<P> {
    async fn attend<S, B, C>(&self, mut inner: S, request: Request<B>) -> Result<Response<C>, S::Error>
    where
        S: Service<Request<B>, Response = Response<C>>,
        B: Body + From<Bytes>,
        C: Default,
    {
        let receiver = &*self.receiver;
        let mut reporting = receiver.reporting();
        let (request, claim) = match self.take(request, &mut reporting).await {
            Ok(Some(ticket)) => ticket,
            Ok(None) => {
                reporting.end(Ok(Handling::Duplicate));
                return Ok(answer(StatusCode::NO_CONTENT));
            }
            Err(rejection) => {
                reporting.end(Err(&rejection));
                return Ok(rejection.into_response());
            }
        };
        let mut answered = inner.call(request).await;
        let is_handled = matches!(&answered, Ok(response) if response.status().is_success());
        let ended = if is_handled {
            receiver.finish(claim.as_ref()).await
        } else {
            Err(receiver.abandon(claim.as_ref()).await)
        };
        reporting.end(ended.as_ref().copied());
        match ended {
            Ok(_) => {}
            // It could not be remembered, so it must come again.
            Err(rejection) if is_handled => return Ok(rejection.into_response()),
            Err(rejection) => {
                if let Ok(response) = &mut answered {
                    response.extensions_mut().insert(rejection);
                }
            }
        }
        answered
    }

    /// `None` if it has been handled.
    async fn take<B: Body + From<Bytes>>(
        &self,
        request: Request<B>,
        reporting: &mut Reporting<'_>,
    ) -> Result<Option<Ticket<B>>, Rejection> {
        let (mut head, body) = request.into_parts();
        let arrived = as_arrived(&head);
        self.receiver.check_head(&arrived)?;
        let wire = self
            .patience
            .wait(read(body, self.receiver.wire_limit()))
            .await
            .ok_or(Rejection::TooSlow)??;
        let request = Request::from_parts(arrived, wire.clone());
        let Some(received) = self.receiver.take(request, reporting).await? else {
            return Ok(None);
        };
        let claim = received.claim.clone();
        head.extensions.insert(Slot::new(received));
        Ok(Some((Request::from_parts(head, B::from(wire)), claim)))
    }
}

impl<E: Send + 'static> Received<E> {
    /// Takes what a [`ReceiverLayer`] in front has received out of the request's extensions. `None` if it was taken
    /// already, the events are of another type, or there is no such layer.
    pub fn take_from(extensions: &mut Extensions) -> Option<Self> {
        extensions.remove::<Slot<E>>()?.take()
    }
}

/// A message on its way to the service: extensions must be `Clone`, and there is one message.
struct Slot<E>(Arc<Mutex<Option<Received<E>>>>);

impl<E> Slot<E> {
    fn new(received: Received<E>) -> Self {
        Self(Arc::new(Mutex::new(Some(received))))
    }

    fn take(&self) -> Option<Received<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<E> Clone for Slot<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The head as it came over the wire: routers that strip a prefix off the path keep the original aside.
fn as_arrived(head: &Parts) -> Parts {
    #[cfg_attr(
        not(feature = "axum"),
        expect(unused_mut, reason = "nothing is known of routers")
    )]
    let mut arrived = head.clone();
    #[cfg(feature = "axum")]
    if let Some(uri) = super::axum::original_uri(&head.extensions) {
        arrived.uri = uri.clone();
    }
    arrived
}

/// Reads a body, and stops as soon as there is more of it than that.
async fn read<B: Body>(body: B, limit: usize) -> Result<Bytes, Rejection> {
    let mut body = pin!(body);
    let fits = |bytes: u64| usize::try_from(bytes).is_ok_and(|bytes| bytes <= limit);
    if !fits(body.size_hint().lower()) {
        return Err(Rejection::TooLarge);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Rejection::BrokenOff)?;
        if let Ok(data) = frame.into_data() {
            if data.remaining() > limit - read.len() {
                return Err(Rejection::TooLarge);
            }
            read.put(data);
        }
    }
    Ok(read.freeze())
}

/// How long to wait for bodies.
#[derive(Debug, Clone, Default)]
struct Patience {
    limited: Option<(Duration, Arc<dyn Timer>)>,
}

impl Patience {
    /// `None` if it takes too long.
    async fn wait<F: Future>(&self, future: F) -> Option<F::Output> {
        let Some((deadline, timer)) = &self.limited else {
            return Some(future.await);
        };
        let (mut future, mut time_is_up) = (pin!(future), timer.sleep(*deadline));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => time_is_up.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}
