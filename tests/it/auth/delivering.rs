//! Deliveries that wait for tokens, through the engine, in manual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use ringback::auth::{AuthConfig, AuthErrorKind, OAuth2Auth};
use ringback::delivery::{Event, Limits, Outcome, PlainProfile, State};
use ringback::engine::{Dispatcher, Engine, Registration, SaveAuthError};
use ringback::id::DeliveryId;
use ringback::retry::Schedule;
use ringback::store::MemoryStore;
use ringback::testing::{ManualTime, Reply, ScriptedSender};
use ringback::time::{Clock, after};
use ringback::url::WebhookUrl;

use super::{client, shown, token};

const URL: &str = "https://example.com/hook";

/// An engine whose sender is the receiver and the token endpoint too.
struct Scene {
    time: ManualTime,
    sender: Arc<ScriptedSender>,
    engine: Engine,
    dispatcher: Dispatcher,
}

impl Scene {
    /// `answer` is asked by both: with `None` for a token request, with the token for a delivery.
    async fn new(answer: impl FnMut(Option<&str>) -> Reply + Send + 'static) -> Self {
        let time = ManualTime::new(after(DateTime::UNIX_EPOCH, Duration::from_secs(1_700_000_000)));
        let answer = Mutex::new(answer);
        let script = move |request: &Request<Bytes>| {
            let mut answer = answer.lock().unwrap();
            match request.uri().host() {
                Some("auth.example.org") => answer(None),
                _ => {
                    let authorization = request.headers()[AUTHORIZATION].to_str().unwrap();
                    answer(Some(authorization.strip_prefix("Bearer ").unwrap()))
                }
            }
        };
        let sender = Arc::new(ScriptedSender::new(Arc::new(time.clone()), script));
        let schedule = Schedule::gaps([Duration::from_secs(120)]).build().unwrap();
        let engine = Engine::builder(MemoryStore::new(), Arc::clone(&sender), time.clone())
            .profile(PlainProfile::new("plain", schedule).with_deadline(Duration::from_secs(15)))
            .build();
        let dispatcher = engine.dispatcher();
        let config = AuthConfig::OAuth2(client());
        dispatcher.save_auth("oauth", "tokens", config).await.unwrap();
        let limits = Limits {
            in_flight: 100.try_into().unwrap(),
            rate: None,
        };
        let registration = Registration::new("s", URL, "plain").auth("oauth").limits(limits);
        dispatcher.register(registration).await.unwrap();
        Self {
            time,
            sender,
            engine,
            dispatcher,
        }
    }

    async fn enqueue(&self, ids: std::ops::Range<usize>) -> Vec<DeliveryId> {
        let event = |id| {
            Event::builder("s", format!("e{id}"), "t")
                .json("{}")
                .build()
                .unwrap()
        };
        let receipts = self
            .dispatcher
            .enqueue_all(ids.map(event).collect())
            .await
            .unwrap();
        receipts
            .into_iter()
            .flat_map(|receipt| receipt.deliveries)
            .collect()
    }

    /// Works, and lets time pass as nothing else is left to do, until all these have ended.
    async fn work_until_ended(&self, ids: &[DeliveryId]) {
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let worker = self.engine.worker();
        let work = worker.run_until(async {
            let _ = told.await;
        });
        let pass = async {
            for _ in 0..10_000 {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                let mut ended = true;
                for id in ids {
                    ended &= self.state(*id).await.is_final();
                }
                if ended {
                    let _ = tell.send(());
                    return;
                }
                self.time.advance_to_next_wake();
            }
            panic!("they do not end");
        };
        tokio::join!(work, pass).0.unwrap();
    }

    async fn state(&self, id: DeliveryId) -> State {
        self.dispatcher.delivery_record(id).await.unwrap().unwrap().state
    }

    async fn outcomes(&self, id: DeliveryId) -> Vec<Outcome> {
        let attempts = self.dispatcher.attempts(id).await.unwrap();
        attempts
            .into_iter()
            .map(|attempt| attempt.report.outcome)
            .collect()
    }

    fn token_requests(&self) -> usize {
        self.requests("auth.example.org")
    }

    fn delivery_requests(&self) -> usize {
        self.requests("example.com")
    }

    fn requests(&self, host: &str) -> usize {
        let received = self.sender.received();
        let to_host = |request: &Request<Bytes>| request.uri().host() == Some(host);
        received
            .iter()
            .filter(|received| to_host(&received.request))
            .count()
    }
}

fn ok() -> Reply {
    Reply::status(StatusCode::OK)
}

const OK: Outcome = Outcome::Answered(StatusCode::OK);
const UNAUTHORIZED: Outcome = Outcome::Answered(StatusCode::UNAUTHORIZED);

/// A script of an endpoint that gives numbered tokens, and of a receiver that says what it likes.
fn numbered(mut receiver: impl FnMut(&str) -> Reply + Send) -> impl FnMut(Option<&str>) -> Reply + Send {
    let mut number = 0;
    move |shown| match shown {
        Some(shown) => receiver(shown),
        None => {
            number += 1;
            token(&format!("t{number}"), 60).after(Duration::from_secs(2))
        }
    }
}

#[tokio::test]
async fn a_hundred_deliveries_that_wait_on_an_expired_token_cause_one_token_request() {
    let scene = Scene::new(numbered(|_| ok())).await;
    let first = scene.enqueue(0..1).await;
    scene.work_until_ended(&first).await;
    assert_eq!(scene.token_requests(), 1);
    scene.time.advance(Duration::from_secs(3600));

    let expired_at = scene.time.now();
    let waiting = scene.enqueue(1..101).await;
    scene.work_until_ended(&waiting).await;
    assert_eq!(scene.token_requests(), 2, "one for the hundred");
    let received = scene.sender.received();
    let sent = &received[received.len() - 100..];
    for received in sent {
        assert_eq!(received.request.headers()[AUTHORIZATION], "Bearer t2");
        assert_eq!(
            received.at,
            after(expired_at, Duration::from_secs(2)),
            "all had waited"
        );
    }
    for id in waiting {
        assert_eq!(scene.outcomes(id).await, [OK]);
    }
}

#[tokio::test]
async fn a_token_endpoint_that_fails_delays_deliveries_and_loses_none() {
    let mut failures = [
        Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        Reply::panic(),
        Reply::hang(),
        super::json(200, "no token"),
        super::json(401, r#"{"error":"invalid_client"}"#),
    ]
    .into_iter();
    let scene = Scene::new(move |shown| match shown {
        None => failures.next().unwrap_or_else(|| token("late", 3600)),
        Some(shown) => {
            assert_eq!(shown, "late");
            ok()
        }
    })
    .await;
    let started = scene.time.now();
    let ids = scene.enqueue(0..100).await;
    scene.work_until_ended(&ids).await;
    for id in ids {
        assert_eq!(scene.state(id).await, State::Delivered);
        assert_eq!(scene.outcomes(id).await, [OK], "no attempt was counted meanwhile");
    }
    assert_eq!((scene.token_requests(), scene.delivery_requests()), (6, 100));
    assert!(scene.time.now() - started >= chrono::TimeDelta::seconds(150));
}

#[tokio::test]
async fn a_401_renews_the_token_once_within_the_attempt() {
    let scene = Scene::new(numbered(|shown| {
        Reply::status(if shown == "t1" {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::OK
        })
    }))
    .await;
    let ids = scene.enqueue(0..100).await;
    scene.work_until_ended(&ids).await;
    for id in ids {
        assert_eq!(scene.outcomes(id).await, [OK], "one attempt, by its last answer");
    }
    assert_eq!(scene.token_requests(), 2, "one renewal for all of them");
    assert_eq!(scene.delivery_requests(), 200);
}

#[tokio::test]
async fn a_receiver_that_refuses_every_token_is_sent_to_twice_an_attempt_at_most() {
    let scene = Scene::new(numbered(|_| Reply::status(StatusCode::UNAUTHORIZED))).await;
    let ids = scene.enqueue(0..1).await;
    scene.work_until_ended(&ids).await;
    assert_eq!(
        scene.outcomes(ids[0]).await,
        [UNAUTHORIZED; 2],
        "as the schedule has it"
    );
    assert_eq!((scene.delivery_requests(), scene.token_requests()), (4, 4));
}

#[tokio::test]
async fn a_renewal_that_fails_or_hangs_leaves_the_401_in_history() {
    for renewal in [Reply::hang(), Reply::status(StatusCode::BAD_GATEWAY)] {
        let mut tokens = vec![token("t2", 60), renewal, token("t1", 60)];
        let scene = Scene::new(move |shown| match shown {
            None => tokens.pop().unwrap(),
            Some("t1") => Reply::status(StatusCode::UNAUTHORIZED).after(Duration::from_secs(3)),
            Some(_) => ok(),
        })
        .await;
        let ids = scene.enqueue(0..1).await;
        scene.work_until_ended(&ids).await;
        assert_eq!(scene.outcomes(ids[0]).await, [UNAUTHORIZED, OK]);
        let attempts = scene.dispatcher.attempts(ids[0]).await.unwrap();
        assert!(
            attempts[0].report.duration <= Duration::from_secs(15),
            "the attempt's deadline"
        );
    }
}

#[tokio::test]
async fn a_second_answer_that_does_not_come_is_a_timeout_at_the_attempts_one_deadline() {
    let scene = Scene::new(numbered(|shown| match shown {
        "t1" => Reply::status(StatusCode::UNAUTHORIZED).after(Duration::from_secs(10)),
        "t2" => Reply::hang(),
        _ => ok(),
    }))
    .await;
    let ids = scene.enqueue(0..1).await;
    scene.work_until_ended(&ids).await;
    assert_eq!(scene.outcomes(ids[0]).await, [Outcome::TimedOut, OK]);
    let attempts = scene.dispatcher.attempts(ids[0]).await.unwrap();
    // Two seconds for the first token, which is before the attempt's own deadline begins.
    assert_eq!(attempts[0].report.duration, Duration::from_secs(2 + 15));
}

#[tokio::test]
async fn a_token_url_that_the_guard_does_not_allow_is_not_saved() {
    let scene = Scene::new(|_| ok()).await;
    for url in ["https://169.254.169.254/token", "http://auth.example.org/token"] {
        let auth = OAuth2Auth::new(WebhookUrl::parse(url).unwrap(), "id", "s3cret");
        let saved = scene
            .dispatcher
            .save_auth("bad", "", AuthConfig::OAuth2(auth))
            .await;
        let Err(SaveAuthError::Unusable(error)) = saved else {
            panic!("{url} was taken");
        };
        assert_eq!(error.kind(), AuthErrorKind::Misconfigured);
        shown(&error);
    }
}
