//! Keys of what was received. All of it is marked to be compiled where it is used: who only verifies has no use for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::id::Fence;
use crate::store::{Seen, SeenKey};
use crate::time::after;

pub(super) struct SeenKeys {
    entries: BTreeMap<SeenKey, Entry>,
    /// Those of messages under way. There are no more of them than are being handled, and were within a lease.
    leased: BTreeSet<(DateTime<Utc>, SeenKey)>,
    /// Those of messages that were handled.
    kept: BTreeSet<(DateTime<Utc>, SeenKey)>,
    most_done: usize,
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
    #[inline]
    pub(super) fn keeping(most_done: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            leased: BTreeSet::new(),
            kept: BTreeSet::new(),
            most_done,
            last_fence: Fence::default(),
        }
    }

    #[inline]
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

    #[inline]
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
            self.make_room();
        }
        held
    }

    #[inline]
    pub(super) fn abandon(&mut self, key: &SeenKey, fence: Fence) -> bool {
        let held = self.holds(key, fence);
        if held {
            self.remove(key);
        }
        held
    }

    #[inline]
    pub(super) fn forget_expired(&mut self, max: usize, now: DateTime<Utc>) -> usize {
        let is_over = |(at, _): &&(DateTime<Utc>, SeenKey)| *at <= now;
        let kept = self.kept.iter().take_while(is_over).take(max);
        let leased = self.leased.iter().take_while(is_over).take(max);
        let mut expired: Vec<_> = kept.chain(leased).collect();
        expired.sort_unstable();
        expired.truncate(max);
        let keys: Vec<_> = expired.into_iter().map(|(_, key)| key.clone()).collect();
        for key in &keys {
            self.remove(key);
        }
        keys.len()
    }

    #[inline]
    fn holds(&self, key: &SeenKey, fence: Fence) -> bool {
        self.entries
            .get(key)
            .is_some_and(|entry| !entry.done && entry.fence == fence)
    }

    #[inline]
    fn put(&mut self, key: &SeenKey, entry: Entry) {
        self.remove(key);
        self.ends(entry.done).insert((entry.until, key.clone()));
        self.entries.insert(key.clone(), entry);
    }

    /// Forgets those that would be kept for the shortest time, if there are too many.
    #[inline]
    fn make_room(&mut self) {
        while self.kept.len() > self.most_done {
            let Some((_, key)) = self.kept.pop_first() else {
                return;
            };
            self.entries.remove(&key);
        }
    }

    /// When what is done, or what is not, is to be forgotten.
    #[inline]
    fn ends(&mut self, done: bool) -> &mut BTreeSet<(DateTime<Utc>, SeenKey)> {
        if done { &mut self.kept } else { &mut self.leased }
    }

    #[inline]
    fn remove(&mut self, key: &SeenKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.ends(entry.done).remove(&(entry.until, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_is_allowed_and_nothing_under_way_is_forgotten() {
        let (now, lease, keep) = (
            DateTime::UNIX_EPOCH,
            Duration::from_secs(60),
            Duration::from_secs(600),
        );
        let key = |number: usize| SeenKey::new("r", number.to_string());
        let mut seen = SeenKeys::keeping(10);
        assert_eq!(seen.begin(&key(1000), lease, now), Seen::Fresh(Fence(1)));
        for number in 0..100 {
            let Seen::Fresh(fence) = seen.begin(&key(number), lease, now) else {
                panic!("{number} was not seen before");
            };
            assert!(seen.finish(
                &key(number),
                fence,
                keep + Duration::from_secs(number as u64),
                now
            ));
        }
        assert_eq!(
            (seen.entries.len(), seen.kept.len(), seen.leased.len()),
            (11, 10, 1)
        );
        assert_eq!(seen.begin(&key(1000), lease, now), Seen::InProgress);
        assert_eq!(seen.begin(&key(90), lease, now), Seen::Done);
        assert!(matches!(seen.begin(&key(89), lease, now), Seen::Fresh(_)));
    }

    #[test]
    fn what_ended_first_is_forgotten_first() {
        let at = |seconds| after(DateTime::UNIX_EPOCH, Duration::from_secs(seconds));
        let key = |name: &str| SeenKey::new("r", name);
        let mut seen = SeenKeys::keeping(10);
        let mut begin = |name, lease| match seen.begin(&key(name), Duration::from_secs(lease), at(0)) {
            Seen::Fresh(fence) => fence,
            other => panic!("{name}: {other:?}"),
        };
        let (done, late) = (begin("done", 10), begin("late", 10));
        let later = begin("later", 40);
        assert!(seen.finish(&key("done"), done, Duration::from_secs(30), at(0)));
        assert_eq!(seen.forget_expired(1, at(50)), 1);
        assert!(!seen.finish(&key("late"), late, Duration::from_secs(30), at(50)));
        assert_eq!(
            seen.begin(&key("done"), Duration::from_secs(10), at(29)),
            Seen::Done
        );
        assert_eq!(seen.forget_expired(1, at(50)), 1);
        assert!(seen.finish(&key("later"), later, Duration::from_secs(30), at(50)));
    }
}
