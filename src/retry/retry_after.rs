//! `Retry-After`: what a receiver asks for.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use serde::{Deserialize, Serialize};

use super::http_date;
use crate::time::elapsed;

/// Ten digits of seconds are 317 years; no honest receiver asks for more.
const MAX_DIGITS: usize = 10;

/// What the `Retry-After` header of an answer asks for (RFC 9110, section 10.2.3).
///
/// It comes from the other side, so it is a hint: a [`Schedule`](super::Schedule) limits it, and a value that
/// cannot be read is as good as none.
///
/// ```
/// use std::time::Duration;
/// use ringback::retry::RetryAfter;
///
/// assert_eq!(RetryAfter::parse(b"120"), Some(RetryAfter::Delay(Duration::from_secs(120))));
/// assert!(matches!(RetryAfter::parse(b"Fri, 31 Dec 1999 23:59:59 GMT"), Some(RetryAfter::At(_))));
/// assert_eq!(RetryAfter::parse(b"soon"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// Not before this long from now.
    Delay(Duration),
    /// Not before this instant.
    At(DateTime<Utc>),
}

impl RetryAfter {
    /// Reads a field value: whole seconds of at most ten digits, or an HTTP date in any of its three forms.
    ///
    /// Anything else is `None`: signs, fractions, `inf`, exponents, words.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        seconds(value)
            .map(Self::Delay)
            .or_else(|| http_date::parse(value).map(Self::At))
    }

    /// Reads it from the headers of an answer. Several of them contradict the specification and maybe each
    /// other, and are ignored.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(RETRY_AFTER).iter();
        let value = values.next()?;
        match values.next() {
            None => Self::parse(value.as_bytes()),
            Some(_) => None,
        }
    }

    /// How long to wait from `now`; zero if the instant has passed.
    pub fn delay_from(self, now: DateTime<Utc>) -> Duration {
        match self {
            Self::Delay(delay) => delay,
            Self::At(instant) => elapsed(now, instant),
        }
    }
}

fn seconds(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || value.len() > MAX_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = value
        .iter()
        .fold(0, |seconds, digit| seconds * 10 + u64::from(digit - b'0'));
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_seconds_are_a_delay() {
        for (text, seconds) in [
            ("0", 0),
            ("007", 7),
            ("86400", 86_400),
            (" 5\t", 5),
            ("9999999999", 9_999_999_999),
        ] {
            assert_eq!(
                RetryAfter::parse(text.as_bytes()),
                Some(RetryAfter::Delay(Duration::from_secs(seconds)))
            );
        }
    }

    #[test]
    fn whatever_cannot_be_read_is_as_good_as_none() {
        for text in [
            "",
            " ",
            "-1",
            "+1",
            "1.5",
            "1,5",
            "1 2",
            "0x10",
            "1e3",
            "1e300",
            "inf",
            "NaN",
            "10000000000",
            "99999999999999",
            "١٢",
            "tomorrow",
        ] {
            assert_eq!(RetryAfter::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn two_headers_are_as_good_as_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(RetryAfter::from_headers(&headers), None);
        headers.append(RETRY_AFTER, HeaderValue::from_static("5"));
        assert_eq!(
            RetryAfter::from_headers(&headers),
            Some(RetryAfter::Delay(Duration::from_secs(5)))
        );
        headers.append(RETRY_AFTER, HeaderValue::from_static("5"));
        assert_eq!(RetryAfter::from_headers(&headers), None);
    }

    #[test]
    fn an_instant_that_has_passed_asks_for_no_wait() {
        let at = RetryAfter::At(DateTime::<Utc>::UNIX_EPOCH);
        assert_eq!(at.delay_from(DateTime::<Utc>::MAX_UTC), Duration::ZERO);
        assert!(at.delay_from(DateTime::<Utc>::MIN_UTC) > Duration::ZERO);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(RetryAfter::Delay(delay)) = RetryAfter::parse(&value) {
                prop_assert!(delay < Duration::from_secs(10_000_000_000));
            }
        }
    }
}
