//! A connection, and the keys to what is kept encrypted in it.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::fault::Fault;
use crate::store::encryption::{EncryptionKeys, KeyId, Place, Vault};

/// A connection to a file, with the keys that its file names. It is a [`Connection`], for all that is not encrypted.
pub(super) struct Database {
    conn: Connection,
    vault: Arc<Vault>,
    latest: LatestVault,
}

/// What encrypts as things are, for whoever encrypts before a call comes to its turn. Should the key change meanwhile, the
/// call encrypts anew.
#[derive(Clone)]
pub(super) struct LatestVault(Arc<Mutex<Arc<Vault>>>);

impl LatestVault {
    pub(super) fn get(&self) -> Arc<Vault> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, vault: Arc<Vault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = vault;
    }
}

impl Database {
    /// Makes sure that everything in the file can be read with these keys, before anything is read or written. If the first
    /// key is new to the file, it encrypts from now on, here and in all other processes.
    pub(super) fn unlock(mut conn: Connection, keys: EncryptionKeys) -> Result<Self, Fault> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let first = Vault::new(keys.clone());
        check(&tx, &first)?;
        tx.execute(
            "INSERT INTO encryption_keys (id) VALUES (?1) ON CONFLICT (id) DO NOTHING",
            [first.current().to_bytes()],
        )?;
        let vault = Arc::new(vault(&tx, keys)?);
        tx.commit()?;
        let latest = LatestVault(Arc::new(Mutex::new(Arc::clone(&vault))));
        Ok(Self { conn, vault, latest })
    }

    pub(super) fn latest_vault(&self) -> LatestVault {
        self.latest.clone()
    }

    /// Goes by what other processes have made of the keys meanwhile. To be called at the start of a transaction.
    pub(super) fn look_at_keys(&mut self) -> Result<(), Fault> {
        let vault = vault(&self.conn, self.vault.keys().clone())?;
        if vault.current() != self.vault.current() {
            self.vault = Arc::new(vault);
            self.latest.set(Arc::clone(&self.vault));
        }
        Ok(())
    }

    /// Strikes all keys but the one that encrypts off the file's list, once nothing is encrypted under them.
    pub(super) fn retire_keys(&self) -> Result<(), Fault> {
        self.conn.execute(
            "DELETE FROM encryption_keys WHERE id <> ?1",
            [self.vault.current().to_bytes()],
        )?;
        Ok(())
    }

    /// Whether the file's list has keys beside the one that encrypts.
    pub(super) fn has_old_keys(&self) -> Result<bool, Fault> {
        let old = "SELECT 1 FROM encryption_keys WHERE id <> ?1";
        Ok(self
            .conn
            .prepare_cached(old)?
            .exists([self.vault.current().to_bytes()])?)
    }

    /// The value as it is to be kept in that column, in the row that these bytes identify.
    pub(super) fn seal(&self, column: &'static str, row: &[&[u8]], value: &[u8]) -> Result<Vec<u8>, Fault> {
        let sealed = self.vault.seal(Place { column, row }, value);
        sealed.map_err(|_| Fault::Unreadable(column))
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether a value is under the key that encrypts now.
    pub(super) fn encrypts_like(&self, sealed: &[u8]) -> bool {
        sealed.starts_with(&self.vault.current().to_bytes())
    }

    /// Reads back what [`seal`](Self::seal) gave.
    pub(super) fn open(&self, column: &'static str, row: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let value = self.vault.open(Place { column, row }, sealed);
        value.map_err(|_| Fault::Unreadable(column))
    }

    /// As [`open`](Self::open), for text.
    pub(super) fn open_text(
        &self,
        column: &'static str,
        row: &[&[u8]],
        sealed: &[u8],
    ) -> Result<String, Fault> {
        String::from_utf8(self.open(column, row, sealed)?).map_err(|_| Fault::Unreadable(column))
    }

    /// The value under the key that encrypts now; nothing, if it is under it already.
    pub(super) fn anew(
        &self,
        column: &'static str,
        row: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, Fault> {
        let anew = self.vault.anew(Place { column, row }, sealed);
        anew.map_err(|_| Fault::Unreadable(column))
    }
}

/// What encrypts in a transaction on this connection, which need not be the store's.
pub(super) fn vault(conn: &Connection, keys: EncryptionKeys) -> Result<Vault, Fault> {
    let mut vault = Vault::new(keys);
    check(conn, &vault)?;
    vault.switch_to(latest(conn)?);
    Ok(vault)
}

/// Whether each key that the file names is at hand.
fn check(conn: &Connection, vault: &Vault) -> Result<(), Fault> {
    let mut select = conn.prepare_cached("SELECT id FROM encryption_keys")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let id = read(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        if !vault.keys().ids().any(|known| known == id) {
            return Err(Fault::WrongKey(id));
        }
    }
    Ok(())
}

/// The key that encrypts: the last that came.
fn latest(conn: &Connection) -> Result<KeyId, Fault> {
    let id: Option<Vec<u8>> = conn
        .prepare_cached("SELECT id FROM encryption_keys ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    read(&id.unwrap_or_default())
}

fn read(id: &[u8]) -> Result<KeyId, Fault> {
    KeyId::from_bytes(id).ok_or(Fault::Unreadable("encryption_keys.id"))
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}
