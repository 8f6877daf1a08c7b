//! What runs.

mod timer;
#[cfg(feature = "tokio")]
mod tokio;

pub use self::timer::Timer;
#[cfg(feature = "tokio")]
pub use self::tokio::TokioTimer;
