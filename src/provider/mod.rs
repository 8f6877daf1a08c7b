//! The protocols of four providers: payload types, statuses and their life cycles, and what else their
//! documents say. Each module starts with the provider's protocol on one page.

pub mod powens;
pub mod truelayer;
pub mod truv;
pub mod yodlee;
