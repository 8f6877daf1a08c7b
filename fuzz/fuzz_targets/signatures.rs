#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use chrono::DateTime;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use ringback::signature::{
    BiSignature, Ed25519SigningKey, HmacKey, MaxAge, Message, StandardWebhooks, TruvSignature, Verifier,
    VerifyingKey,
};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    headers: Vec<(u8, &'a [u8])>,
    target: &'a str,
    body: &'a [u8],
    now: i64,
}

const NAMES: [&str; 6] = [
    "bi-signature",
    "bi-signature-date",
    "x-webhook-sign",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

static VERIFIERS: LazyLock<[Verifier; 4]> = LazyLock::new(|| {
    let hmac = || HmacKey::new("a secret that no fuzzer guesses").expect("not empty");
    let ed25519 = Ed25519SigningKey::from_seed(&[7; 32]).verifying_key();
    let both = [VerifyingKey::from(ed25519), VerifyingKey::from(hmac())];
    [
        Verifier::new(BiSignature::path_only(), [hmac()], MaxAge::minutes(5)),
        Verifier::new(BiSignature::path_and_query(), [hmac()], MaxAge::unlimited()),
        Verifier::new(TruvSignature, [hmac()], MaxAge::unlimited()),
        Verifier::new(StandardWebhooks, both, MaxAge::minutes(5)),
    ]
});

fuzz_target!(|input: Input<'_>| {
    let mut headers = HeaderMap::new();
    for (number, value) in input.headers {
        let name = NAMES[usize::from(number) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let message = Message {
        method: &Method::POST,
        target: input.target,
        headers: &headers,
        body: input.body,
    };
    let now = DateTime::from_timestamp_micros(input.now).unwrap_or_default();
    for verifier in &*VERIFIERS {
        assert!(verifier.verify(&message, now).is_err());
    }
});
