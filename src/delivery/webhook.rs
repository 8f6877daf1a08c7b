//! Who wants to hear of what, and where.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::lane::{LaneKey, Limits, Order};
use super::{AutoDisable, Compression, Disabled, Event};
use crate::guard::Guard;
use crate::id::{AuthId, EventType, ProfileName, Scope, WebhookId};
use crate::retry::Flusher;
use crate::url::WebhookUrl;

/// A registration: the events of a scope that match go to a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id, unique in the store.
    pub id: WebhookId,
    /// Only events of this scope reach it.
    pub scope: Scope,
    /// A name for people.
    pub name: String,
    /// Which types of event it wants. Empty: none.
    pub events: Vec<EventPattern>,
    /// Where they go.
    pub url: WebhookUrl,
    /// How its deliveries prove themselves; `None` sends them bare.
    pub auth: Option<AuthId>,
    /// How they are sent: schedule, deadline, what counts as accepted.
    pub profile: ProfileName,
    /// How much of it may go on at once, and how fast.
    pub limits: Limits,
    /// Whether its deliveries go strictly one after another.
    pub order: Order,
    /// Whether its deliveries are sent. While they are not, they are kept.
    pub enabled: bool,
    /// When and why the engine disabled it; `None` if it is enabled, or was disabled by hand.
    pub disabled: Option<Disabled>,
    /// When the engine disables it by itself.
    pub auto_disable: AutoDisable,
    /// An attempt's deadline, in place of the profile's.
    pub deadline: Option<Duration>,
    /// If its failed deliveries are tried again in regular runs: by this flusher, and not by the profile's schedule.
    /// Not together with [`Order::Strict`], where it is as none.
    #[serde(default)]
    pub flusher: Option<Flusher>,
    /// Where its requests may go, in place of what the engine and the sender allow: wider or narrower.
    #[serde(default)]
    pub guard: Option<Arc<Guard>>,
    /// Whether its bodies are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Webhook {
    /// Whether an event is one for this webhook: of its scope, and of a type it asked for.
    pub fn wants(&self, event: &Event) -> bool {
        self.scope == *event.scope() && self.events.iter().any(|pattern| pattern.matches(event.kind()))
    }

    /// The flusher by which its failed deliveries are tried again; none in strict order, where each of them is tried again
    /// before the next may go.
    pub fn runs_by(&self) -> Option<Flusher> {
        self.flusher.filter(|_| self.order == Order::Any)
    }
}

/// Which types of event: one by name, all that begin alike (`payment_*`), or all (`*`).
///
/// ```
/// use ringback::delivery::EventPattern;
///
/// let pattern: EventPattern = "payment_*".parse()?;
/// assert!(pattern.matches(&"payment_settled".into()));
/// assert!(!pattern.matches(&"payout_settled".into()));
/// assert!("pay*ment".parse::<EventPattern>().is_err());
/// # Ok::<(), ringback::delivery::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventPattern(String);

impl EventPattern {
    /// Every type of event.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Whether events of this type match.
    pub fn matches(&self, kind: &EventType) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => kind.as_str().starts_with(prefix),
            None => kind.as_str() == self.0,
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for EventPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for EventPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        match text.find('*') {
            _ if text.is_empty() => Err(PatternError::Empty),
            Some(at) if at + 1 < text.len() => Err(PatternError::StarInside),
            _ => Ok(Self(text)),
        }
    }
}

impl From<EventPattern> for String {
    fn from(pattern: EventPattern) -> Self {
        pattern.0
    }
}

/// Why a text is no [`EventPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is empty.
    #[error("an event pattern cannot be empty")]
    Empty,
    /// A star stands anywhere but at the end.
    #[error("a star may stand only at the end of an event pattern")]
    StarInside,
}

/// Where one delivery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To a registered webhook, as it is registered when the attempt is made.
    Webhook(WebhookId),
    /// To a URL that was given with the call it answers.
    Call(Call),
    /// To a registered webhook, to try it out, whatever types of event it asked for and whether or not it is enabled.
    Test(WebhookId),
}

impl Target {
    /// The webhook it goes to, if it is one.
    pub fn webhook(&self) -> Option<&WebhookId> {
        match self {
            Target::Webhook(id) | Target::Test(id) => Some(id),
            Target::Call(_) => None,
        }
    }

    /// Whether it is there to try a webhook out. Nothing is inferred from how such a delivery fares.
    pub fn is_test(&self) -> bool {
        matches!(self, Target::Test(_))
    }

    /// The lane in which it waits for its turn.
    pub fn lane(&self) -> LaneKey {
        match self {
            Target::Webhook(id) => LaneKey::webhook(id),
            Target::Call(call) => LaneKey::origin(&call.url),
            Target::Test(id) => LaneKey::test(id),
        }
    }
}

/// A URL given with a call (TrueLayer's `webhook_uri`), and how to send to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Where the callback goes.
    pub url: WebhookUrl,
    /// How it is sent.
    pub profile: ProfileName,
    /// How it proves itself.
    pub auth: Option<AuthId>,
    /// How much may go on at once to one scheme, host and port.
    pub limits: Limits,
}
