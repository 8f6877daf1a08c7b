//! How Truv sends.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::HeaderValue;

use crate::delivery::{Event, Ids, RenderError};
use crate::json::quoted;
use crate::provider::profile::{Dialect, ProviderProfile, has_text_id, object};
use crate::retry::Schedule;

/// Truv's profile, `truv`: 3 retries 30 seconds apart, 10 seconds for an answer, and Truv's own `User-Agent`. Truv follows
/// redirects; here one is a failure, as everywhere in this crate, since it may lead inside the network.
/// Deliveries are authenticated by [`TruvSignature`](crate::signature::TruvSignature).
///
/// A body must be a JSON object. What every body of Truv has is put in front where it is not there yet:
/// `webhook_id`, 32 hexadecimal digits; `event_type`, the event's; and `event_created_at`, the time of
/// enqueueing. A `webhook_id` of the caller's own stays; one that is no text, or an empty one, is
/// [`RenderError::KeyTaken`].
///
/// ```
/// use chrono::DateTime;
/// use ringback::delivery::{Event, Ids, Profile};
/// use ringback::provider;
///
/// let event = Event::builder("acme", "link-1", "link-connected").json(r#"{ "link_id": "7" }"#).build()?;
/// let ids = Ids { number: 0, unique: [0xab; 16] };
/// let body = provider::truv().render(&event, &ids, DateTime::UNIX_EPOCH)?;
/// assert_eq!(body, concat!(
///     r#"{"webhook_id":"abababababababababababababababab","event_type":"link-connected","#,
///     r#""event_created_at":"1970-01-01T00:00:00.000000Z", "link_id": "7" }"#,
/// ));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn truv() -> ProviderProfile {
    ProviderProfile::new("truv", Schedule::truv(), &Truv)
        .with_deadline(Duration::from_secs(10))
        .with_user_agent(HeaderValue::from_static("Truv-Webhook-Service/2.0"))
}

#[derive(Debug)]
struct Truv;

impl Dialect for Truv {
    fn render(&self, event: &Event, ids: &Ids, at: DateTime<Utc>) -> Result<Bytes, RenderError> {
        let body = object(event.body())?;
        let mut new = Vec::with_capacity(3);
        if !has_text_id(&body, "webhook_id")? {
            new.push(("webhook_id", quoted(&ids.hex())));
        }
        if body.value("event_type").is_none() {
            new.push(("event_type", quoted(event.kind().as_str())));
        }
        if body.value("event_created_at").is_none() {
            let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
            new.push(("event_created_at", quoted(&at)));
        }
        Ok(body.with_fields(&new).into())
    }
}
