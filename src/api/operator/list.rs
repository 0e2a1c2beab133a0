//! Pages of the operator's lists.

use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::json::insert_some;
use crate::api::query_params::{self, QueryParams};

/// Default number of items on one page of a list.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// Maximum number of items on one page.
pub(super) const LIMIT_MAX: usize = 500;

/// Parses the cursor and the length of a page.
pub(super) fn page_params(query: Option<&str>) -> Result<(Option<String>, usize), ApiError> {
    let query = QueryParams::parse(query);
    Ok((query.cursor("cursor")?, query.limit(LIMIT_DEFAULT, LIMIT_MAX)?))
}

/// Returns the cursor of the next page, if `ids` has more than `limit`.
pub(super) fn next_cursor<T>(ids: &[T], limit: usize, text: impl Fn(&T) -> &str) -> Option<String> {
    let last = ids.get(limit.checked_sub(1)?)?;
    (ids.len() > limit).then(|| query_params::encode_cursor(text(last)))
}

/// Renders a page of a list.
pub(super) fn page_view(items: Vec<Value>, next_cursor: Option<String>) -> Value {
    let mut answer = json!({"items": items});
    insert_some(&mut answer, "nextCursor", next_cursor);
    answer
}
