//! What was sent, in the shape of Truv's history.

use super::{EventType, UnknownEvent, WebhookRequestPage, WebhookRequestRecord};
use crate::delivery::{HistoryEntry, Outcome, Webhook};
use crate::json::{self, Maybe, UrlText};

impl WebhookRequestRecord {
    /// The record of an attempt to deliver to this webhook, as it is registered now. For the payload, ask history for
    /// [bodies](crate::delivery::HistoryQuery::bodies); it is `null` where the body is not there.
    ///
    /// Its `webhook_id` is the registration's, as in Truv's example; the delivery's own is within the payload.
    /// Where an answer came, its status says all, and `error_message` is `null`; where none came, the reason is
    /// there, and `status_code` is `null`. What the receiver wrote into its answer is not shown.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use chrono::DateTime;
    /// use ringback::delivery::{Attempt, AttemptReport, HistoryEntry, Outcome, Target};
    /// use ringback::id::DeliveryId;
    /// use ringback::provider::truv::WebhookRequestRecord;
    /// # use ringback::delivery::{AutoDisable, Limits, Order, Webhook};
    /// # let webhook = Webhook {
    /// #     id: "a1".into(), scope: "s".into(), name: String::new(), events: vec![],
    /// #     url: ringback::url::WebhookUrl::parse("https://example.com/hook").unwrap(), auth: None,
    /// #     profile: "truv".into(), limits: Limits::default(), order: Order::default(), enabled: true,
    /// #     deadline: None, flusher: None, created_at: DateTime::UNIX_EPOCH, updated_at: DateTime::UNIX_EPOCH,
    /// #     disabled: None, auto_disable: AutoDisable::never(), guard: None, compression: Default::default(),
    /// # };
    ///
    /// let report = AttemptReport {
    ///     started_at: DateTime::UNIX_EPOCH,
    ///     duration: Duration::from_secs(10),
    ///     outcome: Outcome::TimedOut,
    ///     excerpt: Default::default(),
    /// };
    /// let entry = HistoryEntry {
    ///     attempt: Attempt { delivery: DeliveryId(1), number: 1, report },
    ///     recorded_at: DateTime::UNIX_EPOCH,
    ///     accepted: false,
    ///     retry_at: None,
    ///     scope: "s".into(),
    ///     event: "e".into(),
    ///     kind: "link-connected".into(),
    ///     subject: None,
    ///     target: Target::Webhook(webhook.id.clone()),
    ///     body: Some(Bytes::from_static(br#"{"webhook_id":"7c","event_type":"link-connected"}"#)),
    /// };
    /// let record = WebhookRequestRecord::of(&webhook, &entry);
    /// assert_eq!(record.error_message.value().unwrap(), "timed out");
    /// assert!(record.status_code.is_null());
    /// assert_eq!(record.webhook_payload.value().unwrap().webhook_id(), "7c");
    /// ```
    #[inline]
    pub fn of(webhook: &Webhook, entry: &HistoryEntry) -> Self {
        let body = entry.body.as_deref().unwrap_or_default();
        let event: Option<UnknownEvent> = json::parse(body).ok();
        let outcome = entry.attempt.report.outcome;
        Self {
            webhook_id: webhook.id.to_string().into(),
            event_type: EventType::from(entry.kind.as_str()).into(),
            event_created_at: event.map_or(Maybe::Null, |event| event.event_created_at),
            status_code: Maybe::or_null(outcome.status().map(|status| status.as_u16())),
            error_message: Maybe::or_null(error_message(outcome)),
            webhook_payload: json::parse(body).unwrap_or(Maybe::Null),
            webhook_url: UrlText::from(webhook.url.expose()).into(),
            unknown: Default::default(),
        }
    }
}

fn error_message(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Answered(_) => None,
        silent => Some(silent.to_string()),
    }
}

impl WebhookRequestPage {
    /// A page of records, with the URLs of the pages before and after it.
    #[inline]
    pub fn of(
        records: impl IntoIterator<Item = WebhookRequestRecord>,
        previous: Option<UrlText>,
        next: Option<UrlText>,
    ) -> Self {
        Self {
            next: Maybe::or_null(next),
            previous: Maybe::or_null(previous),
            results: Maybe::Value(records.into_iter().collect()),
            unknown: Default::default(),
        }
    }
}
