//! Lanes as rows that many have to do with at once: who waits for whom, and which goes first.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use libtest_mimic::Trial;
use ringback::delivery::{Call, Event, Limits, Target};
use ringback::store::{
    ClaimRequest, DeliveryStore, NewDelivery, NewEvent, PostgresStore, Seen, SeenKey, SeenStore,
};
use ringback::url::WebhookUrl;
use tokio_postgres::Client;

use crate::server::{Server, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("lanes::a_claim_waits_for_one_lane_and_no_more", waiting_for_one),
        trial(
            "lanes::a_claim_waits_for_nobody_who_reads_history",
            waiting_for_the_log,
        ),
        trial(
            "lanes::new_lanes_go_in_the_order_in_which_they_were_opened",
            new_lanes,
        ),
        trial("lanes::a_copy_that_is_turned_away_draws_no_fence", fences),
    ]
}

/// Long enough for the server to let somebody go on who waited, and for them to come to wait again.
const A_MOMENT: Duration = Duration::from_millis(200);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

fn call(host: &str) -> NewDelivery {
    let call = Call {
        url: WebhookUrl::parse(&format!("https://{host}.example/hook")).unwrap(),
        profile: "p".into(),
        auth: None,
        limits: Limits::default(),
    };
    NewDelivery {
        target: Target::Call(call),
        body: None,
    }
}

fn event(id: &str, hosts: &[&str]) -> NewEvent {
    NewEvent {
        event: Arc::new(Event::builder("s", id, "t").build().unwrap()),
        deliveries: hosts.iter().map(|host| call(host)).collect(),
    }
}

async fn claim(store: &PostgresStore, max: usize, now: DateTime<Utc>) -> Vec<String> {
    let request = ClaimRequest {
        holder: "w".into(),
        now,
        lease: Duration::from_secs(60),
        max,
    };
    let claimed = store.claim(request).await.unwrap();
    claimed
        .iter()
        .map(|claimed| claimed.target.url().to_string())
        .collect()
}

async fn lane_ids(server: &Server, client: &Client) -> Vec<i64> {
    let select = format!("SELECT id FROM \"{}\".lanes ORDER BY turn, id", server.schema);
    let rows = client.query(&select, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until that many statements of others stand in front of a lock.
async fn until_waiting(client: &Client, how_many: i64) {
    let select = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
        AND pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%'";
    for _ in 0..1_000 {
        let waiting: i64 = client.query_one(select, &[&"lanes"]).await.unwrap().get(0);
        if waiting >= how_many {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody came to wait");
}

/// Two lanes are ready, and both are locked. While the claim waits for the one whose turn it is, that one is emptied; then
/// it must not go on to wait for the other, since whoever has that one may want the first.
async fn waiting_for_one(server: Server) {
    let store = server.store().await;
    store.enqueue(vec![event("1", &["a", "b"])], now()).await.unwrap();
    let (mut emptying, mut settling) = (server.client().await, server.client().await);
    let watching = server.client().await;
    let ids = lane_ids(&server, &watching).await;
    let (first, second) = (ids[0], ids[1]);
    let schema = &server.schema;

    // The order of ids is the other way round than that of turns.
    let turn = format!("UPDATE \"{schema}\".lanes SET turn = 1 WHERE id = {first}");
    watching.batch_execute(&turn).await.unwrap();
    let (front, back) = (second, first);
    let emptied = emptying.transaction().await.unwrap();
    let update = format!("UPDATE \"{schema}\".lanes SET ready = FALSE WHERE id = {front}");
    emptied.batch_execute(&update).await.unwrap();
    let settled = settling.transaction().await.unwrap();
    let lock = format!("SELECT id FROM \"{schema}\".lanes WHERE id = ");
    settled
        .batch_execute(&format!("{lock} {back} FOR UPDATE"))
        .await
        .unwrap();

    let claiming = tokio::spawn(async move { claim(&store, 10, now()).await });
    until_waiting(&watching, 1).await;
    emptied.commit().await.unwrap();
    tokio::time::sleep(A_MOMENT).await;
    // As a settlement would that has to do with both, in the order of ids.
    let patience = "SET LOCAL lock_timeout = '500ms'"; // the server looks for deadlocks after a second
    settled.batch_execute(patience).await.unwrap();
    settled
        .batch_execute(&format!("{lock} {front} FOR UPDATE"))
        .await
        .expect("the claim has no lane locked while it waits for another");
    settled.rollback().await.unwrap();
    assert_eq!(claiming.await.unwrap(), ["https://a.example/hook"]);
}

/// Somebody wants to be alone with the log for a moment, behind a settlement that waits for the lane of a lease that has
/// ended. The claim that sees to that lease must not come to wait behind them with the lane locked.
async fn waiting_for_the_log(server: Server) {
    let store = server.store().await;
    store.enqueue(vec![event("1", &["a"])], now()).await.unwrap();
    assert_eq!(claim(&store, 1, now()).await.len(), 1);
    let (mut settling, mut reading) = (server.client().await, server.client().await);
    let watching = server.client().await;
    let schema = server.schema.clone();
    let settled = settling.transaction().await.unwrap();
    let share = format!("LOCK TABLE \"{schema}\".log IN ROW SHARE MODE");
    settled.batch_execute(&share).await.unwrap();
    let alone = format!("LOCK TABLE \"{schema}\".log IN EXCLUSIVE MODE -- lanes");
    let read = tokio::spawn(async move {
        let tx = reading.transaction().await.unwrap();
        tx.batch_execute(&alone).await.unwrap();
        tx.commit().await.unwrap();
    });
    until_waiting(&watching, 1).await;

    let later = now() + Duration::from_secs(61);
    let claiming = tokio::spawn(async move { claim(&store, 1, later).await });
    tokio::time::sleep(A_MOMENT).await;
    let lock = format!("SET LOCAL lock_timeout = '500ms'; SELECT id FROM \"{schema}\".lanes FOR UPDATE");
    settled
        .batch_execute(&lock)
        .await
        .expect("the claim has no lane locked while it waits for the log");
    settled.rollback().await.unwrap();
    read.await.unwrap();
    assert_eq!(claiming.await.unwrap(), ["https://a.example/hook"]);
}

async fn new_lanes(server: Server) {
    let store = server.store().await;
    let hosts = ["m", "z", "a", "q", "b", "y", "c"];
    store
        .enqueue(vec![event("1", &hosts[..4]), event("2", &hosts[3..])], now())
        .await
        .unwrap();
    let expected = hosts.map(|host| format!("https://{host}.example/hook"));
    assert_eq!(claim(&store, 7, now()).await, expected);
}

async fn fences(server: Server) {
    let store = server.store().await;
    let begin = async |key: &str| {
        let key = SeenKey::new("r", key);
        store.begin(&key, Duration::from_secs(60), now()).await.unwrap()
    };
    let Seen::Fresh(first) = begin("1").await else {
        panic!("a new key")
    };
    for _ in 0..5 {
        assert_eq!(begin("1").await, Seen::InProgress);
    }
    assert_eq!(begin("2").await, Seen::Fresh(first.next()));
}
