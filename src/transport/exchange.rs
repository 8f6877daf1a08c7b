//! What the adapters share: names to guarded addresses, responses to bounded ones, client errors to ours.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::Scheme;
use http::{Extensions, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::error::{SendError, SendErrorKind};
use super::limits::ResponseLimits;
use super::resolve::{Resolve, SystemResolver};
use crate::guard::{Forbidden, Guard};

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const MAX_IDLE_PER_HOST: usize = 16;

type BoxError = Box<dyn Error + Send + Sync>;

/// Resolves names to nothing but addresses that the guard lets through.
///
/// The clients dial the very addresses it returns. They do not ask it about literal addresses, which
/// [`Guard::check_uri`] has judged before.
#[derive(Debug, Clone)]
pub(super) struct GuardedResolver {
    pub(super) guard: Arc<Guard>,
    pub(super) resolver: Arc<dyn Resolve>,
}

impl Default for GuardedResolver {
    fn default() -> Self {
        Self {
            guard: Arc::default(),
            resolver: Arc::new(SystemResolver),
        }
    }
}

impl GuardedResolver {
    pub(super) async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, BoxError> {
        let addresses = self.resolver.resolve(name).await.map_err(Unresolved)?;
        if addresses.is_empty() {
            return Err(Unresolved(io::ErrorKind::NotFound.into()).into());
        }
        self.guard.check_resolved(name, addresses.iter().copied())?;
        Ok(addresses.into_iter().map(with_port_of_the_url).collect())
    }
}

/// Both clients put the URL's port in place of port 0.
fn with_port_of_the_url(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

#[derive(Debug, thiserror::Error)]
#[error("the name did not resolve to an address")]
struct Unresolved(#[source] io::Error);

/// How many guards beside its own a sender keeps a client for. When there are more, all are dropped: it is memory that is
/// limited here, and who has so many has few that are busy.
const GUARDS_KEPT: usize = 64;

/// A client for each guard that requests come with. A client dials what its guard lets through, and keeps its connections
/// to itself: one that was opened where a webhook may go must not serve another that may not.
#[derive(Clone)]
pub(super) struct Clients<C> {
    guard: Arc<Guard>,
    client: C,
    others: Arc<Mutex<HashMap<Arc<Guard>, C>>>,
}

impl<C: Clone> Clients<C> {
    /// The sender's own guard, and the client that goes by it.
    pub(super) fn new(guard: Arc<Guard>, client: C) -> Self {
        Self {
            guard,
            client,
            others: Arc::default(),
        }
    }

    pub(super) fn own_guard(&self) -> &Guard {
        &self.guard
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn own_client(&self) -> &C {
        &self.client
    }

    /// The guard that a request goes by, and its client, made if need be.
    pub(super) fn of(
        &self,
        extensions: &Extensions,
        make: impl FnOnce(Arc<Guard>) -> Result<C, SendError>,
    ) -> Result<(Arc<Guard>, C), SendError> {
        let guard = match extensions.get::<Arc<Guard>>() {
            Some(guard) if *guard != self.guard => guard,
            _ => return Ok((Arc::clone(&self.guard), self.client.clone())),
        };
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match others.get(guard) {
            Some(client) => client.clone(),
            None => {
                if others.len() >= GUARDS_KEPT {
                    others.clear();
                }
                let client = make(Arc::clone(guard))?;
                others.insert(Arc::clone(guard), client.clone());
                client
            }
        };
        Ok((Arc::clone(guard), client))
    }
}

/// What a sender refuses before it does anything.
pub(super) fn check_destination(uri: &Uri, guard: &Guard, https: bool) -> Result<(), SendError> {
    guard
        .check_uri(uri)
        .map_err(|why| SendError::new(SendErrorKind::NotAllowed, why))?;
    if uri.scheme() == Some(&Scheme::HTTPS) && !https {
        return Err(SendErrorKind::HttpsUnsupported.into());
    }
    Ok(())
}

/// Reads the whole response, up to the limits.
pub(super) async fn read_response<B>(
    response: Response<B>,
    limits: &ResponseLimits,
) -> Result<Response<Bytes>, SendError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    limits.check_headers(response.headers())?;
    let (head, mut body) = response.into_parts();
    limits.check_body_length(body.size_hint().lower())?;
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| classify(error.into()))?;
        if let Ok(data) = frame.into_data() {
            limits.check_body_length((read.len() + data.len()) as u64)?;
            read.extend_from_slice(&data);
        }
    }
    Ok(Response::from_parts(head, read.freeze()))
}

/// Makes a [`SendError`] of a client's error, by what is found among its causes.
pub(super) fn classify(error: BoxError) -> SendError {
    SendError::new(kind_of(error.as_ref()), error)
}

fn kind_of(error: &(dyn Error + 'static)) -> SendErrorKind {
    let mut kind = SendErrorKind::Other;
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Forbidden>() {
            return SendErrorKind::NotAllowed;
        }
        if error.is::<Unresolved>() {
            return SendErrorKind::Resolve;
        }
        #[cfg(feature = "rustls")]
        if error.is::<rustls::Error>() {
            return SendErrorKind::Tls;
        }
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            if error.is_connect() {
                kind = SendErrorKind::Connect;
            }
        } else if let Some(error) = error.downcast_ref::<hyper::Error>() {
            kind = kind_of_hyper(error);
        } else if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::TimedOut => return SendErrorKind::TimedOut,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                    if kind != SendErrorKind::Connect =>
                {
                    kind = SendErrorKind::Closed;
                }
                _ => {}
            }
        }
        next = cause_of(error);
    }
    kind
}

fn kind_of_hyper(error: &hyper::Error) -> SendErrorKind {
    if error.is_parse_too_large() {
        SendErrorKind::ResponseTooLarge
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        SendErrorKind::Closed
    } else if error.is_timeout() {
        SendErrorKind::TimedOut
    } else {
        SendErrorKind::Protocol
    }
}

/// The next error down. An I/O error's `source` leaves out the error it wraps, where TLS puts its own.
fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}
