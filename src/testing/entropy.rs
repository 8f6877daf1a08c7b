//! Randomness that can be had again.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::system::Entropy;

/// Random bytes that follow from a seed: the same seed, the same bytes, on every machine and in every version.
///
/// The generator is SplitMix64 (Steele, Lea and Flood, 2014): evenly spread, and predictable to anyone. For tests
/// only.
///
/// ```
/// use ringback::system::Entropy;
/// use ringback::testing::SeededEntropy;
///
/// let numbers = |seed| {
///     let entropy = SeededEntropy::new(seed);
///     [entropy.next_u64(), entropy.next_u64()]
/// };
/// assert_eq!(numbers(7), numbers(7));
/// assert_ne!(numbers(7), numbers(8));
/// ```
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

/// The golden ratio's fraction, as an odd number: the state takes on every value once before it returns.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl SeededEntropy {
    /// The bytes that follow from this seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number from 0 up to, and not including, `bound`; 0 if the bound is 0.
    pub fn below(&self, bound: u64) -> u64 {
        // The upper half of the product: even to within `bound` in 2^64, which no test can tell.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        (product >> 64) as u64
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    fn next_u64(&self) -> u64 {
        let state = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        let entropy = SeededEntropy::new(1_234_567);
        let numbers = [(); 3].map(|()| entropy.next_u64());
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn buffers_of_any_length_are_filled_alike() {
        let mut long = [0; 21];
        SeededEntropy::new(3).fill(&mut long);
        let mut short = [0; 5];
        SeededEntropy::new(3).fill(&mut short);
        assert_eq!(long[..5], short);
        assert_ne!(long[16..], [0; 5]);
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let entropy = SeededEntropy::new(9);
        let mut counts = [0; 5];
        for _ in 0..1_000 {
            counts[entropy.below(5) as usize] += 1;
        }
        assert!(counts.into_iter().all(|n| n > 150), "{counts:?}");
        assert_eq!(entropy.below(0), 0);
        assert_eq!(entropy.below(1), 0);
    }
}
