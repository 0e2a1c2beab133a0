//! What operations need, made of the OpenAPI document: a route and its need are declared in one place.

use std::collections::{BTreeMap, HashMap};

use axum::http::Method;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use crate::domain::Scope;

/// Name of the scheme of credentials of the operator API.
pub(in crate::api) const OPERATOR_TOKEN: &str = "operatorToken";
/// Entry of an operation that callers of one installation may send.
const OF_INSTALLATION: &str = "installation";

/// What one operation needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::api) struct Need {
    /// The lowest scope.
    pub(super) scope: Scope,
    /// Whether callers of one installation may send it.
    pub(super) is_of_installation: bool,
    /// The parameters of its query that name what belongs to installations.
    pub(super) query: OwnerParameters,
}

/// The parameters of a query that select by owner.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct OwnerParameters {
    pub(super) has_installation: bool,
    pub(super) has_subscription: bool,
}

/// What the operations of some routes need, by path and method.
#[derive(Debug, Default)]
pub(super) struct Needs(HashMap<String, BTreeMap<&'static str, Need>>);

impl Needs {
    /// Reads a document. An operation that declares nothing, or something else, is not in the table.
    pub(super) fn of(document: &OpenApi) -> Self {
        let mut needs = Self::default();
        for (path, item) in &document.paths.paths {
            let operations = [
                ("DELETE", &item.delete),
                ("GET", &item.get),
                ("POST", &item.post),
                ("PUT", &item.put),
            ];
            let by_method = needs.0.entry(path.clone()).or_default();
            for (method, operation) in operations {
                let need = operation.as_ref().and_then(need_of);
                by_method.extend(need.map(|need| (method, need)));
            }
        }
        needs
    }

    /// Returns what a request needs whose path matched this one.
    pub(super) fn get(&self, path: &str, method: &Method) -> Option<Need> {
        // The answer to it is that to `GET`, without the body.
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        self.0.get(without_slash(path))?.get(method).copied()
    }

    /// Returns the methods that a path takes.
    pub(super) fn methods(&self, path: &str) -> Vec<&'static str> {
        let known = self.0.get(without_slash(path)).into_iter().flatten();
        let methods = known.flat_map(|(method, _)| match *method {
            "GET" => vec!["GET", "HEAD"],
            method => vec![method],
        });
        methods.collect()
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// Whether callers of one installation may send an operation.
pub(in crate::api) fn is_of_installation(operation: &Operation) -> bool {
    need_of(operation).is_some_and(|need| need.is_of_installation)
}

fn need_of(operation: &Operation) -> Option<Need> {
    let requirements = serde_json::to_value(operation.security.as_ref()?).ok()?;
    let [requirement] = requirements.as_array()?.as_slice() else { return None };
    let entries: Vec<&str> = requirement
        .get(OPERATOR_TOKEN)?
        .as_array()?
        .iter()
        .map(|entry| entry.as_str())
        .collect::<Option<_>>()?;
    let (scope, is_of_installation) = match entries.as_slice() {
        [scope] => (*scope, false),
        [scope, OF_INSTALLATION] => (*scope, true),
        _ => return None,
    };
    let scope = Scope::ALL.into_iter().find(|known| known.as_str() == scope)?;
    let has = |name: &str| {
        let parameters = operation.parameters.iter().flatten();
        parameters.into_iter().any(|one| match one {
            RefOr::T(one) => one.name == name && one.parameter_in == ParameterIn::Query,
            RefOr::Ref(_) => false,
        })
    };
    let query = OwnerParameters {
        has_installation: has("installation"),
        has_subscription: has("subscription"),
    };
    Some(Need { scope, is_of_installation, query })
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::path::{HttpMethod, OperationBuilder, Paths};
    use utoipa::openapi::security::SecurityRequirement;
    use utoipa::openapi::{InfoBuilder, OpenApiBuilder};

    use super::*;

    fn document(security: Option<Vec<SecurityRequirement>>) -> OpenApi {
        let mut paths = Paths::new();
        let mut operation = OperationBuilder::new().build();
        operation.security = security;
        paths.add_path_operation("/a/{id}", vec![HttpMethod::Get], operation);
        OpenApiBuilder::new().info(InfoBuilder::new().build()).paths(paths).build()
    }

    fn found(scheme: &str, entries: &[&str]) -> Option<Need> {
        let requirement = SecurityRequirement::new(scheme, entries.iter().copied());
        Needs::of(&document(Some(vec![requirement]))).get("/a/{id}/", &Method::HEAD)
    }

    #[test]
    fn what_is_not_declared_exactly_is_not_in_the_table() {
        let need = found(OPERATOR_TOKEN, &["operate"]).unwrap();
        assert_eq!((need.scope, need.is_of_installation), (Scope::Operate, false));
        let need = found(OPERATOR_TOKEN, &["read", "installation"]).unwrap();
        assert_eq!((need.scope, need.is_of_installation), (Scope::Read, true));
        for entries in [&[][..], &["write"], &["installation"], &["read", "all"], &["read", "read"]]
        {
            assert_eq!(found(OPERATOR_TOKEN, entries), None, "{entries:?}");
        }
        assert_eq!(found("appJwt", &["read"]), None);
        assert_eq!(Needs::of(&document(None)).get("/a/{id}", &Method::GET), None);
        let two = ["read", "admin"].map(|entry| SecurityRequirement::new(OPERATOR_TOKEN, [entry]));
        let two = Needs::of(&document(Some(two.into())));
        assert_eq!(two.get("/a/{id}", &Method::GET), None, "either of two is the lower one");
    }

    #[test]
    fn methods_and_paths_that_are_not_declared_are_not_in_the_table() {
        let requirement = SecurityRequirement::new(OPERATOR_TOKEN, ["read"]);
        let needs = Needs::of(&document(Some(vec![requirement])));
        assert_eq!(needs.get("/a/{id}", &Method::POST), None);
        assert_eq!(needs.get("/a", &Method::GET), None);
        assert_eq!(needs.methods("/a/{id}"), ["GET", "HEAD"]);
    }
}
