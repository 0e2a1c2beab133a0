//! Metrics of matching. Handles are kept, because the counters change with every event.

use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use metrics::{Counter, Histogram, counter, histogram};

use super::{EvaluationCounts, FilterFailure, LateMatches, Matches};
use crate::clock;
use crate::event::RoutingKey;
use crate::telemetry::EventTypeCounters;
use crate::telemetry::sites::SiteCounters;
use crate::telemetry::totals::TOTALS;

/// The metrics of one worker.
#[derive(Debug)]
pub struct MatchMetrics {
    seconds: Histogram,
    candidates: Histogram,
    fan_out: Histogram,
    evaluated_true: Counter,
    evaluated_false: Counter,
    evaluated_error: Counter,
    steps: Histogram,
    index_errors: Counter,
    matches: EventTypeCounters,
    sites: SiteCounters,
    /// By reason and action.
    filter_errors: HashMap<(&'static str, &'static str), Counter>,
}

impl Default for MatchMetrics {
    fn default() -> Self {
        let evaluated =
            |result| counter!("switchyard_filter_evaluations_total", "result" => result);
        Self {
            seconds: histogram!("switchyard_match_seconds"),
            candidates: histogram!("switchyard_index_candidates"),
            fan_out: histogram!("switchyard_fanout"),
            evaluated_true: evaluated("true"),
            evaluated_false: evaluated("false"),
            evaluated_error: evaluated("error"),
            steps: histogram!("switchyard_filter_steps"),
            index_errors: counter!("switchyard_index_errors_total"),
            matches: EventTypeCounters::new("switchyard_matches_total"),
            sites: SiteCounters::default(),
            filter_errors: HashMap::new(),
        }
    }
}

impl MatchMetrics {
    /// Counts the outcome of matching one event, which took `took`. Of an event that the broker sent
    /// again (`is_repeated`) only the work is counted: its matches were counted the first time.
    pub fn count(
        &mut self,
        routing_key: RoutingKey<'_>,
        outcome: &Matches,
        took: Duration,
        is_repeated: bool,
    ) {
        self.seconds.record(took);
        self.candidates.record(count(outcome.candidates));
        self.count_evaluations(outcome.evaluated);
        outcome.steps_of_each.iter().for_each(|steps| self.steps.record(*steps));
        self.index_errors.increment(u64::from(count(outcome.index_errors)));
        if is_repeated {
            return;
        }
        let matched = u64::from(count(outcome.len()));
        self.sites.count_event(routing_key.cloud_id, matched, clock::now_ms());
        self.fan_out.record(count(outcome.len()));
        outcome.failures.iter().for_each(|failure| self.count_failure(failure));
        if !outcome.is_empty() {
            TOTALS.count_matches(matched);
            self.matches.increment(routing_key.event_type, matched);
        }
    }

    /// Counts the outcome of matching an event that waited for an installation.
    pub fn count_late(&mut self, routing_key: RoutingKey<'_>, late: &LateMatches) {
        self.count_evaluations(late.evaluated);
        late.steps_of_each.iter().for_each(|steps| self.steps.record(*steps));
        late.failures.iter().for_each(|failure| self.count_failure(failure));
        if !late.matches.is_empty() {
            let matched = u64::from(count(late.matches.len()));
            TOTALS.count_matches(matched);
            self.sites.count_matches(routing_key.cloud_id, matched);
            self.matches.increment(routing_key.event_type, matched);
        }
    }

    fn count_evaluations(&self, evaluated: EvaluationCounts) {
        self.evaluated_true.increment(u64::from(evaluated.matched));
        self.evaluated_false.increment(u64::from(evaluated.not_matched));
        self.evaluated_error.increment(u64::from(evaluated.failed));
    }

    fn count_failure(&mut self, failure: &FilterFailure) {
        let reason = match &*failure.error.kind {
            "type" => "type",
            "limit" => "limit",
            _ => "runtime",
        };
        let action = if failure.on_error.delivers() { "deliver" } else { "skip" };
        let counter = self.filter_errors.entry((reason, action)).or_insert_with(
            || counter!("switchyard_filter_errors_total", "reason" => reason, "action" => action),
        );
        counter.increment(1);
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
