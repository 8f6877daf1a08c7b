//! Receivers that say it is too much: their webhooks are slowed and pause, others go on, and all of it is sent in the end.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{Event, Limits, Order, Outcome, PlainProfile, State};
use ringback::engine::Registration;
use ringback::id::DeliveryId;
use ringback::retry::Schedule;
use ringback::testing::Reply;
use ringback::time::before;

use super::stage::{On, Stage, at, minutes, seconds, worker};

/// An engine whose webhooks try again after ten minutes, and for ever.
fn stage(on: On, mut script: impl FnMut(&str, Duration) -> Reply + Send + 'static) -> Stage {
    let script = move |request: &Request<Bytes>, now| script(request.uri().path(), now);
    Stage::with(
        on,
        script,
        |builder| {
            let schedule = Schedule::gaps([minutes(10)]).repeat_last().build().unwrap();
            builder.profile(PlainProfile::new("patient", schedule).with_deadline(seconds(15)))
        },
        worker,
    )
}

/// A webhook for the events of the scope of its name, whose URL ends in it.
fn registration(name: &str, in_flight: u32) -> Registration {
    let limits = Limits {
        in_flight: NonZeroU32::new(in_flight).unwrap(),
        rate: None,
    };
    Registration::new(name, format!("https://receiver.example/{name}"), "patient")
        .id(name)
        .limits(limits)
}

fn register(stage: &Stage, registration: Registration) {
    stage.ask(stage.dispatcher().register(registration)).unwrap();
}

fn enqueue(stage: &Stage, webhook: &str, numbers: std::ops::Range<usize>) -> Vec<DeliveryId> {
    let event = |number: usize| {
        let event = Event::builder(webhook, number.to_string(), "USER_SYNCED");
        stage.enqueue(event.json("{}").build().unwrap())
    };
    numbers.map(event).collect()
}

/// When requests came in for a webhook, in seconds.
fn sent_to(stage: &Stage, webhook: &str) -> Vec<u64> {
    let path = format!("/{webhook}");
    let sent = stage.sent().into_iter();
    let sent = sent.filter(|sent| sent.request.uri().path() == path);
    sent.map(|sent| sent.at.as_secs()).collect()
}

fn refusing(status: u16, seconds: Option<&'static str>) -> Reply {
    let mut response = Response::builder().status(status).body(Bytes::new()).unwrap();
    if let Some(seconds) = seconds {
        let seconds = HeaderValue::from_static(seconds);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    Reply::answer(response)
}

fn ok() -> Reply {
    Reply::status(StatusCode::OK)
}

/// How often each instant comes.
fn times(instants: &[(u64, usize)]) -> Vec<u64> {
    let each = instants.iter();
    each.flat_map(|(second, times)| std::iter::repeat_n(*second, *times))
        .collect()
}

#[test]
fn refused_requests_halve_the_pace_then_pause_and_answers_win_it_back() {
    for on in On::ALL {
        let mut stage = stage(on, |path, now| match path {
            "/busy" if now < minutes(1) => refusing(429, None).after(seconds(1)),
            _ => ok().after(seconds(1)),
        });
        register(&stage, registration("busy", 8));
        register(&stage, registration("idle", 8));
        let busy = enqueue(&stage, "busy", 0..20);
        enqueue(&stage, "idle", 0..20);
        stage.run_until(minutes(20));
        let slower = [(0, 8), (1, 4), (2, 2), (3, 1)];
        let pausing = [(5, 1), (8, 1), (13, 1), (22, 1), (39, 1)];
        // Each comes again ten minutes after it was refused, at one place first.
        let faster = [(601, 1), (602, 2), (603, 3), (604, 4), (605, 5)];
        let last = [(606, 1), (609, 1), (614, 1), (623, 1), (640, 1)];
        let expected = [slower.as_slice(), &pausing, &faster, &last].concat();
        assert_eq!(sent_to(&stage, "busy"), times(&expected), "{on:?}");
        assert_eq!(
            sent_to(&stage, "idle"),
            times(&[(0, 8), (1, 8), (2, 4)]),
            "{on:?}"
        );
        for id in busy {
            assert_eq!(stage.delivery(id).state, State::Delivered);
        }
    }
}

#[test]
fn a_receiver_that_hangs_ties_up_one_place() {
    for on in On::ALL {
        let mut stage = stage(on, |_, _| Reply::hang());
        register(&stage, registration("w", 8));
        enqueue(&stage, "w", 0..20);
        stage.run_until(seconds(100));
        let expected = times(&[(0, 8), (15, 4), (30, 2), (45, 1), (61, 1), (78, 1), (97, 1)]);
        assert_eq!(sent_to(&stage, "w"), expected, "{on:?}");
    }
}

#[test]
fn what_a_receiver_asks_for_is_given_up_to_an_hour() {
    for on in On::ALL {
        for (asked, given) in [("120", 120), ("86400", 3_600), ("99999999999999", 1)] {
            let mut stage = stage(on, move |_, now| match now < seconds(1) {
                true => refusing(503, Some(asked)),
                false => ok(),
            });
            register(&stage, registration("w", 1));
            let ids = enqueue(&stage, "w", 0..3);
            stage.run_until(minutes(2 * 24 * 60));
            let sent = sent_to(&stage, "w");
            assert_eq!(sent[..3], [0, given, given], "{on:?} {asked}");
            // The one that was refused goes by its schedule, which gives it a day if that is asked for.
            let again = if asked == "86400" { 86_400 } else { 600 };
            assert_eq!(sent[3..], [again], "{on:?} {asked}");
            for id in ids {
                assert_eq!(stage.delivery(id).state, State::Delivered);
            }
        }
    }
}

#[test]
fn a_strict_webhook_pauses_and_keeps_its_order() {
    for on in On::ALL {
        let mut stage = stage(on, |_, now| match now < minutes(15) {
            true => refusing(503, Some("1200")),
            false => ok(),
        });
        register(&stage, registration("w", 8).order(Order::Strict));
        let ids = enqueue(&stage, "w", 0..3);
        stage.run_until(minutes(60));
        assert_eq!(sent_to(&stage, "w"), [0, 1_200, 1_200, 1_200], "{on:?}");
        let attempts = |id: &DeliveryId| stage.attempts(*id).len();
        assert_eq!(ids.iter().map(attempts).collect::<Vec<_>>(), [2, 1, 1]);
    }
}

#[test]
fn a_pause_outlives_the_process() {
    for on in On::ALL {
        let mut stage = stage(on, |_, now| match now < seconds(1) {
            true => refusing(503, Some("120")),
            false => ok(),
        });
        register(&stage, registration("w", 1));
        enqueue(&stage, "w", 0..2);
        stage.run_until(seconds(50));
        stage.crash();
        stage.start();
        stage.run_until(minutes(5));
        assert_eq!(sent_to(&stage, "w"), [0, 120], "{on:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_ends_a_pause() {
    for on in On::ALL {
        let mut stage = stage(on, |_, _| refusing(503, Some("3600")));
        register(&stage, registration("w", 1));
        stage.run_until(minutes(60));
        enqueue(&stage, "w", 0..1);
        stage.run_until(minutes(61));
        enqueue(&stage, "w", 1..2);
        stage.rest();
        assert_eq!(stage.sent().len(), 1, "it pauses");
        stage.time.set(before(at(minutes(61)), minutes(30)));
        enqueue(&stage, "w", 2..3);
        stage.rest();
        assert_eq!(stage.sent().len(), 2, "{on:?}");
    }
}

#[test]
fn what_nothing_can_prove_is_asked_for_now_and_then_and_not_once_for_each_delivery() {
    for on in On::ALL {
        let mut stage = stage(on, |_, _| ok());
        let key = || AuthConfig::Hmac(HmacAuth::new(HmacScheme::BiSignature, "key"));
        let save = |stage: &Stage| {
            stage
                .ask(stage.dispatcher().save_auth("k", "key", key()))
                .unwrap()
        };
        save(&stage);
        register(&stage, registration("w", 8).auth("k"));
        stage.ask(stage.dispatcher().revoke_auth(&"k".into())).unwrap();
        let ids = enqueue(&stage, "w", 0..200);
        stage.run_until(seconds(299));
        // Each look puts off what it saw.
        let seen = ids
            .iter()
            .filter(|id| stage.delivery(**id).due > at(Duration::ZERO));
        assert!(seen.count() <= 8 * 10, "{on:?}");
        save(&stage);
        stage.run_until(minutes(6));
        assert_eq!(sent_to(&stage, "w").len(), 200, "{on:?}");
        for id in ids {
            let outcomes: Vec<_> = stage
                .attempts(id)
                .iter()
                .map(|attempt| attempt.report.outcome)
                .collect();
            assert_eq!(
                outcomes,
                [Outcome::Answered(StatusCode::OK)],
                "nothing else is counted"
            );
        }
    }
}

#[test]
fn first_sends_to_a_powens_webhook_go_at_once_whatever_it_answers() {
    for on in On::ALL {
        let mut stage = stage(on, |_, _| refusing(503, Some("3600")));
        let registration = Registration::new("w", "https://receiver.example/w", "powens").id("w");
        register(&stage, registration);
        for number in 0..100 {
            stage.run_until(seconds(number));
            let number = usize::try_from(number).unwrap();
            enqueue(&stage, "w", number..number + 1);
        }
        stage.run_until(seconds(299));
        assert_eq!(sent_to(&stage, "w"), (0..100).collect::<Vec<_>>(), "{on:?}");
        stage.run_until(seconds(301));
        assert_eq!(sent_to(&stage, "w").len(), 110, "a run stops after ten failures");
    }
}
