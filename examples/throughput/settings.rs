//! What a run is to be like.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use bytes::Bytes;
use http::{Request, StatusCode};
use ringback::signature::{BiSignature, HmacKey, MaxAge, Message, Verifier};
use ringback::system::SystemClock;
use ringback::time::Clock;

use super::AnyError;
use super::receiver::Check;

/// The secret that both sides share.
pub(crate) const SECRET: &str = "the secret of every webhook here";

/// The path that is signed.
pub(crate) const PATH: &str = "/hooks/throughput";

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) store: StoreKind,
    pub(crate) sender: SenderKind,
    pub(crate) deliveries: usize,
    pub(crate) webhooks: usize,
    pub(crate) payload: usize,
    pub(crate) workers: usize,
    pub(crate) in_flight: usize,
    pub(crate) ahead: usize,
    pub(crate) batch: usize,
    pub(crate) paced: usize,
    pub(crate) backlog: usize,
    pub(crate) history: usize,
    pub(crate) json: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum StoreKind {
    Memory,
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy)]
pub(crate) enum SenderKind {
    Hyper,
    Reqwest,
}

impl Settings {
    pub(crate) fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, AnyError> {
        let mut settings = Self {
            store: StoreKind::Memory,
            sender: SenderKind::Hyper,
            deliveries: 100_000,
            webhooks: 16,
            payload: 1024,
            workers: 0, // by the store
            in_flight: 64,
            ahead: 1024,
            batch: 0, // by the store
            paced: 1_000,
            backlog: 0,
            history: 0,
            json: false,
        };
        while let Some(name) = arguments.next() {
            if name == "--json" {
                settings.json = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let at_least_one = || value.parse().map(|number: usize| number.max(1));
            match name.as_str() {
                "--store" => settings.store = value.parse()?,
                "--sender" => settings.sender = value.parse()?,
                "--deliveries" => settings.deliveries = at_least_one()?,
                "--webhooks" => settings.webhooks = at_least_one()?,
                "--payload" => settings.payload = value.parse()?,
                "--workers" => settings.workers = at_least_one()?,
                "--in-flight" => settings.in_flight = at_least_one()?,
                "--ahead" => settings.ahead = at_least_one()?,
                "--batch" => settings.batch = at_least_one()?,
                "--paced" => settings.paced = value.parse()?,
                "--backlog" => settings.backlog = value.parse()?,
                "--history" => settings.history = value.parse()?,
                _ => return Err(format!("unknown: {name}").into()),
            }
        }
        if settings.batch == 0 {
            settings.batch = match settings.store {
                StoreKind::Memory | StoreKind::Sqlite => 64,
                StoreKind::Postgres => 256,
            };
        }
        if settings.workers == 0 {
            settings.workers = match settings.store {
                StoreKind::Memory => 1,
                StoreKind::Sqlite | StoreKind::Postgres => {
                    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
                }
            };
        }
        settings.ahead = settings.ahead.max(settings.batch);
        Ok(settings)
    }

    /// The body with that number: JSON of the length asked for, or as short as it can be.
    pub(crate) fn body(&self, number: usize) -> Bytes {
        let mut body = format!(r#"{{"id":"{number:016}","data":""#);
        let end = r#""}"#;
        let filling = self.payload.saturating_sub(body.len() + end.len());
        body += &"x".repeat(filling);
        body += end;
        body.into()
    }
}

/// What the receiver asks of each request.
pub(crate) fn check() -> Result<Box<Check>, AnyError> {
    let verifier = Verifier::new(
        BiSignature::path_only(),
        [HmacKey::new(SECRET)?],
        MaxAge::minutes(5),
    );
    Ok(Box::new(move |request: &Request<Bytes>| {
        verifier
            .verify(&Message::from(request), SystemClock.now())
            .map_err(|_| StatusCode::UNAUTHORIZED)?;
        number_of(request.body()).ok_or(StatusCode::UNPROCESSABLE_ENTITY)
    }))
}

/// The number that [`Settings::body`] was given.
fn number_of(body: &[u8]) -> Option<usize> {
    let start = r#"{"id":""#.len();
    let digits = body.get(start..start + 16)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl FromStr for StoreKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "memory" => Ok(Self::Memory),
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => Ok(Self::Postgres),
            _ => Err(format!("no store: {name}")),
        }
    }
}

impl FromStr for SenderKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "hyper" => Ok(Self::Hyper),
            "reqwest" => Ok(Self::Reqwest),
            _ => Err(format!("no sender: {name}")),
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

impl fmt::Display for SenderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hyper => "hyper",
            Self::Reqwest => "reqwest",
        })
    }
}
