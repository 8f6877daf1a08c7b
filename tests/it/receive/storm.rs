//! Thousands of requests of every kind against a receiver on a real socket: good ones, forged ones, copies one after
//! the other and at once, bodies that are too large, cut short, or slow.
//!
//! 2,000 of them by default; `RINGBACK_STORM=50000` asks for as many, and then, in a process of their own, how much
//! memory they took is looked at too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use ringback::provider::powens::{Event, EventName};
use ringback::receive::axum::{ReceiverLayer, Webhook};
use ringback::receive::{PowensEvents, Receiver, Report, listener_fn};
use ringback::signature::{BiSignature, HmacKey, Signer};
use ringback::store::MemoryStore;
use ringback::system::{SystemClock, TokioTimer};
use ringback::time::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::verifier;

const SENDERS: usize = 64;
const LIMIT: usize = 64 * 1024;
/// What a body that is too large would come to, if somebody read it.
const ENDLESS: usize = 8 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Book {
    /// How often each message was handled.
    handled: Mutex<BTreeMap<String, usize>>,
    endings: Mutex<BTreeMap<&'static str, usize>>,
    next: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_handled_unproved_or_twice_whatever_comes() {
    let asked = std::env::var("RINGBACK_STORM").ok();
    let requests: usize = asked.as_deref().map_or(2_000, |number| number.parse().unwrap());
    let before = peak_memory();
    let book = Arc::new(Book::default());
    let address = serve(&book).await;
    let senders = (0..SENDERS).map(|_| tokio::spawn(send(address, Arc::clone(&book), requests)));
    let mut sent = BTreeMap::new();
    for counts in join_all(senders).await {
        for (kind, count) in counts.unwrap() {
            *sent.entry(kind).or_insert(0) += count;
        }
    }

    let handled = book.handled.lock().unwrap();
    assert!(handled.keys().all(|key| !key.contains("forged")));
    assert!(handled.values().all(|times| *times == 1));
    let messages = sent[&Kind::Good] + sent[&Kind::Copies] + sent[&Kind::AtOnce];
    assert_eq!(handled.len(), messages, "{sent:?}");
    let endings = book.endings.lock().unwrap();
    assert_eq!(endings["handled"], messages);
    assert_eq!(endings["refused"], sent[&Kind::Forged]);
    assert_eq!(
        endings["too_large"],
        sent[&Kind::Announced] + sent[&Kind::Endless]
    );
    assert_eq!(endings["too_slow"], sent[&Kind::Slow]);
    if asked.is_some() {
        let grown = peak_memory() - before;
        println!("{requests} requests, {sent:?}, {endings:?}, memory grew by {grown} KiB");
        assert!(grown < 100 * 1024, "memory grew by {grown} KiB");
    }
}

async fn serve(book: &Arc<Book>) -> SocketAddr {
    let protocol = PowensEvents::of(EventName::ConnectionSynced);
    let endings = Arc::clone(book);
    let receiver = Receiver::new("powens", protocol, verifier())
        .seen(MemoryStore::new())
        .limits(LIMIT, LIMIT)
        .listener(listener_fn(move |report: &Report<'_>| {
            let mut endings = endings.endings.lock().unwrap();
            *endings.entry(report.ending.as_str()).or_insert(0) += 1;
        }));
    let layer = ReceiverLayer::new(receiver).read_within(PATIENCE, TokioTimer);
    let handled = Arc::clone(book);
    let hook = post(async move |Webhook(received): Webhook<Event>, body: Bytes| {
        tokio::task::yield_now().await;
        assert_eq!(received.body, body);
        let mut handled = handled.handled.lock().unwrap();
        *handled
            .entry(String::from_utf8(body.to_vec()).unwrap())
            .or_insert(0) += 1;
    });
    let app = Router::new().route("/powens", hook.layer(layer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Good,
    Forged,
    /// One after the other.
    Copies,
    /// At the same time.
    AtOnce,
    /// Too large, and says so.
    Announced,
    /// Too large, in chunks.
    Endless,
    /// The sender goes away in the middle.
    CutShort,
    /// The sender stays, and sends no more.
    Slow,
}

/// Sends until all of them together have sent that many, and says how many of which kind.
async fn send(address: SocketAddr, book: Arc<Book>, requests: usize) -> BTreeMap<Kind, usize> {
    let mut sent = BTreeMap::new();
    let mut connection = Connection::to(address).await;
    loop {
        let number = book.next.fetch_add(1, Ordering::Relaxed);
        if number >= requests {
            return sent;
        }
        let kind = match number % 100 {
            0..40 => Kind::Good,
            40..60 => Kind::Forged,
            60..75 => Kind::Copies,
            75..90 => Kind::AtOnce,
            90..94 => Kind::Announced,
            94 => Kind::Endless,
            95..99 => Kind::CutShort,
            _ => Kind::Slow,
        };
        *sent.entry(kind).or_insert(0) += 1;
        let (head, body) = message(number);
        let length = body.len();
        match kind {
            Kind::Good => assert_eq!(connection.ring(&head, &body).await, 200),
            Kind::Forged => {
                let forged = body.replace("honest", "forged");
                assert_eq!(connection.ring(&head, &forged).await, 401);
            }
            Kind::Copies => {
                assert_eq!(connection.ring(&head, &body).await, 200);
                assert_eq!(connection.ring(&head, &body).await, 204);
            }
            Kind::AtOnce => {
                let mut others = [Connection::to(address).await, Connection::to(address).await];
                let [second, third] = &mut others;
                let (first, second, third) = tokio::join!(
                    connection.ring(&head, &body),
                    second.ring(&head, &body),
                    third.ring(&head, &body)
                );
                let mut answers = [first, second, third];
                answers.sort_unstable();
                assert_eq!(answers[0], 200);
                assert!(answers[1..].iter().all(|answer| [204, 503].contains(answer)));
            }
            Kind::Announced => {
                connection
                    .write(format!("{head}content-length: {}\r\n\r\n", LIMIT + 1))
                    .await;
                assert_eq!(connection.status().await, Some(413));
                connection = Connection::to(address).await;
            }
            Kind::Endless => {
                connection
                    .write(format!("{head}transfer-encoding: chunked\r\n\r\n"))
                    .await;
                let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
                let mut written = 0;
                while written < ENDLESS && connection.try_write(&chunk).await {
                    written += 0x4000;
                }
                // The server has answered and closed long before; what is in between is the kernel's.
                assert!(written < ENDLESS, "the body was read");
                connection = Connection::to(address).await;
            }
            Kind::CutShort => {
                connection
                    .write(format!("{head}content-length: {}\r\n\r\n{body}", length + 1))
                    .await;
                connection = Connection::to(address).await;
            }
            Kind::Slow => {
                connection
                    .write(format!("{head}content-length: {}\r\n\r\n{body}", length + 1))
                    .await;
                assert_eq!(connection.status().await, Some(408));
                connection = Connection::to(address).await;
            }
        }
    }
}

/// The head of a signed request, without its end, and the body.
fn message(number: usize) -> (String, String) {
    let body = format!(r#"{{"id_webhook_data":{number},"is":"honest"}}"#);
    let mut request = Request::post("/powens").body(body.clone()).unwrap();
    Signer::new(BiSignature::path_only(), HmacKey::new("secret_key").unwrap())
        .sign_request(&mut request, SystemClock.now())
        .unwrap();
    let mut head =
        "POST /powens HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".to_owned();
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    (head, body)
}

struct Connection(TcpStream);

impl Connection {
    async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    async fn ring(&mut self, head: &str, body: &str) -> u16 {
        self.write(format!("{head}content-length: {}\r\n\r\n{body}", body.len()))
            .await;
        self.status().await.expect("an answer")
    }

    async fn write(&mut self, text: String) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Whether there is still somebody who takes it.
    async fn try_write(&mut self, text: &str) -> bool {
        self.0.write_all(text.as_bytes()).await.is_ok()
    }

    /// The status of the next answer, which has no body.
    async fn status(&mut self) -> Option<u16> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        std::str::from_utf8(&head).ok()?.get(9..12)?.parse().ok()
    }
}

/// The most memory that this process ever had, in KiB, where the system says.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}
