//! Amounts that are held in all and by owner, each within a bound. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// The bound that is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShareLevel {
    /// Of everybody together.
    All,
    /// Of one address.
    Address,
    /// Of one site.
    Site,
}

impl ShareLevel {
    /// Returns the label of the level.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Address => "address",
            Self::Site => "site",
        }
    }
}

/// An owner of a part of the amount; owners without any take no memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Owner {
    /// A client.
    Address(std::net::IpAddr),
    /// A site, by its path.
    Site(Box<str>),
}

impl Owner {
    fn level(&self) -> ShareLevel {
        match self {
            Self::Address(_) => ShareLevel::Address,
            Self::Site(_) => ShareLevel::Site,
        }
    }
}

/// The bounds of an amount.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) all: usize,
    pub(super) address: usize,
    pub(super) site: usize,
}

impl Bounds {
    fn of(&self, level: ShareLevel) -> usize {
        match level {
            ShareLevel::All => self.all,
            ShareLevel::Address => self.address,
            ShareLevel::Site => self.site,
        }
    }
}

/// What is held of an amount.
#[derive(Debug)]
pub(super) struct Shares {
    bounds: Bounds,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    by_owner: HashMap<Owner, usize>,
}

impl Shares {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, used: Mutex::default() })
    }

    /// Returns an empty part, which `owners` hold together.
    pub(super) fn part(self: &Arc<Self>, owners: Vec<Owner>) -> Part {
        Part { shares: Arc::clone(self), owners, amount: 0 }
    }

    /// Returns how much is held.
    pub(super) fn used(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A held part of the amount, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    shares: Arc<Shares>,
    owners: Vec<Owner>,
    amount: usize,
}

impl Part {
    /// Raises the part to `amount`; `more` is added to the bound of all.
    ///
    /// # Errors
    /// The bound that is used up; the part stays as it was.
    pub(super) fn raise_to(&mut self, amount: usize, more: usize) -> Result<(), ShareLevel> {
        let Some(added) = amount.checked_sub(self.amount).filter(|added| *added > 0) else {
            return Ok(());
        };
        let bounds = &self.shares.bounds;
        let mut used = self.shares.lock();
        if used.all.saturating_add(added) > bounds.all.saturating_add(more) {
            return Err(ShareLevel::All);
        }
        for owner in &self.owners {
            let held = used.by_owner.get(owner).copied().unwrap_or(0);
            if held.saturating_add(added) > bounds.of(owner.level()) {
                return Err(owner.level());
            }
        }
        used.all += added;
        for owner in &self.owners {
            *used.by_owner.entry(owner.clone()).or_default() += added;
        }
        self.amount = amount;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut used = self.shares.lock();
        used.all = used.all.saturating_sub(self.amount);
        for owner in &self.owners {
            if let Some(held) = used.by_owner.get_mut(owner) {
                *held = held.saturating_sub(self.amount);
                if *held == 0 {
                    used.by_owner.remove(owner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Owner {
        Owner::Address([10, 0, 0, last].into())
    }

    #[test]
    fn parts_are_bounded_by_owner_and_in_all_and_given_back() {
        let shares = Shares::new(Bounds { all: 10, address: 6, site: 4 });
        let mut one = shares.part(vec![address(1)]);
        assert_eq!(one.raise_to(6, 0), Ok(()));
        assert_eq!(one.raise_to(7, 0), Err(ShareLevel::Address));
        assert_eq!(one.raise_to(3, 0), Ok(()), "a part never shrinks");
        let mut site = shares.part(vec![address(2), Owner::Site("s".into())]);
        assert_eq!(site.raise_to(5, 0), Err(ShareLevel::All));
        assert_eq!(site.raise_to(4, 0), Ok(()));
        let mut other = shares.part(Vec::new());
        assert_eq!(other.raise_to(1, 0), Err(ShareLevel::All));
        assert_eq!(other.raise_to(1, 1), Ok(()), "a reserve");
        drop(one);
        assert_eq!(shares.used(), 5);
        assert_eq!(site.raise_to(5, 0), Err(ShareLevel::Site));
        drop((site, other));
        assert_eq!(shares.used(), 0);
        assert!(shares.lock().by_owner.is_empty());
    }
}
