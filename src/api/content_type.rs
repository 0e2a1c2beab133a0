//! Whether a request declares its body as JSON.

use axum::http::{HeaderMap, header};

/// Whether a body is declared as JSON, or not declared.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let name = value.split_once(';').map_or(value, |(name, _)| name);
    let name = name.trim().to_ascii_lowercase();
    name == "application/json" || (name.starts_with("application/") && name.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_may_have_parameters_and_a_suffix() {
        let declared = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            is_json(&headers)
        };
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/a+json"] {
            assert!(declared(json), "{json}");
        }
        for other in ["", "text/plain", "application/x-www-form-urlencoded", "json", "text/json"] {
            assert!(!declared(other), "{other}");
        }
        assert!(is_json(&HeaderMap::new()));
    }
}
