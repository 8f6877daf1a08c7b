//! Many at once on the same lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ringback::delivery::{Call, Limits, Target};
use ringback::id::DeliveryId;
use ringback::store::{
    Claimed, DeliveryStore, HoldKey, NewDelivery, Next, PostgresStore, Release, Settled, Switch, WebhookStore,
};
use ringback::url::WebhookUrl;
use tokio::task::JoinSet;

use crate::scene::{event, name, now, request, settlement, to_webhook, webhook};
use crate::server::{Server, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("contention::on_few_lanes", async |server| {
            storm(&server, 3, 600).await;
        }),
        trial("contention::on_many_lanes", async |server| {
            storm(&server, 120, 600).await;
        }),
        trial("contention::turns_hold_among_many_claimers", turns),
    ]
}

fn to_host(host: usize) -> NewDelivery {
    let call = Call {
        url: WebhookUrl::parse(&format!("https://host{host}.example/hook")).unwrap(),
        profile: "p".into(),
        auth: None,
        limits: Limits::default(),
    };
    NewDelivery {
        target: Target::Call(call),
        body: None,
    }
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

const IN_FLIGHT: u32 = 5;

/// What is in flight, as those who claim know it: never more than what is.
#[derive(Debug, Default)]
struct Aloft {
    held: BTreeSet<DeliveryId>,
    by_webhook: BTreeMap<String, u32>,
    delivered: usize,
}

impl Aloft {
    fn take(&mut self, claimed: &[Claimed]) {
        for claim in claimed {
            assert!(
                self.held.insert(claim.id),
                "{:?} is claimed twice at once",
                claim.id
            );
            if let Some(webhook) = claim.target.webhook() {
                let count = self.by_webhook.entry(webhook.id.to_string()).or_default();
                *count += 1;
                assert!(*count <= IN_FLIGHT, "{count} are in flight to {}", webhook.id);
            }
        }
    }

    fn let_go(&mut self, claimed: &[Claimed]) {
        for claim in claimed {
            self.held.remove(&claim.id);
            if let Some(webhook) = claim.target.webhook() {
                *self.by_webhook.get_mut(webhook.id.as_str()).unwrap() -= 1;
            }
        }
    }
}

/// Several processes enqueue, claim, settle, release, hold, lift and switch at once, on so many lanes, until all of so many
/// events have been delivered. In a database of its own, whose deadlocks the server counts.
async fn storm(server: &Server, lanes: usize, events: usize) {
    let database = format!("{}_storm", server.schema);
    let admin = server.client().await;
    admin
        .batch_execute(&format!("CREATE DATABASE {database}"))
        .await
        .unwrap();
    let mut config = server.config.clone();
    config.dbname(&database);
    let server = Server {
        config,
        ..server.clone()
    };

    let first = server.store().await;
    for lane in 0..lanes {
        first.save_webhook(webhook(lane, IN_FLIGHT), now()).await.unwrap();
    }
    let aloft = Arc::new(Mutex::new(Aloft::default()));
    let enqueued = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut claimers = JoinSet::new();
    let mut enqueuers = JoinSet::new();
    let mut meddlers = JoinSet::new();
    for process in 0..3 {
        let store = server.store().await;
        for worker in 0..2 {
            let seed = process * 10 + worker;
            claimers.spawn(claim_and_settle(
                store.clone(),
                Arc::clone(&aloft),
                Arc::clone(&is_over),
                seed,
            ));
        }
        enqueuers.spawn(enqueue(
            store.clone(),
            process as usize,
            lanes,
            events / 3,
            Arc::clone(&enqueued),
        ));
        meddlers.spawn(meddle(store, lanes, Arc::clone(&is_over), process));
    }
    enqueuers.join_all().await;
    let enqueued = enqueued.load(Ordering::SeqCst);
    let start = Instant::now();
    while aloft.lock().unwrap().delivered < enqueued {
        assert!(
            start.elapsed() < Duration::from_secs(240),
            "not all delivered: {:?}",
            aloft.lock().unwrap()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
        // Whoever fails ends.
        if let Some(ended) = claimers.try_join_next() {
            ended.unwrap();
        }
    }
    is_over.store(true, Ordering::SeqCst);
    claimers.join_all().await;
    meddlers.join_all().await;
    assert!(enqueued >= events, "{enqueued} deliveries");

    let client = server.client().await;
    let left = "SELECT count(*) FROM ringback.deliveries WHERE state <> 'delivered'";
    let left = left.replace("ringback", server.schema.as_str());
    assert_eq!(client.query_one(&left, &[]).await.unwrap().get::<_, i64>(0), 0);
    let in_flight = "SELECT coalesce(sum(in_flight), 0)::bigint FROM ringback.lanes";
    let in_flight = in_flight.replace("ringback", server.schema.as_str());
    assert_eq!(
        client.query_one(&in_flight, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
    drop((first, client));
    // Each process tells the server of what it counted when it ends.
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = $1";
    let deadlocks = admin.query_one(deadlocks, &[&database]).await.unwrap();
    assert_eq!(deadlocks.get::<_, i64>(0), 0, "deadlocks");
    let drop = format!("DROP DATABASE {database} WITH (FORCE)");
    admin.batch_execute(&drop).await.unwrap();
}

async fn enqueue(
    store: PostgresStore,
    process: usize,
    lanes: usize,
    events: usize,
    enqueued: Arc<AtomicUsize>,
) {
    let mut random = Random(process as u64 + 1);
    let mut made = 0;
    while made < events {
        let batch: Vec<_> = (0..1 + random.below(8))
            .map(|_| {
                made += 1;
                let mut deliveries: Vec<_> = (0..1 + random.below(3))
                    .map(|_| to_webhook(random.below(lanes)))
                    .collect();
                if random.below(3) == 0 {
                    deliveries.push(to_host(random.below(lanes)));
                }
                event(format!("{process}-{made}"), deliveries)
            })
            .collect();
        let count = batch.iter().map(|event| event.deliveries.len()).sum();
        store.enqueue(batch, now()).await.unwrap();
        enqueued.fetch_add(count, Ordering::SeqCst);
    }
}

async fn claim_and_settle(
    store: PostgresStore,
    aloft: Arc<Mutex<Aloft>>,
    is_over: Arc<AtomicBool>,
    seed: u64,
) {
    let mut random = Random(seed + 100);
    while !is_over.load(Ordering::SeqCst) {
        let claimed = store.claim(request(1 + random.below(12), now())).await.unwrap();
        aloft.lock().unwrap().take(&claimed);
        if claimed.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        // What is let go of is another's from the commit on, and that is before the answer.
        aloft.lock().unwrap().let_go(&claimed);
        let answers = if random.below(8) == 0 {
            let claims = claimed.iter().map(|claim| (claim.id, claim.fence));
            store.release(claims.collect(), now()).await.unwrap()
        } else {
            let next: Vec<_> = claimed
                .iter()
                .map(|_| {
                    if random.below(5) == 0 {
                        Next::Retry(now())
                    } else {
                        Next::Delivered
                    }
                })
                .collect();
            let settlements = claimed
                .iter()
                .zip(&next)
                .map(|(claim, next)| settlement(claim, *next, now()));
            let answers = store.settle(settlements.collect(), now()).await.unwrap();
            let delivered = next.iter().filter(|next| **next == Next::Delivered).count();
            aloft.lock().unwrap().delivered += delivered;
            answers
        };
        assert!(
            answers.iter().all(|answer| *answer == Settled::Done),
            "{answers:?}"
        );
    }
}

/// Changes webhooks, switches them, holds and lifts, and leaves everything on and lifted.
async fn meddle(store: PostgresStore, lanes: usize, is_over: Arc<AtomicBool>, seed: u64) {
    let mut random = Random(seed + 1_000);
    while !is_over.load(Ordering::SeqCst) {
        let lane = random.below(lanes);
        let id = name(lane).into();
        let key = match random.below(4) {
            0 => HoldKey::Subject {
                scope: "s".into(),
                subject: "u".into(),
            },
            _ => HoldKey::Webhook(name(lane).into()),
        };
        match random.below(4) {
            0 => {
                store.switch_webhook(&id, Switch::Off, now()).await.unwrap();
                store.switch_webhook(&id, Switch::On, now()).await.unwrap();
            }
            1 => {
                store.hold(key.clone(), now()).await.unwrap();
                store.lift(&key, Release::All, now()).await.unwrap();
            }
            2 => {
                let old = store.webhook(&id).await.unwrap();
                let new = webhook(lane, IN_FLIGHT);
                store.replace_webhook(old.as_deref(), new, now()).await.unwrap();
            }
            _ => {
                store.save_webhook(webhook(lane, IN_FLIGHT), now()).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lanes with as much to do as each other are served as often as each other, whoever claims.
async fn turns(server: Server) {
    const LANES: usize = 40;
    const EACH: usize = 30;
    let store = server.store().await;
    for lane in 0..LANES {
        store.save_webhook(webhook(lane, 1_000), now()).await.unwrap();
        let deliveries = (0..EACH).map(|_| to_webhook(lane)).collect();
        store
            .enqueue(vec![event(format!("e{lane}"), deliveries)], now())
            .await
            .unwrap();
    }
    let mut claimers = JoinSet::new();
    for _ in 0..4 {
        let store = server.store().await;
        claimers.spawn(async move {
            let mut webhooks = Vec::new();
            for _ in 0..30 {
                let claimed = store.claim(request(5, now())).await.unwrap();
                webhooks.extend(
                    claimed
                        .iter()
                        .filter_map(|claim| claim.target.webhook().map(|w| w.id.clone())),
                );
            }
            webhooks
        });
    }
    let mut counts = BTreeMap::<_, usize>::new();
    for webhook in claimers.join_all().await.into_iter().flatten() {
        *counts.entry(webhook).or_default() += 1;
    }
    // Half of what there is: without turns, half of the lanes would have nothing left.
    let claimed: usize = counts.values().sum();
    assert_eq!(claimed, LANES * EACH / 2);
    let (fewest, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(
        counts.len() == LANES && *fewest >= EACH / 4 && *most <= EACH * 3 / 4,
        "{counts:?}"
    );
}
