//! Which operations are recorded, and which answer shows what an operation changes. Both come from the OpenAPI document, so
//! that no operation is added without its record.

use std::collections::{BTreeSet, HashMap};

use axum::http::Method;
use serde_json::{Map, Value};

/// The methods that change something, by their names in the document.
const METHODS: [(&str, Method); 4] = [
    ("post", Method::POST),
    ("put", Method::PUT),
    ("delete", Method::DELETE),
    ("patch", Method::PATCH),
];
/// Ends of paths below which `POST` changes nothing, or accepts data: dry runs, answers of listening clients.
const WITHOUT_CHANGES: [&str; 6] = [
    "/explain",
    "/filters:backtest",
    "/filters:check",
    "/filters:test",
    "/listeners/{id}/answers/{delivery}",
    "/subscriptions/{id}/test",
];
/// Resources without an id that an operation at the same path changes.
const SINGLE: [&str; 2] = ["/encryption", "/signing-keys"];
/// Answers that take long and do not show what an operation changes.
const NOT_SHOWN: [&str; 1] = ["/deliveries/{id}"];

/// The recorded operations.
#[derive(Debug, Default)]
pub(super) struct RecordedRoutes {
    operations: HashMap<(Method, String), RecordedOperation>,
}

/// One recorded operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RecordedOperation {
    /// Its id in the document.
    pub(super) id: String,
    /// What it changes; none if it creates something.
    pub(super) resource: Option<Resource>,
}

/// Where the answer that shows a resource is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resource {
    /// Number of parts of the path of the request that its path has.
    pub(super) parts: usize,
    /// Whether it is a list that has the resource by its key, which is the next part of the path.
    pub(super) is_list: bool,
}

impl RecordedRoutes {
    /// Reads the operations of a document whose paths begin with `prefix`.
    pub(super) fn of(document: &Value, prefix: &str) -> Self {
        let paths = document.get("paths").and_then(Value::as_object);
        let items: Vec<(&str, &Map<String, Value>)> = paths
            .into_iter()
            .flatten()
            .filter(|(path, _)| path.starts_with(prefix))
            .filter_map(|(path, item)| Some((path.as_str(), item.as_object()?)))
            .collect();
        let below = |path| str::strip_prefix(path, prefix).unwrap_or_default();
        let shown: BTreeSet<&str> = items
            .iter()
            .filter(|(_, item)| item.contains_key("get"))
            .map(|(path, _)| below(path))
            .filter(|path| !NOT_SHOWN.contains(path))
            .collect();
        let mut operations = HashMap::new();
        for (path, item) in items {
            let below = below(path);
            if WITHOUT_CHANGES.contains(&below) {
                continue;
            }
            for (name, method) in METHODS {
                let Some(operation) = item.get(name) else { continue };
                let id = operation.get("operationId").and_then(Value::as_str).unwrap_or(below);
                let operation = RecordedOperation {
                    id: id.to_owned(),
                    resource: resource(below, prefix, &shown),
                };
                operations.insert((method, path.to_owned()), operation);
            }
        }
        Self { operations }
    }

    /// Returns the operation of a request by the template of its path; none if it changes nothing.
    pub(super) fn find(&self, method: &Method, template: &str) -> Option<&RecordedOperation> {
        let path = template.trim_end_matches('/');
        self.operations.get(&(method.clone(), path.to_owned()))
    }
}

/// Yields the recorded operations of a document, such as `PUT /admin/v1/apps/{id}`.
#[cfg(test)]
pub(super) fn recorded_operations(document: &Value) -> impl Iterator<Item = String> {
    let routes = RecordedRoutes::of(document, "/admin/v1");
    // Those of events are other routes, without this middleware.
    let keys = routes.operations.into_keys().filter(|(_, path)| path != "/admin/v1/events");
    keys.map(|(method, path)| format!("{method} {path}"))
}

/// Returns what an operation changes: what the longest beginning of its path shows that names one resource.
fn resource(below: &str, prefix: &str, shown: &BTreeSet<&str>) -> Option<Resource> {
    let before = prefix.split('/').count() - 1;
    let parts: Vec<&str> = below.split('/').collect();
    (2..=parts.len()).rev().find_map(|count| {
        let beginning = parts.get(..count)?.join("/");
        let names_one =
            beginning.contains('{') || (count == parts.len() && SINGLE.contains(&&*beginning));
        let is_shown = names_one && shown.contains(&*beginning);
        let is_list = parts.get(count).is_some_and(|next| next.starts_with('{'));
        is_shown.then_some(Resource { parts: before + count, is_list })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_is_the_longest_beginning_that_shows_one() {
        let shown = BTreeSet::from([
            "/apps",
            "/apps/{id}",
            "/encryption",
            "/installations/{id}",
            "/installations/{id}/modules",
            "/replays",
            "/subscriptions/{id}",
            "/subscriptions/{id}/shadow",
        ]);
        for (path, expected) in [
            ("/apps/{id}", Some((5, false))),
            ("/apps/{id}/endpoints/{key}/secret", Some((5, false))),
            ("/installations/{id}/modules/{key}", Some((6, true))),
            ("/installations/{id}/token", Some((5, false))),
            ("/subscriptions/{id}/pause", Some((5, false))),
            ("/subscriptions/{id}/shadow", Some((6, false))),
            ("/encryption", Some((4, false))),
            ("/replays", None),
            ("/dlq/redrive", None),
        ] {
            let found = resource(path, "/admin/v1", &shown);
            assert_eq!(found.map(|one| (one.parts, one.is_list)), expected, "{path}");
        }
    }
}
