use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::PayloadError;

/// A JSON value as the text it arrived in. Equality is that of the text.
///
/// `Debug` shows the length alone, since nobody knows what is inside.
///
/// ```
/// use ringback::json::RawJson;
///
/// let raw = RawJson::parse("[1.0000000000, 0.10]")?;
/// assert_eq!(raw.as_str(), "[1.0000000000, 0.10]");
/// # Ok::<(), ringback::json::PayloadError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// Takes one JSON value; white space around it is dropped, and kept within.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the text is not one JSON value.
    pub fn parse(text: &str) -> Result<Self, PayloadError> {
        super::parse(text.as_bytes())
    }

    /// The text, exactly as it arrived.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads the value into a type.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the value is not of that type's shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        super::parse(self.as_str().as_bytes())
    }

    /// As [`Self::read`], where nobody asks why not. What was read before is one whole value.
    pub(super) fn read_again<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&mut Deserializer::from_slice(self.as_str().as_bytes())).ok()
    }

    /// Whether the value is `null`.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    pub(super) fn kind(&self) -> JsonKind {
        match self.as_str().as_bytes().first() {
            Some(b'{') => JsonKind::Object,
            Some(b'[') => JsonKind::Array,
            Some(b'"') => JsonKind::String,
            Some(b't' | b'f') => JsonKind::Bool,
            Some(b'n') | None => JsonKind::Null,
            Some(_) => JsonKind::Number,
        }
    }
}

/// What the first byte of a valid JSON value says about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonKind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RawJson {}

impl Hash for RawJson {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.as_str().len())
    }
}

/// The fields of an object that its type has no name for: raw, and in the order they arrived.
///
/// `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UnknownFields(Vec<(String, RawJson)>);

impl UnknownFields {
    /// Whether every field had a name in the type.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of the field of that name.
    pub fn value(&self, name: &str) -> Option<&RawJson> {
        self.iter()
            .find_map(|(field, value)| (field == name).then_some(value))
    }

    /// Names and values, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawJson)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Sets a field, in place if there is one of that name, else at the end. The name must not be one the
    /// surrounding type has a field for, or the object is written with that name twice.
    pub fn set(&mut self, name: impl Into<String>, value: RawJson) {
        let name = name.into();
        match self.0.iter_mut().find(|(field, _)| *field == name) {
            Some((_, present)) => *present = value,
            None => self.0.push((name, value)),
        }
    }

    /// As they were read, no name twice.
    pub(super) fn of(fields: Vec<(String, RawJson)>) -> Self {
        Self(fields)
    }
}

impl fmt::Debug for UnknownFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}
