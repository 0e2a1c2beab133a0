//! The steps that bring a router to the state of a manifest.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::manifest::{Manifest, ManifestModule, ResourceKind, is_empty};
use crate::registry::{AppKind, StaticModules};

/// A step that brings the router to the state of a manifest.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum PlanStep {
    /// Put the resource, with the members that differ; none if it is new.
    Put(Option<Vec<String>>),
    /// Put a module; true if it is new.
    PutModule(ManifestModule, bool),
    /// Remove a module.
    RemoveModule(String),
}

/// Returns the steps to the state of a manifest; with `prunes` including the removal of modules
/// that it does not list.
pub(super) fn plan(wanted: &Manifest, current: Option<&Manifest>, prunes: bool) -> Vec<PlanStep> {
    let mut steps = Vec::new();
    match current {
        None => steps.push(PlanStep::Put(None)),
        Some(current) => {
            let differing = differing(wanted.resource, &wanted.spec, &current.spec);
            if !differing.is_empty() {
                steps.push(PlanStep::Put(Some(differing)));
            }
        }
    }
    let Some(modules) = &wanted.modules else { return steps };
    let existing = current
        .and_then(|current| current.modules.as_ref())
        .map_or(&[] as &[ManifestModule], |existing| existing);
    for module in modules {
        let known = existing.iter().find(|known| known.key == module.key);
        if !known.is_some_and(|known| known.is_same(module)) {
            steps.push(PlanStep::PutModule(module.clone(), known.is_none()));
        }
    }
    let surplus = existing.iter().filter(|known| modules.iter().all(|m| m.key != known.key));
    if prunes {
        steps.extend(surplus.map(|module| PlanStep::RemoveModule(module.key.clone())));
    }
    steps
}

impl ManifestModule {
    /// Whether two modules are equal, ignoring a key repeated in the data.
    fn is_same(&self, other: &Self) -> bool {
        let bare = |module: &Self| {
            let mut data = module.data.clone();
            data.remove("key");
            data
        };
        self.module_type == other.module_type && bare(self) == bare(other)
    }
}

/// Returns the members whose values differ. A member that a manifest leaves out has its default.
fn differing(
    kind: ResourceKind,
    wanted: &Map<String, Value>,
    current: &Map<String, Value>,
) -> Vec<String> {
    let default = |name: &str| match (kind, name) {
        (ResourceKind::Installation, "licensed") => json!(true),
        (ResourceKind::Installation, "environment") => json!("PRODUCTION"),
        (ResourceKind::Installation, "state") => json!("enabled"),
        _ => Value::Null,
    };
    let value = |spec: &Map<String, Value>, name: &str| {
        let given = spec.get(name).filter(|value| !is_empty(value)).cloned();
        let given = given.map(|value| match name {
            "staticModules" => stored_modules(spec, value),
            _ => value,
        });
        without_secrets(given.unwrap_or_else(|| default(name)))
    };
    let differs = |name: &&&str| value(wanted, name) != value(current, name);
    kind.members().iter().filter(differs).map(|name| (*name).to_owned()).collect()
}

/// Returns static modules as the router stores them, sorted by key: their order has no meaning.
fn stored_modules(app: &Map<String, Value>, modules: Value) -> Value {
    let kind = app.get("kind").map(AppKind::deserialize);
    match (kind, StaticModules::deserialize(&modules)) {
        (Some(Ok(kind)), Ok(read)) => {
            let mut stored = read.stored(kind);
            for modules in stored.values_mut() {
                modules.sort_by_key(|data| data.get("key").map(Value::to_string));
            }
            json!(stored)
        }
        _ => modules,
    }
}

/// Removes secrets, which the router does not return, so that they are not compared.
fn without_secrets(mut value: Value) -> Value {
    let objects: Vec<&mut Value> = match &mut value {
        Value::Array(items) => items.iter_mut().collect(),
        object => vec![object],
    };
    for object in objects {
        if let Value::Object(members) = object {
            members.remove("secret");
        }
    }
    value
}

impl PlanStep {
    /// Renders the step: `+` adds, `~` changes, `-` removes.
    pub(super) fn describe(&self, resource: &Manifest) -> String {
        let (kind, id) = (resource.resource.as_str(), &resource.id);
        match self {
            PlanStep::Put(None) => format!("+ {kind} {id}"),
            PlanStep::Put(Some(members)) => format!("~ {kind} {id}: {}", members.join(", ")),
            PlanStep::PutModule(module, true) => format!("+ {kind} {id}: module {}", module.key),
            PlanStep::PutModule(module, false) => format!("~ {kind} {id}: module {}", module.key),
            PlanStep::RemoveModule(key) => format!("- {kind} {id}: module {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(spec: Value, modules: Value) -> Manifest {
        let text = json!({"resource": "installation", "id": "i", "spec": spec,
            "modules": modules});
        serde_json::from_value(text).unwrap()
    }

    fn module(key: &str, expression: &str) -> Value {
        json!({"key": key, "type": "trigger", "data": {"filter": {"expression": expression}}})
    }

    #[test]
    fn plan_holds_only_the_differences() {
        let wanted = manifest(json!({"app": "a"}), json!([module("k", "true"), module("n", "1")]));
        let mut same = module("k", "true");
        same["data"]["key"] = json!("k");
        let current = manifest(
            json!({"app": "a", "state": "enabled", "licensed": true, "environment": "PRODUCTION"}),
            json!([same, module("old", "true")]),
        );
        let added: ManifestModule = serde_json::from_value(module("n", "1")).unwrap();
        let put = PlanStep::PutModule(added, true);
        assert_eq!(plan(&wanted, Some(&current), false), std::slice::from_ref(&put));
        assert_eq!(
            plan(&wanted, Some(&current), true),
            [put, PlanStep::RemoveModule("old".into())]
        );
        assert!(plan(&current, Some(&current), true).is_empty());
        assert_eq!(plan(&wanted, None, true).len(), 3);
    }

    #[test]
    fn static_modules_are_compared_as_the_router_stores_them() {
        let app = |modules: Value| -> Manifest {
            let spec = json!({"kind": "connect", "staticModules": modules});
            serde_json::from_value(json!({"resource": "app", "id": "a", "spec": spec})).unwrap()
        };
        let wanted = app(json!({"configurePage": {"key": "c"}, "webhooks": [{"event": "e"}]}));
        let shown = StaticModules::deserialize(&wanted.spec["staticModules"]).unwrap();
        let current = app(json!(shown.stored(AppKind::Connect)));
        assert!(plan(&wanted, Some(&current), true).is_empty());
        let [a, b] = ["a", "b"].map(|key| json!({"key": key, "event": "e"}));
        let moved = app(json!({"webhooks": [b, a]}));
        assert!(plan(&app(json!({"webhooks": [a, b]})), Some(&moved), true).is_empty());
        let other = app(json!({"configurePage": {"key": "d"}, "webhooks": [{"event": "e"}]}));
        assert_eq!(plan(&other, Some(&current), true).len(), 1);
    }

    #[test]
    fn secret_in_a_manifest_is_not_a_difference() {
        let app = |endpoint: Value| -> Manifest {
            let spec = json!({"kind": "forge", "endpoints": [endpoint]});
            serde_json::from_value(json!({"resource": "app", "id": "a", "spec": spec})).unwrap()
        };
        let current = app(json!({"key": "e", "url": "u"}));
        let same = app(json!({"key": "e", "url": "u", "secret": "s"}));
        assert!(plan(&same, Some(&current), true).is_empty());
        let moved = app(json!({"key": "e", "url": "v"}));
        assert_eq!(
            plan(&moved, Some(&current), true),
            [PlanStep::Put(Some(vec!["endpoints".to_owned()]))]
        );
    }
}
