//! Operator endpoints that check and test a filter without registering it.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use switchyard_expr::{CheckProfile, Diagnostic, Usage, compile, compile_for, render};

use crate::api::dry_run::sample;
use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::json::insert_some;
use crate::api::state::{Shared, route};
use crate::clock;
use crate::domain::{AppId, OnError};
use crate::matcher::{EventConditions, EventSubscription, TriggerDecision};
use crate::recovery::explain::OwnedSubscriber;
use crate::registry::{Problem, code};

pub(super) fn routes() -> Router<Shared> {
    let mut router = Router::new();
    for (path, methods) in [("/filters:check", post(check)), ("/filters:test", post(test))] {
        router = route(router, path, &methods);
    }
    router
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CheckRequest {
    expression: String,
    #[serde(default)]
    events: Vec<String>,
    on_error: Option<OnError>,
}

/// Checks `{"expression", "events"?, "onError"?}` and returns
/// `{"valid", "diagnostics", "complexity"?, "index"?}`, with 200 for an invalid filter as well.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TestRequest {
    expression: String,
    event: Value,
}

/// Evaluates `{"expression", "event"}` as matching does, without conditions, and returns the verdict
/// with its explanation and what decided it; an invalid filter is answered as by `check`.
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
