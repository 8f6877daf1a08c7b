//! What was sent, in the shape of Powens' logs, and how well that went.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Webhook, WebhookLog};
use crate::delivery::{Attempt, Event, Outcome};
use crate::id::Subject;
use crate::json::{self, Maybe, ObjectText, OpaqueId, RawJson, Timestamp, quoted};

impl WebhookLog {
    /// The log of each attempt of a delivery, in their order: the event, the body that is sent, the attempts,
    /// and when the delivery is due next, if it is.
    ///
    /// `id` is the delivery's number and the attempt's, with a hyphen. `next_try` of a failure is when the next
    /// attempt was made, or will be. Date-times are written as Powens writes them, without a zone; they are UTC.
    pub fn of(event: &Event, body: &[u8], attempts: &[Attempt], due: Option<DateTime<Utc>>) -> Vec<Self> {
        let id_webhook_data = id_webhook_data(body);
        let id_user = event.subject().map(user_id);
        let starts = attempts.iter().map(|attempt| attempt.report.started_at);
        let next_tries = starts.skip(1).map(Some).chain([due]);
        attempts
            .iter()
            .zip(next_tries)
            .map(|(attempt, next_try)| {
                let report = &attempt.report;
                let status = report.outcome.status();
                Self {
                    id: OpaqueId::from(format!("{}-{}", attempt.delivery, attempt.number)).into(),
                    id_webhook_data: Maybe::or_null(id_webhook_data.clone()),
                    id_service: Maybe::Absent,
                    id_user: Maybe::or_null(id_user.clone()),
                    timestamp: written(report.started_at).into(),
                    response_date: Maybe::or_null(status.map(|_| written(report.finished_at()))),
                    response_code: Maybe::or_null(status.map(|status| status.as_u16().into())),
                    next_try: Maybe::or_null(next_try.filter(|_| !is_accepted(report.outcome)).map(written)),
                    unknown: Default::default(),
                }
            })
            .collect()
    }
}

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

/// Any 2xx, as for the profile.
fn is_accepted(outcome: Outcome) -> bool {
    outcome.status().is_some_and(|status| status.is_success())
}

/// How sending to a webhook goes: what Powens calls `health_data`.
///
/// Powens publishes which two values there are, an average duration and a success rate, but neither their names
/// and units nor the limits. Those here are this crate's.
///
/// ```
/// use std::time::Duration;
/// use chrono::DateTime;
/// use http::StatusCode;
/// use ringback::delivery::{Attempt, AttemptReport, Outcome};
/// use ringback::id::DeliveryId;
/// use ringback::json::RawJson;
/// use ringback::provider::powens::{Health, HealthLimits, Webhook};
///
/// let attempt = |outcome, millis| Attempt {
///     delivery: DeliveryId(1),
///     number: 1,
///     report: AttemptReport {
///         started_at: DateTime::UNIX_EPOCH,
///         duration: Duration::from_millis(millis),
///         outcome,
///         excerpt: Default::default(),
///     },
/// };
/// let attempts = [attempt(Outcome::Answered(StatusCode::OK), 100), attempt(Outcome::TimedOut, 15_000)];
/// let health = Health::of(&attempts);
/// assert_eq!(health.average_duration(), Some(Duration::from_millis(7_550)));
/// assert_eq!(health.success_percent(), Some(50));
///
/// let mut webhook = Webhook::default();
/// let limits = HealthLimits { average_duration: Duration::from_secs(5), success_percent: 40 };
/// health.describe(&mut webhook, &limits);
/// assert_eq!(
///     webhook.health_data.value().map(RawJson::as_str),
///     Some(r#"{"attempts":2,"average_duration_ms":7550,"success_percent":50}"#)
/// );
/// assert_eq!(webhook.warning.value().map(RawJson::as_str), Some(r#""sending takes long""#));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    attempts: u32,
    accepted: u32,
    timed: u32,
    total: Duration,
}

/// From where on a webhook's health is critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthLimits {
    /// Sending takes so long on average, or longer.
    pub average_duration: Duration,
    /// So many attempts in a hundred succeed, or fewer.
    pub success_percent: u32,
}

impl Health {
    /// The health that these attempts show, say those of the last day.
    pub fn of<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> Self {
        let mut health = Self::default();
        for attempt in attempts {
            health.count(attempt);
        }
        health
    }

    fn count(&mut self, attempt: &Attempt) {
        let report = &attempt.report;
        self.attempts = self.attempts.saturating_add(1);
        if is_accepted(report.outcome) {
            self.accepted = self.accepted.saturating_add(1);
        }
        // How long an interrupted attempt took is not known, only when it was given up.
        if report.outcome != Outcome::Interrupted {
            self.timed = self.timed.saturating_add(1);
            self.total = self.total.saturating_add(report.duration);
        }
    }

    /// How long an attempt took on average; `None` without attempts.
    pub fn average_duration(&self) -> Option<Duration> {
        self.total.checked_div(self.timed)
    }

    /// How many attempts in a hundred were accepted, rounded down; `None` without attempts.
    pub fn success_percent(&self) -> Option<u32> {
        let percent = (u64::from(self.accepted) * 100).checked_div(self.attempts.into())?;
        u32::try_from(percent).ok()
    }

    /// Writes `health_data`, and `warning` if a limit is reached; both are `null` else.
    pub fn describe(&self, webhook: &mut Webhook, limits: &HealthLimits) {
        webhook.health_data = raw(self.to_json());
        webhook.warning = raw(self.warning(limits).map(|warning| quoted(&warning)));
    }

    fn to_json(self) -> Option<String> {
        let (attempts, percent) = (self.attempts, self.success_percent()?);
        let average = self
            .average_duration()
            .map_or_else(|| "null".to_owned(), |average| average.as_millis().to_string());
        Some(format!(
            r#"{{"attempts":{attempts},"average_duration_ms":{average},"success_percent":{percent}}}"#
        ))
    }

    fn warning(&self, limits: &HealthLimits) -> Option<String> {
        let is_slow = self
            .average_duration()
            .is_some_and(|average| average >= limits.average_duration);
        let is_failing = self
            .success_percent()
            .is_some_and(|percent| percent <= limits.success_percent);
        let warnings = [
            is_slow.then_some("sending takes long"),
            is_failing.then_some("sending fails often"),
        ];
        let warnings: Vec<_> = warnings.into_iter().flatten().collect();
        (!warnings.is_empty()).then(|| warnings.join("; "))
    }
}

fn raw(json: Option<String>) -> Maybe<RawJson> {
    Maybe::or_null(json.and_then(|json| RawJson::parse(&json).ok()))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::delivery::AttemptReport;
    use crate::id::DeliveryId;

    fn attempt(number: u32, outcome: Outcome) -> Attempt {
        Attempt {
            delivery: DeliveryId(7),
            number,
            report: AttemptReport {
                started_at: DateTime::from_timestamp(i64::from(number) * 300, 353_793_000).unwrap(),
                duration: Duration::from_secs(2),
                outcome,
                excerpt: Default::default(),
            },
        }
    }

    fn logs(attempts: &[Attempt], due: Option<DateTime<Utc>>) -> String {
        let event = Event::builder("s", "e", "USER_CREATED")
            .subject("31")
            .build()
            .unwrap();
        let logs = WebhookLog::of(&event, br#"{"id_webhook_data":90313,"id":1}"#, attempts, due);
        serde_json::to_string(&logs).unwrap()
    }

    #[test]
    fn each_attempt_has_a_log() {
        let attempts = [
            attempt(1, Outcome::Answered(StatusCode::BAD_GATEWAY)),
            attempt(2, Outcome::TimedOut),
            attempt(3, Outcome::Answered(StatusCode::NO_CONTENT)),
        ];
        assert_eq!(
            logs(&attempts, None),
            concat!(
                r#"[{"id":"7-1","id_webhook_data":90313,"id_user":31,"timestamp":"1970-01-01 00:05:00.353793","#,
                r#""response_date":"1970-01-01 00:05:02.353793","response_code":502,"#,
                r#""next_try":"1970-01-01 00:10:00.353793"},"#,
                r#"{"id":"7-2","id_webhook_data":90313,"id_user":31,"timestamp":"1970-01-01 00:10:00.353793","#,
                r#""response_date":null,"response_code":null,"next_try":"1970-01-01 00:15:00.353793"},"#,
                r#"{"id":"7-3","id_webhook_data":90313,"id_user":31,"timestamp":"1970-01-01 00:15:00.353793","#,
                r#""response_date":"1970-01-01 00:15:02.353793","response_code":204,"next_try":null}]"#,
            )
        );
        let due = DateTime::from_timestamp(900, 0);
        assert!(logs(&attempts[..2], due).ends_with(r#""next_try":"1970-01-01 00:15:00.000000"}]"#));
        assert_eq!(logs(&[], due), "[]");
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
            average_duration: Duration::ZERO,
            success_percent: 100,
        };
        let mut webhook = Webhook::default();
        Health::of([]).describe(&mut webhook, &limits);
        assert!(webhook.health_data.is_null() && webhook.warning.is_null());

        Health::of(&[attempt(1, Outcome::Interrupted)]).describe(&mut webhook, &limits);
        let health = webhook.health_data.value().unwrap().as_str();
        assert_eq!(
            health,
            r#"{"attempts":1,"average_duration_ms":null,"success_percent":0}"#
        );
        assert_eq!(
            webhook.warning.value().unwrap().as_str(),
            "\"sending fails often\""
        );
    }
}
