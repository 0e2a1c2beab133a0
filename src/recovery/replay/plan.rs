//! What a replay would do, without doing it.

use std::time::Duration;

use super::choose::{Chooser, EVENTS, PARKED, add, add_expired};
use super::handed_over::HandedOver;
use super::parts::{CompiledRequest, ReplayParts, event_query, target};
use super::request::ReplayRequest;
use super::walk::{Advanced, Walk};
use crate::clock;
use crate::recovery::jobs::{JobCounts, JobFailure};

/// Events that a dry run reads at most.
const EVENTS_MAX: u64 = 200_000;
/// How long a dry run reads at most.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What a dry run counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplayPlan {
    /// Deliveries by what a replay would do with them, by the names of the counts of a job.
    pub counts: JobCounts,
    /// Whether all events were counted; otherwise the counts are those of the oldest ones.
    pub is_complete: bool,
}

/// Counts what a replay of `request` would do.
///
/// # Errors
/// The broker does not answer, there is no live subscription, or what it was (`asOf`) is not known.
pub async fn plan(parts: &ReplayParts, request: &ReplayRequest) -> Result<ReplayPlan, JobFailure> {
    let mut compiled = CompiledRequest::of(request)?;
    let query = event_query(parts, request, &mut compiled).await?;
    let window = (request.window.first_sequence, request.window.last_sequence);
    let installation = Some(request.installation.clone());
    let (site, handed_over) = (request.site.clone(), HandedOver::new(None));
    let mut walk = Walk::new(site, installation, window, handed_over, parts.log.is_some());
    let chooser = Chooser {
        streams: &*parts.streams,
        letters: &*parts.letters,
        directory: &*parts.directory,
        request,
        target: target(request)?,
        job: None,
    };
    let (started, mut plan) = (clock::tick(), ReplayPlan::default());
    loop {
        let events = plan.counts.get(EVENTS).copied().unwrap_or(0);
        if events >= EVENTS_MAX || clock::since(started) >= TIME_MAX {
            return Ok(plan);
        }
        let advanced = walk.advance(&*parts.streams, &parts.reader, &query).await;
        let advanced = advanced.map_err(|error| JobFailure::Later(error.0))?;
        add_expired(&mut plan.counts, &mut walk);
        match advanced {
            Advanced::Done => {
                plan.is_complete = true;
                return Ok(plan);
            }
            // What becomes of the newest events is open.
            Advanced::Unsettled(_) => return Ok(plan),
            Advanced::Busy => {}
            Advanced::Examined(examined) => {
                let chosen = chooser.choose(examined, &mut walk).await;
                for one in chosen.map_err(|error| JobFailure::Later(error.0))? {
                    let all = one.counts.iter();
                    all.for_each(|(name, number)| add(&mut plan.counts, name, *number));
                    add(&mut plan.counts, PARKED, one.deliveries.len() as u64);
                    for delivery in &one.deliveries {
                        walk.handed_over().note(&delivery.id, one.sequence);
                    }
                    walk.pass(one.sequence);
                }
            }
        }
    }
}

/// Checks that the subscriptions of a request can be matched as they were at the time that it names.
///
/// # Errors
/// As [`plan`].
pub async fn check_as_of(parts: &ReplayParts, request: &ReplayRequest) -> Result<(), JobFailure> {
    if request.as_of_ms.is_none() {
        return Ok(());
    }
    event_query(parts, request, &mut CompiledRequest::of(request)?).await.map(drop)
}
