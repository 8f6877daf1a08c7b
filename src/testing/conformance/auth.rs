//! The suite for authentication: [`AuthProvider`].
//!
//! The provider must be one that is set up: able to prove any event of scope `scope` that is about the user
//! `subject`.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::{Report, Violation, ensure, equal};
use crate::auth::{AuthContext, AuthProvider};
use crate::delivery::Event;

/// Runs every check.
///
/// ```
/// use async_trait::async_trait;
/// use bytes::Bytes;
/// use http::{HeaderValue, Request};
/// use ringback::auth::{AuthContext, AuthError, AuthProvider};
/// use ringback::testing::conformance;
///
/// #[derive(Debug)]
/// struct ApiKey;
///
/// #[async_trait]
/// impl AuthProvider for ApiKey {
///     async fn authenticate(&self, request: &mut Request<Bytes>, _: &AuthContext<'_>) -> Result<(), AuthError> {
///         request.headers_mut().insert("x-api-key", HeaderValue::from_static("key"));
///         Ok(())
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let report = conformance::auth::run_all(&ApiKey).await;
/// assert!(report.failures().is_empty(), "{report}");
/// # });
/// ```
pub async fn run_all(provider: &dyn AuthProvider) -> Report {
    run_checks!(provider:
        only_headers_are_added,
        there_is_a_proof,
        each_call_stands_alone,
        calls_may_go_on_at_the_same_time,
        a_dropped_call_leaves_the_next_one_whole,
    )
}

/// Method, URI and body stay, whatever the body holds; so does every header that is not the proof itself.
pub async fn only_headers_are_added(provider: &dyn AuthProvider) -> Result<(), Violation> {
    const CLAUSE: &str = "an implementation adds or replaces headers, and nothing else";
    for (number, body) in bodies().into_iter().enumerate() {
        for method in [Method::POST, Method::PUT] {
            let mut given = request(&body)?;
            *given.method_mut() = method;
            let mut authenticated = given.clone();
            authenticate(provider, &mut authenticated, &body, at(number)).await?;
            equal(CLAUSE, authenticated.method(), given.method())?;
            equal(CLAUSE, authenticated.uri(), given.uri())?;
            equal(CLAUSE, authenticated.version(), given.version())?;
            ensure(
                "the body's bytes never change",
                authenticated.body() == given.body(),
                || format!("{} bytes for {}", authenticated.body().len(), body.len()),
            )?;
            for name in given.headers().keys() {
                equal(
                    CLAUSE,
                    authenticated.headers().get_all(name).iter().collect::<Vec<_>>(),
                    given.headers().get_all(name).iter().collect(),
                )?;
            }
        }
    }
    Ok(())
}

/// After an `Ok` the request is not what it was: it is never sent without its proof.
pub async fn there_is_a_proof(provider: &dyn AuthProvider) -> Result<(), Violation> {
    for body in bodies() {
        let given = request(&body)?;
        let mut authenticated = given.clone();
        authenticate(provider, &mut authenticated, &body, at(0)).await?;
        ensure(
            "a request is never sent without its proof",
            authenticated.headers() != given.headers(),
            || "no header was added".into(),
        )?;
    }
    Ok(())
}

/// A call remembers nothing of the ones before: each request gets the same headers, once each.
pub async fn each_call_stands_alone(provider: &dyn AuthProvider) -> Result<(), Violation> {
    let mut first: Option<Vec<(HeaderName, usize)>> = None;
    for (number, body) in bodies().iter().chain(&bodies()).enumerate() {
        let mut authenticated = request(body)?;
        authenticate(provider, &mut authenticated, body, at(number)).await?;
        let shape = shape(authenticated.headers());
        let expected = first.get_or_insert_with(|| shape.clone());
        equal("a call remembers nothing of the ones before", &shape, &*expected)?;
    }
    Ok(())
}

/// Calls at the same time do not disturb each other.
pub async fn calls_may_go_on_at_the_same_time(provider: &dyn AuthProvider) -> Result<(), Violation> {
    let bodies = bodies();
    let calls = bodies.iter().cycle().take(16).map(|body| async move {
        let mut authenticated = request(body)?;
        authenticate(provider, &mut authenticated, body, at(0)).await?;
        ensure(
            "the body's bytes never change",
            authenticated.body() == body,
            || "another body".into(),
        )
    });
    join_all(calls).await.into_iter().collect()
}

/// A call that is dropped at its deadline does not spoil the next one.
pub async fn a_dropped_call_leaves_the_next_one_whole(provider: &dyn AuthProvider) -> Result<(), Violation> {
    let body = Bytes::from_static(b"{}");
    let event = event(&body)?;
    let mut dropped = request(&body)?;
    let _ = provider
        .authenticate(&mut dropped, &AuthContext::new(&event, at(0)))
        .now_or_never();
    let mut authenticated = request(&body)?;
    authenticate(provider, &mut authenticated, &body, at(1)).await
}

fn bodies() -> [Bytes; 4] {
    [
        Bytes::from_static(b"{\"a\": 1, \"b\":\"\\u00e9\"}\n"),
        Bytes::new(),
        Bytes::from((0..=255).collect::<Vec<u8>>()),
        Bytes::from(vec![b'x'; 100_000]),
    ]
}

fn at(seconds: usize) -> DateTime<Utc> {
    let seconds = i64::try_from(seconds).unwrap_or_default();
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

fn event(body: &Bytes) -> Result<Event, Violation> {
    let event = Event::builder("scope", "event", "kind")
        .subject("subject")
        .json(body.clone())
        .build();
    event.map_err(|error| Violation::new("the checks' own events are whole", error.to_string()))
}

fn request(body: &Bytes) -> Result<Request<Bytes>, Violation> {
    let request = Request::post("https://receiver.example/hook/%41?query=1&x=")
        .header("content-type", "application/json")
        .header("x-given", HeaderValue::from_static("one"))
        .header("x-given", HeaderValue::from_static("two"))
        .body(body.clone());
    request.map_err(|error| Violation::new("the checks' own requests can be built", error.to_string()))
}

async fn authenticate(
    provider: &dyn AuthProvider,
    request: &mut Request<Bytes>,
    body: &Bytes,
    now: DateTime<Utc>,
) -> Result<(), Violation> {
    let event = event(body)?;
    let proof = provider
        .authenticate(request, &AuthContext::new(&event, now))
        .await;
    proof.map_err(|error| Violation::new("a provider that is set up proves every event", error.to_string()))
}

/// Which headers there are, and how many values each has.
fn shape(headers: &HeaderMap) -> Vec<(HeaderName, usize)> {
    let mut shape: Vec<_> = headers
        .keys()
        .map(|name| (name.clone(), headers.get_all(name).iter().count()))
        .collect();
    shape.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
    shape
}
