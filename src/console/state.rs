//! State of the console.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use maud::Markup;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::components::refusal;
use super::layout::Page;
use super::operator_api::{ApiPath, ApiRefusal, OperatorApi};
use super::session::Sessions;
use super::visitor::Visitor;
use crate::api::{OwnHosts, Shared};
use crate::domain::Secret;

/// State of the console, shared by its pages.
#[derive(Clone)]
pub struct Console {
    /// Answers what the pages show.
    pub operator_api: OperatorApi,
    /// Sessions of visitors who logged in; none in `dev` mode, which has no login.
    pub sessions: Option<Sessions>,
    /// Names under which browsers may open it.
    pub hosts: OwnHosts,
    /// Counts visitors with a wrong token.
    pub api: Shared,
    /// What forms must carry where visitors do not log in.
    pub csrf: Arc<Secret>,
    /// Ends the live feed when the router stops.
    pub stop: CancellationToken,
}

impl Console {
    /// Asks the API in the name of a visitor.
    ///
    /// # Errors
    /// As [`OperatorApi::get`].
    pub(super) async fn get(&self, visitor: &Visitor, path: &ApiPath) -> Result<Value, ApiRefusal> {
        self.operator_api.get(visitor, path).await
    }

    /// Posts to the API in the name of a visitor.
    ///
    /// # Errors
    /// As [`OperatorApi::post`].
    pub(super) async fn post(
        &self,
        visitor: &Visitor,
        path: &ApiPath,
        body: Option<&Value>,
    ) -> Result<Value, ApiRefusal> {
        self.operator_api.post(visitor, path, body).await
    }
}

/// Returns a page, or the page that says why there is none.
pub(super) fn shown(
    visitor: &Visitor,
    page: Page<'_>,
    content: Result<Markup, ApiRefusal>,
) -> Response {
    match content {
        Ok(content) => page.show(visitor, &content).into_response(),
        Err(refused) => refused_page(visitor, page, &refused),
    }
}

/// Returns the page that says why the API refused, with its status.
pub(super) fn refused_page(visitor: &Visitor, page: Page<'_>, refused: &ApiRefusal) -> Response {
    (refused.status, page.show(visitor, &refusal(refused))).into_response()
}
