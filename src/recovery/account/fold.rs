//! Folds records of the delivery log into what is known of each delivery. Pure.
//!
//! Most deliveries are delivered in the only record of their event: they are counted at once, and take
//! no memory of their own. All others are kept one by one as a set of facts. An event that was handled
//! again may have been counted at once before that is known: it has records of several handlings, or a
//! delivery that was parked by a handling without records. Then a second fold of the same records, which
//! knows such events, keeps all of their deliveries.

mod evaluate;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::facts::{Facts, RecordedOutcome, State};
use super::limits::{INSTANCES_MAX, SUBSCRIPTIONS_MAX, TooLarge};
use super::presence::IdHash;
use super::record::{AccountRecord, RecordedDelivery};
use super::sequences::{Handling, Handlings};
use super::sheet::{DeliveryCounts, SubscriptionCounts};

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
    /// Its first record.
    at: Place,
    /// Sequence of its event.
    event: u64,
    facts: Facts,
    /// When work began that last ended in a dead letter, milliseconds since the epoch.
    dead_ms: i64,
    subscriptions: Vec<(u32, Facts)>,
}

/// A delivery of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    /// Sequence of the record in the log.
    sequence: u64,
    /// Number of the delivery in the record.
    index: u32,
}

/// The fold.
#[derive(Debug)]
pub(super) struct Fold {
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
    /// Deliveries of which a letter was removed on purpose.
    removed: HashSet<IdHash>,
    is_frozen: bool,
    unreadable: u64,
}

impl Fold {
    /// Begins the first fold.
    #[must_use]
    pub(super) fn new(scope: Scope) -> Self {
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
    pub(super) fn needs_second(&self) -> bool {
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
    pub(super) fn second(self) -> Self {
        let mut repeated: HashSet<u64> = self.without_event().collect();
        let Self { scope, hashers, handlings, .. } = self;
        repeated.extend(handlings.into_repeated());
        Self { hashers, repeated: Some(repeated), ..Self::new(scope) }
    }

    /// Ends the window: later records only add to what is known of deliveries that are known.
    pub(super) fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// Counts a record that cannot be read.
    pub(super) fn count_unreadable(&mut self) {
        self.unreadable += u64::from(!self.is_frozen);
    }

    /// Returns how many records cannot be read.
    #[must_use]
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Returns the hash of a delivery id.
    #[must_use]
    pub(super) fn id_hash(&self, id: &str) -> IdHash {
        IdHash(self.hashers.0.hash_one(id), self.hashers.1.hash_one(id))
    }

    /// Takes the record with the sequence `at`.
    ///
    /// # Errors
    /// There is more than it can hold.
    pub(super) fn take(&mut self, at: u64, record: &AccountRecord<'_>) -> Result<(), TooLarge> {
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
        for (index, delivery) in (0..).zip(&record.deliveries) {
            if !delivery.keys().any(|key| self.scope.has_subscription(delivery, key)) {
                continue;
            }
            if delivery.outcome == RecordedOutcome::Removed && delivery.is_of_letter() {
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
                let place = Place { sequence: at, index };
                self.note(place, record, delivery, fact | window | new)?;
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
        // A copy may be read in addition to its original: it is a handling of its own.
        let name = record.copied_by.as_deref().unwrap_or(&record.router);
        let router = match self.routers.get(name) {
            Some(number) => *number,
            None => *self.routers.entry(name.into()).or_insert(next),
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

    /// Notes that a letter was removed on purpose. Letters are those of a delivery, whether a replay repeated it or
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
        at: Place,
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
                let subscriptions = Vec::with_capacity(1);
                new.insert(Instance { at, event, facts, dead_ms: 0, subscriptions })
            }
        };
        instance.facts = instance.facts | facts;
        if facts.has(Facts::DEAD) {
            instance.dead_ms = instance.dead_ms.max(record.started_ms);
        }
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
            counts: DeliveryCounts::default(),
        });
        self.names.insert(name, row);
        Ok(row)
    }

    fn in_window(&self) -> impl Iterator<Item = (&InstanceKey, &Instance)> {
        self.instances.iter().filter(|(_, one)| one.facts.has(Facts::IN_WINDOW))
    }
}
