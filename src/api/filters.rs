//! Operator endpoints that check and test a filter without registering it.

use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use switchyard_expr::{CheckProfile, Diagnostic, Env, Usage, compile_for, explain, render};

use super::extract::JsonObject;
use super::{ApiError, Shared, route};
use crate::clock;
use crate::domain::OnError;
use crate::event::Sample;
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

/// Evaluates `{"expression", "event"}` and returns the verdict with its explanation; an invalid
/// filter is answered as by `check`.
async fn test(body: JsonObject) -> Result<Json<Value>, ApiError> {
    let request: TestRequest = body.read()?;
    let sample = Sample::read(request.event)
        .map_err(|error| Problem::new(code::FORM, "event", error.to_string()))?;
    let source = &request.expression;
    Ok(Json(match explain::explain(source, &sample.view(), &Env::at(clock::now_ms())) {
        Ok(explanation) => explanation.as_json(),
        Err(rejected) => {
            json!({ "valid": false, "diagnostics": diagnostics(&rejected.diagnostics, source) })
        }
    }))
}

fn diagnostics(found: &[Diagnostic], source: &str) -> Vec<Value> {
    found.iter().map(|diagnostic| render::as_json(diagnostic, source)).collect()
}
