//! Events submitted in transactions of the application's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ringback::delivery::{Event, PlainProfile};
use ringback::engine::{Engine, Registration, TokioTimer};
use ringback::retry::Schedule;
use ringback::store::{EncryptionKeys, IntakeStore, SqliteStore, StoreErrorKind};
use ringback::transport::sender_fn;
use rusqlite::{Connection, TransactionBehavior};

use super::key;

fn event(number: u32) -> Event {
    let number = number.to_string();
    Event::builder("s", number.clone(), "t")
        .json(number)
        .build()
        .unwrap()
}

fn application(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(20)).unwrap();
    conn.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER)", ())
        .unwrap();
    conn
}

/// What the application does: an order, and the event that tells of it.
fn place(conn: &mut Connection, store: &SqliteStore, number: u32) -> rusqlite::Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("INSERT INTO orders VALUES (?1)", [number])?;
    store.submit_in(&transaction, &[event(number)]).unwrap();
    transaction.commit()
}

fn orders(conn: &Connection) -> Vec<String> {
    let mut select = conn.prepare("SELECT number FROM orders ORDER BY number").unwrap();
    let orders = select.query_map((), |row| row.get::<_, u32>(0)).unwrap();
    orders.map(|number| number.unwrap().to_string()).collect()
}

/// Everything that is received while a worker runs, until all is taken in.
async fn received(store: &SqliteStore, at_least: usize) -> BTreeMap<String, u32> {
    received_but(store, at_least, 0).await
}

/// Everything that is received until no more than so many submissions are left.
async fn received_but(store: &SqliteStore, at_least: usize, left: usize) -> BTreeMap<String, u32> {
    let received: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let into = Arc::clone(&received);
    let sender = sender_fn(move |request: Request<Bytes>| {
        let body = String::from_utf8(request.into_body().to_vec()).unwrap();
        *into.lock().unwrap().entry(body).or_default() += 1;
        async { Ok(Response::new(Bytes::new())) }
    });
    let engine = Engine::builder(store.clone(), sender, TokioTimer)
        .profile(PlainProfile::new("plain", Schedule::truv()))
        .poll_interval(Duration::from_millis(20))
        .build();
    let registration = Registration::new("s", "https://receiver.example/hook", "plain").id("w");
    engine.dispatcher().register(registration).await.unwrap();
    let all = async {
        for _ in 0..1_000 {
            let there = received.lock().unwrap().len();
            let submissions = store.submissions(None, left + 1).await.unwrap();
            if there >= at_least && submissions.len() <= left {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not within twenty seconds");
    };
    engine.worker().run_until(all).await.unwrap();
    received.lock().unwrap().clone()
}

#[tokio::test]
async fn what_commits_is_sent_and_what_rolls_back_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let store = SqliteStore::open(&path, key(1)).unwrap();
    let mut conn = application(&path);
    let undone = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    store.submit_in(&undone, &[event(1)]).unwrap();
    undone.rollback().unwrap();
    let done = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    store.submit_in(&done, &[event(2), event(3)]).unwrap();
    assert!(
        store.submissions(None, 10).await.unwrap().is_empty(),
        "it is not committed yet"
    );
    let heard = store.intake_wake().listen();
    done.commit().unwrap();
    store.intake_wake().ring();
    heard.await;
    let expected = [("2".to_owned(), 1), ("3".to_owned(), 1)];
    assert_eq!(received(&store, 2).await, BTreeMap::from(expected));
    let file = std::fs::read(&path).unwrap();
    assert!(!file.is_empty());
}

/// Applications and workers want to write at the same time, and one of them keeps the others waiting for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_database_waits_and_loses_nothing() {
    const EACH: u32 = 60;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let store = SqliteStore::open(&path, key(1)).unwrap();
    drop(application(&path));
    let applications: Vec<_> = (0..3)
        .map(|application_no| {
            let (store, path) = (store.clone(), path.clone());
            thread::spawn(move || {
                let mut conn = application(&path);
                for number in application_no * EACH..(application_no + 1) * EACH {
                    place(&mut conn, &store, number).unwrap();
                }
            })
        })
        .collect();
    let long = {
        let path = path.clone();
        thread::spawn(move || {
            let mut conn = application(&path);
            for _ in 0..3 {
                let held = conn
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .unwrap();
                thread::sleep(Duration::from_millis(300));
                held.commit().unwrap();
            }
        })
    };
    let received = received(&store, 3 * EACH as usize).await;
    for application in applications {
        application.join().unwrap();
    }
    long.join().unwrap();
    let expected = (0..3 * EACH).map(|number| (number.to_string(), 1));
    assert_eq!(received, expected.collect());
}

const DATABASE: &str = "RINGBACK_TEST_SUBMITTING_DATABASE";
const FIRST: &str = "RINGBACK_TEST_SUBMITTING_FIRST";

/// What runs in the process that is killed: places orders, one after another.
#[test]
fn child() {
    let Ok(path) = std::env::var(DATABASE) else {
        return;
    };
    let path = Path::new(&path);
    let store = SqliteStore::open(path, key(1)).unwrap();
    let mut conn = application(path);
    let first: u32 = std::env::var(FIRST).unwrap().parse().unwrap();
    for number in first.. {
        place(&mut conn, &store, number).unwrap();
    }
}

/// Killed anywhere, a process has done both or neither.
#[tokio::test]
async fn a_crash_does_what_the_transaction_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let store = SqliteStore::open(&path, key(1)).unwrap();
    let conn = application(&path);
    for round in 0..12_u32 {
        let before = orders(&conn).len();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::intake::child", "--test-threads=1"])
            .env(DATABASE, &path)
            .env(FIRST, (round * 1_000_000).to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while orders(&conn).len() < before + 3 {
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_micros(u64::from(round) * 370));
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    let placed = orders(&conn);
    let received = received(&store, placed.len()).await;
    assert_eq!(received, placed.into_iter().map(|number| (number, 1)).collect());
}

#[tokio::test]
async fn a_key_that_is_not_at_hand_is_not_written_around() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let old = SqliteStore::open(&path, key(1)).unwrap();
    let both = SqliteStore::open(&path, EncryptionKeys::new(key(1)).and(key(2))).unwrap();
    drop(SqliteStore::open(&path, EncryptionKeys::new(key(2)).and(key(1))).unwrap());
    let mut conn = application(&path);
    let transaction = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    both.submit_in(&transaction, &[event(1)]).unwrap();
    let refused = old.submit_in(&transaction, &[event(2)]).unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::WrongKey);
    transaction.commit().unwrap();
    let submissions = both.submissions(None, 10).await.unwrap();
    assert_eq!(submissions.len(), 1);
    assert_eq!(submissions[0].event, Some(event(1)));
}

/// One row that is damaged, or that a newer version has written: its scope waits, and no other does.
#[tokio::test]
async fn a_webhook_that_cannot_be_read_holds_up_its_own_scope_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("intake.db");
    let store = SqliteStore::open(&path, key(1)).unwrap();
    let engine = Engine::builder(
        store.clone(),
        sender_fn(|_| async { Ok(Response::default()) }),
        TokioTimer,
    )
    .profile(PlainProfile::new("plain", Schedule::truv()))
    .build();
    let registration = Registration::new("damaged", "https://receiver.example/hook", "plain").id("d");
    engine.dispatcher().register(registration).await.unwrap();
    drop(engine);
    application(&path)
        .execute("UPDATE webhooks SET json = x'00' WHERE id = 'd'", ())
        .unwrap();
    let damaged = Event::builder("damaged", "1", "t").json("0").build().unwrap();
    store.submit(vec![damaged, event(7)]).await.unwrap();
    let received = received_but(&store, 1, 1).await;
    assert_eq!(received.into_keys().collect::<Vec<_>>(), ["7"]);
    assert!(
        store.set_aside(None, 1).await.unwrap().is_empty(),
        "it may be read again"
    );
}

/// A submission that meets a damaged row is passed by; those that come with it are taken in.
#[tokio::test]
async fn an_event_that_cannot_be_read_holds_up_its_own_copies_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("intake.db");
    let store = SqliteStore::open(&path, key(1)).unwrap();
    store.submit(vec![event(7)]).await.unwrap();
    assert_eq!(received(&store, 1).await.len(), 1);
    application(&path)
        .execute("UPDATE events SET fingerprint = x'00'", ())
        .unwrap();
    store.submit((7..10).map(event).collect()).await.unwrap();
    let received = received_but(&store, 2, 1).await;
    assert_eq!(received.into_keys().collect::<Vec<_>>(), ["8", "9"]);
}
