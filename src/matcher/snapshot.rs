//! The matcher's entry point: immutable partitions behind atomically swapped pointers, which
//! registrations replace.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::{FixedState, RandomState};

use super::index::Listener;
use super::indexer::Indexer;
use super::partition::Partition;
use super::projection_cache::ProjectionCache;
use super::{Matches, Scratch, Subscription, evaluate};
use crate::domain::{CloudId, EventType, InstallationId, SubscriptionId};
use crate::event::{Decoder, RoutingKey};

/// Number of pointers that sites are spread over, so that a change copies only a small table.
const SHARDS: usize = u8::MAX as usize + 1;

type Tenants = HashMap<CloudId, Tenant, RandomState>;
/// Sorted by event type: a site has few, and one small array costs fewer cache misses than a table.
type Tenant = Arc<[(EventType, Arc<Partition>)]>;

/// Finds the subscriptions that match an event. Shared by all threads.
///
/// Readers take no lock: one atomic load returns the immutable partition that an event is matched
/// against, so that it sees all of a registration or nothing of it. A lock of their own serialises
/// changes.
#[derive(Debug)]
pub struct Matcher {
    shards: Box<[ArcSwap<Tenants>]>,
    writer: Mutex<Writer>,
    steps_max: u32,
}

/// State that only changes read.
#[derive(Debug)]
struct Writer {
    installations: HashMap<InstallationId, InstallationSubscriptions, RandomState>,
    projections: ProjectionCache,
    indexer: Indexer,
}

/// The live subscriptions of one installation, as the writer keeps them.
#[derive(Debug, Default)]
struct InstallationSubscriptions {
    subscriptions: Box<[Arc<Subscription>]>,
    offset: SeenOffset,
}

/// For each subscription, the number of events its partitions had seen before it was added, less
/// those that its predecessor of the same id had seen. The arithmetic wraps around, so differences
/// are right.
#[derive(Debug)]
enum SeenOffset {
    /// The same number for all of them: they were added together, as nearly all are.
    Same(u64),
    /// One number each, in the order of the subscriptions.
    Each(Box<[u64]>),
}

impl Default for SeenOffset {
    fn default() -> Self {
        Self::Same(0)
    }
}

impl From<Vec<u64>> for SeenOffset {
    fn from(all: Vec<u64>) -> Self {
        match all.first() {
            Some(first) if all.iter().any(|offset| offset != first) => Self::Each(all.into()),
            first => Self::Same(first.copied().unwrap_or_default()),
        }
    }
}

impl InstallationSubscriptions {
    /// Yields each subscription with its offset.
    fn iter(&self) -> impl Iterator<Item = (&Arc<Subscription>, u64)> {
        let offset = |at: usize| match &self.offset {
            SeenOffset::Same(offset) => *offset,
            SeenOffset::Each(all) => {
                let offset = all.get(at).copied();
                debug_assert!(offset.is_some(), "there is one for each subscription");
                offset.unwrap_or_default()
            }
        };
        self.subscriptions.iter().enumerate().map(move |(at, one)| (one, offset(at)))
    }
}

/// What changes in one partition.
#[derive(Default)]
struct Change {
    removed: Vec<Arc<Subscription>>,
    added: Vec<Listener>,
}

type Changes = HashMap<(CloudId, EventType), Change, RandomState>;

impl Matcher {
    /// Returns an empty matcher whose evaluations end after `steps_max` steps.
    #[must_use]
    pub fn new(steps_max: u32) -> Self {
        let shards = (0..SHARDS).map(|_| ArcSwap::default()).collect();
        let writer = Writer {
            installations: HashMap::default(),
            projections: ProjectionCache::default(),
            indexer: Indexer::new(steps_max),
        };
        Self { shards, writer: Mutex::new(writer), steps_max }
    }

    /// Steps after which an evaluation ends in an error.
    pub(super) fn steps_max(&self) -> u32 {
        self.steps_max
    }

    /// Replaces all live subscriptions of one installation, atomically per event type; an empty
    /// list removes them. Events matched after the call see all of the change. Subscriptions that
    /// stay the same pointer cost nothing.
    pub fn replace_installation(
        &self,
        installation: &InstallationId,
        subscriptions: Vec<Arc<Subscription>>,
    ) {
        self.replace_many([(installation.clone(), subscriptions)]);
    }

    /// Does what [`Matcher::replace_installation`] does for several installations and rebuilds each
    /// changed partition once; for loading a registry.
    pub fn replace_many(
        &self,
        changes: impl IntoIterator<Item = (InstallationId, Vec<Arc<Subscription>>)>,
    ) {
        let mut writer = self.lock_writer();
        let Writer { installations, projections, indexer } = &mut *writer;
        let mut changed = Changes::default();
        let mut fresh = Vec::new();
        for (installation, subscriptions) in changes {
            let old = installations.remove(&installation).unwrap_or_default();
            collect(&old.subscriptions, &subscriptions, &mut changed);
            mark_removals(&old.subscriptions, &subscriptions);
            let seen_so_far =
                old.iter().map(|(one, offset)| (one.id(), self.seen(one).wrapping_sub(offset)));
            fresh.push((installation, seen_so_far.collect::<HashMap<_, u64>>(), subscriptions));
        }
        self.publish(changed, projections, indexer);
        for (installation, seen_so_far, subscriptions) in fresh {
            let offset = |subscription: &Arc<Subscription>| {
                let before = seen_so_far.get(&subscription.id()).copied();
                self.seen(subscription).wrapping_sub(before.unwrap_or_default())
            };
            if !subscriptions.is_empty() {
                let offset = subscriptions.iter().map(offset).collect::<Vec<_>>().into();
                let subscriptions = subscriptions.into();
                installations
                    .insert(installation, InstallationSubscriptions { subscriptions, offset });
            }
        }
    }

    fn lock_writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds new versions of the changed partitions and swaps them in, one pointer per shard.
    fn publish(&self, changed: Changes, projections: &mut ProjectionCache, indexer: &Indexer) {
        let mut fresh: BTreeMap<u8, Tenants> = BTreeMap::new();
        for ((cloud, event_type), change) in changed {
            let shard = shard_of(cloud.as_str());
            let tenants = fresh.entry(shard).or_insert_with(|| self.tenants(shard));
            let mut tenant = tenants.get(&cloud).map(|tenant| tenant.to_vec()).unwrap_or_default();
            let position = position_of(&tenant, event_type.as_str());
            let known = position.ok().and_then(|at| tenant.get(at));
            let mut partition =
                known.map_or_else(Partition::new, |(_, partition)| (**partition).clone());
            let shared = projections.get(&event_type);
            partition.change(&change.removed, change.added, shared.as_ref(), indexer);
            if let Some(projection) = partition.projection() {
                projections.offer(&event_type, projection);
            }
            let entry = (!partition.is_empty())
                .then(|| (projections.intern(&event_type), Arc::new(partition)));
            let position = position.map_or_else(|at| at..at, |at| at..at + 1);
            tenant.splice(position, entry);
            if tenant.is_empty() {
                tenants.remove(&cloud);
            } else {
                tenants.insert(cloud, tenant.into());
            }
        }
        for (shard, tenants) in fresh {
            if let Some(slot) = self.shard(shard) {
                slot.store(Arc::new(tenants));
            }
        }
    }

    fn shard(&self, number: u8) -> Option<&ArcSwap<Tenants>> {
        let shard = self.shards.get(usize::from(number));
        debug_assert!(shard.is_some(), "there is a shard for each number");
        shard
    }

    fn tenants(&self, shard: u8) -> Tenants {
        self.shard(shard).map(|slot| (**slot.load()).clone()).unwrap_or_default()
    }

    /// Matches the event with this routing key, which `decoder` holds. The outcome is in the
    /// scratch, so that its memory is reused, and keeps its snapshot alive.
    pub fn matches<'s>(
        &self,
        routing_key: RoutingKey<'_>,
        decoder: &Decoder,
        scratch: &'s mut Scratch,
    ) -> &'s mut Matches {
        scratch.outcome.clear();
        self.with_partition(routing_key.cloud_id, routing_key.event_type, |partition| {
            partition.seen.fetch_add(1, Relaxed);
            evaluate::match_partition(partition, routing_key, decoder, self.steps_max, scratch);
        });
        &mut scratch.outcome
    }

    /// Whether the site has any subscription to the event type. Called before an event is decoded;
    /// it prefetches the index, which loads while the event is decoded.
    #[must_use]
    pub fn has_subscriptions(&self, routing_key: RoutingKey<'_>) -> bool {
        self.with_partition(routing_key.cloud_id, routing_key.event_type, |partition| {
            partition.prefetch()
        })
        .is_some()
    }

    fn with_partition<T>(
        &self,
        cloud_id: &str,
        event_type: &str,
        read: impl FnOnce(&Arc<Partition>) -> T,
    ) -> Option<T> {
        let tenants = self.shard(shard_of(cloud_id))?.load();
        let tenant = tenants.get(cloud_id)?;
        let position = position_of(tenant, event_type).ok()?;
        tenant.get(position).map(|(_, partition)| read(partition))
    }

    /// Returns how many events of the subscription's types neither matched nor failed nor were
    /// ignored since this replica loaded it; `None` if it is not live.
    #[must_use]
    pub fn not_matched(&self, id: &SubscriptionId) -> Option<u64> {
        let writer = self.lock_writer();
        let mut subscriptions = writer.installations.get(&id.installation)?.iter();
        let (subscription, offset) = subscriptions.find(|(one, _)| one.key == id.key)?;
        let stats = subscription.stats.peek();
        let decided =
            stats.matched.load(Relaxed) + stats.errors.load(Relaxed) + stats.ignored.load(Relaxed);
        Some(self.seen(subscription).wrapping_sub(offset).saturating_sub(decided))
    }

    /// Returns how many events the partitions of a subscription have seen.
    fn seen(&self, subscription: &Subscription) -> u64 {
        let seen = subscription.event_subscriptions.iter().filter_map(|event| {
            self.with_partition(
                subscription.owner.cloud_id.as_str(),
                event.conditions.event_type.as_str(),
                |partition| partition.seen.load(Relaxed),
            )
        });
        seen.sum()
    }

    /// Returns the bytes of all indexes, without what they share with the registry.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let of_tenant = |tenant: &Tenant| -> usize {
            tenant.iter().map(|(_, partition)| partition.heap_bytes()).sum()
        };
        let of_shard =
            |shard: &ArcSwap<Tenants>| -> usize { shard.load().values().map(of_tenant).sum() };
        self.shards.iter().map(of_shard).sum()
    }
}

#[cfg(test)]
impl Matcher {
    /// Gives all segments a defect.
    pub(super) fn corrupt(&self, defect: super::index::Defect) {
        for shard in &self.shards {
            let mut tenants = (**shard.load()).clone();
            for tenant in tenants.values_mut() {
                let corrupt = |(event_type, partition): &(EventType, Arc<Partition>)| {
                    (event_type.clone(), Arc::new(partition.with_defect(defect)))
                };
                *tenant = tenant.iter().map(corrupt).collect();
            }
            shard.store(Arc::new(tenants));
        }
    }

    /// Builds segments with `build` from now on.
    pub(super) fn build_with(&self, build: super::indexer::BuildSegment) {
        self.lock_writer().indexer.build_with(build);
    }

    /// The number of segments of all partitions.
    pub(super) fn segments(&self) -> usize {
        let of_shard = |shard: &ArcSwap<Tenants>| -> usize {
            let tenants = shard.load();
            let partitions = tenants.values().flat_map(|tenant| tenant.iter());
            partitions.map(|(_, partition)| partition.segments.len()).sum()
        };
        self.shards.iter().map(of_shard).sum()
    }
}

fn shard_of(cloud_id: &str) -> u8 {
    let [shard, ..] = FixedState::default().hash_one(cloud_id).to_le_bytes();
    shard
}

/// Returns the position of an event type, or where it would be inserted.
fn position_of(tenant: &[(EventType, Arc<Partition>)], event_type: &str) -> Result<usize, usize> {
    tenant.binary_search_by(|(known, _)| known.as_str().cmp(event_type))
}

/// Marks the subscriptions of `old` without a successor in `new` as removed. Deliveries to a
/// subscription with a successor go on with the settings they were matched with.
fn mark_removals(old: &[Arc<Subscription>], new: &[Arc<Subscription>]) {
    new.iter().for_each(|one| one.stats.set_removed(false));
    if old.is_empty() {
        return;
    }
    let live: HashSet<&str, RandomState> = new.iter().map(|one| one.key.as_str()).collect();
    for one in old.iter().filter(|one| !live.contains(one.key.as_str())) {
        one.stats.set_removed(true);
    }
}

/// Collects what differs between `old` and `new`, by partition.
fn collect(old: &[Arc<Subscription>], new: &[Arc<Subscription>], changed: &mut Changes) {
    let pointers = |all: &[Arc<Subscription>]| {
        let mut pointers: Vec<*const Subscription> = all.iter().map(Arc::as_ptr).collect();
        pointers.sort_unstable();
        pointers
    };
    let (before, after) = (pointers(old), pointers(new));
    let mut change = |subscription: &Subscription,
                      at: usize,
                      apply: &mut dyn FnMut(&mut Change)| {
        if let Some(event) = subscription.event_subscriptions.get(at) {
            let key = (subscription.owner.cloud_id.clone(), event.conditions.event_type.clone());
            apply(changed.entry(key).or_default());
        }
    };
    for subscription in old {
        if after.binary_search(&Arc::as_ptr(subscription)).is_err() {
            for at in 0..subscription.event_subscriptions.len() {
                change(subscription, at, &mut |change| {
                    change.removed.push(Arc::clone(subscription))
                });
            }
        }
    }
    for subscription in new {
        if before.binary_search(&Arc::as_ptr(subscription)).is_err() {
            for at in 0..subscription.event_subscriptions.len() {
                let listener = || Listener::new(subscription, at);
                change(subscription, at, &mut |change| change.added.extend(listener()));
            }
        }
    }
}

impl Default for Matcher {
    /// Returns an empty matcher with the vendor's step limit.
    fn default() -> Self {
        Self::new(switchyard_expr::limits::STEPS_MAX)
    }
}
