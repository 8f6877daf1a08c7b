//! Receivers that do as a script says.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Request, Response, StatusCode};

use crate::engine::Timer;
use crate::transport::{HttpSender, ResponseLimits, SendError, SendErrorKind};

/// What comes of one request, and after how long.
///
/// ```
/// use std::time::Duration;
/// use http::StatusCode;
/// use ringback::testing::Reply;
///
/// let slow = Reply::status(StatusCode::OK).after(Duration::from_secs(3));
/// let broken = Reply::panic();
/// ```
#[derive(Debug, Clone)]
pub struct Reply {
    delay: Duration,
    end: End,
}

#[derive(Debug, Clone)]
enum End {
    Answer(Response<Bytes>),
    Error(SendErrorKind),
    Hang,
    Panic,
}

impl Reply {
    /// An answer.
    pub fn answer(response: Response<Bytes>) -> Self {
        Self::at_once(End::Answer(response))
    }

    /// An answer of this status with nothing in it.
    pub fn status(status: StatusCode) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        Self::answer(response)
    }

    /// No answer, for this reason.
    pub fn error(kind: SendErrorKind) -> Self {
        Self::at_once(End::Error(kind))
    }

    /// No end at all: the request is under way until it is dropped.
    pub fn hang() -> Self {
        Self::at_once(End::Hang)
    }

    /// A panic in the sender.
    pub fn panic() -> Self {
        Self::at_once(End::Panic)
    }

    /// The same, but only after this long.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    fn at_once(end: End) -> Self {
        Self {
            delay: Duration::ZERO,
            end,
        }
    }
}

/// A sender that sends nothing: a script answers, and every request is noted.
///
/// The script is called once for each request, as it comes in, and says what comes of it. Delays are slept on the
/// timer it is given, so that with [`ManualTime`](super::ManualTime) nothing takes long.
///
/// ```
/// use std::sync::Arc;
/// use bytes::Bytes;
/// use chrono::DateTime;
/// use http::{Request, StatusCode};
/// use ringback::testing::{ManualTime, Reply, ScriptedSender};
/// use ringback::transport::{HttpSender, ResponseLimits, SendErrorKind};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let time = Arc::new(ManualTime::new(DateTime::UNIX_EPOCH));
/// let sender = ScriptedSender::new(time, |request: &Request<Bytes>| match request.uri().path() {
///     "/away" => Reply::error(SendErrorKind::Connect),
///     _ => Reply::status(StatusCode::OK),
/// });
/// let request = Request::post("https://example.com/hook").body(Bytes::from("{}"))?;
/// let response = sender.send(request, &ResponseLimits::default()).await?;
/// assert_eq!(response.status(), StatusCode::OK);
/// assert_eq!(sender.received()[0].request.body(), "{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ScriptedSender {
    timer: Arc<dyn Timer>,
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    in_flight: AtomicUsize,
}

type Script = Box<dyn FnMut(&Request<Bytes>) -> Reply + Send>;

/// A request that a [`ScriptedSender`] was given.
#[derive(Debug, Clone)]
pub struct Received {
    /// When, by the sender's timer.
    pub at: DateTime<Utc>,
    /// The request, whole.
    pub request: Request<Bytes>,
}

impl ScriptedSender {
    /// A sender that asks this script.
    pub fn new(timer: Arc<dyn Timer>, script: impl FnMut(&Request<Bytes>) -> Reply + Send + 'static) -> Self {
        Self {
            timer,
            script: Mutex::new(Box::new(script)),
            received: Mutex::default(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// A sender that gives these replies one after another, whoever asks, and after the last of them panics, so
    /// that a test notices requests it did not expect.
    pub fn replying(timer: Arc<dyn Timer>, replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies = replies.into_iter().collect::<Vec<_>>().into_iter();
        Self::new(timer, move |_| replies.next().unwrap_or_else(Reply::panic))
    }

    /// All requests so far, in the order they came in.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }

    /// How many requests are under way: neither answered nor dropped.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl HttpSender for ScriptedSender {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        let _flight = Flight::start(&self.in_flight);
        let reply = (lock(&self.script))(&request);
        lock(&self.received).push(Received {
            at: self.timer.now(),
            request,
        });
        if !reply.delay.is_zero() {
            self.timer.sleep(reply.delay).await;
        }
        match reply.end {
            End::Answer(response) => {
                limits.check_headers(response.headers())?;
                limits.check_body_length(response.body().len() as u64)?;
                Ok(response)
            }
            End::Error(kind) => Err(kind.into()),
            End::Hang => std::future::pending().await,
            End::Panic => panic!("a scripted panic"),
        }
    }

    fn supports_https(&self) -> bool {
        true
    }
}

impl fmt::Debug for ScriptedSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedSender")
            .field("received", &lock(&self.received).len())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// Counts a request as under way until it is dropped, answered or not.
struct Flight<'a>(&'a AtomicUsize);

impl<'a> Flight<'a> {
    fn start(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures_util::FutureExt;

    use super::*;
    use crate::testing::ManualTime;

    fn request() -> Request<Bytes> {
        Request::post("https://example.com/hook")
            .body(Bytes::from_static(b"{}"))
            .unwrap()
    }

    #[test]
    fn replies_come_in_turn_and_requests_are_noted() {
        let time = ManualTime::new(DateTime::<Utc>::UNIX_EPOCH);
        let sender = ScriptedSender::replying(
            Arc::new(time.clone()),
            [
                Reply::status(StatusCode::GONE),
                Reply::error(SendErrorKind::Tls).after(Duration::from_secs(2)),
                Reply::answer(Response::new(Bytes::from_static(b"too much"))),
                Reply::hang(),
            ],
        );
        let limits = ResponseLimits::default().with_body(4);
        let first = sender.send(request(), &limits).now_or_never().unwrap();
        assert_eq!(first.unwrap().status(), StatusCode::GONE);

        let mut slow = sender.send(request(), &limits);
        assert!((&mut slow).now_or_never().is_none());
        assert_eq!(sender.in_flight(), 1);
        time.advance(Duration::from_secs(2));
        let slow = slow.now_or_never().unwrap().unwrap_err();
        assert_eq!(slow.kind(), SendErrorKind::Tls);

        let large = sender.send(request(), &limits).now_or_never().unwrap();
        assert_eq!(large.unwrap_err().kind(), SendErrorKind::ResponseTooLarge);

        assert!(sender.send(request(), &limits).now_or_never().is_none());
        assert_eq!(sender.in_flight(), 0, "the hanging one was dropped");

        let beyond = AssertUnwindSafe(sender.send(request(), &limits)).catch_unwind();
        assert!(beyond.now_or_never().unwrap().is_err());
        assert_eq!((sender.in_flight(), sender.received().len()), (0, 5));
    }
}
