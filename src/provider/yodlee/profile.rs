//! How Yodlee sends.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::delivery::{Event, Ids, RenderError};
use crate::json::{ObjectText, quoted};
use crate::provider::profile::{Dialect, ProviderProfile, has_text_id, object};
use crate::retry::Schedule;

/// Yodlee's profile, `yodlee`: tried again at marks up to 1280 minutes after the first failure
/// ([`Schedule::yodlee`]). Deliveries are not authenticated: the secret, if any, is in the callback's URL.
///
/// A body must be the [`Envelope`](super::Envelope). Its `event` gets a `notificationId`, a UUID, where it has
/// none. One of the caller's own stays; one that is no text, or an empty one, is [`RenderError::KeyTaken`].
///
/// ```
/// use chrono::DateTime;
/// use ringback::delivery::{Event, Ids, Profile};
/// use ringback::provider;
///
/// let event = Event::builder("acme", "1", "REFRESH").json(r#"{"event": {"info":"REFRESH"} }"#).build()?;
/// let ids = Ids { number: 0, unique: [0xab; 16] };
/// let body = provider::yodlee().render(&event, &ids, DateTime::UNIX_EPOCH)?;
/// assert_eq!(
///     body,
///     r#"{"event": {"notificationId":"abababab-abab-abab-abab-abababababab","info":"REFRESH"} }"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn yodlee() -> ProviderProfile {
    ProviderProfile::new("yodlee", Schedule::yodlee(), &Yodlee)
}

#[derive(Debug)]
struct Yodlee;

impl Dialect for Yodlee {
    fn render(&self, event: &Event, ids: &Ids, _at: DateTime<Utc>) -> Result<Bytes, RenderError> {
        let body = object(event.body())?;
        let notification = body.value("event").ok_or(RenderError::NotAnObject)?;
        let inner = ObjectText::parse(notification).map_err(|_| RenderError::NotAnObject)?;
        if has_text_id(&inner, "notificationId")? {
            return Ok(event.body().clone());
        }
        let inner = inner.with_fields(&[("notificationId", quoted(&ids.uuid()))]);
        Ok(body.with_value(notification, &inner).into())
    }
}
