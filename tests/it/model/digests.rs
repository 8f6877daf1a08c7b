//! Digests.

use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::collection::vec;
use proptest::prelude::*;
use ringback::delivery::Interval;
use ringback::id::EventType;
use ringback::store::{Store, TakeChunk, Update, WindowNo};

use super::{Caller, new_event, shown};

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Scope, digest, user and interval of each.
    Record(Vec<(u8, u8, u8, u8)>),
    Seal {
        digest: u8,
        interval: u8,
        max: usize,
    },
    NextChunk(i64, usize),
    TakeChunk {
        window: i64,
        number: u32,
        through: u8,
    },
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => vec((0u8..2, 0u8..2, 0u8..4, 0u8..3), 0..4).prop_map(Op::Record),
        2 => (0u8..2, 0u8..3, 0usize..4).prop_map(|(digest, interval, max)| Op::Seal { digest, interval, max }),
        1 => (0i64..8, 0usize..4).prop_map(|(window, max)| Op::NextChunk(window, max)),
        3 => (1i64..6, 0u32..3, 0u8..4)
            .prop_map(|(window, number, through)| Op::TakeChunk { window, number, through }),
    ]
}

impl Caller {
    pub(super) async fn call_digests(&self, store: &dyn Store, op: &Op) -> String {
        let now = self.now;
        match op {
            Op::Record(updates) => {
                let updates = updates.iter().map(|(scope, digest, user, interval)| Update {
                    scope: format!("s{scope}").into(),
                    digest: name(*digest),
                    subject: format!("u{user}").into(),
                    interval: length(*interval),
                });
                shown(store.record_updates(updates.collect(), now).await)
            }
            Op::Seal {
                digest,
                interval,
                max,
            } => {
                let (digest, interval) = (name(*digest), length(*interval));
                shown(store.seal_windows(&digest, interval, *max, now).await)
            }
            Op::NextChunk(window, max) => shown(store.next_chunk(WindowNo(*window), *max).await),
            Op::TakeChunk {
                window,
                number,
                through,
            } => {
                let taking = TakeChunk {
                    window: WindowNo(*window),
                    number: *number,
                    through: format!("u{through}").into(),
                    notification: new_event((*window * 3) as u8 + *number as u8, 0, &[(*through, true)]),
                };
                shown(store.take_chunk(taking, now).await)
            }
        }
    }
}

fn name(digest: u8) -> EventType {
    format!("d{digest}").into()
}

fn length(interval: u8) -> Interval {
    Interval::of(Duration::from_secs(1 + u64::from(interval))).unwrap()
}

/// When the next window of each digest ends.
pub(super) async fn window_ends(store: &dyn Store, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    for digest in [0, 1].map(name) {
        text += &shown(store.next_window_end(&digest, length(1), now).await);
    }
    text
}

/// What is in every window.
pub(super) async fn everything(store: &dyn Store) -> String {
    let mut text = String::new();
    for window in (1..40).map(WindowNo) {
        text += &shown(store.next_chunk(window, 100).await);
    }
    text
}
