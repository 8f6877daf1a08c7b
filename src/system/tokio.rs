//! Time as Tokio tells it.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{SystemClock, Timer};
use crate::time::Clock;

/// Waits on Tokio's timer. Must be used inside a Tokio runtime with time enabled.
///
/// ```
/// use std::time::Duration;
/// use ringback::system::{Timer, TokioTimer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// TokioTimer.sleep(Duration::from_millis(1)).await;
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioTimer;

impl Clock for TokioTimer {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now()
    }
}

#[async_trait]
impl Timer for TokioTimer {
    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
