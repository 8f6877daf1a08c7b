//! What the payload structs have in common, compiled once and not with each of them.

use std::borrow::Cow;
use std::fmt;
use std::mem::take;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::{Maybe, RawJson, UnknownFields};

/// A struct that is made of an object's fields.
pub(crate) trait FromFields: Sized {
    fn from_fields(fields: &mut Fields<'_>) -> Result<Self, FieldsError>;

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut made = None;
        deserializer.deserialize_map(ObjectVisitor(&mut |fields| {
            made = Some(Self::from_fields(fields)?);
            Ok(())
        }))?;
        match made {
            Some(made) => Ok(made),
            None => Err(D::Error::custom("not an object")),
        }
    }
}

/// What keeps an object from being read into its struct.
#[derive(Debug, Error)]
pub(crate) enum FieldsError {
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    #[error("the field `{0}` is of another type")]
    Mistyped(&'static str),
    #[error("a field occurs twice")]
    Twice,
}

/// Hands on the fields. It has no type parameter, so that serde_json's way through an object is compiled once.
struct ObjectVisitor<'a>(&'a mut dyn FnMut(&mut Fields<'_>) -> Result<(), FieldsError>);

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, object: M) -> Result<(), M::Error> {
        let mut fields = Fields::of(object)?;
        self.0(&mut fields).map_err(M::Error::custom)?;
        if fields.came_twice {
            return Err(M::Error::custom(FieldsError::Twice));
        }
        Ok(())
    }
}

/// For how many fields there is room from the start.
const USUAL_FIELDS: usize = 16;

/// The fields of an object as they came, of which a struct takes those that it has names for.
pub(crate) struct Fields<'de> {
    /// Without their values once these were taken.
    fields: Vec<(Name<'de>, Option<RawJson>)>,
    /// Where to look first: most objects come in the order in which they are documented.
    next: usize,
    came_twice: bool,
}

impl<'de> Fields<'de> {
    fn of<M: MapAccess<'de>>(mut object: M) -> Result<Self, M::Error> {
        let mut fields = Vec::with_capacity(USUAL_FIELDS);
        while let Some((name, value)) = object.next_entry()? {
            fields.push((name, Some(value)));
        }
        Ok(Self {
            fields,
            next: 0,
            came_twice: false,
        })
    }

    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, FieldsError> {
        let Some(raw) = self.take(name) else {
            return Err(FieldsError::Missing(name));
        };
        match raw.read_again() {
            Some(value) => Ok(value),
            None => Err(FieldsError::Mistyped(name)),
        }
    }

    pub(crate) fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Maybe<T> {
        match self.take(name) {
            Some(raw) => Maybe::from_raw(raw),
            None => Maybe::Absent,
        }
    }

    /// What nobody took. Of two fields of one name, one is left: only then is it asked whether there are any.
    pub(crate) fn rest(&mut self) -> UnknownFields {
        if self.fields.iter().all(|(_, value)| value.is_none()) {
            return UnknownFields::default();
        }
        self.came_twice = self.has_duplicates();
        let untaken = |(name, value): (Name<'_>, Option<RawJson>)| Some((name.0.into_owned(), value?));
        UnknownFields::of(take(&mut self.fields).into_iter().filter_map(untaken).collect())
    }

    /// Sorted, so that a body of a million unknown fields stays cheap to refuse.
    fn has_duplicates(&self) -> bool {
        let mut names: Vec<_> = self.fields.iter().map(|(name, _)| &*name.0).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }

    fn take(&mut self, name: &str) -> Option<RawJson> {
        let (earlier, later) = self.fields.split_at(self.next);
        let is_it = |(present, _): &(Name<'_>, _)| present.0 == name;
        let at = match later.iter().position(is_it) {
            Some(steps) => self.next + steps,
            None => earlier.iter().position(is_it)?,
        };
        self.next = at + 1;
        self.fields[at].1.take()
    }
}

/// A name without an allocation of its own, where it is written without escapes in what is read.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

/// Writes an object, and says at the end whether that went well.
pub(crate) struct ObjectWriter<M: SerializeMap>(Result<M, M::Error>);

impl<M: SerializeMap> ObjectWriter<M> {
    pub(crate) fn begin<S: Serializer<SerializeMap = M, Error = M::Error>>(serializer: S) -> Self {
        Self(serializer.serialize_map(None))
    }

    pub(crate) fn field(&mut self, name: &str, value: &impl Serialize) {
        if let Ok(object) = &mut self.0
            && let Err(error) = object.serialize_entry(name, value)
        {
            self.0 = Err(error);
        }
    }

    pub(crate) fn optional(&mut self, name: &str, value: &Maybe<impl Serialize>) {
        if !value.is_absent() {
            self.field(name, value);
        }
    }

    pub(crate) fn end(mut self, unknown: &UnknownFields) -> Result<M::Ok, M::Error> {
        for (name, value) in unknown.iter() {
            self.field(name, value);
        }
        self.0?.end()
    }
}
