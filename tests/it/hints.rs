//! `Retry-After` and date headers of every malformed kind: through the rules alone, through the whole engine, and at
//! the receiver's gate. Whatever they say nothing panics, no wait is longer than the cap, and no date from another time
//! lets a message in.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::FutureExt;
use http::header::{DATE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use proptest::prelude::*;
use ringback::delivery::{PlainProfile, State};
use ringback::engine::EngineBuilder;
use ringback::receive::{JsonEvents, Receiver, Rejection};
use ringback::retry::{Decision, Progress, RetryAfter, Schedule};
use ringback::signature::{
    BiSignature, HmacKey, MaxAge, Refusal, Scheme, SignError, Signatures, SignedDate, Signer,
    StandardWebhooks, Verifier,
};
use ringback::testing::{ManualTime, Reply};
use ringback::time::after;

use crate::stories::stage::{On, Stage, event, minutes, seconds, worker};

const GAP: Duration = Duration::from_secs(60);
const CAP: Duration = Duration::from_secs(2 * 60 * 60);

/// What has brought others down, and what is nearly right.
const HOSTILE: [&str; 40] = [
    "",
    " ",
    "-1",
    "+5",
    "-0",
    "0",
    "1",
    "7199",
    "7200",
    "7201",
    "9999999999",
    "10000000000",
    "99999999999999",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "-9223372036854775808",
    "1.5",
    "1e3",
    "1e300",
    "1e-300",
    "inf",
    "-inf",
    "infinity",
    "NaN",
    "0x7fffffff",
    "1_000",
    "5, 6",
    "5;6",
    "P1D",
    "soon",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Fri, 31 Dec 1999 23:59:59 GMT",
    "Mon, 31 Dec 1999 23:59:59 GMT",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Sat, 01 Jan 0000 00:00:00 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "2026-01-01T00:00:00Z",
    "Thu, 01 Jan 2026 24:60:61 GMT",
];

/// Any instant that can be written.
fn instants() -> impl Strategy<Value = DateTime<Utc>> {
    let seconds = DateTime::<Utc>::MIN_UTC.timestamp()..=DateTime::<Utc>::MAX_UTC.timestamp();
    seconds.prop_map(|seconds| DateTime::from_timestamp(seconds, 0).unwrap())
}

fn http_date(at: DateTime<Utc>) -> Vec<u8> {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string().into_bytes()
}

/// A text of any kind: hostile, a number of any length, a date of any year in any form, any of these with one byte
/// changed or taken out, and bytes.
fn values() -> impl Strategy<Value = Vec<u8>> {
    let known = proptest::sample::select(HOSTILE.as_slice()).prop_map(|text| text.as_bytes().to_vec());
    let numbers = "[-+ ]?[0-9]{1,40}(\\.[0-9]{0,20})?([eE][-+]?[0-9]{1,5})?".prop_map(String::into_bytes);
    let dates = (instants(), 0_u8..4).prop_map(|(at, form)| match form {
        0 => http_date(at),
        1 => at.format("%A, %d-%b-%y %H:%M:%S GMT").to_string().into_bytes(),
        2 => at.format("%a %b %e %H:%M:%S %Y").to_string().into_bytes(),
        _ => at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into_bytes(),
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..64);
    let whole = prop_oneof![known, numbers, dates, bytes];
    (
        whole,
        any::<proptest::sample::Index>(),
        any::<Option<u8>>(),
        0_u8..4,
    )
        .prop_map(|(mut value, place, byte, harm)| {
            if harm == 0 && !value.is_empty() {
                let place = place.index(value.len());
                match byte {
                    Some(byte) => value[place] = byte,
                    None => drop(value.remove(place)),
                }
            }
            value
        })
}

/// None, one or several of them, as far as a header can hold them.
fn headers(name: HeaderName) -> impl Strategy<Value = HeaderMap> {
    let how_many = prop_oneof![9 => 1_usize..2, 1 => 0_usize..4];
    let values = how_many.prop_flat_map(|count| proptest::collection::vec(values(), count));
    values.prop_map(move |values| {
        let values = values
            .iter()
            .filter_map(|value| HeaderValue::from_bytes(value).ok());
        values.map(|value| (name.clone(), value)).collect()
    })
}

fn profile() -> PlainProfile {
    let schedule = Schedule::gaps([GAP])
        .repeat_last()
        .build()
        .unwrap()
        .with_hint_cap(CAP);
    PlainProfile::new("hinted", schedule)
}

/// An engine whose receiver answers 503 with these headers twice, then 200: when its requests came.
fn retried_at(on: On, headers: HeaderMap) -> Vec<Duration> {
    let answered = AtomicUsize::new(0);
    let script = move |_: &Request<Bytes>, _| {
        let mut response = Response::new(Bytes::new());
        if answered.fetch_add(1, Ordering::SeqCst) < 2 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            *response.headers_mut() = headers.clone();
        }
        Reply::answer(response)
    };
    let settings = |builder: EngineBuilder| builder.profile(profile());
    let mut stage = Stage::with(on, script, settings, worker);
    stage.register("w", "hinted");
    let id = stage.enqueue(event("e", "{}"));
    stage.run_for(2 * CAP);
    assert_eq!(stage.delivery(id).state, State::Delivered);
    stage.sent_at()
}

#[test]
fn a_hint_counts_up_to_the_cap_and_what_cannot_be_read_counts_for_nothing() {
    for on in On::ALL {
        for (text, wait) in [
            ("7", GAP),
            ("61", seconds(61)),
            ("7199", seconds(7_199)),
            ("7201", CAP),
            ("9999999999", CAP),
            ("99999999999999", GAP),
            ("inf", GAP),
            ("1e300", GAP),
            ("-1", GAP),
            ("Thu, 01 Jan 2026 00:10:00 GMT", minutes(10)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", CAP),
            ("Fri, 31 Dec 1999 23:59:59 GMT", GAP),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retried_at(on, headers)[1], wait, "{text}");
        }
    }
}

proptest! {
    /// Any schedule of gaps or marks, at any time: the hint puts a retry off by the cap at most.
    #[test]
    fn no_hint_puts_a_retry_off_by_more_than_the_cap(
        headers in headers(RETRY_AFTER),
        now in instants(),
        first_failure in instants(),
        attempts in 0_u32..20,
        random in any::<u64>(),
        cap in prop_oneof![Just(Duration::ZERO), (0_u64..1 << 34).prop_map(Duration::from_secs), Just(Duration::MAX)],
    ) {
        let hint = RetryAfter::from_headers(&headers);
        let progress = Progress { attempts, first_failure, now, retry_after: hint, random };
        let unasked = Progress { retry_after: None, ..progress };
        let gaps = Schedule::exponential(GAP, 2, 8).jitter_around(20).repeat_last().build().unwrap();
        let gaps = gaps.with_hint_cap(cap);
        let (Decision::RetryAt(asked), Decision::RetryAt(plain)) = (gaps.decide(&progress), gaps.decide(&unasked)) else {
            panic!("it has no end");
        };
        prop_assert!(now <= plain && plain <= asked);
        prop_assert!(asked == plain || asked <= after(now, cap));
        // Of marks it is the first one after that.
        let marks = Schedule::yodlee().with_hint_cap(cap);
        if let Decision::RetryAt(asked) = marks.decide(&progress) {
            let passed = Progress { now: after(now, cap), ..unasked };
            prop_assert!(asked >= now);
            if let Decision::RetryAt(latest) = marks.decide(&passed)
                && first_failure <= now
            {
                prop_assert!(asked <= latest);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The same through the engine, with dates of the receiver's as hostile.
    #[test]
    fn no_header_makes_the_engine_panic_or_wait_beyond_the_cap(
        hints in headers(RETRY_AFTER),
        dates in headers(DATE),
        memory in any::<bool>(),
    ) {
        let mut headers = hints;
        headers.extend(dates);
        let sent_at = retried_at(if memory { On::Memory } else { On::Sqlite }, headers);
        prop_assert_eq!(sent_at.len(), 3);
        for wait in sent_at.windows(2).map(|pair| pair[1] - pair[0]) {
            prop_assert!((GAP..=CAP).contains(&wait), "{:?}", wait);
        }
    }
}

/// A scheme that signs its date as this text says, whatever the time: as whoever holds the key may do.
#[derive(Debug)]
struct Dated<S>(S, HeaderName, Vec<u8>);

impl<S: Scheme> Scheme for Dated<S> {
    fn stamp(&self, at: DateTime<Utc>, headers: &mut HeaderMap) -> Result<(), SignError> {
        self.0.stamp(at, headers)?;
        headers.insert(self.1.clone(), HeaderValue::from_bytes(&self.2)?);
        Ok(())
    }

    fn signatures(
        &self,
        message: &ringback::signature::Message<'_>,
        found: &mut Signatures,
    ) -> Result<(), Refusal> {
        self.0.signatures(message, found)
    }

    fn canonical<'a>(
        &self,
        message: &ringback::signature::Message<'a>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<SignedDate<'a>>, Refusal> {
        self.0.canonical(message, sink)
    }

    fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError> {
        self.0.attach(signatures, headers)
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000, 0).unwrap()
}

/// What a receiver answers to a message that is authentic and dated so, and whether it was handled.
fn received(
    scheme: impl Scheme + Clone,
    date: (&'static str, &[u8]),
    also: HeaderMap,
) -> Option<(Response<Bytes>, bool)> {
    let key = HmacKey::new("a key of at least 24 bytes").unwrap();
    let mut request = Request::post("https://hooks.example.com/hook")
        .body(Bytes::from("{}"))
        .unwrap();
    *request.headers_mut() = also;
    request
        .headers_mut()
        .insert("webhook-id", HeaderValue::from_static("m1"));
    let dated = Dated(scheme.clone(), HeaderName::from_static(date.0), date.1.to_vec());
    Signer::new(dated, key.clone())
        .sign_request(&mut request, now())
        .ok()?;
    let gate = Verifier::new(scheme, [key], MaxAge::minutes(5));
    let receiver = Receiver::new("r", JsonEvents::<serde_json::Value>::new(|_| None), gate)
        .clock(ManualTime::new(now()));
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let handle = receiver.handle(request, async move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Infallible>(())
    });
    let response = handle.now_or_never().expect("nothing to wait for");
    Some((response, handled.load(Ordering::SeqCst) == 1))
}

/// Within five minutes of now it is let in and handled; otherwise it is refused with a reason that is the date's.
fn judged_by_its_date(
    date: &[u8],
    read: Option<DateTime<Utc>>,
    (response, handled): (Response<Bytes>, bool),
) {
    let refusal = match response.extensions().get::<Rejection>() {
        Some(Rejection::Refused(refusal)) => Some(refusal.clone()),
        _ => None,
    };
    let expected = match read.map(|at| now() - at) {
        None => Some(Refusal::MalformedDate),
        Some(age) if age > TimeDelta::minutes(5) => Some(Refusal::Stale),
        Some(age) if age < -TimeDelta::minutes(5) => Some(Refusal::FromTheFuture),
        Some(_) => None,
    };
    let text = String::from_utf8_lossy(date);
    assert_eq!(refusal, expected, "{text}");
    assert_eq!(handled, expected.is_none(), "{text}");
    let status = if handled {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::UNAUTHORIZED
    };
    assert_eq!(response.status(), status);
}

/// A date near the present often enough that some are let in.
fn near_now() -> impl Strategy<Value = DateTime<Utc>> {
    prop_oneof![
        instants(),
        (-400_i64..400).prop_map(|seconds| now() + TimeDelta::seconds(seconds))
    ]
}

proptest! {
    /// `BI-Signature-Date`, with a `Date` that nobody asks as hostile.
    #[test]
    fn no_signed_date_gets_past_the_receiver_but_one_of_the_present(
        date in prop_oneof![
            values(),
            near_now().prop_map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into_bytes()),
        ],
        also in headers(DATE),
    ) {
        if let Some(answer) = received(BiSignature::path_only(), ("bi-signature-date", &date), also) {
            let trimmed = HeaderValue::from_bytes(&date).unwrap();
            let read = ringback::signature::date::iso8601(trimmed.as_bytes()).ok();
            judged_by_its_date(&date, read, answer);
        }
    }

    /// `webhook-timestamp`.
    #[test]
    fn nor_does_a_timestamp(
        date in prop_oneof![
            values(),
            any::<i64>().prop_map(|seconds| seconds.to_string().into_bytes()),
            near_now().prop_map(|at| at.timestamp().to_string().into_bytes()),
        ],
        also in headers(DATE),
    ) {
        if let Some(answer) = received(StandardWebhooks, ("webhook-timestamp", &date), also) {
            let read = ringback::signature::date::unix_seconds(&date).ok();
            judged_by_its_date(&date, read, answer);
        }
    }
}

#[test]
fn a_wait_of_a_hint_is_counted_from_the_answer_and_not_from_the_receivers_date() {
    // A receiver a century ahead asks for a minute past its present.
    let headers = HeaderMap::from_iter([
        (DATE, HeaderValue::from_static("Fri, 01 Jan 2126 00:00:00 GMT")),
        (RETRY_AFTER, HeaderValue::from_static("120")),
    ]);
    assert_eq!(retried_at(On::Memory, headers)[1], seconds(120));
}
