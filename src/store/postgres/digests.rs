//! Updates, gathered into digests.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::database::Database;
use super::enqueue::{self, Prepared};
use super::fault::Fault;
use super::transaction::{Columns, Transaction, query};
use crate::delivery::{DigestEntry, Interval, Window};
use crate::id::{EventType, Scope, Subject};
use crate::store::codec::{floor, instant, limit, optional_instant, whole};
use crate::store::{Chunk, Enqueued, SealedWindow, Update, WindowNo};
use crate::time::after;

/// Whoever records updates of a digest and scope, or seals a window of it, has its row locked: so nothing goes into a window
/// that was just sealed.
const MAKE_SHELVES: &str = "
    INSERT INTO ringback.digests (digest, scope) SELECT * FROM unnest($1::text[], $2::text[]) AS n (digest, scope)
    ORDER BY digest COLLATE \"C\", scope COLLATE \"C\" ON CONFLICT (digest, scope) DO NOTHING";

const LOCK_SHELVES: &str = "
    SELECT d.digest, d.scope, d.closed FROM ringback.digests d
    JOIN unnest($1::text[], $2::text[]) AS n (digest, scope) ON d.digest = n.digest AND d.scope = n.scope
    ORDER BY d.digest, d.scope FOR UPDATE OF d";

const OPEN_WINDOWS: &str = "
    SELECT w.digest, w.number, w.scope, w.starts, w.ends FROM ringback.digest_windows w
    JOIN unnest($1::text[], $2::text[]) AS n (digest, scope) ON w.digest = n.digest AND w.scope = n.scope
    WHERE NOT w.sealed ORDER BY w.number";

const OPEN_WINDOW: &str = "
    INSERT INTO ringback.digest_windows (digest, scope, starts, ends) VALUES ($1, $2, $3, $4) RETURNING number";

const RECORD: &str = "
    INSERT INTO ringback.digest_users AS u (\"window\", subject, updates, first, last)
    SELECT n.no, n.subject, count(*), $3, $3
    FROM (SELECT no, subject COLLATE \"C\" AS subject FROM unnest($1::bigint[], $2::text[]) AS n (no, subject)) n
    GROUP BY n.no, n.subject ORDER BY n.no, n.subject
    ON CONFLICT (\"window\", subject) DO UPDATE SET updates = u.updates + excluded.updates,
        first = least(u.first, excluded.first), last = greatest(u.last, excluded.last)";

const SEALED: &str = "
    SELECT number, scope, starts, ends FROM ringback.digest_windows
    WHERE digest = $1 AND sealed ORDER BY ends, number LIMIT $2";

const ENDED: &str = "
    SELECT number, scope, starts, ends FROM ringback.digest_windows
    WHERE digest = $1 AND NOT sealed AND ends <= $2 ORDER BY ends, number LIMIT $3";

/// Those that start so late that they are over.
const AHEAD: &str = "
    SELECT number, scope, starts, ends FROM ringback.digest_windows
    WHERE digest = $1 AND NOT sealed AND starts > $2 ORDER BY ends, number LIMIT $3";

/// Somebody else may have sealed it meanwhile.
const SEAL: &str =
    "UPDATE ringback.digest_windows SET sealed = TRUE WHERE number = $1 AND NOT sealed RETURNING number";

const CLOSE: &str = "UPDATE ringback.digests SET closed = $3 WHERE digest = $1 AND scope = $2";

const NEXT_END: &str = "
    SELECT EXISTS (SELECT FROM ringback.digest_windows WHERE digest = $1 AND sealed)
            OR EXISTS (SELECT FROM ringback.digest_windows WHERE digest = $1 AND NOT sealed AND starts > $2) AS is_over,
        (SELECT min(ends) FROM ringback.digest_windows WHERE digest = $1 AND NOT sealed) AS ends";

const CHUNKS_TAKEN: &str = "SELECT chunks FROM ringback.digest_windows WHERE number = $1 AND sealed";

const NEXT_USERS: &str = "
    SELECT subject, updates, first, last FROM ringback.digest_users WHERE \"window\" = $1 ORDER BY subject LIMIT $2";

const LOCK_CHUNK: &str = "
    SELECT w.number FROM ringback.digest_windows w WHERE w.number = $1 AND w.sealed AND w.chunks = $2 FOR UPDATE";

const HAS_USER: &str = "SELECT subject FROM ringback.digest_users WHERE \"window\" = $1 AND subject = $2";

const REMOVE_USERS: &str = "DELETE FROM ringback.digest_users WHERE \"window\" = $1 AND subject <= $2";

const COUNT_CHUNK: &str = "UPDATE ringback.digest_windows SET chunks = chunks + 1 WHERE number = $1";

const REMOVE_EMPTY: &str = "
    DELETE FROM ringback.digest_windows
    WHERE number = $1 AND NOT EXISTS (SELECT FROM ringback.digest_users WHERE \"window\" = $1)";

impl Database {
    pub(super) async fn record_updates(&self, updates: &[Update], now: DateTime<Utc>) -> Result<(), Fault> {
        let now = whole(now);
        let keys = updates
            .iter()
            .map(|update| (update.digest.as_str(), update.scope.as_str()));
        let mut shelves: BTreeMap<(&str, &str), Shelf> = keys.map(|key| (key, Shelf::default())).collect();
        let (digests, scopes): (Vec<_>, Vec<_>) = shelves.keys().copied().unzip();
        let mut tx = self.transaction().await?;
        let [_, locked, open] = tx
            .run([
                query(MAKE_SHELVES, &[&digests, &scopes]),
                query(LOCK_SHELVES, &[&digests, &scopes]),
                query(OPEN_WINDOWS, &[&digests, &scopes]),
            ])
            .await?;
        for row in &locked {
            if let Some(shelf) = shelves.get_mut(&(row.read("digest")?, row.read("scope")?)) {
                shelf.closed = optional_instant(row.read("closed")?, "closed")?;
            }
        }
        for row in &open {
            if let Some(shelf) = shelves.get_mut(&(row.read("digest")?, row.read("scope")?)) {
                let open = window(row)?;
                shelf.numbers.push(open.number.0);
                shelf.open.push(open.window);
            }
        }
        let mut windows = Vec::with_capacity(updates.len());
        for update in updates {
            let key = (update.digest.as_str(), update.scope.as_str());
            let shelf = shelves.get_mut(&key).ok_or(Fault::Unreadable("digest"))?;
            windows.push(shelf.gathering_window(&mut tx, update, now).await?);
        }
        let subjects: Vec<_> = updates.iter().map(|update| update.subject.as_str()).collect();
        tx.commit_with([query(RECORD, &[&windows, &subjects, &floor(now)])])
            .await?;
        Ok(())
    }

    pub(super) async fn seal_windows(
        &self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, Fault> {
        let now = whole(now);
        let name = digest.as_str();
        let mut tx = self.transaction().await?;
        let sealed = tx.query(SEALED, &[&name, &limit(max)]).await?;
        let mut windows: Vec<_> = sealed.iter().map(window).collect::<Result<_, _>>()?;
        let ended = tx
            .query(ENDED, &[&name, &floor(now), &limit(max - windows.len())])
            .await?;
        let mut over: Vec<_> = ended.iter().map(window).collect::<Result<_, _>>()?;
        let from = floor(after(now, interval.span()));
        let left = limit(max - windows.len() - over.len());
        for row in &tx.query(AHEAD, &[&name, &from, &left]).await? {
            over.push(window(row)?);
        }
        let mut scopes: Vec<_> = over.iter().map(|over| over.scope.as_str()).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let names = vec![name; scopes.len()];
        let locked = tx.query(LOCK_SHELVES, &[&names, &scopes]).await?;
        let mut closed = BTreeMap::new();
        for row in &locked {
            closed.insert(
                row.read::<String>("scope")?,
                optional_instant(row.read("closed")?, "closed")?,
            );
        }
        for sealing in over {
            if tx.query(SEAL, &[&sealing.number.0]).await?.is_empty() {
                continue;
            }
            let scope = sealing.scope.as_str();
            let until = interval.closed_by(&sealing.window, closed.get(scope).copied().flatten(), now);
            closed.insert(scope.to_owned(), until);
            tx.query(CLOSE, &[&name, &scope, &until.map(floor)]).await?;
            windows.push(sealing);
        }
        tx.commit().await?;
        Ok(windows)
    }

    pub(super) async fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Fault> {
        let now = whole(now);
        let ahead = floor(after(now, interval.span()));
        let rows = self.once(NEXT_END, &[&digest.as_str(), &ahead]).await?;
        let row = rows.first().ok_or(Fault::Unreadable("is_over"))?;
        if row.read("is_over")? {
            return Ok(Some(now));
        }
        Ok(optional_instant(row.read("ends")?, "ends")?.map(|end| end.max(now)))
    }

    pub(super) async fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, Fault> {
        let tx = self.transaction().await?;
        let [taken, users] = tx
            .commit_with([
                query(CHUNKS_TAKEN, &[&window.0]),
                query(NEXT_USERS, &[&window.0, &limit(max)]),
            ])
            .await?;
        let Some(row) = taken.first().filter(|_| !users.is_empty()) else {
            return Ok(None);
        };
        Ok(Some(Chunk {
            number: row.count("chunks")?,
            users: users.iter().map(entry).collect::<Result<_, _>>()?,
        }))
    }

    /// The answer, and whether a lane has come to have work.
    pub(super) async fn take_chunk(
        &self,
        window: WindowNo,
        number: u32,
        through: &Subject,
        notification: Prepared,
        now: DateTime<Utc>,
    ) -> Result<(Option<Enqueued>, bool), Fault> {
        let mut tx = self.transaction().await?;
        let [chunk, user] = tx
            .run([
                query(LOCK_CHUNK, &[&window.0, &i64::from(number)]),
                query(HAS_USER, &[&window.0, &through.as_str()]),
            ])
            .await?;
        if chunk.is_empty() || user.is_empty() {
            tx.roll_back().await?;
            return Ok((None, false));
        }
        let enqueued = enqueue::take_in(&mut tx, std::slice::from_ref(&notification)).await?;
        let answer = enqueued.answers.first().cloned();
        if matches!(answer, None | Some(Enqueued::Conflict)) {
            tx.roll_back().await?;
            return Ok((answer, false));
        }
        tx.run([
            query(REMOVE_USERS, &[&window.0, &through.as_str()]),
            query(COUNT_CHUNK, &[&window.0]),
            query(REMOVE_EMPTY, &[&window.0]),
        ])
        .await?;
        tx.commit().await?;
        let moves = self.move_behind(std::slice::from_ref(&notification), now).await;
        Ok((answer, enqueued.sooner | moves))
    }
}

/// Where updates of one digest and scope go.
#[derive(Default)]
struct Shelf {
    /// Up to when its windows are sealed.
    closed: Option<DateTime<Utc>>,
    open: Vec<Window>,
    /// The numbers of the open windows.
    numbers: Vec<i64>,
}

impl Shelf {
    /// The number of the window that an update goes to, opened if need be.
    async fn gathering_window(
        &mut self,
        tx: &mut Transaction<'_>,
        update: &Update,
        now: DateTime<Utc>,
    ) -> Result<i64, Fault> {
        let window = update.interval.gathering_window(now, self.closed, &self.open);
        let known = self.open.iter().position(|open| *open == window);
        if let Some(number) = known.and_then(|at| self.numbers.get(at)) {
            return Ok(*number);
        }
        let (digest, scope) = (update.digest.as_str(), update.scope.as_str());
        let opened = tx
            .query(
                OPEN_WINDOW,
                &[&digest, &scope, &floor(window.start()), &floor(window.end())],
            )
            .await?;
        let number = opened
            .first()
            .ok_or(Fault::Unreadable("number"))?
            .read("number")?;
        self.open.push(window);
        self.numbers.push(number);
        Ok(number)
    }
}

fn window(row: &Row) -> Result<SealedWindow, Fault> {
    Ok(SealedWindow {
        number: WindowNo(row.read("number")?),
        scope: row.read::<&str>("scope").map(Scope::from)?,
        window: Window::new(
            instant(row.read("starts")?, "starts")?,
            instant(row.read("ends")?, "ends")?,
        ),
    })
}

fn entry(row: &Row) -> Result<DigestEntry, Fault> {
    Ok(DigestEntry {
        subject: row.read::<&str>("subject").map(Subject::from)?,
        updates: row.count("updates")?,
        first: instant(row.read("first")?, "first")?,
        last: instant(row.read("last")?, "last")?,
    })
}
