//! Lists of the operator API, read page by page within a bound.

use hyper::Method;
use serde_json::Value;

use super::client::{ApiClient, path_segment};
use super::io::{print_error, print_hints};

/// Most items of one page.
pub(super) const PAGE_MAX: usize = 500;
/// Most pages without an item in a row; each may take seconds of reading.
pub(super) const EMPTY_PAGES_MAX: usize = 100;

/// Reads pages until `limit`, called with the number of items so far, is 0 or there are no more. A page
/// may be empty because the time of its request was used up.
///
/// # Errors
/// The router does not answer or rejects the request.
pub(super) async fn read_pages(
    client: &ApiClient,
    path: &str,
    parameters: &[(&str, Option<String>)],
    limit: impl Fn(usize) -> usize,
) -> anyhow::Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut cursor = None;
    let mut empty = 0;
    while limit(items.len()) > 0 && empty < EMPTY_PAGES_MAX {
        let mut all = parameters.to_vec();
        all.push(("limit", Some(limit(items.len()).to_string())));
        all.push(("cursor", cursor.take()));
        let path = format!("{path}{}", query(&all));
        let mut page = client.send(Method::GET, &path, &[], &Value::Null).await?;
        let found = match page.get_mut("items").map(Value::take) {
            Some(Value::Array(found)) => found,
            _ => Vec::new(),
        };
        print_hints(&page);
        empty = if found.is_empty() { empty + 1 } else { 0 };
        items.extend(found);
        let text = |name| page.get(name).and_then(Value::as_str);
        let Some(next) = text("nextCursor") else { break };
        if let Some(until) = text("examinedUntil").filter(|_| empty > 0) {
            print_error(&format!("nothing found back to {until}; reading on"));
        }
        cursor = Some(next.to_owned());
    }
    Ok(items)
}

/// Returns a query with the parameters that have a value.
pub(super) fn query(parameters: &[(&str, Option<String>)]) -> String {
    let set = parameters.iter().filter_map(|(name, value)| {
        let value = path_segment(value.as_deref()?);
        Some(format!("{name}={value}"))
    });
    let text = set.collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_set_parameters_are_sent_and_encoded() {
        let parameters =
            [("site", Some("a/b".to_owned())), ("entity", None), ("limit", Some("1".into()))];
        assert_eq!(query(&parameters), "?site=a%2Fb&limit=1");
        assert_eq!(query(&[]), "");
    }
}
