//! Secrets in URLs and tokens in headers.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use http::Request;
use http::request::Parts;
use ringback::provider::truelayer::SecretParameter;
use ringback::receive::{Arrival, BearerToken, Gate, GateError, JsonEvents, Receiver, UrlSecret, per_sender};
use ringback::secret::Secret;
use ringback::signature::Refusal;

async fn admit(gate: &dyn Gate, request: Request<Bytes>) -> Result<(), Refusal> {
    let (head, body) = request.into_parts();
    match gate
        .admit(&Arrival::new(&head, &body), DateTime::UNIX_EPOCH)
        .await
    {
        Ok(_) => Ok(()),
        Err(GateError::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error}"),
    }
}

fn to(target: &str) -> Request<Bytes> {
    Request::post(target).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn a_secret_in_the_url_is_there_once_and_right() {
    let gate = UrlSecret::new("k", Secret::from("n&w")).or(Secret::from("old"));
    for target in [
        "/hook?k=n%26w",
        "/hook?k=%6e%26%77",
        "/hook?%6b=old",
        "/hook?a=b&k=old&c",
        "https://hooks.example.com?k=old",
    ] {
        assert_eq!(admit(&gate, to(target)).await, Ok(()), "{target}");
    }
    for target in [
        "/",
        "/hook",
        "/hook?",
        "/hook?k",
        "/hook?k=",
        "/hook?k=n&w",
        "/hook?k=ol",
        "/hook?k=older",
        "/hook?k=OLD",
        "/hook?K=old",
        "/hook?k=old&k=old",
        "/hook?k=old&%6b=guess",
        "/hook/k=old",
        "/hook?kk=old",
    ] {
        assert_eq!(
            admit(&gate, to(target)).await,
            Err(Refusal::WrongSecret),
            "{target}"
        );
    }
}

#[tokio::test]
async fn an_empty_secret_lets_nothing_in() {
    let gate = UrlSecret::new("k", Secret::from(""));
    assert_eq!(admit(&gate, to("/hook?k=")).await, Err(Refusal::WrongSecret));
    let gate = BearerToken::new(Secret::from(""));
    assert_eq!(
        admit(&gate, with_token(b"Bearer ")).await,
        Err(Refusal::WrongSecret)
    );
}

#[tokio::test]
async fn a_secret_that_was_put_into_a_url_is_read_back() {
    for secret in ["plain", "a+b c", "100%", "&=?#/", "clé", "%41"] {
        let uri = SecretParameter::new("k")
            .put(
                &"https://hooks.example.com/hook?a=1".parse().unwrap(),
                &Secret::from(secret),
            )
            .unwrap();
        let gate = UrlSecret::new("k", Secret::from(secret));
        let request = Request::post(uri).body(Bytes::new()).unwrap();
        assert_eq!(admit(&gate, request).await, Ok(()), "{secret}");
    }
}

fn with_token(value: &[u8]) -> Request<Bytes> {
    let mut request = to("/hook");
    request
        .headers_mut()
        .insert("authorization", value.try_into().unwrap());
    request
}

#[tokio::test]
async fn a_token_is_there_once_and_right() {
    let gate: Arc<dyn Gate> = Arc::new(BearerToken::new(Secret::from("new")).or(Secret::from("old")));
    for value in ["Bearer new", "bearer old", "BEARER  old"] {
        assert_eq!(
            admit(&gate, with_token(value.as_bytes())).await,
            Ok(()),
            "{value}"
        );
    }
    for value in [
        &b"Bearer"[..],
        b"Bearer ",
        b"Bearer ne",
        b"Bearer newer",
        b"Bearer NEW",
        b"Basic new",
        b"Bearernew",
        b"new",
        b"",
        b"B\xc3\xa9arer new",
    ] {
        assert_eq!(
            admit(&gate, with_token(value)).await,
            Err(Refusal::WrongSecret),
            "{}",
            value.escape_ascii()
        );
    }
    let authorization = http::header::AUTHORIZATION;
    assert_eq!(
        admit(&gate, to("/hook")).await,
        Err(Refusal::MissingHeader(authorization.clone()))
    );
    let mut twice = with_token(b"Bearer new");
    twice
        .headers_mut()
        .append(&authorization, "Bearer new".parse().unwrap());
    assert_eq!(
        admit(&gate, twice).await,
        Err(Refusal::RepeatedHeader(authorization))
    );
}

#[test]
fn no_secret_is_printed() {
    let gates: [&dyn Gate; 2] = [
        &UrlSecret::new("k", Secret::from("hunter2")),
        &BearerToken::new(Secret::from("hunter2")),
    ];
    for gate in gates {
        assert!(!format!("{gate:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn senders_are_looked_up_and_a_look_up_that_fails_is_no_refusal() {
    let gate = per_sender(|head: &Parts| {
        let tenant = head.uri.path().trim_start_matches('/').to_owned();
        async move {
            match tenant.as_str() {
                "down" => Err("the database is down".into()),
                "nobody" => Ok(None),
                _ => {
                    let secret = Secret::from(format!("{tenant}'s"));
                    Ok(Some((tenant, UrlSecret::new("k", secret))))
                }
            }
        }
    });
    let protocol = JsonEvents::new(|id: &String| Some(id.clone()));
    let receiver = Receiver::new("tenants", protocol, gate);
    let sent_to = async |target: &str| {
        let request = Request::post(target).body(Bytes::from("\"1\"")).unwrap();
        let response = receiver.handle(request, async |_| Ok::<_, Infallible>(())).await;
        (
            response.status().as_u16(),
            response.headers().contains_key("retry-after"),
        )
    };
    assert_eq!(sent_to("/acme?k=acme's").await, (204, false));
    assert_eq!(sent_to("/acme?k=other's").await, (401, false));
    assert_eq!(sent_to("/nobody?k=nobody's").await, (401, false));
    assert_eq!(sent_to("/down?k=down's").await, (503, true));

    let request = Request::post("/acme?k=acme's")
        .body(Bytes::from("\"1\""))
        .unwrap();
    let received = receiver.accept(request).await.unwrap();
    assert_eq!(received.key.to_string(), "tenants/acme/1");
}
