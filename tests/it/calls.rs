//! Asynchronous calls on the side that makes them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use http::{Method, Request, Response, StatusCode, Uri};
use ringback::client::{
    CallClient, CallError, Patience, PendingCall, Polled, StartError, StatusSource, Stray, StrayReason,
    WaitBy, WaitError, Watches,
};
use ringback::provider::truv;
use ringback::retry::Schedule;
use ringback::task::{AsyncParameters, TaskStatus};
use ringback::testing::{ManualTime, Reply, ScriptedSender, SeededEntropy};
use ringback::time::Clock;
use ringback::transport::{HttpSender, SendError, SendErrorKind, sender_fn};

const ACCEPTED: &str = r#"{"results_uri":"https://api.example/results/7","status":"Queued","task_id":"7"}"#;
const RUNNING: &str =
    r#"{"status":"Running","progress":{"fraction":0.25,"message":"reading"},"task_id":"7"}"#;
const SUCCEEDED: &str = r#"{"results":[1,2.50],"status":"Succeeded"}"#;
const FAILED: &str = r#"{"status":"Failed","error":"access_denied","error_description":"the bank said no"}"#;
const HOOK: &str = "https://app.example/rings?k=v";

fn time() -> ManualTime {
    ManualTime::new(DateTime::UNIX_EPOCH)
}

/// Lets time pass, from one wake to the next, until the future is there.
fn drive<T>(time: &ManualTime, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => return output,
            Poll::Pending => assert!(time.advance_to_next_wake(), "it waits for nothing"),
        }
    }
}

fn every_second() -> Schedule {
    Schedule::gaps([Duration::from_secs(1)])
        .repeat_last()
        .build()
        .unwrap()
}

fn client(sender: impl HttpSender, time: &ManualTime) -> CallClient {
    CallClient::builder(sender, time.clone())
        .webhook(Uri::from_static(HOOK))
        .polls(every_second())
        .entropy(SeededEntropy::new(7))
        .build()
}

fn ok(body: &'static str) -> Reply {
    Reply::answer(Response::new(Bytes::from_static(body.as_bytes())))
}

fn status(status: u16) -> Reply {
    Reply::status(StatusCode::from_u16(status).unwrap())
}

fn call() -> Request<Bytes> {
    Request::post("https://api.example/reports?from=1")
        .header("authorization", "Bearer token")
        .header("x-other", "1")
        .body(Bytes::from_static(b"input"))
        .unwrap()
}

/// A service that gives these answers one after another.
fn scripted(time: &ManualTime, replies: impl IntoIterator<Item = Reply>) -> Arc<ScriptedSender> {
    Arc::new(ScriptedSender::replying(Arc::new(time.clone()), replies))
}

/// The seconds at which requests were sent.
fn seconds(sender: &ScriptedSender) -> Vec<i64> {
    sender.received().iter().map(|sent| sent.at.timestamp()).collect()
}

/// Where a call asked to be rung back.
fn webhook_of(sender: &ScriptedSender, call: usize) -> Uri {
    let asked = AsyncParameters::of(sender.received()[call].request.uri()).unwrap();
    asked.webhook_uri.unwrap().as_str().parse().unwrap()
}

fn ring(uri: &Uri, status: &str) -> Request<Bytes> {
    let body = format!(
        r#"{{"task_id":"7","status":"{status}","results_uri":"https://api.example/results/7/","error":null}}"#
    );
    Request::post(uri.clone()).body(Bytes::from(body)).unwrap()
}

/// What is handed to the application, and how the service is answered.
fn handle(client: &CallClient, request: Request<Bytes>) -> (Option<StrayReason>, u16) {
    let stray = Mutex::new(None);
    let handled = client.handle(request, async |nobodys: Stray| -> Result<(), Infallible> {
        *stray.lock().unwrap() = Some(nobodys.reason);
        Ok(())
    });
    let response = drive(&time(), handled);
    (stray.into_inner().unwrap(), response.status().as_u16())
}

fn start(client: &CallClient, time: &ManualTime, by: WaitBy) -> PendingCall {
    drive(time, client.call(call()).wait_by(by).start()).unwrap()
}

#[test]
fn results_are_polled_for_until_they_are_there() {
    let time = time();
    let later = Response::builder()
        .status(503)
        .header("retry-after", "20")
        .body(Bytes::new())
        .unwrap();
    let sender = scripted(
        &time,
        [
            ok(ACCEPTED),
            status(404),
            ok(RUNNING),
            Reply::answer(later),
            Reply::error(SendErrorKind::Connect),
            ok("<html>"),
            status(202),
            status(429),
            Reply::hang(),
            ok(SUCCEEDED),
        ],
    );
    let client = client(Arc::clone(&sender), &time);
    let pending = start(&client, &time, WaitBy::Polling);
    assert_eq!(
        (pending.task_id().unwrap().as_str(), pending.status()),
        ("7", Some(TaskStatus::Queued))
    );
    let results: Vec<f64> = drive(&time, pending.results()).unwrap();
    assert_eq!(results, [1.0, 2.5]);
    // Each second; after the hint of the fourth; and the hanging one is given up after 30.
    assert_eq!(seconds(&sender), [0, 1, 2, 3, 23, 24, 25, 26, 27, 58]);

    let sent = sender.received();
    assert_eq!(
        sent[0].request.uri(),
        "https://api.example/reports?from=1&async=true"
    );
    assert_eq!(
        (sent[0].request.method(), sent[0].request.body().as_ref()),
        (&Method::POST, &b"input"[..])
    );
    for poll in &sent[1..] {
        assert_eq!(poll.request.uri(), "https://api.example/results/7");
        assert_eq!(poll.request.method(), Method::GET);
        assert_eq!(poll.request.headers()["authorization"], "Bearer token");
        assert!(!poll.request.headers().contains_key("x-other"));
    }
    assert_eq!(client.pending(), 1);
    drop(pending);
    assert_eq!(client.pending(), 0);
}

#[test]
fn results_may_be_null() {
    let time = time();
    let null = || ok(r#"{"results":null,"status":"Succeeded"}"#);
    let not_yet = [
        ok(ACCEPTED),
        ok(r#"{"status":"Succeeded"}"#),
        ok(r#"{"results":null}"#),
        null(),
    ];
    let sender = scripted(&time, not_yet);
    let client = client(Arc::clone(&sender), &time);
    let pending = start(&client, &time, WaitBy::Polling);
    assert_eq!(drive(&time, pending.results::<Option<u8>>()).unwrap(), None);
    assert_eq!(sender.received().len(), 4);
}

#[test]
fn progress_is_seen_while_waiting() {
    let time = time();
    let sender = scripted(&time, [ok(ACCEPTED), ok(RUNNING), ok(SUCCEEDED)]);
    let client = client(sender, &time);
    let pending = start(&client, &time, WaitBy::Polling);
    let mut waiting = pin!(pending.succeeded());
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    time.advance_to_next_wake();
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let progress = pending.progress().unwrap();
    assert_eq!(
        (progress.fraction.unwrap().as_f64(), progress.message.as_deref()),
        (0.25, Some("reading"))
    );
}

#[test]
fn a_callback_ends_the_wait_at_once() {
    for by in [WaitBy::Webhook, WaitBy::Either] {
        let time = time();
        let sender = scripted(&time, [ok(ACCEPTED), ok(RUNNING), ok(SUCCEEDED)]);
        let client = client(Arc::clone(&sender), &time);
        let pending = start(&client, &time, by);
        let webhook = webhook_of(&sender, 0);
        assert!(
            webhook
                .to_string()
                .starts_with("https://app.example/rings?k=v&call=")
        );
        {
            let mut waiting = pin!(pending.succeeded());
            let mut context = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            assert_eq!(handle(&client, ring(&webhook, "Succeeded")), (None, 200));
            assert!(waiting.as_mut().poll(&mut context).is_ready());
        }
        // A repeated ring is still this call's.
        assert_eq!(handle(&client, ring(&webhook, "Succeeded")), (None, 200));
        // The service lags behind its own ring, and is asked again.
        let results: Vec<f64> = drive(&time, pending.results()).unwrap();
        assert_eq!(results, [1.0, 2.5]);
        assert_eq!(seconds(&sender), [0, 0, 1]);
        drop(pending);
        assert_eq!(
            handle(&client, ring(&webhook, "Succeeded")),
            (Some(StrayReason::UnknownCall), 200),
            "a late one is handed to the application"
        );
    }
}

#[test]
fn what_a_running_task_shows_is_no_result() {
    const LAGGING: &str = r#"{"results":[],"status":"Running"}"#;
    let time = time();
    let replies = [ok(ACCEPTED), ok(LAGGING), ok(LAGGING), ok(SUCCEEDED)];
    let sender = scripted(&time, replies);
    let client = client(Arc::clone(&sender), &time);
    let pending = start(&client, &time, WaitBy::Either);
    {
        let mut waiting = pin!(pending.succeeded());
        let mut context = Context::from_waker(Waker::noop());
        time.advance(Duration::from_secs(1));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
    }
    let webhook = webhook_of(&sender, 0);
    assert_eq!(handle(&client, ring(&webhook, "Succeeded")), (None, 200));
    let results: Vec<f64> = drive(&time, pending.results()).unwrap();
    assert_eq!(results, [1.0, 2.5]);
}

#[test]
fn a_callback_takes_no_results_away() {
    let time = time();
    let sender = scripted(&time, [ok(ACCEPTED), ok(SUCCEEDED), status(410)]);
    let client = client(Arc::clone(&sender), &time);
    let pending = start(&client, &time, WaitBy::Either);
    drive(&time, pending.succeeded()).unwrap();
    let webhook = webhook_of(&sender, 0);
    assert_eq!(handle(&client, ring(&webhook, "Succeeded")), (None, 200));
    let results: Vec<f64> = drive(&time, pending.results()).unwrap();
    assert_eq!(results, [1.0, 2.5]);
}

#[test]
fn a_clock_that_is_set_takes_no_results_away() {
    let time = time();
    let slow = ok(SUCCEEDED).after(Duration::from_secs(1));
    let sender = scripted(&time, [ok(ACCEPTED), slow]);
    let client = client(Arc::clone(&sender), &time);
    let pending = start(&client, &time, WaitBy::Webhook);
    let webhook = webhook_of(&sender, 0);
    assert_eq!(handle(&client, ring(&webhook, "Succeeded")), (None, 200));
    time.set(time.now() + TimeDelta::days(1));
    let results: Vec<f64> = drive(&time, pending.results()).unwrap();
    assert_eq!(results, [1.0, 2.5]);
}

#[test]
fn whichever_comes_first_ends_the_wait() {
    let time = time();
    let sender = scripted(&time, [ok(ACCEPTED), ok(RUNNING), ok(SUCCEEDED)]);
    let client = client(Arc::clone(&sender), &time);
    let pending = start(&client, &time, WaitBy::Either);
    let results: Vec<f64> = drive(&time, pending.results()).unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(
        seconds(&sender),
        [0, 1, 2],
        "the callback was lost, and a poll found the end"
    );
}

/// A service that rings back before it answers the call itself.
fn rings_first(time: &ManualTime, answer: fn() -> Result<Response<Bytes>, SendError>) -> CallClient {
    let known = Arc::new(OnceLock::<CallClient>::new());
    let used = Arc::clone(&known);
    let sender = sender_fn(move |request: Request<Bytes>| {
        let client = used.get().unwrap().clone();
        async move {
            if request.uri().path() != "/reports" {
                return Ok(Response::new(Bytes::from_static(SUCCEEDED.as_bytes())));
            }
            let asked = AsyncParameters::of(request.uri()).unwrap();
            let webhook = asked.webhook_uri.unwrap().as_str().parse().unwrap();
            assert_eq!(handle(&client, ring(&webhook, "Succeeded")), (None, 200));
            answer()
        }
    });
    let client = client(sender, time);
    known.set(client.clone()).unwrap();
    client
}

#[test]
fn a_callback_before_the_answer_is_not_lost() {
    let time = time();
    let accepted = || Ok(Response::new(Bytes::from_static(ACCEPTED.as_bytes())));
    let client = rings_first(&time, accepted);
    let pending = start(&client, &time, WaitBy::Webhook);
    assert_eq!(pending.status(), Some(TaskStatus::Succeeded));
    let results: Vec<f64> = drive(&time, pending.results()).unwrap();
    assert_eq!((results.len(), time.passed()), (2, Duration::ZERO));
}

#[test]
fn a_callback_proves_that_a_call_was_taken_in_whose_answer_is_lost() {
    let time = time();
    let client = rings_first(&time, || Err(SendErrorKind::Closed.into()));
    let pending = start(&client, &time, WaitBy::Either);
    assert_eq!(pending.task_id(), None);
    let results: Vec<f64> = drive(&time, pending.results()).unwrap();
    assert_eq!(results.len(), 2);
}

#[test]
fn a_call_that_is_not_accepted_is_not_started() {
    let time = time();
    let replies = [
        ok(SUCCEEDED),
        status(400),
        status(202),
        Reply::error(SendErrorKind::Connect),
        Reply::hang(),
    ];
    let sender = scripted(&time, replies);
    let client = client(Arc::clone(&sender), &time);
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(drive(&time, client.call(call()).start()).unwrap_err());
    }
    assert!(matches!(&errors[0], StartError::NotAccepted(answer) if answer.body() == SUCCEEDED));
    assert!(matches!(&errors[1], StartError::NotAccepted(answer) if answer.status() == 400));
    assert!(matches!(&errors[2], StartError::NotAccepted(_)));
    assert!(matches!(&errors[3], StartError::Send(error) if error.kind() == SendErrorKind::Connect));
    assert!(matches!(&errors[4], StartError::TimedOut));
    assert!(!format!("{errors:?}").contains("results"), "{errors:?}");

    let twice = Request::get("https://api.example/x?async=true")
        .body(Bytes::new())
        .unwrap();
    let refused = drive(&time, client.call(twice).start());
    assert!(matches!(refused, Err(StartError::Uri(_))));
    let without = CallClient::builder(Arc::clone(&sender), time.clone()).build();
    let refused = drive(&time, without.call(call()).wait_by(WaitBy::Webhook).start());
    assert!(matches!(refused, Err(StartError::NoWebhook)));
    assert_eq!(
        (client.pending(), sender.received().len()),
        (0, 5),
        "nothing is left, nothing more was sent"
    );
}

#[test]
fn tokens_are_each_calls_own_and_only_they_prove_a_callback() {
    let time = time();
    let sender = Arc::new(ScriptedSender::new(Arc::new(time.clone()), |_| ok(ACCEPTED)));
    let client = client(Arc::clone(&sender), &time);
    let calls: Vec<_> = (0..50).map(|_| start(&client, &time, WaitBy::Webhook)).collect();
    let webhooks: BTreeSet<_> = (0..50)
        .map(|call| webhook_of(&sender, call).to_string())
        .collect();
    assert_eq!(webhooks.len(), 50);
    let webhook = webhook_of(&sender, 3);
    let token = webhook.query().unwrap().rsplit('=').next().unwrap();
    assert_eq!(token.len(), 43, "256 bits");

    for forged in [
        "https://app.example/rings?k=v".to_owned(),
        "https://app.example/rings?k=v&call=".to_owned(),
        format!("https://app.example/rings?call={}", &token[..42]),
        format!("https://app.example/rings?call={token}&call={token}"),
        format!("https://app.example/rings?call={}", "A".repeat(43)),
        "https://app.example/rings?call=7".to_owned(),
    ] {
        let (stray, code) = handle(&client, ring(&forged.parse().unwrap(), "Succeeded"));
        assert_eq!((stray, code), (Some(StrayReason::UnknownCall), 200), "{forged}");
    }
    assert!(calls.iter().all(|call| call.status() == Some(TaskStatus::Queued)));

    assert_eq!(handle(&client, ring(&webhook, "Succeeded")).0, None);
    let ended: Vec<_> = calls
        .iter()
        .map(|call| call.status() == Some(TaskStatus::Succeeded))
        .collect();
    assert_eq!(ended.iter().position(|ended| *ended), Some(3));
    assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);

    assert_eq!(
        handle(&client, ring(&webhook, "Failed")).0,
        Some(StrayReason::Contradiction)
    );
    assert_eq!(calls[3].status(), Some(TaskStatus::Succeeded));
    let unreadable = Request::post(webhook.clone())
        .body(Bytes::from_static(b"\xff{"))
        .unwrap();
    assert_eq!(handle(&client, unreadable), (Some(StrayReason::Unreadable), 200));
    let get = Request::get(webhook).body(Bytes::new()).unwrap();
    assert_eq!(handle(&client, get), (None, 405));
    let failing = client.handle(
        ring(&Uri::from_static("https://app.example/rings"), "Failed"),
        async |_| Err::<(), _>("the application's database is away"),
    );
    assert_eq!(drive(&time, failing).status(), 503);
}

#[test]
fn failures_are_told_as_the_service_tells_them() {
    let failed = |error: CallError| match error {
        CallError::Failed { error, description } => (error, description),
        other => panic!("{other:?}"),
    };
    let told = |text: &str| Some(text.to_owned());
    let time = time();
    let sender = scripted(&time, [ok(ACCEPTED), ok(FAILED), ok(ACCEPTED)]);
    let client = client(Arc::clone(&sender), &time);
    let polled = start(&client, &time, WaitBy::Polling);
    let error = drive(&time, polled.results::<()>()).unwrap_err();
    assert_eq!(failed(error), (told("access_denied"), told("the bank said no")));

    let rung = start(&client, &time, WaitBy::Webhook);
    let webhook = webhook_of(&sender, 2);
    assert_eq!(handle(&client, ring(&webhook, "Failed")).0, None);
    let error = drive(&time, rung.results::<()>()).unwrap_err();
    assert_eq!(failed(error), (None, None));
    assert_eq!(seconds(&sender).len(), 3, "there is nothing to fetch");
}

#[test]
fn what_will_not_pass_ends_the_wait() {
    let cases = [
        (410, "the results have expired"),
        (401, "the service answered 401 Unauthorized"),
        (403, "the service answered 403 Forbidden"),
        (307, "the service answered 307 Temporary Redirect"),
    ];
    for (code, text) in cases {
        let time = time();
        let sender = scripted(&time, [ok(ACCEPTED), status(code)]);
        let pending = start(&client(sender, &time), &time, WaitBy::Either);
        assert_eq!(drive(&time, pending.succeeded()).unwrap_err().to_string(), text);
    }
    let time = time();
    let mut replies = vec![ok(ACCEPTED)];
    replies.extend([(); 4].map(|()| status(404)));
    let pending = start(&client(scripted(&time, replies), &time), &time, WaitBy::Polling);
    let error = drive(&time, pending.succeeded()).unwrap_err();
    assert!(matches!(error, CallError::Refused(StatusCode::NOT_FOUND)));
    assert_eq!(
        time.passed(),
        Duration::from_secs(4),
        "three of them were taken for not yet"
    );

    let sender = scripted(&time, [ok(ACCEPTED), ok(SUCCEEDED)]);
    let pending = start(&client(sender, &time), &time, WaitBy::Polling);
    let error = drive(&time, pending.results::<String>()).unwrap_err();
    assert!(matches!(error, CallError::Unreadable(_)));
}

#[test]
fn a_deadline_ends_every_wait_and_dropping_frees_it() {
    for by in [WaitBy::Webhook, WaitBy::Polling, WaitBy::Either] {
        let time = time();
        let sender = Arc::new(ScriptedSender::new(Arc::new(time.clone()), |request| {
            if request.method() == Method::POST {
                ok(ACCEPTED)
            } else {
                Reply::hang()
            }
        }));
        let client = client(Arc::clone(&sender), &time);
        let started = client
            .call(call())
            .wait_by(by)
            .deadline(Duration::from_secs(100))
            .start();
        let pending = drive(&time, started).unwrap();
        time.advance(Duration::from_secs(40)); // it counts from the start
        let error = drive(&time, pending.results::<()>()).unwrap_err();
        assert!(matches!(error, CallError::TimedOut));
        assert_eq!(time.passed(), Duration::from_secs(100));
        assert_eq!(
            (sender.in_flight(), time.next_wake()),
            (0, None),
            "nothing goes on"
        );
        drop(pending);
        assert_eq!(client.pending(), 0);
    }
}

#[test]
fn a_token_is_shown_to_nobody_but_its_service() {
    let elsewhere = r#"{"results_uri":"https://evil.example/results/7","status":"Queued","task_id":"7"}"#;
    let by_path = r#"{"results_uri":"/results/7","status":"Queued","task_id":"7"}"#;
    let time = time();
    let sender = scripted(&time, [ok(elsewhere), ok(by_path), ok(SUCCEEDED)]);
    let client = client(Arc::clone(&sender), &time);
    let pending = start(&client, &time, WaitBy::Polling);
    let error = drive(&time, pending.results::<()>()).unwrap_err();
    assert!(matches!(error, CallError::ElsewhereResults));
    assert!(matches!(
        drive(&time, pending.cancel()),
        Err(CallError::ElsewhereResults)
    ));
    let pending = start(&client, &time, WaitBy::Polling);
    let results: Vec<f64> = drive(&time, pending.results()).unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(
        sender.received()[2].request.uri(),
        "https://api.example/results/7"
    );

    let sender = scripted(&time, [ok(elsewhere), ok(SUCCEEDED)]);
    let allowed = CallClient::builder(Arc::clone(&sender), time.clone())
        .allow_results_from(Uri::from_static("https://evil.example"))
        .build();
    let pending = drive(&time, allowed.call(call()).start()).unwrap();
    assert!(drive(&time, pending.results::<Vec<f64>>()).is_ok());
}

#[test]
fn what_has_no_origin_is_trusted_by_nobody() {
    let nowhere = r#"{"results_uri":"foo://evil.example/results/7","status":"Queued","task_id":"7"}"#;
    let time = time();
    let sender = scripted(&time, [ok(nowhere), ok(SUCCEEDED)]);
    let client = CallClient::builder(Arc::clone(&sender), time.clone())
        .allow_results_from(Uri::from_static("results.example.com"))
        .build();
    let pending = drive(&time, client.call(call()).start()).unwrap();
    let error = drive(&time, pending.results::<()>()).unwrap_err();
    assert!(matches!(error, CallError::ElsewhereResults), "{error}");
}

#[test]
fn a_call_can_be_cancelled() {
    let time = time();
    let sender = scripted(&time, [ok(ACCEPTED), ok(FAILED), status(405), Reply::hang()]);
    let client = client(Arc::clone(&sender), &time);
    let pending = start(&client, &time, WaitBy::Webhook);
    assert!(drive(&time, pending.cancel()).is_ok());
    let request = &sender.received()[1].request;
    assert_eq!(
        (request.method(), request.uri().path()),
        (&Method::DELETE, "/results/7")
    );
    assert_eq!(request.headers()["authorization"], "Bearer token");
    assert!(matches!(
        drive(&time, pending.cancel()),
        Err(CallError::Refused(StatusCode::METHOD_NOT_ALLOWED))
    ));
    assert!(matches!(drive(&time, pending.cancel()), Err(CallError::TimedOut)));
}

#[test]
fn no_debug_shows_a_secret() {
    let time = time();
    let sender = scripted(&time, [ok(ACCEPTED)]);
    let client = client(Arc::clone(&sender), &time);
    let new = client.call(call());
    let mut shown = format!("{new:?} {client:?}");
    let pending = drive(&time, new.start()).unwrap();
    let webhook = webhook_of(&sender, 0);
    let token = webhook.query().unwrap().rsplit('=').next().unwrap();
    shown += &format!("{pending:?}");
    for secret in [token, "Bearer", "input", "from=1", "results/7"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// Knows of a Truv task what it is told to, step by step.
#[derive(Debug)]
struct TruvApi {
    answers: Vec<Option<truv::TaskStatus>>,
    asked: AtomicU32,
}

#[async_trait]
impl StatusSource<truv::TaskStatus, &'static str> for TruvApi {
    type Error = &'static str;

    async fn ask(&self) -> Result<Polled<truv::TaskStatus, &'static str>, &'static str> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) as usize;
        match self.answers.get(number) {
            Some(Some(status)) => Ok(Polled::status(status.clone(), "polled")),
            Some(None) => Ok(Polled::nothing()),
            None => Err("401"),
        }
    }
}

#[test]
fn any_status_of_any_table_can_be_waited_for() {
    use truv::TaskStatus::{Done, FullParse, Login, LoginError, New, Parse};

    let time = time();
    let entropy = SeededEntropy::new(1);
    let tasks = Watches::<String, truv::TaskStatus, &'static str>::new();
    let patience = Patience::until(Duration::from_secs(10)).polling(every_second());
    let wait = |target: truv::TaskStatus, answers: &[Option<truv::TaskStatus>]| {
        let api = TruvApi {
            answers: answers.to_vec(),
            asked: AtomicU32::new(0),
        };
        let watch = tasks.watch("t".to_owned());
        let waited = drive(&time, watch.wait(&target, &patience, &api, &time, &entropy));
        waited.map(|arrival| (arrival.status, arrival.was_passed))
    };
    assert_eq!(
        wait(Parse, &[Some(New), None, Some(Login), Some(Parse)]),
        Ok((Parse, false))
    );
    assert_eq!(
        wait(Parse, &[Some(New), Some(Done)]),
        Ok((Done, true)),
        "the report of it was lost"
    );
    assert_eq!(
        wait(Done, &[Some(Login), Some(LoginError)]),
        Err(WaitError::Missed(LoginError))
    );
    assert_eq!(
        wait(LoginError, &[Some(Login), Some(LoginError)]),
        Ok((LoginError, false))
    );
    assert_eq!(wait(LoginError, &[Some(Done)]), Err(WaitError::Missed(Done)));
    assert_eq!(wait(Done, &[Some(FullParse)]), Err(WaitError::Source("401")));
    assert_eq!(wait(Done, &vec![None; 20]), Err(WaitError::TimedOut));
    assert!(tasks.is_empty());
}
