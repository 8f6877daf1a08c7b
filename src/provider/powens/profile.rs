//! How Powens sends.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::event::is_json;
use crate::delivery::{Event, Ids, RenderError};
use crate::provider::profile::{Dialect, ProviderProfile, object};
use crate::retry::Flusher;
use crate::retry::Schedule;

/// Powens' profile, `powens`: a failed delivery waits for the next run of the [`Flusher`], every 5 minutes unless
/// [told otherwise](ProviderProfile::with_flusher), and is tried again until it is accepted. Where a registration does
/// without the flusher, as one in strict order must, it is tried again every 5 minutes. Deliveries are authenticated by the
/// user's token, by [`BiSignature`](crate::signature::BiSignature), or by an access token of the receiver's.
///
/// Each JSON body gets `id_webhook_data` in front, a number from the store. A body that has the key already is
/// [`RenderError::KeyTaken`], whatever it holds: the store counts these numbers, and one from elsewhere might
/// be given out again, so that receivers would take a new message for an old one. A body whose media type says
/// that it is not JSON, such as CFONB, has no place for an id and goes out as it is.
///
/// Since nothing is ever given up, a webhook of this profile may not be disabled for failing.
///
/// ```
/// use chrono::DateTime;
/// use ringback::delivery::{Event, Ids, Profile};
/// use ringback::provider;
///
/// let event = Event::builder("acme", "user-7", "USER_CREATED").json(r#"{"id": 7}"#).build()?;
/// let ids = Ids { number: 90313, unique: [0; 16] };
/// let body = provider::powens().render(&event, &ids, DateTime::UNIX_EPOCH)?;
/// assert_eq!(body, r#"{"id_webhook_data":90313,"id": 7}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn powens() -> ProviderProfile {
    ProviderProfile::new("powens", Schedule::powens(), &Powens).with_flusher(Flusher::default())
}

#[derive(Debug)]
struct Powens;

impl Dialect for Powens {
    fn may_be_disabled(&self) -> bool {
        false
    }

    fn is_numbered(&self) -> bool {
        true
    }

    fn render(&self, event: &Event, ids: &Ids, _at: DateTime<Utc>) -> Result<Bytes, RenderError> {
        // A media type that is no text names nothing, so the body itself decides.
        if !is_json(event.media_type().to_str().ok(), event.body()) {
            return Ok(event.body().clone());
        }
        let body = object(event.body())?;
        if body.value("id_webhook_data").is_some() {
            return Err(RenderError::KeyTaken);
        }
        Ok(body
            .with_fields(&[("id_webhook_data", ids.number.to_string())])
            .into())
    }
}
