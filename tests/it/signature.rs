//! Signatures: every published and computed vector, and what must be refused.

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use proptest::prelude::*;
use ringback::signature::{
    BiSignature, Ed25519SigningKey, Ed25519VerifyingKey, HmacKey, KeyError, MaxAge, Message, Refusal, Scheme,
    SignError, Signatures, Signer, SigningKey, StandardWebhooks, TruvSignature, Verifier, VerifyingKey,
};
use serde::Deserialize;

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

#[derive(Deserialize)]
struct PowensFile {
    vectors: Vec<PowensVector>,
}

#[derive(Deserialize)]
struct PowensVector {
    secret_key: String,
    method: String,
    endpoint: String,
    bi_signature_date: String,
    body_hex: String,
    bi_signature: String,
}

fn powens_vectors() -> Vec<PowensVector> {
    let file: PowensFile = serde_json::from_str(include_str!("../vectors/powens_bi_signature.json")).unwrap();
    assert_eq!(file.vectors.len(), 7);
    file.vectors
}

#[test]
fn powens_vectors_sign_and_verify_and_nothing_near_them_does() {
    for vector in powens_vectors() {
        let key = key(&vector.secret_key);
        let body = unhex(&vector.body_hex);
        let mac = BiSignature::mac(
            &key,
            &vector.method,
            &vector.endpoint,
            &vector.bi_signature_date,
            &body,
        );
        assert_eq!(mac.to_base64(), vector.bi_signature);

        let ring = Ring::new(
            &vector.endpoint,
            &[
                ("bi-signature", &vector.bi_signature),
                ("bi-signature-date", &vector.bi_signature_date),
            ],
            &body,
        );
        let now = vector.bi_signature_date.parse().unwrap();

        let mut signed = Ring {
            headers: HeaderMap::new(),
            ..ring.clone()
        };
        signed
            .sign(&Signer::new(BiSignature::path_and_query(), key.clone()), now)
            .unwrap();
        assert_eq!(signed.headers, ring.headers);

        let verifies = verifier(BiSignature::path_and_query(), key);
        verifies_only_as_it_is(&ring, "bi-signature", &verifies, now);
        for secret in bit_flips(vector.secret_key.as_bytes()) {
            let other = verifier(BiSignature::path_and_query(), HmacKey::new(secret).unwrap());
            assert_eq!(other.verify(&ring.message(), now), Err(Refusal::Mismatch));
        }
    }
}

#[test]
fn the_endpoint_is_the_path_unless_told_otherwise() {
    let now = at(1_656_328_132);
    let sign = |scheme: BiSignature, target: &str| {
        let mut ring = Ring::new(target, &[], b"{}");
        ring.sign(&Signer::new(scheme, key("k")), now).unwrap();
        ring.headers["bi-signature"].clone()
    };
    let path = sign(BiSignature::path_only(), "/hook");
    assert_eq!(sign(BiSignature::path_only(), "/hook?tenant=a?b"), path);
    assert_eq!(sign(BiSignature::default(), "/hook?"), path);
    assert_eq!(sign(BiSignature::verbatim("/hook"), "/behind/a/proxy?x"), path);
    assert_ne!(sign(BiSignature::path_only(), "/hook/"), path);
    assert_ne!(
        sign(BiSignature::path_only(), "/%68ook"),
        path,
        "nothing is decoded"
    );
    let both = sign(BiSignature::path_and_query(), "/hook?tenant=a");
    assert_ne!(both, path);
    assert_eq!(sign(BiSignature::verbatim("/hook?tenant=a"), "/"), both);
}

#[test]
fn signing_again_replaces_what_was_signed_before() {
    let signer = Signer::new(BiSignature::path_only(), key("k"));
    let mut request = Request::post("https://example.net/hook?x=1").body("{}").unwrap();
    signer.sign_request(&mut request, at(0)).unwrap();
    let first = request.headers().clone();
    signer.sign_request(&mut request, at(60)).unwrap();
    assert_eq!(request.headers().len(), 2);
    assert_ne!(request.headers()["bi-signature"], first["bi-signature"]);
    let verified = verifier(BiSignature::path_only(), key("k"))
        .verify(&Message::from(&request), at(60))
        .unwrap();
    assert_eq!(verified.signed_at, Some(at(60)));
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
fn a_header_with_room_for_one_holds_the_newest_signature() {
    let mut ring = Ring::new("/hook", &[], b"{}");
    ring.sign(
        &Signer::new(BiSignature::path_only(), key("newest")).also(key("older")),
        at(0),
    )
    .unwrap();
    let verify = |secret| verifier(BiSignature::path_only(), key(secret)).verify(&ring.message(), at(0));
    assert!(verify("newest").is_ok());
    assert_eq!(verify("older"), Err(Refusal::Mismatch));
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

#[derive(Deserialize)]
struct TruvFile {
    vectors: Vec<TruvVector>,
    rfc4231_case_1: Rfc4231Case1,
    rfc4231_case_2: Rfc4231Case2,
}

#[derive(Deserialize)]
struct TruvVector {
    secret: String,
    body: String,
    x_webhook_sign: String,
}

#[derive(Deserialize)]
struct Rfc4231Case1 {
    key_hex: String,
    data_utf8: String,
    hmac_sha256_hex: String,
}

#[derive(Deserialize)]
struct Rfc4231Case2 {
    key_utf8: String,
    data_utf8: String,
    hmac_sha256_hex: String,
}

fn truv_file() -> TruvFile {
    serde_json::from_str(include_str!("../vectors/truv_x_webhook_sign.json")).unwrap()
}

fn truv_signed(key: HmacKey, body: &[u8]) -> Ring {
    let mut ring = Ring::new("", &[], body);
    ring.sign(&Signer::new(TruvSignature, key), at(0)).unwrap();
    ring
}

#[test]
fn truv_vectors_sign_and_verify_and_nothing_near_them_does() {
    for vector in truv_file().vectors {
        let ring = truv_signed(key(&vector.secret), vector.body.as_bytes());
        assert_eq!(ring.headers["x-webhook-sign"], vector.x_webhook_sign);
        verifies_only_as_it_is(
            &ring,
            "x-webhook-sign",
            &verifier(TruvSignature, key(&vector.secret)),
            at(0),
        );
    }
}

#[test]
fn truv_takes_its_own_spelling_only() {
    let ring = truv_signed(key("k"), b"{}");
    let right = ring.headers["x-webhook-sign"].to_str().unwrap();
    for wrong in [
        right.to_uppercase(),
        right.replace("v1=", ""),
        right.replace("v1=", "v2="),
        format!("{right}00"),
    ] {
        let other = Ring::new("", &[("x-webhook-sign", &wrong)], b"{}");
        let refusal = verifier(TruvSignature, key("k")).verify(&other.message(), at(0));
        assert_eq!(refusal, Err(Refusal::MalformedSignature), "{wrong}");
    }
}

/// Truv signs the body alone, so its scheme shows the bare HMAC.
#[test]
fn rfc_4231() {
    let TruvFile {
        rfc4231_case_1: one,
        rfc4231_case_2: two,
        ..
    } = truv_file();
    let mut cases = vec![
        (
            unhex(&one.key_hex),
            one.data_utf8.into_bytes(),
            one.hmac_sha256_hex,
        ),
        (
            two.key_utf8.into_bytes(),
            two.data_utf8.into_bytes(),
            two.hmac_sha256_hex,
        ),
    ];
    let (long, very_long) = (vec![0xaa; 20], vec![0xaa; 131]);
    let counted: Vec<u8> = (1..=25).collect();
    for (key, data, mac) in [
        (&long, &[0xdd; 50][..], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&counted, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (
            &very_long,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &very_long,
            b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ] {
        cases.push((key.clone(), data.to_vec(), mac.into()));
    }
    for (secret, data, mac) in cases {
        let ring = truv_signed(HmacKey::new(secret).unwrap(), &data);
        assert_eq!(ring.headers["x-webhook-sign"], format!("v1={mac}"));
    }
}

#[derive(Deserialize)]
struct StandardFile {
    vectors: Vec<StandardVector>,
}

#[derive(Deserialize)]
struct StandardVector {
    secret: String,
    id: String,
    timestamp: i64,
    body: Option<String>,
    body_hex: Option<String>,
    signature: String,
}

fn standard_ring(key: &SigningKey, at: DateTime<Utc>) -> Ring {
    let mut ring = Ring::new("", &[("webhook-id", "msg_1")], b"{}");
    ring.sign(&Signer::new(StandardWebhooks, key.clone()), at)
        .unwrap();
    ring
}

#[test]
fn standard_webhooks_vectors_sign_and_verify_and_nothing_near_them_does() {
    let file: StandardFile = serde_json::from_str(include_str!("../vectors/standard_webhooks.json")).unwrap();
    assert_eq!(file.vectors.len(), 2);
    for vector in file.vectors {
        let body = vector
            .body
            .map(String::into_bytes)
            .unwrap_or_else(|| unhex(&vector.body_hex.unwrap()));
        let key = HmacKey::from_whsec(&vector.secret).unwrap();
        let mut ring = Ring::new("", &[("webhook-id", &vector.id)], &body);
        ring.sign(&Signer::new(StandardWebhooks, key.clone()), at(vector.timestamp))
            .unwrap();
        assert_eq!(ring.headers["webhook-signature"], vector.signature);
        let now = at(vector.timestamp);
        verifies_only_as_it_is(&ring, "webhook-signature", &verifier(StandardWebhooks, key), now);
    }
}

/// RFC 8032, section 7.1, test 1: the key pair, as both texts that are in use.
const WHSK: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const WHSK_PAIR: &str =
    "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
const WHPK: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

#[test]
fn v1a_signs_and_verifies_and_nothing_near_it_does() {
    let private = Ed25519SigningKey::from_whsk(WHSK_PAIR).unwrap();
    assert_eq!(
        private.verifying_key(),
        Ed25519SigningKey::from_whsk(WHSK).unwrap().verifying_key()
    );
    let public = Ed25519VerifyingKey::from_whpk(WHPK).unwrap();
    assert_eq!(private.verifying_key(), public);

    let ring = standard_ring(&private.clone().into(), at(1_700_000_000));
    assert!(
        ring.headers["webhook-signature"]
            .to_str()
            .unwrap()
            .starts_with("v1a,")
    );
    verifies_only_as_it_is(
        &ring,
        "webhook-signature",
        &verifier(StandardWebhooks, public),
        at(1_700_000_000),
    );
    let other = Ed25519SigningKey::from_seed(&[7; 32]).verifying_key();
    let refusal = verifier(StandardWebhooks, other).verify(&ring.message(), at(1_700_000_000));
    assert_eq!(refusal, Err(Refusal::Mismatch));
    assert!(!format!("{private:?}").contains("nWGx"));
}

#[test]
fn one_header_holds_the_signatures_of_several_keys_and_kinds() {
    let (newest, older) = (key("newest"), key("older"));
    let private = Ed25519SigningKey::from_whsk(WHSK).unwrap();
    let signer = Signer::new(StandardWebhooks, newest.clone())
        .also(private.clone())
        .also(older.clone());
    let mut ring = Ring::new("", &[("webhook-id", "msg_1")], b"{}");
    ring.sign(&signer, at(0)).unwrap();

    let verify =
        |ring: &Ring, key: VerifyingKey| verifier(StandardWebhooks, key).verify(&ring.message(), at(0));
    for key in [
        newest.clone().into(),
        older.into(),
        private.verifying_key().into(),
    ] {
        assert!(verify(&ring, key).is_ok());
    }
    assert_eq!(verify(&ring, key("stranger").into()), Err(Refusal::Mismatch));

    let v1a_only = standard_ring(&private.into(), at(0));
    assert_eq!(verify(&v1a_only, newest.into()), Err(Refusal::UnknownKey));
}

#[test]
fn entries_of_unknown_versions_are_skipped_and_too_many_refused() {
    let ring = standard_ring(&key("k").into(), at(0));
    let right = ring.headers["webhook-signature"].to_str().unwrap().to_owned();
    let with = |value: &str| {
        let mut other = ring.clone();
        other
            .headers
            .insert("webhook-signature", HeaderValue::from_str(value).unwrap());
        verifier(StandardWebhooks, key("k"))
            .verify(&other.message(), at(0))
            .map(|_| ())
    };
    let wrong = format!("v1,{}", "A".repeat(43) + "=");
    for value in [
        format!("v2,what-ever {right}"),
        format!("{right} v1a,x v9 , ,,"),
        format!(" {right}  "),
        format!("v1,truncated= {right}"),
        format!("{wrong} {right}"),
    ] {
        assert_eq!(with(&value), Ok(()), "{value}");
    }
    for value in [
        "",
        " ",
        "v1,",
        "v1",
        "v2,abc",
        &right[3..],
        &right.replace("v1,", "v1a,"),
    ] {
        assert_eq!(with(value), Err(Refusal::MalformedSignature), "{value}");
    }
    assert_eq!(with(&wrong), Err(Refusal::Mismatch));
    assert_eq!(
        with(&format!(
            "{}{right}",
            format!("{wrong} ").repeat(Signatures::LIMIT - 1)
        )),
        Ok(())
    );
    let too_many = format!("{}{right}", format!("{wrong} ").repeat(Signatures::LIMIT));
    assert_eq!(with(&too_many), Err(Refusal::TooManySignatures));
}

#[test]
fn what_cannot_be_signed_is_said() {
    let signer = Signer::new(StandardWebhooks, key("k"));
    let refusal = Ring::new("", &[], b"{}").sign(&signer, at(0)).unwrap_err();
    let missing = HeaderName::from_static("webhook-id");
    assert!(matches!(refusal, SignError::Unsignable(Refusal::MissingHeader(name)) if name == missing));

    let private = Ed25519SigningKey::from_seed(&[7; 32]);
    let signer = Signer::new(TruvSignature, private);
    let refusal = Ring::new("", &[], b"{}").sign(&signer, at(0)).unwrap_err();
    assert!(matches!(refusal, SignError::KeyKind));
}

#[test]
fn keys_of_standard_webhooks_have_their_lengths() {
    let whsec = |text: &str| HmacKey::from_whsec(text).map(|_| ());
    let of = |length: usize| {
        // Zeros: four letters stand for three bytes, padded at the end.
        let (groups, rest) = (length / 3, length % 3);
        format!("whsec_{}{}", "AAAA".repeat(groups), ["", "AA==", "AAA="][rest])
    };
    for length in 24..=64 {
        assert_eq!(whsec(&of(length)), Ok(()), "{length}");
    }
    for length in [1, 23, 65, 1000] {
        assert_eq!(whsec(&of(length)), Err(KeyError::Length), "{length}");
    }
    assert_eq!(
        whsec("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        Ok(()),
        "the prefix may be left out"
    );
    assert_eq!(whsec("whsec_not base64"), Err(KeyError::NotBase64));

    let whsk = |text: &str| Ed25519SigningKey::from_whsk(text).map(|_| ());
    assert_eq!(whsk("whsk_AAAA"), Err(KeyError::Length));
    assert_eq!(whsk(&WHSK_PAIR.replace("DXWp", "DXWq")), Err(KeyError::Unsafe));
    let whpk = |text: &str| Ed25519VerifyingKey::from_whpk(text).map(|_| ());
    assert_eq!(whpk("whpk_AAAA"), Err(KeyError::Length));
    let everyone_can_sign = format!("whpk_AQ{}=", "A".repeat(41));
    assert_eq!(whpk(&everyone_can_sign), Err(KeyError::Unsafe));
}

fn schemes() -> Vec<(std::sync::Arc<dyn Scheme>, SigningKey, VerifyingKey)> {
    let private = Ed25519SigningKey::from_seed(&[7; 32]);
    let hmac = |scheme| (scheme, key("k").into(), key("k").into());
    vec![
        hmac(std::sync::Arc::new(BiSignature::path_only()) as std::sync::Arc<dyn Scheme>),
        hmac(std::sync::Arc::new(BiSignature::path_and_query())),
        hmac(std::sync::Arc::new(BiSignature::verbatim("/x"))),
        hmac(std::sync::Arc::new(TruvSignature)),
        hmac(std::sync::Arc::new(StandardWebhooks)),
        (
            std::sync::Arc::new(StandardWebhooks),
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
