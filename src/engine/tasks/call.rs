//! What is asked for, and how it is rung back about.

use std::fmt::{self, Debug};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::delivery::{Call, Event, Limits, RenderError};
use crate::engine::RegisterError;
use crate::id::{AuthId, ProfileName, Scope};
use crate::json::{Maybe, Timestamp, UrlText};
use crate::secret::Hidden;
use crate::store::{NewTask, StoreError, TaskEnd};
use crate::task::Callback;
use crate::url::{UrlError, WebhookUrl};

/// An asynchronous call, as the service took it.
///
/// ```
/// use std::time::Duration;
/// use ringback::engine::NewCall;
///
/// let call = NewCall::new("user-7", "/reports?from=2026-01-01")
///     .with_input("the body of the request")
///     .with_webhook_uri("https://example.com/rings?call=1f0e")
///     .with_time_limit(Duration::from_secs(600));
/// ```
#[derive(Clone)]
pub struct NewCall {
    pub(super) credentials_id: String,
    pub(super) request_uri: String,
    pub(super) input: Bytes,
    pub(super) webhook_uri: Option<String>,
    pub(super) time_limit: Option<Duration>,
}

impl NewCall {
    /// Who calls, and the URI that was called, for the work and for the callback. Only those credentials may fetch the
    /// results.
    pub fn new(credentials_id: impl Into<String>, request_uri: impl Into<String>) -> Self {
        Self {
            credentials_id: credentials_id.into(),
            request_uri: request_uri.into(),
            input: Bytes::new(),
            webhook_uri: None,
            time_limit: None,
        }
    }

    /// Whatever the work needs. Default: nothing.
    #[must_use]
    pub fn with_input(self, input: impl Into<Bytes>) -> Self {
        Self {
            input: input.into(),
            ..self
        }
    }

    /// Where to ring back, as the caller gave it. Default: nowhere.
    #[must_use]
    pub fn with_webhook_uri(self, webhook_uri: impl Into<String>) -> Self {
        Self {
            webhook_uri: Some(webhook_uri.into()),
            ..self
        }
    }

    /// How long it may take from now on, waiting for its turn included. Default: the runner's
    /// [limit](super::TaskRunnerBuilder::time_limit).
    #[must_use]
    pub fn with_time_limit(self, limit: Duration) -> Self {
        Self {
            time_limit: Some(limit),
            ..self
        }
    }
}

impl fmt::Debug for NewCall {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCall")
            .field("credentials_id", &Hidden(&self.credentials_id))
            .field("request_uri", &Hidden(&self.request_uri))
            .field("input", &Hidden(&self.input))
            .field("time_limit", &self.time_limit)
            .finish_non_exhaustive()
    }
}

/// How callbacks are sent: the URL comes with each call, the rest is the same for all.
#[derive(Debug, Clone)]
pub struct Callbacks {
    pub(super) profile: ProfileName,
    auth: Option<AuthId>,
    limits: Limits,
    scope: Scope,
}

impl Callbacks {
    /// Callbacks sent as the profile of that name says. It must be able to send a [`Callback`], which Yodlee's is not, and
    /// every process that runs or cancels tasks must know it: where it is not known, a task ends without a callback.
    pub fn new(profile: impl Into<ProfileName>) -> Self {
        Self {
            profile: profile.into(),
            auth: None,
            limits: Limits::default(),
            scope: Scope::from("tasks"),
        }
    }

    /// Lets them prove themselves: by an auth record of the store, or one the engine was built with. While there is none of
    /// that id, callbacks wait. Default: they are sent bare.
    #[must_use]
    pub fn with_auth(self, auth: impl Into<AuthId>) -> Self {
        Self {
            auth: Some(auth.into()),
            ..self
        }
    }

    /// How much may go on at once to one scheme, host and port. Default: see [`Limits`].
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The scope that their events are of, under which the history has them. Default: `tasks`.
    #[must_use]
    pub fn with_scope(self, scope: impl Into<Scope>) -> Self {
        Self {
            scope: scope.into(),
            ..self
        }
    }

    pub(super) fn call(&self, url: WebhookUrl) -> Call {
        Call {
            url,
            profile: self.profile.clone(),
            auth: self.auth.clone(),
            limits: self.limits,
        }
    }

    /// What is said of the end of a task. Its id is `TASK/STATUS`, and a task has one end.
    pub(super) fn event(&self, task: &NewTask, requested_at: DateTime<Utc>, end: &TaskEnd) -> Option<Event> {
        let status = end.status();
        let (error, error_description) = match end {
            TaskEnd::Succeeded(_) => (None, None),
            TaskEnd::Failed { error, description } => (Some(error.clone()), Some(description.clone())),
        };
        let callback = Callback {
            request_timestamp: Maybe::Value(Timestamp::from(
                requested_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            )),
            request_uri: Maybe::Value(UrlText::from(task.request_uri.clone())),
            credentials_id: Maybe::Value(task.credentials_id.clone()),
            results_uri: Maybe::Value(UrlText::from(task.results_uri.clone())),
            error: Maybe::or_null(error),
            error_description: Maybe::or_null(error_description),
            ..Callback::new(task.id.clone(), status.clone())
        };
        let body = serde_json::to_vec(&callback).ok()?;
        Event::builder(
            self.scope.clone(),
            format!("{}/{}", task.id, status.as_str()),
            "task",
        )
        .json(body)
        .build()
        .ok()
    }
}

/// Why a call was not taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// `webhook_uri` is not a URL that everyone reads the same way.
    #[error("webhook_uri cannot be used: {0}")]
    Url(#[from] UrlError),
    /// `webhook_uri` leads where callbacks may not go.
    #[error("webhook_uri cannot be used: {0}")]
    Destination(#[source] RegisterError),
    /// The engine was built without the profile that callbacks are sent as.
    #[error("there is no profile `{0}`")]
    UnknownProfile(ProfileName),
    /// The profile cannot send such callbacks.
    #[error("the profile cannot send callbacks: {0}")]
    Render(#[from] RenderError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
