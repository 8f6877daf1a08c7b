//! Proofs by user token, fixed headers and OAuth 2.0.

mod delivering;
mod oauth2;
mod user_token;

use std::error::Error;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;
use http::{HeaderName, Request, Response};
use ringback::auth::{AuthContext, AuthError, AuthProvider, HeadersAuth, HeadersProvider, OAuth2Auth};
use ringback::delivery::Event;
use ringback::testing::{Reply, conformance};
use ringback::url::WebhookUrl;

/// What must never be seen in an error or a `Debug`.
const SECRET: &str = "s3cret";

const TOKEN_URL: &str = "https://auth.example.org/token?tenant=s3cret";

fn client() -> OAuth2Auth {
    OAuth2Auth::new(
        WebhookUrl::parse(TOKEN_URL).unwrap(),
        "123456",
        format!("client-{SECRET}"),
    )
}

fn json(status: u16, body: impl Into<Bytes>) -> Reply {
    let response = Response::builder().status(status).body(body.into());
    Reply::answer(response.unwrap())
}

fn token_json(token: &str, expires_in: u32) -> String {
    format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{expires_in}}}"#)
}

fn token(token: &str, expires_in: u32) -> Reply {
    json(200, token_json(token, expires_in))
}

fn event(kind: &str, subject: Option<&str>) -> Event {
    let builder = Event::builder("scope", "event", kind).json("{}");
    match subject {
        Some(subject) => builder.subject(subject),
        None => builder,
    }
    .build()
    .unwrap()
}

/// The `authorization` of a request that the provider authenticates at that instant.
async fn authorization(
    provider: &dyn AuthProvider,
    event: &Event,
    now: DateTime<Utc>,
) -> Result<String, AuthError> {
    let mut request = Request::post("https://example.com/hook")
        .body(Bytes::new())
        .unwrap();
    provider
        .authenticate(&mut request, &AuthContext::new(event, now))
        .await?;
    assert!(!format!("{request:?}").contains(SECRET), "{request:?}");
    Ok(request.headers()[AUTHORIZATION].to_str().unwrap().to_owned())
}

/// The error and all that lies behind it, shown in every way; none of which may show the secret.
fn shown(error: &AuthError) -> String {
    let mut shown = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        shown.push_str(&format!(" | {cause:?} {cause}"));
        source = cause.source();
    }
    assert!(!shown.contains(SECRET), "{shown}");
    shown
}

#[tokio::test]
async fn fixed_headers_keep_the_contract_and_are_not_shown() {
    let auth = HeadersAuth::default()
        .with(HeaderName::from_static("x-api-key"), SECRET)
        .with(AUTHORIZATION, format!("ApiKey {SECRET}"));
    let provider = HeadersProvider::new(&auth).unwrap();
    let report = conformance::auth::run_all(&provider).await;
    assert!(report.failures().is_empty(), "{report}");
    let sent = authorization(&provider, &event("t", None), DateTime::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(sent, "ApiKey s3cret");
    assert!(!format!("{provider:?} {auth:?}").contains(SECRET));

    let unusable = HeadersAuth::default().with(AUTHORIZATION, format!("{SECRET}\n"));
    let error = HeadersProvider::new(&unusable).unwrap_err();
    assert!(shown(&error).contains("authorization"));
}
