//! Standard Webhooks, `v1` and `v1a`.

use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue};
use ringback::signature::{
    Ed25519SigningKey, Ed25519VerifyingKey, HmacKey, KeyError, Refusal, SignError, Signatures, Signer,
    SigningKey, StandardWebhooks, VerifyingKey,
};
use serde::Deserialize;

use super::{Ring, at, key, unhex, verifier, verifies_only_as_it_is};

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
    let file: StandardFile =
        serde_json::from_str(include_str!("../../vectors/standard_webhooks.json")).unwrap();
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
fn a_message_without_an_id_is_not_signed() {
    let signer = Signer::new(StandardWebhooks, key("k"));
    let refusal = Ring::new("", &[], b"{}").sign(&signer, at(0)).unwrap_err();
    let missing = HeaderName::from_static("webhook-id");
    assert!(matches!(refusal, SignError::Unsignable(Refusal::MissingHeader(name)) if name == missing));
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
