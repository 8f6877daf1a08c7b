//! Registering: what is refused, what stays, and what is listed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::FutureExt;
use http::{Request, Response};
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{AutoDisable, Limits, Order, PlainProfile, Rate, Webhook};
use ringback::engine::{Dispatcher, Engine, RegisterError, Registration, TokioTimer};
use ringback::id::{Scope, WebhookId};
use ringback::retry::Schedule;
use ringback::store::{MemoryStore, SqliteStore, Store};
use ringback::testing::{Fault, FaultyStore, ManualTime};
use ringback::transport::sender_fn;

/// Whether it was refused for that.
type Is = fn(&RegisterError) -> bool;

const URL: &str = "https://example.com/hook?token=t";

fn dispatcher(store: impl Store) -> Dispatcher {
    let sender = sender_fn(|_: Request<Bytes>| async { Ok(Response::new(Bytes::new())) });
    Engine::builder(store, sender, TokioTimer)
        .profile(PlainProfile::new("plain", Schedule::never()))
        .build()
        .dispatcher()
}

fn dispatchers() -> [Dispatcher; 2] {
    let sqlite = SqliteStore::builder().inline().open_in_memory().unwrap();
    [dispatcher(MemoryStore::new()), dispatcher(sqlite)]
}

/// A registration that says everything there is to say but how failures are tried again.
fn full() -> Registration {
    Registration::new("s", URL, "plain")
        .id("w")
        .name("orders")
        .events(["order.*", "payment.settled"])
        .auth("key")
        .limits(Limits {
            in_flight: NonZeroU32::new(3).unwrap(),
            rate: Some(Rate::per_second(NonZeroU32::new(20).unwrap())),
        })
        .order(Order::Strict)
        .deadline(Duration::from_secs(7))
        .auto_disable(AutoDisable::never().after(Duration::from_secs(3_600)).when_gone())
}

async fn registered(dispatcher: &Dispatcher) -> Webhook {
    let hmac = AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, "secret"));
    dispatcher.save_auth("key", "key", hmac).await.unwrap();
    dispatcher.register(full()).await.unwrap()
}

#[tokio::test]
async fn a_part_is_changed_and_the_rest_stays() {
    for dispatcher in dispatchers() {
        let webhook = registered(&dispatcher).await;
        let same = dispatcher
            .update(&webhook.id, Registration::from(&webhook))
            .await
            .unwrap();
        let expected = Webhook {
            updated_at: same.updated_at,
            ..webhook.clone()
        };
        assert_eq!(same, expected, "registering what a webhook is changes nothing");

        let renamed = Registration::from(&webhook).name("all orders");
        let renamed = dispatcher.update(&webhook.id, renamed).await.unwrap();
        let expected = Webhook {
            name: "all orders".to_owned(),
            updated_at: renamed.updated_at,
            ..webhook.clone()
        };
        assert_eq!(renamed, expected);
        assert_eq!(
            dispatcher.webhook(&webhook.id).await.unwrap().as_deref(),
            Some(&renamed)
        );
    }
}

#[tokio::test]
async fn a_switch_is_one_call_and_registering_again_leaves_it() {
    for dispatcher in dispatchers() {
        let webhook = registered(&dispatcher).await;
        assert!(webhook.enabled);
        let off = dispatcher.disable(&webhook.id).await.unwrap().unwrap();
        assert!(!off.enabled && off.disabled.is_none());
        assert!(!dispatcher.register(full()).await.unwrap().enabled);
        assert!(dispatcher.register(full().enabled(true)).await.unwrap().enabled);
        assert!(dispatcher.enable(&webhook.id).await.unwrap().unwrap().enabled);
        assert_eq!(dispatcher.enable(&"nobody".into()).await.unwrap(), None);
        assert_eq!(dispatcher.disable(&"nobody".into()).await.unwrap(), None);
    }
}

/// Two dispatchers of one store. The second is told a second late, the first time, what a webhook is.
fn quick_and_slow(time: &ManualTime) -> (Dispatcher, Dispatcher) {
    let store = MemoryStore::new();
    let mut has_looked = false;
    let slow = FaultyStore::new(Arc::new(store.clone()), Arc::new(time.clone()), move |method| {
        if method == "webhook" && !std::mem::replace(&mut has_looked, true) {
            return Fault::AnsweredLate(Duration::from_secs(1));
        }
        Fault::None
    });
    (dispatcher(store), dispatcher(slow))
}

#[tokio::test]
async fn registering_again_leaves_disabled_what_is_disabled_meanwhile() {
    let time = ManualTime::new(DateTime::UNIX_EPOCH);
    let (running, starting) = quick_and_slow(&time);
    let registration = || Registration::new("s", URL, "plain").id("w");
    running.register(registration()).await.unwrap();

    let mut registering = Box::pin(starting.register(registration().name("anew")));
    assert!(registering.as_mut().now_or_never().is_none());
    running.disable(&"w".into()).await.unwrap();
    time.advance(Duration::from_secs(1));
    let webhook = registering.await.unwrap();
    assert_eq!((webhook.name.as_str(), webhook.enabled), ("anew", false));
    let saved = running.webhook(&"w".into()).await.unwrap();
    assert_eq!(saved.as_deref(), Some(&webhook));
}

#[tokio::test]
async fn an_update_does_not_bring_back_what_is_removed_meanwhile() {
    let time = ManualTime::new(DateTime::UNIX_EPOCH);
    let (quick, slow) = quick_and_slow(&time);
    let registration = || Registration::new("s", URL, "plain").id("w");
    quick.register(registration()).await.unwrap();

    let id = "w".into();
    let mut updating = Box::pin(slow.update(&id, registration().name("anew")));
    assert!(updating.as_mut().now_or_never().is_none());
    quick.remove(&id).await.unwrap();
    time.advance(Duration::from_secs(1));
    assert!(matches!(updating.await, Err(RegisterError::UnknownWebhook(_))));
    assert_eq!(quick.webhook(&id).await.unwrap(), None);
}

#[tokio::test]
async fn a_webhook_is_not_moved_to_another_scope() {
    for dispatcher in dispatchers() {
        let webhook = registered(&dispatcher).await;
        let elsewhere = || Registration::new("elsewhere", URL, "plain").id("w");
        for refused in [
            dispatcher.register(elsewhere()).await,
            dispatcher.update(&webhook.id, elsewhere()).await,
        ] {
            assert!(matches!(refused, Err(RegisterError::ScopeChanged)));
        }
        assert!(dispatcher.webhooks(&"elsewhere".into()).await.unwrap().is_empty());
        // Removed first, its id is free.
        dispatcher.remove(&webhook.id).await.unwrap();
        dispatcher.register(elsewhere()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_out_of_all_proportion_is_refused() {
    let dispatcher = dispatcher(MemoryStore::new());
    let long = "x".repeat(513);
    let plain = || Registration::new("s", URL, "plain");
    let refusals: [(Registration, Is); 9] = [
        (plain().id(""), |why| matches!(why, RegisterError::EmptyId)),
        (plain().id(long.as_str()), |why| {
            matches!(why, RegisterError::TooLong)
        }),
        (plain().name(long.as_str()), |why| {
            matches!(why, RegisterError::TooLong)
        }),
        (plain().events([long.as_str()]), |why| {
            matches!(why, RegisterError::TooLong)
        }),
        (Registration::new(long.as_str(), URL, "plain"), |why| {
            matches!(why, RegisterError::TooLong)
        }),
        (plain().events(vec!["a"; 1_001]), |why| {
            matches!(why, RegisterError::TooManyPatterns)
        }),
        (plain().events([""]), |why| {
            matches!(why, RegisterError::Pattern(_))
        }),
        (plain().deadline(Duration::ZERO), |why| {
            matches!(why, RegisterError::ZeroSpan)
        }),
        (
            plain().auto_disable(AutoDisable::never().after(Duration::ZERO)),
            |why| matches!(why, RegisterError::ZeroSpan),
        ),
    ];
    for (registration, is_why) in refusals {
        let shown = format!("{registration:?}");
        let refused = dispatcher.register(registration).await.unwrap_err();
        assert!(is_why(&refused), "{refused}: {shown:.200}");
        assert!(
            !refused.to_string().contains("xxx"),
            "what was refused is not repeated"
        );
    }
    // What is large but not too large is taken, and nothing at all is a choice.
    let large = plain().name("x".repeat(512)).events(vec!["a"; 1_000]);
    dispatcher.register(large).await.unwrap();
    dispatcher
        .register(plain().events(Vec::<String>::new()))
        .await
        .unwrap();
}

#[tokio::test]
async fn all_webhooks_are_listed_page_by_page() {
    for dispatcher in dispatchers() {
        for n in 0..25 {
            let registration = Registration::new(format!("s{}", n % 3), URL, "plain").id(format!("w{n:02}"));
            dispatcher.register(registration).await.unwrap();
        }
        let (mut listed, mut after): (Vec<WebhookId>, _) = (Vec::new(), None);
        loop {
            let page = dispatcher.all_webhooks(after.as_ref(), 10).await.unwrap();
            listed.extend(page.iter().map(|webhook| webhook.id.clone()));
            after = listed.last().cloned();
            if page.len() < 10 {
                break;
            }
        }
        let expected: Vec<_> = (0..25).map(|n| WebhookId::from(format!("w{n:02}"))).collect();
        assert_eq!(listed, expected);
        let of_one = dispatcher.webhooks(&Scope::from("s1")).await.unwrap();
        assert_eq!(of_one.len(), 8);
    }
}
