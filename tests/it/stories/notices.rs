//! What listeners hear, and tests on demand.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, StatusCode};
use ringback::delivery::{AutoDisable, DeadReason, DisableReason, State, Target};
use ringback::engine::{EnqueueError, Listener, Notice, Registration, listener_fn};
use ringback::testing::Reply;

use super::stage::{On, Stage, URL, event, minutes, seconds, worker};

/// All notices, as text.
#[derive(Default, Clone)]
struct Heard(Arc<Mutex<Vec<Notice>>>);

impl Heard {
    fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heard")
    }
}

impl Listener for Heard {
    fn notice(&self, notice: &Notice) {
        self.0.lock().unwrap().push(notice.clone());
    }
}

/// A stage whose engine tells these listeners, the first of which panics.
fn stage(
    on: On,
    script: impl FnMut(&Request<bytes::Bytes>, Duration) -> Reply + Send + 'static,
) -> (Stage, Heard) {
    let heard = Heard::default();
    let listener = heard.clone();
    let settings = move |builder: ringback::engine::EngineBuilder| {
        builder
            .listener(listener_fn(|_| panic!("a bug in a user's listener")))
            .listener(listener.clone())
    };
    (Stage::with(on, script, settings, worker), heard)
}

fn listeners_hear_of_deliveries_that_end_and_of_webhooks_that_recover() {
    for on in On::ALL {
        let (mut stage, heard) = stage(on, |_, now| match now < minutes(2) {
            true => Reply::status(StatusCode::BAD_GATEWAY),
            false => Reply::status(StatusCode::OK),
        });
        stage.register("w", "truv");
        let dead = stage.enqueue(event("1", "{}"));
        stage.run_until(seconds(60));
        let delivered = stage.enqueue(event("2", "{}"));
        stage.run_until(minutes(10));
        let last = stage.enqueue(event("3", "{}"));
        stage.run_until(minutes(11));

        let heard = heard.take();
        let [first, second, third, fourth] = &heard[..] else {
            panic!("{heard:?}")
        };
        let Notice::Dead { delivery, reason, .. } = first else {
            panic!("{first}")
        };
        assert_eq!(
            (delivery.id, delivery.attempts, *reason),
            (dead, 4, DeadReason::Exhausted)
        );
        assert_eq!((delivery.event.as_str(), delivery.kind.as_str()), ("1", "t"));
        assert_eq!(delivery.webhook, Some("w".into()));
        assert!(
            matches!(second, Notice::Delivered { delivery, .. } if delivery.id == delivered && delivery.attempts == 3)
        );
        let Notice::Recovered {
            webhook,
            failing_since,
            ..
        } = third
        else {
            panic!("{third}")
        };
        assert_eq!(
            (webhook.id.as_str(), *failing_since),
            ("w", super::stage::at(Duration::ZERO))
        );
        assert!(matches!(fourth, Notice::Delivered { delivery, .. } if delivery.id == last));
    }
}

fn a_receiver_that_is_gone_disables_its_webhook_and_the_rest_is_kept() {
    for on in On::ALL {
        let (mut stage, heard) = stage(on, |_, now| match now < minutes(5) {
            true => Reply::status(StatusCode::GONE),
            false => Reply::status(StatusCode::OK),
        });
        let registration = Registration::new("s", URL, "truv")
            .id("w")
            .auto_disable(AutoDisable::never().when_gone());
        stage
            .ask(stage.dispatcher().register(registration.clone()))
            .unwrap();
        let gone = stage.enqueue(event("1", "{}"));
        stage.run_until(minutes(1));
        let kept = stage.enqueue(event("2", "{}"));
        stage.run_until(minutes(6));

        assert_eq!(stage.delivery(gone).state, State::Dead(DeadReason::Gone));
        assert_eq!(stage.delivery(kept).state, State::Pending);
        let notices = heard.take();
        assert!(
            matches!(&notices[..], [Notice::Dead { .. }, Notice::Disabled { webhook, reason: DisableReason::Gone, .. }]
                if webhook.id.as_str() == "w"),
            "{notices:?}"
        );
        // A service that registers at every start enables nothing by that.
        let webhook = stage.ask(stage.dispatcher().register(registration)).unwrap();
        assert!(!webhook.enabled && webhook.disabled.is_some());
        stage.run_until(minutes(7));
        assert_eq!(stage.sent().len(), 1);

        let webhook = stage
            .ask(stage.dispatcher().enable(&"w".into()))
            .unwrap()
            .unwrap();
        assert!(webhook.enabled && webhook.disabled.is_none());
        stage.run_until(minutes(8));
        assert_eq!(stage.delivery(kept).state, State::Delivered);
    }
}

fn a_test_goes_to_one_webhook_alone_says_what_it_is_and_counts_for_nothing() {
    for on in On::ALL {
        let (mut stage, heard) = stage(on, |request, _| {
            match request.headers().contains_key("webhook-test") {
                true => Reply::status(StatusCode::IM_A_TEAPOT),
                false => Reply::status(StatusCode::OK),
            }
        });
        stage.register("other", "truv");
        let registration = Registration::new("s", URL, "truv")
            .id("w")
            .events(["nothing-of-the-sort"])
            .enabled(false);
        let dispatcher = stage.dispatcher();
        stage.ask(dispatcher.register(registration)).unwrap();
        let receipt = stage
            .ask(dispatcher.send_test(&"w".into(), event("test", "{}")))
            .unwrap();
        let [id] = receipt.deliveries[..] else {
            panic!("{receipt:?}")
        };
        stage.run_until(minutes(60));

        let sent = stage.sent();
        assert_eq!(sent.len(), 1, "one attempt, to one webhook");
        assert_eq!(sent[0].request.headers()["webhook-test"], "true");
        let record = stage.delivery(id);
        assert_eq!(record.target, Target::Test("w".into()));
        assert_eq!(record.state, State::Dead(DeadReason::Exhausted));
        assert_eq!(stage.attempts(id).len(), 1);
        let notices = heard.take();
        assert!(
            matches!(&notices[..], [Notice::Dead { delivery, .. }] if delivery.is_test),
            "{notices:?}"
        );
        // The same test again is the same event; another is sent.
        let again = stage
            .ask(dispatcher.send_test(&"w".into(), event("test", "{}")))
            .unwrap();
        assert!(!again.is_new);
        let elsewhere = ringback::delivery::Event::builder("elsewhere", "x", "t")
            .build()
            .unwrap();
        let refused = stage.ask(dispatcher.send_test(&"w".into(), elsewhere));
        assert!(matches!(refused, Err(EnqueueError::UnknownWebhook(_))));
        let refused = stage.ask(dispatcher.send_test(&"nobody".into(), event("y", "{}")));
        assert!(matches!(refused, Err(EnqueueError::UnknownWebhook(_))));

        // What is no test has no such header.
        stage.enqueue(event("1", "{}"));
        stage.run_until(minutes(61));
        assert!(!stage.sent()[1].request.headers().contains_key("webhook-test"));
    }
}

fn a_test_that_a_crash_interrupts_is_over() {
    for on in On::ALL {
        let (mut stage, _) = stage(on, |_, _| Reply::hang());
        stage.register("w", "truv");
        let receipt = stage
            .ask(stage.dispatcher().send_test(&"w".into(), event("test", "{}")))
            .unwrap();
        stage.run_until(seconds(1));
        stage.crash();
        stage.start();
        stage.run_until(minutes(10));
        assert_eq!(stage.sent().len(), 1);
        assert_eq!(
            stage.delivery(receipt.deliveries[0]).state,
            State::Dead(DeadReason::Exhausted)
        );
    }
}

stories! {
    listeners_hear_of_deliveries_that_end_and_of_webhooks_that_recover,
    a_receiver_that_is_gone_disables_its_webhook_and_the_rest_is_kept,
    a_test_goes_to_one_webhook_alone_says_what_it_is_and_counts_for_nothing,
    a_test_that_a_crash_interrupts_is_over,
}
