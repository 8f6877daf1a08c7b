//! Verifying and signing.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method};
use ringback::signature::{
    BiSignature, HmacKey, MaxAge, Message, Scheme, Signer, StandardWebhooks, Verifier,
};
use ringback::system::SystemClock;
use ringback::time::Clock;
use sha2::Sha256;

use crate::{AnyError, Contest, Row};

const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 1024 * 1024];
const PATH: &str = "/hooks/one";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SECRET: &[u8; 24] = b"as long as is usual here";

pub(crate) fn verify(rounds: usize) -> Result<Vec<Row>, AnyError> {
    let key = HmacKey::new(SECRET)?;
    let max_age = MaxAge::minutes(5);
    let bi = Verifier::new(BiSignature::path_only(), [key.clone()], max_age);
    let standard = Verifier::new(StandardWebhooks, [key], max_age);
    let bare = Bare::new()?;
    let svix = svix::webhooks::Webhook::from_bytes(SECRET.to_vec())?;
    let reference = standardwebhooks::Webhook::from_bytes(SECRET.to_vec())?;
    let mut rows = Vec::new();
    for bytes in SIZES {
        let now = SystemClock.now();
        let body = vec![b'x'; bytes];
        let (bi_headers, standard_headers) = (
            signed(BiSignature::path_only(), &body, now)?,
            signed(StandardWebhooks, &body, now)?,
        );
        let covered = covered(&bi_headers, &body)?;
        let mac = bare.sign(&covered);

        // What is measured is what succeeds.
        ring::hmac::verify(&bare.ring, &covered, &mac).map_err(|_| "ring refuses")?;
        aws_lc_rs::hmac::verify(&bare.aws, &covered, &mac).map_err(|_| "aws-lc-rs refuses")?;
        bare.verify(&covered, &mac)?;
        bi.verify(&message(&bi_headers, &body), now)?;
        standard.verify(&message(&standard_headers, &body), now)?;
        svix.verify(&body, &standard_headers)?;
        reference.verify(&body, &standard_headers)?;

        let contest = Contest::new("verify", Some(bytes))
            .with("ring, the HMAC alone", || {
                ring::hmac::verify(&bare.ring, &covered, &mac)
            })
            .with("aws-lc-rs, the HMAC alone", || {
                aws_lc_rs::hmac::verify(&bare.aws, &covered, &mac)
            })
            .with("hmac, the HMAC alone", || bare.verify(&covered, &mac))
            .with("ringback, BI-Signature", || {
                bi.verify(&message(&bi_headers, &body), now)
            })
            .with("ringback, Standard Webhooks", || {
                standard.verify(&message(&standard_headers, &body), now)
            })
            .with("svix", || svix.verify(&body, &standard_headers))
            .with("standardwebhooks", || reference.verify(&body, &standard_headers));
        rows.extend(contest.run(rounds));
    }
    Ok(rows)
}

pub(crate) fn sign(rounds: usize) -> Result<Vec<Row>, AnyError> {
    let key = HmacKey::new(SECRET)?;
    let bi = Signer::new(BiSignature::path_only(), key.clone());
    let standard = Signer::new(StandardWebhooks, key);
    let bare = Bare::new()?;
    let svix = svix::webhooks::Webhook::from_bytes(SECRET.to_vec())?;
    let reference = standardwebhooks::Webhook::from_bytes(SECRET.to_vec())?;
    let mut rows = Vec::new();
    for bytes in SIZES {
        let now = SystemClock.now();
        let body = vec![b'x'; bytes];
        let (mut bi_headers, mut standard_headers) = (with_id(), with_id());
        bi.sign(&Method::POST, PATH, &mut bi_headers, &body, now)?;
        let covered = covered(&bi_headers, &body)?;
        let contest = Contest::new("sign", Some(bytes))
            .with("ring, the HMAC alone", || ring::hmac::sign(&bare.ring, &covered))
            .with("aws-lc-rs, the HMAC alone", || {
                aws_lc_rs::hmac::sign(&bare.aws, &covered)
            })
            .with("hmac, the HMAC alone", || bare.sign(&covered))
            .with("ringback, BI-Signature", || {
                bi.sign(&Method::POST, PATH, &mut bi_headers, &body, now)
            })
            .with("ringback, Standard Webhooks", || {
                standard.sign(&Method::POST, PATH, &mut standard_headers, &body, now)
            })
            .with("svix", || svix.sign(ID, now.timestamp(), &body))
            .with("standardwebhooks", || reference.sign(ID, now.timestamp(), &body));
        rows.extend(contest.run(rounds));
    }
    Ok(rows)
}

/// The same key for those who do nothing but HMAC.
struct Bare {
    ring: ring::hmac::Key,
    aws: aws_lc_rs::hmac::Key,
    hmac: Hmac<Sha256>,
}

impl Bare {
    fn new() -> Result<Self, AnyError> {
        Ok(Self {
            ring: ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET),
            aws: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET),
            hmac: Hmac::new_from_slice(SECRET)?,
        })
    }

    fn of(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.hmac.clone();
        mac.update(bytes);
        mac
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        self.of(bytes).finalize().into_bytes().into()
    }

    fn verify(&self, bytes: &[u8], mac: &[u8; 32]) -> Result<(), hmac::digest::MacError> {
        self.of(bytes).verify(mac.into())
    }
}

fn signed(scheme: impl Scheme, body: &[u8], now: DateTime<Utc>) -> Result<HeaderMap, AnyError> {
    let mut headers = with_id();
    let signer = Signer::new(scheme, HmacKey::new(SECRET)?);
    signer.sign(&Method::POST, PATH, &mut headers, body, now)?;
    Ok(headers)
}

/// The bytes that `BI-Signature` covers.
fn covered(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, AnyError> {
    let mut bytes = Vec::new();
    BiSignature::path_only().canonical(&message(headers, body), &mut |piece| {
        bytes.extend_from_slice(piece)
    })?;
    Ok(bytes)
}

/// What Standard Webhooks signs and `BI-Signature` lets pass.
fn with_id() -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("webhook-id"),
        HeaderValue::from_static(ID),
    )])
}

fn message<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Message<'a> {
    Message {
        method: &Method::POST,
        target: PATH,
        headers,
        body,
    }
}
