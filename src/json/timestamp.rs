use std::fmt;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A date or date-time as another system wrote it.
///
/// Providers write `2024-05-20T06:12:44Z`, `2022-08-24T13:55:12.845666+00:00`, `2024-05-20 06:12:44` without
/// a zone, or a plain `2024-05-18`. The text is kept whatever it is; what it means is asked for, and a zone
/// is assumed only where the caller names it.
///
/// ```
/// use chrono::{FixedOffset, NaiveDate};
/// use ringback::json::Timestamp;
///
/// let zoned = Timestamp::from("2022-08-24T13:55:12.845666+00:00");
/// assert_eq!(zoned.instant().unwrap().timestamp_micros(), 1_661_349_312_845_666);
///
/// let naive = Timestamp::from("2024-05-20 06:12:44");
/// assert_eq!(naive.instant(), None);
/// let paris = FixedOffset::east_opt(2 * 3600).unwrap();
/// assert_eq!(naive.assume_offset(paris).unwrap().to_rfc3339(), "2024-05-20T04:12:44+00:00");
/// assert_eq!(naive.as_str(), "2024-05-20 06:12:44");
///
/// assert_eq!(Timestamp::from("2024-05-18").date(), NaiveDate::from_ymd_opt(2024, 5, 18));
/// assert_eq!(Timestamp::from("soon").date(), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(String);

impl Timestamp {
    /// The text, exactly as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The instant, if the text is a date-time with a zone.
    pub fn instant(&self) -> Option<DateTime<Utc>> {
        match Reading::of(&self.0)? {
            Reading::Zoned(local, offset) => at_offset(local, offset),
            Reading::Naive(_) | Reading::Date(_) => None,
        }
    }

    /// The date-time, if the text is one without a zone.
    pub fn naive(&self) -> Option<NaiveDateTime> {
        match Reading::of(&self.0)? {
            Reading::Naive(local) => Some(local),
            Reading::Zoned(..) | Reading::Date(_) => None,
        }
    }

    /// The instant, taking a date-time without a zone to be at that offset. A zone in the text wins, and a
    /// plain date is no instant.
    pub fn assume_offset(&self, offset: FixedOffset) -> Option<DateTime<Utc>> {
        match Reading::of(&self.0)? {
            Reading::Zoned(local, own) => at_offset(local, own),
            Reading::Naive(local) => at_offset(local, offset),
            Reading::Date(_) => None,
        }
    }

    /// The date as written, in whatever zone it was written in.
    pub fn date(&self) -> Option<NaiveDate> {
        Some(match Reading::of(&self.0)? {
            Reading::Zoned(local, _) | Reading::Naive(local) => local.date(),
            Reading::Date(date) => date,
        })
    }
}

enum Reading {
    Zoned(NaiveDateTime, FixedOffset),
    Naive(NaiveDateTime),
    Date(NaiveDate),
}

impl Reading {
    fn of(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked("YYYY-MM-DD".len())?;
        let date = parse_date(date)?;
        let mut rest = rest.chars();
        match rest.next() {
            None => return Some(Self::Date(date)),
            Some('T' | 't' | ' ') => {}
            Some(_) => return None,
        }
        let rest = rest.as_str();
        // A time holds no letter and no sign, so the first one begins the zone.
        let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
        let (time, zone) = rest.split_at(zone_at);
        let local = date.and_time(parse_time(time)?);
        match zone {
            "" => Some(Self::Naive(local)),
            "Z" | "z" => Some(Self::Zoned(local, FixedOffset::east_opt(0)?)),
            _ => Some(Self::Zoned(local, parse_offset(zone)?)),
        }
    }
}

/// Years have four digits here, which also keeps every result within chrono's range.
fn parse_date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let separated = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
    if !separated {
        return None;
    }
    NaiveDate::from_ymd_opt(
        i32::try_from(digits(text.get(..4)?)?).ok()?,
        digits(text.get(5..7)?)?,
        digits(text.get(8..)?)?,
    )
}

/// `hh:mm`, `hh:mm:ss`, and fractions of any length, of which nine digits count.
fn parse_time(text: &str) -> Option<NaiveTime> {
    let (time, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = time.split(':');
    let hour = two_digits(parts.next()?)?;
    let minute = two_digits(parts.next()?)?;
    // A leap second is taken for the one before it: chrono knows them, but no other clock here does.
    let second = match parts.next().map_or(Some(0), two_digits)? {
        60 => 59,
        second => second,
    };
    if parts.next().is_some() || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = digits(&format!("{:0<9}", fraction.get(..9).unwrap_or(fraction)))?;
    NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)
}

/// `+hh:mm`, `+hhmm` or `+hh`.
fn parse_offset(text: &str) -> Option<FixedOffset> {
    let (sign, text) = text.split_at_checked(1)?;
    let (hours, minutes) = match text.split_once(':') {
        Some(parts) => parts,
        None if text.len() == 2 => (text, "00"),
        None => text.split_at_checked(2)?,
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    if minutes > 59 {
        return None;
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    FixedOffset::east_opt(if sign == "-" { -seconds } else { seconds })
}

fn two_digits(text: &str) -> Option<u32> {
    if text.len() == 2 { digits(text) } else { None }
}

fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

fn at_offset(local: NaiveDateTime, offset: FixedOffset) -> Option<DateTime<Utc>> {
    local.checked_sub_offset(offset).map(|utc| utc.and_utc())
}

impl From<&str> for Timestamp {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Timestamp {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    /// Written with `Z`, and with as many digits of fraction as are needed.
    fn from(instant: DateTime<Utc>) -> Self {
        Self(instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_zone_names_the_same_instant() {
        for text in [
            "2024-03-04T10:15:22Z",
            "2024-03-04t10:15:22z",
            "2024-03-04 10:15:22Z",
            "2024-03-04T10:15:22.000Z",
            "2024-03-04T10:15:22.000000000000+00:00",
            "2024-03-04T12:15:22+02:00",
            "2024-03-04T12:15:22+0200",
            "2024-03-04T12:15:22+02",
            "2024-03-04T05:45:22-04:30",
        ] {
            let stamp = Timestamp::from(text);
            assert_eq!(
                stamp.instant().map(|at| at.timestamp()),
                Some(1_709_547_322),
                "{text}"
            );
            assert_eq!(stamp.naive(), None);
            assert_eq!(stamp.as_str(), text);
        }
    }

    #[test]
    fn without_a_zone_there_is_no_instant_until_one_is_assumed() {
        for text in ["2020-03-26 17:25:37.353793", "2020-03-26T17:25:37.353793"] {
            let stamp = Timestamp::from(text);
            assert_eq!(stamp.instant(), None);
            assert_eq!(stamp.naive().unwrap().to_string(), "2020-03-26 17:25:37.353793");
            let paris = FixedOffset::east_opt(3600).unwrap();
            assert_eq!(
                stamp.assume_offset(paris).unwrap().to_string(),
                "2020-03-26 16:25:37.353793 UTC"
            );
        }
        let date = Timestamp::from("2024-05-18");
        assert_eq!(
            (
                date.instant(),
                date.naive(),
                date.assume_offset(FixedOffset::east_opt(0).unwrap())
            ),
            (None, None, None)
        );
        assert_eq!(date.date().unwrap().to_string(), "2024-05-18");
    }

    #[test]
    fn odd_texts_are_kept_and_mean_nothing() {
        for text in [
            "",
            "soon",
            "2024-13-01",
            "2024-02-30 00:00:00",
            "2024-05-20T",
            "2024-05-20T25:00:00Z",
            "2024-05-20T1:00:00Z",
            "2024-05-20T10:00:00.Z",
            "2024-05-20T10:00:00+",
            "2024-05-20T10:00:00+25:00",
            "2024-05-20T10:00:61Z",
            "2024-05-20T10:00:00+02:99",
            "+2024-05-20",
            "2024-05-20x",
            "２０２４-05-20",
            "2024-05-20T10:00:00ZZ",
        ] {
            let stamp = Timestamp::from(text);
            assert_eq!(
                (stamp.instant(), stamp.naive(), stamp.date()),
                (None, None, None),
                "{text}"
            );
            assert_eq!(stamp.as_str(), text);
        }
        assert!(Timestamp::from("0001-01-01T00:00:00Z").instant().is_some());
        assert!(Timestamp::from("2016-12-31T23:59:60Z").instant().is_some());
        assert!(Timestamp::from("9999-12-31T23:59:59-23:59").instant().is_some());
        assert!(Timestamp::from("0000-01-01T00:00:00+23:59").instant().is_some());
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, near in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{0,20}[Zz+-]?[0-9:é]{0,6}") {
            for text in [text, near] {
                let stamp = Timestamp::from(text);
                let _ = (stamp.instant(), stamp.naive(), stamp.date());
            }
        }

        #[test]
        fn written_instants_are_read_back(seconds in -62_135_596_800_i64..253_402_300_799, nanos in 0_u32..1_000_000_000) {
            let instant = DateTime::from_timestamp(seconds, nanos).unwrap();
            prop_assert_eq!(Timestamp::from(instant).instant(), Some(instant));
        }
    }
}
