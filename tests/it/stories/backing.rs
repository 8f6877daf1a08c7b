//! The stores that stories are told on.

use ringback::engine::{Engine, EngineBuilder, Timer};
use ringback::store::{MemoryStore, SqliteStore, Store};
use ringback::transport::HttpSender;

/// Which store a story is told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Memory,
    Sqlite,
}

impl On {
    pub(crate) const ALL: [Self; 2] = [Self::Memory, Self::Sqlite];
}

/// A store that answers every call at once.
pub(crate) enum Backing {
    Memory(MemoryStore),
    Sqlite(SqliteStore),
}

impl Backing {
    pub(crate) fn open(on: On) -> Self {
        match on {
            On::Memory => Self::Memory(MemoryStore::keeping(1_000_000)),
            On::Sqlite => Self::Sqlite(SqliteStore::builder().inline().open_in_memory().unwrap()),
        }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        match self {
            Self::Memory(store) => store,
            Self::Sqlite(store) => store,
        }
    }

    pub(crate) fn engine(&self, sender: impl HttpSender, timer: impl Timer) -> EngineBuilder {
        match self {
            Self::Memory(store) => Engine::builder(store.clone(), sender, timer),
            Self::Sqlite(store) => Engine::builder(store.clone(), sender, timer),
        }
    }
}
