//! What follows a change: the page with what was done, or why it was refused.

use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::Value;

use crate::console::layout::Page;
use crate::console::operator_api::ApiRefusal;
use crate::console::state::refused_page;
use crate::console::visitor::Visitor;

/// Leads the browser to a page of this console, so that reloading it does not repeat the change; or says why the change
/// was refused.
pub(super) fn posted(
    visitor: &Visitor,
    page: Page<'_>,
    answer: Result<Value, ApiRefusal>,
    next: &str,
) -> Response {
    match answer {
        Ok(_) => Redirect::to(next).into_response(),
        Err(refused) => refused_page(visitor, page, &refused),
    }
}
