//! Encrypting anew what is under an older key.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::database::Database;
use super::fault::Fault;
use super::transaction::{Columns, Query, Transaction, query};
use crate::store::encrypted::{ENCRYPTED, Encrypted, EncryptedAnew};

/// How many rows are looked at in one commit.
const ROWS_AT_ONCE: i64 = 256;

const OLD_KEYS: &str = "SELECT id FROM ringback.encryption_keys WHERE id <> $1";
const RETIRE: &str = "DELETE FROM ringback.encryption_keys WHERE id <> $1";

/// How far a pass over everything has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    table: usize,
    after: Option<Key>,
    done: EncryptedAnew,
}

/// The value of a column that identifies a row.
#[derive(Debug, Clone)]
enum Key {
    Number(i64),
    Text(String),
}

impl Key {
    fn read(row: &Row, column: &'static str) -> Result<Self, Fault> {
        match row.read(column) {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => row.read(column).map(Self::Text),
        }
    }

    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Number(number) => number,
            Self::Text(text) => text,
        }
    }

    /// As the sealer is told it.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Number(number) => number.to_be_bytes().to_vec(),
            Self::Text(text) => text.as_bytes().to_vec(),
        }
    }
}

/// A value under the key that encrypts now, where it is, and what is there as yet.
struct Change<'a> {
    column: &'static str,
    row: Vec<Key>,
    old: &'a [u8],
    new: Vec<u8>,
}

impl Database {
    /// One step of a pass: what is left to do, or what was done by the end of it.
    pub(super) async fn encrypt_anew(&self, pass: &Pass) -> Result<Result<EncryptedAnew, Pass>, Fault> {
        let mut tx = self.transaction().await?;
        let current = tx.sealer().0.current().to_bytes();
        if tx.query(OLD_KEYS, &[&&current[..]]).await?.is_empty() {
            tx.roll_back().await?;
            return Ok(Ok(pass.done));
        }
        let Some(encrypted) = ENCRYPTED.get(pass.table) else {
            // Whatever was written since the newest key came is under it, in every process.
            tx.commit_with([query(RETIRE, &[&&current[..]])]).await?;
            return Ok(Ok(pass.done));
        };
        let mut pass = pass.clone();
        match Table(encrypted)
            .step(&mut tx, pass.after.as_ref(), &mut pass.done)
            .await?
        {
            Some(last) => pass.after = Some(last),
            None => (pass.table, pass.after) = (pass.table + 1, None),
        }
        tx.commit().await?;
        Ok(Err(pass))
    }
}

/// A table that is gone through.
struct Table(&'static Encrypted);

impl Table {
    /// Encrypts anew what comes after one row, if there is anything. The last row that it has looked at.
    async fn step(
        &self,
        tx: &mut Transaction<'_>,
        after: Option<&Key>,
        done: &mut EncryptedAnew,
    ) -> Result<Option<Key>, Fault> {
        let (by, table) = (self.0.by, self.0.table);
        let columns: Vec<_> = self.0.columns.iter().map(|column| name_of(column)).collect();
        let (row, columns) = (self.0.row.join(", "), columns.join(", "));
        let following = after.map_or(String::new(), |_| format!("WHERE {by} > $1"));
        let select = format!(
            "WITH next AS (SELECT {by} FROM ringback.{table} {following} ORDER BY {by} LIMIT {ROWS_AT_ONCE})
             SELECT {by} AS place, {row}, {columns} FROM ringback.{table} WHERE {by} IN (SELECT {by} FROM next)
             ORDER BY {by}"
        );
        let parameters: Vec<_> = after.iter().map(|key| key.parameter()).collect();
        let [rows] = tx.run([Query::of(select, &parameters)]).await?;
        let mut changes = Vec::new();
        for row in &rows {
            changes.extend(self.changes(tx, row, done)?);
        }
        for change in changes {
            self.write(tx, &change).await?;
            done.values += 1;
        }
        rows.last().map(|row| Key::read(row, "place")).transpose()
    }

    fn changes<'a>(
        &self,
        tx: &Transaction<'_>,
        row: &'a Row,
        done: &mut EncryptedAnew,
    ) -> Result<Vec<Change<'a>>, Fault> {
        let keys = self.0.row.iter().map(|column| Key::read(row, column));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let identity: Vec<_> = keys.iter().map(Key::bytes).collect();
        let identity: Vec<_> = identity.iter().map(Vec::as_slice).collect();
        let mut changes = Vec::new();
        for column in self.0.columns {
            let Some(old) = row.read::<Option<&[u8]>>(name_of(column))? else {
                continue;
            };
            match tx.sealer().anew(column, &identity, old) {
                Ok(Some(new)) => changes.push(Change {
                    column,
                    row: keys.clone(),
                    old,
                    new,
                }),
                Ok(None) => {}
                Err(_) => done.unreadable += 1,
            }
        }
        Ok(changes)
    }

    /// Puts a value in place of the old one, unless something else has come there meanwhile, which is under the new key.
    async fn write(&self, tx: &mut Transaction<'_>, change: &Change<'_>) -> Result<(), Fault> {
        let (table, name) = (self.0.table, name_of(change.column));
        let identity = (3..).zip(self.0.row).map(|(at, key)| format!("{key} = ${at}"));
        let identity = identity.collect::<Vec<_>>().join(" AND ");
        let update = format!("UPDATE ringback.{table} SET {name} = $1 WHERE {name} = $2 AND {identity}");
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&change.new, &change.old];
        parameters.extend(change.row.iter().map(Key::parameter));
        tx.run([Query::of(update, &parameters)]).await?;
        Ok(())
    }
}

/// A column's own name, without its table's.
fn name_of(column: &'static str) -> &'static str {
    column.rsplit('.').next().unwrap_or(column)
}
