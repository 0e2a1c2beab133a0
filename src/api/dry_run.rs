//! Dry run of a module on an event: whether it would be delivered, and which stage decides.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use switchyard_expr::{Env, Verdict, explain};

use super::auth::ForgeCaller;
use super::extract::{JsonObject, PathId};
use super::forge::{ModuleBody, V2};
use super::operator::insert_some;
use super::{ApiError, Shared, route};
use crate::clock;
use crate::domain::SubscriptionId;
use crate::event::Sample;
use crate::registry::{AppliedInstallation, Problem, TRIGGER, Trigger, TriggerFilter, code};

/// Returns the Forge route.
pub(super) fn forge_routes() -> Router<Shared> {
    route(Router::new(), &format!("{V2}:test"), &post(test))
}

/// Returns the operator's route.
pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/subscriptions/{id}/test", &post(test_subscription))
}

/// Tests `{"event": {..}}` with a module as it would be registered, or with the `key` of a
/// registered one.
async fn test(
    State(state): State<Shared>,
    caller: ForgeCaller,
    JsonObject(mut body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let event = take_event(&mut body)?;
    let trigger = match body.get("key").and_then(Value::as_str) {
        Some(key) if body.len() == 1 => registered(&caller.installation, key)?,
        _ => {
            let spec = ModuleBody::read(body)?.without_key()?;
            // A module that cannot be registered is rejected with the same problems.
            state.registry.forge_modules().validate(id, spec.clone(), None)?;
            Trigger::parse(&spec.data, "data").map_err(ApiError::Invalid)?
        }
    };
    dry_run(&trigger, caller.installation.record.licensed, event).map(Json)
}

async fn test_subscription(
    State(state): State<Shared>,
    PathId(id): PathId,
    JsonObject(mut body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let id = SubscriptionId::parse(&id).ok_or(ApiError::NotFound)?;
    let installation = state.registry.installation(id.installation.as_str());
    let installation = installation.ok_or(ApiError::NotFound)?;
    let event = take_event(&mut body)?;
    let trigger = registered(&installation, id.key.as_str())?;
    dry_run(&trigger, installation.record.licensed, event).map(Json)
}

fn take_event(body: &mut Map<String, Value>) -> Result<Value, ApiError> {
    let missing = || Problem::new(code::MISSING, "event", "a test has an event").into();
    body.remove("event").ok_or_else(missing)
}

fn registered(installation: &AppliedInstallation, key: &str) -> Result<Trigger, ApiError> {
    let module = installation.module(key).filter(|module| module.module_type == TRIGGER);
    let module = module.ok_or(ApiError::NotFound)?;
    Trigger::parse(&module.data.read(), "data").map_err(ApiError::Invalid)
}

/// Returns `{"delivered", "stage", "reason", "explanation"?}`; the stages are those of matching, in
/// order.
fn dry_run(trigger: &Trigger, is_licensed: bool, event: Value) -> Result<Value, ApiError> {
    let inside = event.get("data").filter(|data| data.get("eventType").is_some());
    let body = inside.unwrap_or(&event);
    let event_type = body.get("eventType").and_then(Value::as_str).unwrap_or_default();
    let is_own = body.get("selfGenerated") == Some(&Value::Bool(true));
    let wanted =
        trigger.events.iter().find(|wanted| wanted.event_type.value.as_str() == event_type);
    let Some(wanted) = wanted else {
        let reason = format!("the trigger is not subscribed to `{event_type}`");
        return Ok(decision(false, "event", &reason));
    };
    let Some(filter) = &wanted.filter else {
        return Ok(decision(true, "event", "the trigger has no filter"));
    };
    if filter.requires_licence && !is_licensed {
        return Ok(decision(false, "appIsLicensed", "the installation has no active licence"));
    }
    if filter.ignore_self && is_own {
        return Ok(decision(false, "ignoreSelf", "the app made this change itself"));
    }
    evaluate(filter, event)
}

fn evaluate(filter: &TriggerFilter, event: Value) -> Result<Value, ApiError> {
    let Some(expression) = &filter.expression else {
        return Ok(decision(true, "filter", "the filter has no expression"));
    };
    let sample = Sample::read(event)
        .map_err(|error| Problem::new(code::FORM, "event", error.to_string()))?;
    let explained = explain::explain(&expression.value, &sample.view(), &Env::at(clock::now_ms()));
    // The filter was accepted at registration, so it compiles.
    let explained = explained
        .map_err(|_| Problem::new(code::FORM, "data.filter", "the filter cannot be evaluated"))?;
    let on_error = filter.on_error.unwrap_or_default();
    let (delivered, stage, reason) = match explained.verdict {
        Verdict::Match => (true, "filter", "the filter is true"),
        Verdict::NoMatch => (false, "filter", "the filter is false"),
        Verdict::Failed(_) if on_error.delivers() => (true, "onError", "the filter failed"),
        Verdict::Failed(_) => (false, "onError", "the filter failed"),
    };
    let mut answer = decision(delivered, stage, reason);
    insert_some(&mut answer, "explanation", Some(explained.as_json()));
    Ok(answer)
}

fn decision(delivered: bool, stage: &str, reason: &str) -> Value {
    json!({"delivered": delivered, "stage": stage, "reason": reason})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(filter: Value, event: Value) -> (bool, String) {
        let data = json!({"endpoint": "e", "events": ["avi:jira:created:issue"], "filter": filter});
        let trigger = Trigger::parse(data.as_object().unwrap(), "data").unwrap();
        let answer = dry_run(&trigger, false, event).unwrap();
        (answer["delivered"] == true, answer["stage"].as_str().unwrap().to_owned())
    }

    #[test]
    fn dry_run_names_the_stage_that_decides() {
        let ops = "event.issue.fields.project.key == 'OPS'";
        let event = |key: &str| {
            json!({"eventType": "avi:jira:created:issue",
                "issue": {"fields": {"project": {"key": key}}}})
        };
        let is = |delivered, stage: &str| (delivered, stage.to_owned());
        assert_eq!(tried(json!({"expression": ops}), event("OPS")), is(true, "filter"));
        assert_eq!(tried(json!({"expression": ops}), event("WEB")), is(false, "filter"));
        let other = json!({"eventType": "avi:jira:deleted:issue"});
        assert_eq!(tried(json!({"expression": ops}), other), is(false, "event"));
        let bare = json!({"eventType": "avi:jira:created:issue"});
        assert_eq!(tried(json!({"expression": ops}), bare.clone()), is(false, "onError"));
        let receive = json!({"expression": ops, "onError": "RECEIVE"});
        assert_eq!(tried(receive, bare.clone()), is(true, "onError"));
        assert_eq!(tried(json!({"appIsLicensed": true}), bare), is(false, "appIsLicensed"));
        let mut own = event("OPS");
        own["selfGenerated"] = json!(true);
        assert_eq!(tried(json!({"ignoreSelf": true}), own.clone()), is(false, "ignoreSelf"));
        let envelope = json!({"subject": "s", "headers": {}, "data": own});
        assert_eq!(tried(json!({"expression": ops}), envelope), is(true, "filter"));
    }
}
