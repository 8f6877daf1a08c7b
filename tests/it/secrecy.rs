//! What is printed for people shows nothing that is secret or personal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::client::CallError;
use ringback::delivery::{AttemptReport, Call, Event, Limits, Outcome, Target};
use ringback::engine::{NewCall, Registration};
use ringback::id::{DeliveryId, Fence};
use ringback::json::UrlText;
use ringback::provider::powens::{self, EventName};
use ringback::signature::Message;
use ringback::store::{AuthRecord, Claimed, ClaimedTarget, NewDelivery, NewTask, TaskEnd};
use ringback::task::TaskProgress;
use ringback::url::WebhookUrl;

const CANARY: &str = "hunter2";

#[test]
fn nothing_secret_is_in_any_debug() {
    let body = || Bytes::from(format!("{{\"iban\":\"{CANARY}\"}}"));
    let text = || CANARY.to_owned();
    let url = || WebhookUrl::parse(&format!("https://example.com/hook?token={CANARY}")).unwrap();
    let event = || Arc::new(Event::builder("s", "1", "t").json(body()).build().unwrap());
    let call = || Call {
        url: url(),
        profile: "p".into(),
        auth: None,
        limits: Limits::default(),
    };
    let record = AuthRecord {
        id: "k".into(),
        name: "key".to_owned(),
        config: AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, CANARY)),
    };
    let task = NewTask {
        id: "task".into(),
        credentials_id: text(),
        request_uri: format!("/x?code={CANARY}"),
        input: body(),
        results_uri: format!("/results/{CANARY}"),
        webhook_uri: Some(url()),
        deadline: DateTime::UNIX_EPOCH,
    };
    let claimed = Claimed {
        id: DeliveryId(1),
        fence: Fence(1),
        attempts: 0,
        first_failure: None,
        interrupted: false,
        failing_since: None,
        due: DateTime::UNIX_EPOCH,
        event: event(),
        body: body(),
        target: ClaimedTarget::Call(Arc::new(call())),
        auth: Some(Arc::new(record.clone())),
    };
    let bearer = HeaderValue::from_str(&format!("Bearer {CANARY}")).unwrap();
    let new_call = NewCall::new(text(), text())
        .with_input(body())
        .with_webhook_uri(text());
    let report = AttemptReport {
        started_at: DateTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        outcome: Outcome::Answered(StatusCode::OK),
        excerpt: body(),
    };
    let (method, headers) = (Method::POST, HeaderMap::from_iter([(AUTHORIZATION, bearer)]));
    let shown = [
        format!(
            "{:?}",
            Message {
                method: &method,
                target: &format!("/hook?token={CANARY}"),
                headers: &headers,
                body: &body(),
            }
        ),
        format!(
            "{:?}",
            powens::Event::parse(&EventName::UserSynced, Some("text/plain"), &body())
        ),
        format!(
            "{:?}",
            CallError::Failed {
                error: None,
                description: Some(text()),
            }
        ),
        format!("{record:?}"),
        format!("{task:?}"),
        format!("{claimed:?}"),
        format!("{new_call:?}"),
        format!("{report:?}"),
        format!(
            "{:?}",
            NewDelivery {
                target: Target::Call(call()),
                body: Some(body())
            }
        ),
        format!("{:?}", TaskEnd::Succeeded(body())),
        format!("{:?}", TaskProgress::message(text())),
        format!(
            "{:?}",
            TaskEnd::Failed {
                error: "e".to_owned(),
                description: text()
            }
        ),
        format!("{:?}", Registration::new("s", url().expose(), "p")),
        format!("{:?} {}", url(), url()),
        format!("{:?}", event()),
    ];
    for text in shown {
        assert!(!text.contains(CANARY), "{text}");
    }
}

/// However it is written: what others take for user info is not shown, nor what they take for a query.
#[test]
fn no_url_shows_its_user_or_its_query() {
    for (url, shown) in [
        ("https://user:hunter2@h/x", "https://..@h/x"),
        ("https://user:hunter2@a@h/x?hunter2", "https://..@h/x.."),
        ("//user:hunter2@h/x", "//..@h/x"),
        ("https:/user:hunter2@h/x", "https:/..@h/x"),
        ("https:user:hunter2@h/x", "..@h/x"),
        ("https:///user:hunter2@h", "https:///..@h"),
        (r"https:\\user:hunter2@h\x", r"https:\\..@h\x"),
        ("https://user:hunt/er2@h/x", "https://..@h/x"),
        ("/path/@handle#hunter2", "/..@handle.."),
        ("h/x", "h/x"),
    ] {
        assert_eq!(
            format!("{:?}", UrlText::from(url)),
            format!("UrlText({shown})"),
            "{url}"
        );
    }
}
