//! Builds the segments of partitions, and reports defects that a build meets.

use super::index::{BuildError, Listener, Projections, Segment, build, unindexed};
use super::index_metrics;
use crate::telemetry::LogBudget;

/// Builds a segment of listeners with a step limit.
pub(super) type BuildSegment =
    fn(&mut [Listener], Projections<'_>, u32) -> Result<Segment, BuildError>;

/// Builds the segments of all partitions.
#[derive(Debug)]
pub(super) struct Indexer {
    steps_max: u32,
    build: BuildSegment,
    error_log: LogBudget,
}

impl Indexer {
    /// Returns an indexer of filters whose evaluations end after `steps_max` steps.
    pub(super) fn new(steps_max: u32) -> Self {
        Self { steps_max, build, error_log: LogBudget::default() }
    }

    /// Builds the segment of `listeners`; none if it cannot be built and they must be split. A
    /// single listener always has a segment: if need be, one that evaluates its filter for every
    /// event.
    pub(super) fn segment(
        &self,
        listeners: &mut [Listener],
        projections: Projections<'_>,
    ) -> Option<Segment> {
        index_metrics::index_built(listeners.iter().map(Listener::entries).sum());
        match (self.build)(listeners, projections, self.steps_max) {
            Ok(segment) => return Some(segment),
            Err(BuildError::TooLarge(_)) => {}
            Err(error @ BuildError::Corrupt(_)) => self.report(listeners, error),
        }
        match listeners {
            [only] => Some(unindexed(only, projections)),
            _ => None,
        }
    }

    /// Counts and logs a defect.
    fn report(&self, listeners: &[Listener], error: BuildError) {
        index_metrics::index_error();
        if let Some(suppressed) = self.error_log.take() {
            let first = listeners.first();
            let cloud_id = first.map(|listener| listener.subscription.owner.cloud_id.as_str());
            let event = first.and_then(Listener::event_subscription);
            let event_type = event.map(|event| event.conditions.event_type.as_str());
            let listeners = listeners.len();
            tracing::error!(
                cloud_id, event_type, listeners, %error, suppressed, "index cannot be built"
            );
        }
    }
}

#[cfg(test)]
impl Indexer {
    /// Builds segments with `build` instead.
    pub(super) fn build_with(&mut self, build: BuildSegment) {
        self.build = build;
    }
}
