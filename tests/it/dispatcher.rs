//! Registering and enqueueing; and that what is signed is what goes over the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{DeadReason, Event, PlainProfile, State};
use ringback::engine::{
    Dispatcher, Engine, EnqueueError, RegisterError, Registration, SaveAuthError, TokioTimer,
};
use ringback::retry::Schedule;
use ringback::signature::{BiSignature, HmacKey};
use ringback::store::MemoryStore;
use ringback::transport::{Guard, HttpSender, HyperSender, ReqwestSender, sender_fn};
use ringback::url::UrlError;

fn engine(sender: impl HttpSender) -> Engine {
    let guard = Guard::default().allow_http().allow_loopback();
    Engine::builder(MemoryStore::new(), sender, TokioTimer)
        .profile(PlainProfile::new("plain", Schedule::never()))
        .guard(guard)
        .build()
}

fn dispatcher() -> Dispatcher {
    engine(sender_fn(|_| async { Ok(Response::new(Bytes::new())) })).dispatcher()
}

#[tokio::test]
async fn urls_that_can_be_read_two_ways_are_refused_at_registration() {
    let dispatcher = dispatcher();
    for (path, expected) in [
        ("/a/../b", UrlError::DotSegment),
        ("/x/%2e%2e/y", UrlError::DotSegment),
        ("/x/%2E./y", UrlError::DotSegment),
        ("/./x", UrlError::DotSegment),
        ("/hook/{id}", UrlError::UnencodedCharacter),
        ("/a\\b", UrlError::Backslash),
        ("/a b", UrlError::Space),
        ("/a#b", UrlError::Fragment),
    ] {
        let refused = dispatcher
            .register(Registration::new(
                "s",
                format!("https://example.com{path}"),
                "plain",
            ))
            .await;
        let Err(RegisterError::Url(error)) = refused else {
            panic!("{path}: {refused:?}")
        };
        assert_eq!(
            std::mem::discriminant(&error),
            std::mem::discriminant(&expected),
            "{path}: {error}"
        );
    }
    for url in [
        "https://10.0.0.1/",
        "https://[::ffff:7f00:1]/",
        "https://localhost./",
        "https://2130706433/",
    ] {
        assert!(
            dispatcher
                .register(Registration::new("s", url, "plain"))
                .await
                .is_err(),
            "{url}"
        );
    }
}

#[tokio::test]
async fn what_could_never_be_sent_is_refused_at_registration() {
    let dispatcher = dispatcher();
    let register = async |registration| dispatcher.register(registration).await;
    let url = "https://example.com/";
    assert!(matches!(
        register(Registration::new("s", url, "other")).await,
        Err(RegisterError::UnknownProfile(_))
    ));
    let slow = Registration::new("s", url, "plain").deadline(Duration::from_secs(3600));
    assert!(matches!(
        register(slow).await,
        Err(RegisterError::DeadlineTooLong)
    ));
    let pattern = Registration::new("s", url, "plain").events(["a*b"]);
    assert!(matches!(register(pattern).await, Err(RegisterError::Pattern(_))));
    let reqwest = ReqwestSender::builder().http_only().build().unwrap();
    let without_tls: [Box<dyn HttpSender>; 2] = [
        Box::new(HyperSender::builder().http_only().build()),
        Box::new(reqwest),
    ];
    for sender in without_tls {
        let https = engine(sender).dispatcher();
        let https = https.register(Registration::new("s", url, "plain")).await;
        assert!(matches!(https, Err(RegisterError::HttpsUnsupported)));
    }
    let unknown = dispatcher
        .update(&"nobody".into(), Registration::new("s", url, "plain"))
        .await;
    assert!(matches!(unknown, Err(RegisterError::UnknownWebhook(_))));
    let empty = AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, ""));
    assert!(matches!(
        dispatcher.save_auth("k", "", empty).await,
        Err(SaveAuthError::Unusable(_))
    ));
}

#[tokio::test]
async fn an_event_goes_once_to_the_webhooks_of_its_scope_that_want_it() {
    let dispatcher = dispatcher();
    let url = "https://example.com/";
    let wants = dispatcher
        .register(Registration::new("a", url, "plain").events(["order.*"]))
        .await
        .unwrap();
    dispatcher
        .register(Registration::new("a", url, "plain").events(["payment.*"]))
        .await
        .unwrap();
    dispatcher
        .register(Registration::new("b", url, "plain"))
        .await
        .unwrap();

    let event = |body: &'static str| Event::builder("a", "1", "order.paid").json(body).build().unwrap();
    let first = dispatcher.enqueue(event("{}")).await.unwrap();
    assert!(first.is_new);
    assert_eq!(first.deliveries.len(), 1);
    let again = dispatcher.enqueue(event("{}")).await.unwrap();
    assert!(!again.is_new);
    assert_eq!(again.deliveries, first.deliveries);
    let other = dispatcher.enqueue(event("{ }")).await;
    assert!(matches!(other, Err(EnqueueError::Conflict(id)) if id.as_str() == "1"));

    assert!(dispatcher.remove(&wants.id).await.unwrap());
    let later = Event::builder("a", "2", "order.paid").build().unwrap();
    assert!(dispatcher.enqueue(later).await.unwrap().deliveries.is_empty());
}

#[tokio::test]
async fn what_waits_for_a_webhook_that_is_removed_is_never_sent() {
    let sender = sender_fn(|_: Request<Bytes>| async { panic!("sent to a webhook that is gone") });
    let engine = engine(sender);
    let dispatcher = engine.dispatcher();
    let webhook = dispatcher
        .register(Registration::new("s", "https://example.com/", "plain"))
        .await
        .unwrap();
    let event = Event::builder("s", "1", "t").build().unwrap();
    let id = dispatcher.enqueue(event).await.unwrap().deliveries[0];
    dispatcher.remove(&webhook.id).await.unwrap();
    engine
        .worker()
        .run_until(tokio::time::sleep(Duration::from_millis(50)))
        .await
        .unwrap();
    let record = dispatcher.delivery_record(id).await.unwrap().unwrap();
    assert_eq!(record.state, State::Dead(DeadReason::WebhookDeleted));
}

/// A receiver that reads requests off the socket by hand, so that no parser stands between the wire and the test.
/// Hands on (path, date, signature, body) of each.
fn raw_receiver() -> (String, std::sync::mpsc::Receiver<[String; 4]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                    let target = line.split(' ').nth(1).unwrap().to_owned();
                    let (mut date, mut signature, mut length) = (String::new(), String::new(), 0);
                    loop {
                        line.clear();
                        reader.read_line(&mut line).unwrap();
                        let Some((name, value)) = line.trim_end().split_once(": ") else {
                            break;
                        };
                        match name.to_ascii_lowercase().as_str() {
                            "bi-signature-date" => date = value.to_owned(),
                            "bi-signature" => signature = value.to_owned(),
                            "content-length" => length = value.parse().unwrap(),
                            _ => {}
                        }
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    let path = target.split('?').next().unwrap().to_owned();
                    tell.send([path, date, signature, String::from_utf8(body).unwrap()])
                        .unwrap();
                    reader
                        .get_mut()
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .unwrap();
                    line.clear();
                }
            });
        }
    });
    (origin, told)
}

async fn the_path_on_the_wire_is_the_path_that_was_signed(sender: impl HttpSender) {
    let (origin, received) = raw_receiver();
    let engine = engine(sender);
    let dispatcher = engine.dispatcher();
    let config = AuthConfig::Hmac(HmacAuth::new(HmacScheme::BiSignature, "key"));
    dispatcher.save_auth("k", "", config).await.unwrap();
    let paths = [
        "",
        "/",
        "//",
        "/a//b/",
        "/%41%2f%2F",
        "/a;b=c,d",
        "/~user/!$&'()*+",
        "/a:b@c",
        "/x?y=../z",
        "/p?q=%2e%2e",
        "/[x]",
    ];
    for (number, path) in paths.iter().enumerate() {
        let scope = format!("s{number}");
        dispatcher
            .register(Registration::new(scope.as_str(), format!("{origin}{path}"), "plain").auth("k"))
            .await
            .unwrap();
        let event = Event::builder(scope.as_str(), "1", "t")
            .json(format!("{{\"path\":{number}}}"))
            .build()
            .unwrap();
        dispatcher.enqueue(event).await.unwrap();
    }
    let key = HmacKey::new("key").unwrap();
    let check = tokio::task::spawn_blocking(move || {
        for _ in paths {
            let [path, date, signature, body] = received.recv_timeout(Duration::from_secs(20)).unwrap();
            let expected = BiSignature::mac(&key, "POST", &path, &date, body.as_bytes()).to_base64();
            assert_eq!(signature, expected, "{path}");
        }
    });
    engine
        .worker()
        .run_until(async { check.await.unwrap() })
        .await
        .unwrap();
}

#[tokio::test]
async fn hyper_sends_the_path_that_was_signed() {
    let guard = Guard::default().allow_http().allow_loopback();
    the_path_on_the_wire_is_the_path_that_was_signed(HyperSender::builder().guard(guard).build()).await;
}

#[tokio::test]
async fn reqwest_sends_the_path_that_was_signed() {
    let guard = Guard::default().allow_http().allow_loopback();
    let sender = ReqwestSender::builder().guard(guard).build().unwrap();
    the_path_on_the_wire_is_the_path_that_was_signed(sender).await;
}
