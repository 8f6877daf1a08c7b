//! The SQLite store, promise by promise.

mod encryption;
mod files;
mod intake;
mod model;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use ringback::delivery::{
    AttemptReport, AutoDisable, Compression, DeadReason, Event, EventPattern, Limits, Order, Outcome, Pacing,
    Rate, State, Target, Webhook,
};
use ringback::id::{DeliveryId, EventId, Fence};
use ringback::store::{
    ClaimRequest, Claimed, DeliveryStore, EncryptionKey, Enqueued, Inspect, Keep, NewDelivery, NewEvent,
    NewTask, Next, Replayed, Seen, SeenKey, SeenStore, Settled, Settlement, SqliteStore, Switch, Switched,
    TaskEnd, TaskSettlement, TaskStore, WebhookStore,
};
use ringback::task::TaskStatus;
use ringback::url::WebhookUrl;

fn key(byte: u8) -> EncryptionKey {
    EncryptionKey::new([byte; 32])
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn webhook(id: &str, in_flight: u32) -> Webhook {
    Webhook {
        id: id.into(),
        scope: "s".into(),
        name: "a hook".into(),
        events: vec![EventPattern::any()],
        url: WebhookUrl::parse("https://example.com/hook?token=t").unwrap(),
        auth: Some("key".into()),
        profile: "p".into(),
        limits: Limits {
            in_flight: NonZeroU32::new(in_flight).unwrap(),
            rate: None,
        },
        order: Order::Any,
        enabled: true,
        disabled: None,
        auto_disable: AutoDisable::never(),
        deadline: Some(Duration::from_secs(3)),
        flusher: None,
        guard: None,
        compression: Compression::None,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn event(id: impl Into<EventId>, webhook: &str) -> NewEvent {
    let event = Event::builder("s", id, "ping").json(br#"{"a":1}"#.as_slice());
    NewEvent {
        event: Arc::new(event.build().unwrap()),
        deliveries: vec![NewDelivery {
            target: Target::Webhook(webhook.into()),
            body: None,
        }],
    }
}

fn claim(now: DateTime<Utc>, max: usize) -> ClaimRequest {
    ClaimRequest {
        holder: "test".into(),
        now,
        lease: Duration::from_secs(60),
        max,
    }
}

fn settlement(claimed: &Claimed, now: DateTime<Utc>, next: Next) -> Settlement {
    let outcome = match next {
        Next::Delivered => Outcome::Answered(StatusCode::NO_CONTENT),
        _ => Outcome::TimedOut,
    };
    Settlement {
        id: claimed.id,
        fence: claimed.fence,
        attempt: Some(AttemptReport {
            started_at: now,
            duration: Duration::from_millis(20),
            outcome,
            excerpt: Bytes::from_static(b"why"),
        }),
        next,
        pacing: Pacing::Keep,
    }
}

async fn enqueue(store: &SqliteStore, events: impl IntoIterator<Item = NewEvent>, now: DateTime<Utc>) {
    store.enqueue(events.into_iter().collect(), now).await.unwrap();
}

async fn ids_claimed(store: &SqliteStore, now: DateTime<Utc>, max: usize) -> Vec<i64> {
    let claimed = store.claim(claim(now, max)).await.unwrap();
    claimed.iter().map(|claimed| claimed.id.0).collect()
}

#[tokio::test]
async fn an_event_is_taken_in_once_and_its_id_means_one_event() {
    let store = SqliteStore::open_in_memory().unwrap();
    store.save_webhook(webhook("w", 5), at(0)).await.unwrap();
    let other = Event::builder("s", "e1", "ping")
        .json(b"{}".as_slice())
        .build()
        .unwrap();
    let other = NewEvent {
        event: Arc::new(other),
        deliveries: vec![],
    };
    let batch = vec![event("e1", "w"), event("e1", "w"), other, event("e2", "w")];
    assert_eq!(
        store.enqueue(batch, at(0)).await.unwrap(),
        [
            Enqueued::Fresh(vec![DeliveryId(1)]),
            Enqueued::Duplicate(vec![DeliveryId(1)]),
            Enqueued::Conflict,
            Enqueued::Fresh(vec![DeliveryId(2)]),
        ]
    );
}

#[tokio::test]
async fn whoever_lost_the_lease_changes_nothing_and_the_lost_attempt_counts() {
    let store = SqliteStore::open_in_memory().unwrap();
    store.save_webhook(webhook("w", 5), at(0)).await.unwrap();
    enqueue(&store, [event("e", "w")], at(0)).await;
    let first = store.claim(claim(at(0), 1)).await.unwrap().remove(0);
    assert!(ids_claimed(&store, at(59), 1).await.is_empty());
    let second = store.claim(claim(at(60), 1)).await.unwrap().remove(0);
    assert_eq!(
        (second.fence, second.attempts, second.interrupted),
        (Fence(2), 1, true)
    );
    assert_eq!(second.first_failure, Some(at(60)));

    let late = settlement(&first, at(61), Next::Delivered);
    assert_eq!(
        store.settle(vec![late], at(61)).await.unwrap(),
        [Settled::LeaseLost]
    );
    assert_eq!(
        store
            .release(vec![(first.id, first.fence)], at(61))
            .await
            .unwrap(),
        [Settled::LeaseLost]
    );
    let done = settlement(&second, at(61), Next::Delivered);
    assert_eq!(
        store.settle(vec![done.clone(), done], at(61)).await.unwrap(),
        [Settled::Done, Settled::LeaseLost]
    );

    let history = store.attempts(first.id).await.unwrap();
    let outcomes: Vec<_> = history
        .iter()
        .map(|attempt| (attempt.number, attempt.report.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            (1, Outcome::Interrupted),
            (2, Outcome::Answered(StatusCode::NO_CONTENT))
        ]
    );
    assert_eq!(history[0].report.duration, Duration::from_secs(60));
}

#[tokio::test]
async fn a_replay_starts_anew_and_history_goes_on() {
    let store = SqliteStore::open_in_memory().unwrap();
    store.save_webhook(webhook("w", 5), at(0)).await.unwrap();
    enqueue(&store, [event("e", "w")], at(0)).await;
    assert_eq!(
        store.replay(DeliveryId(1), at(0)).await.unwrap(),
        Replayed::NotFinal(State::Pending)
    );
    assert_eq!(
        store.replay(DeliveryId(2), at(0)).await.unwrap(),
        Replayed::Unknown
    );
    for round in 1..=3 {
        let claimed = store.claim(claim(at(round), 1)).await.unwrap().remove(0);
        assert_eq!((claimed.attempts, claimed.first_failure), (0, None));
        let dead = settlement(&claimed, at(round), Next::Exhausted);
        store.settle(vec![dead], at(round)).await.unwrap();
        let record = store.delivery(DeliveryId(1)).await.unwrap().unwrap();
        assert_eq!(record.state, State::Dead(DeadReason::Exhausted));
        assert_eq!(
            store.replay(DeliveryId(1), at(round)).await.unwrap(),
            Replayed::Done
        );
    }
    let numbers = store
        .attempts(DeliveryId(1))
        .await
        .unwrap()
        .iter()
        .map(|attempt| attempt.number)
        .collect::<Vec<_>>();
    assert_eq!(numbers, [1, 2, 3]);
    store.claim(claim(at(9), 1)).await.unwrap();
    store.remove_webhook(&"w".into(), at(9)).await.unwrap();
    store.settle(vec![], at(9)).await.unwrap();
    assert_eq!(
        store.replay(DeliveryId(1), at(9)).await.unwrap(),
        Replayed::NotFinal(State::Sending)
    );
}

#[tokio::test]
async fn in_a_strict_lane_a_failed_one_holds_up_the_rest() {
    let store = SqliteStore::open_in_memory().unwrap();
    let strict = Webhook {
        order: Order::Strict,
        ..webhook("w", 5)
    };
    store.save_webhook(strict, at(0)).await.unwrap();
    enqueue(&store, (0..3).map(|n| event(format!("e{n}"), "w")), at(0)).await;
    let first = store.claim(claim(at(0), 9)).await.unwrap();
    assert_eq!(first.len(), 1);
    store
        .settle(vec![settlement(&first[0], at(0), Next::Retry(at(50)))], at(0))
        .await
        .unwrap();
    assert!(ids_claimed(&store, at(49), 9).await.is_empty());
    assert_eq!(store.next_due(at(1)).await.unwrap(), Some(at(50)));
    assert_eq!(ids_claimed(&store, at(50), 9).await, [1]);
    // Without the order, the others need not wait for it.
    store.save_webhook(webhook("w", 5), at(50)).await.unwrap();
    assert_eq!(ids_claimed(&store, at(50), 9).await, [2, 3]);
}

#[tokio::test]
async fn a_rate_holds_and_says_when_it_opens() {
    let store = SqliteStore::open_in_memory().unwrap();
    let mut slow = webhook("w", 50);
    slow.limits.rate = Some(Rate {
        interval: Duration::from_secs(10),
        burst: NonZeroU32::new(2).unwrap(),
    });
    store.save_webhook(slow, at(0)).await.unwrap();
    enqueue(&store, (0..4).map(|n| event(format!("e{n}"), "w")), at(0)).await;
    assert_eq!(ids_claimed(&store, at(0), 9).await, [1, 2]);
    assert_eq!(store.next_due(at(0)).await.unwrap(), Some(at(10)));
    assert_eq!(ids_claimed(&store, at(9), 9).await, [] as [i64; 0]);
    assert_eq!(ids_claimed(&store, at(10), 9).await, [3]);
}

/// The lane keeps its place in the queue, by whichever clock it is asked for.
#[tokio::test]
async fn a_switch_that_changes_nothing_changes_nothing() {
    let store = SqliteStore::open_in_memory().unwrap();
    store.save_webhook(webhook("w", 5), at(0)).await.unwrap();
    enqueue(&store, [event("e1", "w")], at(5)).await;
    for switch in [Switch::On, Switch::OffIfFailingSince(at(0))] {
        let switched = store.switch_webhook(&"w".into(), switch, at(3)).await.unwrap();
        assert!(matches!(switched, Switched::Unchanged(_)), "{switched:?}");
        assert_eq!(store.next_due(at(3)).await.unwrap(), Some(at(3)));
    }
}

#[tokio::test]
async fn what_waits_for_a_removed_webhook_is_buried_bit_by_bit() {
    let store = SqliteStore::open_in_memory().unwrap();
    store.save_webhook(webhook("w", 5), at(0)).await.unwrap();
    store.save_webhook(webhook("other", 5), at(0)).await.unwrap();
    enqueue(&store, (0..600).map(|n| event(format!("e{n}"), "w")), at(0)).await;
    enqueue(&store, [event("last", "other")], at(0)).await;
    assert!(store.remove_webhook(&"w".into(), at(1)).await.unwrap());
    assert!(!store.remove_webhook(&"w".into(), at(1)).await.unwrap());
    assert_eq!(store.webhook(&"w".into()).await.unwrap(), None);
    let mut dead = Vec::new();
    for _ in 0..3 {
        ids_claimed(&store, at(1), 9).await;
        let mut count = 0;
        for id in 1..=600 {
            let record = store.delivery(DeliveryId(id)).await.unwrap().unwrap();
            count += usize::from(record.state == State::Dead(DeadReason::WebhookDeleted));
        }
        dead.push(count);
    }
    assert_eq!(dead, [256, 512, 600]);
    // Registered anew, it gets what is enqueued from now on.
    store.save_webhook(webhook("w", 5), at(2)).await.unwrap();
    enqueue(&store, [event("new", "w"), event("unknown", "nobody")], at(2)).await;
    assert_eq!(ids_claimed(&store, at(2), 9).await, [602]);
    let unknown = store.delivery(DeliveryId(603)).await.unwrap().unwrap();
    assert_eq!(unknown.state, State::Dead(DeadReason::WebhookDeleted));
    assert_eq!(unknown.target, Target::Webhook("nobody".into()));
}

#[tokio::test]
async fn a_task_ends_with_its_callback_or_not_at_all() {
    let store = SqliteStore::open_in_memory().unwrap();
    store.save_webhook(webhook("w", 5), at(0)).await.unwrap();
    let task = NewTask {
        id: "t".into(),
        credentials_id: "c".into(),
        request_uri: "/r".into(),
        input: Bytes::from_static(b"in"),
        results_uri: "/results/t".into(),
        webhook_uri: None,
        deadline: at(900),
    };
    assert_eq!(store.next_task_due(at(0)).await.unwrap(), None);
    assert!(store.create_task(task.clone(), at(0)).await.unwrap());
    assert!(!store.create_task(task, at(0)).await.unwrap());
    assert!(store.next_task_due(at(0)).await.unwrap().unwrap() <= at(0));
    let claimed = store.claim_tasks(claim(at(0), 4)).await.unwrap().remove(0);
    let renewed = store
        .renew_task(&claimed.task.id, claimed.fence, Duration::from_secs(90), at(10))
        .await;
    assert_eq!(renewed.unwrap(), Settled::Done);
    assert_eq!(store.next_task_due(at(10)).await.unwrap(), Some(at(100)));
    assert!(store.claim_tasks(claim(at(99), 4)).await.unwrap().is_empty());
    let again = store.claim_tasks(claim(at(100), 4)).await.unwrap().remove(0);
    assert_eq!(again.runs, 2);
    let keep = Keep {
        results_until: at(500),
        known_until: at(600),
    };
    let end = |fence| TaskSettlement {
        keep,
        id: "t".into(),
        fence: Some(fence),
        end: TaskEnd::Succeeded(Bytes::from_static(b"out")),
        callback: Some(event(format!("callback {fence}"), "w")),
    };
    assert_eq!(
        store.finish_task(end(claimed.fence), at(101)).await.unwrap(),
        Settled::LeaseLost
    );
    assert_eq!(
        store.finish_task(end(again.fence), at(101)).await.unwrap(),
        Settled::Done
    );
    assert_eq!(
        store.finish_task(end(again.fence), at(101)).await.unwrap(),
        Settled::LeaseLost
    );
    let claimed = store.claim(claim(at(101), 9)).await.unwrap();
    assert_eq!(
        claimed.iter().map(|c| c.event.id().as_str()).collect::<Vec<_>>(),
        ["callback 2"]
    );
    let record = store.task(&"t".into()).await.unwrap().unwrap();
    assert_eq!(record.status, TaskStatus::Succeeded);
    let ended = record.ended.unwrap();
    assert_eq!((ended.at, ended.keep), (at(101), keep));
    assert_eq!(ended.end, TaskEnd::Succeeded(Bytes::from_static(b"out")));
}

#[tokio::test]
async fn a_key_is_handled_by_one_at_a_time_and_forgotten_in_the_end() {
    let store = SqliteStore::open_in_memory().unwrap();
    let key = SeenKey::new("r", "k");
    let lease = Duration::from_secs(10);
    let first = store.begin(&key, lease, at(0)).await.unwrap();
    assert_eq!(first, Seen::Fresh(Fence(1)));
    assert_eq!(store.begin(&key, lease, at(9)).await.unwrap(), Seen::InProgress);
    assert_eq!(
        store.begin(&key, lease, at(10)).await.unwrap(),
        Seen::Fresh(Fence(2))
    );
    assert!(!store.abandon(&key, Fence(1), at(10)).await.unwrap());
    assert!(store.abandon(&key, Fence(2), at(10)).await.unwrap());
    assert_eq!(
        store.begin(&key, lease, at(10)).await.unwrap(),
        Seen::Fresh(Fence(3))
    );
    assert!(
        store
            .finish(&key, Fence(3), Duration::from_secs(100), at(11))
            .await
            .unwrap()
    );
    assert_eq!(store.begin(&key, lease, at(110)).await.unwrap(), Seen::Done);
    assert_eq!(store.forget_expired(5, at(110)).await.unwrap(), 0);
    assert_eq!(store.forget_expired(5, at(111)).await.unwrap(), 1);
    assert_eq!(
        store.begin(&key, lease, at(111)).await.unwrap(),
        Seen::Fresh(Fence(4))
    );
}

#[tokio::test]
async fn the_bell_rings_when_work_comes_up() {
    for store in [
        SqliteStore::open_in_memory().unwrap(),
        SqliteStore::builder().inline().open_in_memory().unwrap(),
    ] {
        store.save_webhook(webhook("w", 1), at(0)).await.unwrap();
        let heard = store.wake().listen();
        enqueue(&store, [event("e1", "w"), event("e2", "w")], at(0)).await;
        heard.await;
        let claimed = store.claim(claim(at(0), 9)).await.unwrap();
        let heard = store.wake().listen();
        store
            .settle(vec![settlement(&claimed[0], at(0), Next::Delivered)], at(0))
            .await
            .unwrap();
        heard.await; // there is room for the second
    }
}

#[test]
fn nothing_of_it_is_shown() {
    let store = SqliteStore::open_in_memory().unwrap();
    assert_eq!(format!("{store:?}"), "SqliteStore { .. }");
}
