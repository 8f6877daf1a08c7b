//! What the parts take by themselves: signing and verifying by every scheme, decisions of schedules, reading payloads,
//! and what a claim and a settlement take in each store. Prints medians; a word picks what is measured.
//!
//! ```text
//! cargo bench --bench speed -- [sign] [verify] [schedule] [parse] [store] [--rounds N] [--json]
//! ```
//!
//! `store` includes PostgreSQL where `RINGBACK_POSTGRES_URL` names a server. How all of it works together is measured by
//! `examples/throughput`, and `benches/peers` compares it with other libraries.

mod contest;
mod payloads;
mod schedules;
mod signatures;
mod stores;

use std::error::Error;

use contest::{Contest, Row};

type AnyError = Box<dyn Error + Send + Sync>;

const KINDS: [&str; 5] = ["sign", "verify", "schedule", "parse", "store"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let mut kinds = Vec::new();
    let (mut rounds, mut json) = (51, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {} // cargo says so
            "--json" => json = true,
            "--rounds" => {
                let value = arguments.next().ok_or("--rounds needs a value")?;
                rounds = value.parse::<usize>()?.max(1);
            }
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
            "sign" => rows.extend(signatures::sign(rounds)?),
            "verify" => rows.extend(signatures::verify(rounds)?),
            "schedule" => rows.extend(schedules::decide(rounds)),
            "parse" => rows.extend(payloads::parse(rounds)?),
            _ => rows.extend(stores::claim_and_settle(rounds).await?),
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
