//! Operator endpoints that check and test a filter without registering it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use switchyard_expr::{CheckProfile, Diagnostic, Usage, compile, compile_for, render};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::dry_run::sample;
use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::json::insert_some;
use crate::api::openapi::route;
use crate::api::schema::{FilterCheck, FilterTest};
use crate::api::state::Shared;
use crate::clock;
use crate::domain::{AppId, OnError};
use crate::matcher::{EventConditions, EventSubscription, TriggerDecision};
use crate::recovery::explain::OwnedSubscriber;
use crate::registry::{Problem, code};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(check));
    route(router, routes!(test))
}

/// A filter to check.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"expression": "event.issue.fields.priority.name == 'High'",
    "events": ["avi:jira:updated:issue"]}))]
struct CheckRequest {
    expression: String,
    /// The event types that it is for.
    #[serde(default)]
    events: Vec<String>,
    on_error: Option<OnError>,
}

/// Checks a filter without registering it.
///
/// An invalid filter is answered with 200 and its diagnostics as well.
#[utoipa::path(
    post, path = "/filters:check", operation_id = "checkFilter", request_body = CheckRequest,
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "Whether it is valid.", body = FilterCheck))
)]
async fn check(body: JsonObject) -> Result<Json<Value>, ApiError> {
    let request: CheckRequest = body.read()?;
    let events: Vec<&str> = request.events.iter().map(String::as_str).collect();
    let delivers_on_error = request.on_error.is_some_and(OnError::delivers);
    let usage = Usage { events: &events, delivers_on_error };
    let source = &request.expression;
    Ok(Json(match compile_for(source, CheckProfile::Filter, &usage) {
        Ok(compiled) => {
            let facts = compiled.program.facts();
            let keys = facts.indexed().map(ToString::to_string);
            json!({
                "valid": true,
                "diagnostics": diagnostics(&compiled.warnings, source),
                "complexity": compiled.complexity.as_json(),
                "index": { "keys": keys.collect::<Vec<_>>() },
            })
        }
        Err(rejected) => {
            json!({ "valid": false, "diagnostics": diagnostics(&rejected.diagnostics, source) })
        }
    }))
}

/// A filter and an event.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"expression": "event.issue.key == 'A-1'",
    "event": {"eventType": "avi:jira:created:issue", "issue": {"key": "A-1"}}}))]
struct TestRequest {
    expression: String,
    event: Value,
}

/// Evaluates a filter on an event as matching does, without conditions.
///
/// Returns the verdict with its explanation and what decided it. An invalid filter is answered as by `filters:check`.
#[utoipa::path(
    post, path = "/filters:test", operation_id = "testFilter", request_body = TestRequest,
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The verdict.", body = FilterTest))
)]
async fn test(State(state): State<Shared>, body: JsonObject) -> Result<Json<Value>, ApiError> {
    let request: TestRequest = body.read()?;
    let sample = sample(request.event)?;
    let source = &request.expression;
    let program = match compile(source, CheckProfile::Filter) {
        Ok(compiled) => Arc::new(compiled.program),
        Err(rejected) => {
            let diagnostics = diagnostics(&rejected.diagnostics, source);
            return Ok(Json(json!({ "valid": false, "diagnostics": diagnostics })));
        }
    };
    let key = sample.event().envelope.routing_key();
    let conditions = Arc::new(EventConditions::unconditional(key.event_type.into()));
    let subscription = EventSubscription { conditions, program: Some(program) };
    let now_ms = clock::broker_now_ms();
    let (subscriber, event) = (no_app(), (key, sample.decoder()));
    let decision = state.matcher.dry_run(&[subscription], subscriber.borrowed(), event, now_ms);
    match decision {
        TriggerDecision::Evaluated { explanation: Some(explanation), .. } => {
            let mut answer = explanation.as_json();
            let (span, values) = explanation.deciding_as_json().unzip();
            insert_some(&mut answer, "because", Some(explanation.because()));
            insert_some(&mut answer, "span", span);
            insert_some(&mut answer, "values", values);
            Ok(Json(answer))
        }
        _ => Err(Problem::new(code::FORM, "expression", "the filter cannot be explained").into()),
    }
}

/// The installation of no app: only the event itself can say that it is self-generated, and what is
/// permitted.
pub(super) fn no_app() -> OwnedSubscriber {
    OwnedSubscriber {
        app: AppId::from(""),
        app_account_id: None,
        is_licensed: true,
        permissions: None,
    }
}

/// Renders diagnostics of a filter.
pub(super) fn diagnostics(found: &[Diagnostic], source: &str) -> Vec<Value> {
    found.iter().map(|diagnostic| render::as_json(diagnostic, source)).collect()
}
