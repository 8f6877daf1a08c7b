//! Registering webhooks.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::assembly::Parts;
use crate::delivery::{EventPattern, Limits, Order, PatternError, Webhook};
use crate::id::{AuthId, ProfileName, Scope, WebhookId};
use crate::retry::Flusher;
use crate::store::StoreError;
use crate::transport::Forbidden;
use crate::url::{UrlError, WebhookUrl};

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
    enabled: bool,
}

impl Registration {
    /// A webhook for events of that scope, sent to that URL as the profile of that name says. Until
    /// [`events`](Self::events) says otherwise it gets every type of event.
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
            enabled: true,
        }
    }

    /// An id of one's own, so that registering again changes the webhook and does not add another.
    pub fn id(self, id: impl Into<WebhookId>) -> Self {
        Self {
            id: Some(id.into()),
            ..self
        }
    }

    /// A name for people.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Which types of event: by name, by prefix (`order-*`), or all (`*`).
    pub fn events(self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            events: patterns.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// How its deliveries prove themselves: an auth record of the store, or one the engine was built with.
    pub fn auth(self, id: impl Into<AuthId>) -> Self {
        Self {
            auth: Some(id.into()),
            ..self
        }
    }

    /// How much may go on at once, and how fast.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Whether its deliveries go strictly one after another.
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// How long an attempt may take, in place of the profile's deadline.
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

    /// Whether it is sent to from the start. What comes while it is not is kept.
    pub fn enabled(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }

    /// The webhook, if everything about it can be done by this engine.
    pub(super) fn check(
        self,
        id: WebhookId,
        parts: &Parts,
        now: DateTime<Utc>,
    ) -> Result<Webhook, RegisterError> {
        let url = WebhookUrl::parse(&self.url)?;
        check_destination(&url, parts)?;
        let Some(profile) = parts.profiles.find(&self.profile) else {
            return Err(RegisterError::UnknownProfile(self.profile));
        };
        let flusher = self.flusher.unwrap_or_else(|| profile.flusher());
        if flusher.is_some() && self.order == Order::Strict {
            return Err(RegisterError::StrictWithFlusher);
        }
        if self
            .deadline
            .is_some_and(|deadline| deadline > parts.longest_deadline)
        {
            return Err(RegisterError::DeadlineTooLong);
        }
        let events = self
            .events
            .into_iter()
            .map(EventPattern::try_from)
            .collect::<Result<_, _>>()?;
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
            enabled: self.enabled,
            deadline: self.deadline,
            flusher,
            created_at: now,
            updated_at: now,
        })
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
pub(super) fn check_destination(url: &WebhookUrl, parts: &Parts) -> Result<(), RegisterError> {
    parts.guard.check_url(url)?;
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
