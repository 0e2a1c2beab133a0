//! The ledger of one pool: who uses how much of it, and who may use more. Pure.
//!
//! Owners form a hierarchy: app, installation, endpoint. An app and an installation may use a share
//! of the pool. A part of the pool, the reserve, is kept for installations that use little: what an
//! installation uses up to the guaranteed amount is taken from the reserve, and only the rest from
//! the part that all compete for. So no use takes the guaranteed amount of another
//! installation, as long as the guaranteed parts of all together fit the reserve. One app takes at
//! most its share of the reserve.

use std::collections::HashMap;

use super::owner::{Amount, ShareOwner};

/// Bounds of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolLimits {
    /// All owners together.
    pub max: Amount,
    /// One app.
    pub app: Amount,
    /// One installation.
    pub installation: Amount,
    /// One endpoint of an installation.
    pub endpoint: Amount,
    /// Part of `max` that is kept for guaranteed amounts.
    pub reserve: Amount,
    /// Part of the reserve that the installations of one app take at most.
    pub app_reserve: Amount,
    /// What every installation may use, whatever the others use.
    pub guaranteed: Amount,
}

/// Part of each limit up to which a job may hand deliveries over: the rest is left to live deliveries.
const JOBS: f64 = 0.5;

/// Fractions of a pool, 0.0 to 1.0.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fractions {
    /// Of one app.
    pub app: f64,
    /// Of one installation.
    pub installation: f64,
    /// Kept for guaranteed amounts.
    pub reserve: f64,
}

impl PoolLimits {
    /// Returns the limits of a pool of `max`, of which every installation is guaranteed
    /// `guaranteed` messages and the bytes in proportion.
    #[must_use]
    pub fn new(max: Amount, endpoint: Amount, fractions: Fractions, guaranteed: u64) -> Self {
        let (app, reserve) = (max.scaled(fractions.app), max.scaled(fractions.reserve));
        let installation = max.scaled(fractions.installation).least(app);
        let bytes = max.bytes.saturating_mul(guaranteed).checked_div(max.messages);
        let guaranteed = Amount { messages: guaranteed, bytes: bytes.unwrap_or(0) };
        Self {
            max,
            app,
            installation,
            endpoint,
            reserve,
            app_reserve: app.scaled(fractions.reserve),
            guaranteed: guaranteed.least(installation),
        }
    }

    /// Returns the limits of what a job adds.
    fn of_jobs(self) -> Self {
        let half = |amount: Amount| amount.scaled(JOBS);
        Self {
            max: half(self.max),
            app: half(self.app),
            installation: half(self.installation),
            endpoint: half(self.endpoint),
            reserve: half(self.reserve),
            app_reserve: half(self.app_reserve),
            guaranteed: half(self.guaranteed),
        }
    }
}

/// The level of the hierarchy whose bound is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShareLevel {
    /// The endpoint has its maximum.
    Endpoint,
    /// The installation has its share.
    Installation,
    /// The app has its share.
    App,
    /// The pool is full.
    Total,
}

impl ShareLevel {
    /// Returns the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Installation => "installation",
            Self::App => "app",
            Self::Total => "total",
        }
    }
}

/// What each owner uses of a pool.
#[derive(Clone, Debug)]
pub struct Pool {
    limits: PoolLimits,
    apps: HashMap<Box<str>, AppUse>,
    attributed: Amount,
    /// What the stream has in addition to what is attributed to owners.
    unattributed: Amount,
    /// Sum of the guaranteed parts of the apps.
    guaranteed: Amount,
}

#[derive(Clone, Default, Debug)]
struct AppUse {
    used: Amount,
    /// Sum of the guaranteed parts of its installations, before the bound per app.
    guaranteed: Amount,
    installations: HashMap<Box<str>, InstallationUse>,
}

#[derive(Clone, Default, Debug)]
struct InstallationUse {
    used: Amount,
    endpoints: HashMap<Box<str>, Amount>,
}

impl Pool {
    /// Creates an empty pool.
    #[must_use]
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            apps: HashMap::new(),
            attributed: Amount::default(),
            unattributed: Amount::default(),
            guaranteed: Amount::default(),
        }
    }

    /// Adds `amount` to what `owner` uses, if all bounds allow it.
    ///
    /// # Errors
    /// The first level whose bound does not.
    pub fn admit(&mut self, owner: &ShareOwner, amount: Amount) -> Result<(), ShareLevel> {
        self.check(owner, amount, &self.limits)?;
        self.add(owner, amount);
        Ok(())
    }

    /// As [`Pool::admit`] for a delivery that a job hands over, within half of the shares.
    ///
    /// # Errors
    /// The first level of which more is used.
    pub fn admit_for_job(&mut self, owner: &ShareOwner, amount: Amount) -> Result<(), ShareLevel> {
        self.check(owner, amount, &self.limits.of_jobs())?;
        self.add(owner, amount);
        Ok(())
    }

    fn check(
        &self,
        owner: &ShareOwner,
        amount: Amount,
        limits: &PoolLimits,
    ) -> Result<(), ShareLevel> {
        let app = self.apps.get(&owner.app);
        let installation = app.and_then(|app| app.installations.get(&owner.installation));
        let endpoint = installation.and_then(|of| of.endpoints.get(&owner.endpoint));
        if !endpoint.copied().unwrap_or_default().plus(amount).fits(limits.endpoint) {
            return Err(ShareLevel::Endpoint);
        }
        let before = installation.map_or(Amount::default(), |installation| installation.used);
        let after = before.plus(amount);
        if !after.fits(limits.installation) {
            return Err(ShareLevel::Installation);
        }
        let (used, kept) = app.map_or(Default::default(), |app| (app.used, app.guaranteed));
        let gained = after.least(limits.guaranteed).minus(before.least(limits.guaranteed));
        let reserve = [kept, kept.plus(gained)].map(|part| part.least(limits.app_reserve));
        let competing = [used.minus(reserve[0]), used.plus(amount).minus(reserve[1])];
        if !competing[1].fits_or_stays(competing[0], limits.app.minus(limits.app_reserve)) {
            return Err(ShareLevel::App);
        }
        let guaranteed = self.guaranteed.minus(reserve[0]).plus(reserve[1]);
        let competing = [
            self.used().minus(self.guaranteed.least(limits.reserve)),
            self.used().plus(amount).minus(guaranteed.least(limits.reserve)),
        ];
        if !competing[1].fits_or_stays(competing[0], limits.max.minus(limits.reserve)) {
            return Err(ShareLevel::Total);
        }
        Ok(())
    }

    /// Adds `amount` to what `owner` uses, whatever the bounds say: it is stored already.
    pub fn add(&mut self, owner: &ShareOwner, amount: Amount) {
        let app = self.apps.entry(owner.app.clone()).or_default();
        let installation = app.installations.entry(owner.installation.clone()).or_default();
        let endpoint = installation.endpoints.entry(owner.endpoint.clone()).or_default();
        *endpoint = endpoint.plus(amount);
        let before = installation.used;
        installation.used = before.plus(amount);
        let gained = installation.used.least(self.limits.guaranteed);
        let gained = gained.minus(before.least(self.limits.guaranteed));
        let kept = app.guaranteed.least(self.limits.app_reserve);
        app.used = app.used.plus(amount);
        app.guaranteed = app.guaranteed.plus(gained);
        let keeps = app.guaranteed.least(self.limits.app_reserve);
        self.guaranteed = self.guaranteed.minus(kept).plus(keeps);
        self.attributed = self.attributed.plus(amount);
    }

    /// Subtracts `amount` from what `owner` uses, at most all of it.
    pub fn release(&mut self, owner: &ShareOwner, amount: Amount) {
        let Some(app) = self.apps.get_mut(&owner.app) else { return };
        let Some(installation) = app.installations.get_mut(&owner.installation) else { return };
        let before = installation.used;
        let mut after = before.minus(amount);
        if after.messages == 0 {
            after = Amount::default();
        }
        installation.used = after;
        let freed = before.minus(after);
        let guaranteed = self.limits.guaranteed;
        let lost = before.least(guaranteed).minus(after.least(guaranteed));
        if let Some(endpoint) = installation.endpoints.get_mut(&owner.endpoint) {
            *endpoint = endpoint.minus(amount);
            if endpoint.messages == 0 {
                installation.endpoints.remove(&owner.endpoint);
            }
        }
        if after.messages == 0 {
            app.installations.remove(&owner.installation);
        }
        let kept = app.guaranteed.least(self.limits.app_reserve);
        app.used = app.used.minus(freed);
        app.guaranteed = app.guaranteed.minus(lost);
        let keeps = app.guaranteed.least(self.limits.app_reserve);
        if app.installations.is_empty() {
            self.apps.remove(&owner.app);
        }
        self.guaranteed = self.guaranteed.minus(kept).plus(keeps);
        self.attributed = self.attributed.minus(freed);
    }

    /// Sets what the stream has. What no owner is known for competes with the rest.
    pub fn set_stored(&mut self, stored: Amount) {
        self.unattributed = stored.minus(self.attributed);
    }

    /// Marks the pool as full except for guaranteed amounts, until the next
    /// [`Pool::set_stored`].
    pub fn set_full(&mut self) {
        self.unattributed = self.unattributed.plus(self.limits.max.minus(self.used()));
    }

    /// Replaces what is known of all owners.
    pub fn replace(&mut self, counts: &HashMap<ShareOwner, Amount>) {
        let stored = self.used();
        *self = Self::new(self.limits);
        for (owner, amount) in counts {
            self.add(owner, *amount);
        }
        self.set_stored(stored);
    }

    /// Returns what all owners use, and what no owner is known for.
    #[must_use]
    pub fn used(&self) -> Amount {
        self.attributed.plus(self.unattributed)
    }

    /// Returns what is attributed to owners.
    #[must_use]
    pub fn attributed(&self) -> Amount {
        self.attributed
    }

    /// Returns what an installation uses.
    #[must_use]
    pub fn used_by(&self, owner: &ShareOwner) -> Amount {
        let app = self.apps.get(&owner.app);
        let installation = app.and_then(|app| app.installations.get(&owner.installation));
        installation.map_or(Amount::default(), |installation| installation.used)
    }

    /// Returns what the endpoint of `owner` uses.
    #[must_use]
    pub fn used_at_endpoint(&self, owner: &ShareOwner) -> Amount {
        let app = self.apps.get(&owner.app);
        let installation = app.and_then(|app| app.installations.get(&owner.installation));
        let endpoint = installation.and_then(|of| of.endpoints.get(&owner.endpoint));
        endpoint.copied().unwrap_or_default()
    }

    /// Returns the token of the installation with most messages, and their number.
    #[must_use]
    pub fn largest_installation(&self) -> Option<(String, u64)> {
        let installations = self.apps.values().flat_map(|app| &app.installations);
        let largest = installations.max_by_key(|(_, installation)| installation.used.messages);
        largest.map(|(token, installation)| (token.to_string(), installation.used.messages))
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &PoolLimits {
        &self.limits
    }
}
