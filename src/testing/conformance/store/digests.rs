//! Updates, gathered into digests.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;

use super::scene::{
    Checked, MICROSECOND, at, claim, claim_one, enqueue_event, event, new, only, to_webhook, webhook,
};
use super::waking::rang;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{Event, Interval, Window};
use crate::id::{EventType, Subject};
use crate::store::{Chunk, Enqueued, NewEvent, SealedWindow, TakeChunk, Update, WindowNo};
use crate::time::before;

/// Windows begin with the check, and every 900 seconds after.
const INTERVAL: Interval = Interval::QUARTER_HOUR;

const ONE_WINDOW: &str = "each update is in one window";
const ONE_CHUNK: &str = "each user of a window is in one chunk that is taken";

/// Updates of one user are one entry, which says how many there were and when.
pub async fn updates_are_merged_by_user(store: &dyn Store) -> Result<(), Violation> {
    for (user, now) in [
        ("b", 1),
        ("\u{e9}", 2),
        ("a", 3),
        ("b", 4),
        ("B", 5),
        ("b", 3),
        ("", 6),
    ] {
        record(store, "scope", &[user], at(now)).await?;
    }
    record(store, "scope", &["a", "a"], at(899)).await?;
    let window = seal_one(store, at(900)).await?;
    let chunk = chunk(store, &window, 10).await?;
    let seen: Vec<_> = chunk
        .users
        .iter()
        .map(|user| (user.subject.as_str(), user.updates, user.first, user.last))
        .collect();
    equal(
        "updates are merged by user, and users come in the order of their names as bytes",
        seen,
        vec![
            ("", 1, at(6), at(6)),
            ("B", 1, at(5), at(5)),
            ("a", 3, at(3), at(899)),
            ("b", 3, at(1), at(4)),
            ("\u{e9}", 1, at(2), at(2)),
        ],
    )
}

/// A window holds what comes from its start up to and without its end, and is not sealed before that.
pub async fn windows_are_half_open(store: &dyn Store) -> Result<(), Violation> {
    let last = before(at(900), MICROSECOND);
    for (user, now) in [("first", at(0)), ("last", last), ("next", at(900))] {
        record(store, "scope", &[user], now).await?;
    }
    equal(
        "a window is sealed when its end has come, not before",
        seal(store, 10, last).await?,
        Vec::new(),
    )?;
    for (number, users) in [(0, vec!["first", "last"]), (1, vec!["next"])] {
        let end = at(900 * (number + 1));
        let window = seal_one(store, end).await?;
        let bounds = Window::new(at(900 * number), end);
        equal("windows are aligned", window.window, bounds)?;
        equal(ONE_WINDOW, names(&chunk(store, &window, 10).await?), users)?;
        take_all(store, &window, 10, end).await?;
    }
    Ok(())
}

/// What comes after a window was sealed, by whichever clock, goes into the next one.
pub async fn nothing_goes_into_a_sealed_window(store: &dyn Store) -> Result<(), Violation> {
    record(store, "scope", &["a", "b"], at(10)).await?;
    let window = seal_one(store, at(900)).await?;
    for (user, now) in [("late", at(899)), ("a", at(10)), ("c", at(0)), ("c", at(950))] {
        record(store, "scope", &[user], now).await?;
    }
    let sealed = chunk(store, &window, 10).await?;
    equal(
        "nothing goes into a sealed window",
        names(&sealed),
        vec!["a", "b"],
    )?;
    let updates: Vec<_> = sealed.users.iter().map(|user| user.updates).collect();
    equal("nothing goes into a sealed window", updates, vec![1, 1])?;
    take_all(store, &window, 10, at(901)).await?;
    record(store, "scope", &["later"], at(880)).await?;
    let next = seal_one(store, at(1_800)).await?;
    let bounds = Window::new(at(900), at(1_800));
    equal("what comes late goes into the window after", next.window, bounds)?;
    let all = chunk(store, &next, 10).await?;
    equal(ONE_WINDOW, names(&all), vec!["a", "c", "late", "later"])
}

/// Chunks come in order, no larger than asked, and a window ends with its last user.
pub async fn chunks_go_in_order(store: &dyn Store) -> Result<(), Violation> {
    record(store, "scope", &["e", "c", "a", "d", "b"], at(0)).await?;
    let window = seal_one(store, at(900)).await?;
    equal(
        "of no users there is no chunk",
        store.next_chunk(window.number, 0).await?,
        None,
    )?;
    for (number, users) in [(0, vec!["a", "b"]), (1, vec!["c", "d"]), (2, vec!["e"])] {
        let next = chunk(store, &window, 2).await?;
        equal("a chunk has at most as many users as asked", names(&next), users)?;
        equal("a chunk says how many were taken before", next.number, number)?;
        taken(store, &window, &next, at(900)).await?;
    }
    gone(store, &window, at(900)).await?;
    record(store, "scope", &["a"], at(900)).await?;
    let next = seal_one(store, at(1_800)).await?;
    ensure("no number comes twice", next.number != window.number, || {
        format!("{} again", next.number)
    })
}

/// With the chunk, its notification is enqueued, and goes out like any other event.
pub async fn a_chunk_and_its_notification_are_one(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a chunk is taken and its notification enqueued in one commit";
    store.save_webhook(webhook("w"), at(0)).await?;
    record(store, "scope", &["a", "b"], at(0)).await?;
    let window = seal_one(store, at(900)).await?;
    let next = chunk(store, &window, 10).await?;
    let heard = store.wake().listen();
    let ids = match take(store, &window, &next, at(901)).await? {
        Some(Enqueued::Fresh(ids)) => ids,
        other => return Err(Violation::new(CLAUSE, format!("{other:?}"))),
    };
    rang("after a chunk was taken", heard).await?;
    let expected = notification(&window, next.number).event;
    let stored = store.deliveries_of(expected.scope(), expected.id()).await?;
    equal(
        CLAUSE,
        stored.iter().map(|record| record.id).collect(),
        ids.clone(),
    )?;
    let claimed = claim_one(store, at(901)).await?;
    equal(CLAUSE, claimed.id, only(ids)?)?;
    equal(CLAUSE, claimed.event, expected)?;
    gone(store, &window, at(901)).await
}

/// Whoever takes what is taken already, or what is not there to take, changes nothing.
pub async fn a_chunk_is_taken_once(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "whoever takes what is not the next chunk changes nothing";
    store.save_webhook(webhook("w"), at(0)).await?;
    record(store, "scope", &["a", "b", "c"], at(0)).await?;
    record(store, "scope", &["a"], at(900)).await?;
    let window = seal_one(store, at(900)).await?;
    let first = chunk(store, &window, 2).await?;
    taken(store, &window, &first, at(900)).await?;
    let rest = chunk(store, &window, 2).await?;
    let ahead = Chunk {
        number: 2,
        ..rest.clone()
    };
    let stranger = Chunk {
        users: first.users.clone(),
        ..rest.clone()
    };
    for wrong in [&first, &ahead, &stranger] {
        equal(CLAUSE, take(store, &window, wrong, at(901)).await?, None)?;
    }
    for number in [window.number.0 + 1, -1, i64::MAX] {
        let other = SealedWindow {
            number: WindowNo(number),
            ..window.clone()
        };
        let nothing = store.next_chunk(other.number, 2).await?;
        equal("only sealed windows have chunks", nothing, None)?;
        for chunk in [&first, &rest] {
            equal(
                "only sealed windows have chunks",
                take(store, &other, chunk, at(901)).await?,
                None,
            )?;
        }
    }
    equal(CLAUSE, chunk(store, &window, 2).await?, rest.clone())?;
    taken(store, &window, &rest, at(902)).await?;
    equal(CLAUSE, take(store, &window, &rest, at(902)).await?, None)?;
    let sent = claim(store, 10, at(903)).await?.len();
    equal("each chunk that is taken has one notification", sent, 2)
}

/// Of many who take a chunk at the same time, one does.
pub async fn takes_at_the_same_time_do_not_overlap(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("w"), at(0)).await?;
    record(store, "scope", &["a", "b", "c"], at(0)).await?;
    let window = seal_one(store, at(900)).await?;
    for max in [2, 2] {
        let next = chunk(store, &window, max).await?;
        let answers = join_all((0..8).map(|_| take(store, &window, &next, at(900)))).await;
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        equal(ONE_CHUNK, answers.iter().flatten().count(), 1)?;
    }
    gone(store, &window, at(900)).await?;
    equal(ONE_CHUNK, claim(store, 10, at(900)).await?.len(), 2)
}

/// A chunk stays where its notification's id is another event's, and goes where the notification is there already.
pub async fn a_conflict_takes_nothing(store: &dyn Store) -> Result<(), Violation> {
    record(store, "scope", &["a", "b"], at(0)).await?;
    let window = seal_one(store, at(900)).await?;
    let first = chunk(store, &window, 1).await?;
    let id = notification(&window, 0).event.id().clone();
    enqueue_event(store, new(event(id.as_str()), vec![]), at(900)).await?;
    equal(
        "a conflict changes nothing",
        take(store, &window, &first, at(900)).await?,
        Some(Enqueued::Conflict),
    )?;
    equal(
        "a conflict changes nothing",
        chunk(store, &window, 1).await?,
        first.clone(),
    )?;
    let there = new(Event::clone(&notification(&window, 7).event), vec![]);
    enqueue_event(store, there.clone(), at(900)).await?;
    let taking = TakeChunk {
        notification: there,
        ..taking(&window, &first)
    };
    equal(
        "a notification that is there already takes its chunk",
        store.take_chunk(taking, at(900)).await?,
        Some(Enqueued::Duplicate(vec![])),
    )?;
    equal(ONE_CHUNK, names(&chunk(store, &window, 9).await?), vec!["b"])
}

/// A sealed window comes at every call, whatever the clock says, until it is empty: whoever sealed it may have crashed.
pub async fn sealed_windows_come_until_they_are_empty(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "sealed windows that have users left are returned";
    for (scope, now) in [("x", 0), ("y", 900), ("z", 1_800), ("y", 10)] {
        record(store, scope, &["a", "b"], at(now)).await?;
    }
    let first = seal(store, 1, at(900)).await?;
    equal("at most `max` windows are returned", first.len(), 1)?;
    for now in [at(900), at(5), at(2_700)] {
        let again = seal(store, 4, now).await?;
        equal(CLAUSE, again.first(), first.first())?;
    }
    let all = seal(store, 4, at(0)).await?;
    let ends: Vec<_> = all.iter().map(|window| window.window.end()).collect();
    equal(
        "those that ended first come first",
        ends,
        [900, 900, 1_800, 2_700].map(at).to_vec(),
    )?;
    for window in &all {
        take_all(store, window, 1, at(2_700)).await?;
    }
    equal(
        "an empty window is gone",
        seal(store, 4, at(2_700)).await?,
        Vec::new(),
    )
}

/// Scopes have windows of their own, and so have digests.
pub async fn scopes_and_digests_are_kept_apart(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "scopes and digests are kept apart";
    record(store, "one", &["a"], at(0)).await?;
    record(store, "two", &["b"], at(0)).await?;
    let other = Update {
        digest: "other".into(),
        ..update("one", "c")
    };
    store
        .record_updates(vec![other, update("two", "b")], at(1))
        .await?;
    let windows = seal(store, 10, at(900)).await?;
    let mut seen = Vec::new();
    for window in &windows {
        let users = chunk(store, window, 10).await?.users;
        seen.extend(
            users
                .into_iter()
                .map(|user| (window.scope.to_string(), user.subject.to_string(), user.updates)),
        );
    }
    seen.sort();
    let text = str::to_owned;
    equal(
        CLAUSE,
        seen,
        vec![(text("one"), text("a"), 1), (text("two"), text("b"), 2)],
    )?;
    // The other digest's window is still open, and its scope's windows are not closed by the first one's.
    let other = Update {
        digest: "other".into(),
        ..update("one", "d")
    };
    store.record_updates(vec![other], at(899)).await?;
    let window = only(store.seal_windows(&"other".into(), INTERVAL, 10, at(900)).await?)?;
    equal(CLAUSE, names(&chunk(store, &window, 10).await?), vec!["c", "d"])
}

/// Where the interval is another one, windows touch and do not overlap.
pub async fn another_interval_cuts_windows(store: &dyn Store) -> Result<(), Violation> {
    let hourly = |user| Update {
        interval: hour(),
        ..update("scope", user)
    };
    record(store, "scope", &["a"], at(950)).await?;
    store.record_updates(vec![hourly("b")], at(960)).await?;
    store.record_updates(vec![hourly("c")], at(1_800)).await?;
    let digest = digest();
    let first = only(store.seal_windows(&digest, hour(), 10, at(1_800)).await?)?;
    let bounds = Window::new(at(900), at(1_800));
    equal("an open window is filled as it is", first.window, bounds)?;
    equal(
        ONE_WINDOW,
        names(&chunk(store, &first, 10).await?),
        vec!["a", "b"],
    )?;
    take_all(store, &first, 10, at(1_800)).await?;
    record(store, "scope", &["d"], at(1_900)).await?;
    let second = only(store.seal_windows(&digest, INTERVAL, 10, at(3_600)).await?)?;
    let bounds = Window::new(at(1_800), at(3_600));
    equal("windows touch and do not overlap", second.window, bounds)?;
    equal(
        ONE_WINDOW,
        names(&chunk(store, &second, 10).await?),
        vec!["c", "d"],
    )
}

/// What was recorded and sealed by a clock that was a day ahead holds nothing up.
pub async fn a_clock_set_back_stops_nothing(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a clock that was set back holds nothing up";
    let day = |seconds| at(seconds) + TimeDelta::days(1);
    record(store, "scope", &["a"], day(0)).await?;
    let ahead = seal_one(store, day(900)).await?;
    take_all(store, &ahead, 10, day(900)).await?;
    record(store, "scope", &["b"], day(950)).await?;
    record(store, "scope", &["c"], at(10)).await?;
    due_by(store, at(10), at(10)).await?;
    let late = seal_one(store, at(10)).await?;
    equal(CLAUSE, names(&chunk(store, &late, 10).await?), vec!["b"])?;
    take_all(store, &late, 10, at(10)).await?;
    let window = seal_one(store, at(900)).await?;
    equal(CLAUSE, window.window, Window::new(at(0), at(900)))?;
    equal(CLAUSE, names(&chunk(store, &window, 10).await?), vec!["c"])?;
    record(store, "scope", &["d"], at(890)).await?;
    take_all(store, &window, 10, at(900)).await?;
    let next = seal_one(store, at(1_800)).await?;
    equal(
        "nothing goes into a sealed window",
        names(&chunk(store, &next, 10).await?),
        vec!["d"],
    )
}

/// When the next window ends is never said too late.
pub async fn the_next_end_is_never_too_late(store: &dyn Store) -> Result<(), Violation> {
    let nothing = store.next_window_end(&digest(), INTERVAL, at(0)).await?;
    equal("without updates there is nothing to wait for", nothing, None)?;
    record(store, "one", &["a"], at(1_000)).await?;
    due_by(store, at(1_000), at(1_800)).await?;
    record(store, "two", &["a"], at(899)).await?;
    due_by(store, at(899), at(900)).await?;
    due_by(store, at(1_000), at(1_000)).await?;
    let window = seal_one(store, at(1_000)).await?;
    due_by(store, at(1_000), at(1_000)).await?; // sealed, and not sent
    take_all(store, &window, 10, at(1_000)).await?;
    due_by(store, at(1_000), at(1_800)).await?;
    let window = seal_one(store, at(1_800)).await?;
    take_all(store, &window, 10, at(1_800)).await?;
    let nothing = store.next_window_end(&digest(), INTERVAL, at(1_800)).await?;
    equal("without updates there is nothing to wait for", nothing, None)
}

/// Updates at the ends of time are gathered, sealed and taken without a panic, once each.
pub async fn the_ends_of_time_are_instants(store: &dyn Store) -> Result<(), Violation> {
    const ENDS: [DateTime<Utc>; 2] = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];
    for (scope, now) in ["first", "last"].into_iter().zip(ENDS) {
        record(store, scope, &["a"], now).await?;
        record(store, scope, &["a"], now).await?;
    }
    let mut users = 0;
    for now in ENDS {
        store.next_window_end(&digest(), INTERVAL, now).await?;
        for window in seal(store, usize::MAX, now).await? {
            users += chunk(store, &window, usize::MAX).await?.users.len();
            take_all(store, &window, usize::MAX, now).await?;
        }
    }
    equal(ONE_WINDOW, users, 2)
}

fn digest() -> EventType {
    EventType::new("digest")
}

fn hour() -> Interval {
    Interval::of(Duration::from_secs(3_600)).expect("an hour divides a day")
}

fn update(scope: &str, user: &str) -> Update {
    Update {
        scope: scope.into(),
        digest: digest(),
        subject: user.into(),
        interval: INTERVAL,
    }
}

async fn record(store: &dyn Store, scope: &str, users: &[&str], now: DateTime<Utc>) -> Checked {
    let updates = users.iter().map(|user| update(scope, user)).collect();
    Ok(store.record_updates(updates, now).await?)
}

async fn seal(store: &dyn Store, max: usize, now: DateTime<Utc>) -> Checked<Vec<SealedWindow>> {
    Ok(store.seal_windows(&digest(), INTERVAL, max, now).await?)
}

async fn seal_one(store: &dyn Store, now: DateTime<Utc>) -> Checked<SealedWindow> {
    only(seal(store, 10, now).await?)
}

async fn due_by(store: &dyn Store, now: DateTime<Utc>, latest: DateTime<Utc>) -> Checked {
    let end = store.next_window_end(&digest(), INTERVAL, now).await?;
    ensure(
        "next_window_end may be too early, never too late",
        end.is_some_and(|end| end <= latest),
        || format!("{end:?} asked at {now}, where a window is over at {latest}"),
    )
}

async fn chunk(store: &dyn Store, window: &SealedWindow, max: usize) -> Checked<Chunk> {
    let chunk = store.next_chunk(window.number, max).await?;
    chunk.ok_or_else(|| {
        Violation::new(
            "a sealed window has a chunk until it is empty",
            format!("none of window {}", window.number),
        )
    })
}

fn names(chunk: &Chunk) -> Vec<&str> {
    chunk.users.iter().map(|user| user.subject.as_str()).collect()
}

/// The notification of a chunk, to webhook `w`.
fn notification(window: &SealedWindow, number: u32) -> NewEvent {
    let id = format!("{}.{number}", window.number);
    let event = Event::builder(window.scope.clone(), id, digest())
        .json("[]")
        .build();
    let event = event.expect("the checks' own events are whole");
    new(event, vec![to_webhook("w")])
}

fn taking(window: &SealedWindow, chunk: &Chunk) -> TakeChunk {
    let through = chunk.users.last().map(|user| user.subject.clone());
    TakeChunk {
        window: window.number,
        number: chunk.number,
        through: through.unwrap_or_else(|| Subject::new("")),
        notification: notification(window, chunk.number),
    }
}

async fn take(
    store: &dyn Store,
    window: &SealedWindow,
    chunk: &Chunk,
    now: DateTime<Utc>,
) -> Checked<Option<Enqueued>> {
    Ok(store.take_chunk(taking(window, chunk), now).await?)
}

/// Takes the next chunk of a window.
async fn taken(store: &dyn Store, window: &SealedWindow, chunk: &Chunk, now: DateTime<Utc>) -> Checked {
    let answer = take(store, window, chunk, now).await?;
    ensure(
        "the next chunk of a sealed window can be taken",
        matches!(answer, Some(Enqueued::Fresh(_))),
        || format!("{answer:?}"),
    )
}

async fn take_all(store: &dyn Store, window: &SealedWindow, max: usize, now: DateTime<Utc>) -> Checked {
    // Bounded, since a broken store may never come to the end of it.
    for _ in 0..100 {
        match store.next_chunk(window.number, max).await? {
            Some(chunk) => taken(store, window, &chunk, now).await?,
            None => return Ok(()),
        }
    }
    Err(Violation::new(
        ONE_CHUNK,
        format!("no end of window {}", window.number),
    ))
}

async fn gone(store: &dyn Store, window: &SealedWindow, now: DateTime<Utc>) -> Checked {
    let left = store.next_chunk(window.number, 10).await?;
    equal("a window ends with its last user", left, None)?;
    let sealed = seal(store, 10, now).await?;
    ensure(
        "a window ends with its last user",
        sealed.iter().all(|other| other.number != window.number),
        || format!("{sealed:?}"),
    )
}
