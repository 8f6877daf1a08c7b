//! Waiting.

use std::time::Duration;

use async_trait::async_trait;

use crate::time::Clock;

/// Lets time pass. With the [`Clock`] it extends, this is all that an engine or a client needs of a runtime.
///
/// # Contract
///
/// `sleep` completes once at least `span` has passed, and not much later; zero may complete at once. Sleeps do
/// not disturb each other, and any number may be under way.
///
/// # Cancellation
///
/// Dropping a sleep ends it without effect.
///
/// ```
/// use std::time::Duration;
/// use async_trait::async_trait;
/// use chrono::{DateTime, Utc};
/// use ringback::system::{SystemClock, Timer};
/// use ringback::time::Clock;
///
/// /// The `TokioTimer` of the `tokio` feature, in full.
/// #[derive(Debug)]
/// struct MyTimer;
///
/// impl Clock for MyTimer {
///     fn now(&self) -> DateTime<Utc> {
///         SystemClock.now()
///     }
/// }
///
/// #[async_trait]
/// impl Timer for MyTimer {
///     async fn sleep(&self, span: Duration) {
///         tokio::time::sleep(span).await;
///     }
/// }
/// ```
#[async_trait]
pub trait Timer: Clock {
    /// Completes after `span`.
    async fn sleep(&self, span: Duration);
}
