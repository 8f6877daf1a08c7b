//! The recommended sender: hyper, with connections kept.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, vec};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::HttpSender;
use super::error::SendError;
use super::exchange::{self, Clients, GuardedResolver};
use super::limits::ResponseLimits;
use super::resolve::Resolve;
#[cfg(feature = "rustls")]
use super::tls::Tls;
use crate::guard::Guard;

#[cfg(feature = "rustls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector<GuardedResolver>>;
#[cfg(not(feature = "rustls"))]
type Connector = HttpConnector<GuardedResolver>;

/// A sender on hyper: HTTP/1.1, connections kept and used again, `https` with the feature `rustls`.
///
/// It takes the [`http::Uri`] as it is, so the request line is the signed path byte for byte. Names are resolved
/// through a [`Resolve`], and a [`Guard`] judges the very addresses that are dialled. It knows no redirects, no
/// proxies and no compression. Response headers end at 64 KiB and 100 lines whatever the [`ResponseLimits`].
///
/// A kept connection that turns out closed before any of the request was written is replaced by a new one; that is
/// still one exchange, since nothing had been sent. One that is closed later is an error.
///
/// Cheap to clone; clones share their connections. Needs a tokio runtime to send in.
///
/// ```
/// use bytes::Bytes;
/// use http::Request;
/// use ringback::transport::{Guard, HttpSender, HyperSender, ResponseLimits, SendErrorKind};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let sender = HyperSender::builder().guard(Guard::default().allow_http()).build();
/// let request = Request::post("http://10.0.0.1/hook").body(Bytes::from("{}"))?;
/// let error = sender.send(request, &ResponseLimits::default()).await.unwrap_err();
/// assert_eq!(error.kind(), SendErrorKind::NotAllowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HyperSender {
    clients: Clients<Client<Connector, Full<Bytes>>>,
    settings: Arc<HyperSenderBuilder>,
}

/// Settings of a [`HyperSender`].
#[derive(Debug, Clone)]
#[must_use]
pub struct HyperSenderBuilder {
    resolver: GuardedResolver,
    connect_timeout: Duration,
    idle_timeout: Duration,
    max_idle_per_host: usize,
    https: bool,
    #[cfg(feature = "rustls")]
    tls: Tls,
}

/// The most of a response's head that is ever buffered.
const MAX_HEAD_BYTES: usize = 64 * 1024;

impl HyperSender {
    /// A sender with the default settings: `https` and public addresses only.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Starts from the default settings.
    pub fn builder() -> HyperSenderBuilder {
        HyperSenderBuilder {
            resolver: GuardedResolver::default(),
            connect_timeout: exchange::CONNECT_TIMEOUT,
            idle_timeout: exchange::IDLE_TIMEOUT,
            max_idle_per_host: exchange::MAX_IDLE_PER_HOST,
            https: cfg!(feature = "rustls"),
            #[cfg(feature = "rustls")]
            tls: Tls::default(),
        }
    }
}

impl HyperSenderBuilder {
    /// Where the sender may go. By default [`Guard::default`]: `https` and public addresses only.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.resolver.guard = Arc::new(guard);
        self
    }

    /// Who resolves host names. By default the [operating system](super::SystemResolver).
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver.resolver = Arc::new(resolver);
        self
    }

    /// How long TCP may take to connect, over all addresses of the host. By default 5 s, a third of the usual
    /// deadline of an attempt, so that a host that does not answer is told from one that is slow.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an unused connection is kept. By default 30 s: servers close theirs after 5 to 75 s, and a request
    /// that crosses with the closing fails.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How many unused connections are kept to one scheme, host and port. By default 16; 0 keeps none.
    pub fn max_idle_per_host(mut self, connections: usize) -> Self {
        self.max_idle_per_host = connections;
        self
    }

    /// Refuses `https`, for networks where something else does the encryption. Without the feature `rustls` that is
    /// all a sender can do.
    pub fn http_only(mut self) -> Self {
        self.https = false;
        self
    }

    /// Whom to trust and what to show for TLS. By default the Mozilla roots and no client certificate.
    #[cfg(feature = "rustls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The sender.
    #[must_use]
    pub fn build(self) -> HyperSender {
        let guard = Arc::clone(&self.resolver.guard);
        HyperSender {
            clients: Clients::new(Arc::clone(&guard), self.client(guard)),
            settings: Arc::new(self),
        }
    }

    /// A client that dials what that guard lets through.
    fn client(&self, guard: Arc<Guard>) -> Client<Connector, Full<Bytes>> {
        let resolver = GuardedResolver {
            guard,
            resolver: Arc::clone(&self.resolver.resolver),
        };
        let mut connector = HttpConnector::new_with_resolver(resolver);
        connector.set_connect_timeout(Some(self.connect_timeout));
        connector.set_nodelay(true);
        #[cfg(feature = "rustls")]
        let connector = {
            connector.enforce_http(false);
            hyper_rustls::HttpsConnectorBuilder::new()
                .with_tls_config(self.tls.clone().client_config())
                .https_or_http()
                .enable_http1()
                .wrap_connector(connector)
        };
        // `retry_canceled_requests` stays on: hyper hands a request back only if it was never started.
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .pool_max_idle_per_host(self.max_idle_per_host)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector)
    }
}

impl HyperSender {
    /// What is needed for this alone takes no room while the answer is awaited.
    fn start(&self, request: Request<Bytes>) -> Result<ResponseFuture, SendError> {
        let make = |guard| Ok(self.settings.client(guard));
        let (guard, client) = self.clients.of(request.extensions(), make)?;
        exchange::check_destination(request.uri(), &guard, self.settings.https)?;
        Ok(client.request(request.map(Full::new)))
    }
}

#[async_trait]
impl HttpSender for HyperSender {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        let sent = self.start(request)?.await;
        let response = sent.map_err(|error| exchange::classify(error.into()))?;
        exchange::read_response(response, limits).await
    }

    fn supports_https(&self) -> bool {
        self.settings.https
    }
}

impl Default for HyperSender {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HyperSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperSender")
            .field("guard", self.clients.own_guard())
            .field("https", &self.settings.https)
            .finish_non_exhaustive()
    }
}

impl tower_service::Service<Name> for GuardedResolver {
    type Response = vec::IntoIter<std::net::SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { Ok(resolver.resolve(name.as_str()).await?.into_iter()) })
    }
}
