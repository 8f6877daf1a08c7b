//! Where whole engines do not go: from the registration to the socket, with both senders.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ringback::delivery::{DeadReason, Event, Outcome, PlainProfile, SendFailure, State};
use ringback::engine::{Engine, RegisterError, Registration, TokioTimer};
use ringback::id::DeliveryId;
use ringback::retry::Schedule;
use ringback::store::{MemoryStore, WebhookStore};
use ringback::transport::{Forbidden, Guard, HttpSender, HyperSender, ReqwestSender, Resolve};

use crate::server::serve;

/// Private addresses as they are written to get past a filter. With the port of somebody who listens there.
fn spellings() -> Vec<String> {
    let literals = "127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7F.0.0.1 0177.0.0.1 017700000001 0x7f.1 127.0.0.1. \
                    127.000.000.001 0 0.0.0.0 127.127.127.127 10.0.0.1 172.16.0.1 192.168.0.1 169.254.169.254 \
                    100.100.100.200 168.63.129.16 [::1] [::] [0:0:0:0:0:0:0:1] [0000::0001] [::ffff:127.0.0.1] \
                    [::ffff:7f00:1] [::127.0.0.1] [::7f00:1] [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b:1::7f00:1] \
                    [2002:7f00:1::] [2001:0:7f00:1::] [fd00:ec2::254] [fe80::1] [fec0::1] [fe80::1%25lo] [fe80::1%lo] \
                    ::1 [127.0.0.1] ①②⑦.⓪.⓪.① 127。0。0。1";
    let names = "localhost LocalHost a.localhost localhost. metadata.google.internal METADATA.google.internal \
                 metadata.goog metadata instance-data.ec2.internal metadata.azure.internal";
    let hosts = literals.split_whitespace().chain(names.split_whitespace());
    hosts.map(str::to_owned).collect()
}

/// What names resolve to, look-up by look-up: the first answer, the second, and that one from then on.
#[derive(Debug, Clone)]
struct Names {
    first: Arc<[IpAddr]>,
    then: Arc<[IpAddr]>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    fn new(first: &[&str], then: &[&str]) -> Self {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Self {
            first: parse(first),
            then: parse(then),
            asked: Arc::default(),
        }
    }
}

#[async_trait::async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(match self.asked.fetch_add(1, Ordering::SeqCst) {
            0 => self.first.to_vec(),
            _ => self.then.to_vec(),
        })
    }
}

fn senders(guard: &Guard, names: &Names) -> [Box<dyn HttpSender>; 2] {
    let names = || Names {
        asked: Arc::default(),
        ..names.clone()
    };
    let hyper = HyperSender::builder().guard(guard.clone()).resolver(names());
    let reqwest = ReqwestSender::builder().guard(guard.clone()).resolver(names());
    [Box::new(hyper.build()), Box::new(reqwest.build().unwrap())]
}

fn engine(store: &MemoryStore, sender: impl HttpSender, guard: &Guard) -> Engine {
    let schedule = Schedule::gaps([Duration::from_millis(1)]).build().unwrap();
    Engine::builder(store.clone(), sender, TokioTimer)
        .profile(PlainProfile::new("plain", schedule))
        .guard(guard.clone())
        .build()
}

/// Enqueues an event, and works until its one delivery has ended. How, and what came of its attempts.
async fn deliver(engine: &Engine, id: &str) -> (State, Vec<Outcome>) {
    let dispatcher = engine.dispatcher();
    let event = Event::builder("s", id, "t").json("{}").build().unwrap();
    let delivery: DeliveryId = dispatcher.enqueue(event).await.unwrap().deliveries[0];
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let worker = engine.worker();
    let work = worker.run_until(async {
        let _ = told.await;
    });
    let watch = async {
        loop {
            let record = dispatcher.delivery_record(delivery).await.unwrap().unwrap();
            if record.state.is_final() {
                let _ = tell.send(());
                return record.state;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (worked, state) = tokio::join!(work, watch);
    worked.unwrap();
    let attempts = dispatcher.attempts(delivery).await.unwrap();
    (
        state,
        attempts.iter().map(|attempt| attempt.report.outcome).collect(),
    )
}

/// A receiver on loopback, and how many requests it has seen.
async fn receiver() -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let address = serve(move |_: Request<Bytes>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Response::new(Bytes::new()) }
    })
    .await;
    (address, seen)
}

const REFUSED: (State, [Outcome; 2]) = (
    State::Dead(DeadReason::Exhausted),
    [Outcome::Failed(SendFailure::NotAllowed); 2],
);

fn assert_refused((state, outcomes): (State, Vec<Outcome>), what: &str) {
    assert_eq!(
        (state, outcomes.as_slice()),
        (REFUSED.0, &REFUSED.1[..]),
        "{what}"
    );
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_registered() {
    let (address, seen) = receiver().await;
    let guard = Guard::default().allow_http();
    for sender in senders(&guard, &Names::new(&[], &[])) {
        let store = MemoryStore::new();
        let dispatcher = engine(&store, sender, &guard).dispatcher();
        for host in spellings() {
            for url in [
                format!("http://{host}:{}/", address.port()),
                format!("https://{host}/"),
            ] {
                let refused = dispatcher.register(Registration::new("s", &url, "plain")).await;
                assert!(
                    matches!(refused, Err(RegisterError::Forbidden(_) | RegisterError::Url(_))),
                    "{url}: {refused:?}"
                );
            }
        }
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_an_attempt_that_failed() {
    let (address, seen) = receiver().await;
    let guard = Guard::default().allow_http();
    for answer in [
        &["127.0.0.1"][..],
        &["93.184.215.14", "127.0.0.1"],
        &["127.0.0.1", "93.184.215.14"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["::127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["2002:7f00:1::"],
        &["169.254.169.254"],
        &["0.0.0.0"],
    ] {
        for sender in senders(&guard, &Names::new(answer, answer)) {
            let engine = engine(&MemoryStore::new(), sender, &guard);
            let hook = Registration::new("s", format!("http://receiver.test:{}/", address.port()), "plain");
            engine.dispatcher().register(hook).await.unwrap();
            assert_refused(deliver(&engine, "e").await, &format!("{answer:?}"));
        }
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

/// The name resolves to where it may at the first look-up, and elsewhere at the second: a server that hangs up after each
/// answer makes for two look-ups.
#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_gains_nothing() {
    let (address, seen) = receiver().await;
    let only_this = Guard::default()
        .allow_http()
        .allow_network("127.0.0.1".parse().unwrap());
    let names = Names::new(&["127.0.0.1"], &["127.0.0.2"]);
    let hyper = HyperSender::builder()
        .guard(only_this.clone())
        .resolver(names.clone());
    let reqwest = ReqwestSender::builder().guard(only_this.clone()).resolver(Names {
        asked: Arc::default(),
        ..names
    });
    let reqwest = reqwest.client(|| reqwest::Client::builder().pool_max_idle_per_host(0));
    let senders: [Box<dyn HttpSender>; 2] = [
        Box::new(hyper.max_idle_per_host(0).build()),
        Box::new(reqwest.build().unwrap()),
    ];
    for (number, sender) in senders.into_iter().enumerate() {
        let engine = engine(&MemoryStore::new(), sender, &only_this);
        let hook = Registration::new("s", format!("http://receiver.test:{}/", address.port()), "plain");
        engine.dispatcher().register(hook).await.unwrap();
        assert_eq!(deliver(&engine, "first").await.0, State::Delivered);
        assert_refused(deliver(&engine, "second").await, "the second look-up");
        assert_eq!(seen.load(Ordering::SeqCst), number + 1);
    }
}

#[tokio::test]
async fn a_redirect_inside_is_an_answer_and_no_way() {
    let (inside, seen) = receiver().await;
    for status in [301, 302, 303, 307, 308] {
        let outside = serve(move |_: Request<Bytes>| {
            let response = Response::builder()
                .status(status)
                .header("location", format!("http://{inside}/"))
                .body(Bytes::new());
            async { response.unwrap() }
        })
        .await;
        let guard = Guard::default().allow_http().allow_loopback();
        for sender in senders(&guard, &Names::new(&[], &[])) {
            let engine = engine(&MemoryStore::new(), sender, &guard);
            let hook = Registration::new("s", format!("http://{outside}/"), "plain");
            engine.dispatcher().register(hook).await.unwrap();
            let (state, outcomes) = deliver(&engine, "e").await;
            assert_eq!(state, State::Dead(DeadReason::Exhausted));
            let answered = |outcome: &Outcome| outcome.status().map(|status| status.as_u16());
            assert!(
                outcomes.iter().all(|outcome| answered(outcome) == Some(status)),
                "{outcomes:?}"
            );
        }
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_webhooks_own_guard_widens_and_narrows_for_it_alone() {
    let (address, seen) = receiver().await;
    let url = format!("http://receiver.test:{}/", address.port());
    let literal = format!("http://{address}/");
    let strict = Guard::default();
    for sender in senders(&strict, &Names::new(&["127.0.0.1"], &["127.0.0.1"])) {
        seen.store(0, Ordering::SeqCst);
        let store = MemoryStore::new();
        let engine = engine(&store, sender, &strict);
        let dispatcher = engine.dispatcher();
        let plain = Registration::new("s", &url, "plain").id("w");
        let refused = dispatcher.register(plain.clone()).await;
        assert!(matches!(
            refused,
            Err(RegisterError::Forbidden(Forbidden::PlainHttp))
        ));

        // Wider: where the engine and its sender would not go.
        let wide = Guard::default().allow_http().allow_loopback();
        for (number, url) in [&url, &literal].into_iter().enumerate() {
            let hook = Registration::new("s", url, "plain").id("w").guard(wide.clone());
            let hook = dispatcher.register(hook).await.unwrap();
            assert_eq!(
                store.webhook(&hook.id).await.unwrap().unwrap().guard.as_deref(),
                Some(&wide)
            );
            assert_eq!(deliver(&engine, url).await.0, State::Delivered);
            assert_eq!(seen.load(Ordering::SeqCst), number + 1);
        }

        // Narrower again, and the connection that is kept open does not serve.
        let names_only = Guard::default().allow_http();
        dispatcher
            .register(plain.clone().guard(names_only))
            .await
            .unwrap();
        assert_refused(deliver(&engine, "narrower").await, "by the address");
        let elsewhere = wide.clone().only_host("elsewhere.test");
        let refused = dispatcher.register(plain.clone().guard(elsewhere)).await;
        assert!(matches!(
            refused,
            Err(RegisterError::Forbidden(Forbidden::NotListed))
        ));
        assert_eq!(seen.load(Ordering::SeqCst), 2);
    }
}
