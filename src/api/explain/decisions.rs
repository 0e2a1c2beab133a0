//! The decisions of one answer: evaluated, compared with the delivery log, and rendered.

use std::sync::Arc;

use serde_json::{Value, json};

use super::deliveries::{DeliveryFate, fate};
use super::request::Asked;
use super::subscriptions::{AskedSubscription, Histories, Then, of_event, then};
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::reasons::Reasons;
use crate::api::state::Shared;
use crate::delivery::{EventHistory, EventKey, LogReadError};
use crate::event::StoredEvent;
use crate::matcher::TriggerDecision;
use crate::recovery::explain::{Deadline, DecisionQuery, decide};
use crate::recovery::replay::EventBounds;
use crate::registry::RevisionMoment;

/// Decisions of one answer.
const DECISIONS_MAX: usize = 500;

/// Makes the decisions of one answer.
pub(super) struct Decisions<'a> {
    state: &'a Shared,
    asked: &'a Asked,
    deadline: Deadline,
    bounds: EventBounds,
    histories: Histories,
    made: usize,
    left_out: usize,
    /// Why the delivery log was not read.
    log_problem: Option<String>,
    has_whole_log: bool,
}

impl<'a> Decisions<'a> {
    pub(super) fn new(
        state: &'a Shared,
        asked: &'a Asked,
        deadline: Deadline,
        bounds: EventBounds,
    ) -> Self {
        Self {
            state,
            asked,
            deadline,
            bounds,
            histories: Histories::new(),
            made: 0,
            left_out: 0,
            log_problem: None,
            has_whole_log: true,
        }
    }

    /// Returns what the answer lacks.
    pub(super) fn hints(self) -> Vec<String> {
        let mut hints = Vec::new();
        if self.left_out > 0 {
            let left_out = self.left_out;
            hints.push(format!(
                "{left_out} decisions are left out: name a subscription, or fewer events"
            ));
        }
        if let Some(problem) = self.log_problem {
            hints.push(format!("what became of deliveries is not known: {problem}"));
        }
        if !self.has_whole_log {
            hints.push("the delivery log was not read to its end in time".to_owned());
        }
        hints
    }

    /// Returns an event with its decisions.
    pub(super) async fn on(&mut self, event: &Arc<StoredEvent>) -> Result<Value, ApiError> {
        let envelope = &event.event.envelope;
        let mut subscriptions = of_event(self.state, self.asked, &envelope.cloud_id);
        let room = if self.deadline.is_over() { 0 } else { DECISIONS_MAX - self.made };
        self.left_out += subscriptions.len().saturating_sub(room);
        subscriptions.truncate(room);
        if subscriptions.is_empty() {
            return Ok(event_view(event, &[]));
        }
        let history = self.history(event).await;
        let mut prepared = Vec::new();
        for one in &subscriptions {
            if self.deadline.is_over() {
                self.left_out += subscriptions.len() - prepared.len();
                break;
            }
            let fate = history.as_ref().and_then(|history| fate(history, &one.id));
            let mut then = self.prepare(event, one, fate.as_ref()).await?;
            then.shadow = one.shadow(self.state, &event.event, &self.bounds);
            prepared.push((one, then, fate));
        }
        let mut evaluated = self.evaluate(event, &prepared).await?.into_iter();
        let mut views = Vec::new();
        for (one, then, fate) in prepared {
            let mut next = |query: Option<&DecisionQuery>| query.and_then(|_| evaluated.next()?);
            let decision = next(then.query.as_ref());
            let now = next(then.now.as_ref());
            let shadow = next(then.shadow.as_ref());
            let mut view = self.view(event, one, &then, (decision, now), fate);
            let shadow = shadow.map(|decision| {
                let event_type = envelope.event_type.as_str();
                shadow_view(&reasons_of(&decision, then.shadow.as_ref(), event_type))
            });
            insert_some(&mut view, "shadow", shadow);
            views.push(view);
        }
        self.made += views.len();
        Ok(event_view(event, &views))
    }

    async fn history(&mut self, event: &StoredEvent) -> Option<EventHistory> {
        let envelope = &event.event.envelope;
        let key = EventKey {
            site: envelope.cloud_id.clone(),
            id: envelope.event_id.clone(),
            entity: envelope.entity.clone(),
            stored_ms: Some(event.stored_ms),
        };
        match self.state.delivery_log.history(&key).await {
            Ok(history) => {
                self.has_whole_log &= history.is_complete;
                Some(history)
            }
            Err(error) => {
                if error != LogReadError::Off {
                    tracing::warn!(%error, "the delivery log cannot be read for an explanation");
                }
                self.log_problem = Some(error.to_string());
                None
            }
        }
    }

    /// Returns what decides for a subscription.
    async fn prepare(
        &mut self,
        event: &StoredEvent,
        one: &AskedSubscription,
        fate: Option<&DeliveryFate>,
    ) -> Result<Then, ApiError> {
        let site = &event.event.envelope.cloud_id;
        let own = one.installation.as_ref().map(|known| &known.record.cloud_id);
        if let Some(own) = own.filter(|own| *own != site) {
            let reason = format!("the event is of site {site}, the installation is at site {own}");
            return Ok(Then { decided: Some(("site", reason)), ..Then::default() });
        }
        let routed = fate.and_then(|fate| fate.revision).map(RevisionMoment::Document);
        let moment = routed.unwrap_or(RevisionMoment::Time(event.stored_ms));
        then(self.state, one, moment, event.stored_ms, &mut self.histories).await
    }

    /// Evaluates what is to be evaluated, in order; none for what the time did not suffice for.
    async fn evaluate(
        &mut self,
        event: &Arc<StoredEvent>,
        prepared: &[(&AskedSubscription, Then, Option<DeliveryFate>)],
    ) -> Result<Vec<Option<TriggerDecision>>, ApiError> {
        let queries =
            prepared.iter().flat_map(|(_, then, _)| [&then.query, &then.now, &then.shadow]);
        let queries: Vec<DecisionQuery> = queries.flatten().cloned().collect();
        let (wanted, reader) = (queries.len(), &self.state.recovery.replay.reader);
        let decided = decide(reader, Arc::clone(event), queries, self.deadline).await?;
        let mut decided: Vec<_> = decided.into_iter().map(Some).collect();
        self.left_out += wanted.saturating_sub(decided.len());
        decided.resize_with(wanted, || None);
        Ok(decided)
    }

    fn view(
        &self,
        event: &StoredEvent,
        one: &AskedSubscription,
        then: &Then,
        (decision, now): (Option<TriggerDecision>, Option<TriggerDecision>),
        fate: Option<DeliveryFate>,
    ) -> Value {
        let event_type = event.event.envelope.event_type.as_str();
        let reasons = match (&then.decided, decision) {
            (Some((stage, because)), _) => Reasons::fixed(stage, because.clone()),
            (None, Some(decision)) => reasons_of(&decision, then.query.as_ref(), event_type),
            (None, None) => Reasons::fixed("filter", "it was not evaluated in time".to_owned()),
        };
        let now = now.map(|now| reasons_of(&now, then.now.as_ref(), event_type));
        let now = now.filter(|now| now.is_match != reasons.is_match);
        let mut view = json!({ "subscription": one.id.to_string() });
        let open = || self.open(event, then, &reasons);
        let (decision, stage, because) = match &fate {
            Some(fate) => (fate.decision, fate.stage, fate.because.clone()),
            None if reasons.is_match => open(),
            None => ("not delivered", Some(reasons.stage), reasons.because.clone()),
        };
        insert_some(&mut view, "decision", Some(decision));
        insert_some(&mut view, "stage", stage);
        insert_some(&mut view, "because", Some(because));
        insert_some(&mut view, "span", reasons.span);
        insert_some(&mut view, "values", reasons.values);
        insert_some(&mut view, "delivery", fate.map(|fate| fate.view));
        insert_some(&mut view, "revision", then.revision.as_ref());
        insert_some(&mut view, "now", now.as_ref().map(now_view));
        view
    }

    /// A match of which the log has no record.
    fn open(
        &self,
        event: &StoredEvent,
        then: &Then,
        reasons: &Reasons,
    ) -> (&'static str, Option<&'static str>, String) {
        let because = &reasons.because;
        if event.event.sequence > self.bounds.settled {
            let text = format!("{because}; the event is not acknowledged yet");
            return ("waiting", then.is_paused.then_some("paused"), text);
        }
        match self.log_problem {
            Some(_) => ("matched", None, because.clone()),
            None => ("matched", None, format!("{because}; the delivery log has no record of it")),
        }
    }
}

/// Returns the reasons of a decision by a query.
fn reasons_of(
    decision: &TriggerDecision,
    query: Option<&DecisionQuery>,
    event_type: &str,
) -> Reasons {
    let subscribed = query.iter().flat_map(|query| &query.events);
    let types = subscribed.map(|one| one.conditions.event_type.as_str());
    Reasons::of(decision, event_type, types)
}

/// What the shadow decided.
fn shadow_view(reasons: &Reasons) -> Value {
    let mut view = now_view(reasons);
    insert_some(&mut view, "span", reasons.span.as_ref());
    insert_some(&mut view, "values", reasons.values.as_ref());
    view
}

/// What the current revision would decide.
fn now_view(reasons: &Reasons) -> Value {
    let decision = if reasons.is_match { "would be delivered" } else { "would not be delivered" };
    let mut view = json!({ "decision": decision, "because": reasons.because });
    insert_some(&mut view, "stage", (!reasons.is_match).then_some(reasons.stage));
    view
}

fn event_view(stored: &StoredEvent, decisions: &[Value]) -> Value {
    let envelope = &stored.event.envelope;
    let mut view = json!({
        "event": envelope.event_id,
        "site": envelope.cloud_id,
        "type": envelope.event_type,
        "sequence": stored.event.sequence,
        "time": rfc3339(stored.stored_ms),
        "decisions": decisions,
    });
    insert_some(&mut view, "entity", envelope.entity.as_deref());
    view
}
