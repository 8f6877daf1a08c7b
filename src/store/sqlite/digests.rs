//! Updates, gathered into digests.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{floor, instant, limit, optional_instant, unsigned, whole};
use super::core::{Core, advance};
use super::events::{self, Prepared};
use super::fault::Fault;
use crate::delivery::{DigestEntry, Interval, Window};
use crate::id::{EventType, Scope, Subject};
use crate::store::{Chunk, Enqueued, SealedWindow, Update, WindowNo};
use crate::time::after;

const SEALED: &str = "SELECT number, scope, starts, ends FROM digest_windows
    WHERE digest = ?1 AND sealed = 1 AND ends > ?2 ORDER BY ends, number LIMIT ?3";

const ENDED: &str = "SELECT number, scope, starts, ends FROM digest_windows
    WHERE digest = ?1 AND sealed = 0 AND ends <= ?2 ORDER BY ends, number LIMIT ?3";

/// Those that start so late that they are over.
const AHEAD: &str = "SELECT number, scope, starts, ends FROM digest_windows
    WHERE digest = ?1 AND sealed = 0 AND starts > ?2 ORDER BY ends, number LIMIT ?3";

impl Core {
    pub(super) fn record_updates(&mut self, updates: &[Update], now: DateTime<Utc>) -> Result<(), Fault> {
        let now = whole(now);
        let mut shelves = BTreeMap::new();
        for update in updates {
            let shelf = match shelves.entry((&update.digest, &update.scope)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(Shelf::read(&self.conn, &update.digest, &update.scope)?),
            };
            let window = shelf.gathering_window(&self.conn, update, now)?;
            self.conn
                .prepare_cached(
                    "INSERT INTO digest_users (window, subject, updates, first, last) VALUES (?1, ?2, 1, ?3, ?3)
                     ON CONFLICT (window, subject) DO UPDATE SET updates = updates + 1,
                        first = min(first, excluded.first), last = max(last, excluded.last)",
                )?
                .execute((window, update.subject.as_str(), floor(now)))?;
        }
        Ok(())
    }

    pub(super) fn seal_windows(
        &mut self,
        digest: &EventType,
        interval: Interval,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<SealedWindow>, Fault> {
        let now = whole(now);
        let mut windows = self.windows(SEALED, digest, i64::MIN, max)?;
        let mut over = self.windows(ENDED, digest, floor(now), max - windows.len())?;
        let ahead = floor(after(now, interval.span()));
        over.extend(self.windows(AHEAD, digest, ahead, max - windows.len() - over.len())?);
        for sealing in &over {
            self.seal(digest, interval, sealing, now)?;
        }
        windows.extend(over);
        Ok(windows)
    }

    fn windows(
        &self,
        which: &str,
        digest: &EventType,
        bound: i64,
        max: usize,
    ) -> Result<Vec<SealedWindow>, Fault> {
        self.conn
            .prepare_cached(which)?
            .query_and_then((digest.as_str(), bound, limit(max)), window)?
            .collect()
    }

    fn seal(
        &mut self,
        digest: &EventType,
        interval: Interval,
        sealing: &SealedWindow,
        now: DateTime<Utc>,
    ) -> Result<(), Fault> {
        self.conn
            .prepare_cached("UPDATE digest_windows SET sealed = 1 WHERE number = ?1")?
            .execute([sealing.number.0])?;
        let closed = closed(&self.conn, digest, &sealing.scope)?;
        self.conn
            .prepare_cached(
                "INSERT INTO digests (digest, scope, closed) VALUES (?1, ?2, ?3)
                 ON CONFLICT (digest, scope) DO UPDATE SET closed = excluded.closed",
            )?
            .execute((
                digest.as_str(),
                sealing.scope.as_str(),
                interval.closed_by(&sealing.window, closed, now).map(floor),
            ))?;
        Ok(())
    }

    pub(super) fn next_window_end(
        &self,
        digest: &EventType,
        interval: Interval,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Fault> {
        let now = whole(now);
        let is_over: bool = self
            .conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM digest_windows WHERE digest = ?1 AND sealed = 1)
                     OR EXISTS (SELECT 1 FROM digest_windows WHERE digest = ?1 AND sealed = 0 AND starts > ?2)",
            )?
            .query_one((digest.as_str(), floor(after(now, interval.span()))), |row| row.get(0))?;
        if is_over {
            return Ok(Some(now));
        }
        let end: Option<i64> = self
            .conn
            .prepare_cached("SELECT min(ends) FROM digest_windows WHERE digest = ?1 AND sealed = 0")?
            .query_one([digest.as_str()], |row| row.get(0))?;
        Ok(optional_instant(end, "ends")?.map(|end| end.max(now)))
    }

    pub(super) fn next_chunk(&self, window: WindowNo, max: usize) -> Result<Option<Chunk>, Fault> {
        let Some(number) = self.chunks_taken(window)? else {
            return Ok(None);
        };
        let users: Vec<_> = self
            .conn
            .prepare_cached(
                "SELECT subject, updates, first, last FROM digest_users
                 WHERE window = ?1 ORDER BY subject LIMIT ?2",
            )?
            .query_and_then((window.0, limit(max)), entry)?
            .collect::<Result<_, _>>()?;
        Ok((!users.is_empty()).then_some(Chunk { number, users }))
    }

    pub(super) fn take_chunk(
        &mut self,
        window: WindowNo,
        number: u32,
        through: &Subject,
        notification: &Prepared,
        now: DateTime<Utc>,
    ) -> Result<Option<Enqueued>, Fault> {
        if self.chunks_taken(window)? != Some(number) || !self.has_user(window, through)? {
            return Ok(None);
        }
        let notification = std::slice::from_ref(notification);
        let (mut answers, sooner) =
            events::enqueue(&self.conn, &mut self.cache, &mut self.words, notification, now)?;
        self.rings.deliveries |= sooner;
        let enqueued = answers.pop();
        if matches!(enqueued, Some(Enqueued::Fresh(_) | Enqueued::Duplicate(_))) {
            self.remove_users(window, through)?;
        }
        Ok(enqueued)
    }

    /// How many chunks of a window were taken, if it is there and sealed.
    fn chunks_taken(&self, window: WindowNo) -> Result<Option<u32>, Fault> {
        Ok(self
            .conn
            .prepare_cached("SELECT chunks FROM digest_windows WHERE number = ?1 AND sealed = 1")?
            .query_row([window.0], |row| row.get(0))
            .optional()?)
    }

    fn has_user(&self, window: WindowNo, subject: &Subject) -> Result<bool, Fault> {
        Ok(self
            .conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM digest_users WHERE window = ?1 AND subject = ?2)")?
            .query_one((window.0, subject.as_str()), |row| row.get(0))?)
    }

    fn remove_users(&self, window: WindowNo, through: &Subject) -> Result<(), Fault> {
        self.conn
            .prepare_cached("DELETE FROM digest_users WHERE window = ?1 AND subject <= ?2")?
            .execute((window.0, through.as_str()))?;
        self.conn
            .prepare_cached("UPDATE digest_windows SET chunks = chunks + 1 WHERE number = ?1")?
            .execute([window.0])?;
        self.conn
            .prepare_cached(
                "DELETE FROM digest_windows
                 WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM digest_users WHERE window = ?1)",
            )?
            .execute([window.0])?;
        Ok(())
    }
}

/// Where updates of one digest and scope go.
struct Shelf {
    /// Up to when its windows are sealed.
    closed: Option<DateTime<Utc>>,
    open: Vec<Window>,
    /// The numbers of the open windows.
    numbers: Vec<i64>,
}

impl Shelf {
    fn read(conn: &Connection, digest: &EventType, scope: &Scope) -> Result<Self, Fault> {
        let open: Vec<_> = conn
            .prepare_cached(
                "SELECT number, scope, starts, ends FROM digest_windows
                 WHERE digest = ?1 AND scope = ?2 AND sealed = 0 ORDER BY number",
            )?
            .query_and_then((digest.as_str(), scope.as_str()), window)?
            .collect::<Result<_, Fault>>()?;
        Ok(Self {
            closed: closed(conn, digest, scope)?,
            numbers: open.iter().map(|open| open.number.0).collect(),
            open: open.into_iter().map(|open| open.window).collect(),
        })
    }

    /// The number of the window that an update goes to, opened if need be.
    fn gathering_window(
        &mut self,
        conn: &Connection,
        update: &Update,
        now: DateTime<Utc>,
    ) -> Result<i64, Fault> {
        let window = update.interval.gathering_window(now, self.closed, &self.open);
        let known = self.open.iter().position(|open| *open == window);
        if let Some(number) = known.and_then(|at| self.numbers.get(at)) {
            return Ok(*number);
        }
        let number = advance(conn, "window", 1)?;
        conn.prepare_cached(
            "INSERT INTO digest_windows (number, digest, scope, starts, ends, sealed, chunks)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)",
        )?
        .execute((
            number,
            update.digest.as_str(),
            update.scope.as_str(),
            floor(window.start()),
            floor(window.end()),
        ))?;
        self.open.push(window);
        self.numbers.push(number);
        Ok(number)
    }
}

fn closed(conn: &Connection, digest: &EventType, scope: &Scope) -> Result<Option<DateTime<Utc>>, Fault> {
    let closed: Option<Option<i64>> = conn
        .prepare_cached("SELECT closed FROM digests WHERE digest = ?1 AND scope = ?2")?
        .query_row((digest.as_str(), scope.as_str()), |row| row.get(0))
        .optional()?;
    Ok(optional_instant(closed.flatten(), "closed")?)
}

fn window(row: &Row<'_>) -> Result<SealedWindow, Fault> {
    Ok(SealedWindow {
        number: WindowNo(row.get(0)?),
        scope: Scope::from(row.get::<_, String>(1)?),
        window: Window::new(instant(row.get(2)?, "starts")?, instant(row.get(3)?, "ends")?),
    })
}

fn entry(row: &Row<'_>) -> Result<DigestEntry, Fault> {
    Ok(DigestEntry {
        subject: Subject::from(row.get::<_, String>(0)?),
        updates: unsigned(row.get(1)?, "updates")?,
        first: instant(row.get(2)?, "first")?,
        last: instant(row.get(3)?, "last")?,
    })
}
