//! How each provider sends, told from the first request to the last, at exact times, on every store, and with the
//! crew crashing.

mod digests;
mod disabling;
mod flusher;
mod holds;
mod keys;
mod notices;
mod providers;
mod scopes;
mod slowing;
pub(crate) mod stage;
