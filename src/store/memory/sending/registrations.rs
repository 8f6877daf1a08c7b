//! Webhooks.

use std::ops::Bound;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::book::Book;
use super::lanes::LaneNo;
use crate::delivery::{DisableReason, Disabled, LaneKey, LaneRules, Webhook};
use crate::id::{AuthId, Scope, WebhookId};
use crate::store::{FailingWebhook, HoldKey, Saved, Switch, Switched};

impl Book {
    /// Where deliveries of that scope to that webhook wait, if it is a webhook of that scope.
    pub(super) fn lane_of(
        &mut self,
        id: &WebhookId,
        is_test: bool,
        scope: &Scope,
        now: DateTime<Utc>,
    ) -> Option<LaneNo> {
        self.webhooks.get(id).filter(|webhook| webhook.scope == *scope)?;
        match is_test {
            false => self.lanes_of_webhooks.get(id).copied(),
            true => {
                let key = LaneKey::test(id);
                Some(self.lanes.open(key, LaneRules::TEST, now))
            }
        }
    }

    pub(super) fn save_webhook(&mut self, webhook: Webhook, now: DateTime<Utc>) -> Saved {
        let old = self.webhooks.get(&webhook.id);
        if old.is_some_and(|old| old.scope != webhook.scope) {
            return Saved::OtherScope;
        }
        self.put(webhook, now);
        Saved::Done
    }

    pub(super) fn replace_webhook(
        &mut self,
        old: Option<&Webhook>,
        new: Webhook,
        now: DateTime<Utc>,
    ) -> Saved {
        match self.webhooks.get(&new.id).map(Arc::as_ref) == old {
            true => self.save_webhook(new, now),
            false => Saved::Changed,
        }
    }

    fn put(&mut self, webhook: Webhook, now: DateTime<Utc>) -> Arc<Webhook> {
        let key = LaneKey::webhook(&webhook.id);
        let lane = self.lanes.open(key, LaneRules::from(&webhook), now);
        self.close_if_held(HoldKey::Webhook(webhook.id.clone()), lane);
        let webhook = Arc::new(webhook);
        self.webhooks.insert(webhook.id.clone(), Arc::clone(&webhook));
        self.lanes_of_webhooks.insert(webhook.id.clone(), lane);
        self.rearrange(lane, now);
        webhook
    }

    pub(super) fn switch_webhook(&mut self, id: &WebhookId, switch: Switch, now: DateTime<Utc>) -> Switched {
        let Some(webhook) = self.webhooks.get(id).cloned() else {
            return Switched::Unknown;
        };
        let failing_since = self.failing_since(&webhook);
        match switch {
            Switch::On if !webhook.enabled => {
                let enabled = Webhook {
                    enabled: true,
                    disabled: None,
                    updated_at: now,
                    ..(*webhook).clone()
                };
                Switched::Done(self.put(enabled, now))
            }
            Switch::Off if webhook.enabled => Switched::Done(self.disable(&webhook, None, now)),
            Switch::OffIfFailingSince(since) if webhook.enabled && failing_since == Some(since) => {
                let reason = DisableReason::Failing { since };
                Switched::Done(self.disable(&webhook, Some(reason), now))
            }
            _ => Switched::Unchanged(webhook),
        }
    }

    pub(super) fn disable(
        &mut self,
        webhook: &Webhook,
        reason: Option<DisableReason>,
        now: DateTime<Utc>,
    ) -> Arc<Webhook> {
        let disabled = Webhook {
            enabled: false,
            disabled: reason.map(|reason| Disabled { at: now, reason }),
            updated_at: now,
            ..webhook.clone()
        };
        self.put(disabled, now)
    }

    fn failing_since(&self, webhook: &Webhook) -> Option<DateTime<Utc>> {
        self.lanes.named(&LaneKey::webhook(&webhook.id))?.failing_since
    }

    pub(super) fn remove_webhook(&mut self, id: &WebhookId, now: DateTime<Utc>) -> bool {
        for key in [LaneKey::webhook(id), LaneKey::test(id)] {
            if let Some(lane) = self.lanes.doom(&key) {
                self.requeue(lane, now);
            }
        }
        self.lift_removed(&HoldKey::Webhook(id.clone()), now);
        self.lanes_of_webhooks.remove(id);
        self.webhooks.remove(id).is_some()
    }

    pub(super) fn webhook(&self, id: &WebhookId) -> Option<Arc<Webhook>> {
        self.webhooks.get(id).cloned()
    }

    pub(super) fn webhooks(&self, scope: &Scope) -> Vec<Arc<Webhook>> {
        self.webhooks
            .values()
            .filter(|webhook| webhook.scope == *scope)
            .cloned()
            .collect()
    }

    fn after(&self, after: Option<&WebhookId>) -> impl Iterator<Item = &Arc<Webhook>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (start, Bound::Unbounded);
        self.webhooks
            .range::<WebhookId, _>(range)
            .map(|(_, webhook)| webhook)
    }

    pub(super) fn all_webhooks(&self, after: Option<&WebhookId>, max: usize) -> Vec<Arc<Webhook>> {
        self.after(after).take(max).cloned().collect()
    }

    pub(super) fn failing_webhooks(&self, after: Option<&WebhookId>, max: usize) -> Vec<FailingWebhook> {
        let failing = self.after(after).filter(|webhook| webhook.enabled);
        let failing = failing.filter_map(|webhook| {
            Some(FailingWebhook {
                webhook: Arc::clone(webhook),
                since: self.failing_since(webhook)?,
            })
        });
        failing.take(max).collect()
    }

    pub(super) fn webhooks_with_auth(&self, id: &AuthId, max: usize) -> Vec<WebhookId> {
        let naming = self
            .webhooks
            .values()
            .filter(|webhook| webhook.auth.as_ref() == Some(id));
        naming.take(max).map(|webhook| webhook.id.clone()).collect()
    }
}
