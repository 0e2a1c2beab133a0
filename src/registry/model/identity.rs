//! What is readable of a document that cannot be read as a whole.
//!
//! Contract with later formats: a document stays a JSON object, and its members `format`, `id`,
//! `app` and `cloudId` keep their names and meaning. So a release knows whom a document of a newer
//! format concerns.

use serde_json::Value;

use crate::domain::{AppId, CloudId};

/// The identifying members of a document, as far as they are readable.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct DocumentIdentity {
    /// Format version.
    pub(crate) format: Option<u64>,
    /// Id of the record.
    pub(crate) id: Option<String>,
    /// App of an installation.
    pub(crate) app: Option<AppId>,
    /// Site of an installation.
    pub(crate) site: Option<CloudId>,
}

impl DocumentIdentity {
    /// Reads what it can of `value`, which may be anything.
    pub(crate) fn of(value: &[u8]) -> Self {
        let Ok(document) = serde_json::from_slice::<Value>(value) else { return Self::default() };
        let text = |name: &str| {
            let text = document.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty())
        };
        Self {
            format: document.get("format").and_then(Value::as_u64),
            id: text("id").map(str::to_owned),
            app: text("app").map(AppId::from),
            site: text("cloudId").map(CloudId::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_members_of_any_bytes() {
        let newer = br#"{"format":7,"id":"i","app":{"new":1},"cloudId":"site","modules":{"a":{}}}"#;
        let found = DocumentIdentity::of(newer);
        assert_eq!((found.format, found.id.as_deref()), (Some(7), Some("i")));
        assert_eq!((found.app, found.site), (None, Some("site".into())));
        for noise in [&b""[..], b"\xff\xfe", b"[1]", br#"{"format":1"#, br#"{"id":""}"#] {
            assert_eq!(DocumentIdentity::of(noise), DocumentIdentity::default());
        }
    }
}
