//! What was received before.

use std::time::Duration;

use proptest::prelude::*;
use ringback::store::{Seen, SeenKey, Store};

use super::{Answer, Caller, Learnt, pick, shown, skew, skewed};

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Begin(u8),
    Finish(usize, i64),
    Abandon(usize, i64),
    Forget(usize),
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0u8..3).prop_map(Op::Begin),
        (any::<usize>(), skew()).prop_map(|(at, skew)| Op::Finish(at, skew)),
        (any::<usize>(), skew()).prop_map(|(at, skew)| Op::Abandon(at, skew)),
        (0usize..3).prop_map(Op::Forget),
    ]
}

impl Caller {
    pub(super) async fn call_seen(&self, store: &dyn Store, op: &Op) -> Answer {
        let now = self.now;
        let text = match op {
            Op::Begin(key) => {
                let key = SeenKey::new("r", format!("k{key}"));
                let seen = store.begin(&key, Duration::from_millis(100), now).await.unwrap();
                return Answer {
                    text: format!("{seen:?}"),
                    learnt: match seen {
                        Seen::Fresh(fence) => Learnt::Key(key, fence),
                        _ => Learnt::Nothing,
                    },
                };
            }
            Op::Finish(at, skew) => match pick(&self.keys, *at) {
                Some((key, fence)) => {
                    let keep = Duration::from_millis(300);
                    shown(store.finish(&key, skewed(fence, *skew), keep, now).await)
                }
                None => String::new(),
            },
            Op::Abandon(at, skew) => match pick(&self.keys, *at) {
                Some((key, fence)) => shown(store.abandon(&key, skewed(fence, *skew), now).await),
                None => String::new(),
            },
            Op::Forget(max) => shown(store.forget_expired(*max, now).await),
        };
        text.into()
    }
}
