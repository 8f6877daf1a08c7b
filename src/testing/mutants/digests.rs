//! What is broken about digests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::notes::rebuilt;
use super::{Mutant, MutantStore};
use crate::delivery::{DigestEntry, Interval};
use crate::id::{DeliveryId, EventId, EventType};
use crate::store::{
    Chunk, DigestStore, Enqueued, NewEvent, SealedWindow, StoreError, TakeChunk, Update, WindowNo,
};
use crate::time::after;

/// Of so many updates, [`Mutant::UpdateForgotten`] forgets one.
const FORGOTTEN_OF: usize = 5;

impl MutantStore {
    /// The windows that late updates of this digest and scope could go to, were they not sealed.
    fn sealed_for(&self, update: &Update) -> Option<WindowNo> {
        let notes = self.notes();
        let mut sealed = notes.sealed.iter();
        sealed
            .find(|(_, (digest, scope))| (digest, scope) == (&update.digest, &update.scope))
            .map(|(number, _)| *number)
    }
}

#[async_trait]
impl DigestStore for MutantStore {
    async fn record_updates(&self, updates: Vec<Update>, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut kept = Vec::new();
        for mut update in updates {
            match self.mutant {
                Mutant::UpdateForgotten => {
                    let mut notes = self.notes();
                    notes.updates += 1;
                    if notes.updates.is_multiple_of(FORGOTTEN_OF) {
                        continue;
                    }
                }
                Mutant::UpdateInTwoWindows => {
                    let next = after(now, update.interval.span());
                    self.store.record_updates(vec![update.clone()], next).await?;
                }
                Mutant::SealedWindowReopened => {
                    if let Some(window) = self.sealed_for(&update) {
                        let late = DigestEntry::new(update.subject, now);
                        self.notes().late.entry(window).or_default().push(late);
                        continue;
                    }
                }
                Mutant::DigestScopesMixed => update.scope = "mixed".into(),
                _ => {}
            }
            kept.push(update);
        }
        self.store.record_updates(kept, now).await
    }

    async fn seal_windows(
        &self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, StoreError> {
        let now = match self.mutant {
            Mutant::SealedEarly => after(now, Duration::from_secs(60)),
            _ => now,
        };
        let sealed = self.store.seal_windows(digest, interval, max, now).await?;
        let names = sealed
            .iter()
            .map(|window| (window.number, (digest.clone(), window.scope.clone())));
        self.notes().sealed.extend(names);
        Ok(sealed)
    }

    async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let end = self.store.next_window_end(digest, interval, now).await?;
        Ok(match self.mutant {
            Mutant::WindowEndLate => end.map(|end| after(end, Duration::from_secs(3_600))),
            _ => end,
        })
    }

    async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, StoreError> {
        let max = match self.mutant {
            Mutant::ChunkTooLarge => max.saturating_mul(2),
            _ => max,
        };
        let mut chunk = self.store.next_chunk(window, max).await?;
        let users = chunk.iter_mut().flat_map(|chunk| &mut chunk.users);
        if self.is(Mutant::UpdatesUncounted) {
            users.for_each(|user| user.updates = 1);
        }
        let late = self.notes().late.remove(&window);
        if let (Some(chunk), Some(late)) = (&mut chunk, late) {
            chunk.users.splice(0..0, late);
        }
        Ok(chunk)
    }

    async fn take_chunk(
        &self,
        taking: TakeChunk,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, StoreError> {
        match self.mutant {
            Mutant::ChunkWithoutNotification => {
                let new = &taking.notification;
                let ids = (1..).take(new.deliveries.len()).map(DeliveryId).collect();
                let id = EventId::from(format!("{}#", new.event.id()));
                let other = NewEvent {
                    event: Arc::new(rebuilt(
                        &new.event,
                        new.event.scope().clone(),
                        id,
                        new.event.body().clone(),
                    )),
                    deliveries: Vec::new(),
                };
                let taking = TakeChunk {
                    notification: other,
                    ..taking
                };
                let taken = self.store.take_chunk(taking, now).await?;
                Ok(taken.map(|_| Enqueued::Fresh(ids)))
            }
            Mutant::ChunkLeftBehind => {
                let enqueued = self.store.enqueue(vec![taking.notification], now).await?;
                Ok(enqueued.into_iter().next())
            }
            Mutant::ChunkTakenTwice => {
                let notification = taking.notification.clone();
                match self.store.take_chunk(taking, now).await? {
                    None => Ok(Some(Enqueued::Fresh(self.enqueue_twin(notification, now).await?))),
                    taken => Ok(taken),
                }
            }
            _ => self.store.take_chunk(taking, now).await,
        }
    }
}
