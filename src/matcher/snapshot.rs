//! The live index: immutable partitions behind swapped pointers, replaced by registrations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::{FixedState, RandomState};

use super::index::{Listener, Partition};
use super::{Matches, Scratch, Subscription, evaluate};
use crate::domain::{CloudId, EventType, InstallationId, SubscriptionId};
use crate::event::{Decoder, Event};

/// Sites are spread over this many pointers, so that a change copies the table of few of them.
const SHARDS: usize = 256;

type Tenants = HashMap<CloudId, Arc<Tenant>, RandomState>;
type Tenant = HashMap<EventType, Arc<Partition>, RandomState>;

/// Finds the subscriptions that want an event. Shared by all threads.
///
/// Readers take no lock: one atomic load gives the immutable partition an event is judged by, so
/// that it sees all of a registration or nothing. Changes are serialised by a lock of their own.
#[derive(Debug)]
pub struct Matcher {
    shards: Box<[ArcSwap<Tenants>]>,
    writer: Mutex<Writer>,
    steps_max: u32,
}

#[derive(Debug, Default)]
struct Writer {
    installations: HashMap<InstallationId, Vec<Arc<Subscription>>, RandomState>,
    partitions: HashMap<(CloudId, EventType), Roll, RandomState>,
}

/// Who listens to one event type of one site.
#[derive(Debug, Default)]
struct Roll {
    listeners: BTreeMap<SubscriptionId, Enrolled>,
    seen: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Enrolled {
    listener: Listener,
    /// Events seen before the subscription came.
    seen_before: u64,
}

impl Matcher {
    /// An empty matcher whose evaluations end after `steps_max` steps.
    #[must_use]
    pub fn new(steps_max: u32) -> Self {
        let shards = (0..SHARDS).map(|_| ArcSwap::default()).collect();
        Self { shards, writer: Mutex::default(), steps_max }
    }

    /// Replaces all live subscriptions of one installation, at once per event type; an empty list
    /// removes them. Events matched after the call see all of it.
    pub fn replace_installation(
        &self,
        installation: &InstallationId,
        subscriptions: Vec<Arc<Subscription>>,
    ) {
        self.replace_many([(installation.clone(), subscriptions)]);
    }

    /// As [`Matcher::replace_installation`] for several installations, building each touched
    /// partition once; for loading.
    pub fn replace_many(
        &self,
        changes: impl IntoIterator<Item = (InstallationId, Vec<Arc<Subscription>>)>,
    ) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut touched = BTreeSet::new();
        for (installation, subscriptions) in changes {
            writer.replace(installation, subscriptions, &mut touched);
        }
        self.publish(&mut writer, &touched);
    }

    /// Builds the touched partitions and swaps them in, one pointer per shard.
    fn publish(&self, writer: &mut Writer, touched: &BTreeSet<(CloudId, EventType)>) {
        let mut fresh: BTreeMap<usize, Tenants> = BTreeMap::new();
        for (cloud, event_type) in touched {
            let shard = self.shard_of(cloud);
            let tenants = fresh.entry(shard).or_insert_with(|| self.tenants(shard));
            let mut tenant = tenants.get(cloud).map(|t| (**t).clone()).unwrap_or_default();
            match writer.partition(cloud, event_type, self.steps_max) {
                Some(partition) => tenant.insert(event_type.clone(), Arc::new(partition)),
                None => tenant.remove(event_type),
            };
            if tenant.is_empty() {
                tenants.remove(cloud);
            } else {
                tenants.insert(cloud.clone(), Arc::new(tenant));
            }
        }
        for (shard, tenants) in fresh {
            if let Some(slot) = self.shards.get(shard) {
                slot.store(Arc::new(tenants));
            }
        }
    }

    fn shard_of(&self, cloud: &CloudId) -> usize {
        let hash = FixedState::default().hash_one(cloud.as_str());
        usize::try_from(hash % SHARDS as u64).unwrap_or_default()
    }

    fn tenants(&self, shard: usize) -> Tenants {
        self.shards.get(shard).map(|slot| (**slot.load()).clone()).unwrap_or_default()
    }

    /// Matches the event that `decoder` decoded last.
    #[must_use]
    pub fn matches(&self, event: &Event, decoder: &Decoder, scratch: &mut Scratch) -> Matches {
        let envelope = &event.envelope;
        let Some(shard) = self.shards.get(self.shard_of(&envelope.cloud_id)) else {
            return Matches::default();
        };
        let tenants = shard.load();
        let partition =
            tenants.get(&envelope.cloud_id).and_then(|tenant| tenant.get(&envelope.event_type));
        let Some(partition) = partition else { return Matches::default() };
        partition.seen.fetch_add(1, Relaxed);
        evaluate::partition(partition, envelope, decoder, self.steps_max, scratch)
    }

    /// Whether any subscription of the site listens to the event type.
    #[must_use]
    pub fn listens(&self, cloud: &CloudId, event_type: &EventType) -> bool {
        let tenants = self.shards.get(self.shard_of(cloud)).map(ArcSwap::load);
        tenants.is_some_and(|t| t.get(cloud).is_some_and(|tenant| tenant.contains_key(event_type)))
    }

    /// Events of the subscription's types that neither matched nor failed nor were ignored, since
    /// this replica knows it; `None` when it is not live.
    #[must_use]
    pub fn not_matched(&self, id: &SubscriptionId) -> Option<u64> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let subscriptions = writer.installations.get(&id.installation)?;
        let subscription = subscriptions.iter().find(|subscription| subscription.id == *id)?;
        let seen: u64 = subscription
            .listens
            .iter()
            .filter_map(|listen| {
                let key = (subscription.cloud_id.clone(), listen.event_type.clone());
                let roll = writer.partitions.get(&key)?;
                let enrolled = roll.listeners.get(id)?;
                Some(roll.seen.load(Relaxed).saturating_sub(enrolled.seen_before))
            })
            .sum();
        let stats = &subscription.stats;
        let decided =
            stats.matched.load(Relaxed) + stats.errors.load(Relaxed) + stats.ignored.load(Relaxed);
        Some(seen.saturating_sub(decided))
    }
}

impl Writer {
    fn replace(
        &mut self,
        installation: InstallationId,
        subscriptions: Vec<Arc<Subscription>>,
        touched: &mut BTreeSet<(CloudId, EventType)>,
    ) {
        let mut seen_before = HashMap::<_, u64, RandomState>::default();
        for old in self.installations.remove(&installation).unwrap_or_default() {
            for listen in &old.listens {
                let key = (old.cloud_id.clone(), listen.event_type.clone());
                if let Some(roll) = self.partitions.get_mut(&key)
                    && let Some(enrolled) = roll.listeners.remove(&old.id)
                {
                    seen_before.insert((key.clone(), old.id.clone()), enrolled.seen_before);
                }
                touched.insert(key);
            }
        }
        for new in &subscriptions {
            for (at, listen) in new.listens.iter().enumerate() {
                let key = (new.cloud_id.clone(), listen.event_type.clone());
                let roll = self.partitions.entry(key.clone()).or_default();
                let now = roll.seen.load(Relaxed);
                let before = seen_before.get(&(key.clone(), new.id.clone())).copied();
                let listener = Listener { subscription: Arc::clone(new), listen: at };
                let enrolled = Enrolled { listener, seen_before: before.unwrap_or(now) };
                roll.listeners.insert(new.id.clone(), enrolled);
                touched.insert(key);
            }
        }
        if !subscriptions.is_empty() {
            self.installations.insert(installation, subscriptions);
        }
    }

    /// The partition as its roll stands now; forgets rolls that nobody is on.
    fn partition(
        &mut self,
        cloud: &CloudId,
        event_type: &EventType,
        steps_max: u32,
    ) -> Option<Partition> {
        let key = (cloud.clone(), event_type.clone());
        let roll = self.partitions.get(&key)?;
        if roll.listeners.is_empty() {
            self.partitions.remove(&key);
            return None;
        }
        let listeners = roll.listeners.values().map(|e| e.listener.clone()).collect();
        Some(Partition::build(listeners, Arc::clone(&roll.seen), steps_max))
    }
}

impl Default for Matcher {
    /// An empty matcher with the vendor's bound on steps.
    fn default() -> Self {
        Self::new(switchyard_expr::limits::STEPS_MAX)
    }
}
