//! (written below)

mod entropy;
mod time;

pub use self::entropy::SeededEntropy;
pub use self::time::ManualTime;
