//! The way in.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::{Gate, Payload, Protocol};
use crate::signature::{Message, Refusal};
use crate::store::{Seen, SeenKey, SeenStore, StoreError};
use crate::system::SystemClock;
use crate::time::Clock;

/// Verifies, reads and de-duplicates what comes in, and has it handled.
#[derive(Debug)]
pub struct Receiver<P> {
    name: String,
    protocol: P,
    gate: Arc<dyn Gate>,
    seen: Option<Arc<dyn SeenStore>>,
    clock: Arc<dyn Clock>,
    wire_limit: usize,
    inflated_limit: usize,
    lease: Duration,
    keep: Duration,
}

/// A message that is authentic.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received<E> {
    /// What it says.
    pub payload: Payload<E>,
    /// What tells its copies: the provider's key, or `sha256:` and the digest of the body.
    pub key: SeenKey,
    /// The body, inflated if it came compressed.
    pub body: Bytes,
    /// The head of the request, as it came.
    pub head: Parts,
}

/// Why a message was not handled. Found in the extensions of the response that [`Receiver::handle`] makes, for
/// logs; the sender learns only the status.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It is not authentic.
    #[error("not authentic: {0}")]
    Refused(#[from] Refusal),
    /// The body is larger than is taken, on the wire or inflated.
    #[error("the body is too large")]
    TooLarge,
    /// The body is in a coding that is not understood, or is not what its coding says.
    #[error("the body's coding cannot be undone")]
    Coding,
    /// Another copy is being handled.
    #[error("another copy is being handled")]
    InProgress,
    /// The store that remembers what was seen failed.
    #[error("the store of what was seen failed")]
    Store(#[source] Arc<StoreError>),
    /// The handler failed. What failed is the application's to log: it may hold anything.
    #[error("the handler failed")]
    Handler,
}

impl Rejection {
    /// What the sender hears. Everything that could tell someone how to forge a message sounds the same.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused(_) => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Coding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InProgress | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Handler => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl<P: Protocol> Receiver<P> {
    /// A receiver of that protocol, whose gate lets in what is authentic. The name tells its keys from those of
    /// other receivers in one store.
    pub fn new(name: impl Into<String>, protocol: P, gate: impl Gate) -> Self {
        Self {
            name: name.into(),
            protocol,
            gate: Arc::new(gate),
            seen: None,
            clock: Arc::new(SystemClock),
            wire_limit: 16 * 1024 * 1024,
            inflated_limit: 64 * 1024 * 1024,
            lease: Duration::from_secs(60),
            keep: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }

    /// Remembers in this store what was handled, so that a second copy is not handled again. Without one, every copy
    /// is.
    #[must_use]
    pub fn seen(mut self, store: impl SeenStore) -> Self {
        self.seen = Some(Arc::new(store));
        self
    }

    /// Asks this clock. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The largest body taken, on the wire and inflated. Default 16 MiB and 64 MiB, since Powens sends several MB.
    #[must_use]
    pub fn limits(mut self, wire: usize, inflated: usize) -> Self {
        (self.wire_limit, self.inflated_limit) = (wire, inflated);
        self
    }

    /// How long a handler may take before another copy may be handled in its place. Default 60 seconds: should the
    /// process die in the middle, the sender's next try after that is handled.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long keys are remembered. Default 7 days: longer than any of the providers retries.
    #[must_use]
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// Verifies and reads a message, and leaves de-duplication and handling to the caller.
    ///
    /// # Errors
    ///
    /// [`Rejection::Refused`], [`Rejection::TooLarge`], [`Rejection::Coding`].
    pub async fn accept(&self, request: Request<Bytes>) -> Result<Received<P::Event>, Rejection> {
        let (head, wire) = request.into_parts();
        if wire.len() > self.wire_limit {
            return Err(Rejection::TooLarge);
        }
        let coding = coding(&head)?;
        let body = match (self.admit(&head, &wire).await, coding) {
            (Ok(()), Coding::Identity) => wire,
            (Ok(()), Coding::Gzip) => self.inflate(&wire)?,
            // Whether a provider signs the compressed bytes or those before is not published for Powens.
            (Err(Refusal::Mismatch), Coding::Gzip) => {
                let inflated = self.inflate(&wire)?;
                self.admit(&head, &inflated).await?;
                inflated
            }
            (Err(refusal), _) => return Err(refusal.into()),
        };
        let (payload, key) = match self.protocol.read(&head, &body) {
            Ok(event) => {
                let key = self.protocol.key(&head, &event);
                (Payload::Known(event), key)
            }
            Err(_) => (Payload::Unknown, None),
        };
        let key = SeenKey::new(&*self.name, key.unwrap_or_else(|| digest(&body)));
        Ok(Received {
            payload,
            key,
            body,
            head,
        })
    }

    /// Does everything: verifies, reads, de-duplicates, has the handler handle, remembers, and answers.
    ///
    /// The sender hears 204 once the handler has succeeded, now or for an earlier copy; 503 with `Retry-After` while
    /// another copy is being handled or the store fails; 500 if the handler fails; 401, 413 or 415 for what is not
    /// let in. Never a 2xx for what was not handled. A handler that panics takes this future with it; its lease
    /// then ends by itself.
    pub async fn handle<F, E>(&self, request: Request<Bytes>, handler: F) -> Response<Bytes>
    where
        F: AsyncFnOnce(Received<P::Event>) -> Result<(), E>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        match self.try_handle(request, handler).await {
            Ok(()) => answer(StatusCode::NO_CONTENT),
            Err(rejection) => {
                let mut response = answer(rejection.status());
                if rejection.status() == StatusCode::SERVICE_UNAVAILABLE {
                    response
                        .headers_mut()
                        .insert(RETRY_AFTER, HeaderValue::from_static("5"));
                }
                response.extensions_mut().insert(rejection);
                response
            }
        }
    }

    async fn try_handle<F, E>(&self, request: Request<Bytes>, handler: F) -> Result<(), Rejection>
    where
        F: AsyncFnOnce(Received<P::Event>) -> Result<(), E>,
    {
        let received = self.accept(request).await?;
        let store_failed = |error| Rejection::Store(Arc::new(error));
        let Some(seen) = &self.seen else {
            return handler(received).await.map_err(|_| Rejection::Handler);
        };
        let key = received.key.clone();
        let fence = match seen
            .begin(&key, self.lease, self.clock.now())
            .await
            .map_err(store_failed)?
        {
            Seen::Done => return Ok(()),
            Seen::InProgress => return Err(Rejection::InProgress),
            Seen::Fresh(fence) => fence,
        };
        match handler(received).await {
            Ok(()) => {
                // If another copy has taken over meanwhile, that one will say when it is done.
                seen.finish(&key, fence, self.keep, self.clock.now())
                    .await
                    .map_err(store_failed)?;
                Ok(())
            }
            Err(_) => {
                // If this fails too, the lease ends by itself.
                let _ = seen.abandon(&key, fence, self.clock.now()).await;
                Err(Rejection::Handler)
            }
        }
    }

    async fn admit(&self, head: &Parts, body: &[u8]) -> Result<(), Refusal> {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let message = Message {
            method: &head.method,
            target,
            headers: &head.headers,
            body,
        };
        self.gate.admit(&message, self.clock.now()).await
    }

    #[cfg(feature = "gzip")]
    fn inflate(&self, body: &[u8]) -> Result<Bytes, Rejection> {
        use super::inflate::{InflateError, inflate};
        inflate(body, self.inflated_limit).map_err(|error| match error {
            InflateError::Malformed => Rejection::Coding,
            InflateError::TooLarge => Rejection::TooLarge,
        })
    }

    #[cfg(not(feature = "gzip"))]
    fn inflate(&self, _body: &[u8]) -> Result<Bytes, Rejection> {
        Err(Rejection::Coding)
    }
}

enum Coding {
    Identity,
    Gzip,
}

fn coding(head: &Parts) -> Result<Coding, Rejection> {
    let mut codings = head.headers.get_all(CONTENT_ENCODING).iter();
    match (codings.next().map(HeaderValue::as_bytes), codings.next()) {
        (None, _) => Ok(Coding::Identity),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"identity") => Ok(Coding::Identity),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"gzip") => Ok(Coding::Gzip),
        _ => Err(Rejection::Coding),
    }
}

fn digest(body: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(body)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn answer(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
