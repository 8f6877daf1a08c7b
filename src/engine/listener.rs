//! Hearing of what happened, without reading logs.

use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::assembly::Parts;
use crate::delivery::{DeadReason, DisableReason, Event, Health, HealthWarning, State, Webhook};
use crate::id::{DeliveryId, EventId, EventType, Scope, WebhookId};
use crate::store::{Claimed, Next, SetAside, Settled, Settlement};

/// Is told what happened to deliveries and webhooks: for alerts, metrics, a page that shows it.
///
/// # Contract
///
/// A notice comes after the commit that made it true, and only in the process that made it: of a delivery, from the
/// worker that settled it; of a submission, from the worker that set it aside; of a webhook's being disabled for failing,
/// from the [`Upkeep`](super::Upkeep) that did it. What an upkeep only looks at, health and the time that is left, each
/// process tells by itself.
/// Notices of one worker come in the order of its commits. Some may come twice, such as a recovery that two deliveries
/// noticed at the same time. One is missed where the process ends, or the store's answer is lost, between the commit and
/// the telling. So a notice is a hint; what is so is in the store.
///
/// `notice` is called by the worker itself, between two steps, so it must be quick: whatever takes long belongs into a
/// channel. A panic in it is contained, and costs nothing but this listener's hearing of this notice.
///
/// Notices hold ids and facts, no bodies, no URLs and no secrets.
///
/// ```
/// use std::sync::mpsc;
/// use ringback::engine::{Listener, Notice};
///
/// /// Passes on what somebody should look at.
/// #[derive(Debug)]
/// struct Alerts(mpsc::Sender<String>);
///
/// impl Listener for Alerts {
///     fn notice(&self, notice: &Notice) {
///         if let Notice::Disabled { .. } | Notice::WillBeDisabled { .. } | Notice::Dead { .. } = notice {
///             let _ = self.0.send(notice.to_string());
///         }
///     }
/// }
/// ```
pub trait Listener: Debug + Send + Sync + 'static {
    /// Something happened.
    fn notice(&self, notice: &Notice);
}

/// A listener made of a closure.
///
/// ```
/// use ringback::engine::{Engine, TokioTimer, listener_fn};
/// use ringback::store::MemoryStore;
/// # let sender = ringback::transport::sender_fn(|_| async { Ok(http::Response::default()) });
///
/// let engine = Engine::builder(MemoryStore::new(), sender, TokioTimer)
///     .listener(listener_fn(|notice| eprintln!("{notice}")))
///     .build();
/// ```
pub fn listener_fn(listen: impl Fn(&Notice) + Send + Sync + 'static) -> impl Listener {
    ListenerFn(listen)
}

struct ListenerFn<F>(F);

impl<F: Fn(&Notice) + Send + Sync + 'static> Listener for ListenerFn<F> {
    fn notice(&self, notice: &Notice) {
        (self.0)(notice);
    }
}

impl<F> Debug for ListenerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerFn").finish_non_exhaustive()
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A delivery was accepted.
    #[non_exhaustive]
    Delivered {
        /// Which one.
        delivery: DeliveryFacts,
    },
    /// A delivery came to its end without having been accepted. What ends because its webhook is removed, or because
    /// it was kept back for too long, is not told of one by one.
    #[non_exhaustive]
    Dead {
        /// Which one.
        delivery: DeliveryFacts,
        /// Why.
        reason: DeadReason,
    },
    /// A submission cannot be enqueued, and whoever submitted it has gone by now. It is kept
    /// ([`Dispatcher::set_aside`](super::Dispatcher::set_aside)).
    #[non_exhaustive]
    SetAside {
        /// The scope of the event.
        scope: Scope,
        /// The caller's id of it.
        event: EventId,
        /// Why.
        why: SetAside,
    },
    /// A webhook has had nothing but failures for so long that it will be disabled if it goes on.
    #[non_exhaustive]
    WillBeDisabled {
        /// Which one.
        webhook: WebhookFacts,
        /// Since when it has been failing.
        failing_since: DateTime<Utc>,
        /// When it will be disabled.
        disables_at: DateTime<Utc>,
    },
    /// The engine disabled a webhook by itself. What comes and waits for it is kept.
    #[non_exhaustive]
    Disabled {
        /// Which one.
        webhook: WebhookFacts,
        /// Why.
        reason: DisableReason,
    },
    /// A webhook that was failing has accepted a delivery.
    #[non_exhaustive]
    Recovered {
        /// Which one.
        webhook: WebhookFacts,
        /// Since when it had been failing.
        failing_since: DateTime<Utc>,
    },
    /// Sending to a webhook has come to take long, or to fail often. Told again only once something else is wrong.
    #[non_exhaustive]
    HealthWarning {
        /// Which one.
        webhook: WebhookFacts,
        /// What is wrong.
        warning: HealthWarning,
        /// The figures.
        health: Health,
    },
    /// There is no more cause for a health warning: what is sent now, be it little, goes well. Where nothing is sent any
    /// more, there is nothing to tell it by, and the warning stands.
    #[non_exhaustive]
    HealthRestored {
        /// Which one.
        webhook: WebhookFacts,
        /// The figures.
        health: Health,
    },
}

/// What a notice says of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryFacts {
    /// Its id.
    pub id: DeliveryId,
    /// The scope of its event.
    pub scope: Scope,
    /// The caller's id of its event.
    pub event: EventId,
    /// The type of its event.
    pub kind: EventType,
    /// The webhook it was for; `None` if it was for a URL given with a call.
    pub webhook: Option<WebhookId>,
    /// Whether it was there to try the webhook out.
    pub is_test: bool,
    /// Attempts counted since it was enqueued or last replayed.
    pub attempts: u32,
}

/// What a notice says of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookFacts {
    /// Its id.
    pub id: WebhookId,
    /// Its scope.
    pub scope: Scope,
    /// Its name, for people.
    pub name: String,
}

impl From<&Webhook> for WebhookFacts {
    fn from(webhook: &Webhook) -> Self {
        Self {
            id: webhook.id.clone(),
            scope: webhook.scope.clone(),
            name: webhook.name.clone(),
        }
    }
}

impl fmt::Display for DeliveryFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_test { "test" } else { "delivery" };
        write!(f, "{kind} {} of {}/{}", self.id, self.scope, self.event)?;
        match &self.webhook {
            Some(webhook) => write!(f, " to {webhook}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for WebhookFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "webhook {} of {}", self.id, self.scope)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { delivery } => write!(f, "{delivery} was accepted"),
            Self::Dead { delivery, reason } => write!(f, "{delivery} is dead: {}", reason.as_str()),
            Self::SetAside { scope, event, why } => {
                write!(f, "the event {scope}/{event} was submitted and set aside: {why}")
            }
            Self::WillBeDisabled {
                webhook,
                failing_since,
                disables_at,
            } => write!(
                f,
                "{webhook} has been failing since {failing_since}, and will be disabled at {disables_at}"
            ),
            Self::Disabled {
                webhook,
                reason: DisableReason::Failing { since },
            } => write!(f, "{webhook} was disabled: it had been failing since {since}"),
            Self::Disabled {
                webhook,
                reason: DisableReason::Gone,
            } => write!(f, "{webhook} was disabled: its receiver is gone"),
            Self::HealthWarning { webhook, warning, .. } => write!(f, "{webhook}: {warning}"),
            Self::HealthRestored { webhook, .. } => write!(f, "{webhook}: sending goes well again"),
            Self::Recovered {
                webhook,
                failing_since,
            } => write!(
                f,
                "{webhook} has recovered: it had been failing since {failing_since}"
            ),
        }
    }
}

/// A delivery that has landed: what is to be settled, and what will then be told.
#[derive(Clone)]
pub(super) struct Landed {
    pub(super) settlement: Settlement,
    pub(super) facts: LandedFacts,
}

/// What a notice would say, kept as it came with the claim: most engines have no listener, and it costs nothing then.
#[derive(Clone)]
pub(super) struct LandedFacts {
    event: Arc<Event>,
    webhook: Option<Arc<Webhook>>,
    is_test: bool,
    attempts: u32,
    failing_since: Option<DateTime<Utc>>,
}

impl LandedFacts {
    pub(super) fn of(claimed: &Claimed) -> Self {
        Self {
            event: Arc::clone(&claimed.event),
            webhook: claimed.target.webhook().cloned(),
            is_test: claimed.target.is_test(),
            attempts: claimed.attempts,
            failing_since: claimed.failing_since,
        }
    }

    fn delivery(&self, settlement: &Settlement) -> DeliveryFacts {
        DeliveryFacts {
            id: settlement.id,
            scope: self.event.scope().clone(),
            event: self.event.id().clone(),
            kind: self.event.kind().clone(),
            webhook: self.webhook.as_ref().map(|webhook| webhook.id.clone()),
            is_test: self.is_test,
            attempts: self
                .attempts
                .saturating_add(u32::from(settlement.attempt.is_some())),
        }
    }
}

impl Parts {
    /// Tells everyone who listens.
    pub(super) fn tell(&self, notice: &Notice) {
        for listener in &self.listeners {
            // What the panic leaves behind is the listener's own.
            let _ = catch_unwind(AssertUnwindSafe(|| listener.notice(notice)));
        }
    }

    /// Tells what follows from a settlement that was committed.
    pub(super) async fn tell_settled(&self, landed: &[Landed], answers: &[Settled]) {
        if self.listeners.is_empty() {
            return;
        }
        let done = landed.iter().zip(answers);
        for (landed, _) in done.filter(|(_, answer)| **answer == Settled::Done) {
            self.tell_landed(landed).await;
        }
    }

    async fn tell_landed(&self, Landed { settlement, facts }: &Landed) {
        match settlement.next.state() {
            State::Delivered => self.tell(&Notice::Delivered {
                delivery: facts.delivery(settlement),
            }),
            State::Dead(reason) => self.tell(&Notice::Dead {
                delivery: facts.delivery(settlement),
                reason,
            }),
            _ => {}
        }
        let (Some(webhook), false) = (&facts.webhook, facts.is_test) else {
            return;
        };
        match (settlement.next, facts.failing_since) {
            (Next::Delivered, Some(failing_since)) => self.tell(&Notice::Recovered {
                webhook: WebhookFacts::from(&**webhook),
                failing_since,
            }),
            (Next::Gone, _) => self.tell_if_gone(webhook).await,
            _ => {}
        }
    }

    /// Whether the webhook was disabled by that, its store knows. If it cannot be asked, nothing is told.
    async fn tell_if_gone(&self, webhook: &Webhook) {
        let Ok(Some(now)) = self.store.webhook(&webhook.id).await else {
            return;
        };
        if let Some(disabled) = now
            .disabled
            .filter(|disabled| disabled.reason == DisableReason::Gone)
        {
            self.tell(&Notice::Disabled {
                webhook: WebhookFacts::from(webhook),
                reason: disabled.reason,
            });
        }
    }
}
