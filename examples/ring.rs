//! Sends a realistic, correctly signed webhook to a receiver of yours, so that it can be tried without an account at
//! the provider. Each ring is a new message: it has ids of its own.
//!
//! ```text
//! cargo run --example ring -- PROVIDER EVENT URL [--secret S] [--gzip] [--bad-signature] [--stale] [--replay]
//! cargo run --example ring -- powens CONNECTION_SYNCED http://127.0.0.1:3000/hooks/powens/CONNECTION_SYNCED
//! cargo run --example ring -- truelayer keys                     # the public keys that its payments are signed with
//! cargo run --example ring                                       # says which providers and events there are
//! ```
//!
//! - `--secret`: what both sides know. By default `ring-ring`; for standard_webhooks a `whsec_…` that is printed. For
//!   providers that sign nothing (Yodlee, TrueLayer's Data API v1), it is put into the URL as `?secret=…`.
//! - `--gzip`: compresses the body, and signs the compressed bytes.
//! - `--bad-signature`: signs with another secret.
//! - `--stale`: signs with the date of an hour ago.
//! - `--replay`: sends the very same request twice.

use std::error::Error;
use std::io::Write;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use ringback::provider::truelayer::{SecretParameter, TlSigner, TlSigningKey, TlVerifier};
use ringback::secret::Secret;
use ringback::signature::{BiSignature, HmacKey, Signer, StandardWebhooks, TruvSignature};
use ringback::system::SystemClock;
use ringback::time::Clock;
use ringback::transport::{Guard, HttpSender, HyperSender, ResponseLimits};

type AnyError = Box<dyn Error + Send + Sync>;

const SECRET: &str = "ring-ring";
const OTHER_SECRET: &str = "wrong number";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_WHSEC: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

macro_rules! samples {
    ($($provider:literal / $event:literal,)*) => {
        [
            $(($provider, $event, include_str!(concat!("../tests/samples/", $provider, "/", $event, ".json")))),*,
            ("standard_webhooks", "invoice.paid", r#"{"type":"invoice.paid","data":{"number":"A-17"}}"#),
        ]
    };
}
/// What each provider sends, from the crate's samples: provider, event, body.
const SAMPLES: &[(&str, &str, &str)] = &samples![
    "powens" / "ACCOUNTS_FETCHED",
    "powens" / "ACCOUNT_SYNCED",
    "powens" / "CONNECTION_DELETED",
    "powens" / "CONNECTION_SYNCED",
    "powens" / "PAYMENT_STATE_UPDATED",
    "powens" / "USER_CREATED",
    "powens" / "USER_DELETED",
    "truelayer" / "webhook-succeeded",
    "truelayer" / "webhook-failed",
    "truelayer" / "payment_executed.webhook",
    "truelayer" / "payment_failed.webhook",
    "truv" / "link-connected",
    "truv" / "order-status-updated",
    "truv" / "profile-created",
    "truv" / "task-status-updated",
    "yodlee" / "AUTO_REFRESH_UPDATES",
    "yodlee" / "DATA_UPDATES.USER_DATA",
    "yodlee" / "REFRESH.PROCESS_COMPLETED",
];

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => print_samples(),
        ["truelayer", "keys"] => println!("{}", truelayer_key()?.public().to_json()),
        words => {
            for status in ring(words).await? {
                println!("{status}");
            }
        }
    }
    Ok(())
}

/// Rings as the command line says. What was answered, to each request that was sent.
pub(crate) async fn ring(words: &[&str]) -> Result<Vec<StatusCode>, AnyError> {
    let order = Order::read(words)?;
    let request = order.request(SystemClock.now())?;
    let guard = Guard::default()
        .allow_http()
        .allow_loopback()
        .dangerous_allow_private();
    let sender = HyperSender::builder().guard(guard).build();
    let mut answers = Vec::new();
    for _copy in 0..if order.has("--replay") { 2 } else { 1 } {
        let response = sender.send(request.clone(), &ResponseLimits::default()).await?;
        answers.push(response.status());
    }
    Ok(answers)
}

struct Order<'a> {
    provider: &'a str,
    event: &'a str,
    url: Uri,
    secret: Option<&'a str>,
    flags: Vec<&'a str>,
    body: &'static str,
}

impl<'a> Order<'a> {
    fn read(words: &[&'a str]) -> Result<Self, AnyError> {
        let &[provider, event, url, ref options @ ..] = words else {
            return Err("PROVIDER EVENT URL [options]".into());
        };
        let is_asked = |sample: &&(&str, &str, &str)| (sample.0, sample.1) == (provider, event);
        let sample = SAMPLES.iter().find(is_asked);
        let mut order = Self {
            provider,
            event,
            url: url.parse()?,
            secret: None,
            flags: Vec::new(),
            body: sample
                .ok_or("no such sample; run it without arguments to see which there are")?
                .2,
        };
        let mut options = options.iter();
        while let Some(&option) = options.next() {
            match option {
                "--secret" => order.secret = Some(options.next().ok_or("--secret S")?),
                "--gzip" | "--bad-signature" | "--stale" | "--replay" => order.flags.push(option),
                _ => return Err(format!("there is no {option}").into()),
            }
        }
        Ok(order)
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// The request, signed as the provider would; or as it would not.
    fn request(&self, now: DateTime<Utc>) -> Result<Request<Bytes>, AnyError> {
        let body = fresh(self.body, now);
        let mut request = Request::post(self.url.clone()).body(Bytes::from(body.into_bytes()))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.has("--gzip") {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            *request.body_mut() = gzip(request.body())?;
        }
        let at = now
            - if self.has("--stale") {
                TimeDelta::hours(1)
            } else {
                TimeDelta::zero()
            };
        self.prove(&mut request, at)?;
        Ok(request)
    }

    fn prove(&self, request: &mut Request<Bytes>, at: DateTime<Utc>) -> Result<(), AnyError> {
        let secret = match (self.has("--bad-signature"), self.secret) {
            (true, _) => OTHER_SECRET,
            (false, secret) => secret.unwrap_or(SECRET),
        };
        match self.provider {
            "powens" => {
                Signer::new(BiSignature::path_only(), HmacKey::new(secret)?).sign_request(request, at)?
            }
            "truv" if self.has("--stale") => {
                return Err("Truv signs no date, so nothing of Truv's is stale".into());
            }
            "truv" => Signer::new(TruvSignature, HmacKey::new(secret)?).sign_request(request, at)?,
            "standard_webhooks" => {
                let whsec = match (self.has("--bad-signature"), self.secret) {
                    (true, _) => OTHER_WHSEC,
                    (false, secret) => secret.unwrap_or(WHSEC),
                };
                let id = format!("msg_{}", at.timestamp_micros());
                request.headers_mut().insert("webhook-id", id.parse()?);
                Signer::new(StandardWebhooks, HmacKey::from_whsec(whsec)?).sign_request(request, at)?;
            }
            "truelayer" if self.event.starts_with("payment") => {
                let key = if self.has("--bad-signature") {
                    other_truelayer_key()?
                } else {
                    truelayer_key()?
                };
                TlSigner::new(key)
                    .published_at(TlVerifier::SANDBOX_KEYS)
                    .sign_request(request, at)?;
            }
            // Nothing is signed, so nothing is dated.
            _ if self.has("--stale") => {
                return Err("this provider signs no date, so nothing of it is stale".into());
            }
            _ => *request.uri_mut() = SecretParameter::new("secret").put(&self.url, &Secret::from(secret))?,
        }
        Ok(())
    }
}

/// The body as a message of its own: with another id where the sample has its id.
fn fresh(body: &str, now: DateTime<Utc>) -> String {
    let number = now.timestamp_micros();
    let is_digit = |c: char| c.is_ascii_digit();
    for name in [
        "\"id_webhook_data\":",
        "\"webhook_id\":",
        "\"notificationId\":",
        "\"event_id\":",
        "\"task_id\":",
    ] {
        let Some(at) = body.find(name).map(|at| at + name.len()) else {
            continue;
        };
        let value = body[at..]
            .split([',', '}', '\n'])
            .next()
            .unwrap_or_default()
            .trim();
        let new = if value.starts_with(is_digit) {
            number.to_string()
        } else {
            format!("\"{number:032x}\"")
        };
        // Where there is a URL with the id in it, there too.
        return body.replace(value.trim_matches('"'), new.trim_matches('"'));
    }
    body.to_owned()
}

fn gzip(body: &[u8]) -> Result<Bytes, AnyError> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}

/// Not a secret: it is in this file.
fn truelayer_key() -> Result<TlSigningKey, AnyError> {
    Ok(TlSigningKey::from_scalar("ring", &[1; 66])?)
}

fn other_truelayer_key() -> Result<TlSigningKey, AnyError> {
    let mut scalar = [1; 66];
    scalar[65] = 2;
    Ok(TlSigningKey::from_scalar("ring", &scalar)?)
}

fn print_samples() {
    println!("PROVIDER EVENT URL [--secret S] [--gzip] [--bad-signature] [--stale] [--replay]\n");
    for (provider, event, _) in SAMPLES {
        println!("{provider} {event}");
    }
    println!("\nsecret: {SECRET}; for standard_webhooks {WHSEC}");
}
