//! `Tl-Signature`: the published webhook, what must be refused, and the way there and back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use proptest::prelude::*;
use ringback::json::UrlText;
use ringback::provider::truelayer::{
    KeySet, KeySetError, TlKeyError, TlSignature, TlSigner, TlSigningKey, TlVerifier,
};
use ringback::signature::{MaxAge, Message, Refusal, SignError};
use ringback::testing::conformance;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct File {
    jwk: Value,
    webhook: Webhook,
}

#[derive(Deserialize)]
struct Webhook {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    jku: String,
    tl_signature: String,
}

fn file() -> File {
    serde_json::from_str(include_str!("../vectors/truelayer_tl_signature.json")).unwrap()
}

/// The published set: a key of another kind beside the one that counts.
fn published_keys() -> KeySet {
    let set = json!({"keys": [{"kty":"RSA","alg":"RS512","kid":"db2e","n":"piC9","e":"AQAB"}, file().jwk]});
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

#[derive(Debug, Clone)]
struct Ring {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Ring {
    fn published() -> Self {
        let webhook = file().webhook;
        let mut headers: HeaderMap = webhook
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        headers.insert("tl-signature", webhook.tl_signature.parse().unwrap());
        Self {
            method: webhook.method.parse().unwrap(),
            target: webhook.path,
            headers,
            body: webhook.body.into_bytes(),
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

    fn with(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        self
    }

    fn at(mut self, target: &str) -> Self {
        self.target = target.to_owned();
        self
    }

    fn refused(&self) -> Option<Refusal> {
        verifier().verify(&self.message(), sent_at()).err()
    }
}

fn sent_at() -> DateTime<Utc> {
    "2021-11-29T11:42:55Z".parse().unwrap()
}

fn verifier() -> TlVerifier {
    TlVerifier::new(published_keys(), MaxAge::unlimited())
}

fn unsigned(name: &'static str) -> Refusal {
    Refusal::UnsignedHeader(HeaderName::from_static(name))
}

#[test]
fn the_published_webhook_verifies_with_the_published_key() {
    let ring = Ring::published();
    let verifier = TlVerifier::new(published_keys(), MaxAge::minutes(5))
        .requiring([HeaderName::from_static("content-type")])
        .published_by_truelayer();
    let verified = verifier.verify(&ring.message(), sent_at()).unwrap();
    assert_eq!(verified.signed_at, Some(sent_at()));
    assert_eq!(verified.kid, file().jwk["kid"].as_str().unwrap());
    assert_eq!(
        verified.jku.as_ref().map(UrlText::as_str),
        Some(file().webhook.jku.as_str())
    );

    let claims = TlSignature::of(&ring.message()).unwrap();
    assert_eq!(
        claims.signed_headers().collect::<Vec<_>>(),
        ["X-Tl-Webhook-Timestamp", "Content-Type"]
    );
    assert_eq!(claims.jku(), Some(&TlVerifier::LIVE_KEYS.into()));
}

#[test]
fn one_bit_changed_is_refused_wherever_it_is() {
    let ring = Ring::published();
    let body = (0..ring.body.len()).step_by(7).map(|at| {
        let mut ring = ring.clone();
        ring.body[at] ^= 1 << (at % 7);
        ring
    });
    let header = |name: &'static str, step: usize| {
        let value = ring.headers[name].as_bytes().to_vec();
        let ring = ring.clone();
        (0..value.len()).step_by(step).filter_map(move |at| {
            let mut value = value.clone();
            value[at] ^= 1 << (at % 6);
            let changed = HeaderValue::from_bytes(&value).ok()?;
            let mut ring = ring.clone();
            ring.headers.insert(name, changed);
            Some(ring)
        })
    };
    let changed = body
        .chain(header("tl-signature", 3))
        .chain(header("x-tl-webhook-timestamp", 5))
        .chain(header("content-type", 5))
        .chain([ring.clone().at("/tl-webhool"), ring.clone().at("/tl-webhook//")]);
    for changed in changed {
        assert!(changed.refused().is_some(), "{changed:?}");
    }
    let mut put = ring.clone();
    put.method = Method::PUT;
    assert_eq!(put.refused(), Some(Refusal::Mismatch));
    let end = ring.headers["tl-signature"].as_bytes().len() - 1;
    for digit in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-" {
        let mut value = ring.headers["tl-signature"].as_bytes().to_vec();
        value[end] = *digit; // the published one ends in `_`
        assert!(ring.clone().with("tl-signature", &value).refused().is_some());
    }
}

#[test]
fn slashes_queries_and_headers_that_are_not_signed_do_not_matter() {
    let ring = Ring::published();
    assert_eq!(ring.clone().at("/tl-webhook/").refused(), None);
    assert_eq!(ring.clone().at("/tl-webhook?tenant=7").refused(), None);
    assert_eq!(ring.clone().with("x-more", b"\xff").refused(), None);
}

#[test]
fn headers_that_are_signed_must_be_there_once() {
    let mut ring = Ring::published();
    ring.headers
        .append("content-type", HeaderValue::from_static("application/json"));
    let name = HeaderName::from_static("content-type");
    assert_eq!(ring.refused(), Some(Refusal::RepeatedHeader(name.clone())));
    ring.headers.remove(&name);
    assert_eq!(ring.refused(), Some(Refusal::MissingHeader(name)));
    ring.headers.remove("tl-signature");
    assert_eq!(
        ring.refused(),
        Some(Refusal::MissingHeader(HeaderName::from_static("tl-signature")))
    );
}

#[test]
fn what_a_receiver_demands_is_demanded() {
    let ring = Ring::published();
    let refused = |verifier: TlVerifier, now| verifier.verify(&ring.message(), now).unwrap_err();

    let more = verifier().requiring([HeaderName::from_static("x-more")]);
    assert_eq!(refused(more, sent_at()), unsigned("x-more"));
    let sandbox = verifier().published_at([TlVerifier::SANDBOX_KEYS]);
    assert_eq!(refused(sandbox, sent_at()), Refusal::UnknownSource);
    let none = verifier().with_keys(KeySet::empty());
    assert_eq!(refused(none, sent_at()), Refusal::UnknownKey);

    let minutes = TlVerifier::new(published_keys(), MaxAge::minutes(5));
    assert_eq!(
        refused(minutes.clone(), sent_at() + TimeDelta::minutes(6)),
        Refusal::Stale
    );
    assert_eq!(
        refused(minutes, sent_at() - TimeDelta::minutes(6)),
        Refusal::FromTheFuture
    );
    assert_eq!(
        refused(verifier(), sent_at() - TimeDelta::minutes(6)),
        Refusal::FromTheFuture
    );
}

/// The published signature under another JOSE header.
fn claiming(header: &str) -> Ring {
    let ring = Ring::published();
    let published = ring.headers["tl-signature"].to_str().unwrap().to_owned();
    let (_, signature) = published.split_once("..").unwrap();
    ring.with(
        "tl-signature",
        format!("{}..{signature}", URL_SAFE_NO_PAD.encode(header)).as_bytes(),
    )
}

#[test]
fn only_the_one_algorithm_and_version_are_read() {
    let kid = file().jwk["kid"].as_str().unwrap().to_owned();
    let right =
        json!({"alg":"ES512","kid":kid,"tl_version":"2","tl_headers":"Content-Type","x":{"more":[1]}});
    assert_eq!(claiming(&right.to_string()).refused(), Some(Refusal::Mismatch));
    let no_headers = json!({"alg":"ES512","kid":kid,"tl_version":"2"});
    assert_eq!(
        claiming(&no_headers.to_string()).refused(),
        Some(Refusal::Mismatch)
    );
    let other_key = json!({"alg":"ES512","kid":"db2e","tl_version":"2"});
    assert_eq!(
        claiming(&other_key.to_string()).refused(),
        Some(Refusal::UnknownKey)
    );

    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("es512")),
        ("alg", json!("RS512")),
        ("alg", json!("HS512")),
        ("alg", json!(null)),
        ("kid", json!(7)),
        ("tl_version", json!("1")),
        ("tl_version", json!(2)),
        ("tl_headers", json!(["Content-Type"])),
        ("tl_headers", json!("Content-Type, X")),
        ("tl_headers", json!("Content-Type,content-type")),
        ("tl_headers", json!("é")),
        ("jku", json!(1)),
        ("crit", json!(["b64"])),
        ("crit", json!(null)),
    ] {
        let mut header = right.clone();
        header[name] = value.clone();
        let refused = claiming(&header.to_string()).refused();
        assert_eq!(refused, Some(Refusal::MalformedSignature), "{name}: {value}");
    }
    let twice = right.to_string().replacen('{', "{\"alg\":\"ES512\",", 1);
    let array = json!(["ES512", kid, "2", "", null]).to_string();
    let deep = format!("{{\"x\":{}", "[".repeat(5_000));
    for header in [twice, array, deep, String::new(), "null".to_owned()] {
        assert_eq!(
            claiming(&header).refused(),
            Some(Refusal::MalformedSignature),
            "{header:.40}"
        );
    }
}

#[test]
fn other_forms_of_the_signature_are_refused() {
    let ring = Ring::published();
    let published = ring.headers["tl-signature"].to_str().unwrap().to_owned();
    let (header, signature) = published.split_once("..").unwrap();
    let body = URL_SAFE_NO_PAD.encode(&ring.body);
    let zeros = URL_SAFE_NO_PAD.encode([0; 132]);
    let short = URL_SAFE_NO_PAD.encode([1; 131]);
    let long = format!("{}..{signature}", "A".repeat(9_000));
    for other in [
        format!("{header}.{body}.{signature}"),
        format!("{header}...{signature}"),
        format!("{header}..{signature}."),
        format!("{header}..{signature}="),
        format!("{header}=..{signature}"),
        format!("{header}.. {signature}"),
        format!("{header}..{}", signature.replace(['-', '_'], "+")),
        format!("{header}..{zeros}"),
        format!("{header}..{short}"),
        format!("{header}.."),
        header.to_owned(),
        String::new(),
        "..".to_owned(),
        long,
    ] {
        let refused = ring.clone().with("tl-signature", other.as_bytes()).refused();
        assert_eq!(refused, Some(Refusal::MalformedSignature), "{other:.60}");
    }
}

#[tokio::test]
async fn the_signer_keeps_the_contract_of_authentication() {
    let signer = TlSigner::new(key()).covering(["X-Tl-Webhook-Timestamp"]).unwrap();
    let report = conformance::auth::run_all(&signer).await;
    assert!(report.failures().is_empty(), "{report}");
}

#[test]
fn nothing_shows_a_signature_or_the_query_of_a_place() {
    let ring = Ring::published();
    let shown = format!("{:?}", TlSignature::of(&ring.message()).unwrap());
    assert!(shown.contains("45fc75cf") && !shown.contains("AB9S"), "{shown}");
    let signer = TlSigner::new(key()).published_at("https://example.com/jwks?token=hunter2");
    let verifier = verifier().published_at(["https://example.com/jwks?token=hunter2"]);
    let shown = format!("{signer:?} {verifier:?}");
    assert!(
        shown.contains("example.com/jwks") && !shown.contains("hunter2"),
        "{shown}"
    );
}

const SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BgUrgQQAIw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MIHcAgEBBEIAtGlibYb73FlfmAk5j5/R2VCZNSRo4QHPczVkg+BNr6gU6lp/C2k4
GmlCKVGeFh3xHxQPgeMjRq1xCC+J+coKejSgBwYFK4EEACOhgYkDgYYABAD/0CtI
3g/MbCWaev0iaaVv6OkJPUib7JbGWgZ5KbOuOeg0VFRK2N0hOidBIOlagHOR9qwF
rNsuXRdyY8TDPiYRMwFI7z7aQ3mYjDlwM90j1ZOKJbImSOcvqv4ThaFP3HEyLTL0
6XmVOFefmxum4ghhcV/a3Y0c48gFcPP5/h+oOXMVeg==
-----END EC PRIVATE KEY-----
";
const PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAtGlibYb73FlfmAk5
j5/R2VCZNSRo4QHPczVkg+BNr6gU6lp/C2k4GmlCKVGeFh3xHxQPgeMjRq1xCC+J
+coKejShgYkDgYYABAD/0CtI3g/MbCWaev0iaaVv6OkJPUib7JbGWgZ5KbOuOeg0
VFRK2N0hOidBIOlagHOR9qwFrNsuXRdyY8TDPiYRMwFI7z7aQ3mYjDlwM90j1ZOK
JbImSOcvqv4ThaFP3HEyLTL06XmVOFefmxum4ghhcV/a3Y0c48gFcPP5/h+oOXMV
eg==
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQA/9ArSN4PzGwlmnr9Immlb+jpCT1I
m+yWxloGeSmzrjnoNFRUStjdITonQSDpWoBzkfasBazbLl0XcmPEwz4mETMBSO8+
2kN5mIw5cDPdI9WTiiWyJkjnL6r+E4WhT9xxMi0y9Ol5lThXn5sbpuIIYXFf2t2N
HOPIBXDz+f4fqDlzFXo=
-----END PUBLIC KEY-----
";
const D: &str = "ALRpYm2G-9xZX5gJOY-f0dlQmTUkaOEBz3M1ZIPgTa-oFOpafwtpOBppQilRnhYd8R8UD4HjI0atcQgvifnKCno0";
const X: &str = "AP_QK0jeD8xsJZp6_SJppW_o6Qk9SJvslsZaBnkps6456DRUVErY3SE6J0Eg6VqAc5H2rAWs2y5dF3JjxMM-JhEz";
const Y: &str = "AUjvPtpDeZiMOXAz3SPVk4olsiZI5y-q_hOFoU_ccTItMvTpeZU4V5-bG6biCGFxX9rdjRzjyAVw8_n-H6g5cxV6";

/// The same key as JWK. Its `x` begins with a zero byte.
fn jwk() -> Value {
    json!({"kty":"EC","alg":"ES512","kid":"k","crv":"P-521","x":X,"y":Y,"d":D})
}

fn key() -> TlSigningKey {
    TlSigningKey::from_pem("k", SEC1).unwrap()
}

fn keys_of(jwk: &Value) -> KeySet {
    KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap()
}

#[test]
fn a_key_is_the_same_in_every_form() {
    let public = key().public();
    let pkcs8 = TlSigningKey::from_pem("k", PKCS8).unwrap();
    let from_jwk = TlSigningKey::from_jwk(&jwk().to_string()).unwrap();
    let scalar: [u8; 66] = URL_SAFE_NO_PAD.decode(D).unwrap().try_into().unwrap();
    let from_scalar = TlSigningKey::from_scalar("k", &scalar).unwrap();
    for same in [pkcs8, from_jwk, from_scalar] {
        assert_eq!(same.public(), public);
    }
    assert_eq!(KeySet::from_pem("k", PUBLIC).unwrap(), public);
    assert_eq!(KeySet::parse(public.to_json().as_bytes()).unwrap(), public);

    let mut short = jwk();
    short["x"] = json!(URL_SAFE_NO_PAD.encode(&URL_SAFE_NO_PAD.decode(X).unwrap()[1..]));
    assert_eq!(keys_of(&short), public);
    assert_eq!(
        TlSigningKey::from_jwk(&short.to_string()).unwrap().public(),
        public
    );

    let debug = format!("{:?}", TlSigner::new(key()));
    assert!(debug.contains("kid: \"k\"") && !debug.contains("ALRp"), "{debug}");
}

#[test]
fn what_is_no_key_is_refused_and_left_out_of_sets() {
    assert_eq!(TlSigningKey::from_pem("", SEC1).unwrap_err(), TlKeyError::NoName);
    assert_eq!(KeySet::from_pem("", PUBLIC).unwrap_err(), TlKeyError::NoName);
    for pem in ["", "-----BEGIN EC PRIVATE KEY-----", PUBLIC, "é"] {
        assert_eq!(
            TlSigningKey::from_pem("k", pem).unwrap_err(),
            TlKeyError::Malformed
        );
    }
    for scalar in [[0; 66], [0xff; 66]] {
        assert_eq!(
            TlSigningKey::from_scalar("k", &scalar).unwrap_err(),
            TlKeyError::Unsafe
        );
    }
    let mut halves = jwk();
    halves["d"] = json!(URL_SAFE_NO_PAD.encode([1; 66]));
    assert_eq!(
        TlSigningKey::from_jwk(&halves.to_string()).unwrap_err(),
        TlKeyError::Unsafe
    );

    assert!(!keys_of(&jwk()).is_empty());
    for (name, value) in [
        ("kty", json!("RSA")),
        ("kty", json!(null)),
        ("alg", json!("ES256")),
        ("use", json!("enc")),
        ("crv", json!("P-256")),
        ("kid", json!("")),
        ("kid", json!(7)),
        ("x", json!("")),
        ("x", json!(X.replace('P', "Q"))),
        ("x", json!(format!("AA{X}"))),
        ("y", json!(format!("{Y}="))),
        ("y", json!("A".repeat(100_000))),
    ] {
        let mut bad = jwk();
        bad[name] = value.clone();
        let set = json!({ "keys": [bad, 1, null, {}, jwk()] }).to_string();
        let names = KeySet::parse(set.as_bytes()).unwrap();
        assert_eq!(names.names().collect::<Vec<_>>(), ["k"], "{name}: {value:.20}");
    }
}

#[test]
fn sets_are_bounded() {
    for no_set in ["", "[]", "{}", "null", "{\"keys\":1}", "{\"keys\":[}"] {
        assert_eq!(
            KeySet::parse(no_set.as_bytes()).unwrap_err(),
            KeySetError::Malformed,
            "{no_set}"
        );
    }
    let many = json!({ "keys": vec![jwk(); 65] }).to_string();
    assert_eq!(KeySet::parse(many.as_bytes()).unwrap_err(), KeySetError::TooLarge);
    let large = format!("{{\"keys\":[]{}}}", " ".repeat(256 * 1024));
    assert_eq!(
        KeySet::parse(large.as_bytes()).unwrap_err(),
        KeySetError::TooLarge
    );
    assert!(KeySet::parse(b"{\"keys\":[]}").unwrap().is_empty());
}

#[test]
fn what_is_signed_verifies_and_a_retry_replaces_it() {
    let signer = TlSigner::new(key()).published_at(TlVerifier::SANDBOX_KEYS);
    let mut request = Request::post("https://example.com/hook/?tenant=7")
        .header("content-type", "application/json")
        .body("{}")
        .unwrap();
    signer.sign_request(&mut request, sent_at()).unwrap();
    let first = request.headers()["tl-signature"].clone();
    let later = sent_at() + TimeDelta::hours(1);
    signer.sign_request(&mut request, later).unwrap();
    assert_ne!(request.headers()["tl-signature"], first);
    assert_eq!(
        request.headers()["x-tl-webhook-timestamp"],
        "2021-11-29T12:42:55Z"
    );

    let verifier = TlVerifier::new(key().public(), MaxAge::minutes(5)).published_by_truelayer();
    let verified = verifier.verify(&Message::from(&request), later).unwrap();
    assert_eq!(verified.signed_at, Some(later));
    assert_eq!(
        verified.jku.as_ref().map(UrlText::as_str),
        Some(TlVerifier::SANDBOX_KEYS)
    );

    signer.sign_request(&mut request, sent_at()).unwrap();
    assert_eq!(
        request.headers()["tl-signature"],
        first,
        "signing takes no randomness"
    );
}

#[test]
fn requests_to_the_api_cover_their_idempotency_key() {
    let signer = TlSigner::new(key()).covering(["Idempotency-Key"]).unwrap();
    let mut request = Request::post("/payouts").body("{}").unwrap();
    let missing = signer.sign_request(&mut request, sent_at()).unwrap_err();
    assert!(matches!(
        missing,
        SignError::Unsignable(Refusal::MissingHeader(_))
    ));
    request
        .headers_mut()
        .insert("idempotency-key", HeaderValue::from_static("619410b3"));
    signer.sign_request(&mut request, sent_at()).unwrap();
    assert!(!request.headers().contains_key("x-tl-webhook-timestamp"));

    let message = Message::from(&request);
    let undated = TlVerifier::new(key().public(), MaxAge::unlimited())
        .requiring([HeaderName::from_static("idempotency-key")])
        .verify(&message, sent_at())
        .unwrap();
    assert_eq!((undated.signed_at, undated.jku), (None, None));
    // A limit would mean nothing if a message without a date passed it.
    let limited = TlVerifier::new(key().public(), MaxAge::minutes(5)).verify(&message, sent_at());
    assert_eq!(limited.unwrap_err(), unsigned("x-tl-webhook-timestamp"));

    assert!(TlSigner::new(key()).covering(["not a name"]).is_err());
}

#[test]
fn every_path_verifies_with_and_without_a_slash_at_its_end() {
    let verifier = TlVerifier::new(key().public(), MaxAge::unlimited());
    let signer = TlSigner::new(key()).covering(Vec::<String>::new()).unwrap();
    for (signed, received) in [
        ("/", "/"),
        ("/a", "/a/"),
        ("/a/", "/a"),
        ("/a/", "/a/"),
        ("/a//", "/a//"),
        ("/a%2Fb?q=/", "/a%2Fb/"),
    ] {
        let mut request = Request::post(signed).body("").unwrap();
        signer.sign_request(&mut request, sent_at()).unwrap();
        let mut message = Message::from(&request);
        message.target = received;
        assert!(
            verifier.verify(&message, sent_at()).is_ok(),
            "{signed} {received}"
        );
        message.target = "/b";
        assert_eq!(verifier.verify(&message, sent_at()), Err(Refusal::Mismatch));
    }
}

proptest! {
    #[test]
    fn no_header_and_no_key_set_panics(
        value in prop::collection::vec(32_u8..127, 0..200),
        json in "[\\[\\]{}\":, a-z1\\\\]{0,60}",
        set: Vec<u8>,
    ) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut ring = Ring::published();
            ring.headers.insert("tl-signature", value);
            prop_assert!(ring.refused().is_some());
        }
        prop_assert!(claiming(&json).refused().is_some());
        let _ = KeySet::parse(&set);
        let _ = KeySet::parse(format!("{{\"keys\":[{json}]}}").as_bytes());
        let _ = TlSigningKey::from_pem("k", &json);
    }
}
