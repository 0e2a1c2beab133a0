//! The matcher's entry point: immutable partitions behind atomically swapped pointers, which
//! registrations replace.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::{FixedState, RandomState};

use super::index::{self, INSTALLATION_ENTRIES_MAX, Listener};
use super::index_metrics::filters_beyond_index;
use super::indexer::Indexer;
use super::partition::Partition;
use super::projection_cache::ProjectionCache;
use super::{EvaluationShares, MatchLimits, Matches, Scratch, Subscription, evaluate};
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
/// against, so that it sees all of a registration or nothing of it.
///
/// Changes of one installation wait for each other; those of different installations do not. A
/// change builds new versions of its partitions without a lock, and takes the lock of a shard only
/// to swap them in. If another change has replaced one of them in between, it is built again.
#[derive(Debug)]
pub struct Matcher {
    shards: Box<[Shard]>,
    installations: Mutex<HashMap<InstallationId, Arc<Installation>, RandomState>>,
    projections: Mutex<ProjectionCache>,
    indexer: Indexer,
    steps_max: u32,
    shares: EvaluationShares,
}

/// The partitions of some sites.
#[derive(Debug, Default)]
struct Shard {
    tenants: ArcSwap<Tenants>,
    /// Held while `tenants` is replaced.
    swap: Mutex<()>,
}

/// What changes of one installation work with.
#[derive(Debug, Default)]
struct Installation {
    /// Held during a change.
    turn: Mutex<()>,
    live: Mutex<InstallationSubscriptions>,
}

/// The live subscriptions of one installation.
#[derive(Debug, Default)]
struct InstallationSubscriptions {
    subscriptions: Arc<[Arc<Subscription>]>,
    offset: SeenOffset,
    share: IndexShare,
}

/// What an installation has in the index.
#[derive(Clone, Debug, Default)]
struct IndexShare {
    /// Index entries of its filters.
    entries: usize,
    /// Its subscriptions beyond [`INSTALLATION_ENTRIES_MAX`], whose filters are evaluated.
    evaluated: Vec<Arc<Subscription>>,
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

type PartitionKey = (CloudId, EventType);
type Changes = HashMap<PartitionKey, Change, RandomState>;

impl IndexShare {
    /// Returns the share of a removed subscription.
    fn remove(&mut self, subscription: &Arc<Subscription>) {
        let evaluated = self.evaluated.iter().position(|one| Arc::ptr_eq(one, subscription));
        match evaluated {
            Some(at) => drop(self.evaluated.swap_remove(at)),
            None => self.entries = self.entries.saturating_sub(entries(subscription)),
        }
        filters_beyond_index(subscription, evaluated.is_some(), -1.0);
    }

    /// Takes the share of an added subscription; returns whether its filters are indexed.
    fn add(&mut self, subscription: &Arc<Subscription>) -> bool {
        let entries = self.entries + entries(subscription);
        let is_indexed = entries <= INSTALLATION_ENTRIES_MAX;
        match is_indexed {
            true => self.entries = entries,
            false => self.evaluated.push(Arc::clone(subscription)),
        }
        filters_beyond_index(subscription, !is_indexed, 1.0);
        is_indexed
    }
}

fn entries(subscription: &Subscription) -> usize {
    let programs = subscription.event_subscriptions.iter().map(|event| event.program.as_deref());
    programs.map(index::entries).sum()
}

impl Matcher {
    /// Returns an empty matcher whose evaluations end after `steps_max` steps.
    #[must_use]
    pub fn new(steps_max: u32) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            installations: Mutex::default(),
            projections: Mutex::default(),
            indexer: Indexer::new(steps_max),
            steps_max,
            shares: EvaluationShares::default(),
        }
    }

    /// Sets the share of evaluation of each installation, see [`EvaluationShares::new`].
    #[must_use]
    pub fn with_evaluation_share(self, share: f64) -> Self {
        Self { shares: EvaluationShares::new(share), ..self }
    }

    /// Who used how much of the evaluations.
    #[must_use]
    pub fn shares(&self) -> &EvaluationShares {
        &self.shares
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
        // Sorted, so that concurrent calls wait for turns in the same order.
        let changes: BTreeMap<_, _> = changes.into_iter().collect();
        let changes: Vec<_> =
            changes.into_iter().map(|(id, new)| (self.installation(&id), id, new)).collect();
        let turns: Vec<_> = changes.iter().map(|(one, ..)| locked(&one.turn)).collect();
        let mut changed = Changes::default();
        let mut fresh = Vec::with_capacity(changes.len());
        for (installation, _, new) in &changes {
            let (old, mut share, seen_so_far) = {
                let live = locked(&installation.live);
                let seen_so_far = live
                    .iter()
                    .map(|(one, offset)| (one.id(), self.seen(one).wrapping_sub(offset)));
                let seen_so_far: HashMap<_, u64> = seen_so_far.collect();
                (Arc::clone(&live.subscriptions), live.share.clone(), seen_so_far)
            };
            collect(&old, new, &mut share, &mut changed);
            mark_removals(&old, new);
            fresh.push((share, seen_so_far));
        }
        self.publish(changed);
        for ((installation, _, new), (share, seen_so_far)) in changes.iter().zip(fresh) {
            let offset = |subscription: &Arc<Subscription>| {
                let before = seen_so_far.get(&subscription.id()).copied();
                self.seen(subscription).wrapping_sub(before.unwrap_or_default())
            };
            let offset = new.iter().map(offset).collect::<Vec<_>>().into();
            *locked(&installation.live) =
                InstallationSubscriptions { subscriptions: new.as_slice().into(), offset, share };
        }
        drop(turns);
        self.forget_removed(changes);
    }

    /// Returns the record of an installation, which is created if needed.
    fn installation(&self, id: &InstallationId) -> Arc<Installation> {
        let mut all = locked(&self.installations);
        match all.get(id) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(all.entry(id.clone()).or_default()),
        }
    }

    /// Removes the records of installations without subscriptions.
    fn forget_removed(
        &self,
        changes: Vec<(Arc<Installation>, InstallationId, Vec<Arc<Subscription>>)>,
    ) {
        let mut all = None;
        for (installation, id, _) in changes.into_iter().filter(|(_, _, new)| new.is_empty()) {
            let all = all.get_or_insert_with(|| locked(&self.installations));
            // The table and this call have a reference each; another one is a change that waits
            // for its turn.
            if Arc::strong_count(&installation) <= 2 {
                all.remove(&id);
            }
        }
    }

    /// Builds new versions of the changed partitions and swaps them in, one pointer per shard.
    fn publish(&self, changed: Changes) {
        let mut by_shard: BTreeMap<u8, Vec<(PartitionKey, Change)>> = BTreeMap::new();
        for (key, change) in changed {
            by_shard.entry(shard_of(key.0.as_str())).or_default().push((key, change));
        }
        for (number, mut changes) in by_shard {
            let Some(shard) = self.shard(number) else { continue };
            // A partition that another change has replaced since is built again. Each time,
            // some change was published.
            while !changes.is_empty() {
                let tenants = shard.tenants.load_full();
                let built = changes.into_iter().map(|(key, change)| {
                    let known = find(&tenants, &key.0, &key.1).map(Arc::clone);
                    let partition = self.changed_partition(known.as_deref(), &key.1, &change);
                    BuiltPartition { key, change, known, partition }
                });
                let built: Vec<_> = built.collect();
                changes =
                    shard.swap(built, |event_type| locked(&self.projections).intern(event_type));
            }
        }
    }

    fn changed_partition(
        &self,
        known: Option<&Partition>,
        event_type: &EventType,
        change: &Change,
    ) -> Partition {
        let mut partition = known.cloned().unwrap_or_else(Partition::new);
        let shared = locked(&self.projections).get(event_type);
        partition.change(&change.removed, &change.added, shared.as_ref(), &self.indexer);
        if let Some(projection) = partition.projection() {
            locked(&self.projections).offer(event_type, projection);
        }
        partition
    }

    fn shard(&self, number: u8) -> Option<&Shard> {
        let shard = self.shards.get(usize::from(number));
        debug_assert!(shard.is_some(), "there is a shard for each number");
        shard
    }

    /// Matches the event with this routing key, which `decoder` holds. The outcome is in the
    /// scratch, so that its memory is reused, and keeps its snapshot alive.
    pub fn matches<'s>(
        &self,
        routing_key: RoutingKey<'_>,
        decoder: &Decoder,
        scratch: &'s mut Scratch,
    ) -> &'s mut Matches {
        self.matches_within(MatchLimits::default(), routing_key, decoder, scratch)
    }

    /// Does what [`Matcher::matches`] does within limits. If the limit on steps is reached, the
    /// outcome says how many filters are `unfinished`.
    pub fn matches_within<'s>(
        &self,
        limits: MatchLimits<'_>,
        routing_key: RoutingKey<'_>,
        decoder: &Decoder,
        scratch: &'s mut Scratch,
    ) -> &'s mut Matches {
        scratch.outcome.clear();
        self.with_partition(routing_key.cloud_id, routing_key.event_type, |partition| {
            partition.seen.fetch_add(1, Relaxed);
            let event = (routing_key, decoder);
            evaluate::match_partition(partition, event, self.steps_max, limits, scratch);
        });
        &mut scratch.outcome
    }

    /// Evaluates what [`Matcher::matches_within`] left unfinished. The arguments must be those of
    /// that call; it may be another thread.
    pub fn resume<'s>(
        &self,
        routing_key: RoutingKey<'_>,
        decoder: &Decoder,
        scratch: &'s mut Scratch,
    ) -> &'s mut Matches {
        evaluate::match_rest((routing_key, decoder), self.steps_max, scratch);
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
        let tenants = self.shard(shard_of(cloud_id))?.tenants.load();
        let tenant = tenants.get(cloud_id)?;
        let position = position_of(tenant, event_type).ok()?;
        tenant.get(position).map(|(_, partition)| read(partition))
    }

    /// Returns how many events of the subscription's types neither matched nor failed nor were
    /// ignored since this replica loaded it; `None` if it is not live.
    #[must_use]
    pub fn not_matched(&self, id: &SubscriptionId) -> Option<u64> {
        let installation = locked(&self.installations).get(&id.installation).map(Arc::clone)?;
        let live = locked(&installation.live);
        let (subscription, offset) = live.iter().find(|(one, _)| one.key == id.key)?;
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

    /// Returns the sites with most events of types that have subscriptions, at most `most`, each with
    /// its number of events since its subscriptions were loaded.
    #[must_use]
    pub fn busiest_sites(&self, most: usize) -> Vec<(CloudId, u64)> {
        let mut sites = Vec::new();
        for shard in &self.shards {
            sites.extend(shard.tenants.load().iter().map(|(site, tenant)| {
                let seen = tenant.iter().map(|(_, partition)| partition.seen.load(Relaxed));
                (site.clone(), seen.sum::<u64>())
            }));
        }
        sites.sort_by(|(one, events), (other, others)| others.cmp(events).then(one.cmp(other)));
        sites.truncate(most);
        sites
    }

    /// Returns the bytes of all indexes, without what they share with the registry.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let of_tenant = |tenant: &Tenant| -> usize {
            tenant.iter().map(|(_, partition)| partition.heap_bytes()).sum()
        };
        let of_shard =
            |shard: &Shard| -> usize { shard.tenants.load().values().map(of_tenant).sum() };
        self.shards.iter().map(of_shard).sum()
    }
}

/// A new version of a partition.
struct BuiltPartition {
    key: PartitionKey,
    change: Change,
    /// The version that it was built from.
    known: Option<Arc<Partition>>,
    partition: Partition,
}

impl Shard {
    /// Swaps in new versions of partitions. Returns the changes of those whose version before is no
    /// longer the current one. `intern` returns the shared text of an event type.
    fn swap(
        &self,
        built: Vec<BuiltPartition>,
        intern: impl Fn(&EventType) -> EventType,
    ) -> Vec<(PartitionKey, Change)> {
        let _swap = locked(&self.swap);
        let mut tenants = (**self.tenants.load()).clone();
        let mut outdated = Vec::new();
        for BuiltPartition { key, change, known, partition } in built {
            let current = find(&tenants, &key.0, &key.1).map(Arc::as_ptr);
            if current != known.as_ref().map(Arc::as_ptr) {
                outdated.push((key, change));
                continue;
            }
            let (cloud_id, event_type) = key;
            let mut tenant = tenants.get(&cloud_id).map(|tenant| tenant.to_vec());
            let tenant_before = tenant.get_or_insert_default();
            let position = position_of(tenant_before, event_type.as_str());
            let entry = (!partition.is_empty()).then(|| (intern(&event_type), Arc::new(partition)));
            let position = position.map_or_else(|at| at..at, |at| at..at + 1);
            tenant_before.splice(position, entry);
            match tenant.filter(|tenant| !tenant.is_empty()) {
                Some(tenant) => drop(tenants.insert(cloud_id, tenant.into())),
                None => drop(tenants.remove(&cloud_id)),
            }
        }
        self.tenants.store(Arc::new(tenants));
        outdated
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find<'t>(
    tenants: &'t Tenants,
    cloud_id: &CloudId,
    event_type: &EventType,
) -> Option<&'t Arc<Partition>> {
    let tenant = tenants.get(cloud_id)?;
    let position = position_of(tenant, event_type.as_str()).ok()?;
    tenant.get(position).map(|(_, partition)| partition)
}

#[cfg(test)]
impl Matcher {
    /// Runs `work` while changes of this installation wait.
    pub(crate) fn while_changes_wait<T>(
        &self,
        installation: &InstallationId,
        work: impl FnOnce() -> T,
    ) -> T {
        let installation = self.installation(installation);
        let _turn = locked(&installation.turn);
        work()
    }

    /// Gives all segments a defect.
    pub(super) fn corrupt(&self, defect: super::index::Defect) {
        for shard in &self.shards {
            let mut tenants = (**shard.tenants.load()).clone();
            for tenant in tenants.values_mut() {
                let corrupt = |(event_type, partition): &(EventType, Arc<Partition>)| {
                    (event_type.clone(), Arc::new(partition.with_defect(defect)))
                };
                *tenant = tenant.iter().map(corrupt).collect();
            }
            shard.tenants.store(Arc::new(tenants));
        }
    }

    /// Builds segments with `build` from now on.
    pub(super) fn build_with(&mut self, build: super::indexer::BuildSegment) {
        self.indexer.build_with(build);
    }

    /// The number of segments of all partitions.
    pub(super) fn segments(&self) -> usize {
        let of_shard = |shard: &Shard| -> usize {
            let tenants = shard.tenants.load();
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

/// Collects what differs between `old` and `new`, by partition, and updates the share of the
/// installation in the index.
fn collect(
    old: &[Arc<Subscription>],
    new: &[Arc<Subscription>],
    share: &mut IndexShare,
    changed: &mut Changes,
) {
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
            share.remove(subscription);
            for at in 0..subscription.event_subscriptions.len() {
                change(subscription, at, &mut |change| {
                    change.removed.push(Arc::clone(subscription))
                });
            }
        }
    }
    for subscription in new {
        if before.binary_search(&Arc::as_ptr(subscription)).is_err() {
            let is_indexed = share.add(subscription);
            for at in 0..subscription.event_subscriptions.len() {
                let listener = || Listener::new(subscription, at, is_indexed);
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
