//! The watch on the store: every call that is carried out, with its true answer, goes into the ledger.
//!
//! It sits between the faults and the store, so that it knows what was done even where its caller never learns. After
//! each call it reads back what was touched. The stores that are simulated answer without waiting, so nothing comes
//! between a call and the reading back.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::layer::Hooks;
use super::ledger::{ActorNo, Ledger, Readback};
use super::world::MOST_USERS;
use crate::delivery::Webhook;
use crate::id::{DeliveryId, Fence, WebhookId};
use crate::store::{
    ClaimRequest, Claimed, Enqueued, HoldKey, NewEvent, Release, Replayed, Saved, Settled, Settlement, Store,
    StoreError, Switch, Switched, TakeChunk, Update,
};

/// The watch over the calls of one worker, or of the application.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) actor: ActorNo,
    pub(super) ledger: Arc<Ledger>,
}

impl Recorder {
    /// Looks at what the call may have kept back or let go.
    async fn notice_moves(&self, inner: &dyn Store, now: DateTime<Utc>) -> Result<(), StoreError> {
        let unsure = self.ledger.book().may_be_moved();
        let found = read_back(inner, unsure).await?;
        self.ledger.book().notice_moves(&found, now);
        Ok(())
    }

    async fn webhook_saved(
        &self,
        inner: &dyn Store,
        webhook: &Webhook,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let awaiting = self.ledger.book().awaiting_of(&webhook.id);
        let awaiting = read_back(inner, awaiting).await?;
        let mut book = self.ledger.book();
        book.webhook_saved(webhook);
        if webhook.runs_by().is_none() {
            book.awaits_no_more(&awaiting);
        }
        book.distrust(now);
        Ok(())
    }
}

/// What the store now holds of these deliveries.
pub(super) async fn read_back(inner: &dyn Store, ids: Vec<DeliveryId>) -> Result<Vec<Readback>, StoreError> {
    let mut found = Vec::new();
    for id in ids {
        let record = inner.delivery(id).await?;
        let attempts = inner.attempts(id).await?;
        found.push(Readback { id, record, attempts });
    }
    Ok(found)
}

#[async_trait]
impl Hooks for Recorder {
    async fn enqueue(
        &self,
        inner: &dyn Store,
        events: Vec<NewEvent>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Enqueued>, StoreError> {
        let answers = inner.enqueue(events.clone(), now).await?;
        for (event, answer) in events.iter().zip(&answers) {
            let stored = inner.deliveries_of(event.event.scope(), event.event.id()).await?;
            self.ledger.book().enqueued(event, answer, &stored, now);
        }
        self.notice_moves(inner, now).await?;
        Ok(answers)
    }

    async fn claim(&self, inner: &dyn Store, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let unsure = {
            let book = self.ledger.book();
            let mut unsure = book.may_change_at_claim(request.now);
            unsure.extend(book.may_be_moved());
            unsure.sort_unstable();
            unsure.dedup();
            unsure
        };
        let claimed = inner.claim(request.clone()).await?;
        let unsure = read_back(inner, unsure).await?;
        let taken = claimed.iter().map(|claimed| claimed.id).collect();
        let taken = read_back(inner, taken).await?;
        self.ledger
            .book()
            .claimed(self.actor, &request, &claimed, &unsure, &taken);
        Ok(claimed)
    }

    async fn settle(
        &self,
        inner: &dyn Store,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let answers = inner.settle(settlements.clone(), now).await?;
        let settled = settlements.iter().map(|settlement| settlement.id).collect();
        let after = read_back(inner, settled).await?;
        let mut book = self.ledger.book();
        for (settlement, answer) in settlements.iter().zip(&answers) {
            book.settled(self.actor, settlement, *answer, now);
        }
        book.notice_moves(&after, now);
        book.compare(&after);
        Ok(answers)
    }

    async fn release(
        &self,
        inner: &dyn Store,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError> {
        let answers = inner.release(claims.clone(), now).await?;
        let released = claims.iter().map(|(id, _)| *id).collect();
        let after = read_back(inner, released).await?;
        let mut book = self.ledger.book();
        for ((id, fence), answer) in claims.iter().zip(&answers) {
            book.released(self.actor, *id, *fence, *answer);
        }
        book.notice_moves(&after, now);
        book.compare(&after);
        Ok(answers)
    }

    async fn hold(&self, inner: &dyn Store, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let placed = inner.hold(key.clone(), now).await?;
        self.ledger.book().hold_placed(&key, placed);
        self.notice_moves(inner, now).await?;
        Ok(placed)
    }

    async fn lift(
        &self,
        inner: &dyn Store,
        key: &HoldKey,
        release: Release,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let lifted = inner.lift(key, release, now).await?;
        self.ledger.book().hold_lifted(key, release, lifted);
        self.notice_moves(inner, now).await?;
        Ok(lifted)
    }

    async fn next_due(
        &self,
        inner: &dyn Store,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let next = inner.next_due(now).await?;
        self.ledger.book().next_due_said(next, now);
        Ok(next)
    }

    async fn save_webhook(
        &self,
        inner: &dyn Store,
        webhook: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        let saved = inner.save_webhook(webhook.clone(), now).await?;
        if saved == Saved::Done {
            self.webhook_saved(inner, &webhook, now).await?;
        }
        Ok(saved)
    }

    async fn replace_webhook(
        &self,
        inner: &dyn Store,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        let saved = inner.replace_webhook(old, new.clone(), now).await?;
        if saved == Saved::Done {
            self.webhook_saved(inner, &new, now).await?;
        }
        Ok(saved)
    }

    async fn switch_webhook(
        &self,
        inner: &dyn Store,
        id: &WebhookId,
        switch: Switch,
        now: DateTime<Utc>,
    ) -> Result<Switched, StoreError> {
        let switched = inner.switch_webhook(id, switch, now).await?;
        if let Switched::Done(webhook) = &switched {
            let mut book = self.ledger.book();
            book.webhook_switched(webhook, switch, now);
            book.webhook_saved(webhook);
            book.distrust(now);
        }
        Ok(switched)
    }

    async fn remove_webhook(
        &self,
        inner: &dyn Store,
        id: &WebhookId,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let removed = inner.remove_webhook(id, now).await?;
        self.ledger.book().webhook_removed(id);
        self.notice_moves(inner, now).await?;
        Ok(removed)
    }

    async fn record_updates(
        &self,
        inner: &dyn Store,
        updates: Vec<Update>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        inner.record_updates(updates.clone(), now).await?;
        self.ledger.book().updates_recorded(&updates);
        Ok(())
    }

    async fn take_chunk(
        &self,
        inner: &dyn Store,
        taking: TakeChunk,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, StoreError> {
        let new = taking.notification.clone();
        let answer = inner.take_chunk(taking, now).await?;
        if let Some(enqueued) = &answer {
            let stored = inner.deliveries_of(new.event.scope(), new.event.id()).await?;
            let mut book = self.ledger.book();
            book.enqueued(&new, enqueued, &stored, now);
            if *enqueued != Enqueued::Conflict {
                book.users_told(&new.event, MOST_USERS.get());
            }
        }
        self.notice_moves(inner, now).await?;
        Ok(answer)
    }

    async fn replay(
        &self,
        inner: &dyn Store,
        id: DeliveryId,
        now: DateTime<Utc>,
    ) -> Result<Replayed, StoreError> {
        let before = read_back(inner, vec![id]).await?;
        let replayed = inner.replay(id, now).await?;
        let after = read_back(inner, vec![id]).await?;
        let mut book = self.ledger.book();
        for (before, after) in before.iter().zip(&after) {
            book.replayed(before, replayed, after, now);
        }
        book.distrust(now);
        Ok(replayed)
    }
}
