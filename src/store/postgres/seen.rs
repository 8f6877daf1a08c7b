//! Keys of what was received.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::database::Database;
use super::fault::Fault;
use super::transaction::{Columns, query};
use crate::id::Fence;
use crate::store::codec::{ceil, floor, limit, whole};
use crate::store::{Seen, SeenKey};
use crate::time::after;

/// Takes the key if it is free. Of two at once, one waits for the other and then finds it taken. What can be seen to be
/// taken already draws no number.
const TAKE: &str = "
    INSERT INTO ringback.seen AS s (receiver, key, done, fence, until)
    SELECT $1::text, $2::text, FALSE, nextval('ringback.seen_fences'), $4::bigint
    WHERE NOT EXISTS (SELECT FROM ringback.seen k WHERE k.receiver = $1 AND k.key = $2 AND k.until > $3)
    ON CONFLICT (receiver, key) DO UPDATE SET done = FALSE, fence = excluded.fence, until = excluded.until
        WHERE s.until <= $3
    RETURNING fence";

const DONE: &str = "SELECT done FROM ringback.seen WHERE receiver = $1 AND key = $2";

const FINISH: &str = "
    UPDATE ringback.seen SET done = TRUE, until = $4
    WHERE receiver = $1 AND key = $2 AND fence = $3 AND NOT done RETURNING fence";

const ABANDON: &str = "
    DELETE FROM ringback.seen WHERE receiver = $1 AND key = $2 AND fence = $3 AND NOT done RETURNING fence";

const FORGET: &str = "
    DELETE FROM ringback.seen WHERE (receiver, key) IN
        (SELECT receiver, key FROM ringback.seen WHERE until <= $1 ORDER BY until, receiver, key LIMIT $2
         FOR UPDATE SKIP LOCKED)
    RETURNING fence";

impl Database {
    pub(super) async fn begin(
        &self,
        key: &SeenKey,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Result<Seen, Fault> {
        let now = whole(now);
        let until = ceil(after(now, lease));
        let tx = self.transaction().await?;
        let [taken, known] = tx
            .commit_with([
                query(TAKE, &[&key.receiver, &key.key, &floor(now), &until]),
                query(DONE, &[&key.receiver, &key.key]),
            ])
            .await?;
        if let Some(row) = taken.first() {
            return Ok(Seen::Fresh(Fence(row.read("fence")?)));
        }
        // Should it have been given up in between, whoever asks again gets it.
        let done = known.first().map_or(Ok(false), |row| row.read("done"))?;
        Ok(if done { Seen::Done } else { Seen::InProgress })
    }

    pub(super) async fn finish(
        &self,
        key: &SeenKey,
        fence: Fence,
        keep: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, Fault> {
        let until = ceil(after(whole(now), keep));
        let finished = self
            .once(FINISH, &[&key.receiver, &key.key, &fence.0, &until])
            .await?;
        Ok(!finished.is_empty())
    }

    pub(super) async fn abandon(&self, key: &SeenKey, fence: Fence) -> Result<bool, Fault> {
        let abandoned = self.once(ABANDON, &[&key.receiver, &key.key, &fence.0]).await?;
        Ok(!abandoned.is_empty())
    }

    pub(super) async fn forget_expired(&self, max: usize, now: DateTime<Utc>) -> Result<usize, Fault> {
        let forgotten = self.once(FORGET, &[&floor(now), &limit(max)]).await?;
        Ok(forgotten.len())
    }
}
