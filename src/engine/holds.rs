//! Keeping deliveries back, and letting them go.

use std::time::Duration;

use super::Dispatcher;
use crate::id::{Scope, Subject, WebhookId};
use crate::store::{HoldKey, Release, StoreError};
use crate::time::before;

/// # Deliveries that wait for somebody to be ready
impl Dispatcher {
    /// Keeps back what is enqueued from now on about a subject of a scope: a user who is temporary, as Powens calls it.
    /// Whether that is new.
    ///
    /// ```
    /// use chrono::DateTime;
    /// use ringback::delivery::{Event, State};
    /// use ringback::engine::{Engine, Registration};
    /// use ringback::provider;
    /// use ringback::store::MemoryStore;
    /// use ringback::testing::{ManualTime, Reply, ScriptedSender};
    /// # use std::sync::Arc;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let time = ManualTime::new(DateTime::UNIX_EPOCH);
    /// # let sender = ScriptedSender::new(Arc::new(time.clone()), |_: &http::Request<bytes::Bytes>| Reply::hang());
    /// let engine = Engine::builder(MemoryStore::new(), sender, time).profile(provider::powens()).build();
    /// let dispatcher = engine.dispatcher();
    /// dispatcher.register(Registration::new("acme", "https://example.com/hook", "powens")).await?;
    /// let (scope, user) = ("acme".into(), "user-7".into());
    ///
    /// dispatcher.hold_subject(&scope, &user).await?;
    /// let event = Event::builder("acme", "1", "USER_SYNCED").subject("user-7").json("{}").build()?;
    /// let id = dispatcher.enqueue(event).await?.deliveries[0];
    /// assert_eq!(dispatcher.delivery_record(id).await?.unwrap().state, State::Held);
    ///
    /// dispatcher.release_subject(&scope, &user).await?;
    /// assert_eq!(dispatcher.delivery_record(id).await?.unwrap().state, State::Pending);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn hold_subject(&self, scope: &Scope, subject: &Subject) -> Result<bool, StoreError> {
        self.hold(of_subject(scope, subject)).await
    }

    /// Sends what was kept back about a subject, in the order in which it was enqueued: the user has become permanent.
    /// Whether anything was being kept back.
    ///
    /// What there is a lot of is let go in steps, by whatever enqueues and works meanwhile.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn release_subject(&self, scope: &Scope, subject: &Subject) -> Result<bool, StoreError> {
        self.lift(&of_subject(scope, subject), Release::All).await
    }

    /// Lets what was kept back about a subject expire: the user was deleted. Whether anything was being kept back. What is
    /// enqueued about the subject from now on is sent.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn drop_subject(&self, scope: &Scope, subject: &Subject) -> Result<bool, StoreError> {
        self.lift(&of_subject(scope, subject), Release::Nothing).await
    }

    /// Keeps back all that goes to a webhook, until it is [subscribed again](Self::resubscribe): what waits for it, what is
    /// enqueued, and what fails of that which is under way. Whether that is new; `false` also where there is no such webhook.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn unsubscribe(&self, id: &WebhookId) -> Result<bool, StoreError> {
        if self.parts.store.webhook(id).await?.is_none() {
            return Ok(false);
        }
        self.hold(HoldKey::Webhook(id.clone())).await
    }

    /// Sends a webhook what was kept back while it was unsubscribed, in the order in which it was enqueued, as far as that was
    /// within `window` before now; what is older ends as expired. Whether it was unsubscribed.
    ///
    /// Yodlee sends the last [6 hours](crate::provider::yodlee::RESUBSCRIPTION_WINDOW). With [`Duration::MAX`] all is sent.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn resubscribe(&self, id: &WebhookId, window: Duration) -> Result<bool, StoreError> {
        let since = before(self.parts.timer.now(), window);
        self.lift(&HoldKey::Webhook(id.clone()), Release::Since(since))
            .await
    }

    async fn hold(&self, key: HoldKey) -> Result<bool, StoreError> {
        self.parts.store.hold(key, self.parts.timer.now()).await
    }

    async fn lift(&self, key: &HoldKey, release: Release) -> Result<bool, StoreError> {
        self.parts.store.lift(key, release, self.parts.timer.now()).await
    }
}

fn of_subject(scope: &Scope, subject: &Subject) -> HoldKey {
    HoldKey::Subject {
        scope: scope.clone(),
        subject: subject.clone(),
    }
}
