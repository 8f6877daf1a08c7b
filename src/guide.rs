//! Guides: how it is done, from one end to the other.
//!
//! | you want to | read |
//! |---|---|
//! | receive webhooks, from each provider | [`receiving`] |
//! | send webhooks | [`sending`] |
//! | offer slow calls as asynchronous ones, or make such calls | [`calls`] |
//! | run it on many machines | [`machines`] |
//! | watch it, mend it, update it | [`operating`] |
//! | write a sender, a store, or another part of your own | [`parts`] |
//! | know what is looked after, and what is yours to do | [`security`] |
//! | know what else there is | [`comparison`] |
//!
//! They assume every feature; each says which ones it needs. Every program in them is compiled and, but for those that need a
//! server, run.
//!
//! These modules are there in the documentation alone, and hold no items.

#[doc = include_str!("../docs/guide/receiving.md")]
pub mod receiving {}

#[doc = include_str!("../docs/guide/sending.md")]
pub mod sending {}

#[doc = include_str!("../docs/guide/calls.md")]
pub mod calls {}

#[doc = include_str!("../docs/guide/machines.md")]
pub mod machines {}

#[doc = include_str!("../docs/guide/operating.md")]
pub mod operating {}

#[doc = include_str!("../docs/guide/parts.md")]
pub mod parts {}

#[doc = include_str!("../docs/guide/security.md")]
pub mod security {}

#[doc = include_str!("../docs/guide/comparison.md")]
pub mod comparison {}
