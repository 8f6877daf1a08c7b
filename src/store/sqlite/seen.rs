//! Keys of what was received.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::OptionalExtension;

use super::codec::{ceil, floor, limit, whole};
use super::core::{Core, advance};
use super::fault::Fault;
use crate::id::Fence;
use crate::store::{Seen, SeenKey};
use crate::time::after;

impl Core {
    pub(super) fn begin(
        &mut self,
        key: &SeenKey,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Seen, Fault> {
        let now = whole(now);
        let done: Option<bool> = self
            .conn
            .prepare_cached("SELECT done FROM seen WHERE receiver = ?1 AND key = ?2 AND until > ?3")?
            .query_row((&key.receiver, &key.key, floor(now)), |row| row.get(0))
            .optional()?;
        if let Some(done) = done {
            return Ok(if done { Seen::Done } else { Seen::InProgress });
        }
        // One count for all keys, so that it rises for a key even after the key was forgotten.
        let fence = advance(&self.conn, "seen", 1)?;
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO seen (receiver, key, done, fence, until) VALUES (?1, ?2, FALSE, ?3, ?4)",
            )?
            .execute((&key.receiver, &key.key, fence, ceil(after(now, lease))))?;
        Ok(Seen::Fresh(Fence(fence)))
    }

    pub(super) fn finish(
        &mut self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, Fault> {
        let finished = self
            .conn
            .prepare_cached(
                "UPDATE seen SET done = TRUE, until = ?4
                 WHERE receiver = ?1 AND key = ?2 AND fence = ?3 AND NOT done",
            )?
            .execute((&key.receiver, &key.key, fence.0, ceil(after(whole(now), keep))))?;
        Ok(finished > 0)
    }

    pub(super) fn abandon(&mut self, key: &SeenKey, fence: Fence) -> Result<bool, Fault> {
        let abandoned = self
            .conn
            .prepare_cached("DELETE FROM seen WHERE receiver = ?1 AND key = ?2 AND fence = ?3 AND NOT done")?
            .execute((&key.receiver, &key.key, fence.0))?;
        Ok(abandoned > 0)
    }

    pub(super) fn forget_expired(&mut self, max: usize, now: DateTime<Utc>) -> Result<usize, Fault> {
        Ok(self
            .conn
            .prepare_cached(
                "DELETE FROM seen WHERE (receiver, key) IN
                    (SELECT receiver, key FROM seen WHERE until <= ?1 ORDER BY until, receiver, key LIMIT ?2)",
            )?
            .execute((floor(now), limit(max)))?)
    }
}
