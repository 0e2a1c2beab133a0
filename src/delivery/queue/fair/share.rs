//! Share of one owner: how many permits it holds and may hold.

/// Divides the permits of a share: the deliveries of replays hold at most this part of them.
const REPLAY_DIVISOR: usize = 2;

/// What an attempt counts as in the shares of its owners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AttemptKind {
    /// Whether it runs for too long, or its endpoint has not proven to be quick.
    pub(super) is_slow: bool,
    /// Whether a replay made the delivery.
    pub(super) is_replay: bool,
}

impl AttemptKind {
    /// A quick attempt of a live delivery: where it is not admitted, no other attempt is.
    pub(super) const QUICK: Self = Self { is_slow: false, is_replay: false };
}

/// Permits of one owner.
#[derive(Clone, Debug)]
pub(super) struct Share {
    running: usize,
    slow: usize,
    replays: usize,
    max: usize,
    slow_max: usize,
    replay_max: usize,
}

impl Share {
    /// Creates a share of at most `max` permits, of which slow attempts may hold `slow_max`, and replays
    /// half. All are at least one: an owner without a permit would never be attempted.
    pub(super) fn new(max: usize, slow_max: usize) -> Self {
        let max = max.max(1);
        let (slow_max, replay_max) = (slow_max.max(1), (max / REPLAY_DIVISOR).max(1));
        Self { running: 0, slow: 0, replays: 0, max, slow_max, replay_max }
    }

    /// Returns this share where replays may hold all permits: those that only replays have.
    pub(super) fn of_replays(self) -> Self {
        Self { replay_max: self.max, ..self }
    }

    /// Returns whether the owner may hold one more permit.
    pub(super) fn admits(&self, kind: AttemptKind) -> bool {
        self.running < self.max
            && (!kind.is_slow || self.slow < self.slow_max)
            && (!kind.is_replay || self.replays < self.replay_max)
    }

    /// Returns whether a release can make this share admit what it did not admit before.
    pub(super) fn is_limiting(&self) -> bool {
        self.running >= self.max || self.slow >= self.slow_max || self.replays >= self.replay_max
    }

    /// Counts a permit that was granted.
    pub(super) fn take(&mut self, kind: AttemptKind) {
        self.running += 1;
        self.slow += usize::from(kind.is_slow);
        self.replays += usize::from(kind.is_replay);
    }

    /// Counts a running attempt as slow from now on.
    pub(super) fn turn_slow(&mut self) {
        self.slow += 1;
    }

    /// Counts a permit that was returned.
    pub(super) fn release(&mut self, kind: AttemptKind) {
        self.running = self.running.saturating_sub(1);
        self.slow = self.slow.saturating_sub(usize::from(kind.is_slow));
        self.replays = self.replays.saturating_sub(usize::from(kind.is_replay));
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
