//! The machine's own clock and randomness, which this file alone touches, and the seam through which time passes.

mod timer;
#[cfg(feature = "tokio")]
mod tokio;

use chrono::{DateTime, Utc};

pub use self::timer::Timer;
#[cfg(feature = "tokio")]
pub use self::tokio::TokioTimer;
use crate::time::Clock;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// A source of random bytes: for jitter, ids and generated keys.
///
/// # Contract
///
/// Bytes must be unpredictable to anyone outside wherever they become ids, tokens or keys, which is
/// everywhere but in tests; there a seeded source, such as `testing::SeededEntropy`, makes a run repeatable.
pub trait Entropy: std::fmt::Debug + Send + Sync + 'static {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);

    /// A random number, evenly spread over all of `u64`.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's randomness, through a generator of the thread's own.
#[cfg(any(
    feature = "client",
    feature = "engine",
    feature = "sqlite",
    feature = "postgres"
))]
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

#[cfg(any(
    feature = "client",
    feature = "engine",
    feature = "sqlite",
    feature = "postgres"
))]
impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn fill(&self, buffer: &mut [u8]) {
        rand::Rng::fill_bytes(&mut rand::rng(), buffer);
    }
}
