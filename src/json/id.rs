use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::JsonKind;
use super::{Decimal, RawJson};

/// An id of another system, kept as it was written: a JSON number or a JSON string.
///
/// It is compared as text and never computed with, so an id too large for any integer type, or one that
/// turns from a number into a string, is still the id.
///
/// ```
/// use ringback::json::OpaqueId;
///
/// assert_eq!(OpaqueId::from(4187).as_str(), "4187");
/// assert_eq!(serde_json::to_string(&OpaqueId::from(4187)).unwrap(), "4187");
/// assert_eq!(serde_json::to_string(&OpaqueId::from("4187")).unwrap(), "\"4187\"");
/// assert_eq!(OpaqueId::from(4187), OpaqueId::from("4187"));
/// ```
#[derive(Clone)]
pub struct OpaqueId(Form);

#[derive(Clone)]
enum Form {
    Number(Decimal),
    Text(String),
}

impl OpaqueId {
    /// The id as text, without the quotes if it was a string.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Number(number) => number.as_str(),
            Form::Text(text) => text,
        }
    }

    /// The id as an integer, where it is a number that is one.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.0 {
            Form::Number(number) => number.to_i64(),
            Form::Text(_) => None,
        }
    }
}

impl PartialEq for OpaqueId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for OpaqueId {}

impl Hash for OpaqueId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<i64> for OpaqueId {
    fn from(id: i64) -> Self {
        Self(Form::Number(Decimal::from(id)))
    }
}

impl From<&str> for OpaqueId {
    fn from(id: &str) -> Self {
        Self(Form::Text(id.to_owned()))
    }
}

impl From<String> for OpaqueId {
    fn from(id: String) -> Self {
        Self(Form::Text(id))
    }
}

impl fmt::Display for OpaqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for OpaqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Number(number) => write!(f, "OpaqueId({number})"),
            Form::Text(text) => write!(f, "OpaqueId({text:?})"),
        }
    }
}

impl Serialize for OpaqueId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Number(number) => number.serialize(serializer),
            Form::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for OpaqueId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        let form = match raw.kind() {
            JsonKind::Number => raw.read().map(Form::Number),
            _ => raw.read().map(Form::Text),
        };
        form.map(Self)
            .map_err(|_| D::Error::custom("expected a number or a string"))
    }
}
