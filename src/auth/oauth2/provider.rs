//! Which token to show, and when to fetch another.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture, Shared, WeakShared, abortable};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request};

use super::OAuth2Auth;
use super::endpoint::{Grant, OAuth2ConfigError, TokenEndpoint};
use super::response::{self, Granted, TokenError};
use crate::auth::{AuthContext, AuthError, AuthErrorKind, AuthProvider};
use crate::secret::Secret;
use crate::time::is_within;
use crate::transport::{HttpSender, ResponseLimits};

/// How long a token is taken to be good for if the server does not say. If it is not, the receiver answers 401, and
/// another one is fetched.
const UNSAID_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How long a fetch may take. One that takes longer is given up by the next who wants a token.
const FETCH_DEADLINE: Duration = Duration::from_secs(10);

/// The least time between the beginning of a fetch that failed and that of the next one.
const BACK_OFF: Duration = Duration::from_secs(5);

/// The least time between two renewals that were asked for by a 401.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// How much of the token endpoint's answer is read. Tokens travel in headers, so they are far smaller.
const MAX_ANSWER: usize = 64 * 1024;

/// Shows an access token that it gets by OAuth 2.0, the client credentials grant (RFC 6749, section 4.4), as
/// `authorization: Bearer …`.
///
/// - A token is kept until shortly before it expires ([`renew_before`](OAuth2Auth::renew_before)); one whose
///   lifetime is not said, for an hour. It is kept in memory only, by each process for itself.
/// - Tokens are fetched one at a time, however many deliveries wait: they share the outcome. Whoever waits drives
///   the fetch, so it goes on for the others if one of them is dropped, and ends with the last. One that has taken
///   10 seconds is given up for a new one.
/// - Until 5 seconds after the beginning of a fetch that failed, everyone gets its error, and nothing is fetched.
/// - Where the server gave a `refresh_token`, the next token is asked for with that, and if no token comes of it,
///   with the client's own credentials again.
/// - A token that the receiver answers with 401 is given up for a new one, at once, but no more than once a minute:
///   a receiver that refuses everything must not have the token endpoint stormed.
///
/// Lifetimes count from when the token was asked for, by the clock of whoever asks; a clock that is set makes a
/// fetch too many or a 401, no more.
///
/// The token endpoint can be reached through a sender of its own, such as one that shows a client certificate:
///
/// ```
/// use ringback::auth::{OAuth2, OAuth2Auth};
/// use ringback::secret::Secret;
/// use ringback::transport::{HyperSender, Tls};
/// use ringback::url::WebhookUrl;
///
/// # fn build(certificate: &[u8], private_key: &Secret) -> Result<OAuth2, Box<dyn std::error::Error>> {
/// let tls = Tls::default().with_client_pem(certificate, private_key)?;
/// let url = WebhookUrl::parse("https://auth.example.org/token")?;
/// let auth = OAuth2Auth::new(url, "123456", "aJnr28jmdnIDNY9x11auihIX");
/// Ok(OAuth2::new(&auth, HyperSender::builder().tls(tls).build())?)
/// # }
/// ```
///
/// Give it to the engine by id (`EngineBuilder::auth`). A stored
/// [`AuthConfig::OAuth2`](crate::auth::AuthConfig::OAuth2) uses the engine's sender.
pub struct OAuth2(Arc<Client>);

struct Client {
    endpoint: TokenEndpoint,
    sender: Box<dyn HttpSender>,
    renew_before: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    refresh_token: Option<Secret>,
    fetch: Option<Fetch>,
    /// The last fetch, if it failed, and when it began.
    failed: Option<(DateTime<Utc>, TokenError)>,
    /// When a token was last given up for a 401.
    given_up: Option<DateTime<Utc>>,
}

struct Token {
    authorization: HeaderValue,
    since: DateTime<Utc>,
    good_for: Duration,
}

type Fetched = Result<HeaderValue, TokenError>;
type Fetching = Abortable<BoxFuture<'static, Fetched>>;

/// A fetch under way, for as long as somebody waits for it.
struct Fetch {
    since: DateTime<Utc>,
    shared: WeakShared<Fetching>,
    abort: AbortHandle,
}

impl OAuth2 {
    /// Gets tokens as configured, through this sender. Nothing is fetched before a token is needed.
    ///
    /// # Errors
    ///
    /// [`AuthErrorKind::Misconfigured`], with an [`OAuth2ConfigError`] as its source.
    pub fn new(config: &OAuth2Auth, sender: impl HttpSender) -> Result<Self, AuthError> {
        let misconfigured = |error| AuthError::with_source(AuthErrorKind::Misconfigured, error);
        if config.token_url.is_https() && !sender.supports_https() {
            return Err(misconfigured(OAuth2ConfigError::HttpsUnsupported));
        }
        Ok(Self(Arc::new(Client {
            endpoint: TokenEndpoint::new(config).map_err(misconfigured)?,
            sender: Box::new(sender),
            renew_before: config.renew_before,
            state: Mutex::default(),
        })))
    }
}

#[async_trait]
impl AuthProvider for OAuth2 {
    async fn authenticate(
        &self,
        request: &mut Request<Bytes>,
        context: &AuthContext<'_>,
    ) -> Result<(), AuthError> {
        let authorization = self.0.authorization(context.now).await?;
        request.headers_mut().insert(AUTHORIZATION, authorization);
        Ok(())
    }

    fn refused(&self, headers: &HeaderMap, context: &AuthContext<'_>) -> bool {
        let mut state = self.0.state();
        let current = state.token.as_ref().map(|token| &token.authorization);
        if current.is_none() || current != headers.get(AUTHORIZATION) {
            // It was given up already, and whoever did has a newer one or is about to.
            return true;
        }
        if let Some(since) = state.given_up
            && is_within(since, RENEWAL_INTERVAL, context.now)
        {
            return false;
        }
        state.token = None;
        state.given_up = Some(context.now);
        true
    }

    fn can_renew(&self) -> bool {
        true
    }
}

impl Client {
    async fn authorization(self: &Arc<Self>, now: DateTime<Utc>) -> Fetched {
        match self.token_or_fetch(now)? {
            TokenOrFetch::Token(authorization) => Ok(authorization),
            TokenOrFetch::Fetch(fetch) => fetch.await.unwrap_or(Err(TokenError::TimedOut)),
        }
    }

    fn token_or_fetch(self: &Arc<Self>, now: DateTime<Utc>) -> Result<TokenOrFetch, TokenError> {
        let mut state = self.state();
        if let Some(token) = &state.token
            && is_within(token.since, token.good_for, now)
        {
            return Ok(TokenOrFetch::Token(token.authorization.clone()));
        }
        let under_way = state
            .fetch
            .as_ref()
            .and_then(|fetch| Some((fetch, fetch.under_way()?)));
        let overdue = match under_way {
            Some((fetch, shared)) if is_within(fetch.since, FETCH_DEADLINE, now) => {
                return Ok(TokenOrFetch::Fetch(shared));
            }
            under_way => under_way.map(|(fetch, shared)| (fetch.abort.clone(), shared)),
        };
        if let Some((since, error)) = state.failed
            && is_within(since, BACK_OFF, now)
        {
            return Err(error);
        }
        let (fetching, abort) = abortable(Arc::clone(self).fetch(state.refresh_token.clone(), now).boxed());
        let shared = fetching.shared();
        state.fetch = shared.downgrade().map(|shared| Fetch {
            since: now,
            shared,
            abort,
        });
        drop(state);
        // Not under the lock: it wakes those who wait.
        if let Some((abort, _shared)) = overdue {
            abort.abort();
        }
        Ok(TokenOrFetch::Fetch(shared))
    }

    /// Fetches a token and keeps what came of it.
    async fn fetch(self: Arc<Self>, refresh_token: Option<Secret>, now: DateTime<Utc>) -> Fetched {
        let granted = AssertUnwindSafe(self.renew(refresh_token)).catch_unwind().await;
        let granted = granted.unwrap_or(Err(TokenError::Panicked));
        let mut state = self.state();
        match granted {
            Ok(granted) => {
                let lifetime = granted.lifetime.unwrap_or(UNSAID_LIFETIME);
                let authorization = granted.authorization;
                state.token = Some(Token {
                    authorization: authorization.clone(),
                    since: now,
                    good_for: lifetime.saturating_sub(self.renew_before.min(lifetime / 2)),
                });
                state.refresh_token = granted.refresh_token;
                state.failed = None;
                Ok(authorization)
            }
            Err(error) => {
                state.failed = Some((now, error));
                Err(error)
            }
        }
    }

    async fn renew(&self, refresh_token: Option<Secret>) -> Result<Granted, TokenError> {
        if let Some(refresh_token) = refresh_token
            && let Some(text) = refresh_token.expose_str()
        {
            match self.ask(Grant::RefreshToken(text)).await {
                Ok(granted) => {
                    let refresh_token = granted.refresh_token.or(Some(refresh_token));
                    return Ok(Granted {
                        refresh_token,
                        ..granted
                    });
                }
                // It says nothing of the refresh token, which is kept.
                Err(error @ (TokenError::NoAnswer(_) | TokenError::Failing(_))) => return Err(error),
                // At once, since nobody may wait for what comes next.
                Err(_) => self.state().refresh_token = None,
            }
        }
        self.ask(Grant::ClientCredentials).await
    }

    async fn ask(&self, grant: Grant<'_>) -> Result<Granted, TokenError> {
        let limits = ResponseLimits::default().with_body(MAX_ANSWER);
        let answer = self.sender.send(self.endpoint.request(grant), &limits).await;
        response::read(&answer.map_err(|error| TokenError::NoAnswer(error.kind()))?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum TokenOrFetch {
    Token(HeaderValue),
    Fetch(Shared<Fetching>),
}

impl Fetch {
    /// `None` if it has ended, or nobody waits for it any more.
    fn under_way(&self) -> Option<Shared<Fetching>> {
        self.shared.upgrade().filter(|shared| shared.peek().is_none())
    }
}

impl fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2")
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}
