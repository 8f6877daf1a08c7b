//! Webhooks that only fail: given notice, disabled, and enabled again with nothing lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use ringback::delivery::{AutoDisable, DisableReason, Order, State};
use ringback::engine::{Engine, EngineBuilder, Notice, RegisterError, Registration, listener_fn};
use ringback::testing::Reply;

use super::stage::{Crew, On, Stage, URL, at, event, minutes, seconds, worker};

/// A worker and the upkeep.
fn crew(engine: &Engine) -> Crew {
    let upkeep = engine.upkeep();
    let mut crew = worker(engine);
    crew.push(Box::pin(async move { upkeep.run().await.unwrap() }));
    crew
}

type Heard = Arc<Mutex<Vec<(Duration, Notice)>>>;

/// A webhook that is disabled after 100 minutes of nothing but failures, and what is told of webhooks.
fn stage(on: On, mut script: impl FnMut(Duration) -> StatusCode + Send + 'static) -> (Stage, Heard) {
    let heard = Heard::default();
    let (listener, clock) = (heard.clone(), Arc::new(Mutex::new(None)));
    let watch = Arc::clone(&clock);
    let settings = move |builder: EngineBuilder| {
        let (heard, clock) = (listener.clone(), Arc::clone(&watch));
        builder.listener(listener_fn(move |notice| {
            if !matches!(notice, Notice::Delivered { .. } | Notice::Dead { .. }) {
                let time: &Option<ringback::testing::ManualTime> = &clock.lock().unwrap();
                let passed = time.as_ref().unwrap().passed();
                heard.lock().unwrap().push((passed, notice.clone()));
            }
        }))
    };
    let script = move |_: &Request<Bytes>, now| Reply::status(script(now));
    let stage = Stage::with(on, script, settings, crew);
    *clock.lock().unwrap() = Some(stage.time.clone());
    let rule = AutoDisable::never().after(minutes(100));
    let registration = Registration::new("s", URL, "yodlee").id("w").auto_disable(rule);
    stage.ask(stage.dispatcher().register(registration)).unwrap();
    (stage, heard)
}

fn enqueue(stage: &Stage, id: &str) -> ringback::id::DeliveryId {
    stage.enqueue(event(id, r#"{"event":{}}"#))
}

/// Who was told what, in short.
fn told(heard: &Heard) -> Vec<(Duration, &'static str)> {
    let heard = heard.lock().unwrap();
    let short = heard.iter().map(|(at, notice)| {
        let what = match notice {
            Notice::WillBeDisabled { .. } => "will be disabled",
            Notice::Disabled { .. } => "disabled",
            Notice::Recovered { .. } => "recovered",
            _ => "something else",
        };
        (*at, what)
    });
    short.collect()
}

fn notice_is_given_at_half_time_then_it_is_disabled_and_one_call_enables_it_again() {
    for on in On::ALL {
        let (mut stage, heard) = stage(on, |now| match now < minutes(200) {
            true => StatusCode::BAD_GATEWAY,
            false => StatusCode::OK,
        });
        stage.run_until(minutes(5));
        let first = enqueue(&stage, "1");
        stage.run_until(minutes(90));
        let second = enqueue(&stage, "2");
        stage.run_until(minutes(300));

        let begun = minutes(5);
        assert_eq!(
            told(&heard),
            [
                (begun + minutes(50), "will be disabled"),
                (begun + minutes(100), "disabled")
            ]
        );
        let heard_of = heard.lock().unwrap()[0].1.clone();
        assert!(
            matches!(heard_of, Notice::WillBeDisabled { disables_at, failing_since, .. }
            if disables_at == at(minutes(105)) && failing_since == at(begun))
        );
        let webhook = stage
            .ask(stage.dispatcher().webhook(&"w".into()))
            .unwrap()
            .unwrap();
        let disabled = webhook.disabled.unwrap();
        assert_eq!(disabled.at, at(minutes(105)));
        assert_eq!(disabled.reason, DisableReason::Failing { since: at(begun) });

        // Of the marks since minute 5, that of minute 80 was the last that was served.
        let last = stage.sent_at().into_iter().max().unwrap();
        assert_eq!(last, minutes(100), "the second's first mark");
        let third = enqueue(&stage, "3");
        for id in [first, second, third] {
            assert_eq!(stage.delivery(id).state, State::Pending, "nothing is lost");
        }
        stage
            .ask(stage.dispatcher().enable(&"w".into()))
            .unwrap()
            .unwrap();
        stage.run_for(seconds(1));
        for id in [first, second, third] {
            assert_eq!(stage.delivery(id).state, State::Delivered);
        }
        stage.run_for(minutes(500));
        assert_eq!(told(&heard).len(), 2, "it is failing no more");
    }
}

fn a_success_in_time_is_a_recovery_and_the_time_starts_anew() {
    for on in On::ALL {
        let (mut stage, heard) = stage(on, |now| match now == minutes(80) {
            true => StatusCode::OK,
            false => StatusCode::BAD_GATEWAY,
        });
        enqueue(&stage, "1");
        stage.run_until(minutes(100));
        enqueue(&stage, "2");
        stage.run_until(minutes(210));
        assert_eq!(
            told(&heard),
            [
                (minutes(50), "will be disabled"),
                (minutes(80), "recovered"),
                (minutes(150), "will be disabled"),
                (minutes(200), "disabled"),
            ]
        );
    }
}

fn whatever_crashes_a_webhook_is_disabled_in_its_time_and_not_before_and_nothing_is_lost() {
    for (on, seed) in On::ALL
        .into_iter()
        .flat_map(|on| (0..6).map(move |seed| (on, seed)))
    {
        let (stage, heard) = stage(on, |now| match now < minutes(200) {
            true => StatusCode::BAD_GATEWAY,
            false => StatusCode::OK,
        });
        let mut stage = stage.crashing(seed);
        let ids: Vec<_> = (0..5)
            .map(|n| {
                stage.run_until(minutes(15 * n));
                enqueue(&stage, &n.to_string())
            })
            .collect();
        stage.run_until(minutes(250));
        let webhook = stage
            .ask(stage.dispatcher().webhook(&"w".into()))
            .unwrap()
            .unwrap();
        let disabled = webhook.disabled.unwrap();
        let DisableReason::Failing { since } = disabled.reason else {
            panic!("{disabled:?}")
        };
        let waited = ringback::time::elapsed(since, disabled.at);
        assert!(
            waited >= minutes(100) && waited <= minutes(101),
            "{on:?} {seed}: {waited:?}"
        );
        let times = told(&heard)
            .iter()
            .filter(|(_, what)| *what == "disabled")
            .count();
        assert!(times <= 1, "{on:?} {seed}: a webhook is disabled once");
        stage.ask(stage.dispatcher().enable(&"w".into())).unwrap();
        stage.run_for(minutes(400));
        for id in ids {
            assert_eq!(stage.delivery(id).state, State::Delivered, "{on:?} {seed}");
        }
    }
}

fn listeners_are_warned_of_bad_health_once_and_told_when_it_is_over() {
    for on in On::ALL {
        let (mut stage, heard) = stage(on, |now| match now < minutes(10) {
            true => StatusCode::BAD_GATEWAY,
            false => StatusCode::OK,
        });
        stage.register("busy", "truelayer");
        stage.ask(stage.dispatcher().remove(&"w".into())).unwrap();
        for n in 0..40 {
            stage.run_until(minutes(2 * n) + seconds(1));
            enqueue(&stage, &n.to_string());
        }
        stage.run_until(minutes(120));
        let heard = heard.lock().unwrap();
        let of_health: Vec<_> = heard
            .iter()
            .filter_map(|(at, notice)| match notice {
                Notice::HealthWarning { warning, health, .. } => {
                    assert!(warning.is_failing && !warning.is_slow && health.attempts >= 10);
                    Some((*at, "warning"))
                }
                Notice::HealthRestored { health, .. } => {
                    assert!(health.success_percent().is_some_and(|percent| percent > 50));
                    Some((*at, "restored"))
                }
                _ => None,
            })
            .collect();
        let [(warned, "warning"), (restored, "restored")] = of_health[..] else {
            panic!("{of_health:?}")
        };
        assert!(warned < minutes(6) && restored > minutes(30), "{of_health:?}");
    }
}

fn bad_health_is_not_over_because_less_is_sent() {
    for on in On::ALL {
        let (mut stage, heard) = stage(on, |now| match now < minutes(300) {
            true => StatusCode::BAD_GATEWAY,
            false => StatusCode::OK,
        });
        stage.register("busy", "truelayer");
        stage.ask(stage.dispatcher().remove(&"w".into())).unwrap();
        for n in 0..12 {
            enqueue(&stage, &n.to_string());
        }
        // One that fails in an hour in which nothing else is sent, and then nothing at all.
        stage.run_until(minutes(100));
        enqueue(&stage, "late");
        stage.run_until(minutes(301));
        let of_health = || {
            let heard = heard.lock().unwrap();
            let notices = heard.iter().filter_map(|(_, notice)| match notice {
                Notice::HealthWarning { .. } => Some("warning"),
                Notice::HealthRestored { .. } => Some("restored"),
                _ => None,
            });
            notices.collect::<Vec<_>>()
        };
        assert_eq!(of_health(), ["warning"]);
        enqueue(&stage, "well");
        stage.run_until(minutes(320));
        assert_eq!(of_health(), ["warning", "restored"]);
    }
}

fn powens_webhooks_are_never_disabled_by_the_engine() {
    let (stage, _) = stage(On::ALL[0], |_| StatusCode::OK);
    for rule in [
        AutoDisable::never().after(minutes(1)),
        AutoDisable::never().when_gone(),
    ] {
        let registration = Registration::new("s", URL, "powens")
            .order(Order::Any)
            .auto_disable(rule);
        let refused = stage.ask(stage.dispatcher().register(registration));
        assert!(
            matches!(refused, Err(RegisterError::NeverDisabled(profile)) if profile.as_str() == "powens")
        );
    }
}

stories! {
    notice_is_given_at_half_time_then_it_is_disabled_and_one_call_enables_it_again,
    a_success_in_time_is_a_recovery_and_the_time_starts_anew,
    whatever_crashes_a_webhook_is_disabled_in_its_time_and_not_before_and_nothing_is_lost,
    listeners_are_warned_of_bad_health_once_and_told_when_it_is_over,
    bad_health_is_not_over_because_less_is_sent,
    powens_webhooks_are_never_disabled_by_the_engine,
}
