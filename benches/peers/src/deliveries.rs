//! Whole deliveries: from a store over HTTP to a receiver, until the last is settled.
//!
//! ringback runs in a process of its own, `examples/throughput`, with the same receiver: a program can link one SQLite,
//! and the two use different ones. What that process measures of the HTTP client alone is told too.

use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::contest::median;
use crate::{AnyError, Row, smith};

pub(crate) const WEBHOOKS: usize = 16;
pub(crate) const PAYLOAD: usize = 1024;
/// How many events are enqueued in one transaction.
pub(crate) const BATCH: usize = 64;
/// How many deliveries may be on their way at once, where there can be several.
pub(crate) const IN_FLIGHT: u32 = 64;

#[derive(Clone, Copy)]
enum Store {
    Memory,
    Sqlite,
    Postgres,
}

pub(crate) async fn from_stores(deliveries: usize, rounds: usize) -> Result<Vec<Row>, AnyError> {
    let mut rows = from(Store::Memory, deliveries, rounds).await?;
    rows.extend(from(Store::Sqlite, deliveries, rounds).await?);
    if std::env::var_os("RINGBACK_POSTGRES_URL").is_some() {
        rows.extend(from(Store::Postgres, deliveries, rounds).await?);
    }
    Ok(rows)
}

async fn from(store: Store, deliveries: usize, rounds: usize) -> Result<Vec<Row>, AnyError> {
    let mut nanos = [(); 3].map(|()| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        let ringback = ringback(store, deliveries)?;
        let smith = webhooksmith(store, deliveries).await?;
        let turn = [ringback.deliveries_per_second, smith, ringback.bare_per_second];
        for (nanos, per_second) in nanos.iter_mut().zip(turn) {
            nanos.push(1e9 / per_second);
        }
    }
    let [ringback, smith, bare] = nanos.map(median);
    let (work, peer) = match store {
        Store::Memory => ("deliveries from memory", "webhooksmith, SQLite in memory"),
        Store::Sqlite => ("deliveries from SQLite", "webhooksmith"),
        Store::Postgres => ("deliveries from PostgreSQL", "webhooksmith"),
    };
    let named = [
        ("ringback", ringback),
        (peer, smith),
        ("the HTTP client alone", bare),
    ];
    Ok(named
        .into_iter()
        .map(|(who, nanos)| Row {
            work,
            bytes: Some(PAYLOAD),
            who: who.to_owned(),
            nanos,
            ratio: Some(nanos / ringback),
        })
        .collect())
}

async fn webhooksmith(store: Store, deliveries: usize) -> Result<f64, AnyError> {
    match store {
        Store::Memory => smith::from_memory(deliveries).await,
        Store::Sqlite => smith::from_sqlite(tempfile::tempdir()?.path(), deliveries).await,
        Store::Postgres => smith::from_postgres(&std::env::var("RINGBACK_POSTGRES_URL")?, deliveries).await,
    }
}

/// What `examples/throughput` prints, of which there is more.
#[derive(Deserialize)]
struct Throughput {
    deliveries_per_second: f64,
    bare_per_second: f64,
}

fn ringback(store: Store, deliveries: usize) -> Result<Throughput, AnyError> {
    let store = match store {
        Store::Memory => "memory",
        Store::Sqlite => "sqlite",
        Store::Postgres => "postgres",
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Some build scripts would run again for being told of this package.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    cargo.args(["run", "--release", "--quiet", "--manifest-path", manifest]);
    cargo.args(["--example", "throughput", "--", "--json", "--store", store]);
    for (name, value) in [
        ("--deliveries", deliveries),
        ("--webhooks", WEBHOOKS),
        ("--payload", PAYLOAD),
        ("--batch", BATCH),
        ("--in-flight", IN_FLIGHT as usize),
        ("--paced", 0),
    ] {
        cargo.arg(name).arg(value.to_string());
    }
    let output = cargo.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("examples/throughput ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
