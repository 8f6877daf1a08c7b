//! The way in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::coding::Coding;
use super::{Admission, Gate, Payload, Protocol};
use crate::signature::{Message, Refusal};
use crate::store::{Seen, SeenKey, SeenStore, StoreError};
use crate::system::SystemClock;
use crate::time::Clock;

/// How many messages are handled between two looks for keys that need not be kept any longer, and how many of those are
/// forgotten then: more than can have been added meanwhile.
const TIDY_EVERY: u32 = 64;
const TIDY_AT_ONCE: usize = 256;

/// The longest key of a provider that is kept as it is, in bytes: databases' indexes have limits.
const LONGEST_KEY: usize = 255;

/// What a gzip body may inflate to before its sender has proved anything: so many times its own size, or this many
/// bytes if that is more. JSON shrinks to a tenth or a thirtieth, hostile bodies to a thousandth.
#[cfg(feature = "gzip")]
const UNPROVEN_RATIO: usize = 100;
#[cfg(feature = "gzip")]
const UNPROVEN_INFLATED: usize = 1024 * 1024;

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
    handled: AtomicU32,
}

/// A message that is authentic.
#[non_exhaustive]
pub struct Received<E> {
    /// What it says.
    pub payload: Payload<E>,
    /// What tells its copies: the provider's key, or `sha256:` and the digest of the body. A provider's key that is
    /// longer than 255 bytes, or has control characters, which not every store can hold, is there as its digest.
    pub key: SeenKey,
    /// What the gate found out: who sent it, and when.
    pub admission: Admission,
    /// The body, inflated if it came compressed.
    pub body: Bytes,
    /// The head of the request, as it came.
    pub head: Parts,
}

/// Shows the key alone: the head may hold a token or a secret in its URL, and the body is somebody's bank account.
impl<E> fmt::Debug for Received<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
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
            handled: AtomicU32::new(0),
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

    /// The largest body taken, in bytes, on the wire and inflated. Default 16 MiB and 64 MiB, since Powens sends several
    /// MB.
    ///
    /// Whoever collects the body into [`Bytes`] must stop at a limit too; [`wire_limit`](Self::wire_limit) says which.
    /// Frameworks' own defaults are often lower (axum's is 2 MB), and answer 413 before this receiver is asked.
    #[must_use]
    pub fn limits(mut self, wire: usize, inflated: usize) -> Self {
        (self.wire_limit, self.inflated_limit) = (wire, inflated);
        self
    }

    /// The largest body taken, in bytes on the wire.
    pub fn wire_limit(&self) -> usize {
        self.wire_limit
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
    /// The request must be the one that came: a scheme that signs the path needs the URI of the request line, which
    /// routers that strip a prefix change (axum's `nest` does, and keeps the original in `OriginalUri`), and a body
    /// that something inflated on the way must not say `content-encoding` any more.
    ///
    /// # Errors
    ///
    /// [`Rejection::Refused`], [`Rejection::TooLarge`], [`Rejection::Coding`].
    pub async fn accept(&self, request: Request<Bytes>) -> Result<Received<P::Event>, Rejection> {
        let (head, wire) = request.into_parts();
        if wire.len() > self.wire_limit {
            return Err(Rejection::TooLarge);
        }
        let (admission, body) = self.authentic_body(&head, wire).await?;
        let payload = self
            .protocol
            .read(&head, &body)
            .map_or(Payload::Unknown, Payload::Known);
        let key = self.protocol.key(&head, &payload);
        let receiver = match &admission.sender {
            Some(sender) => format!("{}/{sender}", self.name),
            None => self.name.clone(),
        };
        let key = SeenKey::new(receiver, key_or_digest(key, &body));
        Ok(Received {
            payload,
            key,
            admission,
            body,
            head,
        })
    }

    /// Does everything: verifies, reads, de-duplicates, has the handler handle, remembers, and answers.
    ///
    /// The sender hears 204 once the handler has succeeded, now or for an earlier copy; 503 with `Retry-After` while
    /// another copy is being handled or the store fails; 500 if the handler fails; 401, 413 or 415 for what is not
    /// let in. Never a 2xx for what was not handled.
    ///
    /// A handler that panics takes this future with it, and where the sender hangs up, frameworks drop it; the lease
    /// then ends by itself. So a message is handled at least once, and a second time only if the process died, the
    /// handler outlived its lease, or the store failed after the handler had succeeded.
    pub async fn handle<F, E>(&self, request: Request<Bytes>, handler: F) -> Response<Bytes>
    where
        F: AsyncFnOnce(Received<P::Event>) -> Result<(), E>,
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
                self.tidy(&**seen).await;
                Ok(())
            }
            Err(_) => {
                // If this fails too, the lease ends by itself.
                let _ = seen.abandon(&key, fence, self.clock.now()).await;
                Err(Rejection::Handler)
            }
        }
    }

    /// Now and then, forgets what need not be remembered any longer, so that the store does not grow for ever.
    async fn tidy(&self, seen: &dyn SeenStore) {
        if self.handled.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            // The message is handled all the same, and the next time will do.
            let _ = seen.forget_expired(TIDY_AT_ONCE, self.clock.now()).await;
        }
    }

    /// The body as its sender wrote it, once the gate has let it in.
    async fn authentic_body(&self, head: &Parts, wire: Bytes) -> Result<(Admission, Bytes), Rejection> {
        match Coding::of(&head.headers).ok_or(Rejection::Coding)? {
            Coding::Identity => {
                let admission = self.admit(head, &wire).await?;
                Ok((admission, wire))
            }
            #[cfg(feature = "gzip")]
            Coding::Gzip => self.authentic_gzip(head, &wire).await,
        }
    }

    /// Whether a provider signs the compressed bytes or those before is not published for Powens. Either will do, for
    /// either needs the key.
    #[cfg(feature = "gzip")]
    async fn authentic_gzip(&self, head: &Parts, wire: &[u8]) -> Result<(Admission, Bytes), Rejection> {
        use super::coding::{InflateError, inflate};

        match self.admit(head, wire).await {
            Ok(admission) => match inflate(wire, self.inflated_limit) {
                Ok(inflated) => Ok((admission, inflated)),
                Err(InflateError::Malformed) => Err(Rejection::Coding),
                Err(InflateError::TooLarge) => Err(Rejection::TooLarge),
            },
            Err(Refusal::Mismatch) => {
                // Whoever sent this has proved nothing yet, so it may not grow as gzip can.
                let allowed = UNPROVEN_INFLATED.max(wire.len().saturating_mul(UNPROVEN_RATIO));
                let inflated =
                    inflate(wire, self.inflated_limit.min(allowed)).map_err(|error| match error {
                        InflateError::Malformed => Rejection::Refused(Refusal::Mismatch),
                        InflateError::TooLarge => Rejection::TooLarge,
                    })?;
                let admission = self.admit(head, &inflated).await?;
                Ok((admission, inflated))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn admit(&self, head: &Parts, body: &[u8]) -> Result<Admission, Refusal> {
        let message = Message {
            method: &head.method,
            target: head.uri.path_and_query().map_or("/", |target| target.as_str()),
            headers: &head.headers,
            body,
        };
        self.gate.admit(&message, self.clock.now()).await
    }
}

/// The provider's key where it has one that every store can hold; else a digest, of the key or of the body.
fn key_or_digest(key: Option<String>, body: &[u8]) -> String {
    match key.filter(|key| !key.is_empty()) {
        Some(key) if key.len() <= LONGEST_KEY && !key.contains(char::is_control) => key,
        Some(key) => digest(key.as_bytes()),
        None => digest(body),
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
