//! Paging through history while attempts are added and removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use proptest::collection::vec;
use proptest::prelude::*;
use ringback::delivery::{
    AttemptReport, Direction, Event, HistoryQuery, Limits, Outcome, OutcomeClass, Pacing, PagePosition,
    Retention, Target,
};
use ringback::delivery::{Call, RequestId};
use ringback::id::DeliveryId;
use ringback::store::{
    ClaimRequest, Enqueued, MemoryStore, NewDelivery, NewEvent, Next, Settlement, SqliteStore, Store,
};
use ringback::url::WebhookUrl;

#[derive(Debug, Clone)]
enum Step {
    /// So many deliveries come to be due.
    Enqueue(u8),
    /// Up to so many are attempted; the bits say which are accepted, the others are tried again.
    Attempt(usize, u8),
    Advance(i64),
    Purge(usize),
    /// The readers read on, so many entries a page.
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u8..6).prop_map(Step::Enqueue),
        4 => (1usize..8, any::<u8>()).prop_map(|(max, accepted)| Step::Attempt(max, accepted)),
        2 => (-8i64..40).prop_map(Step::Advance),
        1 => Just(Step::Advance(-30)),
        2 => (1usize..20).prop_map(Step::Purge),
        4 => (1usize..6).prop_map(Step::Read),
    ]
}

struct World<'s> {
    store: &'s dyn Store,
    now: DateTime<Utc>,
    deliveries: Vec<DeliveryId>,
}

impl World<'_> {
    async fn enqueue(&mut self, count: u8) {
        let call = Call {
            url: WebhookUrl::parse("https://example.com/").unwrap(),
            profile: "p".into(),
            auth: None,
            limits: Limits {
                in_flight: std::num::NonZeroU32::MAX,
                rate: None,
            },
        };
        let first = self.deliveries.len();
        let events = (first..first + usize::from(count)).map(|number| {
            let event = Event::builder("s", number.to_string(), format!("kind {}", number % 2));
            NewEvent {
                event: Arc::new(event.build().unwrap()),
                deliveries: vec![NewDelivery {
                    target: Target::Call(call.clone()),
                    body: None,
                }],
            }
        });
        for answer in self.store.enqueue(events.collect(), self.now).await.unwrap() {
            let Enqueued::Fresh(ids) = answer else {
                panic!("{answer:?}")
            };
            self.deliveries.extend(ids);
        }
    }

    async fn attempt(&self, max: usize, accepted: u8) {
        let request = ClaimRequest {
            holder: "h".into(),
            now: self.now,
            lease: Duration::from_secs(60),
            max,
        };
        let claimed = self.store.claim(request).await.unwrap();
        let settlements = claimed.into_iter().enumerate().map(|(at, claimed)| {
            let accepted = accepted >> (at % 8) & 1 == 1;
            let status = if accepted {
                StatusCode::OK
            } else {
                StatusCode::BAD_GATEWAY
            };
            Settlement {
                id: claimed.id,
                fence: claimed.fence,
                attempt: Some(AttemptReport {
                    started_at: self.now,
                    duration: Duration::from_millis(1),
                    outcome: Outcome::Answered(status),
                    excerpt: Bytes::new(),
                }),
                next: if accepted {
                    Next::Delivered
                } else {
                    Next::Retry(self.now)
                },
                pacing: Pacing::Keep,
            }
        });
        self.store.settle(settlements.collect(), self.now).await.unwrap();
    }

    /// Every attempt that is kept of what passes: asked of each delivery, so that paging has no part in it.
    async fn kept(&self, filter: &HistoryQuery) -> BTreeSet<RequestId> {
        let mut kept = BTreeSet::new();
        for (number, id) in self.deliveries.iter().enumerate() {
            let kind = format!("kind {}", number % 2).into();
            if filter.kind.as_ref().is_some_and(|asked| *asked != kind) {
                continue;
            }
            let attempts = self.store.attempts(*id).await.unwrap().into_iter();
            let passing = attempts.filter(|attempt| {
                let class = filter.outcome;
                class.is_none_or(|class| class.contains(attempt.report.outcome))
            });
            kept.extend(passing.map(|attempt| attempt.request_id()));
        }
        kept
    }
}

/// Whoever pages through.
struct Reader {
    query: HistoryQuery,
    seen: Vec<RequestId>,
    /// What was there when it began.
    at_first: BTreeSet<RequestId>,
}

impl Reader {
    async fn start(world: &World<'_>, query: HistoryQuery) -> Self {
        Self {
            at_first: world.kept(&query).await,
            query,
            seen: Vec::new(),
        }
    }

    /// Whether there may be more.
    async fn read(&mut self, store: &dyn Store, limit: usize) -> bool {
        self.query.limit = limit;
        let page = store.history(self.query.clone()).await.unwrap();
        assert!(page.entries.len() <= limit);
        let ids = page.entries.iter().map(|entry| entry.attempt.request_id());
        self.seen.extend(ids);
        self.query.page = PagePosition::After(page.after);
        page.has_more
    }

    async fn finish(mut self, world: &World<'_>) {
        while self.read(world.store, 3).await {}
        let seen: BTreeSet<_> = self.seen.iter().copied().collect();
        assert_eq!(seen.len(), self.seen.len(), "shown twice: {:?}", self.seen);
        let kept = world.kept(&self.query).await;
        match self.query.direction {
            // What was added meanwhile comes last.
            Direction::OldestFirst => {
                assert!(kept.is_subset(&seen), "not shown: {:?}", kept.difference(&seen))
            }
            // What was added meanwhile lies before the beginning.
            Direction::NewestFirst => {
                let due: BTreeSet<_> = kept.intersection(&self.at_first).copied().collect();
                assert!(due.is_subset(&seen), "not shown: {:?}", due.difference(&seen));
                assert!(seen.is_subset(&self.at_first), "shown too late: {seen:?}");
            }
        }
    }
}

async fn page_meanwhile(store: &dyn Store, before: &[Step], meanwhile: &[Step]) {
    let mut world = World {
        store,
        now: DateTime::UNIX_EPOCH,
        deliveries: vec![],
    };
    let mut readers = Vec::new();
    for step in before {
        take(&mut world, &mut readers, step).await;
    }
    let all = HistoryQuery::default();
    let filters = [
        all.clone(),
        HistoryQuery {
            kind: Some("kind 1".into()),
            ..all.clone()
        },
        HistoryQuery {
            kind: Some("kind 0".into()),
            outcome: Some(OutcomeClass::Failed),
            ..all
        },
    ];
    for filter in filters {
        for direction in [Direction::OldestFirst, Direction::NewestFirst] {
            let query = HistoryQuery {
                direction,
                ..filter.clone()
            };
            let mut reader = Reader::start(&world, query).await;
            reader.read(store, 2).await;
            readers.push(reader);
        }
    }
    for step in meanwhile {
        take(&mut world, &mut readers, step).await;
    }
    for reader in readers {
        reader.finish(&world).await;
    }
}

async fn take(world: &mut World<'_>, readers: &mut [Reader], step: &Step) {
    match step {
        Step::Enqueue(count) => world.enqueue(*count).await,
        Step::Attempt(max, accepted) => world.attempt(*max, *accepted).await,
        Step::Advance(seconds) => world.now += TimeDelta::seconds(*seconds),
        Step::Purge(max) => {
            let minute = Duration::from_secs(60);
            let retention = Retention {
                history: minute,
                bodies: minute,
            };
            world.store.purge(&retention, *max, world.now).await.unwrap();
        }
        Step::Read(limit) => {
            for reader in readers {
                reader.read(world.store, *limit).await;
            }
        }
    }
}

fn steps() -> impl Strategy<Value = (Vec<Step>, Vec<Step>)> {
    (vec(step(), 5..40), vec(step(), 5..60))
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn each_surviving_attempt_is_shown_once_from_memory((before, meanwhile) in steps()) {
        block_on(page_meanwhile(&MemoryStore::new(), &before, &meanwhile));
    }

    #[test]
    fn each_surviving_attempt_is_shown_once_from_sqlite((before, meanwhile) in steps(), tail in 1u32..30) {
        let store = SqliteStore::builder().inline().longest_tail(tail).open_in_memory().unwrap();
        block_on(page_meanwhile(&store, &before, &meanwhile));
    }
}
