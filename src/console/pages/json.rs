//! `/json/...`: the answer of the operator API that a page is made of, for the visitor of the page.

use axum::extract::{Path, Query, RawQuery, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use super::explain::question;
use crate::console::asked::Asked;
use crate::console::state::Console;
use crate::console::visitor::Visitor;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/json/{*path}", get(answer))
}

async fn answer(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    uri: axum::http::Uri,
    Path(_path): Path<String>,
    RawQuery(query): RawQuery,
    Query(asked): Query<Asked>,
) -> Response {
    // The path as it came, still percent-encoded: an id may have a `/`.
    let path = uri.path().strip_prefix("/json/").unwrap_or_default();
    let (method, uri, body) = match path {
        // It is asked with a body.
        "explain" => (Method::POST, "/admin/v1/explain".to_owned(), Some(question(&asked))),
        path => {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            (Method::GET, format!("/admin/v1/{path}{query}"), None)
        }
    };
    match console.operator_api.response(&visitor, method, &uri, body.as_ref()).await {
        Ok(response) => response,
        Err(refused) => (refused.status, refused.message).into_response(),
    }
}
