//! Sending as a provider does.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};

use crate::delivery::{Event, Ids, Profile, RenderError};
use crate::id::ProfileName;
use crate::json::ObjectText;
use crate::retry::{Classification, Flusher, Schedule};

/// How a provider sends, as published, and as this crate reads what is not. Everything but the form of its
/// messages can be set.
///
/// ```
/// use std::time::Duration;
/// use ringback::delivery::Profile;
/// use ringback::provider;
///
/// let published = provider::truv();
/// assert_eq!(published.deadline(), Duration::from_secs(10));
/// assert_eq!(published.schedule().max_retries(), Some(3));
///
/// // Beside it, under a name of its own, for receivers that need more time.
/// let patient = provider::truv().named("truv_patient").with_deadline(Duration::from_secs(30));
/// assert_eq!(patient.name().as_str(), "truv_patient");
/// ```
#[derive(Debug, Clone)]
pub struct ProviderProfile {
    name: ProfileName,
    schedule: Schedule,
    deadline: Duration,
    classification: Classification,
    user_agent: Option<HeaderValue>,
    flusher: Option<Flusher>,
    dialect: &'static dyn Dialect,
}

/// The form of a provider's messages: the part of a [`Profile`] that differs in more than numbers.
pub(super) trait Dialect: Debug + Send + Sync {
    fn may_be_disabled(&self) -> bool {
        true
    }

    fn is_numbered(&self) -> bool {
        false
    }

    fn render(&self, event: &Event, _ids: &Ids, _at: DateTime<Utc>) -> Result<Bytes, RenderError> {
        Ok(event.body().clone())
    }

    fn headers(&self, _event: &Event, _headers: &mut HeaderMap) {}
}

impl ProviderProfile {
    pub(super) fn new(name: &str, schedule: Schedule, dialect: &'static dyn Dialect) -> Self {
        Self {
            name: name.into(),
            schedule,
            deadline: Duration::from_secs(15),
            classification: Classification::default(),
            user_agent: None,
            flusher: None,
            dialect,
        }
    }

    /// Goes by another name, so that an engine can know several of one provider.
    #[must_use]
    pub fn named(self, name: impl Into<ProfileName>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// When a failed delivery is tried again. Default: the provider's, from [`Schedule`].
    #[must_use]
    pub fn with_schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// In which runs failed deliveries are tried again; with `None`, by the schedule. Default: for Powens the default
    /// [`Flusher`], every 5 minutes; `None` for the others.
    #[must_use]
    pub fn with_flusher(self, flusher: impl Into<Option<Flusher>>) -> Self {
        Self {
            flusher: flusher.into(),
            ..self
        }
    }

    /// How long an attempt may take. Default: 10 seconds for Truv, which publishes that, and 15 for the others.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// What counts as accepted. Default: any 2xx; for Standard Webhooks, `410 Gone` ends a delivery.
    #[must_use]
    pub fn with_classification(self, classification: Classification) -> Self {
        Self {
            classification,
            ..self
        }
    }

    /// The `User-Agent` of requests whose event brings none; without one here either, the engine's own goes.
    /// Default: `Truv-Webhook-Service/2.0` for Truv, which publishes that, and none for the others.
    #[must_use]
    pub fn with_user_agent(self, user_agent: impl Into<Option<HeaderValue>>) -> Self {
        Self {
            user_agent: user_agent.into(),
            ..self
        }
    }
}

impl Profile for ProviderProfile {
    fn name(&self) -> ProfileName {
        self.name.clone()
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn classification(&self) -> Classification {
        self.classification
    }

    fn flusher(&self) -> Option<Flusher> {
        self.flusher
    }

    fn may_be_disabled(&self) -> bool {
        self.dialect.may_be_disabled()
    }

    fn is_numbered(&self) -> bool {
        self.dialect.is_numbered()
    }

    fn render(&self, event: &Event, ids: &Ids, at: DateTime<Utc>) -> Result<Bytes, RenderError> {
        self.dialect.render(event, ids, at)
    }

    fn headers(&self, event: &Event, headers: &mut HeaderMap) {
        if let Some(user_agent) = &self.user_agent
            && !event.headers().contains_key(USER_AGENT)
        {
            headers.insert(USER_AGENT, user_agent.clone());
        }
        self.dialect.headers(event, headers);
    }
}

/// The object that a body is.
pub(super) fn object(body: &[u8]) -> Result<ObjectText<'_>, RenderError> {
    let text = std::str::from_utf8(body).map_err(|_| RenderError::NotAnObject)?;
    ObjectText::parse(text).map_err(|_| RenderError::NotAnObject)
}

/// Whether the object has an id of its own under that key, which is a text that says something.
///
/// The caller's own id is as good as a random one: it goes out as it is, such as when a message is relayed.
pub(super) fn has_text_id(object: &ObjectText<'_>, key: &str) -> Result<bool, RenderError> {
    match object.value(key) {
        None => Ok(false),
        Some(value) if value.starts_with('"') && value != "\"\"" => Ok(true),
        Some(_) => Err(RenderError::KeyTaken),
    }
}
