//! The client as the application sets it up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Request, Response, Uri};
use sha2::{Digest, Sha256};

use super::answer::Detail;
use super::call::NewRequest;
use super::watch::Watches;
use crate::retry::Schedule;
use crate::system::{Entropy, SystemEntropy, Timer};
use crate::task::TaskStatus;
use crate::transport::{HttpSender, ResponseLimits, SendError};

/// Starts asynchronous calls and waits for them. See the [module](super).
///
/// Cloning is cheap and shares everything. One client serves any number of calls; each costs a few hundred bytes while
/// it waits, beside what the runtime needs for its timer.
#[derive(Clone)]
pub struct CallClient {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) sender: Arc<dyn HttpSender>,
    pub(super) timer: Arc<dyn Timer>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) webhook: Option<Uri>,
    pub(super) watches: Watches<TokenHash, TaskStatus, Detail>,
    pub(super) polls: Arc<Schedule>,
    pub(super) deadline: Duration,
    pub(super) not_found: u32,
    origins: Vec<Uri>,
    pub(super) request_deadline: Duration,
    limits: ResponseLimits,
}

/// What tokens are known by: a look-up by it tells nothing of the token by its time.
pub(super) type TokenHash = [u8; 32];

pub(super) fn hash_of(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// Puts a [`CallClient`] together.
#[must_use = "a client comes of it with `build`"]
pub struct CallClientBuilder(Shared);

impl CallClient {
    /// A client that sends through that sender and waits on that timer.
    pub fn builder(sender: impl HttpSender, timer: impl Timer) -> CallClientBuilder {
        CallClientBuilder(Shared {
            sender: Arc::new(sender),
            timer: Arc::new(timer),
            entropy: Arc::new(SystemEntropy),
            webhook: None,
            watches: Watches::new(),
            polls: Arc::new(Schedule::polling()),
            deadline: Duration::from_secs(15 * 60),
            not_found: 3,
            origins: Vec::new(),
            request_deadline: Duration::from_secs(30),
            limits: ResponseLimits::default().with_body(64 << 20),
        })
    }

    /// A call of that endpoint, still to be [started](NewRequest::start). `async=true` and `webhook_uri` are added to
    /// its URI; the rest goes as it is. Its `authorization` goes with the requests for the results, too.
    pub fn call(&self, request: Request<Bytes>) -> NewRequest {
        NewRequest::new(Arc::clone(&self.shared), request)
    }

    /// How many calls have been started and not been dropped yet.
    pub fn pending(&self) -> usize {
        self.shared.watches.len()
    }
}

impl CallClientBuilder {
    /// Where the application's route for callbacks is, from outside. Each call adds a parameter `call` of its own to
    /// it. Without it, calls are polled for.
    pub fn webhook(mut self, uri: Uri) -> Self {
        self.0.webhook = Some(uri);
        self
    }

    /// When calls are polled for. Default: [`Schedule::polling`].
    pub fn polls(mut self, schedule: Schedule) -> Self {
        self.0.polls = Arc::new(schedule);
        self
    }

    /// How long a call may take from its start until its task has succeeded, unless it says otherwise. Default 15
    /// minutes.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.0.deadline = deadline;
        self
    }

    /// How long one request may take. Default 30 seconds.
    pub fn request_deadline(mut self, deadline: Duration) -> Self {
        self.0.request_deadline = deadline;
        self
    }

    /// How much of an answer is read. Default: 64 MiB of body.
    pub fn response_limits(mut self, limits: ResponseLimits) -> Self {
        self.0.limits = limits;
        self
    }

    /// How often in one call a 404 for its results is taken for "not yet", since a service may answer the call before
    /// all of its machines know of the task. Default 3.
    pub fn not_found_budget(mut self, answers: u32) -> Self {
        self.0.not_found = answers;
        self
    }

    /// Lets results be fetched from this origin (scheme, host and port), token included, although calls go to another.
    /// By default they are fetched from where the call went, and from nowhere else. A URI without a scheme and a host is no
    /// origin, and allows nothing.
    pub fn allow_results_from(mut self, origin: Uri) -> Self {
        self.0.origins.push(origin);
        self
    }

    /// Where tokens and jitter come from. Default: the operating system.
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.0.entropy = Arc::new(entropy);
        self
    }

    /// The client.
    pub fn build(self) -> CallClient {
        CallClient {
            shared: Arc::new(self.0),
        }
    }
}

impl Shared {
    /// One request, within its time; `None` if there was no answer by then.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Option<Result<Response<Bytes>, SendError>> {
        let exchange = self.sender.send(request, &self.limits);
        match select(exchange, self.timer.sleep(self.request_deadline)).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        }
    }

    /// Whether the token of a call to `service` may be shown there.
    pub(super) fn trusts(&self, service: &Uri, results: &Uri) -> bool {
        let mut known = std::iter::once(service).chain(&self.origins).filter_map(origin);
        origin(results).is_some_and(|results| known.any(|known| known == results))
    }
}

/// Scheme, host and port, the port written or not.
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let port = uri.port_u16().or(match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    })?;
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

impl fmt::Debug for CallClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallClient")
            .field("sender", &self.shared.sender)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CallClientBuilder {
    /// The webhook's URI may hold a secret, so it is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallClientBuilder")
            .field("sender", &self.0.sender)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_scheme_host_and_port() {
        let of =
            |text: &'static str| origin(&Uri::from_static(text)).map(|(s, h, p)| format!("{s}://{h}:{p}"));
        assert_eq!(of("https://A.example/x"), of("https://a.example:443/y"));
        assert_ne!(of("https://a.example/"), of("http://a.example/"));
        assert_ne!(of("https://a.example/"), of("https://a.example:8443/"));
        assert_ne!(of("https://a.example/"), of("https://b.example/"));
        assert_eq!(of("/x"), None);
    }
}
