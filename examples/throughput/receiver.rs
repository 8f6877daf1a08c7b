//! The receiver: has each request checked, and counts distinct ids.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::AnyError;

/// A server on a port of its own.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    tally: Arc<Tally>,
}

/// Verifies the signature, and says which number the request has.
pub(crate) type Check = dyn Fn(&Request<Bytes>) -> Result<usize, StatusCode> + Send + Sync;

struct Tally {
    check: Box<Check>,
    verified: AtomicUsize,
    distinct: AtomicUsize,
    seen: Box<[AtomicBool]>,
}

impl Receiver {
    /// Serves until the runtime ends. The ids that it expects are below that number.
    pub(crate) async fn start(ids: usize, check: Box<Check>) -> Result<Self, AnyError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let tally = Arc::new(Tally {
            check,
            verified: AtomicUsize::new(0),
            distinct: AtomicUsize::new(0),
            seen: std::iter::repeat_with(AtomicBool::default).take(ids).collect(),
        });
        tokio::spawn(serve(listener, Arc::clone(&tally)));
        Ok(Self { address, tally })
    }

    /// How many requests held a signature that verifies.
    pub(crate) fn verified(&self) -> usize {
        self.tally.verified.load(Ordering::SeqCst)
    }

    /// How many different ids they had.
    pub(crate) fn distinct(&self) -> usize {
        self.tally.distinct.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, tally: Arc<Tally>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let tally = Arc::clone(&tally);
        let service = service_fn(move |request: Request<Incoming>| {
            let tally = Arc::clone(&tally);
            async move {
                let (head, body) = request.into_parts();
                let status = match body.collect().await {
                    Ok(body) => tally.count(&Request::from_parts(head, body.to_bytes())),
                    Err(_) => StatusCode::BAD_REQUEST,
                };
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
    }
}

impl Tally {
    fn count(&self, request: &Request<Bytes>) -> StatusCode {
        let number = match (self.check)(request) {
            Ok(number) => number,
            Err(status) => return status,
        };
        let Some(seen) = self.seen.get(number) else {
            return StatusCode::UNPROCESSABLE_ENTITY;
        };
        self.verified.fetch_add(1, Ordering::SeqCst);
        if !seen.swap(true, Ordering::SeqCst) {
            self.distinct.fetch_add(1, Ordering::SeqCst);
        }
        StatusCode::NO_CONTENT
    }
}
