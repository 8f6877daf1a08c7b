//! Yodlee's digests: what changed within a quarter of an hour, told in notifications of at most 2000 users.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use ringback::delivery::{DeadReason, Digest, DigestEntry, DigestForm, Interval, State, Window};
use ringback::engine::{Engine, RecordError, Registration};
use ringback::id::Scope;
use ringback::provider::yodlee::{self, Event};
use ringback::testing::Reply;

use super::stage::{Crew, On, Sent, Stage, URL, minutes, seconds, worker};

/// The name of Yodlee's digest.
const UPDATES: &str = "DATA_UPDATES";

/// How long there is between two chunks of one window.
const STEP: Duration = Duration::from_millis(2);

/// A worker and the upkeep.
fn crew(engine: &Engine) -> Crew {
    let upkeep = engine.upkeep();
    let mut crew = worker(engine);
    crew.push(Box::pin(async move { upkeep.run().await.unwrap() }));
    crew
}

/// One worker, and two who keep up against each other.
fn rivals(engine: &Engine) -> Crew {
    let mut rivals = crew(engine);
    rivals.extend(crew(engine).split_off(1));
    rivals
}

fn stage(
    on: On,
    hire: fn(&Engine) -> Crew,
    mut script: impl FnMut(Duration) -> StatusCode + Send + 'static,
) -> Stage {
    let script = move |_: &Request<Bytes>, at| Reply::status(script(at));
    let stage = Stage::with(on, script, |builder| builder.digest(yodlee::data_updates()), hire);
    stage.register("w", "yodlee");
    stage
}

fn record(stage: &Stage, users: impl IntoIterator<Item = String>) {
    stage
        .ask(stage.dispatcher().record_updates("s", UPDATES, users))
        .unwrap();
}

fn users(from: usize, to: usize) -> impl Iterator<Item = String> {
    (from..to).map(|number| format!("user-{number}"))
}

/// A notification as its receiver reads it.
struct Told {
    id: String,
    from: String,
    to: String,
    users: Vec<String>,
}

fn read(sent: &Sent) -> Told {
    let Event::DataUpdates(envelope) = Event::parse(sent.request.body()).unwrap() else {
        panic!("not of {UPDATES}");
    };
    let requests: Vec<_> = envelope.event.data()[0].requests().collect();
    Told {
        id: envelope.event.notification_id.value().unwrap().clone(),
        from: requests[0].from_date.as_str().to_owned(),
        to: requests[0].to_date.as_str().to_owned(),
        users: requests.into_iter().map(|request| request.login_name).collect(),
    }
}

fn told(stage: &Stage) -> Vec<Told> {
    stage.sent().iter().map(read).collect()
}

fn five_thousand_users_of_one_window_make_three_notifications() {
    for on in On::ALL {
        let mut stage = stage(on, crew, |_| StatusCode::OK);
        stage.run_until(minutes(3));
        record(&stage, users(0, 2_500));
        stage.run_until(minutes(15) - Duration::from_millis(1));
        record(&stage, users(2_500, 5_000));
        stage.run_until(minutes(120));
        assert_eq!(
            stage.sent_at(),
            [minutes(15), minutes(15) + STEP, minutes(15) + 2 * STEP],
            "{on:?}"
        );
        let told = told(&stage);
        let sizes: Vec<_> = told.iter().map(|told| told.users.len()).collect();
        assert_eq!(sizes, [2_000, 2_000, 1_000]);
        for told in &told {
            assert_eq!(
                (told.from.as_str(), told.to.as_str()),
                ("2026-01-01T00:00:00Z", "2026-01-01T00:14:59Z")
            );
        }
        let all: BTreeSet<_> = told.iter().flat_map(|told| told.users.clone()).collect();
        assert_eq!(all, users(0, 5_000).collect());
    }
}

fn five_thousand_updates_of_three_users_make_one_notification_of_three() {
    for on in On::ALL {
        let mut stage = stage(on, crew, |_| StatusCode::OK);
        for round in 0..500 {
            stage.run_until(seconds(round));
            record(&stage, (0..10).map(|update| format!("user-{}", update % 3)));
        }
        stage.run_until(minutes(60));
        assert_eq!(stage.sent_at(), [minutes(15)], "{on:?}");
        assert_eq!(told(&stage)[0].users, ["user-0", "user-1", "user-2"]);
    }
}

fn nothing_is_sent_for_a_window_without_updates() {
    for on in On::ALL {
        let mut stage = stage(on, crew, |_| StatusCode::OK);
        stage.run_until(minutes(50));
        record(&stage, users(0, 1));
        stage.run_until(minutes(60) - Duration::from_millis(1));
        assert!(stage.sent().is_empty());
        // At the very end of one window: it belongs to the next.
        stage.run_until(minutes(60));
        record(&stage, users(1, 2));
        stage.run_until(minutes(240));
        assert_eq!(stage.sent_at(), [minutes(60), minutes(75)], "{on:?}");
        let told = told(&stage);
        assert_eq!(
            (told[0].users.join(","), told[1].users.join(",")),
            ("user-0".into(), "user-1".into())
        );
        assert_eq!(told[1].from, "2026-01-01T01:00:00Z");
    }
}

fn a_refused_notification_is_tried_again_at_yodlees_marks() {
    for on in On::ALL {
        let up_from = minutes(15 + 21);
        let mut stage = stage(on, crew, move |at| match at < up_from {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::OK,
        });
        record(&stage, users(0, 3));
        stage.run_until(minutes(20));
        record(&stage, users(2, 4));
        stage.run_until(minutes(600));
        // The second window's notification, refused at minute 30, comes at its own first mark.
        let expected = [15, 15 + 10, 30, 15 + 20, 30 + 10, 15 + 40].map(minutes);
        assert_eq!(stage.sent_at(), expected, "{on:?}");
        let mut bodies = BTreeMap::<String, Vec<Bytes>>::new();
        for sent in stage.sent() {
            bodies
                .entry(read(&sent).id)
                .or_default()
                .push(sent.request.body().clone());
        }
        assert_eq!(
            bodies.len(),
            2,
            "an id stays the same when a notification is sent again"
        );
        for same in bodies.values() {
            assert!(same.iter().all(|body| *body == same[0]));
        }
    }
}

fn a_notification_that_is_never_accepted_ends_after_minute_1280() {
    let mut stage = stage(On::ALL[0], crew, |_| StatusCode::SERVICE_UNAVAILABLE);
    record(&stage, users(0, 1));
    stage.run_until(minutes(15 + 2_600));
    let marks = [0, 10, 20, 40, 80, 160, 320, 640, 1_280].map(|mark| minutes(15 + mark));
    assert_eq!(stage.sent_at(), marks);
    let id = "digest/2026-01-01T00:00:00Z/1/0".into();
    let deliveries = stage
        .ask(stage.dispatcher().deliveries_of(&"s".into(), &id))
        .unwrap();
    assert_eq!(deliveries[0].state, State::Dead(DeadReason::Exhausted));
}

fn crashes_and_rivals_tell_each_user_once_for_each_window() {
    for (on, seed) in On::ALL
        .into_iter()
        .flat_map(|on| (0..6).map(move |seed| (on, seed)))
    {
        let mut stage = stage(on, rivals, |_| StatusCode::OK).crashing(seed);
        // 5000 users in the first window, 3 in the second, none in the third, 2001 in the fourth.
        let windows = [(0, 5_000), (10, 13), (0, 0), (4_000, 6_001)];
        for ((from, to), minute) in windows.into_iter().zip([5, 20, 35, 50]) {
            stage.run_until(minutes(minute));
            let middle = usize::midpoint(from, to);
            record(&stage, users(from, middle));
            stage.run_for(seconds(40));
            record(&stage, users(middle, to));
            record(&stage, users(from, from + usize::from(to > from)));
        }
        stage.run_until(minutes(120));
        // A crash can hide that something was accepted, and then it is sent again, under the same id.
        let notifications: BTreeMap<_, _> = told(&stage)
            .into_iter()
            .map(|told| (told.id.clone(), told))
            .collect();
        let mut seen = BTreeMap::<String, Vec<Told>>::new();
        for told in notifications.into_values() {
            seen.entry(told.from.clone()).or_default().push(told);
        }
        let starts = ["00:00", "00:15", "00:45"].map(|time| format!("2026-01-01T{time}:00Z"));
        assert_eq!(seen.keys().cloned().collect::<Vec<_>>(), starts, "{on:?} {seed}");
        let sizes = [vec![1_000, 2_000, 2_000], vec![3], vec![1, 2_000]];
        let filled = [windows[0], windows[1], windows[3]];
        for ((told, sizes), (from, to)) in seen.into_values().zip(sizes).zip(filled) {
            let mut found: Vec<_> = told.iter().map(|told| told.users.len()).collect();
            found.sort_unstable();
            assert_eq!(found, sizes, "{on:?} {seed}");
            let all: BTreeSet<_> = told.into_iter().flat_map(|told| told.users).collect();
            assert_eq!(all, users(from, to).collect(), "{on:?} {seed}");
        }
    }
}

fn scopes_have_windows_of_their_own_and_nobody_need_listen() {
    for on in On::ALL {
        let mut stage = stage(on, crew, |_| StatusCode::OK);
        let other = Registration::new("other", format!("{URL}/other"), "yodlee").events(["REFRESH"]);
        stage.ask(stage.dispatcher().register(other)).unwrap();
        record(&stage, users(0, 2));
        for scope in ["other", "nobody's"] {
            stage
                .ask(stage.dispatcher().record_update(scope, UPDATES, "user-9"))
                .unwrap();
        }
        let unknown = stage.ask(stage.dispatcher().record_update("s", "REFRESH", "user-1"));
        assert!(matches!(unknown, Err(RecordError::UnknownDigest(name)) if name.as_str() == "REFRESH"));
        stage.run_until(minutes(30));
        assert_eq!(stage.sent_at(), [minutes(15)], "{on:?}");
        assert_eq!(told(&stage)[0].users, ["user-0", "user-1"]);
        // Whoever comes later is told of what comes later.
        let late = Registration::new("nobody's", format!("{URL}/late"), "yodlee");
        stage.ask(stage.dispatcher().register(late)).unwrap();
        stage
            .ask(stage.dispatcher().record_update("nobody's", UPDATES, "user-8"))
            .unwrap();
        stage.run_until(minutes(60));
        assert_eq!(stage.sent_at(), [15, 45].map(minutes), "{on:?}");
        assert_eq!(told(&stage)[1].users, ["user-8"]);
    }
}

/// Writes no scope whose name is `bad`.
#[derive(Debug)]
struct Picky;

impl DigestForm for Picky {
    fn body(&self, scope: &Scope, _: &Window, users: &[DigestEntry]) -> Bytes {
        assert_ne!(scope.as_str(), "bad", "on purpose");
        format!(r#"{{"event":{{"info":"{scope}","data":{}}}}}"#, users.len()).into()
    }
}

fn a_form_that_panics_holds_up_its_window_and_nothing_else() {
    let digest = || Digest::new("picky", Interval::QUARTER_HOUR, Picky);
    let ok = |_: &Request<Bytes>, _| Reply::status(StatusCode::OK);
    let mut stage = Stage::with(On::ALL[0], ok, move |builder| builder.digest(digest()), crew);
    stage.register("w", "yodlee");
    for scope in ["bad", "s"] {
        stage
            .ask(stage.dispatcher().record_update(scope, "picky", "u"))
            .unwrap();
    }
    stage.run_until(minutes(40));
    stage
        .ask(stage.dispatcher().record_update("s", "picky", "u"))
        .unwrap();
    stage.run_until(minutes(60));
    assert_eq!(stage.sent_at(), [15, 45].map(|minute| minutes(minute) + STEP));
}

/// What the profile of one of its webhooks cannot send waits for it to be mended, and goes nowhere as it is meanwhile.
fn a_digest_that_cannot_be_rendered_waits() {
    let digest = || Digest::new("users.changed", Interval::QUARTER_HOUR, Bare);
    for on in On::ALL {
        let ok = |_: &Request<Bytes>, _| Reply::status(StatusCode::OK);
        let mut stage = Stage::with(on, ok, move |builder| builder.digest(digest()), crew);
        stage.register("w", "yodlee");
        stage.register("other", "standard_webhooks");
        stage
            .ask(stage.dispatcher().record_update("s", "users.changed", "u"))
            .unwrap();
        stage.run_until(minutes(60));
        assert!(stage.sent().is_empty(), "{on:?}");
        stage.register("w", "truelayer");
        stage.run_until(minutes(62));
        let sent = stage.sent();
        assert!(sent.iter().all(|sent| sent.request.body() == "[1]"), "{on:?}");
        let ids = sent.iter().map(|sent| sent.request.headers().get("webhook-id"));
        let mut ids: Vec<_> = ids.map(|id| id.map(|id| id.to_str().unwrap())).collect();
        ids.sort_unstable();
        assert_eq!(ids, [None, Some("digest/2026-01-01T00:00:00Z/1/0")], "{on:?}");
    }
}

/// How many there are, and no object for an id to be put into.
#[derive(Debug)]
struct Bare;

impl DigestForm for Bare {
    fn body(&self, _: &Scope, _: &Window, users: &[DigestEntry]) -> Bytes {
        format!("[{}]", users.len()).into()
    }
}

stories! {
    five_thousand_users_of_one_window_make_three_notifications,
    five_thousand_updates_of_three_users_make_one_notification_of_three,
    nothing_is_sent_for_a_window_without_updates,
    a_refused_notification_is_tried_again_at_yodlees_marks,
    a_notification_that_is_never_accepted_ends_after_minute_1280,
    crashes_and_rivals_tell_each_user_once_for_each_window,
    scopes_have_windows_of_their_own_and_nobody_need_listen,
    a_form_that_panics_holds_up_its_window_and_nothing_else,
    a_digest_that_cannot_be_rendered_waits,
}
