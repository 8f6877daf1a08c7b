//! Signs and verifies on request: a JSON object a line in, a JSON object a line out.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ringback::signature::{
    Ed25519SigningKey, Ed25519VerifyingKey, HmacKey, MaxAge, Message, Signer, SigningKey, StandardWebhooks,
    Verifier, VerifyingKey,
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Command {
    Sign(Exchange),
    Verify(Exchange),
}

/// A message, and what to sign or verify it with.
#[derive(Deserialize)]
struct Exchange {
    /// `whsec_` for either, `whsk_` to sign, `whpk_` to verify; the newest first.
    keys: Vec<String>,
    headers: BTreeMap<String, String>,
    /// In base64.
    body: String,
    /// In seconds since 1970.
    now: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Headers(BTreeMap<String, String>),
    Verified,
    Refused(String),
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Command::Sign(exchange) => sign(exchange)?,
            Command::Verify(exchange) => verify(exchange)?,
        };
        serde_json::to_writer(&mut stdout, &answer)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}

fn sign(exchange: Exchange) -> Outcome<Answer> {
    let mut keys = exchange.keys.iter().map(|text| signing_key(text));
    let newest = keys.next().ok_or("no key")??;
    let signer = keys.try_fold(Signer::new(StandardWebhooks, newest), |signer, key| {
        Outcome::Ok(signer.also(key?))
    })?;
    let (mut headers, body) = parts(&exchange)?;
    let at = DateTime::from_timestamp(exchange.now, 0).ok_or("no such instant")?;
    signer.sign(&Method::POST, "/hook", &mut headers, &body, at)?;
    let text = |value: &HeaderValue| Outcome::Ok(value.to_str()?.to_owned());
    let headers = headers
        .iter()
        .map(|(name, value)| Ok((name.to_string(), text(value)?)))
        .collect::<Outcome<_>>()?;
    Ok(Answer::Headers(headers))
}

fn verify(exchange: Exchange) -> Outcome<Answer> {
    let keys = exchange
        .keys
        .iter()
        .map(|text| verifying_key(text))
        .collect::<Outcome<Vec<_>>>()?;
    let (headers, body) = parts(&exchange)?;
    let message = Message {
        method: &Method::POST,
        target: "/hook",
        headers: &headers,
        body: &body,
    };
    let now = DateTime::from_timestamp(exchange.now, 0).ok_or("no such instant")?;
    let verifier = Verifier::new(StandardWebhooks, keys, MaxAge::minutes(5));
    Ok(match verifier.verify(&message, now) {
        Ok(_) => Answer::Verified,
        Err(refusal) => Answer::Refused(refusal.to_string()),
    })
}

fn parts(exchange: &Exchange) -> Outcome<(HeaderMap, Vec<u8>)> {
    let mut headers = HeaderMap::new();
    for (name, value) in &exchange.headers {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok((headers, STANDARD.decode(&exchange.body)?))
}

fn signing_key(text: &str) -> Outcome<SigningKey> {
    Ok(if text.starts_with("whsk_") {
        Ed25519SigningKey::from_whsk(text)?.into()
    } else {
        HmacKey::from_whsec(text)?.into()
    })
}

fn verifying_key(text: &str) -> Outcome<VerifyingKey> {
    Ok(if text.starts_with("whpk_") {
        Ed25519VerifyingKey::from_whpk(text)?.into()
    } else {
        HmacKey::from_whsec(text)?.into()
    })
}
