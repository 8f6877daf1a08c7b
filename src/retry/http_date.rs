//! The three date forms of HTTP (RFC 9110, section 5.6.7), read by hand and strictly.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads a date in any of the three forms. A weekday that does not belong to the date is refused.
pub(super) fn parse(text: &[u8]) -> Option<DateTime<Utc>> {
    imf_fixdate(text)
        .or_else(|| rfc_850(text))
        .or_else(|| asctime(text))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form still written.
fn imf_fixdate(text: &[u8]) -> Option<DateTime<Utc>> {
    let mut rest = Cursor(text);
    let weekday = rest.name(&DAYS)?;
    rest.literal(", ")?;
    let day = rest.number(2)?;
    rest.literal(" ")?;
    let month = rest.name(&MONTHS)?;
    rest.literal(" ")?;
    let year = rest.number(4)?;
    rest.literal(" ")?;
    let time = rest.time()?;
    rest.literal(" GMT")?;
    rest.end()?;
    instant(weekday, (year, month, day), time)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`. Two digits are a year from 1970 to 2069.
fn rfc_850(text: &[u8]) -> Option<DateTime<Utc>> {
    let mut rest = Cursor(text);
    let weekday = rest.name(&LONG_DAYS)?;
    rest.literal(", ")?;
    let day = rest.number(2)?;
    rest.literal("-")?;
    let month = rest.name(&MONTHS)?;
    rest.literal("-")?;
    let year = match rest.number(2)? {
        year @ 70.. => 1900 + year,
        year => 2000 + year,
    };
    rest.literal(" ")?;
    let time = rest.time()?;
    rest.literal(" GMT")?;
    rest.end()?;
    instant(weekday, (year, month, day), time)
}

/// `Sun Nov  6 08:49:37 1994`, the form of C's `asctime`, in UTC.
fn asctime(text: &[u8]) -> Option<DateTime<Utc>> {
    let mut rest = Cursor(text);
    let weekday = rest.name(&DAYS)?;
    rest.literal(" ")?;
    let month = rest.name(&MONTHS)?;
    rest.literal(" ")?;
    let day = match rest.literal(" ") {
        Some(()) => rest.number(1)?,
        None => rest.number(2)?,
    };
    rest.literal(" ")?;
    let time = rest.time()?;
    rest.literal(" ")?;
    let year = rest.number(4)?;
    rest.end()?;
    instant(weekday, (year, month, day), time)
}

/// Weekdays and months are counted from 0, days from 1.
fn instant(weekday: u32, (year, month, day): (u32, u32, u32), time: Time) -> Option<DateTime<Utc>> {
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month + 1, day)?;
    if date.weekday().num_days_from_monday() != weekday {
        return None;
    }
    // The grammar allows a leap second, which is the second that follows 59.
    let leap = time.second == 60;
    let second = if leap { 59 } else { time.second };
    date.and_hms_opt(time.hour, time.minute, second)?
        .and_utc()
        .checked_add_signed(TimeDelta::seconds(leap.into()))
}

struct Time {
    hour: u32,
    minute: u32,
    second: u32,
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn literal(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text.as_bytes())?;
        Some(())
    }

    fn name(&mut self, names: &[&str]) -> Option<u32> {
        let index = names.iter().position(|name| self.literal(name).is_some())?;
        u32::try_from(index).ok()
    }

    fn number(&mut self, digits: usize) -> Option<u32> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number.iter().try_fold(0, |value, byte| {
            byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0'))
        })
    }

    fn time(&mut self) -> Option<Time> {
        let hour = self.number(2)?;
        self.literal(":")?;
        let minute = self.number(2)?;
        self.literal(":")?;
        let second = self.number(2)?;
        Some(Time { hour, minute, second })
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_forms_of_the_specification_are_one_instant() {
        let instant = Utc.with_ymd_and_hms(1994, 11, 6, 8, 49, 37).single();
        assert!(instant.is_some());
        assert_eq!(parse(b"Sun, 06 Nov 1994 08:49:37 GMT"), instant);
        assert_eq!(parse(b"Sunday, 06-Nov-94 08:49:37 GMT"), instant);
        assert_eq!(parse(b"Sun Nov  6 08:49:37 1994"), instant);
    }

    #[test]
    fn a_leap_second_is_the_second_after() {
        assert_eq!(
            parse(b"Sat, 31 Dec 2016 23:59:60 GMT"),
            Utc.with_ymd_and_hms(2017, 1, 1, 0, 0, 0).single()
        );
    }

    #[test]
    fn two_digits_of_a_year_reach_from_1970_to_2069() {
        assert_eq!(
            parse(b"Thursday, 01-Jan-70 00:00:00 GMT"),
            Some(DateTime::UNIX_EPOCH)
        );
        assert_eq!(
            parse(b"Tuesday, 01-Jan-69 00:00:00 GMT"),
            Utc.with_ymd_and_hms(2069, 1, 1, 0, 0, 0).single()
        );
    }

    #[test]
    fn whatever_is_not_exactly_one_of_the_forms_is_refused() {
        for text in [
            "",
            "Sun",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gmt",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 19940 8:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_second_of_our_years_reads_back_in_each_form(timestamp in 0_i64..253_402_300_800) {
            let instant = DateTime::from_timestamp(timestamp, 0).unwrap();
            let written = |form: &str| instant.format(form).to_string();
            prop_assert_eq!(parse(written("%a, %d %b %Y %H:%M:%S GMT").as_bytes()), Some(instant));
            prop_assert_eq!(parse(written("%a %b %e %H:%M:%S %Y").as_bytes()), Some(instant));
            if instant.year() < 2070 {
                prop_assert_eq!(parse(written("%A, %d-%b-%y %H:%M:%S GMT").as_bytes()), Some(instant));
            }
        }

        #[test]
        fn a_damaged_date_never_panics(at in 0_usize..29, byte: u8) {
            let mut text = *b"Sun, 06 Nov 1994 08:49:37 GMT";
            text[at] = byte;
            parse(&text);
        }
    }
}
