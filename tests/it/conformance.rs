//! The conformance suites: what comes with the crate passes them, and what is broken does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderValue, Request};
use ringback::auth::{AuthContext, AuthError, AuthErrorKind, AuthProvider};
use ringback::engine::{Timer, TokioTimer};
use ringback::store::sqlite::Durability;
use ringback::store::{EncryptionKey, MemoryStore, SqliteStore};
use ringback::testing::mutants::Mutant;
use ringback::testing::{Fault, FaultyStore, ManualTime, conformance};
use ringback::time::Clock;
use ringback::transport::{
    Guard, HttpSender, HyperSender, ReqwestSender, ResponseLimits, SendErrorKind, sender_fn,
};

#[tokio::test]
async fn the_memory_store_passes() {
    let report = conformance::store::run_all(async || Arc::new(MemoryStore::new())).await;
    assert!(report.failures().is_empty(), "{report}");
    assert_eq!(report.passed().len(), conformance::store::CHECKS.len());
}

#[tokio::test]
async fn the_sqlite_store_passes() {
    for store in [SqliteStore::builder(), SqliteStore::builder().inline()] {
        let fresh = async || Arc::new(store.clone().open_in_memory().unwrap());
        let report = conformance::store::run_all(fresh).await;
        assert!(report.failures().is_empty(), "{report}");
    }
}

/// In files, where it is encrypted.
#[tokio::test]
async fn the_sqlite_store_passes_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let files = AtomicUsize::new(0);
    let report = conformance::store::run_all(async || {
        let number = files.fetch_add(1, Ordering::Relaxed);
        let builder = SqliteStore::builder().inline().durability(Durability::Normal);
        let path = folder.path().join(format!("{number}.db"));
        Arc::new(builder.open(path, EncryptionKey::new([1; 32])).unwrap())
    })
    .await;
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test]
async fn every_mutant_is_caught() {
    let mut names = Vec::new();
    let mut finds: BTreeMap<String, usize> = BTreeMap::new();
    for mutant in Mutant::ALL {
        let fresh = async || Arc::new(mutant.wrap(Arc::new(MemoryStore::new())));
        let report = conformance::store::run_all(fresh).await;
        assert!(
            !report.failures().is_empty(),
            "{mutant} passes as a working store"
        );
        for failure in report.failures() {
            *finds.entry(failure.check.to_string()).or_default() += 1;
        }
        assert_eq!(Mutant::named(mutant.name()), Some(*mutant));
        names.push(mutant.name());
    }
    assert!(names.len() >= 16);
    // A check that fails with them all would find nothing but that something is around the store.
    assert!(finds.values().all(|found| *found < names.len() / 2), "{finds:?}");
}

/// What wraps a store without breaking anything passes as the store itself does.
#[tokio::test]
async fn a_faulty_store_without_faults_passes() {
    let time = Arc::new(ManualTime::new(DateTime::UNIX_EPOCH));
    let report = conformance::store::run_all(async || {
        let memory = Arc::new(MemoryStore::new());
        Arc::new(FaultyStore::new(memory, time.clone(), |_| Fault::None))
    })
    .await;
    assert!(report.failures().is_empty(), "{report}");
}

fn loopback() -> Guard {
    Guard::default().allow_http().allow_loopback()
}

#[tokio::test]
async fn the_hyper_sender_passes() {
    let report = conformance::sender::run_all(&HyperSender::builder().guard(loopback()).build()).await;
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test]
async fn the_reqwest_sender_passes() {
    let sender = ReqwestSender::builder().guard(loopback()).build().unwrap();
    let report = conformance::sender::run_all(&sender).await;
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test]
async fn the_tokio_timer_passes() {
    let report = conformance::timer::run_all(&TokioTimer).await;
    assert!(report.failures().is_empty(), "{report}");
}

/// A sender that breaks the contract in one way, and the check that finds it.
async fn is_caught(check: &str, broken: impl HttpSender) {
    let report = conformance::sender::run_all(&broken).await;
    let found = report.failures().iter().any(|failure| failure.check == check);
    assert!(found, "{check} finds nothing in {broken:?}: {report}");
}

fn working() -> Arc<HyperSender> {
    Arc::new(HyperSender::builder().guard(loopback()).build())
}

#[tokio::test]
async fn a_sender_that_sends_twice_is_caught() {
    let sender = working();
    let broken = sender_fn(move |request: Request<Bytes>| {
        let sender = Arc::clone(&sender);
        async move {
            let limits = ResponseLimits::default();
            match sender.send(request.clone(), &limits).await {
                Err(_) => sender.send(request, &limits).await,
                answer => answer,
            }
        }
    });
    is_caught("a_dropped_connection_is_no_reason_to_send_again", broken).await;
}

#[tokio::test]
async fn a_sender_that_follows_redirects_is_caught() {
    let sender = working();
    let broken = sender_fn(move |request: Request<Bytes>| {
        let sender = Arc::clone(&sender);
        async move {
            let limits = ResponseLimits::default();
            let answer = sender.send(request.clone(), &limits).await?;
            let Some(target) = answer.headers().get("location") else {
                return Ok(answer);
            };
            let mut again = request;
            *again.uri_mut() = target.to_str().unwrap().parse().unwrap();
            sender.send(again, &limits).await
        }
    });
    is_caught("redirects_are_not_followed", broken).await;
}

#[tokio::test]
async fn a_sender_that_rewrites_paths_is_caught() {
    let sender = working();
    let broken = sender_fn(move |mut request: Request<Bytes>| {
        let sender = Arc::clone(&sender);
        async move {
            let tidy = request.uri().to_string().replace("/b/", "/b");
            *request.uri_mut() = tidy.parse().unwrap();
            sender.send(request, &ResponseLimits::default()).await
        }
    });
    is_caught("urls_are_never_rewritten", broken).await;
}

#[tokio::test]
async fn a_sender_that_takes_errors_for_failures_is_caught() {
    let sender = working();
    let broken = sender_fn(move |request: Request<Bytes>| {
        let sender = Arc::clone(&sender);
        async move {
            let answer = sender.send(request, &ResponseLimits::default()).await?;
            match answer.status().is_server_error() {
                true => Err(SendErrorKind::Other.into()),
                false => Ok(answer),
            }
        }
    });
    is_caught("every_status_is_an_answer", broken).await;
}

#[tokio::test]
async fn a_sender_that_goes_on_after_it_was_dropped_is_caught() {
    let sender = working();
    let broken = sender_fn(move |request: Request<Bytes>| {
        let sender = Arc::clone(&sender);
        let sending = async move { sender.send(request, &ResponseLimits::default()).await };
        let sending = tokio::spawn(sending);
        async move { sending.await.unwrap() }
    });
    let caught = conformance::sender::a_dropped_send_is_abandoned(&broken).await;
    assert!(caught.is_err());
}

/// Sleeps half as long as asked.
#[derive(Debug)]
struct Hasty;

impl Clock for Hasty {
    fn now(&self) -> DateTime<Utc> {
        TokioTimer.now()
    }
}

#[async_trait]
impl Timer for Hasty {
    async fn sleep(&self, span: Duration) {
        TokioTimer.sleep(span / 2).await;
    }
}

#[tokio::test]
async fn a_hasty_timer_is_caught() {
    let report = conformance::timer::run_all(&Hasty).await;
    assert!(report.failures().len() >= 4, "{report}");
}

#[derive(Debug)]
enum Proof {
    Good,
    None,
    ChangesBody,
    ChangesUri,
    Refuses,
    Counts(AtomicUsize),
}

#[async_trait]
impl AuthProvider for Proof {
    async fn authenticate(&self, request: &mut Request<Bytes>, _: &AuthContext<'_>) -> Result<(), AuthError> {
        match self {
            Proof::None => return Ok(()),
            Proof::Refuses => return Err(AuthError::new(AuthErrorKind::Refused)),
            Proof::ChangesBody => *request.body_mut() = request.body().trim_ascii_end().to_vec().into(),
            Proof::ChangesUri => *request.uri_mut() = "https://receiver.example/hook".parse().unwrap(),
            Proof::Counts(calls) => {
                for _ in 0..calls.fetch_add(1, Ordering::SeqCst) {
                    request
                        .headers_mut()
                        .append("x-proof", HeaderValue::from_static("again"));
                }
            }
            Proof::Good => {}
        }
        request
            .headers_mut()
            .append("x-proof", HeaderValue::from_static("proof"));
        Ok(())
    }
}

#[tokio::test]
async fn broken_proofs_are_caught() {
    let good = conformance::auth::run_all(&Proof::Good).await;
    assert!(good.failures().is_empty(), "{good}");
    let broken = [
        (Proof::None, "there_is_a_proof"),
        (Proof::ChangesUri, "only_headers_are_added"),
        (Proof::ChangesBody, "only_headers_are_added"),
        (Proof::Refuses, "only_headers_are_added"),
        (Proof::Counts(AtomicUsize::new(0)), "each_call_stands_alone"),
    ];
    for (proof, check) in broken {
        let report = conformance::auth::run_all(&proof).await;
        let found = report.failures().iter().any(|failure| failure.check == check);
        assert!(found, "{check} finds nothing in {proof:?}: {report}");
    }
}
