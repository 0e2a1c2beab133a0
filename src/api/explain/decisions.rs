//! The decisions of one answer: evaluated, compared with the delivery log, and rendered.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::deliveries::{DeliveryFate, fate};
use super::request::Asked;
use super::subscriptions::{AskedAbout, AskedSubscription, Histories, Then, of_events_at, then};
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::reasons::Reasons;
use crate::api::state::Shared;
use crate::delivery::{EventHistory, EventKey, LogReadError};
use crate::domain::CloudId;
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
    /// By the site of the events.
    asked_about: HashMap<CloudId, Arc<AskedAbout>>,
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
            asked_about: HashMap::new(),
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

    /// Returns an event with its decisions; `leftOut` counts those that were not made.
    pub(super) async fn on(&mut self, event: &Arc<StoredEvent>) -> Result<Value, ApiError> {
        let envelope = &event.event.envelope;
        let asked_about = self.subscriptions_at(&envelope.cloud_id);
        let room = if self.deadline.is_over() { 0 } else { DECISIONS_MAX - self.made };
        let mut views = Vec::new();
        if room > 0 && asked_about.count > 0 {
            let history = self.history(event).await;
            let mut prepared = Vec::new();
            for one in asked_about.first.iter().take(room) {
                if self.deadline.is_over() {
                    break;
                }
                let fate = history.as_ref().and_then(|history| fate(history, &one.id));
                let mut then = self.prepare(event, one, fate.as_ref()).await?;
                then.shadow = one.shadow(self.state, &event.event, &self.bounds);
                prepared.push((one, then, fate));
            }
            views = self.decide(event, prepared).await?;
        }
        self.made += views.len();
        let left_out = asked_about.count - views.len();
        self.left_out += left_out;
        Ok(self.event_view(event, &views, left_out))
    }

    /// Returns the subscriptions that are asked about for events of a site.
    fn subscriptions_at(&mut self, site: &CloudId) -> Arc<AskedAbout> {
        if let Some(known) = self.asked_about.get(site) {
            return Arc::clone(known);
        }
        let found = Arc::new(of_events_at(self.state, self.asked, site, DECISIONS_MAX));
        self.asked_about.insert(site.clone(), Arc::clone(&found));
        found
    }

    /// Returns what was decided, in order, without what the time did not suffice for.
    async fn decide(
        &mut self,
        event: &Arc<StoredEvent>,
        prepared: Vec<(&AskedSubscription, Then, Option<DeliveryFate>)>,
    ) -> Result<Vec<Value>, ApiError> {
        let event_type = event.event.envelope.event_type.as_str();
        let queries =
            prepared.iter().flat_map(|(_, then, _)| [&then.query, &then.now, &then.shadow]);
        let queries: Vec<DecisionQuery> = queries.flatten().cloned().collect();
        let reader = &self.state.recovery.replay.reader;
        let decided = decide(reader, Arc::clone(event), queries, self.deadline).await?;
        let mut decided = decided.into_iter();
        let mut views = Vec::new();
        for (one, then, fate) in prepared {
            let Some([decision, now, shadow]) = take(&then, &mut decided) else { continue };
            let mut view = self.view(event, one, &then, (decision, now), fate);
            let shadow = shadow.map(|decision| {
                shadow_view(&reasons_of(&decision, then.shadow.as_ref(), event_type))
            });
            insert_some(&mut view, "shadow", shadow);
            views.push(view);
        }
        Ok(views)
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
            (None, None) => Reasons::fixed("state", "it receives no events".to_owned()),
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
        let text = match self.log_problem {
            Some(_) => because.clone(),
            None => unrecorded(because, then.changed_ms),
        };
        ("matched", None, text)
    }

    fn event_view(&self, stored: &StoredEvent, decisions: &[Value], left_out: usize) -> Value {
        let envelope = &stored.event.envelope;
        let mut view = json!({
            "event": envelope.event_id,
            "site": envelope.cloud_id,
            "type": envelope.event_type,
            "time": rfc3339(stored.stored_ms),
            "decisions": decisions,
        });
        // Sequences count the events of all sites.
        let sequence = self.asked.asker.is_operator().then_some(stored.event.sequence);
        insert_some(&mut view, "sequence", sequence);
        insert_some(&mut view, "entity", envelope.entity.as_deref());
        insert_some(&mut view, "leftOut", (left_out > 0).then_some(left_out));
        view
    }
}

/// Takes the decisions by the queries of a subscription, in order; none if they were not all made in time.
fn take(
    then: &Then,
    decided: &mut impl Iterator<Item = TriggerDecision>,
) -> Option<[Option<TriggerDecision>; 3]> {
    let mut next = |query: &Option<DecisionQuery>| match query {
        Some(_) => decided.next().map(Some),
        None => Some(None),
    };
    Some([next(&then.query)?, next(&then.now)?, next(&then.shadow)?])
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

/// Says that a match has no record; `changed_ms` is when its subscription was changed after the event.
fn unrecorded(because: &str, changed_ms: Option<i64>) -> String {
    match changed_ms.and_then(rfc3339) {
        // A delivery would have the revision by which the event was routed.
        Some(at) => format!(
            "{because}; there is no record of a delivery: the subscription was changed at {at}, and the \
            event may have been routed after that"
        ),
        None => format!("{because}; the delivery log has no record of it"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::explain::OwnedSubscriber;

    #[test]
    fn match_without_a_record_names_a_change_after_the_event() {
        let text = unrecorded("event.n == 1 is true", None);
        assert_eq!(text, "event.n == 1 is true; the delivery log has no record of it");
        let text = unrecorded("event.n == 1 is true", Some(1_000));
        assert!(text.contains("changed at 1970-01-01T00:00:01Z"), "{text}");
        assert!(!text.contains("the delivery log has no record"), "{text}");
    }

    #[test]
    fn subscription_whose_queries_were_not_all_evaluated_is_left_out() {
        let subscriber = OwnedSubscriber {
            app: "app".into(),
            app_account_id: None,
            is_licensed: true,
            permissions: None,
        };
        let query = DecisionQuery { events: Vec::new(), subscriber: Arc::new(subscriber) };
        let both = Then { query: Some(query.clone()), now: Some(query), ..Then::default() };
        let fixed = Then { decided: Some(("site", String::new())), ..Then::default() };
        let mut decided = vec![TriggerDecision::NotSubscribed; 3].into_iter();
        let found = take(&both, &mut decided).expect("two decisions");
        assert!(found[0].is_some() && found[1].is_some() && found[2].is_none());
        assert!(take(&both, &mut decided).is_none(), "one decision of two");
        assert!(take(&fixed, &mut decided).is_some(), "nothing is evaluated for it");
    }
}
