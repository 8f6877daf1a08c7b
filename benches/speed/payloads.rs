//! Reading payloads: what each provider publishes as a sample.

use bytes::Bytes;
use ringback::provider::{powens, truelayer, truv, yodlee};

use crate::{AnyError, Contest, Row};

const TRUELAYER: &[u8] = include_bytes!("../../tests/samples/truelayer/payment_executed.webhook.json");
const TRUV: &[u8] = include_bytes!("../../tests/samples/truv/employment-updated.json");
const POWENS: &[u8] = include_bytes!("../../tests/samples/powens/CONNECTION_SYNCED.json");
const YODLEE: &[u8] = include_bytes!("../../tests/samples/yodlee/REFRESH.PROCESS_COMPLETED.json");

pub(crate) fn parse(rounds: usize) -> Result<Vec<Row>, AnyError> {
    let mut rows = one("TrueLayer", TRUELAYER, rounds, truelayer::SignedEvent::parse)?;
    rows.extend(one("Truv", TRUV, rounds, truv::Event::parse)?);
    let (name, body) = (
        powens::EventName::from("CONNECTION_SYNCED"),
        Bytes::from_static(POWENS),
    );
    let read = |_: &[u8]| powens::Event::parse(&name, Some("application/json"), &body);
    rows.extend(one("Powens", POWENS, rounds, read)?);
    rows.extend(one("Yodlee", YODLEE, rounds, yodlee::Event::parse)?);
    Ok(rows)
}

/// Each by itself, since samples have different lengths. Reading them as JSON of any shape is what it is compared with.
fn one<T, E: Into<AnyError>>(
    provider: &'static str,
    body: &'static [u8],
    rounds: usize,
    read: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<Vec<Row>, AnyError> {
    read(body).map_err(Into::into)?;
    Ok(Contest::new("parse", Some(body.len()))
        .with(provider, || read(body))
        .with("serde_json::Value", || {
            serde_json::from_slice::<serde_json::Value>(body)
        })
        .run(rounds))
}
