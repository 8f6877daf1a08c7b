//! Something that happened, as bytes.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::id::{EventId, EventType, Scope, Subject};

/// Something that happened, on its way to whoever registered for it.
///
/// The body is bytes: JSON in most cases, but CFONB or anything else is carried just the same. What is given
/// here is what is sent, unless the webhook's [`Profile`](super::Profile) puts the provider's ids into it.
///
/// ```
/// use ringback::delivery::Event;
///
/// let event = Event::builder("tenant-7", "order-1/paid", "order.paid")
///     .subject("user-3")
///     .json(br#"{"order":1}"#.as_slice())
///     .build()?;
/// assert_eq!(event.kind().as_str(), "order.paid");
/// # Ok::<(), ringback::delivery::EventError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    scope: Scope,
    id: EventId,
    kind: EventType,
    subject: Option<Subject>,
    media_type: HeaderValue,
    headers: HeaderMap,
    body: Bytes,
}

impl Event {
    /// Starts an event: where it happened, the caller's own id of it, and its type.
    pub fn builder(
        scope: impl Into<Scope>,
        id: impl Into<EventId>,
        kind: impl Into<EventType>,
    ) -> EventBuilder {
        EventBuilder {
            scope: scope.into(),
            id: id.into(),
            kind: kind.into(),
            subject: None,
            media_type: HeaderValue::from_static("application/json"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// The tenant or environment it happened in.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The caller's own id of it.
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// Its type, which registrations are matched against.
    pub fn kind(&self) -> &EventType {
        &self.kind
    }

    /// The user it is about, if it is about one.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// What kind of bytes the body is.
    pub fn media_type(&self) -> &HeaderValue {
        &self.media_type
    }

    /// Headers to send with it.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The same event, its bytes forgotten.
    #[cfg(feature = "engine")]
    pub(crate) fn without_body(&self) -> Self {
        Self {
            body: Bytes::new(),
            ..self.clone()
        }
    }

    /// What tells whether two events with one id are the same event: a digest over everything but the id.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.kind.as_str().as_bytes());
        part(
            self.subject
                .as_ref()
                .map_or(&[], |subject| subject.as_str().as_bytes()),
        );
        part(&[u8::from(self.subject.is_some())]);
        part(self.media_type.as_bytes());
        part(&self.body);
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_bytes()))
            .collect();
        headers.sort_by_key(|(name, _)| *name); // a stable sort: values of one name keep their order
        for (name, value) in headers {
            part(name.as_bytes());
            part(value);
        }
        Fingerprint(hash.finalize().into())
    }
}

impl fmt::Debug for Event {
    /// Bodies and header values can hold personal data, so only their sizes are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("scope", &self.scope)
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("subject", &self.subject)
            .field("media_type", &self.media_type)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// The digest that [`Event::fingerprint`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Puts an [`Event`] together.
#[derive(Debug, Clone)]
#[must_use = "an event comes of it with `build`"]
pub struct EventBuilder {
    scope: Scope,
    id: EventId,
    kind: EventType,
    subject: Option<Subject>,
    media_type: HeaderValue,
    headers: HeaderMap,
    body: Bytes,
}

impl EventBuilder {
    /// The user it is about.
    pub fn subject(mut self, subject: impl Into<Subject>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// A JSON body, sent byte for byte as given.
    pub fn json(self, body: impl Into<Bytes>) -> Self {
        self.body(HeaderValue::from_static("application/json"), body)
    }

    /// A body of any kind.
    pub fn body(mut self, media_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.media_type = media_type;
        self.body = body.into();
        self
    }

    /// A header to send with it.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The event, if it can be sent.
    ///
    /// # Errors
    ///
    /// [`EventError::EmptyId`] and [`EventError::EmptyType`], since nothing could be matched or told apart by
    /// them; [`EventError::ReservedHeader`] for headers that say how the body is carried, which are the
    /// engine's to set.
    pub fn build(self) -> Result<Event, EventError> {
        if self.id.as_str().is_empty() {
            return Err(EventError::EmptyId);
        }
        if self.kind.as_str().is_empty() {
            return Err(EventError::EmptyType);
        }
        const RESERVED: [HeaderName; 5] = [
            HOST,
            CONTENT_LENGTH,
            CONTENT_TYPE,
            CONTENT_ENCODING,
            TRANSFER_ENCODING,
        ];
        if let Some(name) = RESERVED.into_iter().find(|name| self.headers.contains_key(name)) {
            return Err(EventError::ReservedHeader(name));
        }
        Ok(Event {
            scope: self.scope,
            id: self.id,
            kind: self.kind,
            subject: self.subject,
            media_type: self.media_type,
            headers: self.headers,
            body: self.body,
        })
    }
}

/// Why an event cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The id is empty, so two events could not be told apart.
    #[error("an event needs an id")]
    EmptyId,
    /// The type is empty, so no registration could match it.
    #[error("an event needs a type")]
    EmptyType,
    /// The header says how the body is carried, which is for the engine to say.
    #[error("the header {0} is set by the engine")]
    ReservedHeader(HeaderName),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &'static [u8]) -> EventBuilder {
        Event::builder("s", "e", "t").json(body)
    }

    #[test]
    fn the_fingerprint_covers_everything_but_the_id() {
        let base = event(b"{}").build().unwrap();
        let other_id = Event::builder("s", "f", "t")
            .json(b"{}".as_slice())
            .build()
            .unwrap();
        assert_eq!(base.fingerprint(), other_id.fingerprint());
        let others = [
            event(b"{ }"),
            event(b"{}").subject("u"),
            event(b"{}").subject(""),
            event(b"").body(HeaderValue::from_static("text/plain"), "{}"),
            event(b"{}").header(HeaderName::from_static("x"), HeaderValue::from_static("y")),
            Event::builder("s", "e", "u").json(b"{}".as_slice()),
        ];
        for other in others {
            let other = other.build().unwrap();
            assert_ne!(base.fingerprint(), other.fingerprint(), "{other:?}");
        }
    }

    #[test]
    fn headers_that_frame_the_body_are_refused() {
        let built = event(b"")
            .header(CONTENT_LENGTH, HeaderValue::from_static("7"))
            .build();
        assert_eq!(built, Err(EventError::ReservedHeader(CONTENT_LENGTH)));
    }
}
