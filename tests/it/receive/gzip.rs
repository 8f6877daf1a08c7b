//! Compressed bodies: signed before or after compression, broken, and hostile.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, FlushCompress};
use http::{HeaderValue, Request, StatusCode};
use ringback::provider::powens::EventName;
use ringback::receive::{Admission, Arrival, Gate, GateError, PowensEvents, Receiver, Rejection, UrlSecret};
use ringback::secret::Secret;
use ringback::signature::Refusal;
use ringback::store::MemoryStore;
use ringback::testing::ManualTime;

use super::{BODY, Handled, receiver, refusal, ring, signed, time, verifier};

const MIB: usize = 1024 * 1024;

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

fn compressed(mut request: Request<Bytes>, body: Bytes) -> Request<Bytes> {
    request
        .headers_mut()
        .insert("content-encoding", HeaderValue::from_static("gzip"));
    *request.body_mut() = body;
    request
}

/// Compressed first, then signed.
fn signed_wire(time: &ManualTime, wire: Bytes) -> Request<Bytes> {
    compressed(signed(time, wire.clone()), wire)
}

/// Signed first, then compressed.
fn signed_inflated(time: &ManualTime, body: &[u8]) -> Request<Bytes> {
    compressed(signed(time, body.to_vec()), gzip(body))
}

/// Some 10 MiB that inflate to some 10 GiB, in one stream: what a MiB of zeros deflates to, again and again.
fn bomb() -> Bytes {
    let mut encoder = flate2::Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(2 * 1024);
    encoder
        .compress_vec(&vec![0; MIB], &mut block, FlushCompress::Full)
        .unwrap();
    assert_eq!(encoder.total_in(), MIB as u64);
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    [&header[..], &block.repeat(10 * 1024)].concat().into()
}

#[tokio::test]
async fn a_body_is_signed_before_or_after_it_is_compressed() {
    let (time, handled) = (time(), Handled::new());
    let receiver = receiver(&time);
    for request in [
        signed_wire(&time, gzip(BODY.as_bytes())),
        signed_inflated(&time, BODY.as_bytes()),
    ] {
        let received = receiver.accept(request.clone()).await.unwrap();
        assert_eq!(received.body, BODY);
        assert_eq!(received.key.key, "90313");
        let response = ring(&receiver, request, &handled).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(handled.count(), 2);
}

#[tokio::test]
async fn a_copy_whose_coding_is_not_said_any_more_is_a_copy() {
    let (time, handled) = (time(), Handled::new());
    let receiver = receiver(&time).seen(MemoryStore::new());
    let uncoded = |mut request: Request<Bytes>| {
        request.headers_mut().remove("content-encoding");
        request
    };
    let copies = || {
        [
            signed_wire(&time, gzip(BODY.as_bytes())),
            uncoded(signed_wire(&time, gzip(BODY.as_bytes()))),
            uncoded(signed_inflated(&time, BODY.as_bytes())),
        ]
    };
    for request in copies().into_iter().chain(copies().into_iter().rev()) {
        let received = receiver.accept(request.clone()).await.unwrap();
        assert_eq!(
            (received.key.key.as_str(), &received.body[..]),
            ("90313", BODY.as_bytes())
        );
        let response = ring(&receiver, request, &handled).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(handled.count(), 1);

    // What only looks like it is left as it is.
    for body in [
        &b"\x1f\x8b"[..],
        b"\x1f\x8b and more",
        &gzip(BODY.as_bytes())[..30],
    ] {
        let received = receiver.accept(signed(&time, body.to_vec())).await.unwrap();
        assert_eq!(received.body, body);
        let forged = Request::post("/powens")
            .body(Bytes::copy_from_slice(body))
            .unwrap();
        assert!(receiver.accept(forged).await.is_err());
    }
}

#[tokio::test]
async fn a_forged_body_is_refused_as_any_other_is() {
    let (time, handled) = (time(), Handled::new());
    let receiver = receiver(&time);
    let plain = ring(
        &receiver,
        compressed(signed(&time, "{}"), Bytes::from_static(b"{ }")),
        &handled,
    )
    .await;
    let mut forged = signed_wire(&time, gzip(b"{}"));
    *forged.body_mut() = gzip(BODY.as_bytes());
    let mut broken = forged.clone();
    *broken.body_mut() = broken.body().slice(..20);
    for request in [forged, broken] {
        let response = ring(&receiver, request, &handled).await;
        assert_eq!(refusal(&response), Some(&Refusal::Mismatch));
        assert_eq!(super::seen_by_sender(&response), super::seen_by_sender(&plain));
    }
    assert_eq!(handled.count(), 0);
}

#[tokio::test]
async fn an_authentic_body_that_is_broken_or_coded_otherwise_is_said_to_be() {
    let (time, handled) = (time(), Handled::new());
    let receiver = receiver(&time);
    let broken = signed_wire(&time, gzip(BODY.as_bytes()).slice(..30));
    let mut brotli = signed(&time, BODY);
    brotli
        .headers_mut()
        .insert("content-encoding", HeaderValue::from_static("br"));
    let mut twice = signed_wire(&time, gzip(BODY.as_bytes()));
    twice
        .headers_mut()
        .append("content-encoding", HeaderValue::from_static("gzip"));
    for request in [broken, brotli, twice] {
        let response = ring(&receiver, request, &handled).await;
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    assert_eq!(handled.count(), 0);
}

#[tokio::test]
async fn the_limit_on_what_a_body_inflates_to_is_exact() {
    let time = time();
    let mut uncoded = signed_wire(&time, gzip(BODY.as_bytes()));
    uncoded.headers_mut().remove("content-encoding");
    for body in [
        signed_wire(&time, gzip(BODY.as_bytes())),
        signed_inflated(&time, BODY.as_bytes()),
        uncoded,
    ] {
        let at_limit = receiver(&time).limits(MIB, BODY.len());
        assert!(at_limit.accept(body.clone()).await.is_ok());
        let below = receiver(&time).limits(MIB, BODY.len() - 1);
        assert!(matches!(below.accept(body).await, Err(Rejection::TooLarge)));
    }
}

#[tokio::test]
async fn what_is_not_proved_yet_may_not_grow_a_thousandfold() {
    let time = time();
    let receiver = receiver(&time);
    let zeros = vec![b'0'; 8 * MIB];
    assert!(receiver.accept(signed_wire(&time, gzip(&zeros))).await.is_ok());
    let unproven = receiver.accept(signed_inflated(&time, &zeros)).await;
    assert!(matches!(unproven, Err(Rejection::TooLarge)));

    // What is as dense as real data may be as large as any.
    let accounts: String = (0..200_000)
        .map(|id| format!("{{\"id\":{id},\"balance\":{}.50}},", id * 7919))
        .collect();
    assert!(
        receiver
            .accept(signed_inflated(&time, accounts.as_bytes()))
            .await
            .is_ok()
    );
    // And a small body is never refused for its density.
    assert!(
        receiver
            .accept(signed_inflated(&time, &zeros[..MIB]))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_secret_that_is_wrong_has_nothing_inflated() {
    let protocol = PowensEvents::of(EventName::ConnectionSynced);
    let gate = Counting::new(UrlSecret::new("tenant", Secret::from("b")));
    let admissions = gate.admissions.clone();
    let receiver = Receiver::new("powens", protocol, gate);
    let outcome = receiver.accept(signed_wire(&time(), gzip(BODY.as_bytes()))).await;
    assert!(matches!(outcome, Err(Rejection::Refused(Refusal::WrongSecret))));
    assert_eq!(admissions.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_gate_is_asked_at_most_twice() {
    let time = time();
    let gate = Counting::new(verifier());
    let admissions = gate.admissions.clone();
    let receiver =
        Receiver::new("powens", PowensEvents::of(EventName::ConnectionSynced), gate).clock(time.clone());
    let mut forged = signed_wire(&time, gzip(b"{}"));
    *forged.body_mut() = gzip(&gzip(BODY.as_bytes()));
    assert!(receiver.accept(forged).await.is_err());
    assert_eq!(admissions.load(Ordering::Relaxed), 2);
}

/// Counts how often a gate is asked.
#[derive(Debug)]
struct Counting<G> {
    gate: G,
    admissions: Arc<AtomicUsize>,
}

impl<G: Gate> Counting<G> {
    fn new(gate: G) -> Self {
        Self {
            gate,
            admissions: Arc::default(),
        }
    }
}

#[async_trait]
impl<G: Gate> Gate for Counting<G> {
    async fn admit(&self, arrival: &Arrival<'_>, now: DateTime<Utc>) -> Result<Admission, GateError> {
        self.admissions.fetch_add(1, Ordering::Relaxed);
        self.gate.admit(arrival, now).await
    }
}

/// Runs in a process of its own, so that the most memory it ever had is that of this test.
#[test]
fn a_bomb_is_refused_early_and_in_bounded_memory() {
    const ALONE: &str = "RINGBACK_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "receive::gzip::a_bomb_is_refused_early_and_in_bounded_memory";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let time = time();
        let receiver = receiver(&time);
        let bomb = bomb();
        assert!((9 * MIB..16 * MIB).contains(&bomb.len()), "{}", bomb.len());
        let mut forged = signed_wire(&time, bomb.clone());
        forged.headers_mut().insert(
            "bi-signature",
            HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        );
        for request in [signed_wire(&time, bomb), forged] {
            let before = Instant::now();
            let outcome = receiver.accept(request).await;
            assert!(matches!(outcome, Err(Rejection::TooLarge)));
            // To inflate all of it takes a hundred times as long as to inflate 64 MiB.
            assert!(before.elapsed() < Duration::from_secs(10));
        }
    });
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let most = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        let most: usize = most.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(most < 300 * 1024, "{most} KiB");
    }
}

#[test]
fn the_bomb_would_be_one() {
    // The same blocks, fewer of them, with an end.
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&[]).unwrap();
    let end = encoder.finish().unwrap();
    let bomb = bomb();
    let block = (bomb.len() - 10) / (10 * 1024);
    let three = [&bomb[10..10 + 3 * block], &end].concat();
    let mut inflated = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(&*three), &mut inflated).unwrap();
    assert_eq!(inflated.len(), 3 * MIB);
}
