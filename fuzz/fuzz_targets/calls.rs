#![no_main]

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arbitrary::Arbitrary;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderValue, Request, Response, Uri};
use libfuzzer_sys::fuzz_target;
use ringback::client::{CallClient, Stray};
use ringback::json::RawJson;
use ringback::retry::Schedule;
use ringback::system::Timer;
use ringback::time::Clock;
use ringback::transport::sender_fn;

#[derive(Debug, Clone, Arbitrary)]
struct Input<'a> {
    /// What the service answers, one after another: status, `Retry-After`, body.
    answers: Vec<(u16, &'a [u8], &'a [u8])>,
    /// What arrives where callbacks do.
    target: &'a str,
    body: &'a [u8],
}

/// Short sleeps are over at once, long ones never.
#[derive(Debug)]
struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }
}

#[async_trait]
impl Timer for Frozen {
    async fn sleep(&self, span: Duration) {
        if span > Duration::from_secs(5) {
            std::future::pending::<()>().await;
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let answers: Vec<_> = input.answers.iter().rev().filter_map(response).collect();
    let answers = Mutex::new(answers);
    let sender = sender_fn(move |_: Request<Bytes>| {
        let answer = answers.lock().expect("nobody panics with it").pop();
        async move {
            match answer {
                Some(answer) => Ok(answer),
                None => std::future::pending().await,
            }
        }
    });
    let polls = Schedule::gaps([Duration::from_secs(1); 20])
        .build()
        .expect("it is valid");
    let client = CallClient::builder(sender, Frozen)
        .webhook(Uri::from_static("https://app.example/rings"))
        .polls(polls)
        .build();
    let call = Request::get("https://api.example/accounts")
        .body(Bytes::new())
        .expect("it is valid");
    let pending = poll(client.call(call).start());
    let Some(Ok(pending)) = pending else {
        return;
    };
    let before = pending.status();
    if let Ok(request) = Request::post(input.target).body(Bytes::copy_from_slice(input.body)) {
        let mut strays = 0;
        let handled = poll(client.handle(request, async |_: Stray| {
            strays += 1;
            Ok::<_, ()>(())
        }));
        assert!(handled.is_some());
        assert_eq!(strays, 1, "nobody can guess a token");
        assert_eq!(pending.status(), before, "so a guess changes nothing");
    }
    if let Some(Ok(results)) = poll(pending.raw_results()) {
        let sent = input
            .answers
            .iter()
            .any(|(_, _, body)| contains(body, RawJson::as_str(&results).as_bytes()));
        assert!(sent, "results are what was sent");
    }
});

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

fn response((status, retry_after, body): &(u16, &[u8], &[u8])) -> Option<Response<Bytes>> {
    let mut response = Response::builder()
        .status(*status)
        .body(Bytes::copy_from_slice(body))
        .ok()?;
    let retry_after = HeaderValue::from_bytes(retry_after).ok()?;
    response.headers_mut().insert("retry-after", retry_after);
    Some(response)
}

/// As far as it comes without anybody waking it.
fn poll<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
