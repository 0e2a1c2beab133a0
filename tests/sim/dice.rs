//! Randomness of a run. Each draw is a function of the seed and of what it decides, not of the
//! draws before it, so that removing a fault from a scenario leaves the rest of the run alike.

/// Milliseconds of virtual time.
pub(crate) type Ms = i64;

/// What a draw decides; keeps the draws of different decisions apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topic {
    Shape = 1,
    Network,
    Lateness,
    Handler,
    Jitter,
    Replica,
    Unknown,
}

/// The draws of one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Returns a number that depends on the seed, the topic and two numbers only.
    ///
    /// **Source:** SplitMix64, Steele, Lea and Flood 2014.
    pub(crate) fn draw(self, topic: Topic, first: u64, second: u64) -> u64 {
        let topic = mix(self.0 ^ mix(topic as u64));
        mix(topic ^ mix(first.wrapping_add(0x51)) ^ mix(second.wrapping_mul(3)).rotate_left(17))
    }

    /// Returns a number in `low..high`.
    pub(crate) fn between(self, at: (Topic, u64, u64), low: Ms, high: Ms) -> Ms {
        let span = u64::try_from(high.saturating_sub(low)).unwrap_or(0).max(1);
        let offset = self.draw(at.0, at.1, at.2) % span;
        low.saturating_add(Ms::try_from(offset).unwrap_or(0))
    }

    /// Returns a number from 0.0 to 1.0.
    pub(crate) fn unit(self, topic: Topic, first: u64, second: u64) -> f64 {
        let high = u32::try_from(self.draw(topic, first, second) >> 32).unwrap_or(u32::MAX);
        f64::from(high) / f64::from(u32::MAX)
    }

    /// Returns true in `of_hundred` of hundred cases.
    pub(crate) fn chance(self, at: (Topic, u64, u64), of_hundred: u64) -> bool {
        self.draw(at.0, at.1, at.2) % 100 < of_hundred
    }
}

fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
