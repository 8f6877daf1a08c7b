//! The way in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::coding::Coding;
use super::rejection::answer;
use super::report::{Handling, NoListener, Reporting};
use super::{Admission, Arrival, Gate, GateError, Listener, Payload, Protocol, Rejection, Sources};
use crate::store::{Seen, SeenClaim, SeenKey, SeenStore};
use crate::system::SystemClock;
use crate::time::{Clock, after};

/// How many messages begin between two looks for keys that need not be kept any longer, and how many of those are
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
    sources: Option<Sources>,
    seen: Option<Arc<dyn SeenStore>>,
    listener: Arc<dyn Listener>,
    clock: Arc<dyn Clock>,
    wire_limit: usize,
    inflated_limit: usize,
    lease: Duration,
    keep: Duration,
    begun: AtomicU32,
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
    /// The right to handle it, where the receiver [remembers](Receiver::seen) what was handled: so that a handler can
    /// mark the message as done in a transaction of its own, together with what it does
    /// ([`SeenClaim`](crate::store::SeenClaim) says how). Otherwise the receiver does it afterwards.
    pub claim: Option<SeenClaim>,
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

impl<P: Protocol> Receiver<P> {
    /// A receiver of that protocol, whose gate lets in what is authentic. The name tells its keys from those of
    /// other receivers in one store.
    pub fn new(name: impl Into<String>, protocol: P, gate: impl Gate) -> Self {
        Self {
            name: name.into(),
            protocol,
            gate: Arc::new(gate),
            sources: None,
            seen: None,
            listener: Arc::new(NoListener),
            clock: Arc::new(SystemClock),
            wire_limit: 16 * 1024 * 1024,
            inflated_limit: 64 * 1024 * 1024,
            lease: Duration::from_secs(60),
            keep: Duration::from_secs(7 * 24 * 60 * 60),
            begun: AtomicU32::new(0),
        }
    }

    /// Remembers in this store what was handled, so that a second copy is not handled again. Without one, every copy
    /// is.
    #[must_use]
    pub fn seen(mut self, store: impl SeenStore) -> Self {
        self.seen = Some(Arc::new(store));
        self
    }

    /// Lets in only what comes from these addresses, in addition to what the gate demands. Default: from anywhere.
    ///
    /// The request's extensions must say where it came from ([`PeerAddress`](super::PeerAddress)).
    #[must_use]
    pub fn only_from(mut self, sources: Sources) -> Self {
        self.sources = Some(sources);
        self
    }

    /// Tells this listener what became of each message. Default: nobody.
    #[must_use]
    pub fn listener(mut self, listener: impl Listener) -> Self {
        self.listener = Arc::new(listener);
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

    /// How long keys are remembered. Default 7 days: longer than any of the providers retries but Powens, which goes on
    /// until it hears a 2xx.
    #[must_use]
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// Refuses what can be refused before its body is read: what comes from elsewhere than the addresses that are
    /// [allowed](Self::only_from). [`accept`](Self::accept) and [`handle`](Self::handle) do the same; this is for
    /// whoever reads bodies for them.
    ///
    /// # Errors
    ///
    /// [`Rejection::ForeignAddress`], [`Rejection::UnknownAddress`].
    pub fn check_head(&self, head: &Parts) -> Result<(), Rejection> {
        match &self.sources {
            Some(sources) => sources.check(head),
            None => Ok(()),
        }
    }

    /// Verifies and reads a message, and leaves de-duplication and handling to the caller.
    ///
    /// The request must be the one that came: a scheme that signs the path needs the URI of the request line, which
    /// routers that strip a prefix change (axum's `nest` does, and keeps the original in `OriginalUri`), and a body
    /// that something inflated on the way must not say `content-encoding` any more. One that is still gzip is inflated
    /// whether it says so or not, a gzip file included: neither `content-encoding` nor `content-type` is signed.
    ///
    /// # Errors
    ///
    /// Those of [`check_head`](Self::check_head); [`Rejection::Refused`], [`Rejection::Unavailable`],
    /// [`Rejection::TooLarge`], [`Rejection::Coding`].
    pub async fn accept(&self, request: Request<Bytes>) -> Result<Received<P::Event>, Rejection> {
        let (head, wire) = request.into_parts();
        self.check_head(&head)?;
        if wire.len() > self.wire_limit {
            return Err(Rejection::TooLarge);
        }
        let (admission, body) = self.authentic_body(&head, wire).await?;
        let payload = self
            .protocol
            .read(&head, &body)
            .map_or(Payload::Unknown, Payload::Known);
        let key = self.protocol.key(&head, &payload);
        // No receiver's name has a slash in it here, so whatever a sender is called, no two are called the same.
        let name = self.name.replace('%', "%25").replace('/', "%2F");
        let receiver = match &admission.sender {
            Some(sender) => format!("{name}/{sender}"),
            None => name,
        };
        let key = SeenKey::new(receiver, key_or_digest(key, &body));
        Ok(Received {
            payload,
            key,
            admission,
            claim: None,
            body,
            head,
        })
    }

    /// Does everything: verifies, reads, de-duplicates, has the handler handle, remembers, and answers.
    ///
    /// The sender hears 204 once the handler has succeeded, now or for an earlier copy; 503 with `Retry-After` while
    /// another copy is being handled, the store fails, or nobody can say whether the message is authentic or where it came
    /// from; 500 if the handler fails; 401, 413 or 415 for what is not let in. Never a 2xx for what was not handled.
    ///
    /// A handler that panics takes this future with it, and where the sender hangs up, frameworks drop it; the lease
    /// then ends by itself. So a message is handled at least once, and a second time only if the process died, the
    /// handler outlived its lease, or the store failed after the handler had succeeded.
    pub async fn handle<F, E>(&self, request: Request<Bytes>, handler: F) -> Response<Bytes>
    where
        F: AsyncFnOnce(Received<P::Event>) -> Result<(), E>,
    {
        let mut reporting = self.reporting();
        let ended = self.try_handle(request, handler, &mut reporting).await;
        reporting.end(ended.as_ref().copied());
        match ended {
            Ok(_) => answer(StatusCode::NO_CONTENT),
            Err(rejection) => rejection.into_response(),
        }
    }

    async fn try_handle<F, E>(
        &self,
        request: Request<Bytes>,
        handler: F,
        reporting: &mut Reporting<'_>,
    ) -> Result<Handling, Rejection>
    where
        F: AsyncFnOnce(Received<P::Event>) -> Result<(), E>,
    {
        let Some(received) = self.take(request, reporting).await? else {
            return Ok(Handling::Duplicate);
        };
        let claim = received.claim.clone();
        match handler(received).await {
            Ok(()) => self.finish(claim.as_ref()).await,
            Err(_) => Err(self.abandon(claim.as_ref()).await),
        }
    }

    /// What begins here is reported, even if it is dropped in the middle.
    pub(super) fn reporting(&self) -> Reporting<'_> {
        Reporting::new(&self.name, &*self.listener, &*self.clock)
    }

    /// Accepts a message, and takes a claim on it. `None` if it has been handled.
    pub(super) async fn take(
        &self,
        request: Request<Bytes>,
        reporting: &mut Reporting<'_>,
    ) -> Result<Option<Received<P::Event>>, Rejection> {
        let mut received = self.accept(request).await?;
        reporting.key(&received.key);
        let Some(seen) = &self.seen else {
            return Ok(Some(received));
        };
        self.tidy(&**seen).await;
        let now = self.clock.now();
        match seen.begin(&received.key, self.lease, now).await? {
            Seen::Done => Ok(None),
            Seen::InProgress => Err(Rejection::InProgress),
            Seen::Fresh(fence) => {
                received.claim = Some(SeenClaim {
                    key: received.key.clone(),
                    fence,
                    keep_until: after(now, self.keep),
                });
                Ok(Some(received))
            }
        }
    }

    /// The handler has succeeded.
    pub(super) async fn finish(&self, claim: Option<&SeenClaim>) -> Result<Handling, Rejection> {
        if let (Some(seen), Some(claim)) = (&self.seen, claim) {
            // If it does not hold any more, the handler has finished it in a transaction of its own, or another copy
            // has taken over, and that one will say when it is done.
            seen.finish(&claim.key, claim.fence, self.keep, self.clock.now())
                .await?;
        }
        Ok(Handling::Handled)
    }

    /// The handler has failed.
    pub(super) async fn abandon(&self, claim: Option<&SeenClaim>) -> Rejection {
        if let (Some(seen), Some(claim)) = (&self.seen, claim) {
            // If this fails too, the lease ends by itself.
            let _ = seen.abandon(&claim.key, claim.fence, self.clock.now()).await;
        }
        Rejection::Handler
    }

    /// Now and then, forgets what need not be remembered any longer, so that the store does not grow for ever.
    async fn tidy(&self, seen: &dyn SeenStore) {
        if self.begun.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            // The message is handled all the same, and the next time will do.
            let _ = seen.forget_expired(TIDY_AT_ONCE, self.clock.now()).await;
        }
    }

    /// The body as its sender wrote it, once the gate has let it in. One that is gzip is inflated whether or not a header
    /// says so: headers are seldom signed, and a copy without them is still a copy.
    async fn authentic_body(&self, head: &Parts, wire: Bytes) -> Result<(Admission, Bytes), Rejection> {
        match Coding::of(&head.headers).ok_or(Rejection::Coding)? {
            #[cfg(feature = "gzip")]
            Coding::Gzip => self.authentic_gzip(head, wire, true).await,
            #[cfg(feature = "gzip")]
            Coding::Identity if super::coding::looks_like_gzip(&wire) => {
                self.authentic_gzip(head, wire, false).await
            }
            Coding::Identity => {
                let admission = self.admit(head, &wire).await?;
                Ok((admission, wire))
            }
        }
    }

    /// Whether a provider signs the compressed bytes or those before is not published for Powens. Either will do, for
    /// either needs the key. What is not said to be gzip, and is not, stays as it is.
    #[cfg(feature = "gzip")]
    async fn authentic_gzip(
        &self,
        head: &Parts,
        wire: Bytes,
        is_said: bool,
    ) -> Result<(Admission, Bytes), Rejection> {
        use super::coding::{InflateError, inflate};
        use crate::signature::Refusal;

        match self.admit(head, &wire).await {
            Ok(admission) => match inflate(&wire, self.inflated_limit) {
                Ok(inflated) => Ok((admission, inflated)),
                Err(InflateError::Malformed) if !is_said => Ok((admission, wire)),
                Err(InflateError::Malformed) => Err(Rejection::Coding),
                Err(InflateError::TooLarge) => Err(Rejection::TooLarge),
            },
            Err(GateError::Refused(Refusal::Mismatch)) => {
                // Whoever sent this has proved nothing yet, so it may not grow as gzip can.
                let allowed = UNPROVEN_INFLATED.max(wire.len().saturating_mul(UNPROVEN_RATIO));
                let inflated =
                    inflate(&wire, self.inflated_limit.min(allowed)).map_err(|error| match error {
                        InflateError::Malformed => Rejection::Refused(Refusal::Mismatch),
                        InflateError::TooLarge => Rejection::TooLarge,
                    })?;
                let admission = self.admit(head, &inflated).await?;
                Ok((admission, inflated))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn admit(&self, head: &Parts, body: &[u8]) -> Result<Admission, GateError> {
        self.gate.admit(&Arrival::new(head, body), self.clock.now()).await
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
