//! The account of a run: what each event owes to each subscription, and the invariants over it.
//!
//! The ledger sees what the broker stores and what handlers receive, never what a router believes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use switchyard::domain::DeliveryId;

use crate::broker::Pair;
use crate::dice::Ms;
use crate::scenario::Scenario;

/// A broken invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// Account of one event for one subscription.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// Records in the parking stream.
    pub(crate) parked: usize,
    pub(crate) accepted: u32,
    pub(crate) letters: u32,
    pub(crate) dropped: u32,
    attempts: u32,
    id: Option<DeliveryId>,
    /// Earliest time of an attempt with this number.
    not_before: BTreeMap<u32, Ms>,
}

impl Account {
    pub(crate) fn is_closed(&self) -> bool {
        self.accepted > 0 || self.letters > 0 || self.dropped > 0
    }
}

/// An event that the broker stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredEvent {
    pub(crate) kind: u8,
    pub(crate) published: Ms,
    /// The stream holds it and it is not acknowledged.
    pub(crate) is_held: bool,
    /// It was deleted with its stream.
    pub(crate) is_forgotten: bool,
    /// The stream that knew its message id was deleted: a repeated publish is stored again.
    pub(crate) is_id_forgotten: bool,
    /// It is dead-lettered as a whole.
    pub(crate) is_letter: bool,
    pub(crate) poison: bool,
}

/// The account of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) events: BTreeMap<usize, StoredEvent>,
    pub(crate) accounts: BTreeMap<Pair, Account>,
    ids: HashMap<DeliveryId, Pair>,
    pub(crate) refused: BTreeSet<usize>,
    pub(crate) counted_drops: u32,
    pub(crate) repeats: u32,
    pub(crate) attempts: u32,
    violations: Vec<Violation>,
}

impl Ledger {
    pub(crate) fn violation(&mut self, invariant: &'static str, detail: String) {
        self.violations.push(Violation { invariant, detail });
    }

    pub(crate) fn first_violation(&self) -> Option<&Violation> {
        self.violations.first()
    }

    pub(crate) fn account(&mut self, pair: Pair) -> &mut Account {
        self.accounts.entry(pair).or_default()
    }

    /// Records that the broker stored an event.
    pub(crate) fn stored(&mut self, event: usize, kind: u8, poison: bool, now: Ms) {
        let stored = StoredEvent {
            kind,
            published: now,
            is_held: true,
            is_forgotten: false,
            is_id_forgotten: false,
            is_letter: false,
            poison,
        };
        if self.events.insert(event, stored).is_some_and(|before| !before.is_id_forgotten) {
            self.violation("stored once", format!("event {event} is stored twice"));
        }
    }

    /// Whether a subscription has a claim on an event: it matches and existed when the event was
    /// published, and was not removed by now.
    fn has_claim(scenario: &Scenario, pair: Pair, event: &StoredEvent, now: Ms) -> bool {
        scenario.triggers.get(pair.subscription).is_some_and(|trigger| {
            trigger.matches(event.kind)
                && trigger.created + scenario.registry_lag_max() < event.published
                && trigger.removed.is_none_or(|removed| removed > now)
        })
    }

    /// Records that the stream no longer holds an event; every claim on it must be accounted for.
    pub(crate) fn released(&mut self, scenario: &Scenario, event: usize, now: Ms, how: &str) {
        if let Some(stored) = self.events.get_mut(&event) {
            stored.is_held = false;
        }
        for subscription in 0..scenario.triggers.len() {
            self.check(scenario, Pair { event, subscription }, now, how);
        }
    }

    /// Checks that a claim is held by something.
    pub(crate) fn check(&mut self, scenario: &Scenario, pair: Pair, now: Ms, how: &str) {
        let Some(event) = self.events.get(&pair.event) else { return };
        let excused = event.is_held || event.is_forgotten || event.is_letter;
        if excused || !Self::has_claim(scenario, pair, event, now) {
            return;
        }
        let account = self.accounts.get(&pair);
        if !account.is_some_and(|account| account.is_closed() || account.parked > 0) {
            self.violation("no loss", format!("{pair:?} is held by nothing: {how}"));
        }
    }

    /// Records when a failed attempt may be repeated.
    pub(crate) fn planned(&mut self, pair: Pair, attempt: u32, not_before: Ms) {
        let at = self.account(pair).not_before.entry(attempt).or_insert(not_before);
        *at = not_before.min(*at);
    }

    /// Records that a handler receives an attempt.
    pub(crate) fn attempted(
        &mut self,
        scenario: &Scenario,
        pair: Pair,
        attempt: u32,
        id: &DeliveryId,
        now: Ms,
    ) {
        self.attempts += 1;
        let trigger = scenario.triggers.get(pair.subscription);
        let kind = self.events.get(&pair.event).map(|event| event.kind);
        let matches = trigger.zip(kind).is_some_and(|(trigger, kind)| trigger.matches(kind));
        let removed = trigger.and_then(|trigger| trigger.removed);
        let is_late = removed.is_some_and(|at| at + scenario.registry_lag_max() < now);
        let is_early = trigger.is_some_and(|trigger| trigger.created > now);
        if !matches || is_late || is_early {
            let detail = format!("{pair:?} at {now}, removed {removed:?}");
            self.violation("no phantom", detail);
        }
        let account = self.accounts.entry(pair).or_default();
        let is_repeat = account.accepted > 0;
        account.attempts += 1;
        let too_early = account.not_before.get(&attempt).is_some_and(|at| now < *at);
        let changed = account.id.get_or_insert_with(|| id.clone()) != id;
        self.repeats += u32::from(is_repeat);
        let shared = *self.ids.entry(id.clone()).or_insert(pair) != pair;
        if changed || shared {
            self.violation("same id", format!("{pair:?} attempt {attempt} has another id {id}"));
        }
        if too_early {
            let detail = format!("{pair:?} attempt {attempt} at {now} is before its time");
            self.violation("retry not early", detail);
        }
    }

    /// Checks the account at the end of a run: everything is accounted for and nothing waits.
    pub(crate) fn close(&mut self, scenario: &Scenario, now: Ms) {
        let events: Vec<usize> = self.events.keys().copied().collect();
        for event in events {
            let Some(stored) = self.events.get(&event).cloned() else { continue };
            if stored.is_held {
                self.violation("account closes", format!("event {event} is never acknowledged"));
            }
            if stored.is_letter && !stored.poison {
                self.violation("poison is poison", format!("event {event} is healthy"));
            }
            for subscription in 0..scenario.triggers.len() {
                self.check(scenario, Pair { event, subscription }, now, "at the end");
            }
        }
        let parked = self.accounts.iter().find(|(_, account)| account.parked > 0);
        if let Some(pair) = parked.map(|(pair, _)| *pair) {
            self.violation("account closes", format!("{pair:?} is parked for ever"));
        }
        let dropped: u32 = self.accounts.values().map(|account| account.dropped).sum();
        if dropped != self.counted_drops {
            let detail = format!("{dropped} dropped, {} counted", self.counted_drops);
            self.violation("account closes", detail);
        }
    }
}
