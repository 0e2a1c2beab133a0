//! The result: numbers of deliveries by what became of them, for each subscription and their sums. Pure.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::facts::State;
use super::numbers::MissingRecords;

/// Deliveries by what became of them. A delivery that several subscriptions share counts for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeliveryCounts {
    /// Matches of events.
    pub matched: u64,
    /// Repeated by replays.
    pub replayed: u64,
    /// Accepted by their handlers.
    pub delivered: u64,
    /// In the dead-letter stream.
    pub dead: u64,
    /// Dropped by a policy.
    pub dropped: u64,
    /// Deleted from the dead-letter stream, by an operator, by an erasure or by age; or from the parking
    /// stream by an erasure.
    pub removed: u64,
    /// In the parking stream.
    pub pending: u64,
    /// Unaccounted for.
    pub gap: u64,
}

impl DeliveryCounts {
    /// Counts `number` deliveries with a state.
    pub fn count(&mut self, state: State, is_replayed: bool, number: u64) {
        let debit = if is_replayed { &mut self.replayed } else { &mut self.matched };
        *debit += number;
        let credit = match state {
            State::Delivered => &mut self.delivered,
            State::Dead => &mut self.dead,
            State::Dropped => &mut self.dropped,
            State::Removed => &mut self.removed,
            State::Pending => &mut self.pending,
            State::Gap => &mut self.gap,
        };
        *credit += number;
    }

    /// Whether there is nothing to account for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for DeliveryCounts {
    fn add_assign(&mut self, other: Self) {
        self.matched += other.matched;
        self.replayed += other.replayed;
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.dropped += other.dropped;
        self.removed += other.removed;
        self.pending += other.pending;
        self.gap += other.gap;
    }
}

/// The counts of one subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscriptionCounts {
    /// Its site.
    pub site: Box<str>,
    /// `<installation>/<key>`.
    pub subscription: Box<str>,
    /// The counts.
    pub counts: DeliveryCounts,
}

impl SubscriptionCounts {
    /// Returns the installation.
    #[must_use]
    pub fn installation(&self) -> &str {
        self.subscription.rsplit_once('/').map_or("", |(installation, _)| installation)
    }
}

/// A delivery that is unaccounted for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GapDelivery {
    /// Its id.
    pub delivery: String,
    /// Site of its event.
    pub site: String,
    /// Id of its event.
    pub event: String,
    /// Sequence of its event in the event stream.
    pub sequence: u64,
    /// Its subscriptions, `<installation>/<key>`.
    pub subscriptions: Vec<String>,
    /// Replay job that repeated it.
    pub replay: Option<String>,
    /// Where it was last, as records say: `parked` or `dead`.
    pub last: &'static str,
}

/// The account of a window.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Account {
    /// By subscription, sorted; those with deliveries.
    pub subscriptions: Vec<SubscriptionCounts>,
    /// The first deliveries that are unaccounted for.
    pub gaps: Vec<GapDelivery>,
    /// Records that the log lost; none if that is not known.
    pub missing: Option<Vec<MissingRecords>>,
    /// Whether that is not known because erasures deleted too many records. Otherwise only a part was read.
    pub has_too_many_erased: bool,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// Deliveries counted as pending because as many due records were not read.
    pub undetermined: u64,
    /// Events that are not acknowledged yet: their deliveries are not counted.
    pub in_flight: u64,
    /// Events of the window from this time on are complete, milliseconds since the epoch; later than
    /// the window if the log does not reach as far back.
    pub since_ms: i64,
    /// End of the window, milliseconds since the epoch.
    pub until_ms: i64,
    /// Records that were read.
    pub records: u64,
}

impl Account {
    /// Returns the sums of all subscriptions.
    #[must_use]
    pub fn total(&self) -> DeliveryCounts {
        let mut total = DeliveryCounts::default();
        self.subscriptions.iter().for_each(|one| total += one.counts);
        total
    }

    /// Returns the sums by what `name` returns, sorted.
    #[must_use]
    pub fn sums<'a>(
        &'a self,
        name: impl Fn(&'a SubscriptionCounts) -> &'a str,
    ) -> BTreeMap<&'a str, DeliveryCounts> {
        let mut sums = BTreeMap::<&str, DeliveryCounts>::new();
        for one in &self.subscriptions {
            *sums.entry(name(one)).or_default() += one.counts;
        }
        sums
    }

    /// Returns how many records the log lost.
    #[must_use]
    pub fn missing_records(&self) -> u64 {
        let missing = self.missing.iter().flatten();
        missing.map(|one| one.last.saturating_sub(one.first).saturating_add(1)).sum()
    }

    /// Returns the gap: deliveries that are unaccounted for and records that the log lost.
    #[must_use]
    pub fn gap(&self) -> u64 {
        self.total().gap.saturating_add(self.missing_records())
    }
}
