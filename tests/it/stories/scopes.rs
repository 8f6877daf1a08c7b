//! Whatever is registered, moved, removed, registered anew, held, replayed or interrupted: an event of one scope never
//! reaches a webhook of another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;
use ringback::delivery::{Event, Order, Target};
use ringback::engine::{RegisterError, Registration};
use ringback::id::{DeliveryId, Scope, WebhookId};
use ringback::store::{NewDelivery, NewEvent, Saved};
use ringback::testing::Reply;

use super::stage::{On, Stage, minutes, seconds};

/// What somebody does, or what happens. Webhooks and scopes are few, so that ids are used again and again.
#[derive(Debug, Clone)]
enum Op {
    Register {
        webhook: u8,
        scope: u8,
        strict: bool,
        enabled: Option<bool>,
    },
    Update {
        webhook: u8,
        scope: u8,
    },
    /// Saves a webhook as another process might that has not heard of what happened since.
    SaveStale {
        webhook: u8,
        scope: u8,
    },
    Remove(u8),
    Switch(u8, bool),
    Unsubscribe(u8),
    Resubscribe(u8),
    Hold {
        scope: u8,
        subject: u8,
    },
    Release {
        scope: u8,
        subject: u8,
    },
    Enqueue {
        scope: u8,
        subject: Option<u8>,
    },
    /// Enqueues for a webhook as another process might that listed it before it was moved.
    EnqueueStale {
        scope: u8,
        webhook: u8,
        test: bool,
    },
    SendTest {
        scope: u8,
        webhook: u8,
    },
    Replay(usize),
    ReplayDead(u8),
    Advance(u64),
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let (webhook, scope, subject) = (|| 0u8..3, || 0u8..3, || 0u8..2);
    prop_oneof![
        6 => (webhook(), scope(), any::<bool>(), proptest::option::of(prop::bool::weighted(0.8)))
            .prop_map(|(webhook, scope, strict, enabled)| Op::Register { webhook, scope, strict, enabled }),
        2 => (webhook(), scope()).prop_map(|(webhook, scope)| Op::Update { webhook, scope }),
        2 => (webhook(), scope()).prop_map(|(webhook, scope)| Op::SaveStale { webhook, scope }),
        4 => webhook().prop_map(Op::Remove),
        1 => (webhook(), any::<bool>()).prop_map(|(webhook, on)| Op::Switch(webhook, on)),
        1 => webhook().prop_map(Op::Unsubscribe),
        1 => webhook().prop_map(Op::Resubscribe),
        1 => (scope(), subject()).prop_map(|(scope, subject)| Op::Hold { scope, subject }),
        1 => (scope(), subject()).prop_map(|(scope, subject)| Op::Release { scope, subject }),
        8 => (scope(), proptest::option::of(subject())).prop_map(|(scope, subject)| Op::Enqueue { scope, subject }),
        3 => (scope(), webhook(), any::<bool>())
            .prop_map(|(scope, webhook, test)| Op::EnqueueStale { scope, webhook, test }),
        2 => (scope(), webhook()).prop_map(|(scope, webhook)| Op::SendTest { scope, webhook }),
        3 => (0usize..60).prop_map(Op::Replay),
        1 => webhook().prop_map(Op::ReplayDead),
        6 => (0u64..200).prop_map(Op::Advance),
        1 => Just(Op::Crash),
    ]
}

fn webhook(number: u8) -> WebhookId {
    format!("w{number}").into()
}

fn scope(number: u8) -> Scope {
    format!("s{number}").into()
}

/// Where a webhook of that scope leads: the host says which scope it was registered in.
fn registration(number: u8, of: u8) -> Registration {
    let url = format!("https://s{of}.example/w{number}");
    Registration::new(scope(of), url, "truv").id(webhook(number))
}

/// An event whose body says which scope it is of.
fn event(of: u8, number: usize, subject: Option<u8>) -> Event {
    let body = format!(r#"{{"scope":"s{of}"}}"#);
    let event = Event::builder(scope(of), format!("e{number}"), "t").json(body);
    let event = match subject {
        Some(subject) => event.subject(format!("u{subject}")),
        None => event,
    };
    event.build().unwrap()
}

fn play(on: On, ops: &[Op]) -> usize {
    // Two of three requests fail, some of them slowly, so that much is under way, and much is tried again.
    let mut requests = 0;
    let script = move |_: &Request<Bytes>, _| {
        requests += 1;
        match requests % 6 {
            0 | 3 => Reply::status(StatusCode::OK),
            1 => Reply::hang(),
            2 => Reply::status(StatusCode::GONE).after(seconds(5)),
            _ => Reply::status(StatusCode::BAD_GATEWAY),
        }
    };
    let mut stage = Stage::new(on, script);
    for (number, op) in ops.iter().enumerate() {
        act(&mut stage, number, op);
    }
    stage.run_for(minutes(10));
    let sent = stage.sent();
    for sent in &sent {
        let body = String::from_utf8(sent.request.body().to_vec()).unwrap();
        let host = sent.request.uri().host().unwrap();
        let (reached, of) = (host.strip_suffix(".example").unwrap(), body.contains(&host[..2]));
        assert!(of, "an event of another scope reached {reached}: {body}");
    }
    sent.len()
}

fn act(stage: &mut Stage, number: usize, op: &Op) {
    let dispatcher = stage.dispatcher();
    match op.clone() {
        Op::Register {
            webhook: id,
            scope: of,
            strict,
            enabled,
        } => {
            let order = if strict { Order::Strict } else { Order::Any };
            let mut registration = registration(id, of).order(order);
            if let Some(enabled) = enabled {
                registration = registration.enabled(enabled);
            }
            registered(stage.ask(dispatcher.register(registration)));
        }
        Op::Update {
            webhook: id,
            scope: of,
        } => {
            registered(stage.ask(dispatcher.update(&webhook(id), registration(id, of))));
        }
        Op::SaveStale {
            webhook: id,
            scope: of,
        } => {
            let present = stage.ask(dispatcher.webhook(&webhook(id))).unwrap();
            if let Some(present) = present {
                let mut stale = (*present).clone();
                stale.scope = scope(of);
                stale.url =
                    ringback::url::WebhookUrl::parse(&format!("https://s{of}.example/stale")).unwrap();
                let now = stage.now();
                let saved = stage.ask(stage.store().save_webhook(stale, now)).unwrap();
                assert_eq!(saved == Saved::Done, present.scope == scope(of));
            }
        }
        Op::Remove(id) => drop(stage.ask(dispatcher.remove(&webhook(id))).unwrap()),
        Op::Switch(id, true) => drop(stage.ask(dispatcher.enable(&webhook(id))).unwrap()),
        Op::Switch(id, false) => drop(stage.ask(dispatcher.disable(&webhook(id))).unwrap()),
        Op::Unsubscribe(id) => drop(stage.ask(dispatcher.unsubscribe(&webhook(id))).unwrap()),
        Op::Resubscribe(id) => {
            let window = Duration::from_secs(6 * 60 * 60);
            stage.ask(dispatcher.resubscribe(&webhook(id), window)).unwrap();
        }
        Op::Hold { scope: of, subject } => {
            let subject = format!("u{subject}").into();
            stage.ask(dispatcher.hold_subject(&scope(of), &subject)).unwrap();
        }
        Op::Release { scope: of, subject } => {
            let subject = format!("u{subject}").into();
            stage
                .ask(dispatcher.release_subject(&scope(of), &subject))
                .unwrap();
        }
        Op::Enqueue { scope: of, subject } => {
            stage.ask(dispatcher.enqueue(event(of, number, subject))).unwrap();
        }
        Op::EnqueueStale {
            scope: of,
            webhook: id,
            test,
        } => {
            let target = match test {
                true => Target::Test(webhook(id)),
                false => Target::Webhook(webhook(id)),
            };
            let new = NewEvent {
                event: Arc::new(event(of, number, None)),
                deliveries: vec![NewDelivery { target, body: None }],
            };
            let now = stage.now();
            stage.ask(stage.store().enqueue(vec![new], now)).unwrap();
        }
        Op::SendTest {
            scope: of,
            webhook: id,
        } => {
            // Refused where the webhook is of another scope.
            let _ = stage.ask(dispatcher.send_test(&webhook(id), event(of, number, None)));
        }
        Op::Replay(id) => {
            let id = DeliveryId(id as i64);
            stage.ask(dispatcher.replay(id)).unwrap();
        }
        Op::ReplayDead(id) => replay_dead(stage, &webhook(id)),
        Op::Advance(span) => stage.run_for(seconds(span)),
        Op::Crash => {
            stage.crash();
            stage.start();
        }
    }
}

fn replay_dead(stage: &Stage, id: &WebhookId) {
    let request = ringback::store::ReplayDead {
        webhook: id.clone(),
        since: None,
        after: None,
        max: 10,
    };
    let now = stage.now();
    stage.ask(stage.store().replay_dead(request, now)).unwrap();
}

fn registered<T>(registered: Result<T, RegisterError>) {
    assert!(matches!(
        registered,
        Ok(_) | Err(RegisterError::ScopeChanged | RegisterError::UnknownWebhook(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn an_event_never_reaches_a_webhook_of_another_scope(ops in vec(op(), 1..80)) {
        let sent = On::ALL.map(|on| play(on, &ops));
        prop_assert_eq!(sent[0], sent[1], "both stores send alike");
    }
}
