//! Shares: who may use how much of the parking stream and of the dead-letter stream.
//!
//! A delivery that must wait is parked within the share of its owner, beyond it dead-lettered, and
//! beyond the owner's share of dead letters dropped by the counted policy `share_exceeded`. So an
//! event never waits because the share of an owner is full, and the deliveries of one owner do not
//! take the place of another's. `docs/design/shares.md` has the bounds and the errors of the counts.

mod changes;
mod drops;
mod owner;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use changes::{Change, Changes, ChangesDocument, DriftDetector, ReplicaChanges};
pub use drops::DropsByOwner;
pub use owner::{Amount, ShareOwner};
pub use pool::{Fractions, Pool, PoolLimits, ShareLevel};

use super::metrics;
use crate::config;
use crate::telemetry::LogBudget;

/// Bytes of a stored message in addition to its body: subject, headers and the broker's own.
const OVERHEAD_BYTES: usize = 1024;

/// The shares of one replica's view of all replicas.
#[derive(Debug)]
pub struct Shares {
    ledger: Mutex<Ledger>,
    drops: DropsByOwner,
    drop_log: LogBudget,
}

#[derive(Debug)]
struct Ledger {
    parking: Pool,
    dead_letters: Pool,
    /// What this replica changed in the parking stream since its start.
    own: Changes,
    /// Dead letters that are being published.
    publishing: HashMap<ShareOwner, Amount>,
    /// Dead letters that this replica published, for the mean size of an owner's letters.
    published: HashMap<ShareOwner, Amount>,
}

/// A place in a stream, taken before the message is stored. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place<'a> {
    shares: &'a Shares,
    owner: &'a ShareOwner,
    amount: Amount,
    pool: PoolKind,
    is_kept: bool,
}

/// The pools of a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PoolKind {
    Parking,
    DeadLetters,
}

impl PoolKind {
    /// Returns the metric label.
    fn label(self) -> &'static str {
        match self {
            Self::Parking => "parking",
            Self::DeadLetters => "dead_letters",
        }
    }
}

impl Place<'_> {
    /// Keeps the place: the message is stored.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut ledger = self.shares.ledger();
        match self.pool {
            PoolKind::Parking if self.is_kept => {}
            PoolKind::Parking => ledger.release_parked(self.owner, self.amount),
            PoolKind::DeadLetters => {
                ledger.end_publishing(self.owner, self.amount, self.is_kept);
            }
        }
    }
}

impl Shares {
    /// Creates shares of empty streams.
    #[must_use]
    pub fn new(config: &config::DeliveryConfig) -> Self {
        let fractions = Fractions {
            app: config.share_app,
            installation: config.share_installation,
            reserve: config.share_reserve,
        };
        let parking = Amount { messages: config.parked_max, bytes: config.parked_bytes_max };
        let letters =
            Amount { messages: config.dead_letters_max, bytes: config.dead_letter_bytes_max };
        let endpoint = Amount { messages: config.backlog_endpoint_max, bytes: u64::MAX };
        let unbounded = Amount { messages: u64::MAX, bytes: u64::MAX };
        let pool = |max, endpoint| {
            Pool::new(PoolLimits::new(max, endpoint, fractions, config.share_guaranteed))
        };
        Self {
            ledger: Mutex::new(Ledger {
                parking: pool(parking, endpoint),
                dead_letters: pool(letters, unbounded),
                own: Changes::new(),
                publishing: HashMap::new(),
                published: HashMap::new(),
            }),
            drops: DropsByOwner::default(),
            drop_log: LogBudget::default(),
        }
    }

    /// Returns what a stored message with a body of `body_bytes` uses.
    #[must_use]
    pub fn amount_of(body_bytes: usize) -> Amount {
        Amount::one(body_bytes.saturating_add(OVERHEAD_BYTES))
    }

    /// Takes the place of a parked delivery with a body of `body_bytes`.
    ///
    /// # Errors
    /// The level whose bound is reached.
    pub fn park<'a>(
        &'a self,
        owner: &'a ShareOwner,
        body_bytes: usize,
    ) -> Result<Place<'a>, ShareLevel> {
        self.take_place(PoolKind::Parking, owner, body_bytes)
    }

    /// Gives back the place of a parked delivery that is no longer parked.
    pub fn release_parked(&self, owner: &ShareOwner, body_bytes: usize) {
        self.ledger().release_parked(owner, Self::amount_of(body_bytes));
    }

    /// Takes the place of a dead letter.
    ///
    /// # Errors
    /// The level whose bound is reached.
    pub fn dead_letter<'a>(
        &'a self,
        owner: &'a ShareOwner,
        body_bytes: usize,
    ) -> Result<Place<'a>, ShareLevel> {
        self.take_place(PoolKind::DeadLetters, owner, body_bytes)
    }

    fn take_place<'a>(
        &'a self,
        pool: PoolKind,
        owner: &'a ShareOwner,
        body_bytes: usize,
    ) -> Result<Place<'a>, ShareLevel> {
        let amount = Self::amount_of(body_bytes);
        self.ledger().admit(pool, owner, amount).inspect_err(|level| {
            metrics::share_refused(pool.label(), *level);
        })?;
        Ok(Place { shares: self, owner, amount, pool, is_kept: false })
    }

    /// Counts and logs a dead letter that was dropped.
    pub fn record_drop(&self, app: &str, installation: &str, level: ShareLevel) {
        self.drops.count(app, installation);
        if let Some(suppressed) = self.drop_log.take() {
            tracing::warn!(
                app,
                installation,
                level = level.label(),
                suppressed,
                "dead letter dropped: its owner has used its share of the dead-letter stream"
            );
        }
    }

    /// Returns the drops by owner.
    #[must_use]
    pub fn drops(&self) -> &DropsByOwner {
        &self.drops
    }

    /// Marks the dead-letter stream as full: the broker refused a letter.
    pub fn set_dead_letters_full(&self) {
        self.ledger().dead_letters.set_full();
    }

    /// Sets what the streams have, as the broker reports it.
    pub fn set_stored(&self, parked: Amount, dead_letters: Amount) {
        let mut ledger = self.ledger();
        ledger.parking.set_stored(parked);
        ledger.dead_letters.set_stored(dead_letters);
    }

    /// Returns the number of parked deliveries that are attributed to owners.
    #[must_use]
    pub fn attributed_parked(&self) -> u64 {
        self.ledger().parking.attributed().messages
    }

    /// Returns what this replica changed in the parking stream since its start.
    #[must_use]
    pub fn own_changes(&self) -> Changes {
        self.ledger().own.clone()
    }

    /// Applies what another replica changed in the parking stream.
    pub fn apply(&self, changes: &Changes) {
        self.ledger().apply(changes);
    }

    /// Replaces the counts of parked deliveries by `counts`, which were read from the stream when
    /// this replica's changes were `own_before`; `others` is what other replicas changed since.
    pub fn replace_parked(
        &self,
        counts: &HashMap<ShareOwner, Amount>,
        own_before: &Changes,
        others: &Changes,
    ) {
        let mut ledger = self.ledger();
        ledger.parking.replace(counts);
        let mut since = ledger.own.clone();
        for (owner, earlier) in own_before {
            let change = since.entry(owner.clone()).or_default();
            *change = change.minus(*earlier);
        }
        ledger.apply(&since);
        ledger.apply(others);
    }

    /// Replaces the counts of dead letters by those of the stream; `mean_bytes` is the mean size of
    /// its messages.
    pub fn replace_dead_letters(&self, counts: Vec<(ShareOwner, u64)>, mean_bytes: u64) {
        let mut ledger = self.ledger();
        let ledger = &mut *ledger;
        let mut amounts: HashMap<ShareOwner, Amount> = HashMap::with_capacity(counts.len());
        for (owner, messages) in counts {
            let own = ledger.published.get(&owner).copied().unwrap_or_default();
            let mean = own.bytes.checked_div(own.messages).unwrap_or(mean_bytes);
            let publishing = ledger.publishing.get(&owner).copied().unwrap_or_default();
            let stored = Amount { messages, bytes: messages.saturating_mul(mean) };
            amounts.insert(owner, stored.plus(publishing));
        }
        for (owner, amount) in &ledger.publishing {
            amounts.entry(owner.clone()).or_insert(*amount);
        }
        ledger.published.retain(|owner, _| amounts.contains_key(owner));
        ledger.dead_letters.replace(&amounts);
    }

    /// Sets the gauges of both streams.
    pub fn publish_gauges(&self) {
        let ledger = self.ledger();
        let pools =
            [(PoolKind::Parking, &ledger.parking), (PoolKind::DeadLetters, &ledger.dead_letters)];
        for (kind, pool) in pools {
            metrics::share_used(kind.label(), pool.used(), pool.limits().max);
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn admit(
        &mut self,
        pool: PoolKind,
        owner: &ShareOwner,
        amount: Amount,
    ) -> Result<(), ShareLevel> {
        match pool {
            PoolKind::Parking => {
                self.parking.admit(owner, amount)?;
                self.change_own(owner, Change::added(amount));
            }
            PoolKind::DeadLetters => {
                self.dead_letters.admit(owner, amount)?;
                let publishing = self.publishing.entry(owner.clone()).or_default();
                *publishing = publishing.plus(amount);
            }
        }
        Ok(())
    }

    fn change_own(&mut self, owner: &ShareOwner, change: Change) {
        let own = self.own.entry(owner.clone()).or_default();
        *own = own.plus(change);
        if *own == Change::default() {
            self.own.remove(owner);
        }
    }

    fn release_parked(&mut self, owner: &ShareOwner, amount: Amount) {
        self.parking.release(owner, amount);
        self.change_own(owner, Change::removed(amount));
    }

    fn end_publishing(&mut self, owner: &ShareOwner, amount: Amount, is_stored: bool) {
        if let Some(publishing) = self.publishing.get_mut(owner) {
            *publishing = publishing.minus(amount);
            if publishing.messages == 0 {
                self.publishing.remove(owner);
            }
        }
        if is_stored {
            let published = self.published.entry(owner.clone()).or_default();
            *published = published.plus(amount);
        } else {
            self.dead_letters.release(owner, amount);
        }
    }

    fn apply(&mut self, changes: &Changes) {
        for (owner, change) in changes {
            let (added, removed) = change.parts();
            if added != Amount::default() {
                self.parking.add(owner, added);
            }
            if removed != Amount::default() {
                self.parking.release(owner, removed);
            }
        }
    }
}
