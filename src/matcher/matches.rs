//! The outcome of matching one event.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::evaluation_share::{Charges, LeftOut};
use super::index::{Listener, ListenerId};
use super::partition::Partition;
use super::{Owner, Subscriber, Subscription};
use crate::clock;
use crate::domain::{FilterError, OnError};
use crate::event::{Decoder, RoutingKey};

/// Most owners that pay for one evaluation. Owners that are left out pay nothing, so if a filter of
/// more owners costs too much, it is the turn of all of them after a few events.
const PAYERS_MAX: usize = 64;

/// A subscription that receives the event.
#[derive(Clone, Debug)]
pub struct Match {
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// Whether the app itself caused the event.
    pub self_generated: bool,
    /// Set when the filter failed and `onError` says to deliver anyway. Boxed because it is rare:
    /// without it, the list of an event's matches takes less than a third of the memory and stays
    /// within the allocator's cache.
    pub filter_error: Option<Box<FilterError>>,
}

/// A filter whose evaluation failed, whatever `onError` says about delivery.
#[derive(Clone, Debug)]
pub struct FilterFailure {
    /// The subscription with the filter.
    pub subscription: Arc<Subscription>,
    /// The evaluation error.
    pub error: FilterError,
    /// Whether the event is delivered in spite of the error.
    pub on_error: OnError,
}

/// Outcome of matching one event.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// The snapshot that `matched` refers to; none if `matched` is empty.
    pub(super) partition: Option<Arc<Partition>>,
    pub(super) matched: Vec<MatchedListener>,
    /// Matches whose filter failed and whose `onError` says to deliver.
    pub(super) delivered_on_error: Vec<Match>,
    /// Evaluation errors, one for each subscription.
    pub failures: Vec<FilterFailure>,
    /// Number of subscriptions left out by `ignoreSelf` or for lack of a licence, among those whose
    /// filter the index did not rule out.
    pub ignored: usize,
    /// Number of filters that the index could not rule out.
    pub candidates: usize,
    /// Number of segments that could not be looked up, because they are corrupt; all of their filters
    /// were evaluated.
    pub index_errors: usize,
    /// Number of evaluations by result; equal filters are evaluated once.
    pub evaluated: EvaluationCounts,
    /// Steps of all evaluations.
    pub steps: u64,
    /// Steps of each evaluation.
    pub(super) steps_of_each: Vec<u32>,
    /// Number of filters that are not evaluated yet, because the limit on steps was reached;
    /// [`Matcher::resume`](super::Matcher::resume) evaluates them.
    pub unfinished: usize,
    /// Owners of installations that are left out, and for which a filter would have to be evaluated:
    /// the outcome has nothing of these installations.
    pub postponed: Vec<Arc<Owner>>,
    /// Evaluations that cost more than a few steps.
    pub(super) costs: Vec<EvaluationCost>,
}

/// What the evaluation of one filter cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct EvaluationCost {
    pub(super) segment: u32,
    pub(super) group: ListenerId,
    pub(super) steps: u64,
}

/// A subscription whose filter holds, by position: reading the subscription itself costs more than
/// finding it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct MatchedListener {
    pub(super) segment: u32,
    pub(super) listener: ListenerId,
}

impl Matches {
    /// Returns the number of matches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.matched.len() + self.delivered_on_error.len()
    }

    /// Whether there are no matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Yields the subscriptions whose filter holds.
    pub fn matched_subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let listener = |matched: &MatchedListener| {
            let segment = self.partition.as_ref()?.segments.get(matched.segment as usize)?;
            segment.index.all_listeners().get(matched.listener.index())
        };
        debug_assert!(self.matched.iter().all(|matched| listener(matched).is_some()));
        self.matched.iter().filter_map(listener).map(|listener| &listener.subscription)
    }

    /// Removes and returns the matches, in no particular order, and counts them in the statistics
    /// of their subscriptions. Arguments must be those the event was matched with.
    pub fn take_matches(&mut self, routing_key: RoutingKey<'_>, decoder: &Decoder) -> Vec<Match> {
        let now_ms = clock::now_ms();
        let mut deliveries = Vec::with_capacity(self.len());
        deliveries.extend(self.matched_subscriptions().map(|subscription| {
            subscription.stats.count_match(now_ms);
            Match {
                subscription: Arc::clone(subscription),
                self_generated: Subscriber::from(&**subscription)
                    .is_self_generated(routing_key, decoder),
                filter_error: None,
            }
        }));
        deliveries.append(&mut self.delivered_on_error);
        self.matched.clear();
        self.costs.clear();
        self.partition = None;
        deliveries
    }

    /// Removes and returns what each owner pays for evaluations. Installations with equal filters
    /// share the cost of the one evaluation, without those in `left_out`, which did not cause it.
    pub fn take_charges(&mut self, left_out: Option<&LeftOut>) -> Charges {
        let costs = std::mem::take(&mut self.costs);
        let partition = self.partition.as_ref();
        partition.map_or_else(Charges::new, |partition| {
            charges(partition, costs.iter().copied(), left_out)
        })
    }

    /// Adds the evaluation error of one listener.
    pub(super) fn add_failure(
        &mut self,
        listener: &Listener,
        self_generated: bool,
        error: FilterError,
    ) {
        let subscription = &listener.subscription;
        subscription.stats.count_error(&error.describe(), clock::now_ms());
        let on_error = listener
            .event_subscription()
            .map(|event| event.conditions.on_error)
            .unwrap_or_default();
        if on_error.delivers() {
            self.delivered_on_error.push(Match {
                subscription: Arc::clone(subscription),
                self_generated,
                filter_error: Some(Box::new(error.clone())),
            });
        }
        self.failures.push(FilterFailure {
            subscription: Arc::clone(subscription),
            error,
            on_error,
        });
    }

    /// Clears all results and keeps the allocated memory.
    pub(super) fn clear(&mut self) {
        self.partition = None;
        self.matched.clear();
        self.delivered_on_error.clear();
        self.failures.clear();
        (self.ignored, self.candidates, self.index_errors) = (0, 0, 0);
        self.evaluated = EvaluationCounts::default();
        (self.steps, self.unfinished) = (0, 0);
        self.steps_of_each.clear();
        self.postponed.clear();
        self.costs.clear();
    }
}

/// Divides costs between the owners of the filters, without those that are left out.
pub(super) fn charges(
    partition: &Partition,
    costs: impl Iterator<Item = EvaluationCost>,
    left_out: Option<&LeftOut>,
) -> Charges {
    let mut positions: HashMap<*const Owner, usize> = HashMap::new();
    let mut charges = Charges::new();
    for cost in costs {
        let Some(segment) = partition.segments.get(cost.segment as usize) else { continue };
        let owners = || {
            let listeners = segment.index.group(cost.group);
            let alive = listeners.filter(|(id, _)| segment.is_alive(*id));
            let owners = alive.map(|(_, listener)| &listener.subscription.owner);
            let pays = |owner: &&Arc<Owner>| left_out.is_none_or(|out| !out.contains(&owner.id));
            owners.filter(pays).take(PAYERS_MAX)
        };
        let count = u64::try_from(owners().count()).unwrap_or(u64::MAX).max(1);
        for owner in owners() {
            let position = *positions.entry(Arc::as_ptr(owner)).or_insert_with(|| {
                charges.push((Arc::clone(owner), 0));
                charges.len() - 1
            });
            if let Some((_, steps)) = charges.get_mut(position) {
                *steps += cost.steps / count;
            }
        }
    }
    charges
}

/// Number of evaluations by result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EvaluationCounts {
    /// Evaluated to true.
    pub matched: u32,
    /// Evaluated to false.
    pub not_matched: u32,
    /// Ended in an error.
    pub failed: u32,
}

impl EvaluationCounts {
    /// Returns the number of all evaluations.
    #[must_use]
    pub fn all(&self) -> u32 {
        self.matched.saturating_add(self.not_matched).saturating_add(self.failed)
    }
}
