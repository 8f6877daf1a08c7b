//! Payloads are read into named fields, and written back with every key and the text of every number.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use ringback::json::{
    self, Decimal, Flag, Maybe, OneOrMany, OpaqueId, PayloadErrorKind, RawJson, Survey, TextOrObject,
    unfamiliar,
};
use ringback::provider::{powens, truelayer, truv, yodlee};
use ringback::task;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// JSON that keeps the text of numbers, and the set rather than the order of keys.
#[derive(Debug, PartialEq)]
enum Tree {
    Object(BTreeMap<String, Tree>),
    Array(Vec<Tree>),
    String(String),
    /// A number, `true`, `false` or `null`.
    Bare(String),
}

impl Tree {
    fn of(text: &str) -> Self {
        match text.as_bytes()[0] {
            b'{' => {
                let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
                Self::Object(
                    fields
                        .into_iter()
                        .map(|(name, value)| (name, Self::of(value.get())))
                        .collect(),
                )
            }
            b'[' => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
                Self::Array(items.iter().map(|item| Self::of(item.get())).collect())
            }
            b'"' => Self::String(serde_json::from_str(text).unwrap()),
            _ => Self::Bare(text.to_owned()),
        }
    }

    fn of_body(body: &[u8]) -> Self {
        Self::of(serde_json::from_slice::<&RawValue>(body).unwrap().get())
    }
}

/// A payload that was read: what of it is unfamiliar, and what it is written back as.
struct Reading {
    unfamiliar: Vec<String>,
    written: Vec<u8>,
}

fn reading(payload: &(impl Survey + Serialize)) -> Reading {
    Reading {
        unfamiliar: unfamiliar(payload),
        written: serde_json::to_vec(payload).unwrap(),
    }
}

fn read<T: DeserializeOwned + Survey + Serialize>(body: &[u8]) -> Reading {
    reading(&json::parse::<T>(body).unwrap())
}

fn read_powens(name: powens::EventName, body: &[u8]) -> Reading {
    assert!(name.is_known(), "{name}");
    reading(&powens::Event::parse(&name, Some("application/json"), &Bytes::copy_from_slice(body)).unwrap())
}

/// Reads a sample by the type it is documented to be.
fn read_sample(folder: &str, name: &str, body: &[u8]) -> Reading {
    match (folder, name) {
        ("powens", "rest_webhook_logs") => read::<powens::WebhookLogList>(body),
        ("powens", "rest_webhooks_auth_create_hmac_response") => read::<powens::AuthProvider>(body),
        ("powens", "rest_webhooks_auth_list") => read::<powens::AuthProviderList>(body),
        ("powens", "rest_webhooks_list") => read::<powens::WebhookList>(body),
        ("powens", event) => read_powens(event.split('.').next().unwrap().into(), body),

        ("truelayer", "async-accepted" | "async-running" | "batch-accepted") => {
            read::<truelayer::Accepted>(body)
        }
        ("truelayer", "batch-request") => read::<truelayer::BatchRequest>(body),
        ("truelayer", "results-succeeded.inferred-envelope") => {
            read::<truelayer::Results<Vec<truelayer::Account>>>(body)
        }
        ("truelayer", "webhook-failed" | "webhook-succeeded") => read::<truelayer::Callback>(body),
        ("truelayer", _) => reading(&truelayer::SignedEvent::parse(body).unwrap()),

        ("truv", "task-object") => read::<truv::Task>(body),
        ("truv", "webhook-endpoint") => read::<truv::WebhookEndpoint>(body),
        ("truv", "webhook-endpoint.create-request") => read::<truv::WebhookEndpointRequest>(body),
        ("truv", "webhook-requests-page") => read::<truv::WebhookRequestPage>(body),
        ("truv", _) => {
            let event = truv::Event::parse(body).unwrap();
            assert!(event.event_type().is_known());
            reading(&event)
        }

        ("yodlee", "rest_dataExtracts_events_response") => read::<yodlee::EventsReply>(body),
        ("yodlee", "rest_error") => read::<yodlee::ErrorReply>(body),
        ("yodlee", "rest_subscribe_request") => read::<yodlee::SubscribeRequest>(body),
        ("yodlee", "rest_subscriptions_response") => read::<yodlee::SubscriptionList>(body),
        ("yodlee", _) => {
            let event = yodlee::Event::parse(body).unwrap();
            assert!(event.name().is_known());
            reading(&event)
        }

        ("seeds", "truelayer-accepted" | "truelayer-accepted.bare") => read::<truelayer::Accepted>(body),
        ("seeds", "truelayer-callback" | "truelayer-callback.bare") => read::<truelayer::Callback>(body),
        ("seeds", "truv-webhook-endpoint") => read::<truv::WebhookEndpoint>(body),
        ("seeds", "truv-webhook-requests-page") => read::<truv::WebhookRequestPage>(body),
        ("seeds", "powens-signed-example") => read_powens(powens::EventName::PaymentStateUpdated, body),
        ("seeds", name) if name.starts_with("powens-auth-") => read::<powens::AuthProvider>(body),
        _ => panic!("{folder}/{name} has no type"),
    }
}

/// Every sample: folder, name without `.json`, body.
fn samples() -> Vec<(String, String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut samples = Vec::new();
    for folder in fs::read_dir(root).unwrap() {
        let folder = folder.unwrap().path();
        for file in fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "json") {
                let text = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
                samples.push((text(&folder), text(&file), fs::read(&file).unwrap()));
            }
        }
    }
    assert!(samples.len() >= 69, "only {} samples were found", samples.len());
    samples
}

#[test]
fn every_sample_is_read_into_named_fields_and_written_back() {
    for (folder, name, body) in samples() {
        let reading = read_sample(&folder, &name, &body);
        assert_eq!(reading.unfamiliar, [""; 0], "{folder}/{name}");
        assert_eq!(
            Tree::of_body(&reading.written),
            Tree::of_body(&body),
            "{folder}/{name}"
        );
    }
}

/// Each number of the text, and each `null`, replaced in turn.
fn variations(body: &str, with: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_string = false;
    let mut previous = ' ';
    for (at, c) in body.char_indices() {
        if c == '"' && previous != '\\' {
            in_string = !in_string;
        }
        let starts = !in_string
            && (previous == ' ' || previous == '\n')
            && (c.is_ascii_digit() || c == '-' || c == 'n');
        if starts {
            let end = at + body[at..].find([',', '\n', '}', ']']).unwrap();
            found.push(format!("{}{with}{}", &body[..at], &body[end..]));
        }
        previous = c;
    }
    found
}

const ODD_NUMBERS: [&str; 4] = [
    "1.0000000000",
    "0.10",
    "123456789012345678901234567890",
    "-0.0E+7",
];

#[test]
fn odd_numbers_anywhere_keep_their_text() {
    let mut tried = 0;
    for (folder, name, body) in samples() {
        let body = String::from_utf8(body).unwrap();
        // The larger samples hold the same objects many times over.
        for number in if body.len() > 2500 {
            &ODD_NUMBERS[..1]
        } else {
            &ODD_NUMBERS
        } {
            for varied in variations(&body, number) {
                let reading = read_sample(&folder, &name, varied.as_bytes());
                assert_eq!(
                    Tree::of_body(&reading.written),
                    Tree::of_body(varied.as_bytes()),
                    "{folder}/{name}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "only {tried}");
}

/// Every string that is not one of the few that identify a payload, replaced by a number.
fn strings_replaced(tree: &str, with: &str) -> Vec<String> {
    const IDENTIFYING: [&str; 9] = [
        "webhook_id",
        "event_type",
        "task_id",
        "results_uri",
        "status",
        "info",
        "type",
        "callbackUrl",
        "event_id",
    ];
    let mut found = Vec::new();
    for (at, _) in tree.match_indices("\": \"") {
        let name = tree[..at].rsplit('"').next().unwrap();
        let value = at + 3;
        let end = value + 1 + tree[value + 1..].find('"').unwrap();
        if !IDENTIFYING.contains(&name) {
            found.push(format!("{}{with}{}", &tree[..value], &tree[end + 1..]));
        }
    }
    found
}

#[test]
fn a_field_of_another_type_is_kept_and_costs_nothing_else() {
    for (folder, name, body) in samples() {
        let body = String::from_utf8(body).unwrap();
        if body.len() > 2500 {
            continue;
        }
        for with in [
            "0.10",
            "{\"deep\": [1.0000000000]}",
            "[123456789012345678901234567890]",
        ] {
            for varied in strings_replaced(&body, with) {
                let reading = read_sample(&folder, &name, varied.as_bytes());
                assert!(
                    reading.unfamiliar.len() <= 1,
                    "{folder}/{name}: {:?}",
                    reading.unfamiliar
                );
                assert_eq!(
                    Tree::of_body(&reading.written),
                    Tree::of_body(varied.as_bytes()),
                    "{folder}/{name}"
                );
            }
        }
    }
}

#[test]
fn unknown_fields_and_values_are_kept_at_every_level() {
    for (folder, name, body) in samples() {
        let body = String::from_utf8(body).unwrap();
        let added = body.replace(
            '{',
            "{\"x/new~\": {\"deep\": [1.0000000000, 0.10, 123456789012345678901234567890, \"\\u00e9\"]}, ",
        );
        // An empty object has no field to come after.
        let added = added.replace(", }", "}");
        let reading = read_sample(&folder, &name, added.as_bytes());
        assert_eq!(
            Tree::of_body(&reading.written),
            Tree::of_body(added.as_bytes()),
            "{folder}/{name}"
        );
        assert!(
            reading.unfamiliar.contains(&"/x~1new~0".to_owned()),
            "{folder}/{name}"
        );
        for path in &reading.unfamiliar {
            assert!(path.ends_with("/x~1new~0"), "{folder}/{name}: {path}");
        }
    }
}

#[test]
fn absent_and_null_stay_apart() {
    let account: powens::BankAccount = json::parse(br#"{"id":1,"disabled":null}"#).unwrap();
    assert!(account.disabled.is_null());
    assert!(account.deleted.is_absent());
    assert_eq!(
        serde_json::to_string(&account).unwrap(),
        r#"{"id":1,"disabled":null}"#
    );
}

fn value<T: Clone + Debug>(field: &Maybe<T>) -> T {
    field.value().unwrap_or_else(|| panic!("{field:?}")).clone()
}

#[test]
fn documented_variations_are_read() {
    let account = |body: &str| json::parse::<powens::BankAccount>(body.as_bytes()).unwrap();

    let text = account(r#"{"type":"checking","bookmarked":0,"currency":"EUR"}"#);
    assert_eq!(
        value(&text.kind),
        TextOrObject::Text(powens::AccountTypeName::Checking)
    );
    assert!(!value(&text.bookmarked).is_set());
    assert_eq!(value(&text.currency), TextOrObject::Text("EUR".to_owned()));

    let object = account(r#"{"type":{"id":2,"name":"checking"},"bookmarked":true,"currency":{"id":"EUR"}}"#);
    let TextOrObject::Object(kind) = value(&object.kind) else {
        panic!()
    };
    assert_eq!(value(&kind.name), powens::AccountTypeName::Checking);
    assert_eq!(value(&object.bookmarked), Flag::Bool(true));
    assert_eq!(unfamiliar(&object), [""; 0]);

    for (body, count) in [
        (r#"{"account_ownerships":{"id_account":1}}"#, 1),
        (r#"{"account_ownerships":[{"id_account":1},{"id_account":2}]}"#, 2),
        (r#"{"account_ownerships":[]}"#, 0),
    ] {
        let found: powens::AccountOwnershipsFound = json::parse(body.as_bytes()).unwrap();
        assert_eq!(value(&found.account_ownerships).as_slice().len(), count);
        assert_eq!(unfamiliar(&found), [""; 0]);
        assert_eq!(serde_json::to_string(&found).unwrap(), body);
    }

    for (text, instant, naive) in [
        ("2026-03-09T08:15:41.120391+00:00", true, false),
        ("2026-03-09T08:15:41.120391Z", true, false),
        ("2026-03-09T10:15:41.120391+02:00", true, false),
        ("2026-03-09 08:15:41.120391", false, true),
        ("2026-03-09T08:15:41", false, true),
        ("2026-03-09", false, false),
    ] {
        let user: powens::User = json::parse(format!(r#"{{"signin":"{text}"}}"#).as_bytes()).unwrap();
        let signin = value(&user.signin);
        assert_eq!(
            (signin.instant().is_some(), signin.naive().is_some()),
            (instant, naive),
            "{text}"
        );
        assert_eq!(signin.date().unwrap().to_string(), "2026-03-09");
        assert_eq!(signin.as_str(), text);
    }
}

#[test]
fn yodlee_data_is_read_as_object_and_as_array_whatever_the_event() {
    for data in [r#"{"providerAccountId":7}"#, r#"[{"providerAccountId":7}]"#] {
        for info in [
            "AUTO_REFRESH_UPDATES",
            "LATEST_BALANCE_UPDATES",
            "LATEST_BALANCE.COMPLETED",
            "CDV_STATUS_UPDATES",
        ] {
            let body = format!(r#"{{"event":{{"info":"{info}","data":{data}}}}}"#);
            let event = yodlee::Event::parse(body.as_bytes()).unwrap();
            assert!(!matches!(event, yodlee::Event::Unknown(_)), "{info}");
            assert_eq!(unfamiliar(&event), [""; 0]);
            assert_eq!(
                Tree::of_body(&serde_json::to_vec(&event).unwrap()),
                Tree::of(&body)
            );
            if let yodlee::Event::LatestBalanceUpdates(envelope) = &event {
                let ids: Vec<_> = envelope
                    .event
                    .data()
                    .iter()
                    .map(|data| value(&data.provider_account_id))
                    .collect();
                assert_eq!(ids, [OpaqueId::from(7)]);
            }
        }
    }
    let consent = br#"{"event":{"info":"OB_CONSENT.REVOKED","data":{"amount":0.10}}}"#;
    let event = yodlee::Event::parse(consent).unwrap();
    assert_eq!(event.name(), yodlee::EventName::OpenBankingConsent);
    let yodlee::Event::Unknown(envelope) = &event else {
        panic!()
    };
    assert_eq!(envelope.event.kind(), Some("REVOKED"));
    assert_eq!(envelope.event.data()[0].as_str(), r#"{"amount":0.10}"#);
}

#[test]
fn events_of_unknown_type_keep_everything() {
    let body = br#"{"webhook_id":"w1","event_type":"paystub-shredded","event_created_at":"2026-01-01T00:00:00Z","n":0.10}"#;
    let event = truv::Event::parse(body).unwrap();
    assert!(matches!(&event, truv::Event::Unknown(_)));
    assert_eq!(event.event_type().as_str(), "paystub-shredded");
    assert!(event.happened_at().is_some());
    assert_eq!(
        Tree::of_body(&serde_json::to_vec(&event).unwrap()),
        Tree::of_body(body)
    );

    let name = powens::EventName::from("TRANSACTIONS_CLUSTERED");
    let body = Bytes::from_static(br#"{"id_webhook_data":12345678901234567890123,"amount":0.10}"#);
    let event = powens::Event::parse(&name, None, &body).unwrap();
    assert_eq!(
        event.id_webhook_data().unwrap().as_str(),
        "12345678901234567890123"
    );
    assert_eq!(event.name(), name);
    assert_eq!(unfamiliar(&event), ["/amount"]);
}

#[test]
fn bodies_that_are_not_json_pass_through() {
    let cfonb = Bytes::from_static(b"0117906    00042EUR2 00042718830  200524");
    for media_type in [
        Some("text/plain; charset=iso-8859-1"),
        Some("application/octet-stream"),
        None,
    ] {
        let event = powens::Event::parse(&powens::EventName::ConnectionSynced, media_type, &cfonb).unwrap();
        let powens::Event::NotJson(event) = event else {
            panic!()
        };
        assert_eq!((event.media_type.as_deref(), &event.body), (media_type, &cfonb));
    }
    for media_type in [
        "application/json",
        "Application/JSON ; charset=utf-8",
        "application/problem+json",
    ] {
        let error =
            powens::Event::parse(&powens::EventName::UserCreated, Some(media_type), &cfonb).unwrap_err();
        assert_eq!(error.kind(), PayloadErrorKind::Syntax);
    }
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    for body in [r#"{"id":1,"id":2}"#, r#"{"id":1,"x":1,"y":2,"x":3}"#] {
        let error = json::parse::<powens::User>(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), PayloadErrorKind::Shape);
    }
    let error =
        json::parse::<task::Accepted>(br#"{"task_id":"a","task_id":"b","status":"Queued","results_uri":""}"#);
    assert_eq!(error.unwrap_err().kind(), PayloadErrorKind::Shape);
}

#[test]
fn what_identifies_a_payload_is_required() {
    for body in [
        r#"{"event_type":"link-deleted"}"#,
        r#"{"webhook_id":"w"}"#,
        r#"{"webhook_id":null,"event_type":"x"}"#,
        "[]",
        "7",
    ] {
        assert_eq!(
            truv::Event::parse(body.as_bytes()).unwrap_err().kind(),
            PayloadErrorKind::Shape,
            "{body}"
        );
    }
    assert!(json::parse::<task::Callback>(br#"{"status":"Failed"}"#).is_err());
    assert!(yodlee::Event::parse(br#"{"event":{"data":{}}}"#).is_err());
    assert!(truelayer::SignedEvent::parse(br#"{"event_id":"e"}"#).is_err());
}

#[test]
fn errors_and_debug_output_repeat_no_secret() {
    let error = truv::Event::parse(br#"{"webhook_id":{"k":"hunter2"},"event_type":"hunter2"}"#).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"));

    let body = br#"{"webhook_uri":"https://u:hunter2@h.example/x?k=hunter2#hunter2","extra":"hunter2"}"#;
    let request: truelayer::BatchRequest = json::parse(body).unwrap();
    assert!(!format!("{request:?}").contains("hunter2"), "{request:?}");

    let body = br#"{"config":{"secret_key":"hunter2","client_secret":"hunter2","private_cert":"hunter2"},"name":["hunter2"]}"#;
    let provider: powens::AuthProvider = json::parse(body).unwrap();
    assert!(!format!("{provider:?}").contains("hunter2"), "{provider:?}");
    assert_eq!(
        value(&value(&provider.config).secret_key).secret().expose(),
        b"hunter2"
    );
}

#[test]
fn nesting_costs_no_stack() {
    let deep = |open: &str, close: &str| {
        let body = format!(
            r#"{{"id":{}1{},"connector":{{"fields":{}1{}}}}}"#,
            open.repeat(100_000),
            close.repeat(100_000),
            open.repeat(100_000),
            close.repeat(100_000)
        );
        body.into_bytes()
    };
    for body in [deep("[", "]"), deep(r#"{"id":"#, "}")] {
        let connection: powens::Connection = json::parse(&body).unwrap();
        assert_eq!(unfamiliar(&connection), ["/id", "/connector/fields"]);
        assert_eq!(serde_json::to_vec(&connection).unwrap(), body);
        let _ = (
            truv::Event::parse(&body),
            yodlee::Event::parse(&body),
            RawJson::parse(&String::from_utf8(body).unwrap()),
        );
    }
}

#[test]
fn a_body_of_many_unknown_fields_is_read_in_time() {
    let fields: Vec<_> = (0..300_000).map(|n| format!("\"f{n}\":{n}")).collect();
    let user: powens::User = json::parse(format!("{{{}}}", fields.join(",")).as_bytes()).unwrap();
    assert_eq!(user.unknown.len(), 300_000);
}

#[test]
fn payloads_are_made_as_well_as_read() {
    let mut callback = task::Callback::new("task-1", task::TaskStatus::Succeeded);
    callback.error = Maybe::Null;
    callback.results_uri = Maybe::from(json::UrlText::from("https://a.example/results/task-1"));
    assert_eq!(
        serde_json::to_string(&callback).unwrap(),
        r#"{"task_id":"task-1","status":"Succeeded","results_uri":"https://a.example/results/task-1","error":null}"#,
    );
    let found = powens::AccountFound {
        id: OpaqueId::from(15262).into(),
        kind: TextOrObject::Text(powens::AccountTypeName::Savings).into(),
        ..Default::default()
    };
    assert_eq!(
        serde_json::to_string(&found).unwrap(),
        r#"{"id":15262,"type":"savings"}"#
    );
    let item = powens::AccountOwnership::default();
    assert_eq!(
        serde_json::to_string(&OneOrMany::Many(vec![item])).unwrap(),
        "[{}]"
    );
    let transaction = powens::Transaction {
        value: Decimal::from_scaled(-2380, 2).into(),
        ..Default::default()
    };
    assert_eq!(
        serde_json::to_string(&transaction).unwrap(),
        r#"{"value":-23.80}"#
    );
}

#[test]
fn known_names_come_back_from_their_text() {
    for name in powens::EventName::KNOWN {
        assert_eq!(&powens::EventName::from(name.as_str()), name);
    }
    assert_eq!(powens::EventName::KNOWN.len(), 16);
    assert_eq!(truv::EventType::KNOWN.len(), 19);
    assert_eq!(
        "paystub-shredded".parse::<truv::EventType>().unwrap().to_string(),
        "paystub-shredded"
    );
}

#[test]
fn truelayer_errors_say_whether_a_retry_helps() {
    use truelayer::{ErrorCode, RetryHelps};
    let helps = |code: &str| ErrorCode::from(code).retry_helps();
    assert_eq!(helps("provider_too_many_requests"), RetryHelps::Yes);
    assert_eq!(helps("validation_error"), RetryHelps::AfterFixing);
    assert_eq!(helps("sca_exceeded"), RetryHelps::No);
    assert_eq!(helps("invalid_credentials_key"), RetryHelps::Unstated);
    assert_eq!(helps("provider_error"), RetryHelps::Unstated);

    let problem: truelayer::Problem =
        json::parse(br#"{"type":"https://docs.truelayer.com/x","title":"Provider Error","status":502,"detail":"d","trace_id":"t"}"#)
            .unwrap();
    assert_eq!(problem.retry_helps(), RetryHelps::Yes);
    assert_eq!(unfamiliar(&problem), [""; 0]);
}

/// Every way in.
fn read_as_everything(body: &[u8]) {
    let shared = Bytes::copy_from_slice(body);
    for name in powens::EventName::KNOWN
        .iter()
        .chain([&powens::EventName::from("NEW")])
    {
        for media_type in [None, Some("application/json"), Some(";")] {
            if let Ok(event) = powens::Event::parse(name, media_type, &shared) {
                let _ = (
                    unfamiliar(&event),
                    event.id_webhook_data(),
                    format!("{event:?}"),
                    serde_json::to_vec(&event),
                );
            }
        }
    }
    if let Ok(event) = truv::Event::parse(body) {
        let _ = (unfamiliar(&event), event.happened_at(), format!("{event:?}"));
    }
    if let Ok(event) = yodlee::Event::parse(body) {
        let _ = (unfamiliar(&event), event.notification_id(), format!("{event:?}"));
    }
    if let Ok(event) = truelayer::SignedEvent::parse(body) {
        let _ = (unfamiliar(&event), event.event_id(), format!("{event:?}"));
    }
    let _ = json::parse::<task::Accepted>(body);
    let _ = json::parse::<task::Callback>(body);
    let _ = json::parse::<task::Results<RawJson>>(body);
    let _ = json::parse::<truelayer::BatchRequest>(body);
    let _ = json::parse::<truelayer::Problem>(body);
    let _ = json::parse::<truv::Task>(body);
    let _ = json::parse::<truv::WebhookEndpoint>(body);
    let _ = json::parse::<truv::WebhookRequestPage>(body);
    let _ = json::parse::<powens::Webhook>(body);
    let _ = json::parse::<powens::WebhookData>(body);
    let _ = json::parse::<powens::AuthProvider>(body);
    let _ = json::parse::<yodlee::EventsReply>(body);
    let _ = json::parse::<yodlee::UserDataReply>(body);
    let _ = json::parse::<yodlee::ErrorReply>(body);
    let _ = json::parse::<yodlee::SubscriptionList>(body);
}

fn any_sample() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(samples()).prop_map(|(_, _, body)| body)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>) {
        read_as_everything(&body);
    }

    #[test]
    fn damaged_samples_never_panic(mut body in any_sample(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        read_as_everything(&body);
    }

    #[test]
    fn shortened_samples_never_panic(body in any_sample(), at: prop::sample::Index) {
        read_as_everything(&body[..at.index(body.len())]);
    }
}
