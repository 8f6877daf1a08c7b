//! The tables: made once, by whoever comes first; and history, dropped by the day.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use http::StatusCode;
use libtest_mimic::Trial;
use ringback::delivery::{AttemptReport, Call, Event, Limits, Outcome, Pacing, Retention, Target};
use ringback::store::{
    ClaimRequest, DeliveryStore, Enqueued, Inspect, NewDelivery, NewEvent, Next, Settlement, TaskStore,
};
use ringback::time::Clock;
use ringback::url::WebhookUrl;
use tokio::task::JoinSet;

use crate::server::{Server, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("tables::many_processes_at_once_make_them_once", making),
        trial("tables::an_old_day_of_history_is_dropped_as_a_whole", dropping),
    ]
}

async fn making(server: Server) {
    let mut stores = JoinSet::new();
    for _ in 0..12 {
        let server = server.clone();
        stores.spawn(async move { server.store().await });
    }
    let stores = stores.join_all().await;
    for (number, store) in stores.iter().enumerate() {
        let new = event(&number.to_string());
        let now = store.clock().now();
        let enqueued = store.enqueue(vec![new], now).await.unwrap();
        assert!(matches!(&enqueued[..], [Enqueued::Fresh(_)]), "{enqueued:?}");
        store.purge_tasks(1, now).await.unwrap();
    }
    let client = server.client().await;
    let meta = format!("SELECT version FROM \"{}\".meta", server.schema);
    assert_eq!(client.query(&meta, &[]).await.unwrap().len(), 1);
    let keys = format!("SELECT id FROM \"{}\".encryption_keys", server.schema);
    assert_eq!(client.query(&keys, &[]).await.unwrap().len(), 1);
    let days = partitions(&server).await;
    assert_eq!(days.len(), 4, "today's and those of three days to come: {days:?}");
}

/// What was recorded on a day goes with it, in one step, however much it is.
async fn dropping(server: Server) {
    const ATTEMPTS: usize = 40;
    let store = server.store().await;
    let now = store.clock().now();
    let today = format!("attempts_{}", now.format("%Y%m%d"));
    let events = (0..ATTEMPTS).map(|number| event(&number.to_string()));
    store.enqueue(events.collect(), now).await.unwrap();
    let request = ClaimRequest {
        holder: "tables".into(),
        now,
        lease: Duration::from_secs(60),
        max: ATTEMPTS,
    };
    let claimed = store.claim(request).await.unwrap();
    let settlements = claimed.iter().map(|claim| Settlement {
        id: claim.id,
        fence: claim.fence,
        attempt: Some(AttemptReport {
            started_at: now,
            duration: Duration::ZERO,
            outcome: Outcome::Answered(StatusCode::OK),
            excerpt: Bytes::new(),
        }),
        next: Next::Delivered,
        pacing: Pacing::Keep,
    });
    store.settle(settlements.collect(), now).await.unwrap();
    let client = server.client().await;
    let count = format!("SELECT count(*) FROM \"{}\".{today}", server.schema);
    let recorded: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
    assert_eq!(recorded, 40, "in the partition of the day");

    let retention = Retention {
        history: Duration::from_secs(30 * 86_400),
        bodies: Duration::from_secs(7 * 86_400),
    };
    // The last moment of the day is not over yet.
    let before = store
        .purge(&retention, 1_000, now + TimeDelta::days(30))
        .await
        .unwrap();
    assert_eq!(before.attempts, 0);
    assert!(partitions(&server).await.contains(&today));

    let purged = store
        .purge(&retention, 1, now + TimeDelta::days(31))
        .await
        .unwrap();
    assert_eq!(purged.attempts, ATTEMPTS, "in a step for one thing");
    assert!(!purged.is_done);
    assert!(
        !partitions(&server).await.contains(&today),
        "it was emptied and not dropped"
    );
    while !store
        .purge(&retention, 100, now + TimeDelta::days(31))
        .await
        .unwrap()
        .is_done
    {}
    assert!(store.delivery(claimed[0].id).await.unwrap().is_none());
}

/// The partitions of days.
async fn partitions(server: &Server) -> BTreeSet<String> {
    let select = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^attempts_[0-9]{8}$'";
    let client = server.client().await;
    let rows = client.query(select, &[&server.schema.as_str()]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn event(id: &str) -> NewEvent {
    let call = Call {
        url: WebhookUrl::parse("https://example.com/hook").unwrap(),
        profile: "p".into(),
        auth: None,
        limits: Limits {
            in_flight: std::num::NonZeroU32::new(1_000).unwrap(),
            rate: None,
        },
    };
    NewEvent {
        event: Arc::new(Event::builder("s", id, "t").build().unwrap()),
        deliveries: vec![NewDelivery {
            target: Target::Call(call),
            body: None,
        }],
    }
}
