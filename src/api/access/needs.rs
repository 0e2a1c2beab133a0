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

/// What the operations of some routes need, by path and method; none of an operation that does not say it.
#[derive(Debug, Default)]
pub(super) struct Needs(HashMap<String, BTreeMap<&'static str, Option<Need>>>);

/// What the table has for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Its need.
    Need(Need),
    /// An operation that does not say what it needs, or no operation at this path.
    Undeclared,
    /// The path has operations, but none with this method.
    OtherMethods,
}

impl Needs {
    /// Reads a document. An operation that declares nothing, or something else, has no need.
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
            let known = operations.into_iter().filter_map(|(method, operation)| {
                operation.as_ref().map(|operation| (method, need_of(operation)))
            });
            by_method.extend(known);
        }
        needs
    }

    /// Returns what a request needs whose path matched this one.
    pub(super) fn find(&self, path: &str, method: &Method) -> Found {
        // The answer to it is that to `GET`, without the body.
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let Some(operations) = self.0.get(without_slash(path)) else { return Found::Undeclared };
        match operations.get(method) {
            Some(Some(need)) => Found::Need(*need),
            Some(None) => Found::Undeclared,
            None => Found::OtherMethods,
        }
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

    fn found(scheme: &str, entries: &[&str]) -> Found {
        let requirement = SecurityRequirement::new(scheme, entries.iter().copied());
        Needs::of(&document(Some(vec![requirement]))).find("/a/{id}/", &Method::HEAD)
    }

    #[test]
    fn need_is_what_is_declared_exactly_and_all_else_is_undeclared() {
        let need = |scope, is_of_installation| {
            Found::Need(Need { scope, is_of_installation, query: OwnerParameters::default() })
        };
        assert_eq!(found(OPERATOR_TOKEN, &["operate"]), need(Scope::Operate, false));
        assert_eq!(found(OPERATOR_TOKEN, &["read", "installation"]), need(Scope::Read, true));
        for entries in [&[][..], &["write"], &["installation"], &["read", "all"], &["read", "read"]]
        {
            assert_eq!(found(OPERATOR_TOKEN, entries), Found::Undeclared, "{entries:?}");
        }
        assert_eq!(found("appJwt", &["read"]), Found::Undeclared);
        let none = Needs::of(&document(None));
        assert_eq!(none.find("/a/{id}", &Method::GET), Found::Undeclared);
        let two = ["read", "admin"].map(|entry| SecurityRequirement::new(OPERATOR_TOKEN, [entry]));
        let two = Needs::of(&document(Some(two.into())));
        let found = two.find("/a/{id}", &Method::GET);
        assert_eq!(found, Found::Undeclared, "either of two is the lower one");
    }

    #[test]
    fn methods_and_paths_without_an_operation_have_no_need() {
        let requirement = SecurityRequirement::new(OPERATOR_TOKEN, ["read"]);
        let needs = Needs::of(&document(Some(vec![requirement])));
        assert_eq!(needs.find("/a/{id}", &Method::POST), Found::OtherMethods);
        assert_eq!(needs.find("/a", &Method::GET), Found::Undeclared);
    }
}
