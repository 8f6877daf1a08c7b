//! What is told to `tracing` and counted with `metrics`: the story of each delivery, and nothing secret.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit,
};
use ringback::auth::{AuthConfig, HeadersAuth, HmacAuth, HmacScheme, OAuth2Auth, UserToken, token_lookup_fn};
use ringback::delivery::{Event, PlainProfile};
use ringback::engine::{Engine, Registration};
use ringback::receive::{BearerToken, JsonEvents, Receiver, UrlSecret};
use ringback::retry::Schedule;
use ringback::secret::Secret;
use ringback::store::MemoryStore;
use ringback::testing::{ManualTime, Reply, ScriptedSender};
use ringback::url::WebhookUrl;
use tracing_subscriber::fmt::MakeWriter;

#[allow(dead_code)]
#[path = "../../examples/quickstart.rs"]
mod quickstart;

/// The key, the token, the URL's password, and what the bodies hold.
const CANARY: &str = "hunter2";

#[tokio::test]
async fn a_delivery_s_story_is_told_by_its_id_and_nothing_secret_is() {
    let figures = Figures::default();
    let recording = metrics::set_default_local_recorder(&figures);
    let log = logged(async {
        deliver().await;
        receive().await;
    })
    .await;
    drop(recording);

    assert!(!log.contains(CANARY), "{log}");
    let of_delivery = |line: &&str| {
        line.contains("delivery=1 ") || line.contains("delivery=1}") || line.ends_with("delivery=1")
    };
    let story: Vec<_> = log.lines().filter(of_delivery).collect();
    let told = [
        "enqueued delivery=1 event=\"order-1\" scope=\"tenant-7\" kind=\"order.paid\"",
        "number=1 event=\"order-1\" scope=\"tenant-7\" kind=\"order.paid\" webhook=\"hook\" profile=\"plain\"}: ringback: attempted outcome=503",
        "to be tried again delivery=1 at=2026-05-28 20:26:50 UTC",
        "number=2 event=\"order-1\" scope=\"tenant-7\" kind=\"order.paid\" webhook=\"hook\" profile=\"plain\"}: ringback: attempted outcome=200",
        "delivered delivery=1",
    ];
    assert_eq!(story.len(), told.len(), "{log}");
    for (line, told) in story.iter().zip(told) {
        assert!(line.contains(told), "{line}\n{told}");
    }
    for told in [
        "received receiver=\"orders\" key=\"A-17\" ending=\"handled\"",
        "received receiver=\"orders\" key=\"A-17\" ending=\"duplicate\"",
        "not received receiver=\"orders\" ending=\"refused\" why=not authentic: wrong secret",
        "not received receiver=\"tokens\" key=\"A-17\" ending=\"handler\" why=the handler failed",
    ] {
        assert!(log.contains(told), "{log}\n{told}");
    }

    let expected = [
        ("ringback_attempt_seconds{profile=plain}", 2),
        ("ringback_attempts_total{outcome=2xx,profile=plain}", 1),
        ("ringback_attempts_total{outcome=5xx,profile=plain}", 1),
        ("ringback_enqueued_total{}", 1),
        ("ringback_receive_seconds{receiver=orders}", 3),
        ("ringback_receive_seconds{receiver=tokens}", 1),
        ("ringback_received_total{ending=duplicate,receiver=orders}", 1),
        ("ringback_received_total{ending=handled,receiver=orders}", 1),
        ("ringback_received_total{ending=handler,receiver=tokens}", 1),
        ("ringback_received_total{ending=refused,receiver=orders}", 1),
        ("ringback_settled_total{state=delivered}", 1),
        ("ringback_settled_total{state=pending}", 1),
    ];
    let counted = figures.counted();
    let counted: Vec<_> = counted
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    assert_eq!(counted, expected);
}

/// The same for every other kind of proof, and for those that cannot be made.
#[tokio::test]
async fn no_proof_is_logged() {
    let log = logged(async {
        let headers = HeadersAuth::default().with("x-api-key".parse().unwrap(), CANARY);
        prove(Some(AuthConfig::Headers(headers)), StatusCode::OK).await;
        let token_url = format!("https://auth.example.org/token?tenant={CANARY}");
        let client = || OAuth2Auth::new(WebhookUrl::parse(&token_url).unwrap(), "123456", CANARY);
        prove(Some(AuthConfig::OAuth2(client())), StatusCode::OK).await;
        prove(Some(AuthConfig::OAuth2(client())), StatusCode::FORBIDDEN).await;
        prove(None, StatusCode::OK).await;
    })
    .await;

    assert!(!log.contains(CANARY), "{log}");
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(
        [
            lines("attempted outcome=200"),
            lines(": delivered delivery=1"),
            lines("postponed")
        ],
        [3, 3, 1],
        "{log}"
    );
}

/// The quickstart, as anybody would run it with its log switched on.
#[tokio::test]
async fn the_quickstart_s_log_tells_its_delivery_s_story_and_nothing_secret() {
    let log = logged(async { quickstart::run().await.unwrap() }).await;

    for secret in [quickstart::KEY, quickstart::TOKEN, quickstart::PASSWORD] {
        assert!(!log.contains(secret), "{log}");
    }
    // The client's library tells things of its own, within the attempt's span.
    let ours = |line: &&str| line.contains("ringback: ") && line.contains("delivery=1");
    // The worker may be faster than whoever tells that there is something to do.
    let (enqueued, story): (Vec<_>, Vec<_>) = log
        .lines()
        .filter(ours)
        .partition(|line| line.contains("ringback: enqueued delivery=1 "));
    assert_eq!(enqueued.len(), 1, "{log}");
    let told = [
        "number=1",
        "to be tried again",
        "number=2",
        "to be tried again",
        "number=3",
        "to be tried again",
        "number=4",
        "ringback: delivered delivery=1",
    ];
    assert_eq!(story.len(), told.len(), "{log}");
    for (line, told) in story.iter().zip(told) {
        assert!(line.contains(told), "{line}\n{told}");
    }
    for outcome in [
        "outcome=503",
        "outcome=timed out",
        "outcome=disconnected",
        "outcome=204",
    ] {
        assert!(log.contains(&format!("attempted {outcome}")), "{outcome}\n{log}");
    }
    assert!(log.contains("received receiver=\"reports\""), "{log}");
}

/// What is logged while this goes on, on this thread.
async fn logged(story: impl Future<Output = ()>) -> String {
    let log = Log::default();
    // While there is one subscriber alone, tracing asks whichever thread comes to an event first whether anybody listens
    // to it, and other tests' threads have none. With a second one, it asks both.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .without_time()
        .with_writer(log.clone())
        .finish();
    let _subscribed = tracing::subscriber::set_default(subscriber);
    story.await;
    log.text()
}

/// One delivery that proves itself so, or with a user's token; the token endpoint answers with that status.
async fn prove(auth: Option<AuthConfig>, token_status: StatusCode) {
    let time = ManualTime::new(DateTime::from_timestamp(1_780_000_000, 0).unwrap());
    let sender = ScriptedSender::new(Arc::new(time.clone()), move |request: &Request<Bytes>| {
        let mut response = Response::new(Bytes::from(CANARY));
        if request.uri().host() == Some("auth.example.org") {
            let token = format!(r#"{{"access_token":"{CANARY}","token_type":"bearer","expires_in":3600}}"#);
            *response.body_mut() = Bytes::from(token);
            *response.status_mut() = token_status;
        }
        Reply::answer(response)
    });
    let user_token = UserToken::new(token_lookup_fn(|_, _| async { Ok(Some(Secret::from(CANARY))) }));
    let engine = Engine::builder(MemoryStore::new(), sender, time.clone())
        .profile(PlainProfile::new("plain", Schedule::never()))
        .auth("user", user_token)
        .build();
    let dispatcher = engine.dispatcher();
    let name = if auth.is_some() { "stored" } else { "user" };
    if let Some(auth) = auth {
        dispatcher.save_auth("stored", "the proof", auth).await.unwrap();
    }
    let url = format!("https://example.com/hook?password={CANARY}");
    let registration = Registration::new("tenant-7", url, "plain").id("hook").auth(name);
    dispatcher.register(registration).await.unwrap();
    let event = Event::builder("tenant-7", "order-1", "order.paid")
        .subject("user-7")
        .json(format!("\"{CANARY}\""));
    dispatcher.enqueue(event.build().unwrap()).await.unwrap();
    let worker = engine.worker();
    assert!(std::pin::pin!(worker.run()).now_or_never().is_none());
}

/// One delivery, refused once.
async fn deliver() {
    let time = ManualTime::new(DateTime::from_timestamp(1_780_000_000, 0).unwrap());
    let mut answers = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK].into_iter();
    let sender = ScriptedSender::new(Arc::new(time.clone()), move |_: &Request<Bytes>| {
        let mut response = Response::new(Bytes::from(CANARY));
        *response.status_mut() = answers.next().unwrap();
        Reply::answer(response)
    });
    let schedule = Schedule::gaps([Duration::from_secs(10)]).build().unwrap();
    let engine = Engine::builder(MemoryStore::new(), sender, time.clone())
        .profile(PlainProfile::new("plain", schedule))
        .build();
    let dispatcher = engine.dispatcher();
    let key = AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, CANARY));
    dispatcher.save_auth("key", "the key", key).await.unwrap();
    let url = format!("https://example.com/hook?password={CANARY}");
    let registration = Registration::new("tenant-7", url, "plain").id("hook").auth("key");
    dispatcher.register(registration).await.unwrap();
    let event = Event::builder("tenant-7", "order-1", "order.paid").json(format!("\"{CANARY}\""));
    dispatcher.enqueue(event.build().unwrap()).await.unwrap();

    let worker = engine.worker();
    let mut running = std::pin::pin!(worker.run());
    assert!(running.as_mut().now_or_never().is_none());
    time.advance(Duration::from_secs(10));
    assert!(running.as_mut().now_or_never().is_none());
}

/// A message, its copy, a forged one, and one whose handler fails.
async fn receive() {
    let protocol = || JsonEvents::new(|id: &String| Some(id.clone()));
    let request = |target: String| {
        let mut request = Request::post(target).body(Bytes::from("\"A-17\"")).unwrap();
        let token = format!("Bearer {CANARY}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
        request
    };
    let gate = UrlSecret::new("password", Secret::from(CANARY));
    let receiver = Receiver::new("orders", protocol(), gate).seen(MemoryStore::new());
    for password in [CANARY, CANARY, "hunter2hunter2"] {
        let request = request(format!("/orders?password={password}"));
        receiver.handle(request, async |_| Ok::<_, &str>(())).await;
    }
    let receiver = Receiver::new("tokens", protocol(), BearerToken::new(Secret::from(CANARY)));
    let request = request("/tokens".to_owned());
    receiver.handle(request, async |_| Err(CANARY)).await;
}

/// Everything that was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Everything that was counted: counters by their value, histograms by how often they were told.
#[derive(Debug, Default)]
struct Figures(Mutex<BTreeMap<String, Arc<Figure>>>);

#[derive(Debug, Default)]
struct Figure(AtomicU64);

impl Figures {
    fn counted(&self) -> BTreeMap<String, u64> {
        let figures = self.0.lock().unwrap();
        let counted = figures
            .iter()
            .map(|(name, figure)| (name.clone(), figure.0.load(Ordering::Relaxed)));
        counted.collect()
    }

    fn figure(&self, key: &Key) -> Arc<Figure> {
        let mut labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        labels.sort();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }
}

impl metrics::Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.figure(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("there is no gauge {key}")
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.figure(key))
    }
}

impl CounterFn for Figure {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        panic!("{value} is not added");
    }
}

impl HistogramFn for Figure {
    fn record(&self, value: f64) {
        assert!(value >= 0.0);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
