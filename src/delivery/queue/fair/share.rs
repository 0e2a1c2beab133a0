//! Share of one owner: how many permits it holds and may hold.

/// Permits of one owner.
#[derive(Clone, Debug)]
pub(super) struct Share {
    running: usize,
    slow: usize,
    max: usize,
    slow_max: usize,
}

impl Share {
    /// Creates a share of at most `max` permits, of which slow attempts may hold `slow_max`. Both
    /// are at least one: an owner without a permit would never be attempted.
    pub(super) fn new(max: usize, slow_max: usize) -> Self {
        Self { running: 0, slow: 0, max: max.max(1), slow_max: slow_max.max(1) }
    }

    /// Returns whether the owner may hold one more permit.
    pub(super) fn admits(&self, is_slow: bool) -> bool {
        self.running < self.max && (!is_slow || self.slow < self.slow_max)
    }

    /// Returns whether a release can make this share admit what it did not admit before.
    pub(super) fn is_limiting(&self) -> bool {
        self.running >= self.max || self.slow >= self.slow_max
    }

    /// Counts a permit that was granted.
    pub(super) fn take(&mut self, is_slow: bool) {
        self.running += 1;
        self.slow += usize::from(is_slow);
    }

    /// Counts a running attempt as slow from now on.
    pub(super) fn turn_slow(&mut self) {
        self.slow += 1;
    }

    /// Counts a permit that was returned.
    pub(super) fn release(&mut self, is_slow: bool) {
        self.running = self.running.saturating_sub(1);
        self.slow = self.slow.saturating_sub(usize::from(is_slow));
    }

    /// Returns how many permits the owner holds.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Returns how many permits slow attempts of the owner hold.
    pub(super) fn slow(&self) -> usize {
        self.slow
    }

    /// Returns how many permits the owner may hold.
    pub(super) fn max(&self) -> usize {
        self.max
    }
}
