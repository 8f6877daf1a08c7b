//! How many deliveries a second, from enqueued to acknowledged, and how that compares to the same HTTP client alone.
//! Everything is real: events go into the store, workers claim, sign and send them over HTTP, a receiver in this process
//! verifies each signature and counts distinct ids, and a delivery is acknowledged once its settlement is committed.
//! Both totals must come out as the number of deliveries, or the run fails.
//!
//! Beside it, in the same run: a bare loop of the same HTTP client that posts the same bytes to the same receiver, at its
//! best of 16, 64 and 256 in flight; and a calm stage of 200 events a second, for what a single delivery takes.
//!
//! ```text
//! cargo run --release --example throughput -- [--store memory|sqlite|postgres] [--sender hyper|reqwest] [--deliveries N]
//!     [--webhooks W] [--payload BYTES] [--workers K] [--in-flight M] [--ahead A] [--batch B] [--paced P]
//!     [--backlog N] [--history N] [--json]
//! ```
//!
//! - `--ahead`: how many deliveries may be enqueued and not yet acknowledged. It keeps the latency at full load from being
//!   the length of the whole run.
//! - `--workers`: how many workers, each with `--in-flight` places of its own. Unless told otherwise it is one for each core,
//!   of which one works while another waits for the disk or the server; in memory nothing waits, and it is one.
//! - `--batch`: how many events are enqueued in one call: 64, or 256 with PostgreSQL, where each call is a journey.
//! - `--paced`: how many deliveries the calm stage has.
//! - `--backlog`: so many deliveries wait before the clock starts, and as many are left when it stops, for which two calls
//!   enqueue at once. There is no calm stage then, and no latency: whatever is enqueued comes after all that waits.
//! - `--history`: so many attempts were made before the clock starts. The store in memory keeps as many, so each that is
//!   made then has it forget the oldest: what is measured is how much is kept, and not how fast memory is had.
//!
//! Memory is had from mimalloc, as where throughput counts: all goes from task to task here, and with glibc's allocator
//! threads wait for each other when they free what another one allocated. `cargo rustc --release --example throughput -- \
//! --cfg system_allocator` builds it with the system's.
//!
//! `--store postgres` needs `RINGBACK_POSTGRES_URL`, makes a schema of its own there, and drops it in the end. An SQLite
//! file lies where `TMPDIR` says, which should be a disk: each commit waits for it.

mod bare;
mod receiver;
mod run;
mod settings;

use std::error::Error;

use ringback::store::{EncryptionKey, MemoryStore, PostgresStore, SqliteStore};
use ringback::system::SystemEntropy;
use serde_json::json;
use tokio_postgres::NoTls;

use self::run::Measured;
use self::settings::{Settings, StoreKind};

#[cfg(not(system_allocator))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type AnyError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let settings = Settings::from_arguments(std::env::args().skip(1))?;
    let measured = measure(&settings).await?;
    let bare = bare::best(&settings).await?;
    let figures = json!({
        "allocator": if cfg!(system_allocator) { "system" } else { "mimalloc" },
        "store": settings.store.to_string(),
        "sender": settings.sender.to_string(),
        "deliveries": settings.deliveries,
        "payload_bytes": settings.payload,
        "webhooks": settings.webhooks,
        "workers": settings.workers,
        "in_flight": settings.in_flight,
        "backlog": settings.backlog,
        "history": settings.history,
        "received": measured.received,
        "acknowledged": measured.acknowledged,
        "deliveries_per_second": rounded(measured.per_second, 0),
        "bare_per_second": rounded(bare.per_second, 0),
        "bare_in_flight": bare.in_flight,
        "ratio_to_bare": rounded(measured.per_second / bare.per_second, 3),
        "latency_p50_ms": measured.full_load.map(|latency| rounded(latency.p50_ms, 2)),
        "latency_p99_ms": measured.full_load.map(|latency| rounded(latency.p99_ms, 2)),
        "paced_latency_p50_ms": measured.paced.map(|latency| rounded(latency.p50_ms, 2)),
        "paced_latency_p99_ms": measured.paced.map(|latency| rounded(latency.p99_ms, 2)),
        "cpu_s_per_1000": measured.cpu_s_per_1000.map(|seconds| rounded(seconds, 4)),
        "peak_rss_mib": measured.peak_rss_mib.map(|mib| rounded(mib, 1)),
    });
    if settings.json {
        println!("{figures}");
    } else {
        for (name, figure) in figures.as_object().into_iter().flatten() {
            println!("{name}\t{figure}");
        }
    }
    Ok(())
}

async fn measure(settings: &Settings) -> Result<Measured, AnyError> {
    let key = EncryptionKey::generate(&SystemEntropy);
    match settings.store {
        StoreKind::Memory if settings.history > 0 => {
            run::measure(MemoryStore::keeping(settings.history), settings).await
        }
        StoreKind::Memory => run::measure(MemoryStore::new(), settings).await,
        StoreKind::Sqlite => {
            let folder = tempfile::tempdir()?;
            let store = SqliteStore::open(folder.path().join("throughput.db"), key)?;
            run::measure(store, settings).await
        }
        StoreKind::Postgres => {
            let url = std::env::var("RINGBACK_POSTGRES_URL")
                .map_err(|_| "RINGBACK_POSTGRES_URL says where the server is")?;
            let config: tokio_postgres::Config = url.parse()?;
            let schema = format!("ringback_throughput_{}", std::process::id());
            let store = PostgresStore::builder()
                .schema(schema.parse()?)
                .connect(config.clone(), NoTls, key)
                .await?;
            let measured = run::measure(store, settings).await;
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            client
                .batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE"))
                .await?;
            measured
        }
    }
}

fn rounded(figure: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (figure * scale).round() / scale
}
