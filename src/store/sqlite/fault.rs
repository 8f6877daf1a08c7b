//! What goes wrong inside, and what callers are told of it.

use std::io;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::store::codec::Unreadable;
use crate::store::encryption::KeyId;
use crate::store::{StoreError, StoreErrorKind};

/// Why a call could not be carried out. It can be told to several callers, since a commit can fail for a whole
/// group.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Sqlite(Arc<rusqlite::Error>),
    #[error("the column {0} holds something that was never written there")]
    Unreadable(&'static str),
    #[error("the file belongs to another application")]
    Foreign,
    #[error("the file has version {0} of the tables")]
    TooNew(i64),
    #[error("values are encrypted under the key {0}, which was not given")]
    WrongKey(KeyId),
    #[error("the disk failed while the commit was under way")]
    CommitUnknown(Arc<rusqlite::Error>),
    #[error("the disk failed to write the log")]
    LogUnknown(Arc<io::Error>),
    #[error("the file system cannot hold a write-ahead log")]
    NoLog,
    #[error("the thread of the store could not be started")]
    NoThread,
    #[error("the store was closed")]
    Closed,
}

impl Fault {
    /// What a failed commit means: if the disk failed, nobody knows what it kept.
    pub(super) fn of_commit(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::SystemIoFailure) => Self::CommitUnknown(Arc::new(error)),
            _ => error.into(),
        }
    }

    /// The log could not be opened or written out.
    pub(super) fn log(error: io::Error) -> Self {
        Self::LogUnknown(Arc::new(error))
    }

    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Sqlite(error) => kind_of(error),
            Self::Unreadable(_) | Self::Foreign => StoreErrorKind::Corrupt,
            Self::TooNew(_) => StoreErrorKind::TooNew,
            Self::WrongKey(_) => StoreErrorKind::WrongKey,
            Self::CommitUnknown(_) | Self::LogUnknown(_) => StoreErrorKind::Unknown,
            Self::NoLog | Self::NoThread => StoreErrorKind::Unavailable,
            Self::Closed => StoreErrorKind::Closed,
        }
    }
}

fn kind_of(error: &rusqlite::Error) -> StoreErrorKind {
    let Some(code) = error.sqlite_error_code() else {
        return StoreErrorKind::Corrupt; // a column is missing, or of another type
    };
    match code {
        ErrorCode::NotADatabase
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::ConstraintViolation
        | ErrorCode::TypeMismatch
        | ErrorCode::Unknown => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unavailable,
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<Unreadable> for Fault {
    fn from(Unreadable(column): Unreadable) -> Self {
        Self::Unreadable(column)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Closed => StoreError::new(StoreErrorKind::Closed),
            fault => StoreError::with_source(fault.kind(), fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_at_the_commit_leaves_it_open_what_it_kept() {
        let io =
            || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR), None);
        assert_eq!(Fault::from(io()).kind(), StoreErrorKind::Unavailable);
        assert_eq!(Fault::of_commit(io()).kind(), StoreErrorKind::Unknown);
        let full =
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        assert_eq!(Fault::of_commit(full).kind(), StoreErrorKind::Unavailable);
    }
}
