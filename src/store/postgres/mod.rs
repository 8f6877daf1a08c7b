#![doc = include_str!("../../../docs/postgresql.md")]

mod anew;
mod attempts;
mod brought;
mod claims;
mod clock;
mod contents;
mod database;
mod digests;
mod enqueue;
mod events;
mod fault;
mod history;
mod holds;
mod inspect;
mod intake;
mod keeper;
mod lane_rows;
mod lanes;
mod partitions;
mod purge;
mod registrations;
mod schema;
mod sealer;
mod seen;
mod settlements;
mod tasks;
mod traits;
mod transaction;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::runtime::Handle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, Socket};

use self::anew::Pass;
pub use self::clock::ServerClock;
use self::database::Database;
use self::fault::Fault;
use self::keeper::{Bells, Dial, Keeper, Kept};
use self::schema::Schema;
pub use self::schema::{SchemaName, SchemaNameError};
use super::{EncryptedAnew, EncryptionKeys, StoreError, StoreErrorKind};

/// Keeps everything in PostgreSQL. See the [module](self).
///
/// Clones share one pool. Calls are carried out on the Tokio runtime that the store was made on, so they can be awaited
/// anywhere.
#[derive(Clone)]
pub struct PostgresStore {
    database: Arc<Database>,
    bells: Bells,
    clock: ServerClock,
    is_too_new: Arc<AtomicBool>,
    runtime: Handle,
    inline: bool,
    _keeper: Arc<Keeper>,
}

impl PostgresStore {
    /// Connects with the [builder's](Self::builder) defaults.
    ///
    /// # Errors
    ///
    /// As [`PostgresStoreBuilder::connect`].
    pub async fn connect<T>(
        config: Config,
        tls: T,
        keys: impl Into<EncryptionKeys>,
    ) -> Result<Self, StoreError>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync + 'static,
        T::TlsConnect: Send + Sync + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self::builder().connect(config, tls, keys).await
    }

    /// Says how to make a store.
    pub fn builder() -> PostgresStoreBuilder {
        PostgresStoreBuilder::default()
    }

    /// The server's clock, for workers to take their `now` from.
    pub fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// Encrypts under the newest key what is under older ones, or under none, and then strikes those off the schema's list, so
    /// that they are not asked for any more. What the steps of replacing a key are: see [`encryption`](super::encryption).
    ///
    /// It goes through everything in the schema, 256 rows in a commit of their own, while other calls are carried out, here
    /// and in other processes. Dropping the future ends it after such a step; asked again, it starts from the beginning,
    /// and has less to do. With nothing to do, it returns at once. What was overwritten is gone once the tables have been
    /// vacuumed and the write-ahead log, its archive and the backups that have it are no more.
    ///
    /// # Errors
    ///
    /// If the store fails. What it has done by then stays done.
    pub async fn encrypt_anew(&self) -> Result<EncryptedAnew, StoreError> {
        let mut pass = Pass::default();
        loop {
            let step = std::mem::take(&mut pass);
            match self
                .call(|database| async move { database.encrypt_anew(&step).await })
                .await?
            {
                Ok(done) => return Ok(done),
                Err(left) => pass = left,
            }
        }
    }

    /// Carries a call out apart from whoever waits for its answer, so that it is not cut short in the middle.
    async fn call<T, F>(&self, work: impl FnOnce(Arc<Database>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        if self.is_too_new.load(Ordering::Relaxed) {
            return Err(StoreError::new(StoreErrorKind::TooNew));
        }
        let call = self.runtime.spawn(work(Arc::clone(&self.database)));
        let ended = match self.inline {
            true => self.runtime.block_on(call),
            false => call.await,
        };
        match ended {
            Ok(result) => result.map_err(StoreError::from),
            Err(ended) if ended.is_panic() => Err(StoreError::new(StoreErrorKind::Unknown)),
            Err(_) => Err(StoreError::new(StoreErrorKind::Closed)), // with the runtime
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

/// How to make a [`PostgresStore`].
#[derive(Debug, Clone)]
#[must_use = "a store comes of it with `connect` or `over`"]
pub struct PostgresStoreBuilder {
    schema: SchemaName,
    connections: usize,
    patience: Duration,
    inline: bool,
}

impl Default for PostgresStoreBuilder {
    fn default() -> Self {
        Self {
            schema: SchemaName::default(),
            connections: 8,
            patience: Duration::from_secs(10),
            inline: false,
        }
    }
}

impl PostgresStoreBuilder {
    /// The schema that the tables are in. It is made if it is not there. Default: `ringback`.
    pub fn schema(mut self, name: SchemaName) -> Self {
        self.schema = name;
        self
    }

    /// How many connections to use at most, besides the one that listens. Default: 8, which a worker and a busy
    /// application keep busy together; more than the server has cores for all processes is seldom of use.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long to wait for a connection before a call fails with [`StoreErrorKind::Unavailable`]. Default: 10 seconds.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Has each call block whoever polls it first until it is answered. Then what happens depends on nothing but the calls
    /// and their order, which is what simulations need; a service must not do it. So no connection listens either: what other
    /// processes ring for would be heard at any moment. Calls are to be polled outside of the runtime that the store was
    /// made on, which needs threads of its own; inside of it they panic.
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Connects, and brings the tables up to date.
    ///
    /// TLS is whatever connector is given: `tokio_postgres::NoTls`, or one of `tokio-postgres-rustls` or
    /// `postgres-native-tls`.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`] if the server cannot be reached, [`StoreErrorKind::Corrupt`] if the schema is
    /// another application's, [`StoreErrorKind::TooNew`] if a newer version of this crate has changed it,
    /// [`StoreErrorKind::WrongKey`] if something in it may be encrypted under a key that was not given, or not be encrypted,
    /// without [leave](EncryptionKeys::and_plaintext).
    pub async fn connect<T>(
        self,
        config: Config,
        tls: T,
        keys: impl Into<EncryptionKeys>,
    ) -> Result<PostgresStore, StoreError>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync + 'static,
        T::TlsConnect: Send + Sync + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(config.clone(), tls.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(self.connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(self.patience))
            .create_timeout(Some(self.patience))
            .recycle_timeout(Some(self.patience))
            .build()
            .map_err(|error| StoreError::with_source(StoreErrorKind::Unavailable, error))?;
        let dial = (!self.inline).then(|| Dial::new(config, tls));
        Ok(self.make(pool, dial, keys.into()).await?)
    }

    /// Uses a pool that the application has already, and brings the tables up to date.
    ///
    /// No connection listens: workers find by the clock what other processes have enqueued. How long a call waits for a
    /// connection is the pool's to say; without a timeout of the pool's own it waits for as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn over(
        self,
        pool: Pool,
        keys: impl Into<EncryptionKeys>,
    ) -> Result<PostgresStore, StoreError> {
        Ok(self.make(pool, None, keys.into()).await?)
    }

    async fn make(
        self,
        pool: Pool,
        dial: Option<Dial>,
        keys: EncryptionKeys,
    ) -> Result<PostgresStore, Fault> {
        let schema = Arc::new(Schema::new(self.schema));
        let mut client = pool.get().await?;
        schema.migrate(&client).await?;
        let database = Database::unlock(pool.clone(), Arc::clone(&schema), &mut client, keys).await?;
        let clock = ServerClock::read(&client).await?;
        let made = partitions::Made::default();
        partitions::make_ahead(&client, &schema, &clock, &made).await?;
        drop(client);
        let bells = Bells::default();
        let is_too_new = Arc::new(AtomicBool::new(false));
        let kept = Kept {
            pool,
            schema,
            bells: bells.clone(),
            clock: clock.clone(),
            is_too_new: Arc::clone(&is_too_new),
            made,
        };
        Ok(PostgresStore {
            database: Arc::new(database),
            bells,
            clock,
            is_too_new,
            runtime: Handle::current(),
            inline: self.inline,
            _keeper: Arc::new(Keeper::start(kept, dial)),
        })
    }
}
