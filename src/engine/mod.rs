//! What runs: takes events in, sends them until they are accepted, and runs asynchronous calls.
//!
//! An [`Engine`] holds what the parts share: the store, the sender, the timer, the profiles, the guard. From it
//! come a [`Dispatcher`], which registers webhooks and enqueues events, any number of [`Worker`]s, which send
//! them, an [`Upkeep`], which does what has to be done now and then, and a [`TaskRunner`], which offers slow work as
//! asynchronous calls. They need not be in one process: what they share beyond configuration is the store.
//!
//! It runs on any runtime, or none: everything is a future that the application drives, and time passes
//! through [`Timer`].
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use ringback::delivery::{Event, PlainProfile};
//! use ringback::engine::{Engine, Registration, TokioTimer};
//! use ringback::retry::Schedule;
//! use ringback::store::MemoryStore;
//! use ringback::transport::sender_fn;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (sent, mut received) = tokio::sync::mpsc::unbounded_channel();
//! let sender = sender_fn(move |request: Request<Bytes>| {
//!     let _ = sent.send(request.into_body());
//!     async { Ok(Response::new(Bytes::new())) }
//! });
//!
//! let engine = Engine::builder(MemoryStore::new(), sender, TokioTimer)
//!     .profile(PlainProfile::new("plain", Schedule::standard_webhooks()))
//!     .build();
//! let dispatcher = engine.dispatcher();
//! dispatcher
//!     .register(Registration::new("tenant-7", "https://example.com/hook", "plain").events(["order.*"]))
//!     .await?;
//! dispatcher.enqueue(Event::builder("tenant-7", "order-1/paid", "order.paid").json("{}").build()?).await?;
//!
//! // Until the first delivery was received; an application would wait for its shutdown signal.
//! engine.worker().run_until(async { assert_eq!(received.recv().await.unwrap(), "{}") }).await?;
//! # Ok(())
//! # }
//! ```

mod assembly;
mod auths;
mod coding;
mod digests;
mod dispatcher;
mod flight;
mod holds;
mod intake;
mod listener;
mod registration;
mod registry;
mod retention;
mod seen;
mod tasks;

mod upkeep;
mod watch;
mod worker;

pub use self::assembly::{Engine, EngineBuilder};
pub use self::auths::{
    AuthInfo, AuthKind, GenerateAuthError, KeyTimes, RemoveAuthError, RotateAuthError, RotatedKey,
    SaveAuthError,
};
pub use self::digests::RecordError;
pub use self::dispatcher::{Dispatcher, EnqueueError, Receipt};
pub use self::listener::{DeliveryFacts, Listener, Notice, WebhookFacts, listener_fn};
pub use self::registration::{RegisterError, Registration};

pub use self::tasks::{
    AcceptError, CallHandlers, Callbacks, Cancelled, CheckUnavailable, CredentialsCheck, NewCall,
    RunNowError, TaskContext, TaskError, TaskRunner, TaskRunnerBuilder, TaskWork,
};
pub use self::upkeep::Upkeep;
pub use self::worker::Worker;
pub use crate::system::Timer;
#[cfg(feature = "tokio")]
pub use crate::system::TokioTimer;
