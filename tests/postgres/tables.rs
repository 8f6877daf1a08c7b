//! The tables: made once, by whoever comes first; and history, dropped by the day.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use libtest_mimic::Trial;
use ringback::delivery::{AttemptReport, Call, Event, Limits, Outcome, Pacing, Retention, Target};
use ringback::store::{
    ClaimRequest, DeliveryStore, Enqueued, Inspect, NewDelivery, NewEvent, NewTask, Next, Settlement,
    TaskStore,
};
use ringback::time::Clock;
use ringback::url::WebhookUrl;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::server::{Server, key, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("tables::many_processes_at_once_make_them_once", making),
        trial("tables::an_old_day_of_history_is_dropped_as_a_whole", dropping),
        trial(
            "tables::a_day_that_could_not_be_made_is_made_later",
            late_partitions,
        ),
        trial(
            "tables::a_task_that_cannot_be_read_holds_up_no_other",
            unreadable_task,
        ),
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

/// A backup reads all of history while a day's partition is to be made: it is made when the backup is done.
async fn late_partitions(server: Server) {
    drop(server.store().await);
    let client = server.client().await;
    for day in partitions(&server).await {
        let drop = format!("DROP TABLE \"{}\".{day}", server.schema);
        client.batch_execute(&drop).await.unwrap();
    }
    let read = format!(
        "BEGIN; LOCK TABLE \"{}\".attempts_at_other_times IN ACCESS SHARE MODE",
        server.schema
    );
    client.batch_execute(&read).await.unwrap();
    let mut config = server.config.clone();
    config.application_name(server.schema.as_str());
    let store = server.builder().connect(config, NoTls, key()).await.unwrap();
    assert_eq!(partitions(&server).await.len(), 0);
    client.batch_execute("COMMIT").await.unwrap();
    // A new line begins with the round that would come within the minute.
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    client.query(cut, &[&server.schema.as_str()]).await.unwrap();
    let start = Instant::now();
    while partitions(&server).await.len() < 4 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "they are not made any more"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(store);
}

/// One task that is damaged, or that a newer version has written.
async fn unreadable_task(server: Server) {
    let store = server.store().await;
    let now = store.clock().now();
    for number in 0..4 {
        assert!(store.create_task(task(number, now), now).await.unwrap());
    }
    let client = server.client().await;
    let set_input = |input: &str| {
        format!(
            "UPDATE \"{}\".tasks SET input = {input} WHERE id = 'task-1'",
            server.schema
        )
    };
    client
        .batch_execute(&set_input("'\\x00'::bytea || input"))
        .await
        .unwrap();
    let claim = async |after: i64| {
        let request = ClaimRequest {
            holder: "tables".into(),
            now: now + TimeDelta::seconds(after),
            lease: Duration::from_secs(60),
            max: 16,
        };
        let claimed = store.claim_tasks(request).await.unwrap();
        let claimed = claimed
            .iter()
            .map(|claimed| (claimed.task.id.to_string(), claimed.interruptions));
        claimed.collect::<Vec<_>>()
    };
    let others = |interruptions| [0, 2, 3].map(|number| (format!("task-{number}"), interruptions));
    assert_eq!(claim(0).await, others(0));
    assert_eq!(claim(1).await, []);
    assert_eq!(claim(60).await, others(1));
    client
        .batch_execute(&set_input("substring(input FROM 2)"))
        .await
        .unwrap();
    assert!(claim(121).await.contains(&("task-1".to_owned(), 0)));
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

fn task(number: usize, now: DateTime<Utc>) -> NewTask {
    NewTask {
        id: format!("task-{number}").into(),
        credentials_id: "c".to_owned(),
        request_uri: "/report".to_owned(),
        input: Bytes::from_static(b"input"),
        results_uri: "/results/1".to_owned(),
        webhook_uri: None,
        deadline: now + TimeDelta::days(1),
    }
}
