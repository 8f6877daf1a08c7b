use std::fmt::Display;

use super::UnknownFields;
use super::{
    Decimal, Flag, Maybe, OneOrMany, OpaqueId, RawJson, SecretText, TextOrObject, Timestamp, UrlText,
};

/// The fields of a payload that this crate has no name for, or that came in an unexpected type, at every
/// level, as JSON pointers (RFC 6901). Empty means that all of it was understood.
///
/// It is what to log to learn that a provider has changed something: names only, no values.
pub fn unfamiliar(payload: &impl Survey) -> Vec<String> {
    let mut surveyor = Surveyor {
        path: String::new(),
        found: Vec::new(),
    };
    payload.survey(&mut surveyor);
    surveyor.found
}

/// What [`unfamiliar`] walks through. Every payload type of this crate has it; implement it for a type of
/// your own to survey it inside one of them that takes a type parameter.
///
/// # Contract
///
/// Visit every part that may hold unknown fields with [`Surveyor::enter`]; report nothing twice. A type with
/// no such part does nothing.
///
/// ```
/// use ringback::json::{Survey, Surveyor};
///
/// struct Pair(Vec<String>, String);
///
/// impl Survey for Pair {
///     fn survey(&self, surveyor: &mut Surveyor) {
///         surveyor.enter("first", &self.0);
///         surveyor.enter("second", &self.1);
///     }
/// }
/// ```
pub trait Survey {
    /// Reports what is unfamiliar in this value.
    fn survey(&self, surveyor: &mut Surveyor);
}

/// Collects what a [`Survey`] finds, and knows where it is.
#[derive(Debug)]
pub struct Surveyor {
    path: String,
    found: Vec<String>,
}

impl Surveyor {
    /// Surveys one part of an object or array, found under that name or index.
    pub fn enter(&mut self, step: impl Display, part: &(impl Survey + ?Sized)) {
        let length = self.descend(step);
        part.survey(self);
        self.path.truncate(length);
    }

    /// Reports the present place.
    fn report(&mut self) {
        self.found.push(self.path.clone());
    }

    fn descend(&mut self, step: impl Display) -> usize {
        let length = self.path.len();
        self.path.push('/');
        self.path
            .push_str(&step.to_string().replace('~', "~0").replace('/', "~1"));
        length
    }
}

macro_rules! nothing_inside {
    ($($type:ty),+ $(,)?) => {
        $(impl Survey for $type {
            fn survey(&self, _: &mut Surveyor) {}
        })+
    };
}

nothing_inside!(
    bool,
    i64,
    u16,
    u64,
    String,
    Decimal,
    Flag,
    OpaqueId,
    RawJson,
    SecretText,
    Timestamp,
    UrlText,
    crate::id::TaskId,
);

impl<T: Survey> Survey for Maybe<T> {
    fn survey(&self, surveyor: &mut Surveyor) {
        match self {
            Self::Value(value) => value.survey(surveyor),
            Self::Unexpected(_) => surveyor.report(),
            Self::Absent | Self::Null => {}
        }
    }
}

impl<T: Survey> Survey for [T] {
    fn survey(&self, surveyor: &mut Surveyor) {
        for (index, item) in self.iter().enumerate() {
            surveyor.enter(index, item);
        }
    }
}

impl<T: Survey> Survey for Vec<T> {
    fn survey(&self, surveyor: &mut Surveyor) {
        self.as_slice().survey(surveyor);
    }
}

impl<T: Survey> Survey for OneOrMany<T> {
    fn survey(&self, surveyor: &mut Surveyor) {
        match self {
            Self::One(value) => value.survey(surveyor),
            Self::Many(values) => values.survey(surveyor),
        }
    }
}

impl<S: Survey, O: Survey> Survey for TextOrObject<S, O> {
    fn survey(&self, surveyor: &mut Surveyor) {
        match self {
            Self::Text(text) => text.survey(surveyor),
            Self::Object(object) => object.survey(surveyor),
        }
    }
}

impl Survey for UnknownFields {
    fn survey(&self, surveyor: &mut Surveyor) {
        for (name, _) in self.iter() {
            let length = surveyor.descend(name);
            surveyor.report();
            surveyor.path.truncate(length);
        }
    }
}
