//! Events submitted in transactions of applications' own, by whatever client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use libtest_mimic::Trial;
use ringback::delivery::{Event, PlainProfile};
use ringback::engine::{Engine, Notice, Registration, TokioTimer, listener_fn};
use ringback::retry::Schedule;
use ringback::store::{EncryptionKey, EncryptionKeys, IntakeStore, PostgresStore, SetAside};
use ringback::transport::sender_fn;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::server::{Server, key, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "intake::what_commits_is_sent_once_and_what_rolls_back_is_not",
            in_a_transaction,
        ),
        trial("intake::any_client_can_submit", from_sql),
        trial("intake::a_role_needs_no_right_to_the_tables", by_another_role),
        trial("intake::a_crash_does_what_the_transaction_did", crashes),
        trial("intake::bodies_are_encrypted_under_the_key_that_encrypts", keys),
        trial("intake::what_nobody_can_use_is_set_aside", set_aside),
        trial("intake::a_store_for_simulations_hears_no_other_process", deaf),
    ]
}

/// A process that sends to one webhook of the scope `s`, and what was received there.
struct Process {
    received: Arc<Mutex<Vec<String>>>,
    notices: Arc<Mutex<Vec<Notice>>>,
    _working: tokio::task::JoinHandle<()>,
}

impl Process {
    /// It looks by the clock once an hour, so whatever arrives was rung for.
    async fn start(store: PostgresStore) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&received);
        let sender = sender_fn(move |request: Request<Bytes>| {
            let body = String::from_utf8(request.into_body().to_vec()).unwrap();
            into.lock().unwrap().push(body);
            async { Ok(Response::new(Bytes::new())) }
        });
        let notices = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&notices);
        let engine = Engine::builder(store, sender, TokioTimer)
            .profile(PlainProfile::new("plain", Schedule::truv()))
            .listener(listener_fn(move |notice| {
                told.lock().unwrap().push(notice.clone())
            }))
            .poll_interval(Duration::from_secs(3600))
            .build();
        let registration = Registration::new("s", "https://receiver.example/hook", "plain").id("w");
        engine.dispatcher().register(registration).await.unwrap();
        let worker = engine.worker();
        let working = tokio::spawn(async move { worker.run().await.unwrap() });
        Self {
            received,
            notices,
            _working: working,
        }
    }

    fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }

    async fn until_received(&self, how_many: usize) -> Vec<String> {
        until("what was submitted arrives", async || {
            self.received().len() >= how_many
        })
        .await;
        self.received()
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: not within half a minute");
}

fn event(number: u32) -> Event {
    let number = number.to_string();
    Event::builder("s", number.clone(), "t")
        .json(number)
        .build()
        .unwrap()
}

/// A connection of the application's, and a table of its own.
async fn application(server: &Server) -> Client {
    let client = server.client().await;
    let table = format!(
        "CREATE TABLE IF NOT EXISTS \"{}\".orders (number bigint)",
        server.schema
    );
    client.batch_execute(&table).await.unwrap();
    client
}

async fn in_a_transaction(server: Server) {
    let store = server.store().await;
    let process = Process::start(store.clone()).await;
    let mut client = application(&server).await;
    let insert = format!("INSERT INTO \"{}\".orders VALUES ($1)", server.schema);

    let undone = client.transaction().await.unwrap();
    undone.execute(&insert, &[&1_i64]).await.unwrap();
    store.submit_in(&undone, &[event(1)]).await.unwrap();
    undone.rollback().await.unwrap();

    let done = client.transaction().await.unwrap();
    done.execute(&insert, &[&2_i64]).await.unwrap();
    store.submit_in(&done, &[event(2), event(3)]).await.unwrap();
    store.submit_in(&done, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(process.received(), [""; 0], "it is not committed yet");
    done.commit().await.unwrap();
    assert_eq!(process.until_received(2).await, ["2", "3"]);

    // Twice is once.
    let again = client.transaction().await.unwrap();
    store.submit_in(&again, &[event(2), event(4)]).await.unwrap();
    again.commit().await.unwrap();
    assert_eq!(process.until_received(3).await, ["2", "3", "4"]);
    assert!(store.submissions(None, 10).await.unwrap().is_empty());
    let count = format!("SELECT count(*) FROM \"{}\".orders", server.schema);
    let orders: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
    assert_eq!(orders, 1);
}

async fn from_sql(server: Server) {
    let process = Process::start(server.store().await).await;
    let mut client = server.client().await;
    let schema = &server.schema;

    let undone = client.transaction().await.unwrap();
    let text = format!("SELECT \"{schema}\".enqueue('s', 'undone', 't', '0')");
    undone.batch_execute(&text).await.unwrap();
    undone.rollback().await.unwrap();

    // As text, as bytes, with named arguments, many at once, and what prepared statements bind.
    let text = format!(
        "BEGIN;
         SELECT \"{schema}\".enqueue('s', 'text', 't', '{{\"a\": 1}}');
         SELECT \"{schema}\".enqueue('s', 'bytes', 't', '\\x3232'::bytea, 'user-7', 'text/plain; charset=utf-8');
         SELECT \"{schema}\".enqueue(scope => 's', event_id => 'named', kind => 't', body => 'ü', subject => 'user-7');
         SELECT \"{schema}\".enqueue('s', 'many-' || n, 't', jsonb_build_object('n', n)::text) FROM generate_series(1, 3) n;
         COMMIT"
    );
    client.batch_execute(&text).await.unwrap();
    let select = format!("SELECT \"{schema}\".enqueue($1, $2, $3, $4)");
    client
        .query(&select, &[&"s", &"bound", &"t", &"5"])
        .await
        .unwrap();
    assert_eq!(
        process.until_received(7).await,
        [
            "{\"a\": 1}",
            "22",
            "ü",
            "{\"n\": 1}",
            "{\"n\": 2}",
            "{\"n\": 3}",
            "5"
        ]
    );

    // What nothing could be made of is refused while there is somebody to hear of it.
    for arguments in [
        "NULL, '1', 't', '{}'",
        "'s', '', 't', '{}'",
        "'s', NULL, 't', '{}'",
        "'s', '1', '', '{}'",
        "'s', '1', 't', NULL::text",
        "'s', '1', 't', NULL::bytea",
        "'s', '1', 't', '{}', media_type => ''",
        "'s', '1', 't', '{}', media_type => E'text/plain\\nx: y'",
        "'s', '1', 't', '{}', media_type => NULL",
    ] {
        let refused = client
            .batch_execute(&format!("SELECT \"{schema}\".enqueue({arguments})"))
            .await;
        let code = refused.expect_err(arguments).code().cloned();
        assert_eq!(code, Some(SqlState::INVALID_PARAMETER_VALUE), "{arguments}");
    }
    assert_eq!(process.received().len(), 7);
}

async fn by_another_role(server: Server) {
    let process = Process::start(server.store().await).await;
    let client = server.client().await;
    let (schema, role) = (&server.schema, format!("{}_shop", server.schema));
    client
        .batch_execute(&format!("CREATE ROLE \"{role}\""))
        .await
        .unwrap();
    let submit = format!("SET ROLE \"{role}\"; SELECT \"{schema}\".enqueue('s', '1', 't', '1')");
    let grant = format!("GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\"");
    client.batch_execute(&grant).await.unwrap();
    let refused = client.batch_execute(&submit).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        "not without having been told"
    );
    let grant = format!(
        "RESET ROLE; GRANT EXECUTE ON FUNCTION \"{schema}\".enqueue(text, text, text, text, text, text),
            \"{schema}\".enqueue(text, text, text, bytea, text, text) TO \"{role}\""
    );
    client.batch_execute(&grant).await.unwrap();
    client.batch_execute(&submit).await.unwrap();
    let read = client
        .batch_execute(&format!("SELECT * FROM \"{schema}\".intake"))
        .await;
    assert_eq!(read.unwrap_err().code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    assert_eq!(process.until_received(1).await, ["1"]);
    let drop = format!("RESET ROLE; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"");
    client.batch_execute(&drop).await.unwrap();
}

/// Connections are cut while their transactions are being committed, sometimes before and sometimes after. What the
/// application's table has is what is received, each once.
async fn crashes(server: Server) {
    let store = server.store().await;
    let process = Process::start(store.clone()).await;
    let watching = application(&server).await;
    let insert = format!("INSERT INTO \"{}\".orders VALUES ($1)", server.schema);

    // Dropped before the commit was sent.
    let (mut client, connection) = server.config.connect(NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let transaction = client.transaction().await.unwrap();
    transaction.execute(&insert, &[&0_i64]).await.unwrap();
    store.submit_in(&transaction, &[event(0)]).await.unwrap();
    connection.abort();
    drop(transaction);

    let (mut told, mut cut) = (0, 0);
    for number in 1..=60_u32 {
        let mut client = server.client().await;
        let pid: i32 = client
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap()
            .get(0);
        let transaction = client.transaction().await.unwrap();
        transaction.execute(&insert, &[&i64::from(number)]).await.unwrap();
        store.submit_in(&transaction, &[event(number)]).await.unwrap();
        let kill = async {
            tokio::time::sleep(Duration::from_micros(u64::from(number % 20) * 100)).await;
            let kill = "SELECT pg_terminate_backend($1)";
            watching.query_one(kill, &[&pid]).await.unwrap();
        };
        let (committed, ()) = tokio::join!(transaction.commit(), kill);
        match committed {
            Ok(()) => told += 1,
            Err(_) => cut += 1,
        }
    }
    let select = format!("SELECT number FROM \"{}\".orders ORDER BY number", server.schema);
    let orders: Vec<String> = watching
        .query(&select, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get::<_, i64>(0).to_string())
        .collect();
    assert!(!orders.contains(&"0".to_owned()), "nobody has committed it");
    assert!(
        orders.len() >= told,
        "{told} were told to be committed, {cut} were cut off"
    );
    process.until_received(orders.len()).await;
    until("everything is taken in", async || {
        store.submissions(None, 1).await.unwrap().is_empty()
    })
    .await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for body in process.received() {
        *counts.entry(body).or_default() += 1;
    }
    let mut expected: BTreeMap<String, u32> = BTreeMap::new();
    expected.extend(orders.into_iter().map(|number| (number, 1)));
    assert_eq!(counts, expected);
}

async fn keys(server: Server) {
    let store = server.store().await;
    let mut client = server.client().await;
    let submit = async |client: &mut Client, id: &str, body: &'static str| {
        let event = Event::builder("s", id, "t").json(body).build().unwrap();
        let transaction = client.transaction().await.unwrap();
        store.submit_in(&transaction, &[event]).await.unwrap();
        transaction.commit().await.unwrap();
    };
    submit(&mut client, "1", "a secret").await;
    let select = format!("SELECT body FROM \"{}\".intake", server.schema);
    let kept: Vec<u8> = client.query_one(&select, &[]).await.unwrap().get(0);
    assert!(!kept.windows(8).any(|part| part == b"a secret"));

    // Another process brings a new key. This one, which reads with both, goes by it.
    let new = EncryptionKey::new([8; 32]);
    let both = EncryptionKeys::new(key()).and(new.clone());
    let reads_both = server
        .builder()
        .connect(server.config.clone(), NoTls, both)
        .await
        .unwrap();
    let first = EncryptionKeys::new(new.clone()).and(key());
    let replacing = server
        .builder()
        .connect(server.config.clone(), NoTls, first)
        .await
        .unwrap();
    let event = Event::builder("s", "2", "t").json("another").build().unwrap();
    let transaction = client.transaction().await.unwrap();
    reads_both.submit_in(&transaction, &[event]).await.unwrap();
    transaction.commit().await.unwrap();
    let done = replacing.encrypt_anew().await.unwrap();
    assert_eq!(
        (done.values, done.unreadable),
        (1, 0),
        "the first, and not the second"
    );

    // And one that has only the new key reads everything.
    let only_new = server
        .builder()
        .connect(server.config.clone(), NoTls, new)
        .await
        .unwrap();
    let submissions = only_new.submissions(None, 10).await.unwrap();
    let bodies = submissions
        .into_iter()
        .map(|submission| submission.event.unwrap().body().clone());
    assert_eq!(bodies.collect::<Vec<_>>(), ["a secret", "another"]);
    // The one that has only the old key says so, and writes nothing that could not be read.
    let transaction = client.transaction().await.unwrap();
    assert!(store.submit_in(&transaction, &[self::event(3)]).await.is_err());
}

async fn set_aside(server: Server) {
    let store = server.store().await;
    let client = server.client().await;
    let schema = &server.schema;
    let text = format!(
        "SELECT \"{schema}\".enqueue('s', '1', 't', '1');
         SELECT \"{schema}\".enqueue('s', '1', 't', 'differs');
         SELECT \"{schema}\".enqueue('s', 'damaged', 't', '2');
         UPDATE \"{schema}\".intake SET plain_body = NULL, body = '\\xdeadbeefdeadbeef00' WHERE event_id = 'damaged';
         SELECT \"{schema}\".enqueue('s', '3', 't', '3')"
    );
    client.batch_execute(&text).await.unwrap();
    let process = Process::start(store.clone()).await;
    assert_eq!(process.until_received(2).await, ["1", "3"]);
    let kept = store.set_aside(None, 10).await.unwrap();
    let why: Vec<_> = kept.iter().map(|(kept, why)| (kept.id.as_str(), *why)).collect();
    assert_eq!(why, [("1", SetAside::Conflict), ("damaged", SetAside::Unusable)]);
    let notices = process.notices.lock().unwrap().clone();
    let told = notices
        .iter()
        .filter(|notice| matches!(notice, Notice::SetAside { .. }));
    assert_eq!(
        told.map(ToString::to_string).collect::<Vec<_>>(),
        [
            "the event s/1 was submitted and set aside: another event has its id",
            "the event s/damaged was submitted and set aside: it cannot be used"
        ]
    );
}

/// What comes from elsewhere comes at any moment, in which no two runs are the same.
async fn deaf(server: Server) {
    let inline = server.builder().inline();
    let inline = inline.connect(server.config.clone(), NoTls, key()).await.unwrap();
    let (near, elsewhere) = (server.store().await, server.store().await);
    let heard_inline = inline.intake_wake().listen();
    for number in 0..10 {
        let heard = near.intake_wake().listen();
        elsewhere.submit(vec![event(number)]).await.unwrap();
        heard.await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(heard_inline.now_or_never().is_none());
}
