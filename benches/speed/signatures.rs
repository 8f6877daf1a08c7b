//! Signing and verifying, by every scheme.

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, Method};
use ringback::provider::truelayer::{TlSigner, TlSigningKey, TlVerifier};
use ringback::signature::{
    BiSignature, Ed25519SigningKey, HmacKey, MaxAge, Message, Scheme, Signer, SigningKey, StandardWebhooks,
    TruvSignature, Verifier, VerifyingKey,
};
use ringback::system::SystemClock;
use ringback::time::Clock;

use crate::{AnyError, Contest, Row};

const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 1024 * 1024];
const PATH: &str = "/hooks/one";

pub(crate) fn sign(rounds: usize) -> Result<Vec<Row>, AnyError> {
    let mut rows = Vec::new();
    for bytes in SIZES {
        let now = SystemClock.now();
        let body = vec![b'x'; bytes];
        let mut contest = Contest::new("sign", Some(bytes));
        for Pair { name, signer, .. } in pairs()? {
            let (mut headers, body) = (with_id(), &body);
            contest = contest.with(name, move || {
                signer.sign(&Method::POST, PATH, &mut headers, body, now)
            });
        }
        let (signer, headers) = (TlSigner::new(tl_key()?), with_id());
        let body = &body;
        signer.sign(&message(&headers, body))?;
        contest = contest.with("Tl-Signature", move || signer.sign(&message(&headers, body)));
        rows.extend(contest.run(rounds));
    }
    Ok(rows)
}

pub(crate) fn verify(rounds: usize) -> Result<Vec<Row>, AnyError> {
    let mut rows = Vec::new();
    for bytes in SIZES {
        let now = SystemClock.now();
        let body = vec![b'x'; bytes];
        let mut contest = Contest::new("verify", Some(bytes));
        for Pair {
            name,
            signer,
            verifier,
        } in pairs()?
        {
            let (mut headers, body) = (with_id(), &body);
            signer.sign(&Method::POST, PATH, &mut headers, body, now)?;
            verifier.verify(&message(&headers, body), now)?; // what is measured is what succeeds
            contest = contest.with(name, move || verifier.verify(&message(&headers, body), now));
        }
        let (verifier, headers) = tl_signed(&body, now)?;
        let body = &body;
        verifier.verify(&message(&headers, body), now)?;
        contest = contest.with("Tl-Signature", move || {
            verifier.verify(&message(&headers, body), now)
        });
        rows.extend(contest.run(rounds));
    }
    Ok(rows)
}

/// A scheme of the module `signature`, with a key.
struct Pair {
    name: &'static str,
    signer: Signer,
    verifier: Verifier,
}

impl Pair {
    fn new(
        name: &'static str,
        scheme: impl Scheme + Clone,
        sign: impl Into<SigningKey>,
        verify: impl Into<VerifyingKey>,
    ) -> Self {
        Self {
            name,
            signer: Signer::new(scheme.clone(), sign),
            verifier: Verifier::new(scheme, [verify], MaxAge::minutes(5)),
        }
    }
}

fn pairs() -> Result<[Pair; 4], AnyError> {
    let key = HmacKey::from_whsec("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
    let private = Ed25519SigningKey::from_seed(&[7; 32]);
    let public = private.verifying_key();
    Ok([
        Pair::new("BI-Signature", BiSignature::path_only(), key.clone(), key.clone()),
        Pair::new("Standard Webhooks v1", StandardWebhooks, key.clone(), key.clone()),
        Pair::new("Truv", TruvSignature, key.clone(), key),
        Pair::new("Standard Webhooks v1a", StandardWebhooks, private, public),
    ])
}

fn tl_key() -> Result<TlSigningKey, AnyError> {
    Ok(TlSigningKey::from_scalar("key", &[1; 66])?)
}

fn tl_signed(body: &[u8], now: DateTime<Utc>) -> Result<(TlVerifier, HeaderMap), AnyError> {
    let key = tl_key()?;
    let verifier = TlVerifier::new(key.public(), MaxAge::minutes(5));
    let mut request = http::Request::post(PATH)
        .header("content-type", "application/json")
        .body(body)?;
    TlSigner::new(key).sign_request(&mut request, now)?;
    Ok((verifier, std::mem::take(request.headers_mut())))
}

/// What Standard Webhooks signs, and TrueLayer, and others let pass.
fn with_id() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        "webhook-id",
        HeaderValue::from_static("msg_p5jXN8AQM9LWM0D4loKWxJek"),
    );
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert(
        "x-tl-webhook-timestamp",
        HeaderValue::from_static("2026-01-01T00:00:00Z"),
    );
    headers
}

fn message<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Message<'a> {
    Message {
        method: &Method::POST,
        target: PATH,
        headers,
        body,
    }
}
