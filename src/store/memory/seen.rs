//! Keys of what was received.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::id::Fence;
use crate::store::{Seen, SeenKey};
use crate::time::after;

#[derive(Default)]
pub(super) struct SeenKeys {
    entries: BTreeMap<SeenKey, Entry>,
    expiring: BTreeSet<(DateTime<Utc>, SeenKey)>,
    /// One count for all keys, so that it rises for a key even after the key was forgotten.
    last_fence: Fence,
}

struct Entry {
    done: bool,
    fence: Fence,
    /// Until when the lease holds or the key is kept.
    until: DateTime<Utc>,
}

impl SeenKeys {
    pub(super) fn begin(&mut self, key: &SeenKey, lease: Duration, now: DateTime<Utc>) -> Seen {
        if let Some(entry) = self.entries.get(key).filter(|entry| entry.until > now) {
            return if entry.done { Seen::Done } else { Seen::InProgress };
        }
        self.last_fence = self.last_fence.next();
        let fence = self.last_fence;
        self.put(
            key,
            Entry {
                done: false,
                fence,
                until: after(now, lease),
            },
        );
        Seen::Fresh(fence)
    }

    pub(super) fn finish(&mut self, key: &SeenKey, fence: Fence, keep: Duration, now: DateTime<Utc>) -> bool {
        let held = self.holds(key, fence);
        if held {
            self.put(
                key,
                Entry {
                    done: true,
                    fence,
                    until: after(now, keep),
                },
            );
        }
        held
    }

    pub(super) fn abandon(&mut self, key: &SeenKey, fence: Fence) -> bool {
        let held = self.holds(key, fence);
        if held {
            self.remove(key);
        }
        held
    }

    pub(super) fn forget_expired(&mut self, max: usize, now: DateTime<Utc>) -> usize {
        let expired: Vec<_> = self
            .expiring
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(max)
            .cloned()
            .collect();
        for (_, key) in &expired {
            self.remove(key);
        }
        expired.len()
    }

    fn holds(&self, key: &SeenKey, fence: Fence) -> bool {
        self.entries
            .get(key)
            .is_some_and(|entry| !entry.done && entry.fence == fence)
    }

    fn put(&mut self, key: &SeenKey, entry: Entry) {
        self.remove(key);
        self.expiring.insert((entry.until, key.clone()));
        self.entries.insert(key.clone(), entry);
    }

    fn remove(&mut self, key: &SeenKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.expiring.remove(&(entry.until, key.clone()));
        }
    }
}
