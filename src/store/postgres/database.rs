//! What the calls of a store work on. The methods that do the work of the store traits are in the modules of their
//! subjects.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use deadpool_postgres::Pool;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::fault::Fault;
use super::schema::Schema;
use super::sealer::Sealer;
use super::transaction::{Columns, Transaction, query};
use crate::delivery::CLOCK_SKEW;
use crate::store::codec::instant;
use crate::store::encryption::{EncryptionKeys, KeyId, Vault};
use crate::time::after;

const ADVANCE: &str = "UPDATE ringback.counters SET value = value + $2 WHERE name = $1 RETURNING value";

const LAST_RECORDED: &str = "SELECT recorded_at FROM ringback.attempts ORDER BY seq DESC LIMIT 1";

pub(super) struct Database {
    pub(super) pool: Pool,
    pub(super) schema: Arc<Schema>,
    vault: Mutex<Arc<Vault>>,
    /// The latest that a claim came with, since the clock was last set back.
    latest: Mutex<DateTime<Utc>>,
    /// When the last attempt was recorded that this process knows of.
    pub(super) last_recorded: Mutex<Option<DateTime<Utc>>>,
}

impl Database {
    /// Makes sure that everything in the schema can be read with these keys, before anything is read or written. If the
    /// first key is new to the schema, it encrypts from now on, here and in all other processes.
    pub(super) async fn unlock(
        pool: Pool,
        schema: Arc<Schema>,
        client: &mut Client,
        keys: EncryptionKeys,
    ) -> Result<Self, Fault> {
        let first = Vault::new(keys.clone()).current();
        // Whoever writes under the key that there was commits first.
        let lock = schema.qualify("LOCK TABLE ringback.encryption_keys IN EXCLUSIVE MODE");
        let insert = schema
            .qualify("INSERT INTO ringback.encryption_keys (id) VALUES ($1) ON CONFLICT (id) DO NOTHING");
        let known = schema.qualify("SELECT FROM ringback.encryption_keys WHERE id = $1");
        let tx = client.transaction().await?;
        // Most who come find their key there, and hold nobody up.
        let id = &first.to_bytes()[..];
        if tx.query_opt(&*known, &[&id]).await?.is_none() {
            tx.batch_execute(&lock).await?;
            look_at_keys(&tx, &schema, &keys).await?;
            tx.execute(&*insert, &[&id]).await?;
        }
        let vault = look_at_keys(&tx, &schema, &keys).await?;
        let last = tx.query_opt(&*schema.qualify(LAST_RECORDED), &[]).await?;
        let last = last.map(|row| instant(row.read("recorded_at")?, "recorded_at").map_err(Fault::from));
        let last = last.transpose()?;
        tx.commit().await?;
        Ok(Self {
            pool,
            schema,
            vault: Mutex::new(Arc::new(vault)),
            // What was recorded last tells whether the clock was ahead while this process was not here.
            latest: Mutex::new(last.unwrap_or(DateTime::<Utc>::MIN_UTC)),
            last_recorded: Mutex::new(last),
        })
    }

    pub(super) async fn transaction(&self) -> Result<Transaction<'_>, Fault> {
        Transaction::open(self, self.sealer()).await
    }

    pub(super) fn sealer(&self) -> Sealer {
        Sealer(Arc::clone(
            &self.vault.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    /// Goes by what other processes have made of the keys meanwhile.
    pub(super) async fn look_at_keys(&self, client: &Client) -> Result<(), Fault> {
        let vault = look_at_keys(client, &self.schema, self.sealer().0.keys()).await?;
        *self.vault.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(vault);
        Ok(())
    }

    /// A transaction of one statement.
    pub(super) async fn once(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let [rows] = self
            .transaction()
            .await?
            .commit_with([query(sql, parameters)])
            .await?;
        Ok(rows)
    }

    pub(super) async fn reserve_numbers(&self, count: u32) -> Result<i64, Fault> {
        let count = i64::from(count);
        let rows = self.once(ADVANCE, &[&"number", &count]).await?;
        let last: i64 = rows.first().ok_or(Fault::Unreadable("value"))?.read("value")?;
        Ok(last - count + 1)
    }

    /// Whether the clock was set back before this, by more than that by which machines may differ. To be
    /// [noted](Self::note_clock) once what follows from it is done.
    pub(super) fn was_set_back(&self, now: DateTime<Utc>) -> bool {
        after(now, CLOCK_SKEW) < *self.latest()
    }

    pub(super) fn note_clock(&self, now: DateTime<Utc>) {
        let was_set_back = self.was_set_back(now);
        let mut latest = self.latest();
        *latest = if was_set_back { now } else { now.max(*latest) };
    }

    fn latest(&self) -> MutexGuard<'_, DateTime<Utc>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A vault that encrypts with the key that came last, if each key that the schema names is at hand.
async fn look_at_keys(
    client: &impl tokio_postgres::GenericClient,
    schema: &Schema,
    keys: &EncryptionKeys,
) -> Result<Vault, Fault> {
    let select = schema.qualify("SELECT id FROM ringback.encryption_keys ORDER BY number");
    let mut vault = Vault::new(keys.clone());
    for row in client.query(&*select, &[]).await? {
        let id = KeyId::from_bytes(row.read("id")?).ok_or(Fault::Unreadable("encryption_keys.id"))?;
        if !vault.switch_to(id) {
            return Err(Fault::WrongKey(id));
        }
    }
    Ok(vault)
}
