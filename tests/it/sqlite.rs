//! The SQLite store: what its file keeps, and what several handles share.

mod model;
