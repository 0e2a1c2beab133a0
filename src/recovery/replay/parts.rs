//! What replays need, and what they ask about events.

use std::sync::Arc;
use std::time::Duration;

use switchyard_expr::{CheckProfile, Program, compile};
use url::Url;

use super::examine::{EventQuery, EventReader};
use super::past::{PastSubscriptions, all_as_of};
use super::request::ReplayRequest;
use super::streams::ReplayStreams;
use crate::delivery::{DeliveryLog, ParkingLot, SubscriptionDirectory, delivery_key};
use crate::matcher::Subscription;
use crate::recovery::jobs::{JobFailure, JobStore};
use crate::recovery::redrive::{DeadLetters, ReadError};

/// How long a step waits for the registry of this router.
const CATCH_UP_MAX: Duration = Duration::from_secs(3);

/// What replays need.
#[derive(Clone)]
pub struct ReplayParts {
    /// Reads events, the log and schedules.
    pub streams: Arc<dyn ReplayStreams>,
    /// Reads dead letters.
    pub letters: Arc<dyn DeadLetters>,
    /// Parks deliveries.
    pub parking: Arc<dyn ParkingLot>,
    /// Records that they are handed over; none if the log is off.
    pub log: Option<Arc<dyn DeliveryLog>>,
    /// Which subscriptions exist.
    pub directory: Arc<dyn SubscriptionDirectory>,
    /// What they were.
    pub past: Arc<dyn PastSubscriptions>,
    /// Reads and matches events.
    pub reader: EventReader,
    /// What became of the deliveries of a job.
    pub jobs: Arc<dyn JobStore>,
}

/// Returns what is asked about the events of a request: by the subscriptions that exist now, as they are now
/// or as they were at the time that the request names. Those that share deliveries with the one that is
/// replayed are among them, so that a delivery is replayed for all that it was made for.
pub(super) async fn event_query(
    parts: &ReplayParts,
    request: &ReplayRequest,
    compiled: &mut CompiledRequest,
) -> Result<EventQuery, JobFailure> {
    let mut subscriptions = live_subscriptions(parts, request, compiled).await?;
    if let Some(at_ms) = request.as_of_ms {
        if compiled.past.is_none() {
            let past = all_as_of(&*parts.past, &subscriptions, at_ms).await?;
            if !has_wanted(&past, request) {
                let reason = "the subscription received no events at that time (`asOf`)";
                return Err(JobFailure::Never(reason.to_owned()));
            }
            compiled.past = Some(past.into());
        }
        // Those that were removed since the job began have no handler.
        let is_live =
            |one: &&Arc<Subscription>| subscriptions.iter().any(|live| live.key == one.key);
        let past = compiled.past.iter().flat_map(|past| &**past);
        subscriptions = past.filter(is_live).cloned().collect();
        if !has_wanted(&subscriptions, request) {
            return Err(JobFailure::Never("its subscriptions were removed".to_owned()));
        }
    }
    let (key, condition) = (request.key.clone(), compiled.condition.clone());
    let subscriptions = subscriptions.into();
    Ok(EventQuery { subscriptions, key, condition, deliveries_max: usize::MAX })
}

async fn live_subscriptions(
    parts: &ReplayParts,
    request: &ReplayRequest,
    compiled: &mut CompiledRequest,
) -> Result<Vec<Arc<Subscription>>, JobFailure> {
    let (directory, installation) = (&*parts.directory, &request.installation);
    // A replica that started just now may not know them yet, or only some.
    if !compiled.is_caught_up {
        let caught_up = tokio::time::timeout(CATCH_UP_MAX, directory.catch_up());
        if caught_up.await.is_err() {
            let reason = "the registry of this router has not caught up with the broker";
            return Err(JobFailure::Later(reason.to_owned()));
        }
        compiled.is_caught_up = true;
    }
    let mut subscriptions = directory.subscriptions_of(installation);
    subscriptions.retain(|one| one.owner.id == *installation);
    if directory.is_waiting(installation) {
        let reason = "a document of the installation, or of its app, cannot be read";
        return Err(JobFailure::Later(reason.to_owned()));
    }
    if !has_wanted(&subscriptions, request) {
        return Err(JobFailure::Never("there is no live subscription to replay for".to_owned()));
    }
    if let Some(key) = &request.key {
        let wanted = subscriptions.iter().find(|one| one.key == *key).map(|one| delivery_key(one));
        subscriptions.retain(|one| wanted.as_ref() == Some(&delivery_key(one)));
    }
    Ok(subscriptions)
}

/// Whether the subscription that is replayed is among these, or any if all are.
fn has_wanted(subscriptions: &[Arc<Subscription>], request: &ReplayRequest) -> bool {
    let is_wanted =
        |one: &Arc<Subscription>| request.key.as_ref().is_none_or(|key| one.key == *key);
    subscriptions.iter().any(is_wanted)
}

/// Returns the endpoint that deliveries are sent to in place of their handler.
pub(super) fn target(request: &ReplayRequest) -> Result<Option<Url>, JobFailure> {
    let url = request.target.as_deref().map(Url::parse).transpose();
    url.map_err(|error| JobFailure::Never(format!("its target: {error}")))
}

/// What is compiled once for a request.
#[derive(Clone, Default)]
pub(super) struct CompiledRequest {
    /// The further filter.
    pub(super) condition: Option<Arc<Program>>,
    /// The subscriptions as they were; none before they are asked for, and if those of now are meant.
    past: Option<Arc<[Arc<Subscription>]>>,
    /// Whether this replica knows the subscriptions of the time at which it took the job.
    is_caught_up: bool,
}

impl CompiledRequest {
    /// Compiles the further filter of a request.
    pub(super) fn of(request: &ReplayRequest) -> Result<Self, JobFailure> {
        let reason = "its filter is not accepted by this release";
        let compile = |source: &str| match compile(source, CheckProfile::Filter) {
            Ok(compiled) => Ok(Arc::new(compiled.program)),
            Err(_) => Err(JobFailure::Never(reason.to_owned())),
        };
        let condition = request.filter.as_deref().map(compile).transpose()?;
        Ok(Self { condition, past: None, is_caught_up: false })
    }
}

pub(super) fn later(error: ReadError) -> JobFailure {
    JobFailure::Later(error.0)
}
