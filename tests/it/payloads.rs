//! Payloads are read into named fields, and written back with every key and the text of every number.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use ringback::json::{self, Maybe, Survey, unfamiliar};
use ringback::provider::{powens, truelayer, truv, yodlee};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

mod hostile;
mod shapes;

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

fn value<T: Clone + Debug>(field: &Maybe<T>) -> T {
    field.value().unwrap_or_else(|| panic!("{field:?}")).clone()
}
