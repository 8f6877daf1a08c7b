//! What is taken from the heap, counted. In a binary of its own, since it counts what is allocated in the process.

use std::alloc::System;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{Event, Limits, PlainProfile};
use ringback::engine::{Engine, Registration};
use ringback::retry::{Decision, Progress, RetryAfter, Schedule};
use ringback::signature::{
    BiSignature, HmacKey, MaxAge, Message, Scheme, Signer, StandardWebhooks, TruvSignature, Verifier,
};
use ringback::store::MemoryStore;
use ringback::system::TokioTimer;
use ringback::transport::{HttpSender, ResponseLimits, SendError};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Notify;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The counts are those of the whole process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the heap is asked for room, growing what there is included.
fn requests(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.allocations + change.reallocations
}

/// The least that it asks for, of many times: now and then the test harness asks for something on a thread of its own, but
/// what the work itself needs, it needs each time.
fn least_requests(mut work: impl FnMut()) -> usize {
    let counts = (0..50).map(|_| {
        let region = Region::new(ALLOCATOR);
        work();
        requests(&region)
    });
    counts.min().unwrap()
}

#[test]
fn verifying_allocates_nothing() {
    let _turn = turn();
    let key = HmacKey::new("a secret that is 32 bytes long..").unwrap();
    let schemes: [(&str, Arc<dyn Scheme>); 3] = [
        ("BI-Signature", Arc::new(BiSignature::path_only())),
        ("Standard Webhooks", Arc::new(StandardWebhooks)),
        ("Truv", Arc::new(TruvSignature)),
    ];
    for (name, scheme) in schemes {
        for bytes in [64, 1024, 16 * 1024] {
            let (body, now) = (vec![b'x'; bytes], DateTime::UNIX_EPOCH);
            let mut headers = HeaderMap::new();
            headers.insert("webhook-id", HeaderValue::from_static("msg_1"));
            let signer = Signer::new(Arc::clone(&scheme), key.clone());
            signer
                .sign(&Method::POST, "/hook", &mut headers, &body, now)
                .unwrap();
            let message = Message {
                method: &Method::POST,
                target: "/hook",
                headers: &headers,
                body: &body,
            };
            let verifier = Verifier::new(Arc::clone(&scheme), [key.clone()], MaxAge::minutes(5));
            let forged = Message {
                body: &body[1..],
                ..message
            };
            let requests = least_requests(|| {
                assert!(verifier.verify(&message, now).is_ok(), "{name}");
                assert!(verifier.verify(&forged, now).is_err(), "{name}");
            });
            assert_eq!(requests, 0, "{name}, {bytes} bytes");
        }
    }
}

#[test]
fn deciding_allocates_nothing() {
    let _turn = turn();
    let exponential = Schedule::exponential(Duration::from_secs(1), 2, 10).jitter_around(20);
    let schedules = [
        exponential.build().unwrap(),
        Schedule::standard_webhooks(),
        Schedule::truelayer(),
        Schedule::truv(),
        Schedule::yodlee(),
        Schedule::yodlee_gaps(),
        Schedule::powens(),
        Schedule::never(),
    ];
    let start = DateTime::UNIX_EPOCH;
    let mut retries = 0;
    let requests = least_requests(|| {
        retries = 0;
        for schedule in &schedules {
            for attempts in 0..20_u32 {
                for retry_after in [None, Some(RetryAfter::Delay(Duration::from_secs(90)))] {
                    let decision = schedule.decide(&Progress {
                        attempts,
                        first_failure: start,
                        now: start + TimeDelta::seconds(i64::from(attempts) * 40),
                        retry_after,
                        random: u64::from(attempts) << 58,
                    });
                    retries += usize::from(matches!(decision, Decision::RetryAt(_)));
                }
            }
        }
    });
    assert_eq!(requests, 0);
    assert!(retries > 50, "{retries} retries");
}

const DELIVERIES: usize = 4_000;
const WEBHOOKS: usize = 16;
const PAYLOAD: usize = 1024;
const MOST: f64 = 12.0;
/// Where it needs more, see what a flight keeps across its awaits.
const MOST_BYTES: f64 = 5_500.0;

/// Accepts everything, not at once: as over a network, a delivery has to be come back to.
#[derive(Debug, Default)]
struct Accepting {
    sent: AtomicUsize,
    all: Notify,
}

#[async_trait]
impl HttpSender for Accepting {
    async fn send(&self, _: Request<Bytes>, _: &ResponseLimits) -> Result<Response<Bytes>, SendError> {
        Later(false).await;
        if self.sent.fetch_add(1, Ordering::Relaxed) + 1 == DELIVERIES {
            self.all.notify_one();
        }
        Ok(Response::new(Bytes::new()))
    }

    fn supports_https(&self) -> bool {
        true
    }
}

/// Ready when asked a second time.
struct Later(bool);

impl Future for Later {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// From the call that enqueues to the settlement of the last. Not counted are the events themselves, which are the
/// caller's, and what the sender takes.
#[test]
fn a_delivery_takes_little_from_the_heap() {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (per_delivery, bytes) = runtime.block_on(async {
        let sender = Arc::new(Accepting::default());
        let (own, own_bytes) = sending_takes(&sender).await;
        sender.sent.store(0, Ordering::Relaxed);
        let engine = Engine::builder(MemoryStore::new(), Arc::clone(&sender), TokioTimer)
            .profile(PlainProfile::new("plain", Schedule::standard_webhooks()))
            .in_flight(64)
            .build();
        let dispatcher = engine.dispatcher();
        let key = HmacAuth::new(HmacScheme::BiSignature, "a secret");
        dispatcher
            .save_auth("key", "key", AuthConfig::Hmac(key))
            .await
            .unwrap();
        for webhook in 0..WEBHOOKS {
            let registration = Registration::new("s", "https://example.com/hook", "plain")
                .name("a webhook with a name")
                .events([format!("type-{webhook}")])
                .auth("key")
                .limits(Limits {
                    in_flight: NonZeroU32::new(64).unwrap(),
                    ..Limits::default()
                });
            dispatcher.register(registration).await.unwrap();
        }
        let worker = engine.worker();
        let work = tokio::spawn({
            let sender = Arc::clone(&sender);
            async move { worker.run_until(sender.all.notified()).await }
        });
        let mut events = (0..DELIVERIES).map(|number| {
            let body = Bytes::from(vec![b' '; PAYLOAD]);
            let kind = format!("type-{}", number % WEBHOOKS);
            Event::builder("s", number.to_string(), kind)
                .json(body)
                .build()
                .unwrap()
        });
        let batches: Vec<Vec<_>> = std::iter::from_fn(|| Some(events.by_ref().take(64).collect::<Vec<_>>()))
            .take_while(|batch| !batch.is_empty())
            .collect();
        let region = Region::new(ALLOCATOR);
        for batch in batches {
            dispatcher.enqueue_all(batch).await.unwrap();
            tokio::task::yield_now().await;
        }
        work.await.unwrap().unwrap();
        assert_eq!(sender.sent.load(Ordering::Relaxed), DELIVERIES);
        let (requests, bytes) = each(&region, DELIVERIES);
        (requests - own, bytes - own_bytes)
    });
    println!("{per_delivery:.2} requests to the heap for each delivery, {bytes:.0} bytes");
    assert!(per_delivery <= MOST, "{per_delivery:.2}");
    assert!(bytes <= MOST_BYTES, "{bytes:.0} bytes");
}

/// What the sender takes from the heap for one request.
async fn sending_takes(sender: &dyn HttpSender) -> (f64, f64) {
    const TIMES: usize = 100;
    let limits = ResponseLimits::default();
    let region = Region::new(ALLOCATOR);
    for _ in 0..TIMES {
        sender.send(Request::new(Bytes::new()), &limits).await.unwrap();
    }
    each(&region, TIMES)
}

/// How often the heap was asked for room, and for how much, each of so many times.
fn each(region: &Region<'_, System>, times: usize) -> (f64, f64) {
    let bytes = region.change().bytes_allocated;
    (
        requests(region) as f64 / times as f64,
        bytes as f64 / times as f64,
    )
}
