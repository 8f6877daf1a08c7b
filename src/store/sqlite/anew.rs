//! Encrypting anew what is under an older key.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};

use super::core::Core;
use super::database::Database;
use super::fault::Fault;
use crate::store::encrypted::{ENCRYPTED, Encrypted, EncryptedAnew};

/// How many rows are looked at in one commit: a few milliseconds, so that whoever claims or settles hardly waits.
const ROWS_AT_ONCE: i64 = 256;

/// How far a pass over everything has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    table: usize,
    after: Option<Value>,
    done: EncryptedAnew,
}

impl Core {
    /// One step of a pass: what is left to do, or what was done by the end of it.
    pub(super) fn encrypt_anew(&mut self, pass: &Pass) -> Result<Result<EncryptedAnew, Pass>, Fault> {
        let Some(encrypted) = ENCRYPTED.get(pass.table) else {
            // Since the newest key came, whatever was written is under it, in every process.
            self.conn.retire_keys()?;
            return Ok(Ok(pass.done));
        };
        if !self.conn.has_old_keys()? {
            return Ok(Ok(pass.done));
        }
        let mut pass = pass.clone();
        match encrypted.last_of_step(&self.conn, pass.after.as_ref())? {
            Some(last) => {
                encrypted.step(&self.conn, pass.after.as_ref(), &last, &mut pass.done)?;
                pass.after = Some(last);
            }
            None => (pass.table, pass.after) = (pass.table + 1, None),
        }
        Ok(Err(pass))
    }
}

impl Encrypted {
    /// The rows that come after one, which has `?1` for its value. The first step has none.
    fn following(&self, after: Option<&Value>) -> String {
        match after {
            Some(_) => format!("{} > ?1", self.by),
            None => "?1 IS NULL".to_owned(),
        }
    }

    /// Up to where a step goes that starts after this.
    fn last_of_step(&self, conn: &Connection, after: Option<&Value>) -> Result<Option<Value>, Fault> {
        let (by, table) = (self.by, self.table);
        let following = self.following(after);
        let sql = format!(
            "SELECT max({by}) FROM (SELECT {by} FROM {table} WHERE {following} ORDER BY {by} LIMIT {ROWS_AT_ONCE})"
        );
        let last = conn.prepare_cached(&sql)?.query_one([after], |row| row.get(0))?;
        Ok((last != Value::Null).then_some(last))
    }

    /// Encrypts anew what comes after one row, up to another.
    fn step(
        &self,
        db: &Database,
        after: Option<&Value>,
        last: &Value,
        done: &mut EncryptedAnew,
    ) -> Result<(), Fault> {
        let (by, table) = (self.by, self.table);
        let (row, columns) = (self.row.join(", "), self.columns.join(", "));
        let following = self.following(after);
        let mut select = db.prepare_cached(&format!(
            "SELECT {row}, {columns} FROM {table} WHERE {following} AND {by} <= ?2"
        ))?;
        let mut rows = select.query((after, last))?;
        let mut changes = Vec::new();
        while let Some(row) = rows.next()? {
            let keys = (0..self.row.len()).map(|at| row.get::<_, Value>(at));
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            let identity: Vec<Vec<u8>> = keys.iter().map(bytes_of).collect();
            let identity: Vec<&[u8]> = identity.iter().map(Vec::as_slice).collect();
            for (at, column) in (self.row.len()..).zip(self.columns) {
                let ValueRef::Blob(sealed) = row.get_ref(at)? else {
                    continue; // nothing is there
                };
                match db.anew(column, &identity, sealed) {
                    Ok(Some(anew)) => changes.push((*column, keys.clone(), anew)),
                    Ok(None) => {}
                    Err(_) => done.unreadable += 1,
                }
            }
        }
        for (column, keys, anew) in changes {
            self.write(db, column, keys, anew)?;
            done.values += 1;
        }
        Ok(())
    }

    fn write(&self, conn: &Connection, column: &str, row: Vec<Value>, anew: Vec<u8>) -> Result<(), Fault> {
        let name = column.rsplit('.').next().unwrap_or(column);
        let identity: Vec<_> = (2..)
            .zip(self.row)
            .map(|(at, key)| format!("{key} = ?{at}"))
            .collect();
        let sql = format!(
            "UPDATE {} SET {name} = ?1 WHERE {}",
            self.table,
            identity.join(" AND ")
        );
        let values = std::iter::once(Value::Blob(anew)).chain(row);
        conn.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        Ok(())
    }
}

/// What identifies a row, as [`Database::seal`] is told it.
fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Integer(number) => number.to_be_bytes().to_vec(),
        Value::Text(text) => text.as_bytes().to_vec(),
        Value::Blob(bytes) => bytes.clone(),
        Value::Null | Value::Real(_) => Vec::new(),
    }
}
