//! Every signature vector, signed and verified with no feature on.

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ringback::signature::{
    BiSignature, HmacKey, MaxAge, Message, Refusal, Scheme, Signer, StandardWebhooks, TruvSignature, Verifier,
};
use serde_json::Value;

fn vectors(file: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn headers<const N: usize>(pairs: [(&'static str, &str); N]) -> HeaderMap {
    let header = |(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )
    };
    pairs.into_iter().map(header).collect()
}

/// Signs like the vector, verifies it, and refuses it with another byte at the end of the body.
fn signs_and_verifies<S: Scheme + Clone>(
    scheme: S,
    key: HmacKey,
    target: &str,
    given: HeaderMap,
    expected: HeaderMap,
    body: &[u8],
    at: DateTime<Utc>,
) {
    let mut signed = given;
    let signer = Signer::new(scheme.clone(), key.clone());
    signer.sign(&Method::POST, target, &mut signed, body, at).unwrap();
    assert_eq!(signed, expected);

    let verifier = Verifier::new(scheme, [key], MaxAge::unlimited());
    let message = |body| Message {
        method: &Method::POST,
        target,
        headers: &expected,
        body,
    };
    assert!(verifier.verify(&message(body), at).is_ok());
    let longer = [body, b"."].concat();
    assert_eq!(verifier.verify(&message(&longer), at), Err(Refusal::Mismatch));
}

#[test]
fn powens() {
    let vectors = vectors(include_str!("../../vectors/powens_bi_signature.json"));
    assert_eq!(vectors.len(), 7);
    for vector in vectors {
        let date = text(&vector, "bi_signature_date");
        signs_and_verifies(
            BiSignature::path_and_query(),
            HmacKey::new(text(&vector, "secret_key")).unwrap(),
            text(&vector, "endpoint"),
            HeaderMap::new(),
            headers([
                ("bi-signature", text(&vector, "bi_signature")),
                ("bi-signature-date", date),
            ]),
            &unhex(text(&vector, "body_hex")),
            date.parse().unwrap(),
        );
    }
}

#[test]
fn truv() {
    let vectors = vectors(include_str!("../../vectors/truv_x_webhook_sign.json"));
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        signs_and_verifies(
            TruvSignature,
            HmacKey::new(text(&vector, "secret")).unwrap(),
            "/hook",
            HeaderMap::new(),
            headers([("x-webhook-sign", text(&vector, "x_webhook_sign"))]),
            text(&vector, "body").as_bytes(),
            DateTime::UNIX_EPOCH,
        );
    }
}

#[test]
fn standard_webhooks() {
    let vectors = vectors(include_str!("../../vectors/standard_webhooks.json"));
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let id = text(&vector, "id");
        let timestamp = vector["timestamp"].as_i64().unwrap();
        let body = match vector["body"].as_str() {
            Some(body) => body.as_bytes().to_vec(),
            None => unhex(text(&vector, "body_hex")),
        };
        signs_and_verifies(
            StandardWebhooks,
            HmacKey::from_whsec(text(&vector, "secret")).unwrap(),
            "/hook",
            headers([("webhook-id", id)]),
            headers([
                ("webhook-id", id),
                ("webhook-timestamp", &timestamp.to_string()),
                ("webhook-signature", text(&vector, "signature")),
            ]),
            &body,
            DateTime::from_timestamp(timestamp, 0).unwrap(),
        );
    }
}
