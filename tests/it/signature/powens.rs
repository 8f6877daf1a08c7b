//! `BI-Signature`.

use http::{HeaderMap, Request};
use ringback::signature::{BiSignature, HmacKey, Message, Refusal, Signer};
use serde::Deserialize;

use super::{Ring, at, bit_flips, key, unhex, verifier, verifies_only_as_it_is};

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
    let file: PowensFile =
        serde_json::from_str(include_str!("../../vectors/powens_bi_signature.json")).unwrap();
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
