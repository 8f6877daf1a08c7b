//! Signatures: every published and computed vector, what must be refused, and what holds for all schemes.

mod powens;
mod standard;
mod truv;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use ringback::signature::{
    BiSignature, Ed25519SigningKey, HmacKey, KeyError, MaxAge, Message, Refusal, Scheme, SignError, Signer,
    SigningKey, StandardWebhooks, TruvSignature, Verifier, VerifyingKey,
};

/// A request with everything that the schemes here look at.
#[derive(Debug, Clone)]
struct Ring {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Ring {
    fn new(target: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        });
        Self {
            method: Method::POST,
            target: target.into(),
            headers: headers.collect(),
            body: body.into(),
        }
    }

    fn message(&self) -> Message<'_> {
        Message {
            method: &self.method,
            target: &self.target,
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn sign(&mut self, signer: &Signer, at: DateTime<Utc>) -> Result<(), SignError> {
        signer.sign(&self.method, &self.target, &mut self.headers, &self.body, at)
    }

    /// Every ring that differs from this one in a bit of the body, the target or a header's value.
    fn one_bit_off(&self) -> Vec<Self> {
        let mut others = Vec::new();
        for body in bit_flips(&self.body) {
            others.push(Self { body, ..self.clone() });
        }
        for target in bit_flips(self.target.as_bytes()) {
            // The top bit would make it no text, and so no request line.
            if let Ok(target) = String::from_utf8(target) {
                others.push(Self {
                    target,
                    ..self.clone()
                });
            }
        }
        for (name, value) in &self.headers {
            for value in bit_flips(value.as_bytes()) {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    let mut other = self.clone();
                    other.headers.insert(name, value);
                    others.push(other);
                }
            }
        }
        others
    }
}

fn bit_flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn verifier(scheme: impl Scheme, key: impl Into<VerifyingKey>) -> Verifier {
    Verifier::new(scheme, [key.into()], MaxAge::minutes(5))
}

fn key(secret: &str) -> HmacKey {
    HmacKey::new(secret).unwrap()
}

/// The ring verifies; with one bit changed, one header left out or doubled, or the signature cut short, it does
/// not.
fn verifies_only_as_it_is(ring: &Ring, signature: &'static str, verifier: &Verifier, now: DateTime<Utc>) {
    assert!(verifier.verify(&ring.message(), now).is_ok(), "{ring:?}");
    for other in ring.one_bit_off() {
        let refusal = verifier.verify(&other.message(), now).unwrap_err();
        assert!(
            matches!(refusal, Refusal::Mismatch | Refusal::MalformedSignature),
            "{refusal:?} {other:?}"
        );
    }
    for name in ring.headers.keys() {
        let mut other = ring.clone();
        other.headers.append(name, ring.headers[name].clone());
        assert_eq!(
            verifier.verify(&other.message(), now),
            Err(Refusal::RepeatedHeader(name.clone()))
        );
        other.headers.remove(name);
        assert_eq!(
            verifier.verify(&other.message(), now),
            Err(Refusal::MissingHeader(name.clone()))
        );
    }
    let whole = ring.headers[signature].clone();
    for length in 0..whole.len() {
        let mut other = ring.clone();
        other.headers.insert(
            signature,
            HeaderValue::from_bytes(&whole.as_bytes()[..length]).unwrap(),
        );
        assert_eq!(
            verifier.verify(&other.message(), now),
            Err(Refusal::MalformedSignature),
            "{length}"
        );
    }
}

/// A ring dated by this text, authentic whatever the text says.
fn dated(date: &str) -> Ring {
    let mac = BiSignature::mac(&key("k"), "POST", "/hook", date, b"{}").to_base64();
    Ring::new(
        "/hook",
        &[("bi-signature", &mac), ("bi-signature-date", date)],
        b"{}",
    )
}

#[test]
fn age_is_judged_of_authentic_messages_only() {
    let now: DateTime<Utc> = "2024-05-01T12:00:00Z".parse().unwrap();
    let judge = |date: &str, max_age: MaxAge| {
        let verifier = Verifier::new(BiSignature::path_only(), [key("k")], max_age);
        let ring = dated(date);
        let mut forged = ring.clone();
        forged.body = b"[]".into();
        assert_eq!(
            verifier.verify(&forged.message(), now),
            Err(Refusal::Mismatch),
            "{date}"
        );
        verifier.verify(&ring.message(), now).map(|_| ())
    };
    let limits = [
        MaxAge::minutes(5),
        MaxAge::unlimited(),
        std::time::Duration::MAX.into(),
    ];
    for (date, expected) in [
        ("2024-05-01T12:00:00Z", [Ok(()), Ok(()), Ok(())]),
        ("2024-05-01T11:55:00Z", [Ok(()), Ok(()), Ok(())]),
        (
            "2024-05-01T11:54:59.999999999Z",
            [Err(Refusal::Stale), Ok(()), Ok(())],
        ),
        ("0001-01-01T00:00:00Z", [Err(Refusal::Stale), Ok(()), Ok(())]),
        ("2024-05-01T12:05:00Z", [Ok(()), Ok(()), Ok(())]),
        (
            "2024-05-01T12:05:00.000000001Z",
            [const { Err(Refusal::FromTheFuture) }; 3],
        ),
        ("9999-12-31T23:59:59Z", [const { Err(Refusal::FromTheFuture) }; 3]),
        ("nonsense", [const { Err(Refusal::MalformedDate) }; 3]),
        ("", [const { Err(Refusal::MalformedDate) }; 3]),
    ] {
        assert_eq!(limits.map(|limit| judge(date, limit)), expected, "{date}");
    }
}

/// A Standard Webhooks message with this timestamp, authentic whatever the text says.
fn timestamped(timestamp: &str) -> Ring {
    // Both schemes join their parts with dots; the body holds the one that Powens has more.
    let mac = BiSignature::mac(&key("k"), "msg_1", timestamp, "1", b"5").to_base64();
    let signature = format!("v1,{mac}");
    let headers = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", &signature),
    ];
    Ring::new("", &headers, b"1.5")
}

#[test]
fn the_ends_of_time_overflow_nothing() {
    let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let judge = |timestamp: i64, now, max_age| {
        let verifier = Verifier::new(StandardWebhooks, [key("k")], max_age);
        verifier
            .verify(&timestamped(&timestamp.to_string()).message(), now)
            .map(|_| ())
    };
    for max_age in [MaxAge::minutes(0), MaxAge::minutes(u32::MAX), MaxAge::unlimited()] {
        for beyond in [i64::MIN, first.timestamp() - 1, last.timestamp() + 1, i64::MAX] {
            assert_eq!(
                judge(beyond, first, max_age),
                Err(Refusal::MalformedDate),
                "{beyond}"
            );
            assert_eq!(
                judge(beyond, last, max_age),
                Err(Refusal::MalformedDate),
                "{beyond}"
            );
        }
        assert_eq!(judge(first.timestamp(), first, max_age), Ok(()));
        assert_eq!(
            judge(last.timestamp(), first, max_age),
            Err(Refusal::FromTheFuture)
        );
    }
    assert_eq!(
        judge(first.timestamp(), last, MaxAge::minutes(u32::MAX)),
        Err(Refusal::Stale)
    );
    assert_eq!(judge(first.timestamp(), last, MaxAge::unlimited()), Ok(()));
    assert_eq!(judge(last.timestamp(), last, MaxAge::minutes(5)), Ok(()));
}

#[test]
fn keys_are_changed_with_an_overlap() {
    let ring = dated("2024-05-01T12:00:00Z");
    let now = "2024-05-01T12:00:00Z".parse().unwrap();
    let with = |secrets: &[&str]| {
        let keys = secrets.iter().map(|secret| key(secret));
        Verifier::new(BiSignature::path_only(), keys, MaxAge::minutes(5))
            .verify(&ring.message(), now)
            .map(|verified| verified.key)
    };
    assert_eq!(with(&["k", "older"]), Ok(0));
    assert_eq!(with(&["next", "k"]), Ok(1));
    assert_eq!(with(&["next", "older"]), Err(Refusal::Mismatch));
    assert_eq!(with(&[]), Err(Refusal::UnknownKey));
}

#[test]
fn an_empty_secret_is_no_key_and_no_key_is_shown() {
    assert_eq!(HmacKey::new("").unwrap_err(), KeyError::Empty);
    assert_eq!(HmacKey::from_whsec("whsec_").unwrap_err(), KeyError::Empty);
    let signer = Signer::new(TruvSignature, key("hunter2"));
    let verifier = Verifier::new(TruvSignature, [key("hunter2")], MaxAge::unlimited());
    for shown in [format!("{signer:?}"), format!("{verifier:?}")] {
        assert!(
            shown.contains("HmacKey(..)") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

fn schemes() -> Vec<(Arc<dyn Scheme>, SigningKey, VerifyingKey)> {
    let private = Ed25519SigningKey::from_seed(&[7; 32]);
    let hmac = |scheme| (scheme, key("k").into(), key("k").into());
    vec![
        hmac(Arc::new(BiSignature::path_only()) as Arc<dyn Scheme>),
        hmac(Arc::new(BiSignature::path_and_query())),
        hmac(Arc::new(BiSignature::verbatim("/x"))),
        hmac(Arc::new(TruvSignature)),
        hmac(Arc::new(StandardWebhooks)),
        (
            Arc::new(StandardWebhooks),
            private.clone().into(),
            private.verifying_key().into(),
        ),
    ]
}

const READ_BY_SCHEMES: [&str; 6] = [
    "bi-signature",
    "bi-signature-date",
    "x-webhook-sign",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

proptest! {
    #[test]
    fn what_is_signed_verifies_and_carries_its_date(
        target in "/[ -~]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..2000),
        micros in -62_135_596_800_000_000_i64..253_402_300_799_999_999,
        age in -300_i64..=299,
    ) {
        let at = DateTime::from_timestamp_micros(micros).unwrap();
        for (scheme, signs, verifies) in schemes() {
            let mut ring = Ring::new(&target, &[("webhook-id", "msg_1")], &body);
            ring.sign(&Signer::new(scheme.clone(), signs), at).unwrap();
            let verified = verifier(scheme, verifies).verify(&ring.message(), at + TimeDelta::seconds(age)).unwrap();
            if let Some(signed_at) = verified.signed_at {
                prop_assert_eq!(signed_at.timestamp(), at.timestamp());
            }
        }
    }

    #[test]
    fn no_header_makes_a_panic_or_a_pass(
        headers in prop::collection::vec(
            (prop::sample::select(&READ_BY_SCHEMES[..]), prop_oneof![
                prop::collection::vec(any::<u8>(), 0..100),
                "(v1=|v1,|v1a,)?[0-9a-zA-Z+/=, ]{0,100}".prop_map(String::into_bytes),
                "-?[0-9]{0,25}".prop_map(String::into_bytes),
            ]),
            0..8,
        ),
        target in ".{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let headers = headers.iter().filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?))
        });
        let ring = Ring { method: Method::POST, target, headers: headers.collect(), body };
        for (scheme, _, verifies) in schemes() {
            prop_assert!(verifier(scheme, verifies).verify(&ring.message(), at(0)).is_err());
        }
    }

    #[test]
    fn no_authentic_date_makes_a_panic(
        date in prop_oneof![
            "[ -~]{0,40}",
            "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,11})?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?",
        ],
        now in any::<i32>(),
    ) {
        for max_age in [MaxAge::minutes(5), MaxAge::unlimited()] {
            let verifier = Verifier::new(BiSignature::path_only(), [key("k")], max_age);
            let refusal = verifier.verify(&dated(&date).message(), at(now.into())).err();
            prop_assert!(matches!(
                refusal,
                None | Some(Refusal::MalformedDate | Refusal::Stale | Refusal::FromTheFuture)
            ));
        }
    }
}
