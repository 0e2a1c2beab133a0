//! Dry run of a trigger on an event: asks the matcher for its decision and renders it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::json::insert_some;
use super::reasons::Reasons;
use super::state::ApiState;
use crate::clock;
use crate::event::Sample;
use crate::matcher::TriggerDecision;
use crate::recovery::explain::OwnedSubscriber;
use crate::registry::{
    AppliedInstallation, InstallationRecord, Problem, TRIGGER, Trigger, code, event_subscriptions,
};

/// Removes the member `event` from a body; fails if it is missing.
pub(super) fn take_event(body: &mut Map<String, Value>) -> Result<Value, ApiError> {
    let missing = || Problem::new(code::MISSING, "event", "a test has an event").into();
    body.remove("event").ok_or_else(missing)
}

/// Decodes the event of a dry run.
pub(super) fn sample(event: Value) -> Result<Sample, ApiError> {
    Sample::read(event).map_err(|error| Problem::new(code::FORM, "event", error.to_string()).into())
}

/// Returns a registered trigger; 404 if the installation has no trigger of this key.
pub(super) fn registered_trigger(
    installation: &AppliedInstallation,
    key: &str,
) -> Result<Trigger, ApiError> {
    let module = installation.module(key).filter(|module| module.module_type == TRIGGER);
    let module = module.ok_or(ApiError::NotFound)?;
    Trigger::parse(&module.data.read(), "data").map_err(ApiError::Invalid)
}

/// Returns `{"delivered", "stage", "reason", "span"?, "values"?, "explanation"?}` for a trigger of an
/// installation: stage and reason as an explanation of a stored event has them.
pub(super) fn dry_run(
    state: &ApiState,
    trigger: &Trigger,
    installation: &InstallationRecord,
    event: Value,
) -> Result<Value, ApiError> {
    let sample = sample(event)?;
    let subscriptions = event_subscriptions(trigger)
        .map_err(|reason| Problem::new(code::FORM, "data.filter", reason))?;
    let subscriber = subscriber(state, installation);
    let key = sample.event().envelope.routing_key();
    let decision = state.matcher.dry_run(
        &subscriptions,
        subscriber.borrowed(),
        (key, sample.decoder()),
        clock::broker_now_ms(),
    );
    let event_type = key.event_type;
    let types = trigger.events.iter().map(|event| event.event_type.value.as_str());
    let mut reasons = Reasons::of(&decision, event_type, types);
    let mut subscribed = trigger.events.iter();
    let subscribed = subscribed.find(|event| event.event_type.value.as_str() == event_type);
    let has_filter = subscribed.is_some_and(|event| event.filter.is_some());
    if has_filter && matches!(decision, TriggerDecision::NoExpression) {
        // Of its conditions, all are met.
        reasons.stage = "filter";
    }
    let mut answer = json!({
        "delivered": reasons.is_match, "stage": reasons.stage, "reason": reasons.because,
    });
    insert_some(&mut answer, "span", reasons.span);
    insert_some(&mut answer, "values", reasons.values);
    if let TriggerDecision::Evaluated { explanation: Some(explanation), .. } = &decision {
        insert_some(&mut answer, "explanation", Some(explanation.as_json()));
    }
    Ok(answer)
}

/// Returns what conditions and filters read of an installation, as it is now.
pub(super) fn subscriber(state: &ApiState, installation: &InstallationRecord) -> OwnedSubscriber {
    let app = state.registry.app(installation.app.as_str());
    OwnedSubscriber {
        app: installation.app.clone(),
        app_account_id: installation.app_account_id.clone(),
        is_licensed: installation.licensed,
        permissions: app.map(|app| Arc::clone(&app.permissions)),
    }
}
