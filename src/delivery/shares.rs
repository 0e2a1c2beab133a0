//! Shares: who may use how much of the parking stream and of the dead-letter stream.
//!
//! A delivery that must wait is parked within the share of its owner, beyond it dead-lettered, and
//! beyond the owner's share of dead letters dropped by the counted policy `share_exceeded`. So an
//! event never waits because the share of an owner is full, and the deliveries of one owner do not
//! take the place of another's. `docs/design/shares.md` has the bounds and the errors of the counts.

mod changes;
mod drops;
mod ledger;
mod owner;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use changes::{Change, Changes, ChangesDocument, DriftDetector, ReplicaChanges};
pub use drops::DropsByOwner;
pub use ledger::ShareLedger;
pub use owner::{Amount, ShareOwner};
pub use pool::{Fractions, Pool, PoolLimits, ShareLevel};

use super::metrics;
use crate::config;

/// Bytes of a stored message in addition to its body: subject, headers and the broker's own.
const OVERHEAD_BYTES: usize = 1024;

/// The shares of one replica's view of all replicas.
#[derive(Debug)]
pub struct Shares {
    ledger: Mutex<ShareLedger>,
    drops: DropsByOwner,
}

/// A place in a stream, taken before the message is stored. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place<'a> {
    shares: &'a Shares,
    owner: &'a ShareOwner,
    amount: Amount,
    is_parking: bool,
    is_kept: bool,
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
        if self.is_parking {
            if !self.is_kept {
                ledger.release_parked(self.owner, self.amount);
            }
        } else {
            ledger.end_publishing(self.owner, self.amount, self.is_kept);
        }
    }
}

impl Shares {
    /// Creates shares of empty streams.
    #[must_use]
    pub fn new(config: &config::DeliveryConfig) -> Self {
        Self {
            ledger: Mutex::new(ShareLedger::new(
                parking_limits(config),
                dead_letter_limits(config),
            )),
            drops: DropsByOwner::default(),
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
        let amount = Self::amount_of(body_bytes);
        self.ledger().park(owner, amount).inspect_err(|level| {
            metrics::share_refused("parking", *level);
        })?;
        Ok(Place { shares: self, owner, amount, is_parking: true, is_kept: false })
    }

    /// Takes the place of a parked delivery that a job hands over. A job waits for its place, or counts what
    /// it leaves, so a refusal is not counted here.
    ///
    /// # Errors
    /// The level of which more than half is used.
    pub fn park_for_job<'a>(
        &'a self,
        owner: &'a ShareOwner,
        body_bytes: usize,
    ) -> Result<Place<'a>, ShareLevel> {
        let amount = Self::amount_of(body_bytes);
        self.ledger().park_for_job(owner, amount)?;
        Ok(Place { shares: self, owner, amount, is_parking: true, is_kept: false })
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
        let amount = Self::amount_of(body_bytes);
        self.ledger().dead_letter(owner, amount).inspect_err(|level| {
            metrics::share_refused("dead_letters", *level);
        })?;
        Ok(Place { shares: self, owner, amount, is_parking: false, is_kept: false })
    }

    /// Gives back the place of a dead letter with a body of `body_bytes` that was deleted.
    pub fn remove_dead_letter(&self, owner: &ShareOwner, body_bytes: usize) {
        self.ledger().remove_dead_letter(owner, Self::amount_of(body_bytes));
    }

    /// Counts and logs a dead letter that was dropped.
    pub fn record_drop(&self, app: &str, installation: &str, level: ShareLevel) {
        if let Some(suppressed) = self.drops.count(app, installation) {
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
        self.ledger().set_dead_letters_full();
    }

    /// Sets what the streams have, as the broker reports it.
    pub fn set_stored(&self, parked: Amount, dead_letters: Amount) {
        self.ledger().set_stored(parked, dead_letters);
    }

    /// Returns the number of parked deliveries that are attributed to owners.
    #[must_use]
    pub fn attributed_parked(&self) -> u64 {
        self.ledger().parking().attributed().messages
    }

    /// Returns how many deliveries to the endpoint of `owner` are parked, over all replicas.
    #[must_use]
    pub fn parked_at(&self, owner: &ShareOwner) -> u64 {
        self.ledger().parking().used_at_endpoint(owner).messages
    }

    /// Returns how many deliveries are parked, and how many dead letters are stored, of the installation of `owner`, over
    /// all replicas.
    #[must_use]
    pub fn used_by(&self, owner: &ShareOwner) -> (u64, u64) {
        let ledger = self.ledger();
        let used = |pool: &Pool| pool.used_by(owner).messages;
        (used(ledger.parking()), used(ledger.dead_letters()))
    }

    /// Returns how many deliveries of one installation may be parked.
    #[must_use]
    pub fn parked_max(&self) -> u64 {
        self.ledger().parking().limits().installation.messages
    }

    /// Returns how many deliveries are parked, and how many dead letters are stored, of all owners.
    #[must_use]
    pub fn stored(&self) -> (u64, u64) {
        let ledger = self.ledger();
        (ledger.parking().used().messages, ledger.dead_letters().used().messages)
    }

    /// Returns the token of the installation with most parked deliveries, and their number.
    #[must_use]
    pub fn most_parked(&self) -> Option<(String, u64)> {
        self.ledger().parking().largest_installation()
    }

    /// Returns what this replica changed in the parking stream since its start.
    #[must_use]
    pub fn own_changes(&self) -> Changes {
        self.ledger().own_changes().clone()
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
        self.ledger().replace_parked(counts, own_before, others);
    }

    /// Replaces the counts of dead letters by those of the stream; `mean_bytes` is the mean size of
    /// its messages.
    pub fn replace_dead_letters(&self, counts: Vec<(ShareOwner, u64)>, mean_bytes: u64) {
        self.ledger().replace_dead_letters(counts, mean_bytes);
    }

    /// Sets the gauges of both streams.
    pub fn publish_gauges(&self) {
        let ledger = self.ledger();
        let pools = [("parking", ledger.parking()), ("dead_letters", ledger.dead_letters())];
        for (name, pool) in pools {
            metrics::share_used(name, pool.used(), pool.limits().max);
        }
    }

    fn ledger(&self) -> MutexGuard<'_, ShareLedger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parking_limits(config: &config::DeliveryConfig) -> PoolLimits {
    let max = Amount { messages: config.parked_max, bytes: config.parked_bytes_max };
    let endpoint = Amount { messages: config.backlog_endpoint_max, bytes: u64::MAX };
    PoolLimits::new(max, endpoint, fractions(config), config.share_guaranteed)
}

fn dead_letter_limits(config: &config::DeliveryConfig) -> PoolLimits {
    let max = Amount { messages: config.dead_letters_max, bytes: config.dead_letter_bytes_max };
    let unbounded = Amount { messages: u64::MAX, bytes: u64::MAX };
    PoolLimits::new(max, unbounded, fractions(config), config.share_guaranteed)
}

fn fractions(config: &config::DeliveryConfig) -> Fractions {
    Fractions {
        app: config.share_app,
        installation: config.share_installation,
        reserve: config.share_reserve,
    }
}
