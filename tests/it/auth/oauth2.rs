//! OAuth 2.0 client credentials: which token is shown, and when another is fetched.

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode};
use ringback::auth::{
    AuthContext, AuthError, AuthErrorKind, AuthProvider, OAuth2, OAuth2Auth, RefusalCode, TokenError,
};
use ringback::testing::{ManualTime, Reply, ScriptedSender, conformance};
use ringback::time::{Clock, after, before};
use ringback::transport::{Guard, HyperSender, SendErrorKind};
use ringback::url::WebhookUrl;

use super::{SECRET, authorization, client, event, json, shown, token, token_json};
use crate::server;

/// A provider, the time, and the token endpoint behind it.
struct Scene {
    time: ManualTime,
    endpoint: Arc<ScriptedSender>,
    provider: OAuth2,
}

impl Scene {
    fn new(auth: &OAuth2Auth, replies: impl IntoIterator<Item = Reply>) -> Self {
        let start = after(DateTime::UNIX_EPOCH, Duration::from_secs(1_700_000_000));
        let time = ManualTime::new(start);
        let endpoint = Arc::new(ScriptedSender::replying(Arc::new(time.clone()), replies));
        Self {
            provider: OAuth2::new(auth, Arc::clone(&endpoint)).unwrap(),
            time,
            endpoint,
        }
    }

    fn start(&self) -> Pin<Box<dyn Future<Output = Result<String, AuthError>> + '_>> {
        let now = self.time.now();
        Box::pin(async move { authorization(&self.provider, &event("t", None), now).await })
    }

    /// What is answered at once.
    fn now(&self) -> Result<String, AuthError> {
        self.start().now_or_never().expect("nothing has to be waited for")
    }

    fn refused(&self, token: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        let event = event("t", None);
        self.provider
            .refused(&headers, &AuthContext::new(&event, self.time.now()))
    }

    fn advance(&self, seconds: u64) {
        self.time.advance(Duration::from_secs(seconds));
    }

    fn requests(&self) -> usize {
        self.endpoint.received().len()
    }

    fn form(&self, request: usize) -> String {
        let body = self.endpoint.received()[request].request.body().clone();
        String::from_utf8(body.to_vec()).unwrap()
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The `TokenError` behind an error, which shows no secret.
fn why(result: Result<String, AuthError>) -> TokenError {
    let error = result.unwrap_err();
    shown(&error);
    let cause = *error.source().unwrap().downcast_ref::<TokenError>().unwrap();
    assert_eq!(cause.kind(), error.kind());
    cause
}

#[tokio::test]
async fn it_keeps_the_contract_and_shows_nothing() {
    let scene = Scene::new(&client(), [token("s3cret", 3600)]);
    let report = conformance::auth::run_all(&scene.provider).await;
    assert!(report.failures().is_empty(), "{report}");
    let shown = format!("{:?} {:?}", scene.provider, client());
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn a_token_is_kept_until_shortly_before_it_expires() {
    for (lifetime, kept) in [(3600, 3570), (60, 30), (20, 10)] {
        let scene = Scene::new(&client(), [token("one", lifetime), token("two", lifetime)]);
        assert_eq!(scene.now().unwrap(), "Bearer one");
        scene.advance(kept - 1);
        assert_eq!(scene.now().unwrap(), "Bearer one");
        assert_eq!(scene.requests(), 1);
        scene.advance(1);
        assert_eq!(scene.now().unwrap(), "Bearer two", "after {kept} of {lifetime} s");
    }
}

#[test]
fn its_life_counts_from_when_it_was_asked_for() {
    let slow = token("one", 100).after(Duration::from_secs(8));
    let scene = Scene::new(&client(), [slow, token("two", 100)]);
    let mut first = scene.start();
    assert!(poll(&mut first).is_pending());
    scene.advance(8);
    assert_eq!(first.now_or_never().unwrap().unwrap(), "Bearer one");
    scene.advance(61);
    assert_eq!(scene.now().unwrap(), "Bearer one");
    scene.advance(1);
    assert_eq!(scene.now().unwrap(), "Bearer two");
}

#[test]
fn one_without_a_lifetime_is_kept_for_an_hour_and_one_without_any_life_not_at_all() {
    let unsaid = json(200, r#"{"access_token":"unsaid","token_type":"Bearer"}"#);
    let scene = Scene::new(&client(), [unsaid, token("brief", 0), token("last", 3600)]);
    assert_eq!(scene.now().unwrap(), "Bearer unsaid");
    scene.advance(3569);
    assert_eq!(scene.now().unwrap(), "Bearer unsaid");
    scene.advance(1);
    assert_eq!(scene.now().unwrap(), "Bearer brief");
    assert_eq!(scene.now().unwrap(), "Bearer last");
}

#[test]
fn a_clock_that_is_set_costs_a_fetch_and_nothing_else() {
    let down = Reply::error(SendErrorKind::Connect);
    let scene = Scene::new(&client(), [token("one", 100), down, token("two", 100)]);
    assert_eq!(scene.now().unwrap(), "Bearer one");
    let set_back = before(scene.time.now(), Duration::from_secs(86_400));
    scene
        .time
        .set(after(scene.time.now(), Duration::from_secs(86_400)));
    assert_eq!(why(scene.now()), TokenError::NoAnswer(SendErrorKind::Connect));
    scene.time.set(set_back);
    assert_eq!(
        scene.now().unwrap(),
        "Bearer two",
        "neither token nor back-off lasts a day"
    );
    scene.time.set(DateTime::<Utc>::MIN_UTC);
    assert!(
        why(scene.now()).kind() == AuthErrorKind::Unavailable,
        "the script is over"
    );
    scene.time.set(DateTime::<Utc>::MAX_UTC);
    assert!(
        why(scene.now()).kind() == AuthErrorKind::Unavailable,
        "the script is over"
    );
}

#[test]
fn those_who_wait_share_one_fetch() {
    let slow = token("one", 0).after(Duration::from_secs(2));
    let scene = Scene::new(&client(), [slow]);
    let mut waiting: Vec<_> = (0..100).map(|_| scene.start()).collect();
    for caller in &mut waiting {
        assert!(poll(caller).is_pending());
    }
    scene.advance(2);
    for caller in waiting {
        let shared = caller.now_or_never().expect("the fetch is over");
        assert_eq!(shared.unwrap(), "Bearer one", "even if it may not be kept");
    }
    assert_eq!(scene.requests(), 1);
}

#[test]
fn a_caller_that_goes_leaves_the_fetch_to_the_others() {
    let slow = token("one", 3600).after(Duration::from_secs(2));
    let scene = Scene::new(&client(), [slow]);
    let [mut first, mut second, mut third] = [scene.start(), scene.start(), scene.start()];
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    scene.advance(1);
    drop(first);
    assert!(poll(&mut third).is_pending());
    drop(second);
    scene.advance(1);
    assert_eq!(third.now_or_never().unwrap().unwrap(), "Bearer one");
    assert_eq!(scene.requests(), 1);
}

/// The same, where a waiter must be woken: polling by hand would not notice that it is not.
#[tokio::test]
async fn those_who_are_left_are_woken() {
    let scene = Scene::new(&client(), [token("one", 3600).after(Duration::from_secs(2))]);
    let scene = Arc::new(scene);
    let call = |scene: &Arc<Scene>| {
        let scene = Arc::clone(scene);
        tokio::spawn(async move {
            let now = scene.time.now();
            authorization(&scene.provider, &event("t", None), now).await
        })
    };
    let first = call(&scene);
    tokio::task::yield_now().await;
    let others = [call(&scene), call(&scene)];
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    scene.advance(2);
    for other in others {
        let token = tokio::time::timeout(Duration::from_secs(10), other).await;
        assert_eq!(token.expect("it was woken").unwrap().unwrap(), "Bearer one");
    }
    assert_eq!(scene.requests(), 1);
}

#[test]
fn a_fetch_that_nobody_waits_for_ends() {
    let scene = Scene::new(&client(), [Reply::hang(), token("two", 3600)]);
    let mut only = scene.start();
    assert!(poll(&mut only).is_pending());
    assert_eq!(scene.endpoint.in_flight(), 1);
    drop(only);
    assert_eq!(scene.endpoint.in_flight(), 0);
    assert_eq!(scene.now().unwrap(), "Bearer two");
}

#[test]
fn a_fetch_that_hangs_is_given_up_for_another() {
    let scene = Scene::new(&client(), [Reply::hang(), token("two", 3600)]);
    let mut first = scene.start();
    assert!(poll(&mut first).is_pending());
    scene.advance(9);
    let mut second = scene.start();
    assert!(poll(&mut second).is_pending());
    assert_eq!(scene.requests(), 1);
    scene.advance(1);
    assert_eq!(scene.now().unwrap(), "Bearer two");
    assert_eq!(why(first.now_or_never().unwrap()), TokenError::TimedOut);
    assert_eq!(why(second.now_or_never().unwrap()), TokenError::TimedOut);
    assert_eq!((scene.requests(), scene.endpoint.in_flight()), (2, 0));
}

#[test]
fn after_a_failure_nothing_is_fetched_for_a_while() {
    let down = Reply::status(StatusCode::SERVICE_UNAVAILABLE).after(Duration::from_secs(1));
    let scene = Scene::new(&client(), [down, token("two", 3600)]);
    let mut waiting: Vec<_> = (0..10).map(|_| scene.start()).collect();
    assert!(waiting.iter_mut().all(|caller| poll(caller).is_pending()));
    scene.advance(1);
    let failing = TokenError::Failing(StatusCode::SERVICE_UNAVAILABLE);
    for caller in waiting {
        assert_eq!(why(caller.now_or_never().unwrap()), failing);
    }
    scene.advance(3);
    assert_eq!(why(scene.now()), failing);
    assert_eq!(scene.requests(), 1);
    scene.advance(1);
    assert_eq!(scene.now().unwrap(), "Bearer two");
}

#[test]
fn a_sender_that_panics_leaves_nobody_waiting() {
    let panics = Reply::panic().after(Duration::from_secs(1));
    let scene = Scene::new(&client(), [panics, token("two", 3600)]);
    let [mut first, mut second] = [scene.start(), scene.start()];
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    scene.advance(1);
    assert_eq!(why(first.now_or_never().unwrap()), TokenError::Panicked);
    assert_eq!(why(second.now_or_never().unwrap()), TokenError::Panicked);
    scene.advance(5);
    assert_eq!(scene.now().unwrap(), "Bearer two");
}

#[test]
fn every_way_to_get_no_token_has_an_error_of_its_own() {
    let bearer = |rest: &str| json(200, format!(r#"{{"token_type":"bearer"{rest}}}"#));
    let refused = |status, code| TokenError::Refused {
        status: StatusCode::from_u16(status).unwrap(),
        code,
    };
    let huge = format!(r#"{{"access_token":"{SECRET}{}"}}"#, "x".repeat(64 * 1024));
    let cases = [
        (
            Reply::error(SendErrorKind::Tls),
            TokenError::NoAnswer(SendErrorKind::Tls),
        ),
        (
            Reply::error(SendErrorKind::NotAllowed),
            TokenError::NoAnswer(SendErrorKind::NotAllowed),
        ),
        (
            json(200, huge),
            TokenError::NoAnswer(SendErrorKind::ResponseTooLarge),
        ),
        (
            json(500, SECRET),
            TokenError::Failing(StatusCode::INTERNAL_SERVER_ERROR),
        ),
        (
            json(429, SECRET),
            TokenError::Failing(StatusCode::TOO_MANY_REQUESTS),
        ),
        (
            json(401, r#"{"error":"invalid_client","error_description":"s3cret"}"#),
            refused(401, Some(RefusalCode::InvalidClient)),
        ),
        (json(400, r#"{"error":"s3cret"}"#), refused(400, None)),
        (json(302, SECRET), refused(302, None)),
        (json(200, SECRET), TokenError::Unreadable),
        (bearer(""), TokenError::NoAccessToken),
        (json(200, r#"{"access_token":"s3cret"}"#), TokenError::NoTokenType),
        (
            json(200, r#"{"access_token":"s3cret","token_type":"mac-s3cret"}"#),
            TokenError::NotBearer,
        ),
        (
            bearer(r#","access_token":"s3cret s3cret""#),
            TokenError::UnusableToken,
        ),
        (
            bearer(r#","access_token":"s3cret","expires_in":-1"#),
            TokenError::UnusableLifetime,
        ),
    ];
    for (reply, error) in cases {
        let scene = Scene::new(&client(), [reply]);
        assert_eq!(why(scene.now()), error);
        assert_eq!(scene.requests(), 1);
    }
}

fn with_refresh(token: &str, refresh_token: &str) -> Reply {
    json(
        200,
        format!(
            r#"{{"access_token":"{token}","token_type":"bearer","expires_in":60,"refresh_token":"{refresh_token}"}}"#
        ),
    )
}

#[test]
fn a_refresh_token_is_used_and_replaced() {
    let replies = [
        with_refresh("one", "r/1"),
        token("two", 60),
        with_refresh("three", "r/2"),
        token("four", 60),
    ];
    let scene = Scene::new(&client(), replies);
    for expected in ["one", "two", "three", "four"] {
        assert_eq!(scene.now().unwrap(), format!("Bearer {expected}"));
        scene.advance(60);
    }
    assert!(scene.form(0).ends_with("&grant_type=client_credentials"));
    for (request, refresh_token) in [(1, "r%2F1"), (2, "r%2F1"), (3, "r%2F2")] {
        let form = scene.form(request);
        let grant = format!("&grant_type=refresh_token&refresh_token={refresh_token}");
        assert!(form.ends_with(&grant), "{form}");
        assert!(form.starts_with("client_id=123456&client_secret="), "{form}");
    }
}

#[test]
fn a_refresh_token_that_is_good_for_nothing_is_dropped_for_the_clients_own_credentials() {
    for useless in [json(400, r#"{"error":"invalid_grant"}"#), json(200, "{}")] {
        let replies = [
            with_refresh("one", "r"),
            useless,
            token("two", 60),
            token("three", 60),
        ];
        let scene = Scene::new(&client(), replies);
        for expected in ["one", "two", "three"] {
            assert_eq!(scene.now().unwrap(), format!("Bearer {expected}"));
            scene.advance(60);
        }
        let grants: Vec<_> = (0..4).map(|n| scene.form(n).contains("refresh_token")).collect();
        assert_eq!(grants, [false, true, false, false]);
    }
}

#[test]
fn a_refresh_token_is_dropped_though_nobody_waits_for_what_comes_after_it() {
    let replies = [
        with_refresh("one", "r"),
        json(400, r#"{"error":"invalid_grant"}"#),
        token("late", 60).after(Duration::from_secs(60)),
        token("two", 60),
    ];
    let scene = Scene::new(&client(), replies);
    assert_eq!(scene.now().unwrap(), "Bearer one");
    scene.advance(60);
    let mut waiting = scene.start();
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    assert_eq!(scene.now().unwrap(), "Bearer two");
    assert!(scene.form(1).contains("refresh_token") && !scene.form(3).contains("refresh_token"));
}

#[test]
fn a_refresh_token_outlives_an_endpoint_that_fails() {
    let down = Reply::status(StatusCode::BAD_GATEWAY);
    let scene = Scene::new(&client(), [with_refresh("one", "r"), down, token("two", 60)]);
    assert_eq!(scene.now().unwrap(), "Bearer one");
    scene.advance(60);
    assert_eq!(why(scene.now()), TokenError::Failing(StatusCode::BAD_GATEWAY));
    scene.advance(5);
    assert_eq!(scene.now().unwrap(), "Bearer two");
    assert!(scene.form(2).contains("refresh_token=r"));
}

#[test]
fn a_refused_token_is_given_up_at_most_once_a_minute() {
    let replies = ["one", "two", "three"].map(|name| token(name, 3600));
    let scene = Scene::new(&client(), replies);
    assert_eq!(scene.now().unwrap(), "Bearer one");
    assert!(scene.refused("one"));
    assert!(scene.refused("one"), "a second delivery that was sent with it");
    assert_eq!(scene.now().unwrap(), "Bearer two");
    assert!(scene.refused("one"), "a late one: there is a newer token");
    assert_eq!(scene.now().unwrap(), "Bearer two", "which is kept");
    assert!(!scene.refused("two"), "too soon for another");
    assert_eq!(scene.now().unwrap(), "Bearer two");
    scene.advance(60);
    assert!(scene.refused("two"));
    assert_eq!(scene.now().unwrap(), "Bearer three");
    assert_eq!(scene.requests(), 3);
}

#[test]
fn what_could_never_ask_for_a_token_is_refused_when_it_is_made() {
    let no_tls = HyperSender::builder().http_only().build();
    let error = OAuth2::new(&client(), no_tls).unwrap_err();
    assert_eq!(error.kind(), AuthErrorKind::Misconfigured);
    assert!(shown(&error).contains("https"));
    let reserved = client().with_parameter("grant_type", SECRET);
    let error = OAuth2::new(&reserved, HyperSender::new()).unwrap_err();
    assert!(shown(&error).contains("grant_type"));
}

/// Many threads, a real connection, a real token endpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_callers_cause_one_request() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let address = server::serve(move |request: Request<Bytes>| {
        let number = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            assert_eq!(request.uri().path(), "/token");
            tokio::time::sleep(Duration::from_millis(50)).await;
            Response::new(token_json(&format!("t{number}"), 3600).into())
        }
    })
    .await;
    let url = WebhookUrl::parse(&format!("http://{address}/token")).unwrap();
    let guard = Guard::default().allow_http().allow_loopback();
    let sender = HyperSender::builder().guard(guard).build();
    let auth = OAuth2Auth::new(url, "id", SECRET);
    let provider = Arc::new(OAuth2::new(&auth, sender).unwrap());
    let callers: Vec<_> = (0..100)
        .map(|n| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move {
                // Those who call together have not read the clock in order.
                let now = after(DateTime::UNIX_EPOCH, Duration::from_millis(1_000_000 + n % 7));
                let event = event("t", None);
                let call = pin!(authorization(provider.as_ref(), &event, now));
                call.await.unwrap()
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "Bearer t0");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}
