//! How a sender by the Standard Webhooks specification sends.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::profile::{Dialect, ProviderProfile};
use crate::delivery::{Event, Ids, RenderError};
use crate::retry::{Classification, Schedule};

static ID: HeaderName = HeaderName::from_static("webhook-id");

/// The profile of the Standard Webhooks specification, `standard_webhooks`: 9 retries over three days
/// ([`Schedule::standard_webhooks`]), `410 Gone` ends a delivery, and bodies go out as they are. Deliveries are
/// authenticated by [`StandardWebhooks`](crate::signature::StandardWebhooks).
///
/// `webhook-id` is the event's own id, so receivers know a copy whichever way it comes. It must be visible
/// ASCII, or it could not stand in a header as it is, and without a full stop: the signature joins id, time
/// and body with full stops, so one in the id would let a part of it pass for the time. Other ids are
/// [`RenderError::UnsendableId`].
///
/// Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
///
/// ```
/// use chrono::DateTime;
/// use http::HeaderMap;
/// use ringback::delivery::{Event, Ids, Profile, RenderError};
/// use ringback::provider;
///
/// let profile = provider::standard_webhooks();
/// let event = Event::builder("acme", "order-1/paid", "order.paid").json("{}").build()?;
/// let mut headers = HeaderMap::new();
/// profile.headers(&event, &mut headers);
/// assert_eq!(headers["webhook-id"], "order-1/paid");
///
/// let event = Event::builder("acme", "order.1.paid", "order.paid").json("{}").build()?;
/// let ids = Ids { number: 0, unique: [0; 16] };
/// assert_eq!(profile.render(&event, &ids, DateTime::UNIX_EPOCH), Err(RenderError::UnsendableId));
/// # Ok::<(), ringback::delivery::EventError>(())
/// ```
pub fn standard_webhooks() -> ProviderProfile {
    ProviderProfile::new(
        "standard_webhooks",
        Schedule::standard_webhooks(),
        &StandardWebhooks,
    )
    .with_classification(Classification::default().gone_on_410(true))
}

#[derive(Debug)]
struct StandardWebhooks;

impl Dialect for StandardWebhooks {
    fn render(&self, event: &Event, _ids: &Ids, _at: DateTime<Utc>) -> Result<Bytes, RenderError> {
        id(event)
            .map(|_| event.body().clone())
            .ok_or(RenderError::UnsendableId)
    }

    fn headers(&self, event: &Event, headers: &mut HeaderMap) {
        if let Some(id) = id(event) {
            headers.insert(&ID, id);
        }
    }
}

fn id(event: &Event) -> Option<HeaderValue> {
    let id = event.id().as_str();
    let is_sendable = id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if is_sendable {
        HeaderValue::from_str(id).ok()
    } else {
        None
    }
}
