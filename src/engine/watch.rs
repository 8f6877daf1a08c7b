//! Watching webhooks: those that only fail are given notice, and then disabled; those that fare badly are warned of.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::assembly::Parts;
use super::listener::Notice;
use super::upkeep::{Pass, Step};
use crate::delivery::{DisableReason, FailingVerdict, HealthWarning, Webhook};
use crate::id::WebhookId;
use crate::store::{FailingWebhook, StoreError, Switch, Switched};
use crate::time::{after, before};

/// How many webhooks a step looks at.
const AT_ONCE: usize = 100;

/// Gives notice to webhooks that have been failing for part of the time after which they are to be disabled, and disables
/// those whose time is over.
#[derive(Debug, Default)]
pub(super) struct FailingWatch {
    /// How far this round has come.
    position: Option<WebhookId>,
    /// To whom notice was given, and since when they were failing then; in this round, and before it.
    noticed: BTreeMap<WebhookId, DateTime<Utc>>,
    noticed_before: BTreeMap<WebhookId, DateTime<Utc>>,
    /// When there will be something to do about one of those that this round has seen.
    soonest: Option<DateTime<Utc>>,
}

#[async_trait]
impl Pass for FailingWatch {
    async fn step(&mut self, parts: &Arc<Parts>) -> Result<Step, StoreError> {
        let now = parts.timer.now();
        let failing = parts
            .store
            .failing_webhooks(self.position.as_ref(), AT_ONCE)
            .await?;
        for failing in &failing {
            self.judge(parts, failing, now).await?;
        }
        if failing.len() == AT_ONCE {
            self.position = failing.last().map(|failing| failing.webhook.id.clone());
            return Ok(Step::Again);
        }
        self.position = None;
        self.noticed_before = std::mem::take(&mut self.noticed);
        let soonest = self.soonest.take();
        let look = after(now, parts.watch_interval);
        Ok(Step::Until(soonest.map_or(look, |soonest| soonest.min(look))))
    }
}

impl FailingWatch {
    async fn judge(
        &mut self,
        parts: &Parts,
        FailingWebhook { webhook, since }: &FailingWebhook,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let rule = &webhook.auto_disable;
        match rule.verdict(*since, now) {
            FailingVerdict::Nothing => {
                let next = rule.notice_after().or(rule.after);
                self.note(next.map(|span| after(*since, span)));
            }
            FailingVerdict::GiveNotice { disables_at } => {
                self.note(Some(disables_at));
                if self.is_new(&webhook.id, *since) {
                    parts.tell(&Notice::WillBeDisabled {
                        webhook: (&**webhook).into(),
                        failing_since: *since,
                        disables_at,
                    });
                }
            }
            FailingVerdict::Disable => {
                // It may have had a success, or been enabled anew, since it was listed.
                let switch = Switch::OffIfFailingSince(*since);
                let switched = parts.store.switch_webhook(&webhook.id, switch, now).await?;
                if let Switched::Done(webhook) = switched {
                    parts.tell(&Notice::Disabled {
                        webhook: (&*webhook).into(),
                        reason: DisableReason::Failing { since: *since },
                    });
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, at: Option<DateTime<Utc>>) {
        self.soonest = [self.soonest, at].into_iter().flatten().min();
    }

    /// Whether nobody was told yet that this webhook has been failing since then. What is remembered is bounded by the
    /// webhooks that are failing.
    fn is_new(&mut self, id: &WebhookId, since: DateTime<Utc>) -> bool {
        let told = self.noticed_before.get(id).or_else(|| self.noticed.get(id));
        let is_new = told != Some(&since);
        self.noticed.insert(id.clone(), since);
        is_new
    }
}

/// How many webhooks' figures a step looks up: a few milliseconds' work for a store on a disk.
const FIGURES_AT_ONCE: usize = 10;

/// Warns of webhooks to which sending takes long or fails often, and says when that is over.
#[derive(Debug, Default)]
pub(super) struct HealthWatch {
    /// How far this round has come.
    position: Option<WebhookId>,
    /// What was warned of, in this round and before it.
    warned: BTreeMap<WebhookId, HealthWarning>,
    warned_before: BTreeMap<WebhookId, HealthWarning>,
}

#[async_trait]
impl Pass for HealthWatch {
    async fn step(&mut self, parts: &Arc<Parts>) -> Result<Step, StoreError> {
        let now = parts.timer.now();
        if parts.listeners.is_empty() {
            return Ok(Step::Until(after(now, parts.watch_interval)));
        }
        let position = self.position.as_ref();
        let webhooks = parts.store.all_webhooks(position, FIGURES_AT_ONCE).await?;
        for webhook in &webhooks {
            self.examine(parts, webhook, now).await?;
            self.position = Some(webhook.id.clone());
        }
        if webhooks.len() == FIGURES_AT_ONCE {
            return Ok(Step::Again);
        }
        self.position = None;
        self.warned_before = std::mem::take(&mut self.warned);
        Ok(Step::Until(after(now, parts.watch_interval)))
    }
}

impl HealthWatch {
    async fn examine(
        &mut self,
        parts: &Parts,
        webhook: &Webhook,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let limits = &parts.health_limits;
        let since = before(now, limits.window);
        let health = parts.store.health(&webhook.id, since, now).await?;
        let former = self.warned_before.get(&webhook.id).copied();
        let warning = limits.warning(&health);
        match (former, warning) {
            (_, Some(warning)) if former != Some(warning) => parts.tell(&Notice::HealthWarning {
                webhook: webhook.into(),
                warning,
                health,
            }),
            (Some(_), None) if limits.is_well(&health) => {
                parts.tell(&Notice::HealthRestored {
                    webhook: webhook.into(),
                    health,
                });
                return Ok(());
            }
            _ => {}
        }
        // Where too little is sent to tell, what was said stands.
        if let Some(warning) = warning.or(former) {
            self.warned.insert(webhook.id.clone(), warning);
        }
        Ok(())
    }
}
