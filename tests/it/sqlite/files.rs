//! What the file keeps, what several handles share of it, and which files are refused.

use std::path::PathBuf;

use futures_util::FutureExt;
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::store::sqlite::Durability;
use ringback::store::{AuthRecord, ClaimedTarget, StoreError, StoreErrorKind};

use super::*;

/// A folder for one test's file.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ringback.db")
    }

    fn open(&self) -> SqliteStore {
        let builder = SqliteStore::builder().durability(Durability::Normal);
        builder.open(self.path(), key(1)).unwrap()
    }

    /// The file as any SQLite client sees it.
    fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

fn kind<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> StoreErrorKind {
    answer.unwrap_err().kind()
}

#[tokio::test]
async fn everything_is_there_again_after_reopening() {
    let folder = Folder::new();
    let store = folder.open();
    let hook = webhook("w", 5);
    let auth = AuthRecord {
        id: "key".into(),
        name: "n".into(),
        config: AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, "k3y")),
    };
    store.save_webhook(hook.clone(), at(0)).await.unwrap();
    store.save_auth(auth.clone()).await.unwrap();
    enqueue(&store, [event("e1", "w"), event("e2", "w")], at(1)).await;
    let claimed = store.claim(claim(at(1), 9)).await.unwrap();
    let retry = settlement(&claimed[0], at(1), Next::Retry(at(100)));
    assert_eq!(
        store.settle(vec![retry.clone()], at(2)).await.unwrap(),
        [Settled::Done]
    );
    assert_eq!(store.reserve_numbers(7).await.unwrap(), 1);
    let Seen::Fresh(fence) = store
        .begin(&SeenKey::new("r", "k"), Duration::from_secs(9), at(1))
        .await
        .unwrap()
    else {
        panic!("seen before");
    };
    drop(store);

    let store = folder.open();
    assert_eq!(*store.webhook(&"w".into()).await.unwrap().unwrap(), hook);
    assert_eq!(*store.auth(&"key".into()).await.unwrap().unwrap(), auth);
    assert_eq!(store.reserve_numbers(1).await.unwrap(), 8);
    assert!(
        store
            .finish(&SeenKey::new("r", "k"), fence, Duration::from_secs(9), at(2))
            .await
            .unwrap()
    );
    let first = store.delivery(DeliveryId(1)).await.unwrap().unwrap();
    assert_eq!(
        (first.state, first.attempts, first.due),
        (State::Pending, 1, at(100))
    );
    assert_eq!(first.first_failure, Some(at(1) + TimeDelta::milliseconds(20)));
    assert_eq!(
        store.attempts(DeliveryId(1)).await.unwrap()[0].report,
        retry.attempt.unwrap()
    );
    // The second is still in the hands of whoever claimed it, who may well settle it.
    assert_eq!(store.next_due(at(2)).await.unwrap(), Some(at(61)));
    let done = settlement(&claimed[1], at(3), Next::Delivered);
    assert_eq!(store.settle(vec![done], at(3)).await.unwrap(), [Settled::Done]);
    let again = store.claim(claim(at(100), 9)).await.unwrap();
    assert_eq!((again[0].id, again[0].fence), (DeliveryId(1), Fence(2)));
    assert_eq!(again[0].auth.as_deref(), Some(&auth));
    enqueue(&store, [event("e3", "w")], at(100)).await;
    assert_eq!(
        store.deliveries_of(&"s".into(), &"e3".into()).await.unwrap()[0].id,
        DeliveryId(3)
    );
}

#[tokio::test]
async fn two_connections_share_limits_and_see_what_the_other_saved() {
    let folder = Folder::new();
    let (one, two) = (folder.open(), folder.open());
    one.save_webhook(webhook("w", 3), at(0)).await.unwrap();
    enqueue(&two, (0..8).map(|n| event(format!("e{n}"), "w")), at(0)).await;
    let mut claimed = ids_claimed(&one, at(0), 2).await;
    claimed.extend(ids_claimed(&two, at(0), 9).await);
    claimed.extend(ids_claimed(&one, at(0), 9).await);
    assert_eq!(claimed, [1, 2, 3], "three in flight between them, and none twice");

    // Both have the webhook in mind. One changes it, and takes its key away.
    two.save_webhook(
        Webhook {
            name: "renamed".into(),
            ..webhook("w", 4)
        },
        at(1),
    )
    .await
    .unwrap();
    let claimed = one.claim(claim(at(1), 9)).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let ClaimedTarget::Webhook(hook) = &claimed[0].target else {
        panic!("a call");
    };
    assert_eq!(hook.name, "renamed");
    two.remove_webhook(&"w".into(), at(2)).await.unwrap();
    assert_eq!(one.webhook(&"w".into()).await.unwrap(), None);
}

#[test]
fn many_threads_share_commits_and_each_gets_its_own_answer() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.path(), key(1)).unwrap();
    let saved = store.save_webhook(webhook("w", 5), at(0));
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(saved)
        .unwrap();
    let mut ids: Vec<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|thread| {
                let store = store.clone();
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(async {
                        let mut ids = Vec::new();
                        for n in 0..40 {
                            let new = event(format!("{thread}/{n}"), "w");
                            match store.enqueue(vec![new], at(0)).await.unwrap().remove(0) {
                                Enqueued::Fresh(fresh) => ids.extend(fresh.iter().map(|id| id.0)),
                                other => panic!("{other:?}"),
                            }
                        }
                        assert!(ids.is_sorted());
                        ids
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    ids.sort_unstable();
    assert_eq!(ids, (1..=640).collect::<Vec<_>>());
    drop(store);
    let stored: i64 = folder
        .raw()
        .query_one("SELECT count(*) FROM deliveries", [], |row| row.get(0))
        .unwrap();
    assert_eq!(stored, 640);
}

#[tokio::test]
async fn giving_up_the_answer_does_not_give_up_the_call() {
    let folder = Folder::new();
    let store = folder.open();
    store.save_webhook(webhook("w", 5), at(0)).await.unwrap();
    assert!(
        store
            .enqueue(vec![event("e", "w")], at(0))
            .now_or_never()
            .is_none_or(|answer| answer.is_ok())
    );
    drop(store); // waits for what was asked
    assert_eq!(ids_claimed(&folder.open(), at(0), 9).await, [1]);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    for store in [
        SqliteStore::open_in_memory().unwrap(),
        SqliteStore::builder().inline().open_in_memory().unwrap(),
    ] {
        store.close().await;
        store.clone().close().await;
        assert_eq!(kind(store.next_due(at(0)).await), StoreErrorKind::Closed);
        assert_eq!(kind(store.enqueue(vec![], at(0)).await), StoreErrorKind::Closed);
    }
}

#[tokio::test]
async fn what_cannot_be_read_holds_up_itself_and_no_other() {
    let folder = Folder::new();
    let store = folder.open();
    store.save_webhook(webhook("w", 5), at(0)).await.unwrap();
    enqueue(&store, [event("e1", "w")], at(0)).await;
    folder
        .raw()
        .execute("UPDATE events SET media_type = x'0a'", [])
        .unwrap();
    enqueue(&store, [event("e2", "w")], at(0)).await;
    assert_eq!(kind(store.delivery(DeliveryId(1)).await), StoreErrorKind::Corrupt);
    assert_eq!(ids_claimed(&store, at(0), 9).await, [2], "the other one goes");
    assert_eq!(ids_claimed(&store, at(0), 9).await, [] as [i64; 0]);
    folder
        .raw()
        .execute("UPDATE events SET media_type = CAST('text/plain' AS BLOB)", [])
        .unwrap();
    assert_eq!(
        ids_claimed(&store, at(100_000), 9).await,
        [1, 2],
        "once the leases have ended"
    );
}

/// A process that is started anew learns from history that the clock was ahead, and asks the lanes anew.
#[tokio::test]
async fn a_clock_that_was_ahead_is_noticed_after_a_restart_too() {
    let folder = Folder::new();
    let store = folder.open();
    let mut limited = webhook("w", 5);
    limited.limits.rate = Some(Rate::per_second(NonZeroU32::MIN));
    store.save_webhook(limited, at(0)).await.unwrap();
    enqueue(&store, [event("e1", "w"), event("e2", "w")], at(0)).await;
    let claimed = store.claim(claim(at(3_600), 9)).await.unwrap();
    let delivered = settlement(&claimed[0], at(3_600), Next::Delivered);
    store.settle(vec![delivered], at(3_600)).await.unwrap();
    drop(store);
    assert_eq!(ids_claimed(&folder.open(), at(10), 9).await, [2]);
}

#[tokio::test]
async fn a_task_that_cannot_be_read_holds_up_no_other() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..4 {
        let task = NewTask {
            id: format!("task-{number}").into(),
            credentials_id: "c".to_owned(),
            request_uri: "/report".to_owned(),
            input: Bytes::from_static(b"input"),
            results_uri: "/results/1".to_owned(),
            webhook_uri: None,
            deadline: at(1_000),
        };
        assert!(store.create_task(task, at(0)).await.unwrap());
    }
    let set_input = |input: &str| {
        let update = format!("UPDATE tasks SET input = CAST({input} AS BLOB) WHERE id = 'task-1'");
        folder.raw().execute(&update, []).unwrap();
    };
    set_input("x'00' || input");
    let claim = async |second: i64| {
        let request = ClaimRequest {
            holder: "files".into(),
            now: at(second),
            lease: Duration::from_secs(60),
            max: 16,
        };
        let claimed = store.claim_tasks(request).await.unwrap();
        let claimed = claimed
            .iter()
            .map(|claimed| (claimed.task.id.to_string(), claimed.interruptions));
        claimed.collect::<Vec<_>>()
    };
    let others = |interruptions| [0, 2, 3].map(|number| (format!("task-{number}"), interruptions));
    assert_eq!(claim(0).await, others(0));
    assert_eq!(claim(1).await, []);
    assert_eq!(claim(60).await, others(1));
    set_input("substr(input, 2)");
    assert!(claim(121).await.contains(&("task-1".to_owned(), 0)));
}

#[tokio::test]
async fn a_busy_file_is_waited_for_but_not_for_ever() {
    let folder = Folder::new();
    let patient = folder.open();
    let impatient = SqliteStore::builder()
        .busy_timeout(Duration::from_millis(20))
        .open(folder.path(), key(1))
        .unwrap();
    let other = folder.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        kind(impatient.reserve_numbers(1).await),
        StoreErrorKind::Unavailable
    );
    assert_eq!(
        impatient.next_due(at(0)).await.unwrap(),
        None,
        "readers wait for nobody"
    );
    let (reserved, ()) = tokio::join!(patient.reserve_numbers(1), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        other.execute_batch("COMMIT").unwrap();
    });
    assert_eq!(reserved.unwrap(), 1);
    assert_eq!(impatient.reserve_numbers(1).await.unwrap(), 2);
}

#[test]
fn many_may_open_a_new_file_at_once() {
    for _ in 0..10 {
        let folder = Folder::new();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| SqliteStore::open(folder.path(), key(1))))
                .collect();
            for thread in threads {
                thread.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = Folder::new();
    folder
        .raw()
        .execute_batch("CREATE TABLE theirs (a); PRAGMA user_version = 1")
        .unwrap();
    let before = std::fs::read(folder.path()).unwrap();
    assert_eq!(
        kind(SqliteStore::open(folder.path(), key(1))),
        StoreErrorKind::Corrupt
    );
    assert_eq!(std::fs::read(folder.path()).unwrap(), before);

    let folder = Folder::new();
    std::fs::write(
        folder.path(),
        "no database at all, but long enough to be taken for one".repeat(20),
    )
    .unwrap();
    assert_eq!(
        kind(SqliteStore::open(folder.path(), key(1))),
        StoreErrorKind::Corrupt
    );
    let nowhere = folder.path().join("no/such/folder");
    assert_eq!(
        kind(SqliteStore::open(nowhere, key(1))),
        StoreErrorKind::Unavailable
    );
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = Folder::new();
    drop(folder.open());
    folder.raw().execute_batch("PRAGMA user_version = 4711").unwrap();
    assert_eq!(
        kind(SqliteStore::open(folder.path(), key(1))),
        StoreErrorKind::TooNew
    );
}
