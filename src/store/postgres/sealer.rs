//! Values that are kept encrypted.

use std::sync::Arc;

use super::fault::Fault;
use crate::store::encryption::{Place, Vault};

/// Encrypts and decrypts what one call has to do with.
#[derive(Clone)]
pub(super) struct Sealer(pub(super) Arc<Vault>);

impl Sealer {
    /// The value as it is to be kept in that column, in the row that these bytes identify.
    pub(super) fn seal(&self, column: &'static str, row: &[&[u8]], value: &[u8]) -> Result<Vec<u8>, Fault> {
        let sealed = self.0.seal(Place { column, row }, value);
        sealed.map_err(|_| Fault::Unreadable(column))
    }

    /// Reads back what [`seal`](Self::seal) gave.
    pub(super) fn open(&self, column: &'static str, row: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let value = self.0.open(Place { column, row }, sealed);
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
        let anew = self.0.anew(Place { column, row }, sealed);
        anew.map_err(|_| Fault::Unreadable(column))
    }
}
