//! Folds records of the delivery log into what is known of each delivery. Pure.
//!
//! Most deliveries are delivered in the only record of their event: they are counted at once, and take
//! no memory of their own. All others are kept one by one as a set of facts. An event that was handled
//! again may have been counted at once before that is known: it has records of several handlings, or a
//! delivery that was parked by a handling without records. Then a second fold of the same records, which
//! knows such events, keeps all of their deliveries.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::facts::{Facts, RecordedOutcome, State, for_subscription};
use super::limits::{INSTANCES_MAX, NAMED_MAX, SUBSCRIPTIONS_MAX, TooLarge};
use super::presence::{IdHash, Presence, Suspects};
use super::record::{AccountRecord, RecordedDelivery};
use super::sequences::{Handling, Handlings};
use super::sheet::{Counts, SubscriptionCounts};

/// Which events and subscriptions are accounted for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Events that the broker stored at this time or later, milliseconds since the epoch.
    pub from_ms: i64,
    /// And before this time.
    pub until_ms: i64,
    /// Of this site.
    pub site: Option<Box<str>>,
    /// For this installation.
    pub installation: Option<Box<str>>,
    /// For this module of the installation.
    pub key: Option<Box<str>>,
}

impl Scope {
    fn has_time(&self, ms: i64) -> bool {
        (self.from_ms..self.until_ms).contains(&ms)
    }

    fn has_subscription(&self, delivery: &RecordedDelivery<'_>, key: &str) -> bool {
        self.installation.as_deref().is_none_or(|wanted| wanted == delivery.installation)
            && self.key.as_deref().is_none_or(|wanted| wanted == key)
    }
}

/// A delivery, or its repetition by a replay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct InstanceKey {
    id: IdHash,
    /// Hash of the replay; none if the event itself caused it.
    replay: Option<u64>,
}

/// What is known of a delivery.
#[derive(Debug)]
struct Instance {
    /// Sequence of its first record in the log.
    at: u64,
    /// Sequence of its event.
    event: u64,
    facts: Facts,
    subscriptions: Vec<(u32, Facts)>,
}

/// The fold.
#[derive(Debug)]
pub struct Fold {
    scope: Scope,
    hashers: (RandomState, RandomState),
    routers: HashMap<Box<str>, u32>,
    names: HashMap<Box<str>, u32>,
    rows: Vec<SubscriptionCounts>,
    handlings: Handlings,
    /// Events with several handlings, in the second fold.
    repeated: Option<HashSet<u64>>,
    instances: HashMap<InstanceKey, Instance>,
    /// Replays that were seen.
    replays: HashSet<u64>,
    /// Deliveries of which an operator deleted a letter.
    removed: HashSet<IdHash>,
    is_frozen: bool,
    unreadable: u64,
}

impl Fold {
    /// Begins the first fold.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            hashers: (RandomState::new(), RandomState::new()),
            routers: HashMap::new(),
            names: HashMap::new(),
            rows: Vec::new(),
            handlings: Handlings::new(),
            repeated: None,
            instances: HashMap::new(),
            replays: HashSet::new(),
            removed: HashSet::new(),
            is_frozen: false,
            unreadable: 0,
        }
    }

    /// Whether the same records must be folded a second time.
    #[must_use]
    pub fn needs_second(&self) -> bool {
        self.repeated.is_none()
            && (self.handlings.has_repeated() || self.without_event().next().is_some())
    }

    /// Iterates over the events of deliveries that only records of parked deliveries or dead letters have.
    fn without_event(&self) -> impl Iterator<Item = u64> {
        let is_one = |(key, one): &(&InstanceKey, &Instance)| {
            key.replay.is_none() && !one.facts.has(Facts::NEW)
        };
        self.in_window().filter(is_one).map(|(_, one)| one.event)
    }

    /// Begins the second fold.
    #[must_use]
    pub fn second(self) -> Self {
        let mut repeated: HashSet<u64> = self.without_event().collect();
        let Self { scope, hashers, handlings, .. } = self;
        repeated.extend(handlings.into_repeated());
        Self { hashers, repeated: Some(repeated), ..Self::new(scope) }
    }

    /// Ends the window: later records only add to what is known of deliveries that are known.
    pub fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// Counts a record that cannot be read.
    pub fn count_unreadable(&mut self) {
        self.unreadable += u64::from(!self.is_frozen);
    }

    /// Returns how many records cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Returns the hash of a delivery id.
    #[must_use]
    pub fn id_hash(&self, id: &str) -> IdHash {
        IdHash(self.hashers.0.hash_one(id), self.hashers.1.hash_one(id))
    }

    /// Takes the record with the sequence `at`.
    ///
    /// # Errors
    /// There is more than it can hold.
    pub fn take(&mut self, at: u64, record: &AccountRecord<'_>) -> Result<(), TooLarge> {
        let event = &record.event;
        let is_in_window = match event.stored_ms {
            Some(ms) if !self.scope.has_time(ms) => return Ok(()),
            stored => stored.is_some(),
        };
        if self.scope.site.as_deref().is_some_and(|site| site != event.site) {
            return Ok(());
        }
        let is_new = record.deliveries.first().is_some_and(RecordedDelivery::is_new);
        let is_only = is_in_window && is_new && !self.is_frozen && self.is_only_handling(record)?;
        for delivery in &record.deliveries {
            if !delivery.keys().any(|key| self.scope.has_subscription(delivery, key)) {
                continue;
            }
            if delivery.outcome == RecordedOutcome::Removed {
                self.note_removed(record, delivery)?;
                continue;
            }
            let Some(fact) = delivery.outcome.fact() else {
                self.count_unreadable();
                continue;
            };
            let is_counted = is_only && delivery.is_new() && delivery.replay.is_none();
            if is_counted && delivery.outcome == RecordedOutcome::Delivered {
                self.count_delivered(record, delivery)?;
            } else {
                let window = if is_in_window { Facts::IN_WINDOW } else { Facts::default() };
                let new = match (delivery.is_new(), delivery.outcome) {
                    (true, _) => Facts::NEW,
                    (false, RecordedOutcome::Delivered) => Facts::RESUMED,
                    (false, _) => Facts::default(),
                };
                self.note(at, record, delivery, fact | window | new)?;
            }
        }
        Ok(())
    }

    fn is_only_handling(&mut self, record: &AccountRecord<'_>) -> Result<bool, TooLarge> {
        let sequence = record.event.sequence;
        if let Some(repeated) = &self.repeated {
            return Ok(!repeated.contains(&sequence));
        }
        let next = u32::try_from(self.routers.len()).map_err(|_| TooLarge::RecordNumbers)?;
        let router = match self.routers.get(&*record.router) {
            Some(number) => *number,
            None => *self.routers.entry((&*record.router).into()).or_insert(next),
        };
        let AccountRecord { started_ms, delivery_count, .. } = *record;
        self.handlings.is_only(sequence, Handling { router, started_ms, delivery_count })
    }

    fn count_delivered(
        &mut self,
        record: &AccountRecord<'_>,
        delivery: &RecordedDelivery<'_>,
    ) -> Result<(), TooLarge> {
        for key in delivery.keys() {
            let row = self.row(record, delivery, key)?;
            if let Some(row) = self.rows.get_mut(row as usize) {
                row.counts.count(State::Delivered, false, 1);
            }
        }
        Ok(())
    }

    /// Notes that a letter was deleted. Letters are those of a delivery, whether a replay repeated it or
    /// not.
    fn note_removed(
        &mut self,
        record: &AccountRecord<'_>,
        delivery: &RecordedDelivery<'_>,
    ) -> Result<(), TooLarge> {
        if self.removed.len() >= INSTANCES_MAX {
            return Err(TooLarge::Instances);
        }
        let id = delivery.delivery_id(&record.event);
        self.removed.insert(self.id_hash(id.as_str()));
        Ok(())
    }

    fn note(
        &mut self,
        at: u64,
        record: &AccountRecord<'_>,
        delivery: &RecordedDelivery<'_>,
        facts: Facts,
    ) -> Result<(), TooLarge> {
        let key = InstanceKey {
            id: self.id_hash(delivery.delivery_id(&record.event).as_str()),
            replay: delivery.replay.as_ref().map(|job| self.hashers.0.hash_one(job)),
        };
        self.replays.extend(key.replay);
        let is_full = self.instances.len() >= INSTANCES_MAX;
        if self.is_frozen && !self.instances.contains_key(&key) {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(1 + delivery.also.len());
        for module in delivery.keys() {
            rows.push(self.row(record, delivery, module)?);
        }
        let instance = match self.instances.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => return Err(TooLarge::Instances),
            Entry::Vacant(new) => {
                let (event, facts) = (record.event.sequence, Facts::default());
                new.insert(Instance { at, event, facts, subscriptions: Vec::with_capacity(1) })
            }
        };
        instance.facts = instance.facts | facts;
        for row in rows {
            match instance.subscriptions.iter_mut().find(|(known, _)| *known == row) {
                Some((_, known)) => *known = *known | facts,
                None => instance.subscriptions.push((row, facts)),
            }
        }
        Ok(())
    }

    /// Returns the row of a module of the installation of a delivery.
    fn row(
        &mut self,
        record: &AccountRecord<'_>,
        delivery: &RecordedDelivery<'_>,
        key: &str,
    ) -> Result<u32, TooLarge> {
        let name = format!("{}/{key}", delivery.installation);
        if let Some(row) = self.names.get(&*name) {
            return Ok(*row);
        }
        if self.rows.len() >= SUBSCRIPTIONS_MAX {
            return Err(TooLarge::Subscriptions);
        }
        let row = u32::try_from(self.rows.len()).map_err(|_| TooLarge::Subscriptions)?;
        let name: Box<str> = name.into();
        self.rows.push(SubscriptionCounts {
            site: (&*record.event.site).into(),
            subscription: name.clone(),
            counts: Counts::default(),
        });
        self.names.insert(name, row);
        Ok(row)
    }

    /// Whether some deliveries were dead-lettered, and have no later outcome.
    #[must_use]
    pub fn has_dead(&self) -> bool {
        let is_dead =
            |one: &Instance| one.facts.has(Facts::DEAD) && !one.facts.has(Facts::DELIVERED);
        self.in_window().any(|(_, one)| is_dead(one))
    }

    /// Returns what became of a delivery. One without a trace is delivered if a replay of it was. A letter
    /// does not say which replay it is of: one that is not there any more was removed or redriven for any
    /// of them.
    fn state(&self, key: &InstanceKey, one: &Instance, presence: &Presence) -> State {
        let state = presence.state(key.id, one.facts, self.removed.contains(&key.id));
        if state != State::Gap {
            return state;
        }
        let is_redriven = |replay: Option<u64>| {
            let other = self.instances.get(&InstanceKey { id: key.id, replay });
            other.is_some_and(|other| other.facts.has(Facts::RESUMED))
        };
        let mut replays = std::iter::once(None).chain(self.replays.iter().copied().map(Some));
        if replays.any(is_redriven) { State::Delivered } else { State::Gap }
    }

    /// Returns the deliveries that `presence` and the records say nothing of.
    #[must_use]
    pub fn suspects(&self, presence: &Presence) -> Suspects {
        let mut suspects = Suspects::default();
        for (key, one) in self.in_window() {
            if self.state(key, one, presence) != State::Gap {
                continue;
            }
            suspects.number += 1;
            let is_dead = one.facts.has(Facts::DEAD);
            suspects.has_dead |= is_dead;
            suspects.parked += u64::from(!is_dead);
            if suspects.some.len() < NAMED_MAX {
                suspects.some.push((key.id, one.at));
            }
        }
        suspects.some.sort_unstable_by_key(|(_, at)| *at);
        suspects
    }

    /// Returns the counts by subscription, sorted. `undetermined` says that deliveries which were parked
    /// and are not found may be due: they count as pending.
    #[must_use]
    pub fn counts(&self, presence: &Presence, undetermined: bool) -> Vec<SubscriptionCounts> {
        let mut rows = self.rows.clone();
        for (key, one) in self.in_window() {
            let state = match self.state(key, one, presence) {
                State::Gap if undetermined && !one.facts.has(Facts::DEAD) => State::Pending,
                state => state,
            };
            let is_own = state != State::Delivered || one.facts.has(Facts::DELIVERED);
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

    fn in_window(&self) -> impl Iterator<Item = (&InstanceKey, &Instance)> {
        self.instances.iter().filter(|(_, one)| one.facts.has(Facts::IN_WINDOW))
    }
}
