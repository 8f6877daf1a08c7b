//! Shapes that providers mix, told apart by the first byte of the value.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::JsonKind;
use super::{Decimal, RawJson};

/// A value or an array of such values, where documents say one and send the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneOrMany<T> {
    /// A single value, without brackets.
    One(T),
    /// An array.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values, however they came.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(value) => value.serialize(serializer),
            Self::Many(values) => values.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        match raw.kind() {
            JsonKind::Array => raw.read().map(Self::Many),
            _ => raw.read().map(Self::One),
        }
        .map_err(D::Error::custom)
    }
}

/// A short form, which is a string, or the whole object it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOrObject<S, O> {
    /// The string.
    Text(S),
    /// The object.
    Object(Box<O>),
}

impl<S: Serialize, O: Serialize> Serialize for TextOrObject<S, O> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl<'de, S: DeserializeOwned, O: DeserializeOwned> Deserialize<'de> for TextOrObject<S, O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        match raw.kind() {
            JsonKind::Object => raw.read().map(Self::Object),
            _ => raw.read().map(Self::Text),
        }
        .map_err(D::Error::custom)
    }
}

/// A yes or no, written as a boolean or as a number.
///
/// ```
/// use ringback::json::Flag;
///
/// let flags: Vec<Flag> = serde_json::from_str("[true, 0, 1, 0.0]")?;
/// assert_eq!(flags.iter().map(Flag::is_set).collect::<Vec<_>>(), [true, false, true, false]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flag {
    /// Written as `true` or `false`.
    Bool(bool),
    /// Written as a number: zero is no, all else is yes.
    Number(Decimal),
}

impl Flag {
    /// Whether it says yes.
    pub fn is_set(&self) -> bool {
        match self {
            Self::Bool(set) => *set,
            Self::Number(number) => !number.is_zero(),
        }
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(set) => set.serialize(serializer),
            Self::Number(number) => number.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        match raw.kind() {
            JsonKind::Bool => raw.read().map(Self::Bool),
            _ => raw.read().map(Self::Number),
        }
        .map_err(|_| D::Error::custom("expected a boolean or a number"))
    }
}
