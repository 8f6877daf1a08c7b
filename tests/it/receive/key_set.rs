//! Keys that are fetched from where they are published.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use ringback::provider::truelayer::{KeySet, TlSigner, TlSigningKey, TlVerifier};
use ringback::receive::{PlaceError, PublishedKeys, Receiver, Rejection, TrueLayerEvents};
use ringback::signature::{MaxAge, Refusal};
use ringback::testing::{ManualTime, Reply, ScriptedSender};
use ringback::time::Clock;
use ringback::transport::{SendErrorKind, sender_fn};

const LIVE: &str = TlVerifier::LIVE_KEYS;
const SANDBOX: &str = TlVerifier::SANDBOX_KEYS;

/// What is published, and who fetches it.
struct World {
    time: ManualTime,
    sender: Arc<ScriptedSender>,
    answers: Arc<Mutex<Box<dyn FnMut() -> Reply + Send>>>,
    receiver: Arc<Receiver<TrueLayerEvents>>,
}

impl World {
    fn publishing(numbers: &'static [u8]) -> Self {
        Self::trusting(&[LIVE], numbers)
    }

    fn trusting(places: &[&'static str], numbers: &'static [u8]) -> Self {
        let time = ManualTime::new(DateTime::from_timestamp(1_780_000_000, 0).unwrap());
        let answers = Arc::new(Mutex::new(published(numbers)));
        let asked = Arc::clone(&answers);
        let answer = move |_: &Request<Bytes>| asked.lock().unwrap()();
        let sender = Arc::new(ScriptedSender::new(Arc::new(time.clone()), answer));
        let verifier = TlVerifier::new(KeySet::empty(), MaxAge::minutes(5));
        let gate = PublishedKeys::new(
            verifier,
            places.iter().copied(),
            Arc::clone(&sender),
            time.clone(),
        );
        let receiver = Receiver::new("tl", TrueLayerEvents, gate.unwrap()).clock(time.clone());
        Self {
            time,
            sender,
            answers,
            receiver: Arc::new(receiver),
        }
    }

    fn answers(&self, answer: Box<dyn FnMut() -> Reply + Send>) {
        *self.answers.lock().unwrap() = answer;
    }

    /// How a message signed with that key is taken.
    async fn ring(&self, number: u8, jku: &str) -> Result<(), Rejection> {
        self.receiver.accept(self.signed(number, jku)).await.map(drop)
    }

    fn signed(&self, number: u8, jku: &str) -> Request<Bytes> {
        let mut request = Request::post("/tl")
            .header("Content-Type", "application/json")
            .body(Bytes::from(r#"{"event_id":"1"}"#))
            .unwrap();
        TlSigner::new(key(number))
            .published_at(jku)
            .sign_request(&mut request, self.time.now())
            .unwrap();
        request
    }

    fn fetches(&self) -> usize {
        self.sender.received().len()
    }
}

fn key(number: u8) -> TlSigningKey {
    let mut scalar = [1; 66];
    scalar[65] = number;
    TlSigningKey::from_scalar(format!("key-{number}"), &scalar).unwrap()
}

/// A set of those keys, as an answer.
fn published(numbers: &'static [u8]) -> Box<dyn FnMut() -> Reply + Send> {
    let set = numbers.iter().map(|number| key(*number).public());
    let json = set.fold(KeySet::empty(), KeySet::and).to_json();
    Box::new(move || Reply::answer(Response::new(Bytes::from(json.clone()))))
}

fn refused(taken: Result<(), Rejection>) -> Refusal {
    match taken {
        Err(Rejection::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn is_unavailable(taken: &Result<(), Rejection>) -> bool {
    matches!(taken, Err(rejection @ Rejection::Unavailable(_)) if rejection.status() == StatusCode::SERVICE_UNAVAILABLE)
}

#[tokio::test]
async fn a_set_is_fetched_when_it_is_needed_and_kept_for_an_hour() {
    let world = World::publishing(&[1]);
    assert_eq!(world.fetches(), 0);
    for _ in 0..3 {
        world.ring(1, LIVE).await.unwrap();
    }
    assert_eq!(world.fetches(), 1);
    assert_eq!(world.sender.received()[0].request.uri(), LIVE);
    world.time.advance(Duration::from_secs(60 * 60 - 1));
    world.ring(1, LIVE).await.unwrap();
    assert_eq!(world.fetches(), 1);
    world.time.advance(Duration::from_secs(1));
    world.ring(1, LIVE).await.unwrap();
    assert_eq!(world.fetches(), 2);
}

#[tokio::test]
async fn nothing_is_fetched_from_where_a_message_says_or_for_one_that_is_malformed() {
    let world = World::publishing(&[1]);
    let elsewhere = world.ring(1, "https://keys.example.net/jwks").await;
    assert_eq!(refused(elsewhere), Refusal::UnknownSource);
    assert_eq!(
        refused(world.ring(1, &format!("{LIVE}/")).await),
        Refusal::UnknownSource
    );
    let unsigned = Request::post("/tl").body(Bytes::new()).unwrap();
    assert!(world.receiver.accept(unsigned).await.is_err());
    assert_eq!(world.fetches(), 0);
}

#[tokio::test]
async fn an_unknown_key_has_the_set_fetched_once_more() {
    let world = World::publishing(&[1]);
    world.ring(1, LIVE).await.unwrap();
    world.answers(published(&[1, 2]));
    world.time.advance(Duration::from_secs(60));
    world.ring(2, LIVE).await.unwrap();
    assert_eq!(world.fetches(), 2);
    world.ring(1, LIVE).await.unwrap();
    assert_eq!(refused(world.ring(3, LIVE).await), Refusal::UnknownKey);
    assert_eq!(world.fetches(), 2);
}

#[tokio::test]
async fn keys_that_do_not_exist_cause_a_fetch_a_minute_and_no_more() {
    let world = World::publishing(&[1]);
    let hostile = [2, 3, 4].map(|number| world.signed(number, LIVE));
    for _second in 0..180 {
        for request in &hostile {
            let taken = world.receiver.accept(request.clone()).await.map(drop);
            assert_eq!(refused(taken), Refusal::UnknownKey);
        }
        world.time.advance(Duration::from_secs(1));
    }
    assert_eq!(world.fetches(), 3);
    world.ring(1, LIVE).await.unwrap();
}

#[tokio::test]
async fn many_messages_share_one_fetch() {
    let world = World::publishing(&[1]);
    world.answers(Box::new(|| published(&[1])().after(Duration::from_secs(2))));
    {
        let dropped = world.ring(1, LIVE);
        assert!(dropped.now_or_never().is_none());
    }
    let all = async { join_all((0..50).map(|_| world.ring(1, LIVE))).await };
    let mut all = std::pin::pin!(all);
    assert!(all.as_mut().now_or_never().is_none());
    world.time.advance(Duration::from_secs(2));
    assert!(all.await.iter().all(Result::is_ok));
    assert_eq!(world.fetches(), 2); // the first was dropped with the one who waited for it
}

#[tokio::test]
async fn what_cannot_be_fetched_is_no_refusal() {
    let broken: [fn() -> Reply; 5] = [
        || Reply::error(SendErrorKind::Connect),
        || Reply::status(StatusCode::INTERNAL_SERVER_ERROR),
        || Reply::answer(Response::new(Bytes::from("<html>"))),
        || Reply::answer(Response::new(Bytes::from(r#"{"keys":[]}"#))),
        Reply::panic,
    ];
    for answer in broken {
        let world = World::publishing(&[1]);
        world.answers(Box::new(answer));
        for _ in 0..5 {
            assert!(is_unavailable(&world.ring(1, LIVE).await));
            world.time.advance(Duration::from_secs(1));
        }
        assert_eq!(world.fetches(), 1);
        world.answers(published(&[1]));
        world.ring(1, LIVE).await.unwrap();
        assert_eq!(world.fetches(), 2);
    }
}

#[tokio::test]
async fn a_fetch_that_hangs_is_given_up() {
    let world = World::publishing(&[1]);
    world.answers(Box::new(Reply::hang));
    let mut waiting = std::pin::pin!(world.ring(1, LIVE));
    assert!(waiting.as_mut().now_or_never().is_none());
    world.time.advance(Duration::from_secs(10));
    assert!(is_unavailable(&waiting.await));
}

#[tokio::test]
async fn an_old_set_is_used_for_a_day_while_there_is_no_newer_one() {
    let world = World::publishing(&[1]);
    world.ring(1, LIVE).await.unwrap();
    world.answers(Box::new(|| Reply::error(SendErrorKind::Connect)));
    world.time.advance(Duration::from_secs(60 * 60));
    world.ring(1, LIVE).await.unwrap();
    // Whether a key that is not in it has been published since, nobody can say.
    assert!(is_unavailable(&world.ring(2, LIVE).await));
    assert_eq!(world.fetches(), 2);
    world.time.advance(Duration::from_secs(23 * 60 * 60 - 1));
    world.ring(1, LIVE).await.unwrap();
    world.time.advance(Duration::from_secs(1));
    assert!(is_unavailable(&world.ring(1, LIVE).await));
}

#[tokio::test]
async fn a_place_that_hangs_holds_up_one_message_in_a_while() {
    let world = World::publishing(&[1]);
    world.ring(1, LIVE).await.unwrap();
    world.answers(Box::new(Reply::hang));
    world.time.advance(Duration::from_secs(60 * 60));
    {
        let mut waiting = std::pin::pin!(world.ring(1, LIVE));
        assert!(waiting.as_mut().now_or_never().is_none());
        world.time.advance(Duration::from_secs(10));
        waiting.await.unwrap();
    }
    for _second in 0..5 {
        world.ring(1, LIVE).now_or_never().unwrap().unwrap();
        world.time.advance(Duration::from_secs(1));
    }
    assert_eq!(world.fetches(), 2);
    assert!(world.ring(1, LIVE).now_or_never().is_none());
}

#[tokio::test]
async fn a_key_is_good_for_the_place_that_publishes_it_and_places_are_told_apart() {
    let world = World::trusting(&[LIVE, SANDBOX], &[1]);
    let of = async |jku| {
        let received = world.receiver.accept(world.signed(1, jku)).await.unwrap();
        received.admission.sender
    };
    assert_eq!(of(LIVE).await.as_deref(), Some(LIVE));
    assert_eq!(of(SANDBOX).await.as_deref(), Some(SANDBOX));
    assert_eq!(world.fetches(), 2);
}

#[test]
fn places_are_https() {
    let of = |place: &'static str| {
        let sender = sender_fn(|_| async { Ok(Response::default()) });
        let time = ManualTime::new(DateTime::UNIX_EPOCH);
        let verifier = TlVerifier::new(KeySet::empty(), MaxAge::unlimited());
        PublishedKeys::new(verifier, [place], sender, time).err()
    };
    assert_eq!(of(LIVE), None);
    assert_eq!(of("http://keys.example.net/jwks"), Some(PlaceError::NotHttps));
    assert_eq!(of("/jwks"), Some(PlaceError::NotHttps));
    assert_eq!(of("https://keys example.net"), Some(PlaceError::NoUrl));
}
