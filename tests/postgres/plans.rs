//! How the server carries out the statements of each day, with a million deliveries waiting: by an index, and reading
//! no more than there is to give out.
//!
//! The plans are those of the very statements that a store sends: the server writes them to its log (`auto_explain`).

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use libtest_mimic::{Failed, Trial};
use ringback::delivery::{HistoryQuery, Retention};
use ringback::store::{
    ClaimRequest, Claimed, DeliveryStore, Inspect, NewEvent, Next, PostgresStore, WebhookStore,
};
use ringback::time::Clock;
use serde_json::Value;
use tokio_postgres::NoTls;

use crate::cluster::{self, Cluster};
use crate::scene::{event, request, settlement, to_webhook, webhook};
use crate::server;

const WEBHOOKS: usize = 100;
const WAITING: usize = 1_000_000;

/// Of these tables no statement may read but a part.
const LARGE: [&str; 4] = ["deliveries", "events", "attempts", "lanes"];

/// More rows than any part of a statement has to look at, where a call concerns a hundred deliveries at most.
const MOST_ROWS: f64 = 5_000.0;

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    let run = || {
        server::runtime().block_on(explain());
        Ok::<_, Failed>(())
    };
    let is_ignored = !server::is_there() || !cluster::can_be_made();
    let name = "plans::every_hot_statement_uses_an_index";
    [Trial::test(name, run).with_ignored_flag(is_ignored)].into_iter()
}

async fn explain() {
    let cluster = Cluster::start();
    let store = PostgresStore::connect(cluster.config(), NoTls, server::key())
        .await
        .unwrap();
    let now = store.clock().now();
    for number in 0..WEBHOOKS {
        store.save_webhook(webhook(number, 100), now).await.unwrap();
    }
    let all = (0..WEBHOOKS).map(|number| event_to(format!("first {number}"), number));
    store.enqueue(all.collect(), now).await.unwrap();
    // Some history, too: attempts that failed.
    let claimed = claim(&store, WEBHOOKS, now).await;
    let retries = claimed
        .iter()
        .map(|claim| settlement(claim, Next::Retry(now), now));
    store.settle(retries.collect(), now).await.unwrap();
    drop(store);
    multiply(&cluster).await;

    let mut config = cluster.config();
    config.options(
        "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 \
         -c auto_explain.log_analyze=on -c auto_explain.log_format=json",
    );
    let store = PostgresStore::connect(config, NoTls, server::key())
        .await
        .unwrap();
    // What waits for it is buried bit by bit, as its lane has its turns.
    assert!(store.remove_webhook(&"w99".into(), now).await.unwrap());
    let (client, connection) = cluster.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    // Often enough for the server to make plans that do not depend on the parameters.
    for round in 0..9_i64 {
        let now = now + TimeDelta::seconds(3_600 + 120 * round);
        let events = (0..20).map(|number| event_to(format!("{round} {number}"), number));
        store.enqueue(events.collect(), now).await.unwrap();
        let copies = (0..20).map(|number| event_to(format!("{round} {number}"), number));
        store.enqueue(copies.collect(), now).await.unwrap();
        let opens = format!(
            "UPDATE ringback.lanes SET opens_at = 1 WHERE key = 'idle {}'",
            round + 1
        );
        assert_eq!(client.execute(&opens, &[]).await.unwrap(), 1);
        // The leases of what the round before kept have ended.
        let claimed = claim(&store, 100, now).await;
        assert_eq!(claimed.len(), 100);
        let settlements = claimed[..80].iter().enumerate().map(|(at, claim)| {
            let next = match at % 4 {
                0 => Next::Retry(now + TimeDelta::seconds(30)),
                1 => Next::Exhausted,
                _ => Next::Delivered,
            };
            settlement(claim, next, now)
        });
        store.settle(settlements.collect(), now).await.unwrap();
        let handed_back = claimed[80..90].iter().map(|claim| (claim.id, claim.fence));
        store.release(handed_back.collect(), now).await.unwrap();
        store.next_due(now).await.unwrap();
        store.replay(claimed[1].id, now).await.unwrap();
        store.delivery(claimed[0].id).await.unwrap();
        store.attempts(claimed[0].id).await.unwrap();
        let newest = HistoryQuery {
            limit: 50,
            ..HistoryQuery::default()
        };
        let page = store.history(newest.clone()).await.unwrap();
        assert_eq!(page.entries.len(), 50);
        let webhook = Some(format!("w{round}").into());
        store.history(HistoryQuery { webhook, ..newest }).await.unwrap();
        let retention = Retention {
            history: Duration::from_secs(90 * 86_400),
            bodies: Duration::from_secs(60),
        };
        store.purge(&retention, 50, now).await.unwrap();
    }
    drop(store);

    let plans = read_plans(&cluster.logged());
    let mut indexes = BTreeSet::new();
    for (query, plan) in &plans {
        let mut nodes = Vec::new();
        gather(plan, &mut nodes);
        for node in nodes {
            indexes.extend(node["Index Name"].as_str().map(str::to_owned));
            let table = node["Relation Name"].as_str().unwrap_or_default();
            if LARGE.iter().any(|large| table.starts_with(large)) && node["Node Type"] == "Seq Scan" {
                // A partition of a day to come is empty, and there is nothing faster than to look.
                assert_eq!(
                    rows(node),
                    0.0,
                    "{table} is read from end to end:\n{query}\n{plan:#}"
                );
            }
            assert!(
                rows(node) <= MOST_ROWS,
                "{} rows of {table} are looked at:\n{query}\n{plan:#}",
                rows(node)
            );
        }
    }
    for hot in [
        "INSERT INTO ringback.deliveries",
        "INSERT INTO ringback.events",
        "INSERT INTO ringback.attempts",
        "d.lease_ends <= $1",
        "WHERE ready LIMIT",
        "SET ready = TRUE, opens_at = NULL",
        "SET state = 'dead'",
        "CROSS JOIN LATERAL (SELECT d.id, d.due, d.rank FROM ringback.deliveries",
        "SET state = 'sending'",
        "SET state = n.state",
        "AS lease_ends",
        "purgeable = $1 AND ended_at",
    ] {
        let times = plans.iter().filter(|(query, _)| query.contains(hot)).count();
        assert!(times >= 8, "{hot:?} was seen {times} times");
    }
    for index in [
        "deliveries_waiting",
        "deliveries_leased",
        "deliveries_over",
        "deliveries_pkey",
        "events_by_id",
        "events_pkey",
        "lanes_ready",
    ] {
        assert!(indexes.contains(index), "{index} is of no use: {indexes:?}");
    }
    println!(
        "{} plans of {WAITING} waiting, by {} indexes",
        plans.len(),
        indexes.len()
    );
}

/// A million deliveries that wait, and other tables to match.
async fn multiply(cluster: &Cluster) {
    let (client, connection) = cluster.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    // Indexes are made faster than they are kept up to date.
    let indexes = "SELECT indexname, indexdef FROM pg_indexes
        WHERE tablename = 'deliveries' AND indexname <> 'deliveries_pkey'";
    let indexes = client.query(indexes, &[]).await.unwrap();
    let drops = indexes
        .iter()
        .map(|index| format!("DROP INDEX ringback.{}", index.get::<_, String>(0)));
    let makes = indexes.iter().map(|index| index.get(1));
    let each = WAITING / WEBHOOKS - 1;
    let before = [
        "ALTER SYSTEM SET fsync = off".to_owned(),
        "ALTER SYSTEM SET autovacuum = off".to_owned(),
        "SELECT pg_reload_conf()".to_owned(),
    ];
    let rows = [
        format!(
            "INSERT INTO ringback.deliveries (event, lane, state, rank, due, created_at, own, webhook, test)
             SELECT d.event, d.lane, d.state, d.rank + n, d.due + n, d.created_at, d.own, d.webhook, d.test
             FROM ringback.deliveries d, generate_series(1, {each}) n"
        ),
        "INSERT INTO ringback.events (scope, event_id, kind, media_type, headers, fingerprint, body)
         SELECT scope, event_id || ' ' || n, kind, media_type, headers, fingerprint, body
         FROM ringback.events, generate_series(1, 500) n"
            .to_owned(),
        "INSERT INTO ringback.attempts (delivery, number, webhook, test, scope, kind, outcome, status, accepted,
            recorded_at, started_at, duration, retry_at, excerpt)
         SELECT delivery, number, webhook, test, scope, kind, outcome, status, accepted, recorded_at, started_at, duration,
            retry_at, excerpt FROM ringback.attempts, generate_series(1, 500) n"
            .to_owned(),
        "UPDATE ringback.log SET filed = (SELECT last_value FROM ringback.attempt_positions)".to_owned(),
        "INSERT INTO ringback.lanes (id, key, max_in_flight, strict, enabled)
         SELECT nextval('ringback.lane_ids'), 'idle ' || n, 1, FALSE, TRUE FROM generate_series(1, 20000) n"
            .to_owned(),
    ];
    let after = ["VACUUM ANALYZE".to_owned()];
    for statement in before
        .into_iter()
        .chain(drops)
        .chain(rows)
        .chain(makes)
        .chain(after)
    {
        client.batch_execute(&statement).await.unwrap();
    }
    let count = "SELECT count(*) FROM ringback.deliveries WHERE state = 'pending'";
    let waiting: i64 = client.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(waiting, i64::try_from(WAITING).unwrap());
}

/// Statements and their plans, as the server has written them to its log.
fn read_plans(log: &str) -> Vec<(String, Value)> {
    let entries = log.split("plan:\n").skip(1);
    entries
        .map(|entry| {
            let lines = entry.lines().take_while(|line| line.starts_with('\t'));
            let mut json: Value = serde_json::from_str(&lines.collect::<String>()).unwrap();
            let query = json["Query Text"].as_str().unwrap().to_owned();
            (query, json["Plan"].take())
        })
        .collect()
}

/// A plan's nodes, all the way down.
fn gather<'p>(node: &'p Value, nodes: &mut Vec<&'p Value>) {
    nodes.push(node);
    for child in node["Plans"].as_array().into_iter().flatten() {
        gather(child, nodes);
    }
}

/// How many rows a node has looked at.
fn rows(node: &Value) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or_default();
    (number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck"))
        * number("Actual Loops")
}

/// An event for one webhook.
fn event_to(id: String, webhook: usize) -> NewEvent {
    event(id, vec![to_webhook(webhook)])
}

async fn claim(store: &PostgresStore, max: usize, now: DateTime<Utc>) -> Vec<Claimed> {
    let lease = Duration::from_secs(60);
    store
        .claim(ClaimRequest {
            lease,
            ..request(max, now)
        })
        .await
        .unwrap()
}
