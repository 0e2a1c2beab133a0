//! Query parameters and pages: one parser of `limit` and of cursors for every list.

use data_encoding::BASE64URL_NOPAD;
use url::form_urlencoded;

use super::error::ApiError;
use crate::registry::{Problem, code};

/// The parameters of a query; the last one wins if a name is repeated.
pub(super) struct QueryParams(Vec<(String, String)>);

impl QueryParams {
    pub(super) fn parse(raw: Option<&str>) -> Self {
        Self(form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// Yields the names of the parameters.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Returns the parameter `limit`, from 1 to `max`, or `default`.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(default) };
        let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| {
            let message = format!("`{text}` is not a whole number from 1 to {max}");
            Problem::new(code::FORM, "limit", message).into()
        })
    }

    /// Returns a parameter that is a whole number from 0.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            let message = format!("`{text}` is not a whole number from 0");
            Problem::new(code::FORM, name, message).into()
        })
    }

    /// Returns whether a parameter is `true`; false without it.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(text) => {
                let message = format!("`{text}` is neither `true` nor `false`");
                Err(Problem::new(code::FORM, name, message).into())
            }
        }
    }

    /// Decodes the cursor in parameter `name`.
    pub(super) fn cursor(&self, name: &str) -> Result<Option<String>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let read = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let position = read.and_then(|bytes| String::from_utf8(bytes).ok());
        position.map(Some).ok_or_else(|| invalid_cursor(name))
    }
}

/// Returns the error of a cursor that is not one of ours.
pub(super) fn invalid_cursor(name: &str) -> ApiError {
    Problem::new(code::FORM, name, "this is not a cursor of an earlier page").into()
}

/// Encodes a position in a list as an opaque cursor.
pub(super) fn encode_cursor(position: &str) -> String {
    BASE64URL_NOPAD.encode(position.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_accepted_only_within_its_bounds() {
        let limit = |raw: &str| QueryParams::parse(Some(raw)).limit(7, 100).ok();
        assert_eq!(limit(""), Some(7));
        assert_eq!((limit("limit=1"), limit("limit=100")), (Some(1), Some(100)));
        for bad in ["limit=0", "limit=101", "limit=-1", "limit=abc", "limit=", "limit=1.5"] {
            assert_eq!(limit(bad), None, "{bad}");
        }
    }

    #[test]
    fn cursor_round_trips_and_invalid_text_is_rejected() {
        let raw = format!("after={}", encode_cursor("inst-a/käy"));
        assert_eq!(
            QueryParams::parse(Some(&raw)).cursor("after").ok().flatten().unwrap(),
            "inst-a/käy"
        );
        assert!(QueryParams::parse(Some("after=%21%21")).cursor("after").is_err());
        assert_eq!(QueryParams::parse(None).cursor("after").ok().flatten(), None);
    }
}
