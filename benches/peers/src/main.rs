//! The same work as its peers do, side by side in one run: they take turns, and the median of each counts.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- [verify] [sign] [schedule] [deliveries]
//!     [--rounds N] [--deliveries N] [--json]
//! ```
//!
//! - `verify`, `sign`: a whole verification, headers, date and all, beside a bare HMAC of `ring`, `aws-lc-rs` and `hmac`
//!   over the very bytes that are signed, with a key and a signature that were decoded in advance; and beside `svix` and
//!   `standardwebhooks`, with the same body.
//! - `schedule`: ten decisions with jitter, beside `backon` and `retry-policies`.
//! - `deliveries`: events of 1 KiB from a store over HTTP to a receiver that verifies and counts them, beside
//!   `webhooksmith`; 2,000 of them unless told otherwise. PostgreSQL is included where `RINGBACK_POSTGRES_URL` names a
//!   server. SQLite's file lies where `TMPDIR` says, which should be a disk: each commit waits for it.
//!
//! Without a word, all of them. What the ratios refer to is the first row of each work and size.

#[path = "../../speed/contest.rs"]
mod contest;
mod deliveries;
#[path = "../../../examples/throughput/receiver.rs"]
mod receiver;
mod schedules;
mod signatures;
mod smith;

use std::error::Error;

use contest::{Contest, Row};

type AnyError = Box<dyn Error + Send + Sync>;

const KINDS: [&str; 4] = ["verify", "sign", "schedule", "deliveries"];

/// Of what takes nanoseconds, and of what takes seconds.
const ROUNDS: (usize, usize) = (51, 5);

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let mut kinds = Vec::new();
    let (mut rounds, mut deliveries, mut json) = (ROUNDS, 2_000, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<usize, AnyError> {
            let value = arguments.next().ok_or("a number is missing")?;
            Ok(value.parse::<usize>()?.max(1))
        };
        match argument.as_str() {
            "--json" => json = true,
            "--rounds" => rounds = number().map(|rounds| (rounds, rounds))?,
            "--deliveries" => deliveries = number()?,
            kind if KINDS.contains(&kind) => kinds.push(argument),
            _ => return Err(format!("unknown: {argument}").into()),
        }
    }
    if kinds.is_empty() {
        kinds = KINDS.map(str::to_owned).to_vec();
    }
    let mut rows = Vec::new();
    for kind in kinds {
        match kind.as_str() {
            "verify" => rows.extend(signatures::verify(rounds.0)?),
            "sign" => rows.extend(signatures::sign(rounds.0)?),
            "schedule" => rows.extend(schedules::ten_decisions(rounds.0)?),
            _ => rows.extend(deliveries::from_stores(deliveries, rounds.1).await?),
        }
    }
    if json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        println!("{}", serde_json::Value::from(rows));
    } else {
        println!("{}", contest::HEADING);
        for row in rows {
            println!("{row}");
        }
    }
    Ok(())
}
