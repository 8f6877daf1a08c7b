//! The calling side: starts asynchronous calls, waits for their end, and fetches their results.
//!
//! A [`CallClient`] starts a call on any endpoint that takes `async=true`, through an
//! [`HttpSender`](crate::transport::HttpSender), and waits for its end by webhook, by polling, or by whichever comes
//! first. What it needs of the application is a route where callbacks arrive, given to
//! [`handle`](CallClient::handle); without one it polls.
//!
//! Each call's `webhook_uri` carries a token of its own, which nobody can guess. A callback is matched by it, which
//! proves it where the service signs nothing, and which works even before the service has answered the call itself.
//!
//! Waiters live in memory and cost no thread. What a process was waiting for when it ended is not known to the next
//! one: callbacks that nobody waits for are handed to the application.
//!
//! [`Watches`] is what lies beneath, for other life cycles: a waiter there can wait for any status of any
//! [`LifeCycle`](crate::task::LifeCycle), such as that of a Truv task.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use ringback::client::CallClient;
//! use ringback::system::TokioTimer;
//! use ringback::transport::sender_fn;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A service that is done as soon as it is asked; an application would take `HyperSender`.
//! let sender = sender_fn(|request: Request<Bytes>| async move {
//!     let body = match request.uri().path() {
//!         "/accounts" => r#"{"results_uri":"https://api.example.com/results/1","status":"Queued","task_id":"1"}"#,
//!         _ => r#"{"results":["current","savings"],"status":"Succeeded"}"#,
//!     };
//!     Ok(Response::new(Bytes::from(body)))
//! });
//! let client = CallClient::builder(sender, TokioTimer).build();
//!
//! let request = Request::get("https://api.example.com/accounts")
//!     .header("authorization", "Bearer the user's token")
//!     .body(Bytes::new())?;
//! let accounts: Vec<String> = client.call(request).start().await?.results().await?;
//! assert_eq!(accounts, ["current", "savings"]);
//! # Ok(())
//! # }
//! ```

mod answer;
mod builder;
mod call;
mod callback;
mod error;
mod patience;
mod waiter;
mod watch;

pub use self::builder::{CallClient, CallClientBuilder};
pub use self::call::{NewRequest, PendingCall, WaitBy};
pub use self::callback::{Stray, StrayReason};
pub use self::error::{CallError, StartError};
pub use self::patience::{Patience, Polled, StatusSource, WaitError};
pub use self::watch::{Arrival, Reported, Watch, Watches};
