//! Those who act in a simulated world besides workers: the application, whoever manages its webhooks, an operator
//! who replays, and chance.

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Command, Desk};
use super::faults::Lots;
use super::ledger::{Acknowledgement, Ledger};
use super::world::{DIGEST, Happening, KEY, SCOPES, USERS, World, key};
use crate::engine::{
    Dispatcher, EnqueueError, Receipt, RecordError, RegisterError, Registration, SaveAuthError, Timer,
};
use crate::id::{AuthId, Scope, Subject, WebhookId};
use crate::store::StoreError;

/// Over how long the application spreads its events.
const BUSY: Duration = Duration::from_secs(60);

/// How much longer than that things go wrong.
const AFTERMATH: Duration = Duration::from_secs(25);

/// From when on nothing goes wrong any more.
pub(super) const CALM_FROM: Duration = BUSY.saturating_add(AFTERMATH);

/// How long flushers go on running once it is calm. Then they are taken away, since what is never accepted goes on waiting
/// for runs for ever.
const FLUSHED: Duration = Duration::from_secs(40);

/// Of how many users there are updates.
const UPDATED_USERS: u64 = 12;

/// One who acts for the application.
pub(super) struct Actor {
    pub(super) dispatcher: Dispatcher,
    pub(super) desk: Arc<Desk>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) lots: Lots,
}

impl Actor {
    /// Takes in events until there are so many deliveries; some events twice, and some contradicted.
    pub(super) async fn enqueues(self, mut world: World, deliveries: u64) {
        let most_gap = BUSY.as_millis() as u64 * 4 / deliveries.max(1);
        let mut events = 0;
        while self.ledger.book().deliveries() < deliveries && events < deliveries.saturating_mul(8) {
            self.nap(0, most_gap.max(2)).await;
            let batch = if self.lots.chance(100) {
                1 + self.lots.below(4)
            } else {
                1
            };
            events += batch;
            let happenings: Vec<_> = (0..batch).filter_map(|_| world.happens()).collect();
            self.take_in(&happenings).await;
            let Some(last) = happenings.last() else { continue };
            if self.lots.chance(60) {
                self.nap(0, 3_000).await;
                let answer = self.take_in_one(last).await;
                self.ledger
                    .book()
                    .acknowledged(&last.event, Acknowledgement::Again, &answer);
            }
            if self.lots.chance(30)
                && let Some(other) = last.contradicted()
            {
                let answer = self.take_in_one(&other).await;
                self.ledger
                    .book()
                    .acknowledged(&other.event, Acknowledgement::Refused, &answer);
            }
        }
        self.desk.post(Command::Done);
    }

    /// Takes in events; those for webhooks in one batch.
    async fn take_in(&self, happenings: &[Happening]) {
        let (calls, shared): (Vec<_>, Vec<_>) = happenings.iter().partition(|one| one.call.is_some());
        for one in calls {
            let answer = self.take_in_one(one).await;
            let expected = Acknowledgement::Taken { by_webhooks: false };
            self.ledger.book().acknowledged(&one.event, expected, &answer);
        }
        let events: Vec<_> = shared.iter().map(|one| one.event.clone()).collect();
        let answers = self
            .insist(async || self.dispatcher.enqueue_all(events.clone()).await)
            .await;
        let receipts = answers.unwrap_or_default();
        for (at, event) in events.iter().enumerate() {
            let answer = Ok(receipts.get(at).cloned().unwrap_or_default());
            let expected = Acknowledgement::Taken { by_webhooks: true };
            self.ledger.book().acknowledged(event, expected, &answer);
        }
    }

    async fn take_in_one(&self, one: &Happening) -> Result<Receipt, EnqueueError> {
        self.insist(async || match one.call.clone() {
            Some(call) => self.dispatcher.enqueue_to(one.event.clone(), call).await,
            None => self.dispatcher.enqueue(one.event.clone()).await,
        })
        .await
    }

    /// Switches a webhook off for a while, removes another, and for a while the key that some are signed with. In the end takes
    /// all flushers away.
    pub(super) async fn manages(self, mut webhooks: Vec<(WebhookId, Registration)>) {
        self.nap(2_000, 20_000).await;
        let at = self.lots.below(webhooks.len() as u64) as usize;
        let (removed, registration) = webhooks.swap_remove(at);
        for _ in 0..1 + self.lots.below(3) {
            let at = self.lots.below(webhooks.len() as u64) as usize;
            let (id, registration) = &webhooks[at];
            self.switch(id, registration, false).await;
            self.nap(1_000, 12_000).await;
            self.switch(id, registration, true).await;
            self.nap(100, 4_000).await;
        }
        if self.lots.chance(500) {
            let gone = self.insist(async || self.dispatcher.remove(&removed).await).await;
            drop(gone);
        } else {
            webhooks.push((removed, registration));
        }
        if self.lots.chance(500) {
            let missing = self
                .insist(async || self.dispatcher.revoke_auth(&AuthId::from(KEY)).await)
                .await;
            drop(missing);
            self.nap(1_000, 9_000).await;
            let saved = self
                .insist(async || self.dispatcher.save_auth(KEY, "key", key()).await)
                .await;
            drop(saved);
        }
        let left = (self.desk.calm_from() + FLUSHED).saturating_sub(self.desk.time.passed());
        self.desk.time.sleep(left).await;
        for (id, registration) in &webhooks {
            self.switch(id, &registration.clone().flusher(None), true).await;
        }
        self.desk.post(Command::Done);
    }

    async fn switch(&self, id: &WebhookId, registration: &Registration, enabled: bool) {
        let saved = self
            .insist(async || {
                let registration = registration.clone().enabled(enabled);
                self.dispatcher.update(id, registration).await
            })
            .await;
        drop(saved);
    }

    /// Records updates of a few users, over and over again.
    pub(super) async fn records(self) {
        while self.desk.time.passed() < BUSY {
            self.nap(0, 900).await;
            let scope = Scope::from(SCOPES[self.lots.below(SCOPES.len() as u64) as usize]);
            let users: Vec<_> = (0..1 + self.lots.below(6))
                .map(|_| Subject::from(format!("user-{}", self.lots.below(UPDATED_USERS))))
                .collect();
            let recorded = self.insist(async || {
                self.dispatcher
                    .record_updates(scope.clone(), DIGEST, users.iter().cloned())
                    .await
            });
            if recorded.await.is_ok() {
                self.ledger.book().updates_acknowledged(&scope, &users);
            }
        }
        self.desk.post(Command::Done);
    }

    /// Unsubscribes webhooks for a while, and has users be temporary.
    pub(super) async fn holds(self, webhooks: Vec<WebhookId>) {
        while !self.desk.is_calm() {
            self.nap(500, 12_000).await;
            if self.lots.chance(500) {
                let id = &webhooks[self.lots.below(webhooks.len() as u64) as usize];
                let held = self.insist(async || self.dispatcher.unsubscribe(id).await).await;
                drop(held);
                self.nap(500, 15_000).await;
                let window = match self.lots.chance(600) {
                    true => Duration::MAX,
                    false => self.lots.millis(1_000, 8_000),
                };
                let lifted = self
                    .insist(async || self.dispatcher.resubscribe(id, window).await)
                    .await;
                drop(lifted);
            } else {
                let scope = Scope::from(SCOPES[self.lots.below(SCOPES.len() as u64) as usize]);
                let user = Subject::from(USERS[self.lots.below(USERS.len() as u64) as usize]);
                let held = self.insist(async || self.dispatcher.hold_subject(&scope, &user).await);
                drop(held.await);
                self.nap(500, 15_000).await;
                let is_deleted = self.lots.chance(300);
                let lifted = self.insist(async || match is_deleted {
                    true => self.dispatcher.drop_subject(&scope, &user).await,
                    false => self.dispatcher.release_subject(&scope, &user).await,
                });
                drop(lifted.await);
            }
        }
        self.desk.post(Command::Done);
    }

    /// Now and then sends something again that had come to its end.
    pub(super) async fn replays(self) {
        while !self.desk.is_calm() {
            self.nap(2_000, 15_000).await;
            let ended = self.ledger.book().final_deliveries();
            if let Some(id) = ended.get(self.lots.below(ended.len() as u64) as usize) {
                let replayed = self.insist(async || self.dispatcher.replay(*id).await).await;
                drop(replayed);
            }
        }
        self.desk.post(Command::Done);
    }

    /// Enables again what the engine has disabled, to the end: what waits for it must come to its own.
    pub(super) async fn enables(self) {
        let mut is_done = false;
        loop {
            self.nap(1_000, 8_000).await;
            let webhooks = self
                .insist(async || self.dispatcher.all_webhooks(None, 100).await)
                .await;
            for webhook in webhooks.unwrap_or_default() {
                if webhook.disabled.is_some() {
                    let enabled = self
                        .insist(async || self.dispatcher.enable(&webhook.id).await)
                        .await;
                    drop(enabled);
                }
            }
            if self.desk.is_calm() && !is_done {
                is_done = true;
                self.desk.post(Command::Done);
            }
        }
    }

    /// Tries again until the store answers.
    async fn insist<T, E: IsStoreFailure>(&self, call: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
        loop {
            match call().await {
                Err(error) if error.is_store_failure() => self.nap(20, 400).await,
                answer => return answer,
            }
        }
    }

    async fn nap(&self, from: u64, to: u64) {
        self.desk.time.sleep(self.lots.millis(from, to)).await;
    }
}

/// Errors that may be a store's, which is worth another try.
trait IsStoreFailure {
    fn is_store_failure(&self) -> bool;
}

impl IsStoreFailure for StoreError {
    fn is_store_failure(&self) -> bool {
        true
    }
}

impl IsStoreFailure for EnqueueError {
    fn is_store_failure(&self) -> bool {
        matches!(self, EnqueueError::Store(_))
    }
}

impl IsStoreFailure for RecordError {
    fn is_store_failure(&self) -> bool {
        matches!(self, RecordError::Store(_))
    }
}

impl IsStoreFailure for RegisterError {
    fn is_store_failure(&self) -> bool {
        matches!(self, RegisterError::Store(_))
    }
}

impl IsStoreFailure for SaveAuthError {
    fn is_store_failure(&self) -> bool {
        matches!(self, SaveAuthError::Store(_))
    }
}

/// Has workers stop and clocks jump, until it is calm.
pub(super) async fn meddle(desk: Arc<Desk>, lots: Lots, places: usize, stops: bool, jumps: bool) {
    while !desk.is_calm() {
        desk.time.sleep(lots.millis(1_500, 12_000)).await;
        if stops && lots.chance(500) {
            desk.post(Command::Stop(lots.below(places as u64) as usize));
        }
        if jumps && lots.chance(400) {
            desk.post(Command::SetClock(lots.below(60_000) as i64 - 30_000));
        }
    }
    desk.post(Command::SetClock(0));
    desk.post(Command::Done);
}
