//! Deliveries that wait for a user or a webhook to be ready.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use ringback::delivery::{DeadReason, Event, Order, State};
use ringback::engine::Registration;
use ringback::id::DeliveryId;
use ringback::provider::yodlee;
use ringback::testing::Reply;

use super::stage::{On, Stage, URL, at, minutes, seconds};

fn hours(hours: u64) -> Duration {
    minutes(60 * hours)
}

/// One delivery an hour, half past each, from the beginning on for so long. Gives the deliveries.
fn one_an_hour(stage: &mut Stage, count: u64) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    for hour in 0..count {
        stage.run_until(hours(hour) + minutes(30));
        let event = Event::builder("s", format!("e{hour}"), "REFRESH");
        let event = event.json(format!("{{\"event\":{{\"info\":\"REFRESH\",\"data\":{hour}}}}}"));
        ids.push(stage.enqueue(event.build().unwrap()));
    }
    ids
}

/// Unsubscribes for so many hours, and gives what came of the deliveries of that time, and when each was sent.
fn unsubscribed_for(mut stage: Stage, count: u64, rest: Duration) -> (Stage, Vec<State>) {
    stage.register("w", "yodlee");
    let (dispatcher, webhook) = (stage.dispatcher(), "w".into());
    assert!(stage.ask(dispatcher.unsubscribe(&webhook)).unwrap());
    let ids = one_an_hour(&mut stage, count);
    stage.run_until(hours(count));
    assert!(
        stage.sent().is_empty(),
        "nothing is sent while it is unsubscribed"
    );
    for id in &ids {
        assert_eq!(stage.delivery(*id).state, State::Held);
    }
    let subscribed = dispatcher.resubscribe(&webhook, yodlee::RESUBSCRIPTION_WINDOW);
    assert!(stage.ask(subscribed).unwrap());
    stage.run_for(rest);
    let states = ids.iter().map(|id| stage.delivery(*id).state).collect();
    (stage, states)
}

/// The hours whose deliveries arrived, in order.
fn hours_of(stage: &Stage) -> Vec<u64> {
    let hour = |sent: super::stage::Sent| read(&sent.request)["event"]["data"].as_u64().unwrap();
    stage.sent().into_iter().map(hour).collect()
}

fn accepts(_: &Request<Bytes>, _: Duration) -> Reply {
    Reply::status(StatusCode::OK)
}

fn slowly(_: &Request<Bytes>, _: Duration) -> Reply {
    Reply::status(StatusCode::OK).after(seconds(2))
}

fn a_5_hour_unsubscription_replays_everything() {
    for on in On::ALL {
        let (stage, states) = unsubscribed_for(Stage::new(on, accepts), 5, minutes(1));
        assert_eq!(stage.sent_at(), [hours(5); 5], "at once");
        assert_eq!(hours_of(&stage), [0, 1, 2, 3, 4], "in order");
        assert_eq!(states, [State::Delivered; 5]);
    }
}

fn an_8_hour_unsubscription_replays_the_last_6_hours() {
    for on in On::ALL {
        let (stage, states) = unsubscribed_for(Stage::new(on, accepts), 8, minutes(1));
        assert_eq!(stage.sent_at(), [hours(8); 6]);
        assert_eq!(hours_of(&stage), [2, 3, 4, 5, 6, 7]);
        assert_eq!(states[..2], [State::Dead(DeadReason::Expired); 2]);
        assert_eq!(states[2..], [State::Delivered; 6]);
    }
}

fn unsubscriptions_end_the_same_through_crashes() {
    for on in On::ALL {
        for seed in 0..10 {
            let stage = Stage::new(on, slowly).crashing(seed);
            let (_, states) = unsubscribed_for(stage, 5, hours(30));
            assert_eq!(states, [State::Delivered; 5], "seed {seed}");
            let stage = Stage::new(on, slowly).crashing(seed);
            let (_, states) = unsubscribed_for(stage, 8, hours(30));
            assert_eq!(states[..2], [State::Dead(DeadReason::Expired); 2], "seed {seed}");
            assert_eq!(states[2..], [State::Delivered; 6], "seed {seed}");
        }
    }
}

/// A temporary user has so many events while another user has one of each; gives when the user became permanent.
fn temporary_user(stage: &mut Stage, count: usize) -> Duration {
    let (scope, user) = ("s".into(), "temporary".into());
    assert!(stage.ask(stage.dispatcher().hold_subject(&scope, &user)).unwrap());
    for number in 0..count {
        for subject in ["temporary", "permanent"] {
            let event = Event::builder("s", format!("{subject}/{number}"), "USER_SYNCED").subject(subject);
            let body = format!("{{\"user\":\"{subject}\",\"n\":{number}}}");
            stage.enqueue(event.json(body).build().unwrap());
        }
        stage.run_for(seconds(1));
    }
    let sent = stage.sent();
    assert!(!sent.is_empty() && sent.iter().all(|sent| user_of(&sent.request) == "permanent"));
    assert!(
        stage
            .ask(stage.dispatcher().release_subject(&scope, &user))
            .unwrap()
    );
    stage.since_start()
}

fn read(request: &Request<Bytes>) -> serde_json::Value {
    serde_json::from_slice(request.body()).unwrap()
}

fn user_of(request: &Request<Bytes>) -> String {
    read(request)["user"].as_str().unwrap().to_owned()
}

/// The numbers of the temporary user's events in the order in which they first arrived, and when.
fn arrivals(stage: &Stage) -> Vec<(u64, Duration)> {
    let mut arrivals: Vec<(u64, Duration)> = Vec::new();
    for sent in stage.sent() {
        let number = read(&sent.request)["n"].as_u64().unwrap();
        if user_of(&sent.request) == "temporary" && arrivals.iter().all(|(known, _)| *known != number) {
            arrivals.push((number, sent.at));
        }
    }
    arrivals
}

fn a_temporary_users_events_arrive_in_order_once_permanent() {
    for on in On::ALL {
        let mut stage = Stage::new(on, accepts);
        stage.register("w", "powens");
        // More than are let go in one step.
        let permanent_at = temporary_user(&mut stage, 300);
        stage.run_for(minutes(1));
        let arrived: Vec<_> = arrivals(&stage);
        let numbers: Vec<_> = arrived.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>());
        assert!(
            arrived.iter().all(|(_, at)| *at - permanent_at < seconds(1)),
            "at once"
        );
    }
}

/// In strict order, so that a crash cannot let a later one overtake.
fn a_temporary_users_events_arrive_in_order_through_crashes() {
    for on in On::ALL {
        for seed in 0..8 {
            let mut stage = Stage::new(on, slowly).crashing(seed);
            let strict = Registration::new("s", URL, "powens")
                .order(Order::Strict)
                .flusher(None);
            stage.ask(stage.dispatcher().register(strict)).unwrap();
            temporary_user(&mut stage, 10);
            stage.run_for(hours(60));
            let numbers: Vec<_> = arrivals(&stage).into_iter().map(|(number, _)| number).collect();
            assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

fn a_deleted_users_events_expire() {
    for on in On::ALL {
        let mut stage = Stage::new(on, accepts);
        stage.register("w", "powens");
        let (scope, user) = ("s".into(), "temporary".into());
        assert!(stage.ask(stage.dispatcher().hold_subject(&scope, &user)).unwrap());
        let event = |id| {
            Event::builder("s", id, "USER_SYNCED")
                .subject("temporary")
                .json("{}")
        };
        let dropped = stage.enqueue(event("1").build().unwrap());
        stage.run_for(minutes(1));
        assert!(stage.ask(stage.dispatcher().drop_subject(&scope, &user)).unwrap());
        assert!(
            !stage
                .ask(stage.dispatcher().release_subject(&scope, &user))
                .unwrap()
        );
        let sent = stage.enqueue(event("2").build().unwrap());
        stage.run_for(minutes(1));
        assert_eq!(stage.delivery(dropped).state, State::Dead(DeadReason::Expired));
        assert_eq!(stage.delivery(sent).state, State::Delivered);
        assert_eq!(stage.delivery(sent).due, at(minutes(1)));
    }
}

stories! {
    a_5_hour_unsubscription_replays_everything,
    an_8_hour_unsubscription_replays_the_last_6_hours,
    unsubscriptions_end_the_same_through_crashes,
    a_temporary_users_events_arrive_in_order_once_permanent,
    a_temporary_users_events_arrive_in_order_through_crashes,
    a_deleted_users_events_expire,
}
