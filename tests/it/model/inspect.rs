//! Looking through history, purging, and replaying what is dead.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use proptest::option::of;
use proptest::prelude::*;
use ringback::delivery::{
    Cursor, Direction, HistoryQuery, Outcome, OutcomeClass, PagePosition, Retention, SendFailure,
};
use ringback::id::DeliveryId;
use ringback::store::{ReplayDead, Store};

use super::{scope_of, shown};

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Page(Query),
    Health {
        webhook: u8,
        since: i64,
        until: i64,
    },
    Replay(i64),
    ReplayDead {
        webhook: u8,
        since: Option<i64>,
        after: Option<i64>,
        max: usize,
    },
    Purge {
        history: u64,
        bodies: u64,
        max: usize,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Query {
    webhook: Option<u8>,
    scope: Option<u8>,
    kind: Option<bool>,
    outcome: Option<u8>,
    delivery: Option<i64>,
    since: Option<i64>,
    until: Option<i64>,
    newest_first: bool,
    page: (u8, i64),
    limit: usize,
    bodies: bool,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let place = || 0i64..5_000;
    let query = (
        (
            of(0u8..5),
            of(0u8..3),
            of(any::<bool>()),
            of(0u8..6),
            of(0i64..30),
        ),
        (of(place()), of(place())),
        (any::<bool>(), (0u8..3, -2i64..60), 0usize..6, any::<bool>()),
    );
    prop_oneof![
        6 => query.prop_map(|(filters, times, view)| Op::Page(Query {
            webhook: filters.0,
            scope: filters.1,
            kind: filters.2,
            outcome: filters.3,
            delivery: filters.4.filter(|id| id % 3 == 0),
            since: times.0,
            until: times.1,
            newest_first: view.0,
            page: view.1,
            limit: view.2,
            bodies: view.3,
        })),
        1 => (0u8..4, place(), place()).prop_map(|(webhook, since, until)| Op::Health { webhook, since, until }),
        2 => (0i64..20).prop_map(Op::Replay),
        1 => (0u8..4, of(place()), of(0i64..20), 0usize..4)
            .prop_map(|(webhook, since, after, max)| Op::ReplayDead { webhook, since, after, max }),
        3 => (0u64..1_500, 0u64..1_500, 0usize..9)
            .prop_map(|(history, bodies, max)| Op::Purge { history, bodies, max }),
    ]
}

/// So many milliseconds after the beginning.
fn at(milliseconds: i64) -> DateTime<Utc> {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds)
}

fn outcome(which: u8) -> OutcomeClass {
    match which {
        0 => OutcomeClass::status(StatusCode::OK),
        1 => OutcomeClass::Exactly(Outcome::Failed(SendFailure::Connect)),
        2 => OutcomeClass::Exactly(Outcome::Interrupted),
        3 => OutcomeClass::Unanswered,
        4 => OutcomeClass::Failed,
        _ => OutcomeClass::Hundred(5),
    }
}

impl Query {
    fn query(&self) -> HistoryQuery {
        let cursor = Cursor::at(self.page.1);
        HistoryQuery {
            webhook: self.webhook.map(|webhook| format!("w{webhook}").into()),
            scope: self.scope.map(|scope| format!("s{scope}").into()),
            kind: self.kind.map(|known| if known { "t" } else { "unknown" }.into()),
            outcome: self.outcome.map(outcome),
            delivery: self.delivery.map(DeliveryId),
            since: self.since.map(at),
            until: self.until.map(at),
            direction: match self.newest_first {
                true => Direction::NewestFirst,
                false => Direction::OldestFirst,
            },
            page: match self.page.0 {
                0 => PagePosition::Start,
                1 => PagePosition::After(cursor),
                _ => PagePosition::Before(cursor),
            },
            limit: self.limit,
            bodies: self.bodies,
        }
    }
}

pub(super) async fn call(store: &dyn Store, op: &Op, now: DateTime<Utc>) -> String {
    match op {
        Op::Page(query) => {
            let page = store.history(query.query()).await.unwrap();
            let bodies: Vec<_> = page.entries.iter().map(|entry| &entry.body).collect();
            format!("{page:?} {bodies:?}")
        }
        Op::Health {
            webhook,
            since,
            until,
        } => {
            let webhook = format!("w{webhook}").into();
            shown(store.health(&webhook, at(*since), at(*until)).await)
        }
        Op::Replay(id) => shown(store.replay(DeliveryId(*id), now).await),
        Op::ReplayDead {
            webhook,
            since,
            after,
            max,
        } => {
            let request = ReplayDead {
                webhook: format!("w{webhook}").into(),
                since: since.map(at),
                after: after.map(DeliveryId),
                max: *max,
            };
            shown(store.replay_dead(request, now).await)
        }
        Op::Purge { history, bodies, max } => {
            let retention = Retention {
                history: Duration::from_millis(*history),
                bodies: Duration::from_millis(*bodies),
            };
            shown(store.purge(&retention, *max, now).await)
        }
    }
}

/// Every delivery, all of history, and how every webhook is.
pub(super) async fn everything(store: &dyn Store) -> String {
    let mut text = String::new();
    let mut missing = 0;
    for id in (1..).map(DeliveryId) {
        let Some(record) = store.delivery(id).await.unwrap() else {
            missing += 1;
            if missing == 200 {
                break; // as many in a row are hardly ever purged
            }
            continue;
        };
        missing = 0;
        let attempts = store.attempts(id).await.unwrap();
        text += &format!("{record:?} {:?} {attempts:?}\n", record.body);
    }
    for event in 0..40 {
        let scope = scope_of(event % 8 == 1).into();
        text += &shown(store.deliveries_of(&scope, &format!("e{event}").into()).await);
    }
    let all = HistoryQuery {
        limit: usize::MAX,
        bodies: true,
        ..HistoryQuery::default()
    };
    text += &shown(store.history(all).await);
    for webhook in 0..4 {
        let webhook = format!("w{webhook}").into();
        let (since, until) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        text += &shown(store.health(&webhook, since, until).await);
    }
    text
}
