//! Asynchronous calls and webhooks, both ends.
//!
//! A service answers "queued, I'll ring you back", works, and then delivers a signed webhook until it is accepted.
//! An application makes such calls, verifies the ring, handles it once, and fetches the result. This crate is both.
//! It speaks four real protocols (TrueLayer, Truv, Powens, Yodlee) and the Standard Webhooks signature, and forces no
//! runtime, HTTP client or database on anyone: those plug in through small traits.
//!
//! ```text
//!   the service                                               the application
//!
//!   an event ──▶ Dispatcher ──┐                               Receiver
//!   slow work ─▶ TaskRunner ──┤ enqueue                         verify          Gate
//!                             ▼                                 inflate
//!                           Store                               read            Protocol
//!                         ▲      │ claim       POST, signed     seen before?    SeenStore
//!                  settle │      ▼           ──────────────▶    handle          your code
//!                          Worker  HttpSender                   remember        SeenStore
//!                                            ◀──────────────    answer: 2xx once it is handled
//! ```
//!
//! Anything but a 2xx is tried again, when the schedule of the webhook's profile says so, until it is accepted or the
//! schedule ends. Every attempt is in the history.
//!
//! # Choose your parts
//!
//! | you want to | take | features |
//! |---|---|---|
//! | verify a signature | [`signature::Verifier`] with [`BiSignature`](signature::BiSignature), [`TruvSignature`](signature::TruvSignature), [`StandardWebhooks`](signature::StandardWebhooks) or a [`Scheme`](signature::Scheme) of your own; TrueLayer's `provider::truelayer::TlVerifier` | none; `jws` |
//! | receive webhooks in any framework | [`receive::Receiver`] with the provider's protocol, such as [`PowensEvents`](receive::PowensEvents) | none; `gzip` for Powens |
//! | … in axum, or behind any tower server | `receive::axum::Webhook`, `receive::tower::ReceiverLayer` | `axum`; `tower` |
//! | … for many tenants, or from known addresses only | [`receive::per_sender`], [`receive::Sources`] | none |
//! | … with keys that are published | `receive::PublishedKeys` | `jws` |
//! | see what goes on | [`observe`]: spans, events and figures; [`receive::Listener`] | `tracing`, `metrics`; none |
//! | read what providers send | [`provider`] | none |
//! | send webhooks | [`engine`](engine/index.html): `Engine`, `Dispatcher`, `Worker` | `engine`, and what follows |
//! | … as a provider does | [`provider::profiles`], or one of them | none |
//! | … with a proof | [`auth`]: signatures, fixed headers, user tokens; OAuth 2.0 | none; `engine` |
//! | … over HTTP | [`transport`]: `HyperSender`; `ReqwestSender`; [`sender_fn`](transport::sender_fn) | `hyper` or `reqwest`, and `rustls`; none |
//! | … and lose nothing | [`store`]: `SqliteStore`, `PostgresStore`; [`MemoryStore`](store::MemoryStore) survives no crash | `sqlite`, `postgres`; none |
//! | … together with your own data, in one transaction | `SqliteStore::submit_in`, `PostgresStore::submit_in`; from any client of PostgreSQL, the function `ringback.enqueue` | `sqlite`, `postgres` |
//! | … on Tokio; elsewhere, implement [`Timer`](system::Timer) | `system::TokioTimer` | `tokio` |
//! | offer slow calls as asynchronous ones | `engine::TaskRunner`, `engine::CallHandlers` over HTTP | as for sending; `axum` for its routes |
//! | make such calls, and wait for their end | [`client`](client/index.html): `CallClient`; only the URIs and payloads: [`task`] | `client`, and what sending over HTTP takes; none |
//! | know when to try again, and no more | [`retry::Schedule`] | none |
//! | test what you build on it, or a part of your own | `testing`: manual time, scripted senders, stores that fail, conformance suites, the simulation | `testing` |
//!
//! How it is done, from one end to the other, is in the [guides](guide/index.html): receiving from each provider, sending,
//! asynchronous calls, many machines, operating, parts of your own, security, and what else there is.
//!
//! The modules stand on four floors, and none uses one above its own: small values ([`id`], [`json`], [`secret`],
//! [`time`], [`url`]); rules and data without async, clock, randomness or I/O ([`delivery`], [`provider`], [`retry`],
//! [`signature`], [`task`]); seams to the outside and their adapters ([`auth`], [`store`], [`system`],
//! [`transport`]); what runs ([`client`](client/index.html), [`engine`](engine/index.html), [`receive`]).
//!
//! # Features
//!
//! None is on by default. Each only adds API; none changes what another does.
//!
//! | feature | what it adds | what it brings in |
//! |---|---|---|
//! | (none) | signatures, schedules, provider profiles and payload types, states and rules; the seams; `Receiver`, and a `MemoryStore` that remembers what was received | serde, chrono, http, hmac, sha2 and their like: 32 crates, no runtime, HTTP client, TLS or database |
//! | `engine` | `Dispatcher`, `Worker`, `Upkeep`, `TaskRunner`, `CallHandlers`; OAuth 2.0; all of `MemoryStore` | futures-util, rand, uuid |
//! | `client` | `CallClient`, `Watches`: start asynchronous calls, wait for their end | futures-util, rand |
//! | `tokio` | `TokioTimer` | tokio |
//! | `hyper` | `HyperSender`, the recommended sender | hyper, hyper-util, tokio |
//! | `reqwest` | `ReqwestSender`, for applications that have reqwest already | reqwest, hyper, tokio |
//! | `rustls` | https for `HyperSender` and `ReqwestSender` | rustls with ring, the Mozilla roots |
//! | `sqlite` | `SqliteStore` | rusqlite, SQLite itself (compiled in), chacha20poly1305 |
//! | `postgres` | `PostgresStore`, for as many machines as there are | tokio-postgres, deadpool-postgres, tokio, chacha20poly1305 |
//! | `gzip` | gzip bodies, received and sent | flate2 |
//! | `ed25519` | Standard Webhooks `v1a` signatures | ed25519-dalek |
//! | `jws` | TrueLayer's `Tl-Signature`, signed and verified, its keys fetched | p521, futures-util |
//! | `tower` | receivers as a tower layer | http-body, http-body-util, tower-layer, tower-service |
//! | `axum` | an extractor for what a receiver let in; with `engine`, the routes of asynchronous calls (and `tower`) | axum without its default features |
//! | `tracing` | spans and events of deliveries, attempts and messages | tracing |
//! | `metrics` | counters and histograms of the same | metrics |
//! | `testing` | manual time, scripted senders, stores that fail, the simulation, conformance suites, mutants (and `engine`) | nothing more |
//! | `full` | all of them | all of it |
//!
//! # Guarantees
//!
//! 1. **At least once.** Once `enqueue` has returned, the delivery survives `kill -9` (on a durable store) and is
//!    attempted until it is accepted or its schedule ends. An end is recorded as dead, with the reason, and can be
//!    replayed.
//! 2. **Enqueue is idempotent** on the scope and the caller's event id, for as long as the event is kept
//!    ([`delivery::Retention`]); the same id with other bytes is a conflict.
//! 3. **One holder.** A delivery is held by one worker under a lease, with a fence that rises at each claim; what a
//!    late holder reports changes nothing. Leases outlast the deadlines under them.
//! 4. **An attempt and its outcome commit together.** One that was cut short is recorded as interrupted, and counted.
//! 5. **Fair.** Webhooks take turns, each with its own limits. These are enforced where claims are made, so they hold
//!    across processes.
//! 6. **Bounded.** Memory follows what is in flight, not what waits.
//! 7. **Signed anew at every attempt,** over the bytes that are sent. Keys rotate with overlap.
//! 8. **Only where allowed:** https and public addresses, unless told otherwise ([`transport::Guard`]). What SQLite and
//!    PostgreSQL keep of secrets, URLs and contents is encrypted.
//! 9. **Never a panic from outside data,** and one in your own sender, authentication or profile costs one attempt.
//! 10. **Order** is none by default, and strict where a webhook asks for it ([`delivery::Order`]).
//! 11. **Nothing is sent without its proof.** What nothing can prove at present waits, and no attempt is counted.
//! 12. **A clean stop:** claim no more, finish what is in flight within a grace period, hand the rest back uncounted.
//!
//! # Limits
//!
//! - At least once is not exactly once: receivers hear some rings twice, and [`receive::Receiver`] with a store
//!   handles each once.
//! - [`MemoryStore`](store::MemoryStore) survives nothing.
//! - A sender that blocks its thread stalls its worker. `panic = "abort"` cannot be contained.
//! - A worker has 512 places and a webhook 8 of them, unless told otherwise: 64 that begin to hang at the same time hold
//!   up the others until their requests have timed out and slowed them down.
//! - SQLite is one machine. PostgreSQL is for several.
//! - With Powens' [`Flusher`](retry::Flusher), ten poison deliveries at the front of a webhook stop each run before it comes
//!   to the others: oldest first is what Powens publishes.
//! - A client's waiters live in memory: those of a process that has ended are not known to the next one.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
// Some of the rules are for what keeps deliveries, and of use to nobody where nothing does.
#![cfg_attr(
    not(any(feature = "engine", feature = "postgres", feature = "sqlite")),
    allow(dead_code, unused_imports)
)]

// Floor 0: small values that everything shares.
pub mod id;
pub mod json;
mod query;
pub mod secret;
pub mod time;
pub mod url;

// Floor 1: pure rules and data. No async, no clock, no randomness, no I/O.
pub mod delivery;
mod guard;
pub mod provider;
pub mod retry;
pub mod signature;
pub mod task;

// Floor 2: seams to the outside and their adapters.
pub mod auth;
pub mod observe;
pub mod store;
pub mod system;
pub mod transport;

// Floor 3: what runs.
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "engine")]
pub mod engine;
pub mod receive;

#[cfg(feature = "testing")]
pub mod testing;

// In the documentation alone.
#[cfg(all(any(doc, doctest), feature = "full"))]
pub mod guide;

/// The programs in the README, run as they stand.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
