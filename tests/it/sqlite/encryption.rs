//! What a copy of the file gives away, and how its keys are replaced while it is in use.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use ringback::auth::{AuthConfig, HeadersAuth, HmacAuth, HmacScheme};
use ringback::delivery::{Call, PlainProfile, Target};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::{AuthRecord, EncryptionKeys, StoreError, StoreErrorKind};
use ringback::task::TaskProgress;
use ringback::transport::sender_fn;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ringback.db")
    }

    fn open(&self, keys: impl Into<EncryptionKeys>) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(self.path(), keys)
    }

    /// The bytes of all files there: the database, its log, its index.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(self.0.path()).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        bytes
    }

    /// Whether the text is in there, as it is or as a list of numbers, which is how JSON writes bytes.
    fn shows(&self, text: &str) -> bool {
        let bytes = self.bytes();
        let numbers: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
        [text, &numbers.join(",")]
            .iter()
            .any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

fn refused(answer: Result<SqliteStore, StoreError>) -> StoreErrorKind {
    answer.unwrap_err().kind()
}

/// Each stands for another thing that must not be read from the file.
const PLANTED: [&str; 15] = [
    "planted-progress",
    "planted-hmac-key",
    "planted-header",
    "planted-webhook-url",
    "planted-call-url",
    "planted-body",
    "planted-own-body",
    "planted-event-header",
    "planted-excerpt",
    "planted-input",
    "planted-result",
    "planted-request-uri",
    "planted-results-uri",
    "planted-task-webhook",
    "planted-failure",
];

/// Puts every one of them where it belongs.
async fn plant(store: &SqliteStore) {
    let url =
        |what: &str| WebhookUrl::parse(&format!("https://example.com/hook?token=planted-{what}")).unwrap();
    let hmac = AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, "planted-hmac-key"));
    let headers = [("x-key".parse().unwrap(), "planted-header".into())];
    let headers = AuthConfig::Headers(HeadersAuth {
        headers: headers.into(),
    });
    for (id, config) in [("key", hmac), ("headers", headers)] {
        let (id, name) = (id.into(), "n".into());
        store.save_auth(AuthRecord { id, name, config }).await.unwrap();
    }
    let hook = Webhook {
        url: url("webhook-url"),
        ..webhook("w", 5)
    };
    store.save_webhook(hook, at(0)).await.unwrap();
    let call = Call {
        url: url("call-url"),
        profile: "p".into(),
        auth: None,
        limits: Limits::default(),
    };
    let event = Event::builder("s", "e", "ping")
        .json(r#"{"iban":"planted-body"}"#)
        .header(
            "x-token".parse().unwrap(),
            "planted-event-header".parse().unwrap(),
        )
        .build()
        .unwrap();
    let to = |target, body: Option<&'static str>| NewDelivery {
        target,
        body: body.map(Bytes::from),
    };
    let new = NewEvent {
        event: Arc::new(event),
        deliveries: vec![
            to(Target::Webhook("w".into()), Some("planted-own-body")),
            to(Target::Call(call), None),
        ],
    };
    store.enqueue(vec![new], at(0)).await.unwrap();
    let claimed = store.claim(claim(at(0), 1)).await.unwrap();
    let mut settlement = settlement(&claimed[0], at(0), Next::Retry(at(5)));
    settlement.attempt.as_mut().unwrap().excerpt = Bytes::from("planted-excerpt");
    store.settle(vec![settlement], at(1)).await.unwrap();
    for (id, end) in [
        ("done", TaskEnd::Succeeded(Bytes::from("planted-result"))),
        (
            "failed",
            TaskEnd::Failed {
                error: "provider_error".into(),
                description: "planted-failure".into(),
            },
        ),
    ] {
        let task = NewTask {
            id: id.into(),
            credentials_id: "c".into(),
            request_uri: "/x?code=planted-request-uri".into(),
            input: Bytes::from("planted-input"),
            results_uri: "/results/planted-results-uri".into(),
            webhook_uri: Some(url("task-webhook")),
            deadline: at(900),
        };
        store.create_task(task, at(0)).await.unwrap();
        let progress = TaskProgress::of(1, 2).with_message("planted-progress");
        let fence = store.claim_tasks(claim(at(0), 1)).await.unwrap()[0].fence;
        store
            .report_task(&id.into(), fence, progress, at(1))
            .await
            .unwrap();
        let settlement = TaskSettlement {
            id: id.into(),
            fence: Some(fence),
            end,
            callback: None,
            keep: Keep {
                results_until: at(500),
                known_until: at(600),
            },
        };
        store.finish_task(settlement, at(1)).await.unwrap();
    }
}

/// All that can be read, as text: what was planted is in it, whatever the file shows.
async fn everything(store: &SqliteStore) -> String {
    let mut seen = String::new();
    let mut note = |bytes: &[u8]| seen.push_str(&format!("{} ", String::from_utf8_lossy(bytes)));
    for id in ["key", "headers"] {
        match &store.auth(&id.into()).await.unwrap().unwrap().config {
            AuthConfig::Hmac(hmac) => note(hmac.keys[0].secret.expose()),
            AuthConfig::Headers(headers) => note(headers.headers[0].1.expose()),
            other => panic!("{other:?}"),
        }
    }
    let hook = store.webhook(&"w".into()).await.unwrap().unwrap();
    note(hook.url.expose().as_bytes());
    assert_eq!(store.webhooks(&"s".into()).await.unwrap(), [hook]);
    for delivery in store.deliveries_of(&"s".into(), &"e".into()).await.unwrap() {
        note(delivery.body.as_deref().unwrap_or_default());
        note(delivery.event.body());
        note(delivery.event.headers()["x-token"].as_bytes());
        if let Target::Call(call) = &delivery.target {
            note(call.url.expose().as_bytes());
        }
        for attempt in store.attempts(delivery.id).await.unwrap() {
            note(&attempt.report.excerpt);
        }
    }
    for id in ["done", "failed"] {
        let record = store.task(&id.into()).await.unwrap().unwrap();
        note(record.progress.unwrap().message.unwrap_or_default().as_bytes());
        note(record.task.request_uri.as_bytes());
        note(record.task.results_uri.as_bytes());
        note(&record.task.input);
        note(record.task.webhook_uri.unwrap().expose().as_bytes());
        match record.ended.unwrap().end {
            TaskEnd::Succeeded(results) => note(&results),
            TaskEnd::Failed { description, .. } => note(description.as_bytes()),
        }
    }
    seen
}

fn assert_everything_is_there(seen: &str) {
    for planted in PLANTED {
        assert!(seen.contains(planted), "{planted} is not in {seen}");
    }
}

#[tokio::test]
async fn a_copy_of_the_files_gives_away_no_secret() {
    let folder = Folder::new();
    let store = folder.open(key(1)).unwrap();
    plant(&store).await;
    assert_everything_is_there(&everything(&store).await);
    for closed in [false, true] {
        for planted in PLANTED {
            assert!(!folder.shows(planted), "{planted}, closed: {closed}");
        }
        assert!(
            folder.shows("ping"),
            "what is looked for is where it is looked for"
        );
        store.close().await;
    }
    let reopened = folder.open(key(1)).unwrap();
    assert_everything_is_there(&everything(&reopened).await);

    // The search finds what is there.
    let plain = Folder::new();
    plant(&plain.open(EncryptionKeys::dangerous_plaintext()).unwrap()).await;
    for planted in PLANTED {
        assert!(plain.shows(planted), "{planted}");
    }
}

#[tokio::test]
async fn a_wrong_key_opens_nothing_and_changes_nothing() {
    let folder = Folder::new();
    let store = folder.open(key(1)).unwrap();
    plant(&store).await;
    drop(store);
    let before = folder.bytes();
    for keys in [
        EncryptionKeys::new(key(2)),
        EncryptionKeys::new(key(2)).and(key(3)).and_plaintext(),
        EncryptionKeys::dangerous_plaintext(),
    ] {
        let refused = folder.open(keys).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::WrongKey);
        let why = std::error::Error::source(&refused).unwrap().to_string();
        assert!(why.contains(&key(1).id().to_string()), "{why}");
    }
    assert_eq!(folder.bytes(), before);
    assert_everything_is_there(&everything(&folder.open(key(1)).unwrap()).await);

    let plain = Folder::new();
    drop(plain.open(EncryptionKeys::dangerous_plaintext()).unwrap());
    assert_eq!(refused(plain.open(key(1))), StoreErrorKind::WrongKey);
}

#[tokio::test]
async fn a_key_is_replaced_and_needed_no_more() {
    let folder = Folder::new();
    let store = folder.open(key(1)).unwrap();
    plant(&store).await;
    assert_eq!(
        store.encrypt_anew().await.unwrap().values,
        0,
        "it is all under the newest"
    );

    let rotated = folder.open(EncryptionKeys::new(key(2)).and(key(1))).unwrap();
    assert_eq!(refused(folder.open(key(2))), StoreErrorKind::WrongKey, "not yet");
    // One that does not have the new key stops at once, with nothing done.
    let answer = store.save_webhook(webhook("w2", 1), at(9)).await;
    assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::WrongKey);
    assert_everything_is_there(&everything(&rotated).await);
    let done = rotated.encrypt_anew().await.unwrap();
    assert!(done.values >= PLANTED.len() as u64, "{done:?}");
    assert_eq!(done.unreadable, 0);
    assert_eq!(rotated.encrypt_anew().await.unwrap().values, 0);
    drop((store, rotated));

    assert_eq!(refused(folder.open(key(1))), StoreErrorKind::WrongKey);
    let store = folder.open(key(2)).unwrap();
    assert_everything_is_there(&everything(&store).await);
    let again = store.enqueue(vec![event("e", "w")], at(9)).await.unwrap();
    assert_eq!(again, [Enqueued::Conflict], "fingerprints are read too");
}

#[tokio::test]
async fn encryption_can_be_turned_on_later() {
    let folder = Folder::new();
    plant(&folder.open(EncryptionKeys::dangerous_plaintext()).unwrap()).await;
    let store = folder.open(EncryptionKeys::new(key(1)).and_plaintext()).unwrap();
    store.encrypt_anew().await.unwrap();
    drop(store);
    let raw = rusqlite::Connection::open(folder.path()).unwrap();
    raw.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    for planted in PLANTED {
        assert!(!folder.shows(planted), "{planted}");
    }
    assert_everything_is_there(&everything(&folder.open(key(1)).unwrap()).await);
}

#[tokio::test]
async fn what_was_moved_to_another_row_is_not_read() {
    let folder = Folder::new();
    let store = folder.open(key(1)).unwrap();
    plant(&store).await;
    let raw = rusqlite::Connection::open(folder.path()).unwrap();
    raw.execute_batch("UPDATE auths SET config = (SELECT config FROM auths WHERE id = 'headers')")
        .unwrap();
    assert!(store.auth(&"headers".into()).await.unwrap().is_some());
    let moved = store.auth(&"key".into()).await;
    assert_eq!(moved.unwrap_err().kind(), StoreErrorKind::Corrupt);
    // It is left as it is, and keeps nobody from replacing the key.
    let rotated = folder.open(EncryptionKeys::new(key(2)).and(key(1))).unwrap();
    assert_eq!(rotated.encrypt_anew().await.unwrap().unreadable, 1);
}

/// Two processes' stores, each with its own view of the file, take events in and deliver them while the key is replaced
/// twice under them.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_while_workers_run_and_nothing_is_lost() {
    let folder = Folder::new();
    let ring = |first: u8, other: u8| EncryptionKeys::new(key(first)).and(key(other));
    let received = Arc::new(std::sync::Mutex::new(
        std::collections::BTreeMap::<String, u32>::new(),
    ));
    let engine = |store: SqliteStore| {
        let received = Arc::clone(&received);
        let sender = sender_fn(move |request: http::Request<Bytes>| {
            let body = String::from_utf8(request.into_body().to_vec()).unwrap();
            *received.lock().unwrap().entry(body).or_default() += 1;
            async { Ok(http::Response::new(Bytes::new())) }
        });
        let profile = PlainProfile::new("plain", Schedule::standard_webhooks());
        let poll = Duration::from_millis(5);
        Engine::builder(store, sender, TokioTimer)
            .profile(profile)
            .poll_interval(poll)
            .build()
    };
    const EVENTS: usize = 200;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for (name, keys) in [("a", ring(1, 2)), ("b", ring(1, 2))] {
        let engine = engine(folder.open(keys).unwrap());
        let hook = Registration::new(name, "https://example.com/hook", "plain").id(name);
        engine.dispatcher().register(hook).await.unwrap();
        let is_over = Arc::clone(&is_over);
        let worker = engine.worker();
        tasks.push(tokio::spawn(async move {
            let stop = async {
                while !is_over.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            worker.run_until(stop).await.unwrap();
        }));
        tasks.push(tokio::spawn(async move {
            for number in 0..EVENTS {
                let event =
                    Event::builder(name, format!("{number}"), "t").json(format!("[\"{name}\",{number}]"));
                engine.dispatcher().enqueue(event.build().unwrap()).await.unwrap();
            }
        }));
    }
    // Key 2 comes, key 1 goes; both workers have had both from the start.
    let rotating = folder.open(ring(2, 1)).unwrap();
    rotating.encrypt_anew().await.unwrap();
    assert_eq!(refused(folder.open(key(1))), StoreErrorKind::WrongKey);
    let expected: Vec<String> = ["a", "b"]
        .iter()
        .flat_map(|name| (0..EVENTS).map(move |number| format!("[\"{name}\",{number}]")))
        .collect();
    let all = async {
        while received.lock().unwrap().len() < expected.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    is_over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    drop(rotating);
    assert!(
        expected
            .iter()
            .all(|body| received.lock().unwrap().get(body) == Some(&1)),
        "none is lost, none sent twice"
    );

    // The new key alone reads all of history.
    let store = folder.open(key(2)).unwrap();
    for name in ["a", "b"] {
        for number in 0..EVENTS {
            let found = store
                .deliveries_of(&name.into(), &number.to_string().into())
                .await
                .unwrap();
            assert_eq!(found[0].state, State::Delivered);
        }
    }
}
