//! What is submitted where it cannot be sent: it waits, or is set aside, and never goes out as it is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use ringback::delivery::Event;
use ringback::engine::{EngineBuilder, EnqueueError, Notice, Registration, listener_fn};
use ringback::provider;
use ringback::store::SetAside;
use ringback::testing::Reply;

use super::stage::{On, Stage, URL, seconds, worker};

const ONE_MS: Duration = Duration::from_millis(1);

fn ok(_: &Request<Bytes>, _: Duration) -> Reply {
    Reply::status(StatusCode::OK)
}

/// A webhook for the one type of event.
fn register(stage: &Stage, id: &str, profile: &str, kind: &str) {
    let registration = Registration::new("s", URL, profile).id(id).events([kind]);
    stage.ask(stage.dispatcher().register(registration)).unwrap();
}

fn event(id: &str, kind: &str, body: &'static str) -> Event {
    Event::builder("s", id, kind).json(body).build().unwrap()
}

fn submit(stage: &Stage, events: Vec<Event>) {
    stage.ask(stage.store().submit(events)).unwrap();
}

/// The ids of what is submitted and not taken in.
fn waiting(stage: &Stage) -> Vec<String> {
    let waiting = stage.ask(stage.store().submissions(None, 1_000)).unwrap();
    waiting.into_iter().map(|one| one.id.to_string()).collect()
}

fn what_cannot_be_rendered_is_set_aside() {
    for on in On::ALL {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let notices = Arc::clone(&heard);
        let settings = move |builder: EngineBuilder| {
            let heard = Arc::clone(&notices);
            builder.listener(listener_fn(move |notice| {
                if let Notice::SetAside { .. } = notice {
                    heard.lock().unwrap().push(notice.to_string());
                }
            }))
        };
        let mut stage = Stage::with(on, ok, settings, worker);
        register(&stage, "p", "powens", "P");
        register(&stage, "s", "standard_webhooks", "S");
        let refused = [
            event("taken", "P", r#"{"id_webhook_data":7}"#),
            event("full.stop", "S", "{}"),
        ];
        for event in &refused {
            let answer = stage.ask(stage.dispatcher().enqueue(event.clone()));
            assert!(matches!(answer, Err(EnqueueError::Render(_))), "{answer:?}");
        }
        submit(&stage, refused.to_vec());
        submit(&stage, vec![event("fine", "S", "{}")]);
        stage.run_for(seconds(1));
        let sent = stage.sent();
        assert_eq!(sent.len(), 1, "{on:?} {sent:?}");
        assert_eq!(sent[0].request.headers()["webhook-id"], "fine");
        let aside = stage.ask(stage.dispatcher().set_aside(None, 10)).unwrap();
        let aside = aside.into_iter().map(|(submission, why)| (submission.event, why));
        let expected = refused.map(|event| (Some(event), SetAside::Unusable));
        assert_eq!(aside.collect::<Vec<_>>(), expected, "{on:?}");
        assert_eq!(
            *heard.lock().unwrap(),
            ["taken", "full.stop"]
                .map(|id| format!("the event s/{id} was submitted and set aside: it cannot be used"))
        );
    }
}

/// Every process knows the published profiles. Whether one knows `own` as well is said when it starts.
fn stage(on: On) -> (Stage, Arc<AtomicBool>) {
    let knows_own = Arc::new(AtomicBool::new(true));
    let knows = Arc::clone(&knows_own);
    let settings = move |builder: EngineBuilder| match knows.load(Ordering::SeqCst) {
        true => builder.profile(provider::powens().named("own")),
        false => builder,
    };
    (Stage::with(on, ok, settings, worker), knows_own)
}

fn restart(stage: &mut Stage) {
    stage.crash();
    stage.start();
}

/// More than are taken in at once.
fn many() -> Vec<Event> {
    let event = |number| event(&format!("{number}"), "O", r#"{"a":1}"#);
    (0..100).map(event).collect()
}

fn what_no_profile_is_known_for_waits_for_a_process_that_knows_it() {
    for on in On::ALL {
        let (mut stage, knows_own) = stage(on);
        register(&stage, "o", "own", "O");
        register(&stage, "s", "standard_webhooks", "S");
        knows_own.store(false, Ordering::SeqCst);
        restart(&mut stage);
        submit(&stage, many());
        submit(&stage, vec![event("behind", "S", "{}")]);
        stage.run_for(ONE_MS);
        assert_eq!(stage.sent().len(), 1, "it holds up nothing: {on:?}");
        assert_eq!(waiting(&stage).len(), 100);
        for round in 0..100 {
            stage.run_for(seconds(1));
            submit(&stage, vec![event(&format!("later-{round}"), "S", "{}")]);
            stage.run_for(ONE_MS);
            assert_eq!(stage.sent().len(), 2 + round, "{on:?}");
        }
        assert_eq!(waiting(&stage).len(), 100);

        knows_own.store(true, Ordering::SeqCst);
        restart(&mut stage);
        let before = stage.sent().len();
        stage.run_for(seconds(1));
        assert!(waiting(&stage).is_empty(), "{on:?}");
        let sent = stage.sent().split_off(before);
        let bodies = sent
            .iter()
            .map(|sent| String::from_utf8(sent.request.body().to_vec()).unwrap());
        let bodies: BTreeSet<_> = bodies.collect();
        assert_eq!(bodies.len(), 100, "each has an id of its own: {on:?}");
        assert!(
            bodies
                .iter()
                .all(|body| body.starts_with(r#"{"id_webhook_data":"#))
        );
    }
}

fn what_waits_is_looked_at_again_since_webhooks_change() {
    for on in On::ALL {
        let (mut stage, knows_own) = stage(on);
        register(&stage, "o", "own", "O");
        knows_own.store(false, Ordering::SeqCst);
        restart(&mut stage);
        submit(&stage, many());
        stage.run_for(seconds(45));
        register(&stage, "o", "standard_webhooks", "O");
        stage.run_until(seconds(60) - ONE_MS);
        assert_eq!(waiting(&stage).len(), 100, "{on:?}");
        stage.run_until(seconds(61));
        assert!(waiting(&stage).is_empty(), "{on:?}");
        assert_eq!(stage.sent().len(), 100);
    }
}

stories! {
    what_cannot_be_rendered_is_set_aside,
    what_no_profile_is_known_for_waits_for_a_process_that_knows_it,
    what_waits_is_looked_at_again_since_webhooks_change,
}
