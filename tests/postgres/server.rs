//! The server that tests run on, and a schema for each of them.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Failed, Trial};
use ringback::store::postgres::{PostgresStoreBuilder, SchemaName};
use ringback::store::{EncryptionKey, PostgresStore};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, NoTls};

/// Names the server, as `postgres://user@host:port/database`.
const URL: &str = "RINGBACK_POSTGRES_URL";

static SCHEMAS: AtomicU32 = AtomicU32::new(0);

/// A test that needs a server.
pub(crate) fn trial<F>(name: impl Into<String>, test: impl FnOnce(Server) -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    let run = move || {
        let runtime = runtime();
        let server = Server::new();
        let cleaning = server.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(test(server));
        }));
        runtime.block_on(cleaning.drop_schema());
        outcome.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Failed::from(text.unwrap_or("a panic"))
        })
    };
    Trial::test(name, run).with_ignored_flag(!is_there())
}

/// The key that every test encrypts with.
pub(crate) fn key() -> EncryptionKey {
    EncryptionKey::new([7; 32])
}

/// Whether there is a server to run tests on.
pub(crate) fn is_there() -> bool {
    std::env::var_os(URL).is_some()
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A schema of a test's own.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) schema: SchemaName,
}

impl Server {
    pub(crate) fn new() -> Self {
        let number = SCHEMAS.fetch_add(1, Ordering::SeqCst);
        let mut config: Config = std::env::var(URL).unwrap().parse().unwrap();
        // What tests write need not outlive the server.
        config.options("-c synchronous_commit=off");
        Self {
            config,
            schema: format!("ringback_test_{}_{number}", process::id())
                .parse()
                .unwrap(),
        }
    }

    pub(crate) fn builder(&self) -> PostgresStoreBuilder {
        PostgresStore::builder()
            .schema(self.schema.clone())
            .connections(4)
    }

    pub(crate) async fn store(&self) -> PostgresStore {
        self.builder()
            .connect(self.config.clone(), NoTls, key())
            .await
            .unwrap()
    }

    /// A connection to the server, apart from any store.
    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = self.config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) async fn drop_schema(&self) {
        let drop = format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.schema);
        self.client().await.batch_execute(&drop).await.unwrap();
    }
}
