//! Sampled events of a backtest, each with the reason of the decision.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::reasons::Reasons;
use crate::api::state::Shared;
use crate::event::{ArchivedEvent, StoredEvent};
use crate::matcher::{EventSubscription, TriggerDecision};
use crate::recovery::backtest::{BacktestQuery, SampledEvents};
use crate::recovery::explain::{Deadline, DecisionQuery, decide};

/// How long the decisions on samples may take.
const EXPLAIN_MAX: Duration = Duration::from_secs(5);

/// The samples by their sequence.
pub(super) struct Samples {
    views: BTreeMap<u64, Value>,
}

impl Samples {
    /// Reads the samples again and decides on them, this time with reasons. One that was deleted since, that cannot
    /// be read now, or that the time does not suffice for, has its sequence only: the counts took minutes.
    pub(super) async fn of(state: &Shared, query: &BacktestQuery, sampled: &SampledEvents) -> Self {
        let SampledEvents { matched, failed, gained, lost } = sampled;
        let all: BTreeSet<u64> =
            [matched, failed, gained, lost].into_iter().flatten().copied().collect();
        let deadline = Deadline::after(EXPLAIN_MAX);
        let mut views = BTreeMap::new();
        for sequence in all {
            let stored = match deadline.is_over() {
                true => None,
                false => state.events.by_sequence(sequence).await.unwrap_or_else(|error| {
                    tracing::debug!(sequence, %error, "sample of a backtest not read");
                    None
                }),
            };
            let mut view = json!({ "sequence": sequence });
            if let Some(stored) = stored.and_then(ArchivedEvent::readable) {
                let mut explained = view.clone();
                let stored = (Arc::new(stored), deadline);
                match explain(state, query, stored, &mut explained).await {
                    Ok(()) => view = explained,
                    Err(_) => tracing::debug!(sequence, "sample of a backtest not explained"),
                }
            }
            views.insert(sequence, view);
        }
        Self { views }
    }

    /// Returns some samples, oldest first.
    pub(super) fn views(&self, sequences: &VecDeque<u64>) -> Vec<&Value> {
        sequences.iter().filter_map(|sequence| self.views.get(sequence)).collect()
    }
}

async fn explain(
    state: &Shared,
    query: &BacktestQuery,
    (stored, deadline): (Arc<StoredEvent>, Deadline),
    view: &mut Value,
) -> Result<(), ApiError> {
    let envelope = &stored.event.envelope;
    let event_type = envelope.event_type.as_str();
    insert_some(view, "event", Some(&envelope.event_id));
    insert_some(view, "site", Some(&envelope.cloud_id));
    insert_some(view, "type", Some(event_type));
    insert_some(view, "entity", envelope.entity.as_deref());
    insert_some(view, "time", rfc3339(stored.stored_ms));
    let asked = |events| DecisionQuery { events, subscriber: Arc::clone(&query.subscriber) };
    let tried = query.tried.for_type(event_type);
    let current = query.current.clone().unwrap_or_default();
    let asked_for = std::iter::once(tried.clone()).chain(query.current.clone());
    let queries = asked_for.map(asked).collect();
    let reader = &state.recovery.replay.reader;
    let mut decided = decide(reader, Arc::clone(&stored), queries, deadline).await?.into_iter();
    if let Some(decision) = decided.next() {
        insert_reason(view, &decision, event_type, &tried);
    }
    if let Some(decision) = decided.next() {
        let mut of_current = json!({ "delivered": decision.is_delivered() });
        insert_reason(&mut of_current, &decision, event_type, &current);
        insert_some(view, "current", Some(of_current));
    }
    Ok(())
}

/// Adds the stage that decided, the reason, and the deciding part with its values.
fn insert_reason(
    view: &mut Value,
    decision: &TriggerDecision,
    event_type: &str,
    subscribed: &[EventSubscription],
) {
    let types = subscribed.iter().map(|one| one.conditions.event_type.as_str());
    let Reasons { stage, because, span, values, .. } = Reasons::of(decision, event_type, types);
    insert_some(view, "stage", Some(stage));
    insert_some(view, "because", Some(because));
    insert_some(view, "span", span);
    insert_some(view, "values", values);
}
