//! Who used how many steps of evaluation, and whose events are postponed. Pure: time is an argument.
//!
//! Use fades with a time constant of a second. The share of an installation is a part of what one
//! processor evaluates in that time. An installation beyond its share is *left out*: its events are
//! postponed at the pace of its share, until its backlog is short and it uses little again.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::super::Owner;
use crate::domain::{AppId, CloudId, InstallationId};

/// Time constant in which use fades.
const FADE_MS: f64 = 1_000.0;
/// Time constant of the average cost of an event.
const COST_FADE_MS: f64 = 60_000.0;
/// Steps per millisecond until the speed of this machine was measured: no step takes much longer than
/// 10 ns.
const SPEED_START: f64 = 100_000.0;
/// The slowest and the fastest speed that a measurement may give.
const SPEED_RANGE: (f64, f64) = (20_000.0, 1_000_000.0);
/// Weight of one measurement of the speed.
const SPEED_WEIGHT: f64 = 0.05;
/// Part of one processor that all evaluations together may use while others wait. Beyond it, the
/// shares of all installations shrink.
const ALL_SHARE: f64 = 0.5;
/// The smallest part of its share that an installation keeps.
const LEAST_SHARE: f64 = 0.01;
/// Part of one processor that the postponed events of one installation may use while no others wait.
const IDLE_SHARE: f64 = 0.5;
/// Average steps of an event from which on it is postponed. Parking costs about as much as 20,000
/// steps, so that postponing cheaper ones would only add work.
const POSTPONED_MIN: f64 = 20_000.0;
/// Installations with an account; the evaluations of further ones are not charged.
pub(super) const ACCOUNTS_MAX: usize = 10_000;
/// Shortest and longest time for which an event is postponed.
const DELAY_MS: (i64, i64) = (1_000, 15 * 60 * 1_000);
/// Share from which on no installation is left out.
const UNLIMITED: f64 = 1.0;

/// A sum that fades.
#[derive(Clone, Copy, Debug, Default)]
struct Fading {
    sum: f64,
    at_ms: i64,
}

impl Fading {
    fn at(&self, now_ms: i64, constant_ms: f64) -> f64 {
        let age_ms = number(now_ms.saturating_sub(self.at_ms).max(0));
        self.sum * (-age_ms / constant_ms).exp()
    }

    fn add(&mut self, amount: f64, now_ms: i64, constant_ms: f64) {
        let sum = self.at(now_ms, constant_ms) + amount;
        *self = Self { sum, at_ms: now_ms.max(self.at_ms) };
    }
}

#[expect(clippy::cast_precision_loss, reason = "steps and times are far below 2^52")]
fn number(count: i64) -> f64 {
    count as f64
}

fn steps_number(steps: u64) -> f64 {
    number(i64::try_from(steps).unwrap_or(i64::MAX))
}

/// What one installation used.
#[derive(Debug)]
struct Account {
    app: AppId,
    site: CloudId,
    /// Steps within the last second.
    used: Fading,
    /// Steps of the events within the last second, including those that were postponed.
    wanted: Fading,
    /// Steps of evaluations that began and have not ended.
    reserved: u64,
    /// Steps and events of the last minute, for the average cost of an event.
    steps: Fading,
    events: Fading,
    /// When the last postponed event is due; in the past if none waits.
    tail_ms: i64,
    /// Since when it is left out.
    left_out_ms: Option<i64>,
    /// Events postponed since then.
    postponed: u64,
}

impl Account {
    fn new(owner: &Owner) -> Self {
        Self {
            app: owner.app.clone(),
            site: owner.cloud_id.clone(),
            used: Fading::default(),
            wanted: Fading::default(),
            reserved: 0,
            steps: Fading::default(),
            events: Fading::default(),
            tail_ms: i64::MIN,
            left_out_ms: None,
            postponed: 0,
        }
    }

    fn used(&self, now_ms: i64) -> f64 {
        self.used.at(now_ms, FADE_MS) + steps_number(self.reserved)
    }

    /// Average steps of an event.
    fn cost(&self) -> f64 {
        self.steps.sum / self.events.sum.max(1.0)
    }
}

/// What an evaluation was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventPart {
    /// A whole event, or its first part.
    First,
    /// The rest of an event.
    Rest,
    /// An event that was postponed.
    Postponed,
}

/// An installation whose events are postponed, because it used more than its share of evaluation.
#[derive(Clone, PartialEq, Debug)]
pub struct ExceededShare {
    /// The installation.
    pub installation: InstallationId,
    /// Its app.
    pub app: AppId,
    /// Its site.
    pub site: CloudId,
    /// Since when, milliseconds since the epoch.
    pub since_ms: i64,
    /// Events that this replica postponed since then.
    pub events: u64,
    /// Average steps of one event.
    pub steps_per_event: u64,
    /// Steps per second that it may use.
    pub steps_per_second: u64,
}

/// The accounts of all installations with costly filters.
#[derive(Debug)]
pub(super) struct Ledger {
    share: f64,
    accounts: HashMap<InstallationId, Account, RandomState>,
    /// Steps per millisecond.
    speed: f64,
    /// Steps within the last second that each installation may use, so that what all want together
    /// fits; infinite if it fits.
    fair: f64,
    is_contended: bool,
}

impl Ledger {
    /// Creates a ledger in which an installation may use `share` of one processor.
    pub(super) fn new(share: f64) -> Self {
        Self {
            share,
            accounts: HashMap::default(),
            speed: SPEED_START,
            fair: f64::INFINITY,
            is_contended: false,
        }
    }

    /// Charges steps of an installation; returns whether it is left out from now on.
    pub(super) fn charge(
        &mut self,
        owner: &Owner,
        (steps, part): (u64, EventPart),
        now_ms: i64,
    ) -> bool {
        let amount = steps_number(steps);
        let Some(account) = self.account(owner) else { return false };
        account.used.add(amount, now_ms, FADE_MS);
        // What is postponed was wanted before.
        let wanted = if part == EventPart::Postponed { 0.0 } else { amount };
        account.wanted.add(wanted, now_ms, FADE_MS);
        let events = if part == EventPart::Rest { 0.0 } else { 1.0 };
        account.steps.add(amount, now_ms, COST_FADE_MS);
        account.events.add(events, now_ms, COST_FADE_MS);
        self.leave_out_if_over(&owner.id, now_ms)
    }

    /// Counts an evaluation that is still to be made, of about so many steps; returns whether the
    /// installation is left out from now on.
    pub(super) fn reserve(&mut self, owner: &Owner, steps: u64, now_ms: i64) -> bool {
        let Some(account) = self.account(owner) else { return false };
        account.reserved = account.reserved.saturating_add(steps);
        self.leave_out_if_over(&owner.id, now_ms)
    }

    /// Ends an evaluation that was reserved.
    pub(super) fn release(&mut self, id: &InstallationId, steps: u64) {
        if let Some(account) = self.accounts.get_mut(id) {
            account.reserved = account.reserved.saturating_sub(steps);
        }
    }

    /// Uses the time that an evaluation took to measure the speed of this machine.
    pub(super) fn measure(&mut self, steps: u64, took_ms: f64) {
        let (slowest, fastest) = SPEED_RANGE;
        let measured = (steps_number(steps) / took_ms.max(0.001)).clamp(slowest, fastest);
        self.speed += (measured - self.speed) * SPEED_WEIGHT;
    }

    /// Sets whether others wait.
    pub(super) fn is_contended(&self) -> bool {
        self.is_contended
    }

    pub(super) fn set_contended(&mut self, is_contended: bool) {
        self.is_contended = is_contended;
    }

    /// Counts an event that an installation is left out of, or, if it `is_due`, that is postponed again;
    /// returns for how many milliseconds.
    pub(super) fn postpone(&mut self, id: &InstallationId, is_due: bool, now_ms: i64) -> i64 {
        let rate = self.rate();
        let (shortest_ms, longest_ms) = DELAY_MS;
        let Some(account) = self.accounts.get_mut(id) else { return shortest_ms };
        if !is_due {
            account.postponed = account.postponed.saturating_add(1);
            account.wanted.add(account.cost(), now_ms, FADE_MS);
        }
        let gap_ms = whole(account.cost().max(POSTPONED_MIN) / rate.max(1.0)).clamp(1, longest_ms);
        let due_ms = account.tail_ms.saturating_add(gap_ms).max(now_ms.saturating_add(shortest_ms));
        let due_ms = due_ms.min(now_ms.saturating_add(longest_ms));
        account.tail_ms = due_ms;
        due_ms.saturating_sub(now_ms)
    }

    /// Whether a postponed event of an installation may be evaluated now. The pace of its events is
    /// that of its share, with a variation.
    pub(super) fn may_evaluate(&self, id: &InstallationId, now_ms: i64) -> bool {
        let Some(account) = self.accounts.get(id) else { return true };
        !self.is_contended || account.used(now_ms) <= 2.0 * self.allowed()
    }

    /// Adapts the shares to what all want, ends the postponement of installations that are within
    /// their share, and forgets idle accounts. Returns those that are no longer left out.
    pub(super) fn tick(&mut self, now_ms: i64) -> Vec<InstallationId> {
        let wanted = self.accounts.values().map(|account| account.wanted.at(now_ms, FADE_MS));
        self.fair = fair_share(wanted.collect(), ALL_SHARE * self.speed * FADE_MS);
        let (is_contended, allowed) = (self.is_contended, self.allowed());
        let mut readmitted = Vec::new();
        for (id, account) in &mut self.accounts {
            let backlog_ms = account.tail_ms.saturating_sub(now_ms);
            let is_short = backlog_ms <= DELAY_MS.0;
            let is_idle = !is_contended || account.used(now_ms) <= allowed / 2.0;
            if account.left_out_ms.is_some() && is_short && is_idle {
                (account.left_out_ms, account.postponed) = (None, 0);
                readmitted.push(id.clone());
            }
        }
        self.accounts.retain(|_, account| {
            account.left_out_ms.is_some()
                || account.reserved > 0
                || account.tail_ms > now_ms
                || account.steps.at(now_ms, COST_FADE_MS) > POSTPONED_MIN / 100.0
        });
        readmitted
    }

    /// Yields the installations that are left out.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &InstallationId> {
        let left_out = self.accounts.iter().filter(|(_, account)| account.left_out_ms.is_some());
        left_out.map(|(id, _)| id)
    }

    /// Describes an installation that is left out. `wall_ms` is the time of the wall at `now_ms`.
    pub(super) fn exceeded(
        &self,
        id: &InstallationId,
        (now_ms, wall_ms): (i64, i64),
    ) -> Option<ExceededShare> {
        let account = self.accounts.get(id)?;
        let for_ms = now_ms.saturating_sub(account.left_out_ms?);
        Some(ExceededShare {
            installation: id.clone(),
            app: account.app.clone(),
            site: account.site.clone(),
            since_ms: wall_ms.saturating_sub(for_ms),
            events: account.postponed,
            steps_per_event: whole(account.cost()).unsigned_abs(),
            steps_per_second: whole(self.allowed() * 1_000.0 / FADE_MS).unsigned_abs(),
        })
    }

    /// Average steps of an event of an installation.
    pub(super) fn cost(&self, id: &InstallationId) -> u64 {
        self.accounts.get(id).map_or(0, |account| whole(account.cost()).unsigned_abs())
    }

    fn account(&mut self, owner: &Owner) -> Option<&mut Account> {
        let is_known = self.accounts.contains_key(&owner.id);
        if !is_known && self.accounts.len() >= ACCOUNTS_MAX {
            return None;
        }
        Some(self.accounts.entry(owner.id.clone()).or_insert_with(|| Account::new(owner)))
    }

    /// Steps within the time constant that an installation may use while others wait.
    fn allowed(&self) -> f64 {
        let share = self.share * self.speed * FADE_MS;
        self.fair.clamp(share * LEAST_SHARE, share)
    }

    /// Steps per millisecond at which postponed events of an installation are evaluated.
    fn rate(&self) -> f64 {
        if self.is_contended { self.allowed() / FADE_MS } else { IDLE_SHARE * self.speed }
    }

    fn leave_out_if_over(&mut self, id: &InstallationId, now_ms: i64) -> bool {
        if !self.is_contended || self.share >= UNLIMITED {
            return false;
        }
        let allowed = self.allowed();
        let Some(account) = self.accounts.get_mut(id) else { return false };
        let is_costly = account.cost() + steps_number(account.reserved) >= POSTPONED_MIN;
        if account.left_out_ms.is_some() || !is_costly || account.used(now_ms) <= allowed {
            return false;
        }
        account.left_out_ms = Some(now_ms);
        true
    }
}

/// Returns the bound for each that all together are within `max`: who wants less gets what it wants, and
/// the others get equal parts of the rest. Infinite if all get what they want.
fn fair_share(mut wanted: Vec<f64>, max: f64) -> f64 {
    wanted.sort_unstable_by(f64::total_cmp);
    let (mut left, mut count) = (max, wanted.len());
    for amount in wanted {
        let part = left / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if amount > part {
            return part;
        }
        left -= amount;
        count -= 1;
    }
    f64::INFINITY
}

#[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
fn whole(number: f64) -> i64 {
    number.ceil() as i64
}
