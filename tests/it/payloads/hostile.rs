//! Bodies that mean harm, or that nobody meant to send.

use bytes::Bytes;
use proptest::prelude::*;
use ringback::json::{self, Maybe, PayloadErrorKind, RawJson, unfamiliar};
use ringback::provider::{powens, truelayer, truv, yodlee};
use ringback::task;

use super::{samples, value};

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
fn further_in_it_is_kept_raw() {
    let body = br#"{"user":{"id":1,"id":2},"id_webhook_data":3}"#;
    let synced: powens::ConnectionSynced = json::parse(body).unwrap();
    assert!(matches!(&synced.user, Maybe::Unexpected(raw) if raw.as_str() == r#"{"id":1,"id":2}"#));
    assert_eq!(value(&synced.id_webhook_data).as_i64(), Some(3));
    assert_eq!(serde_json::to_vec(&synced).unwrap(), body);
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
