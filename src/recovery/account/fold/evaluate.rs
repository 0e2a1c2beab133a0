//! What became of the deliveries that the fold kept, given what the streams hold.

use std::collections::HashSet;

use super::{Fold, Instance, InstanceKey, Place};
use crate::recovery::account::facts::{Facts, State, for_subscription};
use crate::recovery::account::limits::NAMED_MAX;
use crate::recovery::account::presence::{IdHash, Presence, Suspects};
use crate::recovery::account::sheet::SubscriptionCounts;

/// A delivery that is unaccounted for.
struct Unaccounted {
    at: Place,
    id: IdHash,
    has_died: bool,
}

impl Fold {
    /// Whether some deliveries were dead-lettered, and have no later outcome.
    #[must_use]
    pub(in crate::recovery::account) fn has_dead(&self) -> bool {
        let is_dead =
            |one: &Instance| one.facts.has(Facts::DEAD) && !one.facts.has(Facts::DELIVERED);
        self.in_window().any(|(_, one)| is_dead(one))
    }

    /// Returns what became of a delivery. A parked record and a letter do not say which replay they are
    /// of: what is not there any more was delivered or removed for each of them.
    fn state(&self, key: &InstanceKey, one: &Instance, presence: &Presence) -> State {
        let is_removed = self.removed.contains(&key.id);
        let state = presence.state(key.id, one.facts, one.dead_ms, is_removed);
        if state != State::Gap {
            return state;
        }
        if self.any_has(key.id, Facts::RESUMED) {
            return State::Delivered;
        }
        let is_removed = !one.facts.has(Facts::DEAD) && self.any_has(key.id, Facts::REMOVED);
        if is_removed { State::Removed } else { State::Gap }
    }

    /// Whether a delivery, or a repetition of it by a replay, has a fact.
    fn any_has(&self, id: IdHash, wanted: Facts) -> bool {
        let has = |replay: Option<u64>| {
            let other = self.instances.get(&InstanceKey { id, replay });
            other.is_some_and(|other| other.facts.has(wanted))
        };
        std::iter::once(None).chain(self.replays.iter().copied().map(Some)).any(has)
    }

    /// Returns the deliveries that `presence` and the records do not account for. `unread` is the number of
    /// due records whose ids are not known: so many deliveries that were parked are undetermined. Which
    /// ones is not known: the oldest ones count as lost.
    #[must_use]
    pub(in crate::recovery::account) fn suspects(
        &self,
        presence: &Presence,
        unread: u64,
    ) -> Suspects {
        let is_gap =
            |(key, one): &(&InstanceKey, &Instance)| self.state(key, one, presence) == State::Gap;
        let found = self.in_window().filter(is_gap).map(|(key, one)| Unaccounted {
            at: one.at,
            id: key.id,
            has_died: one.facts.has(Facts::DEAD),
        });
        let mut found: Vec<Unaccounted> = found.collect();
        found.sort_unstable_by_key(|one| one.at);
        let unread = usize::try_from(unread).unwrap_or(usize::MAX);
        let mut undetermined = HashSet::new();
        for one in found.iter().rev().filter(|one| !one.has_died) {
            if undetermined.len() >= unread {
                break;
            }
            undetermined.insert(one.id);
        }
        let number = found.len() as u64;
        let has_dead = found.iter().any(|one| one.has_died);
        found.retain(|one| one.has_died || !undetermined.contains(&one.id));
        let undetermined_number = number.saturating_sub(found.len() as u64);
        let named = found.iter().take(NAMED_MAX).map(|one| (one.id, one.at.sequence)).collect();
        Suspects { number, has_dead, undetermined, undetermined_number, named }
    }

    /// Returns the counts by subscription, sorted. Those of `undetermined` that were parked and are not
    /// found count as pending: they may be due.
    #[must_use]
    pub(in crate::recovery::account) fn counts(
        &self,
        presence: &Presence,
        undetermined: &HashSet<IdHash>,
    ) -> Vec<SubscriptionCounts> {
        let mut rows = self.rows.clone();
        for (key, one) in self.in_window() {
            let may_be_due = || !one.facts.has(Facts::DEAD) && undetermined.contains(&key.id);
            let state = match self.state(key, one, presence) {
                State::Gap if may_be_due() => State::Pending,
                state => state,
            };
            // Else it is what became of another repetition of it.
            let is_own = match state {
                State::Delivered => one.facts.has(Facts::DELIVERED),
                State::Removed => one.facts.has(Facts::DEAD) || one.facts.has(Facts::REMOVED),
                _ => true,
            };
            for (row, own) in &one.subscriptions {
                if let Some(row) = rows.get_mut(*row as usize) {
                    let state = if is_own { for_subscription(state, *own) } else { state };
                    row.counts.count(state, key.replay.is_some(), 1);
                }
            }
        }
        let is_wanted = |row: &SubscriptionCounts| {
            let is = |wanted: &Option<Box<str>>, found: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == found)
            };
            let key = row.subscription.rsplit_once('/').map_or("", |(_, key)| key);
            is(&self.scope.installation, row.installation()) && is(&self.scope.key, key)
        };
        rows.retain(|row| !row.counts.is_empty() && is_wanted(row));
        rows.sort_unstable_by(|a, b| (&a.site, &a.subscription).cmp(&(&b.site, &b.subscription)));
        rows
    }
}
