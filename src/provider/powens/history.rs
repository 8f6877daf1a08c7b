//! What was sent, in the shape of Powens' logs, and how well that went.

use chrono::{DateTime, Utc};

use super::{Webhook, WebhookLog};
use crate::delivery::{Health, HealthLimits, HistoryEntry};
use crate::id::Subject;
use crate::json::{self, Maybe, ObjectText, OpaqueId, RawJson, Timestamp, quoted};

impl WebhookLog {
    /// The log of an attempt. For `id_webhook_data`, ask history for [bodies](crate::delivery::HistoryQuery::bodies);
    /// it is `null` where the body is not there.
    ///
    /// `id` is the [`RequestId`](crate::delivery::RequestId). Date-times are written as Powens writes them, without a
    /// zone; they are UTC.
    #[inline]
    pub fn of(entry: &HistoryEntry) -> Self {
        let report = &entry.attempt.report;
        let status = report.outcome.status();
        Self {
            id: OpaqueId::from(entry.attempt.request_id().to_string()).into(),
            id_webhook_data: Maybe::or_null(entry.body.as_deref().and_then(id_webhook_data)),
            id_service: Maybe::Absent,
            id_user: Maybe::or_null(entry.subject.as_ref().map(user_id)),
            timestamp: written(report.started_at).into(),
            response_date: Maybe::or_null(status.map(|_| written(report.finished_at()))),
            response_code: Maybe::or_null(status.map(|status| status.as_u16().into())),
            next_try: Maybe::or_null(entry.retry_at.map(written)),
            unknown: Default::default(),
        }
    }
}

#[inline]
fn id_webhook_data(body: &[u8]) -> Option<OpaqueId> {
    let body = ObjectText::parse(std::str::from_utf8(body).ok()?).ok()?;
    json::parse(body.value("id_webhook_data")?.as_bytes()).ok()
}

/// Users of Powens are numbers.
fn user_id(subject: &Subject) -> OpaqueId {
    let subject = subject.as_str();
    subject
        .parse()
        .ok()
        .filter(|number: &i64| number.to_string() == subject)
        .map_or_else(|| OpaqueId::from(subject), OpaqueId::from)
}

fn written(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from(at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

impl Webhook {
    /// Writes `health_data`, and `warning` if a limit is reached; both are `null` else.
    ///
    /// Powens publishes which two values there are, an average duration and a success rate, but neither their names
    /// and units nor the limits. Those here are this crate's.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringback::delivery::{Health, HealthLimits};
    /// use ringback::json::RawJson;
    /// use ringback::provider::powens::Webhook;
    ///
    /// let health = Health { attempts: 20, accepted: 11, sending_time: Duration::from_secs(151) };
    /// let mut webhook = Webhook::default();
    /// webhook.describe_health(&health, &HealthLimits::default());
    /// assert_eq!(
    ///     webhook.health_data.value().map(RawJson::as_str),
    ///     Some(r#"{"attempts":20,"average_duration_ms":7550,"success_percent":55}"#)
    /// );
    /// assert_eq!(webhook.warning.value().map(RawJson::as_str), Some(r#""sending takes long""#));
    /// ```
    pub fn describe_health(&mut self, health: &Health, limits: &HealthLimits) {
        self.health_data = raw(health_data(health));
        let warning = limits.warning(health).map(|warning| quoted(&warning.to_string()));
        self.warning = raw(warning);
    }
}

fn health_data(health: &Health) -> Option<String> {
    let (average, percent) = (health.average_duration()?.as_millis(), health.success_percent()?);
    let attempts = health.attempts;
    Some(format!(
        r#"{{"attempts":{attempts},"average_duration_ms":{average},"success_percent":{percent}}}"#
    ))
}

fn raw(json: Option<String>) -> Maybe<RawJson> {
    Maybe::or_null(json.and_then(|json| RawJson::parse(&json).ok()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::StatusCode;

    use super::*;
    use crate::delivery::{Attempt, AttemptReport, Outcome, Target};
    use crate::id::DeliveryId;

    fn log(number: u32, outcome: Outcome, retry_at: Option<DateTime<Utc>>) -> String {
        let started_at = DateTime::from_timestamp(i64::from(number) * 300, 353_793_000).unwrap();
        let entry = HistoryEntry {
            attempt: Attempt {
                delivery: DeliveryId(7),
                number,
                report: AttemptReport {
                    started_at,
                    duration: Duration::from_secs(2),
                    outcome,
                    excerpt: Default::default(),
                },
            },
            recorded_at: started_at,
            accepted: retry_at.is_none(),
            retry_at,
            scope: "s".into(),
            event: "e".into(),
            kind: "USER_CREATED".into(),
            subject: Some("31".into()),
            target: Target::Webhook("w".into()),
            body: Some(Bytes::from_static(br#"{"id_webhook_data":90313,"id":1}"#)),
        };
        serde_json::to_string(&WebhookLog::of(&entry)).unwrap()
    }

    #[test]
    fn each_attempt_has_a_log() {
        let next = DateTime::from_timestamp(600, 0);
        assert_eq!(
            log(1, Outcome::Answered(StatusCode::BAD_GATEWAY), next),
            concat!(
                r#"{"id":"7-1","id_webhook_data":90313,"id_user":31,"timestamp":"1970-01-01 00:05:00.353793","#,
                r#""response_date":"1970-01-01 00:05:02.353793","response_code":502,"#,
                r#""next_try":"1970-01-01 00:10:00.000000"}"#,
            )
        );
        assert_eq!(
            log(2, Outcome::TimedOut, next),
            concat!(
                r#"{"id":"7-2","id_webhook_data":90313,"id_user":31,"timestamp":"1970-01-01 00:10:00.353793","#,
                r#""response_date":null,"response_code":null,"next_try":"1970-01-01 00:10:00.000000"}"#,
            )
        );
        assert!(log(3, Outcome::Answered(StatusCode::NO_CONTENT), None).ends_with(
            r#""response_date":"1970-01-01 00:15:02.353793","response_code":204,"next_try":null}"#
        ));
    }

    #[test]
    fn what_is_no_number_stays_text() {
        for (subject, id) in [
            ("31", "31"),
            ("031", "\"031\""),
            ("+31", "\"+31\""),
            ("u", "\"u\""),
        ] {
            assert_eq!(serde_json::to_string(&user_id(&subject.into())).unwrap(), id);
        }
        assert_eq!(id_webhook_data(b"\xff"), None);
        assert_eq!(id_webhook_data(b"[]"), None);
        assert_eq!(id_webhook_data(br#"{"id_webhook_data":{}}"#), None);
    }

    #[test]
    fn health_without_attempts_says_nothing() {
        let limits = HealthLimits {
            min_attempts: 0,
            average_duration: Duration::ZERO,
            ..HealthLimits::default()
        };
        let mut webhook = Webhook::default();
        webhook.describe_health(&Health::default(), &limits);
        assert!(webhook.health_data.is_null() && webhook.warning.is_null());
    }
}
