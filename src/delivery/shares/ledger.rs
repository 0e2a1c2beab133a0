//! The ledger of one replica: what each owner uses of both streams, as far as this replica knows. Pure.

use std::collections::HashMap;

use super::changes::{Change, Changes};
use super::owner::{Amount, ShareOwner};
use super::pool::{Pool, PoolLimits, ShareLevel};

/// Pools of both streams, and what this replica changed in them.
#[derive(Debug)]
pub struct ShareLedger {
    parking: Pool,
    dead_letters: Pool,
    /// What this replica changed in the parking stream since its start.
    own: Changes,
    /// Dead letters that are being published.
    publishing: HashMap<ShareOwner, Amount>,
    /// Dead letters that this replica published, for the mean size of an owner's letters.
    published: HashMap<ShareOwner, Amount>,
}

impl ShareLedger {
    /// Creates the ledger of empty streams.
    #[must_use]
    pub fn new(parking: PoolLimits, dead_letters: PoolLimits) -> Self {
        Self {
            parking: Pool::new(parking),
            dead_letters: Pool::new(dead_letters),
            own: Changes::new(),
            publishing: HashMap::new(),
            published: HashMap::new(),
        }
    }

    /// Takes the place of a parked delivery.
    ///
    /// # Errors
    /// The level whose bound is reached.
    pub fn park(&mut self, owner: &ShareOwner, amount: Amount) -> Result<(), ShareLevel> {
        self.parking.admit(owner, amount)?;
        self.change_own(owner, Change::added(amount));
        Ok(())
    }

    /// As [`ShareLedger::park`] for a delivery that a job hands over, which leaves half of the shares to
    /// live deliveries.
    ///
    /// # Errors
    /// The level of which more is used.
    pub fn park_for_job(&mut self, owner: &ShareOwner, amount: Amount) -> Result<(), ShareLevel> {
        self.parking.admit_for_job(owner, amount)?;
        self.change_own(owner, Change::added(amount));
        Ok(())
    }

    /// Gives back the place of a delivery that is not parked, or no longer.
    pub fn release_parked(&mut self, owner: &ShareOwner, amount: Amount) {
        self.parking.release(owner, amount);
        self.change_own(owner, Change::removed(amount));
    }

    /// Takes the place of a dead letter that is published now.
    ///
    /// # Errors
    /// The level whose bound is reached.
    pub fn dead_letter(&mut self, owner: &ShareOwner, amount: Amount) -> Result<(), ShareLevel> {
        self.dead_letters.admit(owner, amount)?;
        let publishing = self.publishing.entry(owner.clone()).or_default();
        *publishing = publishing.plus(amount);
        Ok(())
    }

    /// Ends the publish of a dead letter; gives its place back if it is not stored.
    pub fn end_publishing(&mut self, owner: &ShareOwner, amount: Amount, is_stored: bool) {
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

    /// Gives back the place of a dead letter that was deleted.
    pub fn remove_dead_letter(&mut self, owner: &ShareOwner, amount: Amount) {
        self.dead_letters.release(owner, amount);
    }

    /// Marks the dead-letter stream as full: the broker refused a letter.
    pub fn set_dead_letters_full(&mut self) {
        self.dead_letters.set_full();
    }

    /// Sets what the streams have, as the broker reports it.
    pub fn set_stored(&mut self, parked: Amount, dead_letters: Amount) {
        self.parking.set_stored(parked);
        self.dead_letters.set_stored(dead_letters);
    }

    /// Applies what another replica changed in the parking stream. Additions come first: what is
    /// removed may be attributed to another endpoint than when it was added.
    pub fn apply(&mut self, changes: &Changes) {
        for (owner, change) in changes {
            let (added, _) = change.parts();
            if added != Amount::default() {
                self.parking.add(owner, added);
            }
        }
        for (owner, change) in changes {
            let (_, removed) = change.parts();
            if removed != Amount::default() {
                self.parking.release(owner, removed);
            }
        }
    }

    /// Replaces the counts of parked deliveries by `counts`, which were read from the stream when
    /// this replica's changes were `own_before`; `others` is what other replicas changed since.
    pub fn replace_parked(
        &mut self,
        counts: &HashMap<ShareOwner, Amount>,
        own_before: &Changes,
        others: &Changes,
    ) {
        self.parking.replace(counts);
        let mut since = self.own.clone();
        for (owner, earlier) in own_before {
            let change = since.entry(owner.clone()).or_default();
            *change = change.minus(*earlier);
        }
        self.apply(&since);
        self.apply(others);
    }

    /// Replaces the counts of dead letters by those of the stream; `mean_bytes` is the mean size of
    /// its messages.
    pub fn replace_dead_letters(&mut self, counts: Vec<(ShareOwner, u64)>, mean_bytes: u64) {
        let mut amounts: HashMap<ShareOwner, Amount> = HashMap::with_capacity(counts.len());
        for (owner, messages) in counts {
            let own = self.published.get(&owner).copied().unwrap_or_default();
            let mean = own.bytes.checked_div(own.messages).unwrap_or(mean_bytes);
            let publishing = self.publishing.get(&owner).copied().unwrap_or_default();
            let stored = Amount { messages, bytes: messages.saturating_mul(mean) };
            amounts.insert(owner, stored.plus(publishing));
        }
        for (owner, amount) in &self.publishing {
            amounts.entry(owner.clone()).or_insert(*amount);
        }
        self.published.retain(|owner, _| amounts.contains_key(owner));
        self.dead_letters.replace(&amounts);
    }

    /// Returns what this replica changed in the parking stream since its start.
    #[must_use]
    pub fn own_changes(&self) -> &Changes {
        &self.own
    }

    /// Returns the pool of the parking stream.
    #[must_use]
    pub fn parking(&self) -> &Pool {
        &self.parking
    }

    /// Returns the pool of the dead-letter stream.
    #[must_use]
    pub fn dead_letters(&self) -> &Pool {
        &self.dead_letters
    }

    fn change_own(&mut self, owner: &ShareOwner, change: Change) {
        let own = self.own.entry(owner.clone()).or_default();
        *own = own.plus(change);
        if *own == Change::default() {
            self.own.remove(owner);
        }
    }
}
