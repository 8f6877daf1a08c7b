//! What goes on in the background of a store: it hears other processes ring and rings for them, keeps the clock, and makes
//! partitions ahead.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use deadpool_postgres::Pool;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Socket};

use super::clock::ServerClock;
use super::fault::Fault;
use super::partitions;
use super::schema::Schema;
use crate::store::Wake;

/// How often the server's clock is asked for, and the version of the tables.
const ROUND: Duration = Duration::from_secs(60);

/// How long to wait before a connection that was lost is made again.
const PAUSE: Duration = Duration::from_millis(500);

const DELIVERIES: u8 = 1;
const TASKS: u8 = 2;

/// What is sent to other processes, and what they send; of what is submitted, a trigger tells them.
const PAYLOADS: [(u8, &str); 2] = [(DELIVERIES, "deliveries"), (TASKS, "tasks")];

/// Opens a connection, whatever the type of its TLS is.
#[derive(Clone)]
pub(super) struct Dial(
    Arc<dyn Fn() -> BoxFuture<'static, Result<Line, tokio_postgres::Error>> + Send + Sync>,
);

/// A connection that is not of the pool, and what comes in on it unasked.
struct Line {
    client: Client,
    messages: BoxStream<'static, Result<AsyncMessage, tokio_postgres::Error>>,
}

impl Dial {
    pub(super) fn new<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync + 'static,
        T::TlsConnect: Send + Sync + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self(Arc::new(move || {
            let (config, tls) = (config.clone(), tls.clone());
            async move {
                let (client, mut connection) = config.connect(tls).await?;
                let messages = stream::poll_fn(move |cx| connection.poll_message(cx)).boxed();
                Ok(Line { client, messages })
            }
            .boxed()
        }))
    }
}

/// The bells of a store, here and elsewhere. Ringing elsewhere is a hint like any ring, so it is done apart from what it
/// tells of: while one is on its way, others gather, and commits do not queue up for it in the server.
#[derive(Clone, Default)]
pub(super) struct Bells {
    pub(super) deliveries: Wake,
    pub(super) intake: Wake,
    pub(super) tasks: Wake,
    pending: Arc<Pending>,
}

#[derive(Default)]
struct Pending {
    rings: AtomicU8,
    any: Notify,
}

impl Bells {
    pub(super) fn ring_deliveries(&self) {
        self.deliveries.ring();
        self.tell(DELIVERIES);
    }

    pub(super) fn ring_tasks(&self) {
        self.tasks.ring();
        self.tell(TASKS);
    }

    fn tell(&self, what: u8) {
        self.pending.rings.fetch_or(what, Ordering::SeqCst);
        self.pending.any.notify_one();
    }

    fn heard(&self, payload: &str) {
        match payload {
            "tasks" => self.tasks.ring(),
            "intake" => self.intake.ring(),
            _ => self.deliveries.ring(),
        }
    }
}

/// What the keeper and its store share.
pub(super) struct Kept {
    pub(super) pool: Pool,
    pub(super) schema: Arc<Schema>,
    pub(super) bells: Bells,
    pub(super) clock: ServerClock,
    /// A newer version of the crate has changed the tables so that this one cannot work with them any more.
    pub(super) is_too_new: Arc<AtomicBool>,
    pub(super) made: partitions::Made,
}

/// Ends with the store.
pub(super) struct Keeper(JoinHandle<()>);

impl Keeper {
    /// Without a line of its own, it hears nothing.
    pub(super) fn start(kept: Kept, dial: Option<Dial>) -> Self {
        Self(tokio::spawn(kept.keep(dial)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Kept {
    async fn keep(self, dial: Option<Dial>) {
        loop {
            // Whatever ends it, a lost connection above all: it is begun anew.
            let _ = match &dial {
                Some(dial) => self.keep_line(dial).await,
                None => self.keep_pooled().await,
            };
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn keep_line(&self, dial: &Dial) -> Result<(), Fault> {
        let Line { client, mut messages } = (dial.0)().await?;
        let bells = self.bells.clone();
        let own = Arc::new(std::sync::OnceLock::<i32>::new());
        let knows = Arc::clone(&own);
        // The connection goes on for as long as somebody waits for its messages.
        let mut hearing = AbortOnDrop(tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(ring) = message
                    && knows.get() != Some(&ring.process_id())
                {
                    bells.heard(ring.payload());
                }
            }
        }));
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?;
        let _ = own.set(pid.try_get(0)?);
        client
            .batch_execute(&format!("LISTEN \"{}\"", self.schema.name()))
            .await?;
        // What rang while nobody listened.
        self.bells.deliveries.ring();
        self.bells.intake.ring();
        self.bells.tasks.ring();
        let keeping = async {
            loop {
                self.round(&client).await?;
                let until = tokio::time::Instant::now() + ROUND;
                while self.next_ring(until).await {
                    self.ring_elsewhere(&client).await?;
                }
            }
        };
        tokio::select! {
            ended = keeping => ended,
            _ = &mut hearing.0 => Ok(()),
        }
    }

    async fn keep_pooled(&self) -> Result<(), Fault> {
        loop {
            self.round(&*self.pool.get().await?).await?;
            let until = tokio::time::Instant::now() + ROUND;
            while self.next_ring(until).await {
                self.ring_elsewhere(&*self.pool.get().await?).await?;
            }
        }
    }

    /// Whether there is something to tell before that instant.
    async fn next_ring(&self, until: tokio::time::Instant) -> bool {
        let ring = async {
            while self.bells.pending.rings.load(Ordering::SeqCst) == 0 {
                self.bells.pending.any.notified().await;
            }
        };
        tokio::time::timeout_at(until, ring).await.is_ok()
    }

    async fn ring_elsewhere(&self, client: &Client) -> Result<(), Fault> {
        let rings = self.bells.pending.rings.swap(0, Ordering::SeqCst);
        for (what, payload) in PAYLOADS {
            if rings & what != 0 {
                client
                    .execute(
                        "SELECT pg_notify($1, $2)",
                        &[&self.schema.name().as_str(), &payload],
                    )
                    .await?;
            }
        }
        Ok(())
    }

    async fn round(&self, client: &Client) -> Result<(), Fault> {
        self.clock.read_again(client).await?;
        if let Err(Fault::TooNew(_)) = self.schema.version(client).await {
            self.is_too_new.store(true, Ordering::SeqCst);
        }
        // Where it cannot be done now, because somebody reads the table for long, it is done another time.
        let _ = partitions::make_ahead(client, &self.schema, &self.clock, &self.made).await;
        Ok(())
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
