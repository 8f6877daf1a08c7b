//! Keys for `Tl-Signature`, fetched from where they are published.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Shared, WeakShared, select};
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};

use super::{Admission, Arrival, Gate, GateError};
use crate::json::UrlText;
use crate::provider::truelayer::{KeySet, KeySetError, TlSignature, TlVerifier};
use crate::signature::Refusal;
use crate::system::Timer;
use crate::time::{after, elapsed, is_within};
use crate::transport::{HttpSender, ResponseLimits, SendErrorKind};

/// How long a fetch may take.
const FETCH_DEADLINE: Duration = Duration::from_secs(10);

/// The least time between the end of a fetch that failed and the beginning of the next one.
const BACK_OFF: Duration = Duration::from_secs(5);

/// A set that is younger is not fetched anew because a message names a key that is not in it: anyone can name one.
const YOUNG: Duration = Duration::from_secs(60);

/// The largest set that [`KeySet::parse`] reads.
const LARGEST_SET: usize = 256 * 1024;

/// Lets in messages whose `Tl-Signature` was made with a key that is published at one of the places given, and
/// fetches the keys from there (feature `jws`).
///
/// - A message says where its key is published (`jku`). That must be one of the places given, to the letter; nothing
///   is ever fetched from anywhere else.
/// - A set is fetched when it is first needed, and again after an hour ([`renew_after`](Self::renew_after)). While
///   that fails, the old one is used, for a day ([`use_for`](Self::use_for)): a key that was withdrawn is
///   believed for no longer than that.
/// - When a message names a key that is not in the set, the set is fetched once more, unless it is less than a minute
///   old: keys are published before they are used, and whoever names keys that do not exist must not cause a storm.
/// - Sets are fetched one at a time, however many messages wait: they share the outcome. Whoever waits drives the fetch,
///   so it goes on for the others if one of them is dropped. It may take 10 seconds. For 5 seconds after a fetch that
///   failed, nothing is fetched.
/// - Where the keys that are needed cannot be fetched, nobody can say whether the message is authentic: the sender
///   hears 503, not 401, and tries again.
///
/// Where several places are trusted, such as TrueLayer's live and sandbox environments, the one that vouches for a
/// message is its [`Admission::sender`]. Nothing else tells a test payment from a real one.
///
/// ```
/// use ringback::provider::truelayer::{KeySet, TlVerifier};
/// use ringback::receive::{PublishedKeys, Receiver, TrueLayerEvents};
/// use ringback::signature::MaxAge;
/// use ringback::store::MemoryStore;
/// use ringback::system::TokioTimer;
/// # use ringback::transport::sender_fn;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sender = sender_fn(|_| async { Ok(http::Response::default()) });
/// // sender: a `HyperSender` with TLS, for one
/// let verifier = TlVerifier::new(KeySet::empty(), MaxAge::minutes(5));
/// let gate = PublishedKeys::new(verifier, [TlVerifier::LIVE_KEYS], sender, TokioTimer)?;
/// let receiver = Receiver::new("payments", TrueLayerEvents, gate).seen(MemoryStore::new());
/// # Ok(())
/// # }
/// ```
pub struct PublishedKeys {
    places: Vec<Arc<Place>>,
    renew_after: Duration,
    use_for: Duration,
}

/// A place where keys are published.
struct Place {
    jku: UrlText,
    uri: Uri,
    verifier: TlVerifier,
    sender: Arc<dyn HttpSender>,
    timer: Arc<dyn Timer>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Option<Keys>,
    fetch: Option<WeakShared<BoxFuture<'static, Fetched>>>,
    /// The last fetch, if it failed, and when it ended.
    failed: Option<(DateTime<Utc>, KeyFetchError)>,
}

/// A set that was fetched, ready to verify with.
#[derive(Clone)]
struct Keys {
    verifier: Arc<TlVerifier>,
    /// When the fetch began: what was published later may be missing.
    since: DateTime<Utc>,
}

type Fetched = Result<Keys, KeyFetchError>;
type Fetch = Shared<BoxFuture<'static, Fetched>>;

impl PublishedKeys {
    /// Verifies as this verifier does, but with the keys that are published at these places, fetched through this
    /// sender.
    ///
    /// # Errors
    ///
    /// [`PlaceError`].
    pub fn new<S: Into<UrlText>>(
        verifier: TlVerifier,
        places: impl IntoIterator<Item = S>,
        sender: impl HttpSender,
        timer: impl Timer,
    ) -> Result<Self, PlaceError> {
        let (sender, timer): (Arc<dyn HttpSender>, Arc<dyn Timer>) = (Arc::new(sender), Arc::new(timer));
        if !sender.supports_https() {
            return Err(PlaceError::HttpsUnsupported);
        }
        let place = |jku: S| {
            let jku = jku.into();
            let uri: Uri = jku.as_str().parse().map_err(|_| PlaceError::NoUrl)?;
            if uri.scheme_str() != Some("https") || uri.host().is_none() {
                return Err(PlaceError::NotHttps);
            }
            Ok(Arc::new(Place {
                jku,
                uri,
                verifier: verifier.clone(),
                sender: Arc::clone(&sender),
                timer: Arc::clone(&timer),
                state: Mutex::default(),
            }))
        };
        Ok(Self {
            places: places.into_iter().map(place).collect::<Result<_, _>>()?,
            renew_after: Duration::from_secs(60 * 60),
            use_for: Duration::from_secs(24 * 60 * 60),
        })
    }

    /// How old a set may be before it is fetched again. Default: an hour.
    #[must_use]
    pub fn renew_after(mut self, age: Duration) -> Self {
        self.renew_after = age;
        self
    }

    /// How old a set may be and still be used while no newer one can be had. Default: a day.
    #[must_use]
    pub fn use_for(mut self, age: Duration) -> Self {
        self.use_for = age;
        self
    }

    /// The set of that place, as good as it can be had.
    async fn keys(&self, place: &Arc<Place>, now: DateTime<Utc>) -> Fetched {
        let held = place.state().keys.clone();
        if let Some(keys) = &held
            && is_within(keys.since, self.renew_after, now)
        {
            return Ok(keys.clone());
        }
        let fetched = match place.fetch(now) {
            Ok(fetch) => fetch.await,
            Err(error) => Err(error),
        };
        match held {
            Some(keys) if fetched.is_err() && is_within(keys.since, self.use_for, now) => Ok(keys),
            _ => fetched,
        }
    }

    /// A set that is newer than this one. `None` if this one is too young to be fetched again.
    async fn newer(
        &self,
        place: &Arc<Place>,
        known: &Keys,
        now: DateTime<Utc>,
    ) -> Result<Option<Keys>, KeyFetchError> {
        let held = place.state().keys.clone();
        if let Some(keys) = held.filter(|keys| keys.since != known.since) {
            return Ok(Some(keys)); // another message has had it fetched meanwhile
        }
        if is_within(known.since, YOUNG, now) {
            return Ok(None);
        }
        place.fetch(now)?.await.map(Some)
    }
}

#[async_trait]
impl Gate for PublishedKeys {
    async fn admit(&self, arrival: &Arrival<'_>, now: DateTime<Utc>) -> Result<Admission, GateError> {
        let message = arrival.message();
        let signature = TlSignature::of(&message)?;
        let is_named = |place: &&Arc<Place>| signature.jku() == Some(&place.jku);
        let place = self.places.iter().find(is_named).ok_or(Refusal::UnknownSource)?;

        let keys = self.keys(place, now).await.map_err(GateError::unavailable)?;
        let verified = match keys.verifier.verify(&message, now) {
            Err(Refusal::UnknownKey) => {
                let newer = self.newer(place, &keys, now).await;
                let newer = newer
                    .map_err(GateError::unavailable)?
                    .ok_or(Refusal::UnknownKey)?;
                newer.verifier.verify(&message, now)
            }
            verified => verified,
        }?;
        Ok(Admission {
            sender: (self.places.len() > 1).then(|| place.jku.as_str().to_owned()),
            signed_at: verified.signed_at,
        })
    }
}

impl Place {
    /// The fetch that is under way, or a new one. An error if one has failed just now.
    fn fetch(self: &Arc<Self>, now: DateTime<Utc>) -> Result<Fetch, KeyFetchError> {
        let mut state = self.state();
        let under_way = state.fetch.as_ref().and_then(WeakShared::upgrade);
        if let Some(fetch) = under_way.filter(|fetch| fetch.peek().is_none()) {
            return Ok(fetch);
        }
        if let Some((since, error)) = state.failed
            && is_within(since, BACK_OFF, now)
        {
            return Err(error);
        }
        let fetch = Arc::clone(self).fetch_and_keep(now).boxed().shared();
        state.fetch = fetch.downgrade();
        Ok(fetch)
    }

    async fn fetch_and_keep(self: Arc<Self>, now: DateTime<Utc>) -> Fetched {
        let began = self.timer.now();
        // A panic in the user's sender must not be everyone's.
        let fetched = AssertUnwindSafe(self.published()).catch_unwind().await;
        let fetched = fetched.unwrap_or(Err(KeyFetchError::Panicked)).map(|set| Keys {
            verifier: Arc::new(self.verifier.clone().with_keys(set)),
            since: now,
        });
        let mut state = self.state();
        match &fetched {
            Ok(keys) => (state.keys, state.failed) = (Some(keys.clone()), None),
            Err(error) => state.failed = Some((after(now, elapsed(began, self.timer.now())), *error)),
        }
        fetched
    }

    async fn published(&self) -> Result<KeySet, KeyFetchError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.uri.clone();
        let agent = concat!("ringback/", env!("CARGO_PKG_VERSION"));
        for (name, value) in [(ACCEPT, "application/json"), (USER_AGENT, agent)] {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        let limits = ResponseLimits::default().with_body(LARGEST_SET);
        let answer = self.sender.send(request, &limits);
        let answer = match select(answer, self.timer.sleep(FETCH_DEADLINE)).await {
            Either::Left((answer, _)) => answer.map_err(|error| KeyFetchError::NoAnswer(error.kind()))?,
            Either::Right(((), _)) => return Err(KeyFetchError::NoAnswer(SendErrorKind::TimedOut)),
        };
        if answer.status() != StatusCode::OK {
            return Err(KeyFetchError::Answered(answer.status()));
        }
        let set = KeySet::parse(answer.body()).map_err(KeyFetchError::NoKeySet)?;
        if set.is_empty() {
            return Err(KeyFetchError::NoKey);
        }
        Ok(set)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PublishedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places.iter().map(|place| &place.jku);
        f.write_str("PublishedKeys")?;
        f.debug_list().entries(places).finish()
    }
}

/// Why keys cannot be fetched from a place at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// It is no URL.
    #[error("the place where keys are published is no URL")]
    NoUrl,
    /// It is not an `https` URL. Whoever can change what is fetched decides what is authentic.
    #[error("the place where keys are published is not an https URL")]
    NotHttps,
    /// The sender has no TLS.
    #[error("the sender does not support https")]
    HttpsUnsupported,
}

/// Why a set of keys was not fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFetchError {
    /// No answer came, for that reason.
    #[error("no key set was fetched: {0}")]
    NoAnswer(SendErrorKind),
    /// The answer was not 200.
    #[error("no key set was fetched: the answer was {0}")]
    Answered(StatusCode),
    /// What came is no key set.
    #[error("no key set was fetched: {0}")]
    NoKeySet(KeySetError),
    /// The set has no key that `Tl-Signature` can be made with.
    #[error("no key set was fetched: it has no key of the right kind")]
    NoKey,
    /// The sender panicked.
    #[error("no key set was fetched: the sender panicked")]
    Panicked,
}
