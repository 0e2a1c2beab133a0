//! Excerpts of responses for the delivery log, without secrets. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::Serialize;

/// Most bytes of a body that an excerpt has, before what is not UTF-8 is replaced.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Most characters of a header.
const HEADER_CHARS_MAX: usize = 256;
/// The headers that an excerpt has: none of them carries a credential.
const HEADERS: [&str; 10] = [
    "content-type",
    "content-length",
    "content-encoding",
    "date",
    "location",
    "retry-after",
    "server",
    "via",
    "www-authenticate",
    "x-request-id",
];
/// What replaces a secret.
const REDACTED: &str = "[redacted]";

/// Credentials by their form, whatever is around them: signing secrets, JSON web tokens.
static TOKENS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"whsec_[A-Za-z0-9+/=_-]+|\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,2}").ok()
});
/// Credentials after the scheme of an `Authorization` header.
static SCHEMES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\b(bearer|basic|jwt|token)(\s+)[A-Za-z0-9._~+/=-]{8,}").ok());
/// Values of members and parameters whose names say that they are secret.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "passw(?:or)?d|secret|token|authorization|cookie|api[_-]?key|private[_-]?key|signature|credential";
    let member = format!(r#""[^"\\]*(?:{names})[^"\\]*"\s*:\s*"#);
    let parameter = format!(r"\b[\w-]*(?:{names})[\w-]*=");
    Regex::new(&format!(
        r#"(?i)(?:({member})(?:"(?:[^"\\]|\\.)*"?|[^\s,\]}}"{{\[]+)|({parameter})[^\s&;,"'<>]+)"#
    ))
    .ok()
});

/// An excerpt of a response, without secrets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ResponseExcerpt {
    /// Headers of an allow-list, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<&'static str, String>,
    /// The first 16 KiB of the body; what is not UTF-8 is replaced.
    pub body: String,
    /// Size of the body as far as it was read, in bytes.
    pub bytes: usize,
}

impl ResponseExcerpt {
    /// Returns the excerpt of a response; `header` returns the value of a header.
    #[must_use]
    pub fn of<'a>(header: impl Fn(&str) -> Option<&'a str>, body: &[u8]) -> Self {
        let shown = |name: &'static str| {
            let value: String = header(name)?.chars().take(HEADER_CHARS_MAX).collect();
            Some((name, redacted(value)))
        };
        let start = body.get(..BODY_BYTES_MAX).unwrap_or(body);
        Self {
            headers: HEADERS.into_iter().filter_map(shown).collect(),
            body: redacted(String::from_utf8_lossy(start).into_owned()),
            bytes: body.len(),
        }
    }
}

/// Replaces what looks like a secret. Without the patterns, all of it.
fn redacted(text: String) -> String {
    let (Some(tokens), Some(schemes), Some(named)) = (&*TOKENS, &*SCHEMES, &*NAMED) else {
        return REDACTED.to_owned();
    };
    let text =
        named.replace_all(&text, |found: &Captures<'_>| match (found.get(1), found.get(2)) {
            (Some(member), _) => format!("{}\"{REDACTED}\"", member.as_str()),
            (None, parameter) => {
                format!("{}{REDACTED}", parameter.map_or("", |found| found.as_str()))
            }
        });
    let text = schemes.replace_all(&text, |found: &Captures<'_>| {
        let part = |number| found.get(number).map_or("", |part| part.as_str());
        format!("{}{}{REDACTED}", part(1), part(2))
    });
    tokens.replace_all(&text, REDACTED).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(body: &[u8]) -> String {
        ResponseExcerpt::of(|_| None, body).body
    }

    #[test]
    fn secrets_are_replaced_wherever_they_are() {
        for (text, expected) in [
            (
                r#"{"error":"x","accessToken":"abc\"d","n":1}"#,
                r#"{"error":"x","accessToken":"[redacted]","n":1}"#,
            ),
            (r#"{"password" : 4711, "k":"v"}"#, r#"{"password" : "[redacted]", "k":"v"}"#),
            (
                r#"{"headers":{"Authorization":"Bearer abcdef0123"}}"#,
                r#"{"headers":{"Authorization":"[redacted]"}}"#,
            ),
            ("authorization: Bearer abcdef0123456789", "authorization: Bearer [redacted]"),
            ("key whsec_MDEyMzQ1Njc4OWFiY2RlZg== is wrong", "key [redacted] is wrong"),
            ("got eyJhbGciOi.eyJpc3MiOi.c2ln here", "got [redacted] here"),
            ("/cb?client_secret=abc&x=1", "/cb?client_secret=[redacted]&x=1"),
            // Cut in the middle of a value.
            (r#"{"token":"abc"#, r#"{"token":"[redacted]""#),
            (
                r#"{"message":"no such issue","status":404}"#,
                r#"{"message":"no such issue","status":404}"#,
            ),
        ] {
            assert_eq!(body_of(text.as_bytes()), expected);
        }
    }

    #[test]
    fn only_listed_headers_are_kept() {
        let header = |name: &str| match name {
            "content-type" => Some("text/html"),
            "set-cookie" => Some("session=1"),
            "www-authenticate" => Some("Bearer realm=x"),
            _ => None,
        };
        let excerpt = ResponseExcerpt::of(header, b"");
        let names: Vec<_> = excerpt.headers.keys().copied().collect();
        assert_eq!(names, ["content-type", "www-authenticate"]);
    }

    #[test]
    fn body_is_cut_and_what_is_not_utf8_is_replaced() {
        let long = vec![b'x'; 3 * BODY_BYTES_MAX];
        let excerpt = ResponseExcerpt::of(|_| None, &long);
        assert_eq!((excerpt.body.len(), excerpt.bytes), (BODY_BYTES_MAX, 3 * BODY_BYTES_MAX));
        assert_eq!(body_of(b"a\xffb"), "a\u{fffd}b");
    }
}
