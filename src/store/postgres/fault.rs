//! What goes wrong inside, and what callers are told of it.

use std::sync::Arc;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::store::codec::Unreadable;
use crate::store::encryption::KeyId;
use crate::store::{StoreError, StoreErrorKind};

/// Why a call could not be carried out. It can be told to several callers, where their calls shared a transaction.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Postgres(Arc<tokio_postgres::Error>),
    #[error("no connection could be had of the pool")]
    Pool(#[source] Arc<PoolError>),
    #[error("the column {0} holds something that was never written there")]
    Unreadable(&'static str),
    #[error("the schema belongs to another application")]
    Foreign,
    #[error("the schema has version {0} of the tables")]
    TooNew(i64),
    #[error("the schema is encrypted with the key {0}, which was not given")]
    WrongKey(KeyId),
    #[error("another process has changed the key that encrypts")]
    KeyChanged,
    #[error("the connection was lost")]
    Lost,
    #[error("the connection was lost while the commit was under way")]
    CommitUnknown(#[source] Arc<tokio_postgres::Error>),
}

impl Fault {
    /// What it means that something failed while the commit was on its way: an error that the server reports undid
    /// everything, and what happened after a connection was lost, nobody knows.
    pub(super) fn of_commit(error: tokio_postgres::Error) -> Self {
        let is_undone = error.code().is_some_and(|code| !ends_connection(code));
        if is_undone {
            error.into()
        } else {
            Self::CommitUnknown(Arc::new(error))
        }
    }

    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Postgres(error) => kind_of(error),
            Self::Pool(_) | Self::KeyChanged | Self::Lost => StoreErrorKind::Unavailable,
            Self::WrongKey(_) => StoreErrorKind::WrongKey,
            Self::Unreadable(_) | Self::Foreign => StoreErrorKind::Corrupt,
            Self::TooNew(_) => StoreErrorKind::TooNew,
            Self::CommitUnknown(_) => StoreErrorKind::Unknown,
        }
    }
}

/// The server says goodbye: it shuts down, has crashed, or drops the connection.
fn ends_connection(code: &SqlState) -> bool {
    code.code().starts_with("57P") || code.code().starts_with("08")
}

fn kind_of(error: &tokio_postgres::Error) -> StoreErrorKind {
    // Classes: 22 and 23 are values that no version of ours wrote, 42 is a table or column that is not there.
    // Having no right to it (42501) is something that an operator can change.
    let is_corrupt = error.code().is_some_and(|code| {
        let class = code.code().get(..2);
        *code != SqlState::INSUFFICIENT_PRIVILEGE && matches!(class, Some("22" | "23" | "42" | "XX"))
    });
    match is_corrupt {
        true => StoreErrorKind::Corrupt,
        false => StoreErrorKind::Unavailable,
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(Arc::new(error))
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        Self::Pool(Arc::new(error))
    }
}

impl From<Unreadable> for Fault {
    fn from(Unreadable(column): Unreadable) -> Self {
        Self::Unreadable(column)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        StoreError::with_source(fault.kind(), fault)
    }
}
