//! A Forge manifest as input of `check`: its triggers, and the app that they belong to.

use anyhow::Context;
use serde_json::{Map, Value, json};
use switchyard_expr::Severity;

use super::input::{CheckInput, Source, static_trigger};
use super::variables::{self, Values};
use crate::cli::exit::UsageError;
use crate::registry::AppSpec;
use crate::registry::review::{Reviewer, not_an_object};

/// Address of endpoints of a manifest, whose remotes are not known here.
const OFFLINE: &str = "https://offline.invalid/";

/// Parses every trigger of a manifest.
///
/// # Errors
/// It is not YAML, or no manifest.
pub(super) fn read(
    file: &str,
    text: &str,
    reviewer: Reviewer,
    values: &Values<'_>,
) -> anyhow::Result<(Vec<CheckInput>, Reviewer)> {
    let mut manifest: Value =
        serde_saphyr::from_str(text).with_context(|| UsageError(format!("{file} is not YAML")))?;
    if manifest.get("modules").is_none_or(|modules| !modules.is_object()) {
        anyhow::bail!(UsageError(format!("{file} has no `modules`")));
    }
    let problems = variables::replace(&mut manifest, values);
    let reviewer = reviewer.with_app(app(&manifest)?);
    let mut inputs = Vec::new();
    if !problems.is_empty() {
        inputs.push(CheckInput::of_problems(file, problems));
    }
    let source = Source::new(file, text);
    match manifest.pointer("/modules/trigger") {
        None => {}
        Some(Value::Array(triggers)) => {
            for (at, module) in triggers.iter().enumerate() {
                let path = format!("modules.trigger[{at}]");
                inputs.push(match module {
                    Value::Object(data) => static_trigger(&reviewer, &source, data, &path),
                    _ => {
                        CheckInput::of_problems(file, vec![(Severity::Error, not_an_object(&path))])
                    }
                });
            }
        }
        Some(_) => anyhow::bail!(UsageError(format!("{file}: `modules.trigger` is no list"))),
    }
    Ok((inputs, reviewer))
}

/// The app of a manifest, as far as its triggers depend on it.
fn app(manifest: &Value) -> anyhow::Result<AppSpec> {
    let keys = |module_type: &str| -> Vec<String> {
        let modules = manifest.pointer(&format!("/modules/{module_type}"));
        let modules = modules.and_then(Value::as_array).into_iter().flatten();
        modules.filter_map(|module| Some(module.get("key")?.as_str()?.to_owned())).collect()
    };
    let endpoints = keys("endpoint").into_iter().map(|key| json!({"key": key, "url": OFFLINE}));
    let app = json!({
        "kind": "forge",
        "scopes": scopes(manifest.pointer("/permissions/scopes")),
        "functions": keys("function"),
        "endpoints": endpoints.collect::<Vec<_>>(),
    });
    Ok(serde_json::from_value(app)?)
}

/// Scopes as a list of names, or as an object whose members have the names.
fn scopes(scopes: Option<&Value>) -> Vec<String> {
    let names = |members: &Map<String, Value>| members.keys().cloned().collect::<Vec<_>>();
    match scopes {
        Some(Value::Array(items)) => items
            .iter()
            .flat_map(|item| match item {
                Value::String(name) => vec![name.clone()],
                Value::Object(members) => names(members),
                _ => Vec::new(),
            })
            .collect(),
        Some(Value::Object(members)) => names(members),
        _ => Vec::new(),
    }
}
