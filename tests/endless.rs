//! Receivers whose answers have no end, through the whole engine over real sockets: each attempt ends at its limit, each
//! delivery is settled as a failure, and memory stays flat. In a binary of its own, since it counts every byte that is
//! allocated in the process.
#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ringback::delivery::{DeadReason, Event, Outcome, PlainProfile, SendFailure, State};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::MemoryStore;
use ringback::transport::{Guard, HttpSender, HyperSender, ReqwestSender, ResponseLimits};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What an attempt may take where it ends by what it may hold: longer than that takes on a busy machine.
const PATIENT: Duration = Duration::from_secs(30);

/// What it may take where nothing else ends it.
const SHORT: Duration = Duration::from_millis(500);

/// Deliveries to each receiver, all in flight at once.
const EACH: usize = 8;

const CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// How a receiver misbehaves once it has the request.
#[derive(Clone, Copy)]
enum Answer {
    /// This, then this without end.
    Endless(&'static [u8], &'static [u8]),
    /// This head, and 1 GiB of body.
    Gibibyte(&'static [u8]),
    /// This, then such a byte at a time without end.
    Drip(&'static [u8], u8),
}

const TOO_LARGE: Outcome = Outcome::Failed(SendFailure::ResponseTooLarge);

use Answer::{Drip, Endless, Gibibyte};

#[rustfmt::skip]
const ANSWERS: [(&str, Answer, Outcome); 11] = [
    ("headers without end", Endless(b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n"), TOO_LARGE),
    ("a header without end", Endless(b"HTTP/1.1 200 OK\r\nx-long: ", &CHUNK), TOO_LARGE),
    ("a reason without end", Endless(b"HTTP/1.1 200 ", &CHUNK), TOO_LARGE),
    ("heads without end", Endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), Outcome::TimedOut),
    ("a body without end", Endless(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", &CHUNK), TOO_LARGE),
    ("chunks without end", Endless(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"8\r\nxxxxxxxx\r\n"), TOO_LARGE),
    ("1 GiB, announced", Gibibyte(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"), TOO_LARGE),
    ("1 GiB, as it comes", Gibibyte(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"), TOO_LARGE),
    ("a body that drips", Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b'x'), Outcome::TimedOut),
    ("a header that drips", Drip(b"HTTP/1.1 200 OK\r\nx-long: ", b'x'), Outcome::TimedOut),
    ("lines that drip", Drip(b"", b'\n'), Outcome::TimedOut),
];

/// A server that answers every request so, and counts the bytes that it got rid of.
async fn receiver(answer: Answer, written: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // That the sender hangs up is the point.
            tokio::spawn(misbehave(stream, answer, Arc::clone(&written)));
        }
    });
    address
}

async fn misbehave(mut stream: TcpStream, answer: Answer, written: Arc<AtomicU64>) -> io::Result<()> {
    let mut request = [0; 4096];
    if stream.read(&mut request).await? == 0 {
        return Ok(());
    }
    let mut write = async |bytes: &[u8]| {
        stream.write_all(bytes).await?;
        written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        io::Result::Ok(())
    };
    match answer {
        Answer::Endless(head, more) => {
            write(head).await?;
            let more = more.repeat((CHUNK.len() / more.len()).max(1));
            loop {
                write(&more).await?;
            }
        }
        Answer::Gibibyte(head) => {
            write(head).await?;
            for _ in 0..(1 << 30) / CHUNK.len() {
                write(&CHUNK).await?;
            }
            Ok(())
        }
        Answer::Drip(head, byte) => {
            write(head).await?;
            loop {
                write(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// The most that was allocated at once while this went on, over what there was before, as seen every half millisecond.
async fn peak_of<T>(what: impl Future<Output = T>) -> (usize, T) {
    let before = live();
    let over = Arc::new(AtomicBool::new(false));
    let watch = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut peak = 0;
            while !over.load(Ordering::Relaxed) {
                peak = peak.max(live());
                std::thread::sleep(Duration::from_micros(500));
            }
            peak
        }
    });
    let output = what.await;
    over.store(true, Ordering::Relaxed);
    (watch.join().unwrap().saturating_sub(before), output)
}

/// Sends to one receiver after the other until all is settled, and looks at what became of it.
async fn send_to_all(name: &str, sender: impl HttpSender) {
    let profile = |name, deadline| PlainProfile::new(name, Schedule::never()).with_deadline(deadline);
    let engine = Engine::builder(MemoryStore::keeping(10_000), sender, TokioTimer)
        .profile(profile("patient", PATIENT))
        .profile(profile("short", SHORT))
        .guard(Guard::default().allow_http().allow_loopback())
        .build();
    let dispatcher = engine.dispatcher();
    for (what, answer, expected) in ANSWERS {
        let written = Arc::default();
        let address = receiver(answer, Arc::clone(&written)).await;
        let profile = if expected == Outcome::TimedOut {
            "short"
        } else {
            "patient"
        };
        let registration = Registration::new(what, format!("http://{address}/hook"), profile);
        dispatcher.register(registration).await.unwrap();
        let mut ids = Vec::new();
        for event in 0..EACH {
            let event = Event::builder(what, event.to_string(), "t")
                .json("{}")
                .build()
                .unwrap();
            ids.extend(dispatcher.enqueue(event).await.unwrap().deliveries);
        }

        let worker = engine.worker();
        let settled = async {
            for id in &ids {
                while !dispatcher
                    .delivery_record(*id)
                    .await
                    .unwrap()
                    .unwrap()
                    .state
                    .is_final()
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        let (peak, ended) = peak_of(tokio::time::timeout(2 * PATIENT, worker.run_until(settled))).await;
        ended.expect("whatever has no end is ended").unwrap();
        let written = written.load(Ordering::Relaxed);
        println!("{name}, {what}: {written} bytes written, {peak} held at once");

        for id in ids {
            let record = dispatcher.delivery_record(id).await.unwrap().unwrap();
            assert_eq!(record.state, State::Dead(DeadReason::Exhausted), "{name}, {what}");
            let attempts = dispatcher.attempts(id).await.unwrap();
            assert_eq!(attempts.len(), 1);
            assert_eq!(attempts[0].report.outcome, expected, "{name}, {what}");
        }
        // What was read, and what lies in the sockets' buffers: never the gibibyte.
        let is_cut_off = written < (EACH as u64) << 25;
        assert!(
            expected != TOO_LARGE || is_cut_off,
            "{name}, {what}: {written} bytes"
        );
        // What each may hold, as it grows into a larger buffer, and what is read ahead of it.
        let limits = ResponseLimits::default();
        let most = 3 * EACH * (limits.body + limits.headers);
        assert!(peak < most, "{name}, {what}: {peak} bytes");
    }
}

#[tokio::test]
async fn what_has_no_end_is_a_failure_at_its_limit_and_memory_stays_flat() {
    let guard = Guard::default().allow_http().allow_loopback();
    send_to_all("hyper", HyperSender::builder().guard(guard.clone()).build()).await;
    send_to_all("reqwest", ReqwestSender::builder().guard(guard).build().unwrap()).await;
}
