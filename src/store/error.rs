//! What goes wrong with a store.

use std::error::Error;
use std::fmt;

/// A store could not do what it was asked. Nothing of the call was done, unless the kind says otherwise.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Whose fault it is, and so what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached, is busy, or has no room. Trying again later makes sense.
    Unavailable,
    /// The call may or may not have been carried out: the store was lost before it answered.
    Unknown,
    /// What the store holds is not what this version of the crate writes: it is damaged, or a newer version runs beside this
    /// one. Claims pass it over for the length of a lease, so that it holds up no other.
    Corrupt,
    /// The database was written by a newer version of this crate.
    TooNew,
    /// What the store holds is encrypted under a key that was not given, or not encrypted where it should be.
    WrongKey,
    /// The store was closed.
    Closed,
}

impl StoreError {
    /// An error of that kind.
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// An error of that kind, with what lies behind it.
    pub fn with_source(kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::Unknown => "the store was lost before it answered",
            StoreErrorKind::Corrupt => "the store holds something unreadable",
            StoreErrorKind::TooNew => "the store was written by a newer version",
            StoreErrorKind::WrongKey => "the store is encrypted under a key that was not given",
            StoreErrorKind::Closed => "the store is closed",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
