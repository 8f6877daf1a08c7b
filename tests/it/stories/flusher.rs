//! Powens' flusher: what failed waits for a run, a run over a dead webhook soon stops, and nothing is ever lost.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use ringback::delivery::{Event, Outcome, State};
use ringback::id::DeliveryId;
use ringback::testing::Reply;
use ringback::time::elapsed;

use super::stage::{On, Stage, at, minutes, seconds};

/// So many deliveries to a Powens webhook, all enqueued at the beginning.
fn enqueue(stage: &Stage, count: usize) -> Vec<DeliveryId> {
    stage.register("w", "powens");
    let event = |number: usize| Event::builder("s", format!("e{number}"), "USER_SYNCED");
    (0..count)
        .map(|number| stage.enqueue(event(number).json(format!("{{\"n\":{number}}}")).build().unwrap()))
        .collect()
}

/// Which of the events a request brings.
fn number(request: &Request<Bytes>) -> usize {
    let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    body["n"].as_u64().unwrap().try_into().unwrap()
}

/// When requests came in, and with which events.
fn told(stage: &Stage) -> Vec<(Duration, usize)> {
    let sent = stage.sent();
    sent.iter().map(|sent| (sent.at, number(&sent.request))).collect()
}

fn run(at: Duration, numbers: std::ops::Range<usize>) -> impl Iterator<Item = (Duration, usize)> {
    numbers.map(move |number| (at, number))
}

fn a_dead_webhook_stops_runs_at_10_failures_and_gets_all_of_it_once_it_lives() {
    for on in On::ALL {
        let mut stage = Stage::new(on, |_, now| match now < minutes(12) {
            true => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
            false => Reply::status(StatusCode::OK),
        });
        let ids = enqueue(&stage, 25);
        stage.run_until(minutes(30));
        let expected: Vec<_> = run(Duration::ZERO, 0..25)
            .chain(run(minutes(5), 0..10))
            .chain(run(minutes(10), 0..10))
            .chain(run(minutes(15), 0..25))
            .collect();
        assert_eq!(told(&stage), expected);
        for id in ids {
            assert_eq!(stage.delivery(id).state, State::Delivered);
        }
    }
}

fn two_timeouts_stop_a_run() {
    for on in On::ALL {
        let mut stage = Stage::new(on, |_, now| match now < minutes(7) {
            true => Reply::hang(),
            false => Reply::status(StatusCode::OK),
        });
        enqueue(&stage, 4);
        stage.run_until(minutes(30));
        // The first sends were known to have failed after 15 seconds; ticks are counted from there.
        let first_run = minutes(5) + seconds(15);
        let expected: Vec<_> = run(Duration::ZERO, 0..4)
            .chain([(first_run, 0), (first_run + seconds(15), 1)])
            .chain(run(first_run + minutes(5), 0..4))
            .collect();
        assert_eq!(told(&stage), expected);
    }
}

fn a_first_send_goes_at_once_and_does_not_count_in_a_run() {
    for on in On::ALL {
        let mut stage = Stage::new(on, |_, _| {
            Reply::status(StatusCode::SERVICE_UNAVAILABLE).after(seconds(20))
        });
        // Deadlines are 15 seconds, so nobody hears the answer: each attempt is a timeout.
        enqueue(&stage, 3);
        let run_starts = minutes(5) + seconds(15);
        stage.run_until(run_starts + seconds(5));
        let late = Event::builder("s", "late", "USER_SYNCED")
            .json("{\"n\":99}")
            .build();
        let late = stage.enqueue(late.unwrap());
        stage.run_until(run_starts + minutes(5) - seconds(1));
        let expected: Vec<_> = run(Duration::ZERO, 0..3)
            .chain([
                (run_starts, 0),
                (run_starts + seconds(5), 99),
                (run_starts + seconds(15), 1),
            ])
            .collect();
        assert_eq!(told(&stage), expected);
        assert_eq!(stage.attempts(late)[0].report.outcome, Outcome::TimedOut);
        assert_eq!(stage.delivery(late).due, at(run_starts + minutes(5)));
    }
}

/// The dead webhook's story with a crew that crashes: nothing is lost, and whatever runs took never overlaps.
fn crashes_make_no_run_overlap_another_and_lose_nothing() {
    for on in On::ALL {
        for seed in 0..12 {
            let slow = |status| Reply::status(status).after(seconds(3));
            let script = move |request: &Request<Bytes>, now| match number(request) {
                // Some never accept before the end of the first hour, some hang, all accept at last.
                n if now < minutes(60) && n.is_multiple_of(3) => slow(StatusCode::BAD_GATEWAY),
                n if now < minutes(40) && n.is_multiple_of(7) => Reply::hang(),
                _ if now < minutes(12) => slow(StatusCode::SERVICE_UNAVAILABLE),
                _ => slow(StatusCode::OK),
            };
            let mut stage = Stage::new(on, script).crashing(seed);
            let ids = enqueue(&stage, 25);
            stage.run_until(minutes(600));
            let mut in_runs = Vec::new();
            for id in ids {
                assert_eq!(stage.delivery(id).state, State::Delivered, "seed {seed}");
                // The first attempt is a first send; whatever comes after belongs to a run.
                for attempt in &stage.attempts(id)[1..] {
                    in_runs.push((attempt.report.started_at, attempt.report.finished_at(), id));
                }
            }
            in_runs.sort();
            for pair in in_runs.windows(2) {
                assert!(pair[0].1 <= pair[1].0, "seed {seed}: {pair:?}");
            }
            let interrupted = |(start, end, _): &&(_, _, _)| elapsed(*start, *end) > seconds(20);
            let crashed = in_runs.iter().filter(interrupted).count();
            assert!(crashed > 0, "seed {seed}: no run was crashed into");
        }
    }
}

stories! {
    a_dead_webhook_stops_runs_at_10_failures_and_gets_all_of_it_once_it_lives,
    two_timeouts_stop_a_run,
    a_first_send_goes_at_once_and_does_not_count_in_a_run,
    crashes_make_no_run_overlap_another_and_lose_nothing,
}
