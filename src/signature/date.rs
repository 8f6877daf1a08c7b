//! Signed dates: read from the bytes that are under the signature, never written back.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::Refusal;

/// A date under a signature, as it is written. [`Verifier`](super::Verifier) reads it once the signature held.
#[derive(Debug, Clone, Copy)]
pub struct SignedDate<'a> {
    text: &'a [u8],
    reader: fn(&[u8]) -> Option<DateTime<Utc>>,
}

impl<'a> SignedDate<'a> {
    /// A date that [`iso8601`] reads.
    pub fn iso8601(text: &'a [u8]) -> Self {
        Self::new(text, parse_iso8601)
    }

    /// A date that [`unix_seconds`] reads.
    pub fn unix_seconds(text: &'a [u8]) -> Self {
        Self::new(text, parse_unix_seconds)
    }

    /// A date that is written in another way, and what reads it. What it cannot read is a [`Refusal::MalformedDate`].
    pub fn new(text: &'a [u8], reader: fn(&[u8]) -> Option<DateTime<Utc>>) -> Self {
        Self { text, reader }
    }

    pub(super) fn read(self) -> Result<DateTime<Utc>, Refusal> {
        (self.reader)(self.text).ok_or(Refusal::MalformedDate)
    }
}

/// Reads an ISO 8601 date and time: `2022-06-27T11:08:52`, none to nine digits of fraction, then `Z` or an
/// offset (`+02:00`, `+0200`, `+02`). Years 1 to 9999.
///
/// Python writes no fraction where it is zero, Go as many digits as it takes: hence the latitude.
///
/// # Errors
///
/// [`Refusal::MalformedDate`] for anything else, a date that no calendar holds and one without an offset included.
///
/// ```
/// use ringback::signature::date::iso8601;
///
/// assert_eq!(iso8601(b"2022-06-27T13:08:52+02:00")?, iso8601(b"2022-06-27T11:08:52.000000Z")?);
/// assert!(iso8601(b"2022-02-30T00:00:00Z").is_err());
/// # Ok::<_, ringback::signature::Refusal>(())
/// ```
pub fn iso8601(text: &[u8]) -> Result<DateTime<Utc>, Refusal> {
    parse_iso8601(text).ok_or(Refusal::MalformedDate)
}

/// Reads seconds since 1970, in decimal digits, as Standard Webhooks and Stripe write them.
///
/// # Errors
///
/// [`Refusal::MalformedDate`] for anything else, and for instants further off than the calendar reaches.
pub fn unix_seconds(text: &[u8]) -> Result<DateTime<Utc>, Refusal> {
    parse_unix_seconds(text).ok_or(Refusal::MalformedDate)
}

fn parse_unix_seconds(text: &[u8]) -> Option<DateTime<Utc>> {
    if text.first() == Some(&b'+') {
        return None;
    }
    let seconds = std::str::from_utf8(text).ok()?.parse().ok()?;
    DateTime::from_timestamp(seconds, 0)
}

fn parse_iso8601(text: &[u8]) -> Option<DateTime<Utc>> {
    let (to_the_second, rest) = text.split_at_checked("YYYY-MM-DDTHH:MM:SS".len())?;
    let (date, time) = to_the_second.split_at_checked("YYYY-MM-DDT".len())?;
    let (
        &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't' | b' '],
        &[h1, h2, b':', n1, n2, b':', s1, s2],
    ) = (date, time)
    else {
        return None;
    };
    let year = number(&[y1, y2, y3, y4]).filter(|year| *year > 0)?.cast_signed();
    let date = NaiveDate::from_ymd_opt(year, number(&[m1, m2])?, number(&[d1, d2])?)?;
    let (nanos, zone) = fraction(rest)?;
    // The calendar counts a leap second as a second 59 that goes on for longer.
    let (second, nanos) = match number(&[s1, s2])? {
        60 => (59, nanos + 1_000_000_000),
        second => (second, nanos),
    };
    let local = date
        .and_hms_nano_opt(number(&[h1, h2])?, number(&[n1, n2])?, second, nanos)?
        .and_utc();
    match zone {
        b"Z" | b"z" => Some(local),
        _ => local.checked_sub_signed(offset(zone)?),
    }
}

/// The nanoseconds at the front, none if there is no point, and what comes after them.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let (mut nanos, mut unit) = (0, 1_000_000_000);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        unit /= 10;
        nanos += u32::from(digit - b'0') * unit;
        rest = after;
    }
    matches!(text.len() - rest.len(), 2..=10).then_some((nanos, rest))
}

fn offset(zone: &[u8]) -> Option<TimeDelta> {
    let (sign, hours, minutes) = match *zone {
        [sign, h1, h2] => (sign, [h1, h2], [b'0', b'0']),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, [h1, h2], [m1, m2]),
        _ => return None,
    };
    let hours = number(&hours).filter(|hours| *hours < 24)?;
    let minutes = number(&minutes).filter(|minutes| *minutes < 60)?;
    let span = TimeDelta::minutes(i64::from(hours * 60 + minutes));
    match sign {
        b'+' => Some(span),
        b'-' => Some(-span),
        _ => None,
    }
}

/// Reads at most nine decimal digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u32::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<String> {
        iso8601(text.as_bytes())
            .ok()
            .map(|date| date.format("%Y-%m-%dT%H:%M:%S%.f").to_string())
    }

    #[test]
    fn reads_what_is_written_in_the_field() {
        for (text, utc) in [
            ("2022-06-27T11:08:52.577831Z", "2022-06-27T11:08:52.577831"),
            ("2022-06-27T11:08:52Z", "2022-06-27T11:08:52"),
            ("2022-06-27t11:08:52z", "2022-06-27T11:08:52"),
            ("2022-06-27 11:08:52.5+00:00", "2022-06-27T11:08:52.500"),
            ("2022-06-27T11:08:52.123456789Z", "2022-06-27T11:08:52.123456789"),
            ("2022-06-27T11:08:52-0230", "2022-06-27T13:38:52"),
            ("2022-06-27T01:08:52+02", "2022-06-26T23:08:52"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
            ("0001-01-01T00:00:00+23:59", "0000-12-31T00:01:00"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:60"),
        ] {
            assert_eq!(written(text).as_deref(), Some(utc), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_instant() {
        for text in [
            "",
            "nonsense",
            "2022-06-27",
            "2022-06-27T11:08:52",
            "2022-06-27T11:08:52.Z",
            "2022-06-27T11:08:52.1234567890Z",
            "2022-06-27T11:08:52Z ",
            " 2022-06-27T11:08:52Z",
            "2022-06-27T11:08:52ZZ",
            "2022-06-27T24:00:00Z",
            "2022-06-27T11:60:00Z",
            "2022-06-27T11:08:61Z",
            "2022-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "+2022-06-27T11:08:52Z",
            "2022-06-27T11:08:52+24:00",
            "2022-06-27T11:08:52+00:60",
            "2022-06-27T11:08:52 00:00",
            "2022-06-27T11:08:52+",
            "2022-06-2\u{0663}T11:08:52Z",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_reach_as_far_as_the_calendar() {
        assert_eq!(unix_seconds(b"0").unwrap(), DateTime::UNIX_EPOCH);
        assert_eq!(
            unix_seconds(b"-62135596800").unwrap(),
            iso8601(b"0001-01-01T00:00:00Z").unwrap()
        );
        for text in [
            "",
            "+1",
            " 1",
            "1.0",
            "1e3",
            "-",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
        ] {
            assert_eq!(
                unix_seconds(text.as_bytes()),
                Err(Refusal::MalformedDate),
                "{text}"
            );
        }
    }
}
