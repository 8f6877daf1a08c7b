//! Registering webhooks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::assembly::Parts;
use crate::delivery::{
    AutoDisable, Compression, Disabled, EventPattern, Limits, Order, PatternError, Webhook,
};
use crate::id::{AuthId, ProfileName, Scope, WebhookId};
use crate::retry::Flusher;
use crate::store::StoreError;
use crate::transport::{Forbidden, Guard};
use crate::url::{UrlError, WebhookUrl};

/// The most bytes in an id, a name, a scope, or a pattern of event types.
const LONGEST_TEXT: usize = 512;

/// The most patterns of event types.
const MOST_PATTERNS: usize = 1_000;

/// What is said of a webhook to register it.
///
/// ```
/// use ringback::delivery::Order;
/// use ringback::engine::Registration;
///
/// let registration = Registration::new("tenant-7", "https://example.com/hook", "truv")
///     .name("orders")
///     .events(["order-*", "task-status-updated"])
///     .auth("orders-key")
///     .order(Order::Strict);
/// ```
///
/// To change a part of a webhook, start from what it is:
///
/// ```
/// # use ringback::delivery::Webhook;
/// # use ringback::engine::{Dispatcher, Registration};
/// # async fn rename(dispatcher: &Dispatcher, webhook: &Webhook) -> Result<(), Box<dyn std::error::Error>> {
/// let renamed = Registration::from(webhook).name("all orders");
/// dispatcher.update(&webhook.id, renamed).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "give it to `Dispatcher::register`"]
pub struct Registration {
    pub(super) id: Option<WebhookId>,
    scope: Scope,
    url: String,
    profile: ProfileName,
    name: String,
    events: Vec<String>,
    auth: Option<AuthId>,
    limits: Limits,
    order: Order,
    deadline: Option<Duration>,
    /// `None`: as the profile says.
    flusher: Option<Option<Flusher>>,
    auto_disable: AutoDisable,
    guard: Option<Arc<Guard>>,
    compression: Compression,
    enabled: Option<bool>,
}

impl Registration {
    /// A webhook for events of that scope, sent to that URL as the profile of that name says.
    pub fn new(scope: impl Into<Scope>, url: impl Into<String>, profile: impl Into<ProfileName>) -> Self {
        Self {
            id: None,
            scope: scope.into(),
            url: url.into(),
            profile: profile.into(),
            name: String::new(),
            events: vec!["*".to_owned()],
            auth: None,
            limits: Limits::default(),
            order: Order::default(),
            deadline: None,
            flusher: None,
            auto_disable: AutoDisable::never(),
            guard: None,
            compression: Compression::None,
            enabled: None,
        }
    }

    /// An id of one's own, so that registering again changes the webhook and does not add another. Default: a random one.
    pub fn id(self, id: impl Into<WebhookId>) -> Self {
        Self {
            id: Some(id.into()),
            ..self
        }
    }

    /// A name for people. Default: none.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Which types of event: by name, by prefix (`order-*`), or all (`*`). Default: all.
    pub fn events(self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            events: patterns.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// How its deliveries prove themselves: an auth record of the store, or one the engine was built with. Default: not at
    /// all, they are sent bare.
    pub fn auth(self, id: impl Into<AuthId>) -> Self {
        Self {
            auth: Some(id.into()),
            ..self
        }
    }

    /// How much may go on at once, and how fast. Default: see [`Limits`].
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Whether its deliveries go strictly one after another. Default: they do not ([`Order::Any`]).
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// Where its requests may go, in place of what the engine and its sender allow. It is kept with the webhook, and can
    /// widen it (for a receiver of one's own inside the network) or [narrow](Guard::only_host) it (for one whose host is
    /// known). Never take it from whoever chooses the URL. Default: none of its own.
    pub fn guard(self, guard: Guard) -> Self {
        Self {
            guard: Some(Arc::new(guard)),
            ..self
        }
    }

    /// Whether its bodies are compressed. Default: they are not.
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// How long an attempt may take, in place of the profile's deadline, which is the default.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// In which runs its failed deliveries are tried again, or with `None` that they are by the profile's schedule. Default:
    /// as the profile says. There are no runs in strict order.
    pub fn flusher(self, flusher: impl Into<Option<Flusher>>) -> Self {
        Self {
            flusher: Some(flusher.into()),
            ..self
        }
    }

    /// When the engine disables it by itself. Default: never. Refused where the profile does not allow it, as Powens'
    /// does not.
    pub fn auto_disable(self, auto_disable: AutoDisable) -> Self {
        Self { auto_disable, ..self }
    }

    /// Whether it is sent to. What comes while it is not is kept. Unless this is said, a new webhook is enabled, and one
    /// that is there stays as it is: a service that registers at every start does not enable again what was disabled.
    pub fn enabled(self, enabled: bool) -> Self {
        Self {
            enabled: Some(enabled),
            ..self
        }
    }

    /// The webhook, if everything about it can be done by this engine; `old` is what it takes the place of.
    pub(super) fn check(
        self,
        id: WebhookId,
        old: Option<&Webhook>,
        parts: &Parts,
        now: DateTime<Utc>,
    ) -> Result<Webhook, RegisterError> {
        self.check_sizes(&id)?;
        let url = WebhookUrl::parse(&self.url)?;
        check_destination(&url, self.guard.as_deref().unwrap_or(&parts.guard), parts)?;
        if self.compression != Compression::None && !cfg!(feature = "gzip") {
            return Err(RegisterError::CompressionUnsupported);
        }
        let flusher = self.check_profile(parts)?;
        if old.is_some_and(|old| old.scope != self.scope) {
            return Err(RegisterError::ScopeChanged);
        }
        let events = self
            .events
            .into_iter()
            .map(EventPattern::try_from)
            .collect::<Result<_, _>>()?;
        let (enabled, disabled) = standing(self.enabled, old);
        Ok(Webhook {
            id,
            scope: self.scope,
            name: self.name,
            events,
            url,
            auth: self.auth,
            profile: self.profile,
            limits: self.limits,
            order: self.order,
            enabled,
            disabled,
            auto_disable: self.auto_disable,
            deadline: self.deadline,
            flusher,
            guard: self.guard,
            compression: self.compression,
            created_at: old.map_or(now, |old| old.created_at),
            updated_at: now,
        })
    }

    fn check_sizes(&self, id: &WebhookId) -> Result<(), RegisterError> {
        if id.as_str().is_empty() {
            return Err(RegisterError::EmptyId);
        }
        if self.events.len() > MOST_PATTERNS {
            return Err(RegisterError::TooManyPatterns);
        }
        let texts = [id.as_str(), &self.name, self.scope.as_str()];
        let mut texts = texts.into_iter().chain(self.events.iter().map(String::as_str));
        if texts.any(|text| text.len() > LONGEST_TEXT) {
            return Err(RegisterError::TooLong);
        }
        let spans = [self.deadline, self.auto_disable.after];
        if spans.into_iter().flatten().any(|span| span.is_zero()) {
            return Err(RegisterError::ZeroSpan);
        }
        Ok(())
    }

    /// In which runs failed deliveries are tried again, if the profile and all else can be done.
    fn check_profile(&self, parts: &Parts) -> Result<Option<Flusher>, RegisterError> {
        let Some(profile) = parts.profiles.find(&self.profile) else {
            return Err(RegisterError::UnknownProfile(self.profile.clone()));
        };
        if !self.auto_disable.is_never() && !profile.may_be_disabled() {
            return Err(RegisterError::NeverDisabled(self.profile.clone()));
        }
        if self
            .deadline
            .is_some_and(|deadline| deadline > parts.longest_deadline)
        {
            return Err(RegisterError::DeadlineTooLong);
        }
        let flusher = self.flusher.unwrap_or_else(|| profile.flusher());
        if flusher.is_some() && self.order == Order::Strict {
            return Err(RegisterError::StrictWithFlusher);
        }
        Ok(flusher)
    }
}

/// Whether a webhook is enabled, and what is to be said of it if not.
fn standing(wanted: Option<bool>, old: Option<&Webhook>) -> (bool, Option<Disabled>) {
    match (wanted, old) {
        (Some(enabled), _) => (enabled, None),
        (None, Some(old)) => (old.enabled, old.disabled),
        (None, None) => (true, None),
    }
}

impl From<&Webhook> for Registration {
    /// All that the webhook is. Registering it changes nothing.
    fn from(webhook: &Webhook) -> Self {
        Self {
            id: Some(webhook.id.clone()),
            scope: webhook.scope.clone(),
            url: webhook.url.expose().to_owned(),
            profile: webhook.profile.clone(),
            name: webhook.name.clone(),
            events: webhook.events.iter().map(ToString::to_string).collect(),
            auth: webhook.auth.clone(),
            limits: webhook.limits,
            order: webhook.order,
            deadline: webhook.deadline,
            flusher: Some(webhook.flusher),
            auto_disable: webhook.auto_disable,
            guard: webhook.guard.clone(),
            compression: webhook.compression,
            enabled: None,
        }
    }
}

impl fmt::Debug for Registration {
    /// The URL may hold a secret, so it is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.id)
            .field("scope", &self.scope)
            .field("name", &self.name)
            .field("events", &self.events)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// Whether this engine may and can send there.
pub(super) fn check_destination(url: &WebhookUrl, guard: &Guard, parts: &Parts) -> Result<(), RegisterError> {
    guard.check_url(url)?;
    if url.is_https() && !parts.sender.supports_https() {
        return Err(RegisterError::HttpsUnsupported);
    }
    Ok(())
}

/// Why a webhook was not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The URL is not one that everyone reads the same way.
    #[error("the URL cannot be used: {0}")]
    Url(#[from] UrlError),
    /// The URL leads where requests must not go.
    #[error("the destination is not allowed: {0}")]
    Forbidden(#[from] Forbidden),
    /// The URL is https, and the engine's sender has no TLS.
    #[error("the sender does not support https")]
    HttpsUnsupported,
    /// Bodies are to be compressed, and this crate was built without the feature `gzip`.
    #[error("bodies cannot be compressed without the feature `gzip`")]
    CompressionUnsupported,
    /// The engine was built without a profile of that name.
    #[error("there is no profile `{0}`")]
    UnknownProfile(ProfileName),
    /// Neither the engine nor its store has an authentication of that id.
    #[error("there is no authentication `{0}`")]
    UnknownAuth(AuthId),
    /// The deadline is longer than the engine's longest.
    #[error("the deadline is longer than the engine's longest")]
    DeadlineTooLong,
    /// It asks for strict order and, by itself or by its profile, for a flusher. In strict order a failed delivery is
    /// tried again before the next may go, so it cannot wait for a run over all that failed.
    #[error("there is no flusher in strict order")]
    StrictWithFlusher,
    /// An id is empty.
    #[error("a webhook's id cannot be empty")]
    EmptyId,
    /// An id, a name, a scope or a pattern has more than 512 bytes.
    #[error("a text of the registration is longer than {LONGEST_TEXT} bytes")]
    TooLong,
    /// There are more than 1000 patterns of event types.
    #[error("there are more than {MOST_PATTERNS} patterns of event types")]
    TooManyPatterns,
    /// A deadline, or the time of failures after which to disable, is zero.
    #[error("a span of time of the registration is zero")]
    ZeroSpan,
    /// The webhook is of another scope. One cannot be moved, since what waits for it is its scope's; remove it, and
    /// register it anew.
    #[error("a webhook cannot change its scope")]
    ScopeChanged,
    /// The profile does not let webhooks be disabled by the engine.
    #[error("webhooks of the profile `{0}` are never disabled by the engine")]
    NeverDisabled(ProfileName),
    /// A pattern of event types is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// There is no webhook of that id to update.
    #[error("there is no webhook `{0}`")]
    UnknownWebhook(WebhookId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
