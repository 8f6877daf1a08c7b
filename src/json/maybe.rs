use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::RawJson;

/// A field as it was found: absent, `null`, a value, or a value of a type nobody announced.
///
/// Providers' documents disagree with each other and with what is sent, so one field of another type must
/// not cost the reader the rest of the payload: it is kept as [`Maybe::Unexpected`], and written back as it
/// came.
///
/// ```
/// use ringback::json::{self, Maybe};
/// use ringback::provider::powens::Currency;
///
/// let currency: Currency = json::parse(br#"{"id":"EUR","symbol":null,"precision":"two"}"#)?;
/// assert_eq!(currency.id, Maybe::from("EUR".to_owned()));
/// assert_eq!(currency.symbol, Maybe::Null);
/// assert_eq!(currency.name, Maybe::Absent);
/// assert!(matches!(&currency.precision, Maybe::Unexpected(raw) if raw.as_str() == "\"two\""));
/// # Ok::<(), json::PayloadError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Maybe<T> {
    /// The field was not there, and is not written.
    #[default]
    Absent,
    /// The field was `null`.
    Null,
    /// The field had a value of the announced type.
    Value(T),
    /// The field had a value of another type.
    Unexpected(RawJson),
}

impl<T> Maybe<T> {
    /// The value, or [`Maybe::Null`] for none: for fields that are always written.
    pub fn or_null(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Value)
    }

    /// The value, or [`Maybe::Absent`] for none: for fields that are written only if there is something to
    /// say.
    pub fn or_absent(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }

    /// The value, if there is one of the announced type.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The value itself, if there is one of the announced type.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Whether the field was not there at all.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether the field was there, and `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl<T: DeserializeOwned> Maybe<T> {
    pub(super) fn from_raw(raw: RawJson) -> Self {
        if raw.is_null() {
            return Self::Null;
        }
        match raw.read_again() {
            Some(value) => Self::Value(value),
            None => Self::Unexpected(raw),
        }
    }
}

impl<T> Maybe<Vec<T>> {
    /// The elements; none unless there is an array of the announced type.
    pub fn items(&self) -> &[T] {
        self.value().map_or(&[], Vec::as_slice)
    }
}

impl<T> From<T> for Maybe<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}

impl<T: Serialize> Serialize for Maybe<T> {
    /// Absent is written as `null` where there is no object to leave it out of.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Value(value) => value.serialize(serializer),
            Self::Unexpected(raw) => raw.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawJson::deserialize(deserializer).map(Self::from_raw)
    }
}
