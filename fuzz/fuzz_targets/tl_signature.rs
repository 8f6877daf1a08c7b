#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use chrono::DateTime;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use ringback::provider::truelayer::{KeySet, TlSignature, TlSigningKey, TlVerifier};
use ringback::signature::{MaxAge, Message};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    signature: &'a [u8],
    timestamp: &'a [u8],
    target: &'a str,
    now: i64,
    /// A set of keys, and the body.
    json: &'a [u8],
}

static VERIFIER: LazyLock<TlVerifier> = LazyLock::new(|| {
    let key = TlSigningKey::from_scalar("key", &[1; 66]).expect("a scalar of the curve");
    TlVerifier::new(key.public(), MaxAge::unlimited())
});

fuzz_target!(|input: Input<'_>| {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("tl-signature", input.signature),
        ("x-tl-webhook-timestamp", input.timestamp),
    ] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let message = Message {
        method: &Method::POST,
        target: input.target,
        headers: &headers,
        body: input.json,
    };
    let now = DateTime::from_timestamp_micros(input.now).unwrap_or_default();
    assert!(VERIFIER.verify(&message, now).is_err());
    if let Ok(signature) = TlSignature::of(&message) {
        assert!(signature.signed_headers().all(|name| !name.is_empty()));
    }

    if let Ok(keys) = KeySet::parse(input.json) {
        assert_eq!(KeySet::parse(keys.to_json().as_bytes()).ok(), Some(keys));
    }
});
