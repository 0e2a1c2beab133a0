//! Random numbers for jitter.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Random numbers for jitter, the only randomness of deliveries. Seeded, so that tests repeat.
#[derive(Debug)]
pub struct Random(AtomicU64);

impl Random {
    /// Creates the sequence of a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Creates an unpredictable sequence.
    #[must_use]
    pub fn from_system() -> Self {
        Self::seeded(uuid::Uuid::new_v4().as_u64_pair().0)
    }

    /// Returns the next number, from 0.0 to 1.0.
    ///
    /// **Source:** SplitMix64, Steele, Lea and Flood 2014.
    pub fn unit(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(high) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_decides_the_random_sequence() {
        let draw = |seed| {
            let random = Random::seeded(seed);
            (0..4).map(|_| random.unit().to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
