//! The store that stories are told on here.

use std::sync::LazyLock;

use ringback::engine::{Engine, EngineBuilder, Timer};
use ringback::store::{PostgresStore, Store};
use ringback::transport::HttpSender;
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use crate::server::{Server, key, runtime};

/// What the stores work on. Stories themselves are told outside of it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(runtime);

/// Which store a story is told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Postgres,
}

impl On {
    pub(crate) const ALL: [Self; 1] = [Self::Postgres];
}

/// A store that answers every call at once, in a schema of its own, which goes with it.
pub(crate) struct Backing {
    server: Server,
    store: PostgresStore,
}

impl Backing {
    pub(crate) fn open(_on: On) -> Self {
        let server = Server::new();
        let store = server
            .builder()
            .inline()
            .connect(server.config.clone(), NoTls, key());
        let store = RUNTIME.block_on(store).unwrap();
        Self { server, store }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &self.store
    }

    pub(crate) fn engine(&self, sender: impl HttpSender, timer: impl Timer) -> EngineBuilder {
        Engine::builder(self.store.clone(), sender, timer)
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        RUNTIME.block_on(self.server.drop_schema());
    }
}
