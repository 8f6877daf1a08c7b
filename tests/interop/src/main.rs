//! Signs and verifies on request: a JSON object a line in, a JSON object a line out.

mod standard_webhooks;
mod truelayer;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, Request};
use ringback::signature::Refusal;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    Sign(standard_webhooks::Exchange),
    Verify(standard_webhooks::Exchange),
    TlSign(truelayer::Signing),
    TlVerify(truelayer::Verifying),
}

/// A request, and when it is signed or verified.
#[derive(Deserialize)]
struct Message {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    /// In base64.
    body: String,
    /// In seconds since 1970.
    now: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// The headers after signing.
    Headers(BTreeMap<String, String>),
    Verified,
    Refused(String),
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Command::Sign(exchange) => standard_webhooks::sign(&exchange)?,
            Command::Verify(exchange) => standard_webhooks::verify(&exchange)?,
            Command::TlSign(signing) => truelayer::sign(&signing)?,
            Command::TlVerify(verifying) => truelayer::verify(&verifying)?,
        };
        serde_json::to_writer(&mut stdout, &answer)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}

impl Message {
    fn request(&self) -> Outcome<Request<Vec<u8>>> {
        let mut request = Request::builder()
            .method(&*self.method)
            .uri(&self.target)
            .body(STANDARD.decode(&self.body)?)?;
        for (name, value) in &self.headers {
            request
                .headers_mut()
                .insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(request)
    }

    fn instant(&self) -> Outcome<DateTime<Utc>> {
        Ok(DateTime::from_timestamp(self.now, 0).ok_or("no such instant")?)
    }
}

impl Answer {
    fn headers_of(request: &Request<Vec<u8>>) -> Outcome<Self> {
        let text = |value: &HeaderValue| Outcome::Ok(value.to_str()?.to_owned());
        let headers = request.headers().iter();
        headers
            .map(|(name, value)| Ok((name.to_string(), text(value)?)))
            .collect::<Outcome<_>>()
            .map(Self::Headers)
    }

    fn verdict<T>(verified: Result<T, Refusal>) -> Self {
        match verified {
            Ok(_) => Self::Verified,
            Err(refusal) => Self::Refused(refusal.to_string()),
        }
    }
}
