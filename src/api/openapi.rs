//! The OpenAPI document, made from the routes: a route is added together with its operation, so that neither
//! can be without the other.
//!
//! `finish` adds what all operations of an API share, `responses` has the error responses, `server` serves the
//! document.
//!
//! Design: `docs/design/openapi.md`.

mod finish;
mod responses;
mod server;
#[cfg(test)]
mod tests;

use axum::routing::MethodRouter;
use utoipa::ToSchema;
use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::{Operation, Paths};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

pub(super) use responses::{
    BadGateway, Conflict, Forbidden, Gone, Invalid, Misdirected, NotFound, Stale, Unavailable,
};
pub(super) use server::documented;

/// A path with its methods, and their operations: what the macro `routes!` of `utoipa_axum` returns.
pub(super) type DescribedRoute<S> = UtoipaMethodRouter<S>;

/// Adds a route, with and without a trailing slash; the document has the path without it.
pub(super) fn route<S>(router: OpenApiRouter<S>, route: DescribedRoute<S>) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let (schemas, paths, methods) = route;
    let with_slash: Vec<String> = paths.paths.keys().map(|path| format!("{path}/")).collect();
    let router = router.routes((schemas, paths, methods.clone()));
    with_slash.iter().fold(router, |router, path| router.route(path, methods.clone()))
}

/// Returns the route of `POST` at a path, whose operation is built by hand and answers with the schema `T`.
pub(super) fn described_post<T: ToSchema, S>(
    path: &str,
    operation: Operation,
    methods: MethodRouter<S>,
) -> DescribedRoute<S> {
    let mut paths = Paths::new();
    paths.add_path_operation(path, vec![HttpMethod::Post], operation);
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    (schemas, paths, methods)
}

/// Returns a route at another path, with `suffix` after the ids of its operations.
pub(super) fn moved<S>(route: DescribedRoute<S>, path: &str, suffix: &str) -> DescribedRoute<S> {
    let (schemas, paths, methods) = route;
    let mut moved = Paths::new();
    for (_, mut item) in paths.paths {
        for operation in finish::operations_mut(&mut item) {
            let id = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{id}{suffix}"));
        }
        moved.paths.entry(path.to_owned()).or_default().merge_operations(item);
    }
    (schemas, moved, methods)
}
