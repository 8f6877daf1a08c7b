//! (placeholder)
#[derive(Debug)]
pub struct SqliteStore;
