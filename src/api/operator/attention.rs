//! Subscriptions that need an operator: those that fail now, those that have more deliveries than their share, and the
//! one with most dead letters.

use std::cmp::Reverse;
use std::sync::atomic::Ordering::Relaxed;

use crate::api::state::Shared;
use crate::clock;
use crate::delivery::Dispatcher;
use crate::recovery::doctor::DoctorSubscription;
use crate::registry::{AppliedModule, EffectiveStatus, ModuleStatus};

/// Subscriptions of each kind that are named.
const NAMED_MAX: usize = 5;
/// Subscriptions of each kind that are compared at a time.
const COMPARED_MAX: usize = 1_000;
/// Installations that are read before other tasks run.
const INSTALLATIONS_A_TURN: usize = 1_000;
/// How long a delivery over the share counts as a flood without another one, in milliseconds.
const OVER_SHARE_COUNTS_MS: i64 = 5 * 60_000;
/// How long a failed evaluation counts without another one, in milliseconds: one that ends with no match says nothing.
const EVALUATION_COUNTS_MS: i64 = 10 * 60_000;

/// The subscriptions of this replica that need an operator.
#[derive(Default)]
pub(super) struct Attention {
    /// Those that fail now, with most failures first.
    pub(super) failing_subscriptions: Vec<DoctorSubscription>,
    /// How many fail.
    pub(super) failing_count: u64,
    /// Those with deliveries that wait because a share of the attempts was used up, with most waiting first.
    pub(super) flooding: Vec<DoctorSubscription>,
    /// The one with most dead letters since the start.
    pub(super) most_dead: Option<DoctorSubscription>,
}

impl Attention {
    /// Looks at all subscriptions, or at those of one installation.
    pub(super) async fn of(state: &Shared, only: Option<&str>) -> Self {
        let mut found = Self::default();
        let ids = match only {
            Some(only) => vec![only.into()],
            None => state.registry.installation_ids(None, usize::MAX),
        };
        for (number, id) in ids.iter().enumerate() {
            if number.is_multiple_of(INSTALLATIONS_A_TURN) {
                tokio::task::yield_now().await;
            }
            let Some(installation) = state.registry.installation(id.as_str()) else { continue };
            installation.modules.iter().for_each(|module| found.add(state, module));
        }
        keep_most(&mut found.failing_subscriptions, NAMED_MAX);
        keep_most(&mut found.flooding, NAMED_MAX);
        found
    }

    fn add(&mut self, state: &Shared, module: &AppliedModule) {
        let stats = module.stats().peek();
        let named =
            |count, cause: String| DoctorSubscription { id: module.id.to_string(), count, cause };
        if let Some(reason) = failure(module) {
            self.failing_count += 1;
            let count = stats.errors.load(Relaxed) + stats.failed_attempts.load(Relaxed);
            let cause = match reason {
                Failure::Filter => stats.last_error(),
                Failure::Handler => stats.last_failure(),
                Failure::NeverDelivered => module.reason.clone(),
                Failure::EndpointGone => None,
            };
            let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
            self.failing_subscriptions.push(named(count, format!("{}{cause}", reason.as_str())));
        }
        let over_share_ms = stats.last_over_share_ms.load(Relaxed);
        if clock::now_ms().saturating_sub(over_share_ms) < OVER_SHARE_COUNTS_MS
            && let Some(live) = &module.subscription
        {
            let parked = state.operations.shares.parked_at(&Dispatcher::owner_of(live));
            if parked > 0 {
                self.flooding.push(named(parked, String::new()));
            }
        }
        let dead = stats.dead.load(Relaxed);
        if dead > self.most_dead.as_ref().map_or(0, |most| most.count) {
            self.most_dead = Some(named(dead, String::new()));
        }
        for list in [&mut self.failing_subscriptions, &mut self.flooding] {
            if list.len() > 2 * COMPARED_MAX {
                keep_most(list, COMPARED_MAX);
            }
        }
    }
}

fn keep_most(list: &mut Vec<DoctorSubscription>, most: usize) {
    list.sort_by_key(|one| Reverse(one.count));
    list.truncate(most);
}

/// Why a subscription fails now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    NeverDelivered,
    EndpointGone,
    Handler,
    Filter,
}

impl Failure {
    /// Says it in a few words.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NeverDelivered => "it is never delivered",
            Self::EndpointGone => "its endpoint answered HTTP 410",
            Self::Handler => "its handler fails",
            Self::Filter => "its filter fails",
        }
    }
}

/// Returns why a subscription fails now; none if it does not. An attempt counts until a later one succeeds, an evaluation
/// until a later match and at most ten minutes, and both only while the subscription receives events.
pub(super) fn failure(module: &AppliedModule) -> Option<Failure> {
    let stats = module.stats().peek();
    let [error, failure, matched, delivered] = [
        &stats.last_error_ms,
        &stats.last_failure_ms,
        &stats.last_match_ms,
        &stats.last_delivered_ms,
    ]
    .map(|time| time.load(Relaxed));
    if module.effective_status == EffectiveStatus::Undelivered {
        Some(Failure::NeverDelivered)
    } else if module.status == ModuleStatus::EndpointGone {
        Some(Failure::EndpointGone)
    } else if !matches!(module.effective_status, EffectiveStatus::Active | EffectiveStatus::Paused)
    {
        None
    } else if failure > delivered {
        Some(Failure::Handler)
    } else if error > matched && clock::now_ms().saturating_sub(error) < EVALUATION_COUNTS_MS {
        Some(Failure::Filter)
    } else {
        None
    }
}
