//! `X-WEBHOOK-SIGN`.

use ringback::signature::{Ed25519SigningKey, HmacKey, Refusal, SignError, Signer, TruvSignature};
use serde::Deserialize;

use super::{Ring, at, key, unhex, verifier, verifies_only_as_it_is};

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
    serde_json::from_str(include_str!("../../vectors/truv_x_webhook_sign.json")).unwrap()
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

#[test]
fn truv_has_no_room_for_other_kinds_of_key() {
    let signer = Signer::new(TruvSignature, Ed25519SigningKey::from_seed(&[7; 32]));
    let refusal = Ring::new("", &[], b"{}").sign(&signer, at(0)).unwrap_err();
    assert!(matches!(refusal, SignError::KeyKind));
}
