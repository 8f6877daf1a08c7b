//! Keys of what was received.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::OptionalExtension;

use super::codec::{ceil, floor, limit, whole};
use super::core::{Core, advance};
use super::fault::Fault;
use crate::id::Fence;
use crate::store::{Seen, SeenClaim, SeenKey, SqliteStore};
use crate::time::after;

impl SqliteStore {
    /// Marks a received message as handled, in a transaction of the caller's own on the same file: its parameters
    /// are those of [`finish_seen_parameters`](Self::finish_seen_parameters).
    ///
    /// It must change exactly one row. If it changes none, the claim does not hold any more, and the transaction must
    /// be rolled back. See [`SeenClaim`].
    ///
    /// It is the application's connection, through whichever library, since SQLite lets several write to one file in
    /// turn; open its transactions with `BEGIN IMMEDIATE`, and with a busy timeout, as others write too.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Request;
    /// use ringback::receive::{JsonEvents, Receiver, UrlSecret};
    /// use ringback::secret::Secret;
    /// use ringback::store::{EncryptionKey, SqliteStore};
    /// use ringback::system::SystemEntropy;
    /// use rusqlite::{Connection, TransactionBehavior};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("app.db");
    /// let store = SqliteStore::open(&path, EncryptionKey::generate(&SystemEntropy))?;
    /// let mut own = Connection::open(&path)?;
    /// own.execute("CREATE TABLE orders (number TEXT)", ())?;
    ///
    /// let protocol = JsonEvents::new(|number: &String| Some(number.clone()));
    /// let receiver = Receiver::new("orders", protocol, UrlSecret::new("k", Secret::from("hunter2"))).seen(store);
    /// for _copy in 0..2 {
    ///     let request = Request::post("/orders?k=hunter2").body(Bytes::from(r#""A-17""#))?;
    ///     let handled = receiver.handle(request, async |received| -> Result<(), Box<dyn std::error::Error>> {
    ///         let transaction = own.transaction_with_behavior(TransactionBehavior::Immediate)?;
    ///         transaction.execute("INSERT INTO orders VALUES (?1)", [received.payload.known()])?;
    ///         let claim = received.claim.ok_or("the receiver has a store")?;
    ///         let rows = transaction.execute(SqliteStore::FINISH_SEEN, SqliteStore::finish_seen_parameters(&claim))?;
    ///         if rows != 1 {
    ///             return Err("another copy has taken over".into()); // which rolls back
    ///         }
    ///         Ok(transaction.commit()?)
    ///     });
    ///     assert!(handled.await.status().is_success());
    /// }
    /// let orders: i64 = own.query_row("SELECT count(*) FROM orders", (), |row| row.get(0))?;
    /// assert_eq!(orders, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub const FINISH_SEEN: &'static str = "UPDATE seen SET done = TRUE, until = ?4 \
         WHERE receiver = ?1 AND key = ?2 AND fence = ?3 AND NOT done";

    /// The four parameters of [`FINISH_SEEN`](Self::FINISH_SEEN), in order.
    pub fn finish_seen_parameters(claim: &SeenClaim) -> (&str, &str, i64, i64) {
        (
            &claim.key.receiver,
            &claim.key.key,
            claim.fence.0,
            ceil(claim.keep_until),
        )
    }
}

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
        let finished = self.conn.prepare_cached(SqliteStore::FINISH_SEEN)?.execute((
            &key.receiver,
            &key.key,
            fence.0,
            ceil(after(whole(now), keep)),
        ))?;
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
