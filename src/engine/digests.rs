//! Recording updates, and sending what was gathered of them.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::FutureExt;

use super::assembly::Parts;
use super::upkeep::{Pass, Step};
use super::{Dispatcher, EnqueueError};
use crate::delivery::{Digest, Event};
use crate::id::{EventId, EventType, Scope, Subject};
use crate::observe;
use crate::store::{Enqueued, SealedWindow, StoreError, StoreErrorKind, TakeChunk, Update, WindowNo};
use crate::time::after;

/// Of how many windows a chunk is sent before there is a look for others. One with a million users is so kept from
/// holding up the small ones.
const WINDOWS_AT_ONCE: usize = 16;

/// How long a window is left alone that cannot be sent as things are.
const STUCK: Duration = Duration::from_secs(60);

/// How many ids are tried for a notification. More than one is needed only where an application uses such ids itself.
const IDS: u32 = 8;

impl Dispatcher {
    /// Records that something about a user changed. It is gathered with whatever else there is of that scope and
    /// digest, merged by user, and told in a notification when the window is over, by an
    /// [`Upkeep`](super::Upkeep).
    ///
    /// # Errors
    ///
    /// As [`record_updates`](Self::record_updates).
    pub async fn record_update(
        &self,
        scope: impl Into<Scope>,
        digest: impl Into<EventType>,
        subject: impl Into<Subject>,
    ) -> Result<(), RecordError> {
        self.record_updates(scope, digest, [subject]).await
    }

    /// Records updates of many users in one commit.
    ///
    /// Once it has returned, each is told in exactly one window's notifications. Where it is not known whether they were
    /// recorded, since the application or the connection was lost before the answer, they should be recorded again:
    /// within a window that only changes how many updates are counted, and if a window has ended between, the user
    /// is told of twice.
    ///
    /// # Errors
    ///
    /// [`RecordError::UnknownDigest`] if the engine was built without that digest, and [`RecordError::Store`].
    pub async fn record_updates(
        &self,
        scope: impl Into<Scope>,
        digest: impl Into<EventType>,
        subjects: impl IntoIterator<Item = impl Into<Subject>>,
    ) -> Result<(), RecordError> {
        let (scope, name) = (scope.into(), digest.into());
        let Some(digest) = self.parts.digests.get(&name) else {
            return Err(RecordError::UnknownDigest(name));
        };
        let updates = subjects.into_iter().map(|subject| Update {
            scope: scope.clone(),
            digest: name.clone(),
            subject: subject.into(),
            interval: digest.interval(),
        });
        let updates = updates.collect();
        Ok(self
            .parts
            .store
            .record_updates(updates, self.parts.timer.now())
            .await?)
    }
}

/// Why updates were not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The engine was built without a digest of that name.
    #[error("there is no digest `{0}`")]
    UnknownDigest(EventType),
    /// The store failed. Recording them again is safe.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sends the windows of one digest when they are over, a chunk at a step.
#[derive(Debug)]
pub(super) struct Digester {
    digest: Digest,
    /// Sealed ones, of each of which a chunk is to be sent.
    windows: VecDeque<SealedWindow>,
    /// Those that cannot be sent as things are.
    stuck: BTreeSet<WindowNo>,
}

impl Digester {
    pub(super) fn new(digest: Digest) -> Self {
        Self {
            digest,
            windows: VecDeque::new(),
            stuck: BTreeSet::new(),
        }
    }

    /// Seals what is over, and takes down what there is to send.
    async fn look(&mut self, parts: &Parts) -> Result<(), StoreError> {
        let most = WINDOWS_AT_ONCE + self.stuck.len();
        let (name, interval) = (self.digest.name(), self.digest.interval());
        let sealed = parts
            .store
            .seal_windows(name, interval, most, parts.timer.now())
            .await?;
        let sealed = sealed.into_iter();
        self.windows
            .extend(sealed.filter(|window| !self.stuck.contains(&window.number)));
        Ok(())
    }

    /// When to look again, after there was nothing to send.
    async fn rest(&mut self, parts: &Parts) -> Result<DateTime<Utc>, StoreError> {
        let now = parts.timer.now();
        let (name, interval) = (self.digest.name(), self.digest.interval());
        // Another process may open a window at any moment, and it ends no sooner than this.
        let soonest = interval.window(now).end();
        if !std::mem::take(&mut self.stuck).is_empty() {
            return Ok(soonest.min(after(now, STUCK)));
        }
        let next = parts.store.next_window_end(name, interval, now).await?;
        Ok(next.map_or(soonest, |next| next.min(soonest)))
    }

    /// Sends the next chunk of a window, if there still is one. Whether that is possible as things are.
    async fn send_chunk(&self, parts: &Arc<Parts>, window: &SealedWindow) -> Result<bool, StoreError> {
        let most = self.digest.max_users().get();
        let Some(chunk) = parts.store.next_chunk(window.number, most).await? else {
            return Ok(true); // another process has sent it
        };
        let Some(last) = chunk.users.last() else {
            return Ok(true);
        };
        let body = self
            .digest
            .form()
            .body(&window.scope, &window.window, &chunk.users);
        let dispatcher = Dispatcher::new(Arc::clone(parts));
        let webhooks = parts.store.webhooks(&window.scope).await?;
        for again in 0..IDS {
            let id = notification_id(window, chunk.number, again);
            let event = Event::builder(window.scope.clone(), id.clone(), self.digest.name().clone());
            let Ok(event) = event.json(body.clone()).build() else {
                return Ok(false);
            };
            let notification = match dispatcher.for_all(event, &webhooks).await {
                Ok(notification) => notification,
                Err(EnqueueError::Store(error)) => return Err(error),
                Err(error) => {
                    observe::unrendered(&window.scope, &id, &error);
                    return Ok(false);
                }
            };
            let event = Arc::clone(&notification.event);
            let taking = TakeChunk {
                window: window.number,
                number: chunk.number,
                through: last.subject.clone(),
                notification,
            };
            match parts.store.take_chunk(taking, parts.timer.now()).await? {
                Some(Enqueued::Conflict) => {}
                Some(Enqueued::Fresh(deliveries)) => {
                    observe::enqueued(&event, &deliveries);
                    return Ok(true);
                }
                Some(Enqueued::Duplicate(_)) | None => return Ok(true),
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Pass for Digester {
    async fn step(&mut self, parts: &Arc<Parts>) -> Result<Step, StoreError> {
        if self.windows.is_empty() {
            self.look(parts).await?;
        }
        let Some(window) = self.windows.pop_front() else {
            return self.rest(parts).await.map(Step::Until);
        };
        // A panic in the user's form or profile holds up this window and nothing else.
        let sent = AssertUnwindSafe(self.send_chunk(parts, &window))
            .catch_unwind()
            .await;
        let is_stuck = match sent {
            Ok(Ok(is_possible)) => !is_possible,
            Ok(Err(error)) if error.kind() != StoreErrorKind::Corrupt => return Err(error),
            Ok(Err(_)) | Err(_) => true,
        };
        if is_stuck {
            self.stuck.insert(window.number);
        }
        Ok(Step::Again)
    }
}

/// The same for each try, so that what was enqueued already is found to be. Every profile can send it: no full stop, and no
/// name that an application chose.
fn notification_id(window: &SealedWindow, chunk: u32, again: u32) -> EventId {
    let start = window.window.start().to_rfc3339_opts(SecondsFormat::Secs, true);
    let id = format!("digest/{start}/{}/{chunk}", window.number);
    EventId::from(match again {
        0 => id,
        again => format!("{id}+{again}"),
    })
}
