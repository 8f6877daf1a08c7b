//! Updates, gathered into digests.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::delivery::{DigestEntry, Interval, Window};
use crate::id::{EventType, Scope, Subject};
use crate::store::{Chunk, SealedWindow, TakeChunk, Update, WindowNo};

#[derive(Default)]
pub(super) struct Digests {
    shelves: BTreeMap<Key, Shelf>,
    windows: BTreeMap<WindowNo, Gathering>,
    last_window: i64,
}

type Key = (EventType, Scope);

/// Where updates of one digest and scope go.
#[derive(Default)]
struct Shelf {
    /// Up to when its windows are sealed.
    closed: Option<DateTime<Utc>>,
    open: Vec<Window>,
    /// The numbers of the open windows.
    numbers: Vec<WindowNo>,
}

/// A window with what was gathered in it.
struct Gathering {
    key: Key,
    window: Window,
    sealed: bool,
    /// How many chunks of it were taken.
    chunks: u32,
    users: BTreeMap<Subject, DigestEntry>,
}

impl Digests {
    pub(super) fn record(&mut self, update: Update, now: DateTime<Utc>) {
        let key = (update.digest, update.scope);
        let shelf = self.shelves.entry(key.clone()).or_default();
        let window = update.interval.gathering_window(now, shelf.closed, &shelf.open);
        let number = shelf.number_of(&window).unwrap_or_else(|| {
            self.last_window += 1;
            shelf.open.push(window);
            shelf.numbers.push(WindowNo(self.last_window));
            WindowNo(self.last_window)
        });
        let gathering = self.windows.entry(number).or_insert_with(|| Gathering {
            key,
            window,
            sealed: false,
            chunks: 0,
            users: BTreeMap::new(),
        });
        gathering
            .users
            .entry(update.subject.clone())
            .and_modify(|entry| entry.merge(now))
            .or_insert_with(|| DigestEntry::new(update.subject, now));
    }

    pub(super) fn seal(
        &mut self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Vec<SealedWindow> {
        let of_digest = self
            .windows
            .iter()
            .filter(|(_, gathering)| gathering.key.0 == *digest);
        let over = of_digest.filter(|(_, gathering)| gathering.is_over(interval, now));
        let mut over: Vec<_> = over
            .map(|(number, gathering)| (!gathering.sealed, gathering.window.end(), *number))
            .collect();
        over.sort_unstable();
        over.truncate(max);
        let sealed = over.into_iter().filter_map(|(_, _, number)| {
            let gathering = self.windows.get_mut(&number)?;
            let newly = !std::mem::replace(&mut gathering.sealed, true);
            if let Some(shelf) = self.shelves.get_mut(&gathering.key).filter(|_| newly) {
                shelf.closed = interval.closed_by(&gathering.window, shelf.closed, now);
                shelf.open.retain(|open| *open != gathering.window);
                shelf.numbers.retain(|open| *open != number);
            }
            Some(SealedWindow {
                number,
                scope: gathering.key.1.clone(),
                window: gathering.window,
            })
        });
        sealed.collect()
    }

    pub(super) fn next_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let of_digest = self
            .windows
            .values()
            .filter(|gathering| gathering.key.0 == *digest);
        let ends = of_digest.map(|gathering| match gathering.is_over(interval, now) {
            true => now,
            false => gathering.window.end(),
        });
        ends.min()
    }

    pub(super) fn next_chunk(&self, window: WindowNo, max: usize) -> Option<Chunk> {
        let gathering = self.windows.get(&window).filter(|gathering| gathering.sealed)?;
        let users: Vec<_> = gathering.users.values().take(max).cloned().collect();
        (!users.is_empty()).then_some(Chunk {
            number: gathering.chunks,
            users,
        })
    }

    /// Whether this is the next chunk of a sealed window.
    pub(super) fn is_next(&self, taking: &TakeChunk) -> bool {
        let is_it = |gathering: &&Gathering| gathering.sealed && gathering.chunks == taking.number;
        let gathering = self.windows.get(&taking.window).filter(is_it);
        gathering.is_some_and(|gathering| gathering.users.contains_key(&taking.through))
    }

    pub(super) fn take(&mut self, window: WindowNo, through: &Subject) {
        let Some(gathering) = self.windows.get_mut(&window) else {
            return;
        };
        while gathering
            .users
            .first_key_value()
            .is_some_and(|(subject, _)| subject <= through)
        {
            gathering.users.pop_first();
        }
        gathering.chunks = gathering.chunks.saturating_add(1);
        if gathering.users.is_empty() {
            self.windows.remove(&window);
        }
    }
}

impl Shelf {
    fn number_of(&self, window: &Window) -> Option<WindowNo> {
        let at = self.open.iter().position(|open| open == window)?;
        self.numbers.get(at).copied()
    }
}

impl Gathering {
    fn is_over(&self, interval: Interval, now: DateTime<Utc>) -> bool {
        self.sealed || interval.is_over(&self.window, now)
    }
}
