//! One HTTP exchange, and what keeps it within bounds.
//!
//! Everything that goes out goes through an [`HttpSender`]: a trait of one exchange, so that any HTTP client fits
//! behind it. Two adapters come with the crate: `HyperSender` (feature `hyper`), the recommended one, and
//! `ReqwestSender` (feature `reqwest`). A closure becomes a sender with [`sender_fn`].
//!
//! A webhook's URL comes from outside, so the adapters treat it as hostile: a [`Guard`] decides where they may
//! go, on the very address they dial, and [`ResponseLimits`] how much they read of what comes back. They follow
//! no redirect, take no proxy from the environment, and unpack nothing.

mod error;
#[cfg(any(feature = "hyper", feature = "reqwest"))]
mod exchange;
#[cfg(feature = "hyper")]
mod hyper;
mod limits;
#[cfg(feature = "reqwest")]
mod reqwest;
mod resolve;
#[cfg(all(feature = "rustls", any(feature = "hyper", feature = "reqwest")))]
mod tls;

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

pub use self::error::{SendError, SendErrorKind};
#[cfg(feature = "hyper")]
pub use self::hyper::{HyperSender, HyperSenderBuilder};
pub use self::limits::ResponseLimits;
#[cfg(feature = "reqwest")]
pub use self::reqwest::{BuildError, ReqwestSender, ReqwestSenderBuilder};
pub use self::resolve::Resolve;
#[cfg(any(feature = "hyper", feature = "reqwest"))]
pub use self::resolve::SystemResolver;
#[cfg(all(feature = "rustls", any(feature = "hyper", feature = "reqwest")))]
pub use self::tls::{Tls, TlsError};
pub use crate::guard::{Forbidden, Guard, Network, NetworkError};

/// Sends one HTTP request and reads its response.
///
/// # Contract
///
/// - One call is exactly one exchange: the request reaches the network at most once. No retry, no redirect
///   followed, no challenge answered.
/// - The method, path, query, headers and body that go over the wire are those of the request, byte for byte: the
///   path may be part of a signature. Connection-level headers may be added (`host`, `content-length`).
/// - A response of any status is `Ok`.
/// - The response's body is the bytes on the wire (transfer coding removed, content coding not), and no more than
///   [`ResponseLimits`] allow is ever held in memory. A response over a limit is an error, not a shorter response.
/// - Where the request's [extensions](http::Extensions) hold an `Arc<`[`Guard`]`>`, that decides where it may go, in place of
///   any guard of the sender's own: the engine puts a webhook's own guard there. A sender that has no guard takes no notice.
/// - There need be no deadline: the caller sets one by dropping the future.
/// - The future must not block its thread. A sender that does stalls the worker that polls it, and all the
///   deliveries in flight there. (A panic that unwinds costs its caller one attempt; under `panic = "abort"`
///   nothing can contain it.)
///
/// # Errors
///
/// A [`SendError`] whenever no complete response was read. Whether the other side has acted on the request is
/// then unknown, unless the [kind](SendErrorKind) says that it was never sent.
///
/// # Cancellation
///
/// Dropping the future abandons the exchange: the connection is closed or, where nothing was sent on it, kept;
/// nothing goes on in the background.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use ringback::transport::{HttpSender, ResponseLimits, SendError};
///
/// /// Accepts everything, sends nothing.
/// #[derive(Debug)]
/// struct NoSender;
///
/// #[async_trait::async_trait]
/// impl HttpSender for NoSender {
///     async fn send(&self, _: Request<Bytes>, _: &ResponseLimits) -> Result<Response<Bytes>, SendError> {
///         Ok(Response::new(Bytes::new()))
///     }
///
///     fn supports_https(&self) -> bool {
///         true
///     }
/// }
/// ```
#[async_trait]
pub trait HttpSender: Debug + Send + Sync + 'static {
    /// Sends the request, whose URI is absolute, and reads the whole response.
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError>;

    /// Whether `https` URLs can be sent to, so that one can be refused at registration rather than at each attempt.
    fn supports_https(&self) -> bool;
}

#[async_trait]
impl<T: HttpSender + ?Sized> HttpSender for Arc<T> {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        (**self).send(request, limits).await
    }

    fn supports_https(&self) -> bool {
        (**self).supports_https()
    }
}

#[async_trait]
impl<T: HttpSender + ?Sized> HttpSender for Box<T> {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        (**self).send(request, limits).await
    }

    fn supports_https(&self) -> bool {
        (**self).supports_https()
    }
}

/// Makes a sender of a closure: for another HTTP client, for tests, for going through a proxy of one's own.
///
/// The closure takes over the [contract](HttpSender#contract). The limits are checked on what it returns, which
/// is too late to bound memory: a closure that reads from a network should bound its own reading. `https` is taken
/// to be supported.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
/// use ringback::transport::{HttpSender, ResponseLimits, SendError, SendErrorKind, sender_fn};
///
/// let sender = sender_fn(|request: Request<Bytes>| async move {
///     match request.uri().path() {
///         "/away" => Err(SendError::from(SendErrorKind::Connect)),
///         _ => Ok(Response::new(Bytes::from("thank you"))),
///     }
/// });
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let request = Request::post("https://example.com/hook").body(Bytes::new())?;
/// let response = sender.send(request, &ResponseLimits::default()).await?;
/// assert_eq!(response.status(), StatusCode::OK);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sender_fn<F, Fut>(send: F) -> impl HttpSender
where
    F: Fn(Request<Bytes>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Bytes>, SendError>> + Send,
{
    SenderFn(send)
}

struct SenderFn<F>(F);

#[async_trait]
impl<F, Fut> HttpSender for SenderFn<F>
where
    F: Fn(Request<Bytes>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Bytes>, SendError>> + Send,
{
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        let response = (self.0)(request).await?;
        limits.check_headers(response.headers())?;
        limits.check_body_length(response.body().len() as u64)?;
        Ok(response)
    }

    fn supports_https(&self) -> bool {
        true
    }
}

impl<F> Debug for SenderFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SenderFn(..)")
    }
}
