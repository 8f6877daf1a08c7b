//! The sender for applications that have reqwest already.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use reqwest::dns::{Addrs, Name, Resolving};
use reqwest::{Client, ClientBuilder, Url};

use super::HttpSender;
use super::error::{SendError, SendErrorKind};
use super::exchange::{self, Clients, GuardedResolver};
use super::limits::ResponseLimits;
use super::resolve::Resolve;
#[cfg(feature = "rustls")]
use super::tls::Tls;
use crate::guard::Guard;

/// A sender on reqwest: HTTP/1.1, connections kept and used again, `https` with the feature `rustls`.
///
/// reqwest parses the URL anew, by the WHATWG rules. Where that changes the path, the query, the host or the port, the
/// request is refused ([`UrlChanged`](SendErrorKind::UrlChanged)) instead of sent elsewhere than signed; a
/// [`WebhookUrl`](crate::url::WebhookUrl) is never changed. Names are resolved through a [`Resolve`], and a
/// [`Guard`] judges the very addresses that are dialled. Redirects, proxies, decompression and reqwest's own retries
/// are off. Response headers end at 100 lines and about 400 KiB whatever the [`ResponseLimits`].
///
/// reqwest adds `accept: */*` where the request has no `accept` header.
///
/// Cheap to clone; clones share their connections. Needs a tokio runtime to send in.
///
/// ```
/// use ringback::transport::{Guard, HttpSender, ReqwestSender};
///
/// let sender = ReqwestSender::builder().guard(Guard::default().allow_loopback()).build()?;
/// assert_eq!(sender.supports_https(), cfg!(feature = "rustls"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ReqwestSender {
    clients: Clients<Client>,
    /// Nothing for a client that was made elsewhere: it serves for all guards.
    settings: Option<Arc<ReqwestSenderBuilder>>,
    urls: Arc<Urls>,
    https: bool,
}

/// Settings of a [`ReqwestSender`].
#[must_use]
pub struct ReqwestSenderBuilder {
    resolver: GuardedResolver,
    client: Box<dyn Fn() -> ClientBuilder + Send + Sync>,
    https: bool,
    #[cfg(feature = "rustls")]
    tls: Tls,
}

/// reqwest could not make a client of the settings.
#[derive(Debug, thiserror::Error)]
#[error("the reqwest client could not be built")]
pub struct BuildError {
    source: Box<dyn Error + Send + Sync>,
}

impl ReqwestSender {
    /// Starts from the default settings: `https` and public addresses only.
    pub fn builder() -> ReqwestSenderBuilder {
        ReqwestSenderBuilder {
            resolver: GuardedResolver::default(),
            client: Box::new(|| {
                Client::builder()
                    .connect_timeout(exchange::CONNECT_TIMEOUT)
                    .pool_idle_timeout(exchange::IDLE_TIMEOUT)
                    .pool_max_idle_per_host(exchange::MAX_IDLE_PER_HOST)
            }),
            https: cfg!(feature = "rustls"),
            #[cfg(feature = "rustls")]
            tls: Tls::default(),
        }
    }

    /// Sends through a client made elsewhere, with its connections, proxies and TLS.
    ///
    /// The guard, and one that a request comes with, then judge only URLs, not the addresses that names resolve to: a name
    /// that resolves to a private address gets through, unless the client's own resolver prevents it. And the
    /// [contract](HttpSender#contract) is kept only by a client built with `redirect(Policy::none())`,
    /// `retry(never())`, `no_proxy()`, and without decompression and cookies. `https` is taken to be supported.
    pub fn dangerous_from_client(client: Client, guard: Guard) -> Self {
        Self {
            clients: Clients::new(Arc::new(guard), client),
            settings: None,
            urls: Arc::default(),
            https: true,
        }
    }
}

impl ReqwestSenderBuilder {
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

    /// The client's other settings: time limits, pools, sockets, default headers. By default 5 s for connecting, and
    /// up to 16 unused connections per host for up to 30 s. What the [contract](HttpSender#contract) and the
    /// guard depend on is set over it, and so is TLS. What sidesteps resolving there, such as `resolve` or
    /// `unix_socket`, sidesteps the guard. It is asked for once, and again for each guard that a webhook has of its own: a
    /// client's connections are for one guard only.
    pub fn client(mut self, client: impl Fn() -> ClientBuilder + Send + Sync + 'static) -> Self {
        self.client = Box::new(client);
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
    ///
    /// # Errors
    ///
    /// [`BuildError`], if reqwest refuses.
    pub fn build(self) -> Result<ReqwestSender, BuildError> {
        let guard = Arc::clone(&self.resolver.guard);
        let client = self.make(Arc::clone(&guard))?;
        Ok(ReqwestSender {
            clients: Clients::new(guard, client),
            urls: Arc::default(),
            https: self.https,
            settings: Some(Arc::new(self)),
        })
    }

    /// A client that dials what that guard lets through.
    fn make(&self, guard: Arc<Guard>) -> Result<Client, BuildError> {
        let resolver = GuardedResolver {
            guard,
            resolver: Arc::clone(&self.resolver.resolver),
        };
        // Another crate in the same program may have switched reqwest's features on; so all is switched off here.
        let client = (self.client)()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .dns_resolver(resolver);
        #[cfg(feature = "rustls")]
        let client = client.tls_backend_preconfigured(self.tls.clone().client_config());
        client
            .build()
            .map_err(|error| BuildError { source: error.into() })
    }
}

impl ReqwestSender {
    /// What is needed for this alone takes no room while the answer is awaited.
    fn start(
        &self,
        request: Request<Bytes>,
    ) -> Result<impl Future<Output = reqwest::Result<reqwest::Response>> + use<>, SendError> {
        let make = |guard| match &self.settings {
            Some(settings) => settings
                .make(guard)
                .map_err(|error| SendError::new(SendErrorKind::Other, error)),
            None => Ok(self.clients.own_client().clone()),
        };
        let (guard, client) = self.clients.of(request.extensions(), make)?;
        exchange::check_destination(request.uri(), &guard, self.https)?;
        let url = self.urls.read(request.uri()).ok_or(SendErrorKind::UrlChanged)?;
        let (head, body) = request.into_parts();
        let mut request = reqwest::Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(body.into());
        Ok(client.execute(request))
    }
}

#[async_trait]
impl HttpSender for ReqwestSender {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        let response = self.start(request)?.await.map_err(classify)?;
        exchange::read_response(response.into(), limits).await
    }

    fn supports_https(&self) -> bool {
        self.https
    }
}

/// How many URLs are remembered. When there are more, all are forgotten.
const URLS_KEPT: usize = 1_024;

/// URLs as reqwest reads them. A webhook's is the same each time, and is found faster than it is read.
#[derive(Default)]
struct Urls(Mutex<HashMap<Uri, Url>>);

impl Urls {
    /// The URI as reqwest reads it, if that is how it is written.
    fn read(&self, uri: &Uri) -> Option<Url> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = known.get(uri) {
            // URIs are equal whatever the case of their hosts.
            return is_as_written(url, uri).then(|| url.clone());
        }
        let url = Url::parse(&uri.to_string()).ok()?;
        if !is_as_written(&url, uri) {
            return None;
        }
        if known.len() >= URLS_KEPT {
            known.clear();
        }
        known.insert(uri.clone(), url.clone());
        Some(url)
    }
}

fn is_as_written(url: &Url, uri: &Uri) -> bool {
    Some(url.scheme()) == uri.scheme_str()
        && url.username().is_empty()
        && url.password().is_none()
        && url.host_str() == uri.host()
        && (url.port() == uri.port_u16() || url.port_or_known_default() == uri.port_u16())
        && url.path() == uri.path()
        && url.query() == uri.query()
}

fn classify(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    if error.is_timeout() {
        SendError::new(SendErrorKind::TimedOut, error)
    } else {
        exchange::classify(error.into())
    }
}

// The client's default headers may hold secrets, so both leave the client out.

impl fmt::Debug for ReqwestSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestSender")
            .field("guard", self.clients.own_guard())
            .field("https", &self.https)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReqwestSenderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestSenderBuilder")
            .field("resolver", &self.resolver)
            .finish_non_exhaustive()
    }
}

impl reqwest::dns::Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_remembered_is_no_more_than_what_was_read() {
        let urls = Urls::default();
        let written = uri("https://receiver.example/hook?a=1");
        for _ in 0..2 {
            assert_eq!(
                urls.read(&written).unwrap().as_str(),
                "https://receiver.example/hook?a=1"
            );
            for other in [
                "https://RECEIVER.example/hook?a=1",
                "https://receiver.example/a/../hook?a=1",
                "https://receiver.example/hook?a='1'",
            ] {
                assert_eq!(urls.read(&uri(other)), None, "{other}");
            }
        }
    }

    #[test]
    fn memory_for_urls_is_bounded() {
        let urls = Urls::default();
        for number in 0..3 * URLS_KEPT {
            assert!(
                urls.read(&uri(&format!("http://receiver.example/{number}")))
                    .is_some()
            );
            assert!(urls.0.lock().unwrap().len() <= URLS_KEPT);
        }
    }
}
