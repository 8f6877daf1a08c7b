use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

use super::RawJson;
use super::raw::JsonKind;

/// A JSON number, kept as the text it was written in, and never a binary float.
///
/// Equality is that of the text, so `1.0` is not `1.00`; [`Decimal::cmp_value`] compares what they are worth.
///
/// ```
/// use std::cmp::Ordering;
/// use ringback::json::Decimal;
///
/// let price: Decimal = "48.50".parse()?;
/// assert_eq!(price.as_str(), "48.50");
/// assert_eq!(price.scaled(2), Some(4850));
/// assert_eq!(price.cmp_value(&"48.5".parse()?), Ordering::Equal);
/// assert_eq!(Decimal::from_scaled(4850, 2), price);
/// # Ok::<(), ringback::json::NotANumber>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

/// A text that is not a number by JSON's grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a JSON number")]
pub struct NotANumber;

impl Decimal {
    /// `units × 10^-places`, written with exactly that many places: for money in its smallest unit.
    pub fn from_scaled(units: i128, places: u8) -> Self {
        let places = usize::from(places);
        let sign = if units < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", units.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let point = if places == 0 { "" } else { "." };
        Self(format!("{sign}{whole}{point}{fraction}").into())
    }

    /// The text, exactly as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `value × 10^places`, if that is a whole number and fits: for money in its smallest unit. Nothing is
    /// ever rounded.
    pub fn scaled(&self, places: u8) -> Option<i128> {
        let parts = Parts::of(&self.0);
        let mut units: i128 = 0;
        let mut length: i128 = 0;
        for digit in parts.digits() {
            // Negative from the start, since i128 reaches one further down than up.
            units = units.checked_mul(10)?.checked_sub(i128::from(digit))?;
            length += 1;
        }
        let power = u32::try_from(parts.point - length + i128::from(places));
        let units = match power {
            _ if units == 0 => 0,
            Ok(power) => units.checked_mul(10_i128.checked_pow(power)?)?,
            Err(_) => return None,
        };
        if parts.negative {
            Some(units)
        } else {
            units.checked_neg()
        }
    }

    /// The value as an integer, if it is one and fits: `12`, `12.0` and `1.2e1` are.
    pub fn to_i64(&self) -> Option<i64> {
        self.scaled(0).and_then(|value| i64::try_from(value).ok())
    }

    /// Whether the value is zero, however it is written.
    pub fn is_zero(&self) -> bool {
        Parts::of(&self.0).is_zero()
    }

    /// Compares what the numbers are worth, exactly. Exponents beyond ±10^36 count as that.
    pub fn cmp_value(&self, other: &Self) -> Ordering {
        Parts::of(&self.0).cmp_value(&Parts::of(&other.0))
    }
}

/// A number taken apart as `±0.d₁d₂d₃… × 10^point`, with d₁ and the last digit other than zero.
struct Parts<'a> {
    negative: bool,
    /// The text between the sign and the exponent, from its first to its last digit that is not zero.
    mantissa: &'a str,
    point: i128,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let whole = mantissa.split('.').next().unwrap_or_default();
        let is_padding = |c| c == '0' || c == '.';
        let trimmed = mantissa.trim_start_matches(is_padding);
        let skipped = &mantissa[..mantissa.len() - trimmed.len()];
        let zeros = skipped.bytes().filter(|byte| *byte == b'0').count();
        let point = whole.len() as i128 - zeros as i128 + exponent_value(exponent);
        Self {
            negative,
            mantissa: trimmed.trim_end_matches(is_padding),
            point,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.mantissa
            .bytes()
            .filter(u8::is_ascii_digit)
            .map(|byte| byte - b'0')
    }

    fn is_zero(&self) -> bool {
        self.mantissa.is_empty()
    }

    fn cmp_value(&self, other: &Self) -> Ordering {
        let sign = |parts: &Self| match (parts.is_zero(), parts.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let signs = sign(self).cmp(&sign(other));
        if signs.is_ne() || self.is_zero() {
            return signs;
        }
        let magnitudes = self
            .point
            .cmp(&other.point)
            .then_with(|| self.digits().cmp(other.digits()));
        if self.negative {
            magnitudes.reverse()
        } else {
            magnitudes
        }
    }
}

/// Far beyond any real exponent, and far from overflow when lengths are added.
const EXPONENT_LIMIT: i128 = 10_i128.pow(36);

fn exponent_value(text: &str) -> i128 {
    let limit = if text.starts_with('-') {
        -EXPONENT_LIMIT
    } else {
        EXPONENT_LIMIT
    };
    text.parse::<i128>()
        .map_or(limit, |value| value.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT))
}

impl FromStr for Decimal {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let raw = RawJson::parse(text).map_err(|_| NotANumber)?;
        // White space around the value is fine in JSON, and no part of a number.
        if raw.kind() == JsonKind::Number && raw.as_str() == text {
            Ok(Self(text.into()))
        } else {
            Err(NotANumber)
        }
    }
}

macro_rules! from_integer {
    ($($integer:ty),+) => {
        $(impl From<$integer> for Decimal {
            fn from(value: $integer) -> Self {
                Self(value.to_string().into())
            }
        })+
    };
}

from_integer!(i32, i64, i128, u32, u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({})", self.0)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0)
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        match raw.kind() {
            JsonKind::Number => Ok(Self(raw.as_str().into())),
            _ => Err(D::Error::custom("expected a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_grammar_of_json_is_a_number() {
        for text in [
            "0",
            "-0",
            "1.0000000000",
            "0.10",
            "1e5",
            "1E-5",
            "-1.5e+10",
            "123456789012345678901234567890",
        ] {
            assert_eq!(decimal(text).as_str(), text);
            assert_eq!(serde_json::to_string(&decimal(text)).unwrap(), text);
            assert_eq!(serde_json::from_str::<Decimal>(text).unwrap().as_str(), text);
        }
        for text in [
            "", " 1", "1 ", "+1", "01", "1.", ".5", "1e", "NaN", "Infinity", "0x1", "1,5", "\"1\"", "null",
            "-",
        ] {
            assert_eq!(text.parse::<Decimal>(), Err(NotANumber), "{text:?}");
        }
    }

    #[test]
    fn scaling_is_exact_or_refused() {
        for (text, places, units) in [
            ("48.50", 2, Some(4850)),
            ("48.5", 2, Some(4850)),
            ("48.505", 2, None),
            ("1e3", 0, Some(1000)),
            ("1.2e1", 0, Some(12)),
            ("1200e-2", 0, Some(12)),
            ("-0.01", 2, Some(-1)),
            ("0e999999999999999999999999999999999999999999", 2, Some(0)),
            ("1e999999999999999999999999999999999999999999", 2, None),
            ("1e-999999999999999999999999999999999999999999", 2, None),
            ("170141183460469231731687303715884105727", 0, Some(i128::MAX)),
            ("-170141183460469231731687303715884105728", 0, Some(i128::MIN)),
            ("170141183460469231731687303715884105728", 0, None),
        ] {
            assert_eq!(decimal(text).scaled(places), units, "{text}");
        }
        assert_eq!(decimal("9223372036854775808").to_i64(), None);
        assert_eq!(decimal("-9223372036854775808").to_i64(), Some(i64::MIN));
    }

    #[test]
    fn order_is_that_of_the_values() {
        let rising = [
            "-1e400", "-10", "-9.99", "-0.1", "-1e-400", "0", "1e-400", "0.10", "0.101", "1", "9.99", "10",
            "1e400",
        ];
        for (i, left) in rising.iter().enumerate() {
            for (j, right) in rising.iter().enumerate() {
                assert_eq!(
                    decimal(left).cmp_value(&decimal(right)),
                    i.cmp(&j),
                    "{left} {right}"
                );
            }
        }
        for (left, right) in [
            ("1.0", "1"),
            ("-0", "0.000"),
            ("100", "1e2"),
            ("0.001", "1e-3"),
            ("12.30", "0.123e2"),
        ] {
            assert_eq!(decimal(left).cmp_value(&decimal(right)), Ordering::Equal);
        }
    }

    proptest! {
        #[test]
        fn scaled_units_come_back(units: i128, places in 0_u8..60) {
            let written = Decimal::from_scaled(units, places);
            prop_assert_eq!(written.as_str().parse::<Decimal>(), Ok(written.clone()));
            prop_assert_eq!(written.scaled(places), Some(units));
        }

        #[test]
        fn any_text_is_a_number_or_refused(text in "-?[0-9]{0,40}(\\.[0-9]{0,40})?([eE][+-]?[0-9]{0,50})?") {
            if let Ok(number) = text.parse::<Decimal>() {
                let _ = (number.scaled(9), number.to_i64(), number.is_zero());
                prop_assert_eq!(number.cmp_value(&number), Ordering::Equal);
            }
        }
    }
}
