//! How values are written into columns, and read back.

use std::time::Duration;

use chrono::{DateTime, Timelike, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::delivery::{Event, State};

/// The column holds something that was never written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the column {0} holds something that was never written there")]
pub(in crate::store) struct Unreadable(pub(in crate::store) &'static str);

/// An instant as the last whole microsecond before it: the present, and the past.
pub(in crate::store) fn floor(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// An instant as the first whole microsecond from it on: what must not happen earlier.
pub(in crate::store) fn ceil(at: DateTime<Utc>) -> i64 {
    let part = i64::from(!at.nanosecond().is_multiple_of(1000));
    (floor(at) + part).min(floor(DateTime::<Utc>::MAX_UTC))
}

/// The same instant without what is not kept of it.
pub(in crate::store) fn whole(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(floor(at)).unwrap_or(at)
}

/// Reads an instant back. The last one that can be written stands for the end of time.
pub(in crate::store) fn instant(micros: i64, column: &'static str) -> Result<DateTime<Utc>, Unreadable> {
    if micros == floor(DateTime::<Utc>::MAX_UTC) {
        return Ok(DateTime::<Utc>::MAX_UTC);
    }
    DateTime::from_timestamp_micros(micros).ok_or(Unreadable(column))
}

pub(in crate::store) fn optional_instant(
    micros: Option<i64>,
    column: &'static str,
) -> Result<Option<DateTime<Utc>>, Unreadable> {
    micros.map(|micros| instant(micros, column)).transpose()
}

pub(in crate::store) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

pub(in crate::store) fn span_of_micros(micros: i64, column: &'static str) -> Result<Duration, Unreadable> {
    unsigned(micros, column).map(Duration::from_micros)
}

pub(in crate::store) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// A number that is never negative, in a type that cannot be.
pub(in crate::store) fn unsigned<T: TryFrom<i64>>(
    number: i64,
    column: &'static str,
) -> Result<T, Unreadable> {
    T::try_from(number).map_err(|_| Unreadable(column))
}

/// A limit on rows; more than can be counted is no limit.
pub(in crate::store) fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

/// The columns `state` and `reason`.
pub(in crate::store) fn state_words(state: State) -> (&'static str, Option<&'static str>) {
    match state {
        State::Held => ("held", None),
        State::Pending => ("pending", None),
        State::Sending => ("sending", None),
        State::Delivered => ("delivered", None),
        State::Dead(reason) => ("dead", Some(reason.as_str())),
    }
}

/// The columns `ended_at` and `purgeable` of a delivery that comes to this state now.
pub(in crate::store) fn ending(state: State, now: DateTime<Utc>) -> Option<(i64, i64)> {
    match state {
        State::Delivered => Some((floor(now), BODY_PURGEABLE)),
        State::Dead(_) => Some((floor(now), ALL_PURGEABLE)),
        State::Held | State::Pending | State::Sending => None,
    }
}

/// In the column `purgeable`: the body can go next.
pub(in crate::store) const BODY_PURGEABLE: i64 = 1;

/// In the column `purgeable`: the delivery can go as a whole. If it was delivered, its body has gone.
pub(in crate::store) const ALL_PURGEABLE: i64 = 2;

pub(in crate::store) fn state(word: &str, reason: Option<&str>) -> Result<State, Unreadable> {
    Ok(match (word, reason) {
        ("held", None) => State::Held,
        ("pending", None) => State::Pending,
        ("sending", None) => State::Sending,
        ("delivered", None) => State::Delivered,
        ("dead", Some(reason)) => State::Dead(reason.parse().map_err(|_| Unreadable("reason"))?),
        _ => return Err(Unreadable("state")),
    })
}

/// Headers as lines of `name: value`; neither names nor values can hold a line break, nor names a colon.
pub(in crate::store) fn header_lines(headers: &HeaderMap) -> Option<Vec<u8>> {
    if headers.is_empty() {
        return None;
    }
    let mut lines = Vec::new();
    for (name, value) in headers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.push(b'\n');
    }
    Some(lines)
}

pub(in crate::store) fn headers(
    lines: &[u8],
) -> impl Iterator<Item = Result<(HeaderName, HeaderValue), Unreadable>> {
    lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| header(line).ok_or(Unreadable("headers")))
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let line = line.strip_suffix(b"\n")?;
    let colon = line.iter().position(|byte| *byte == b':')?;
    let value = line.get(colon..)?.strip_prefix(b": ")?;
    Some((
        HeaderName::from_bytes(line.get(..colon)?).ok()?,
        HeaderValue::from_bytes(value).ok()?,
    ))
}

/// An event as columns keep it, in the clear.
pub(in crate::store) struct EventParts<'a> {
    pub(in crate::store) scope: &'a str,
    pub(in crate::store) id: &'a str,
    pub(in crate::store) kind: &'a str,
    pub(in crate::store) subject: Option<&'a str>,
    pub(in crate::store) media_type: &'a [u8],
    pub(in crate::store) header_lines: Vec<u8>,
    pub(in crate::store) body: Vec<u8>,
}

impl EventParts<'_> {
    pub(in crate::store) fn event(self) -> Result<Event, Unreadable> {
        let mut event = Event::builder(self.scope, self.id, self.kind);
        if let Some(subject) = self.subject {
            event = event.subject(subject);
        }
        let media_type = HeaderValue::from_bytes(self.media_type);
        event = event.body(media_type.map_err(|_| Unreadable("media_type"))?, self.body);
        for header in headers(&self.header_lines) {
            let (name, value) = header?;
            event = event.header(name, value);
        }
        event.build().map_err(|_| Unreadable("event"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::DeadReason;

    #[test]
    fn instants_are_kept_to_the_microsecond_and_the_ends_of_time_stay() {
        for at in [
            DateTime::<Utc>::MAX_UTC,
            DateTime::<Utc>::MIN_UTC,
            DateTime::UNIX_EPOCH,
        ] {
            assert_eq!(instant(floor(at), "").unwrap(), at);
            assert_eq!(instant(ceil(at), "").unwrap(), at);
        }
        let odd = DateTime::from_timestamp(-1, 999_999_001).unwrap();
        assert_eq!((floor(odd), ceil(odd)), (-1, 0));
        assert!(instant(i64::MAX, "").is_err() && instant(i64::MIN, "").is_err());
    }

    #[test]
    fn states_are_read_back() {
        let mut states = vec![State::Held, State::Pending, State::Sending, State::Delivered];
        states.extend(DeadReason::ALL.map(State::Dead));
        for was in states {
            let (word, reason) = state_words(was);
            assert_eq!(state(word, reason).unwrap(), was);
        }
        assert!(state("dead", None).is_err() && state("asleep", None).is_err());
    }

    #[test]
    fn headers_are_read_back_as_they_were() {
        let mut map = HeaderMap::new();
        assert_eq!(header_lines(&map), None);
        for value in [&b"a: b"[..], b"", b"\xff\ttab "] {
            map.append("x-one", HeaderValue::from_bytes(value).unwrap());
        }
        map.append("y", HeaderValue::from_static("2"));
        let lines = header_lines(&map).unwrap();
        let read: HeaderMap = headers(&lines)
            .map(Result::unwrap)
            .collect::<Vec<_>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            });
        assert_eq!(read, map);
        assert!(headers(b"no colon\n").any(|header| header.is_err()));
        assert!(headers(b"x: no end").any(|header| header.is_err()));
    }
}
