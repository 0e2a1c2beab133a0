//! Secrets: values that no log, error or response shows.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

/// Fewest characters of a secret that an operator chooses. A random text of this length cannot be
/// guessed; chosen words can, but need as many.
pub const SECRET_CHARS_MIN: usize = 32;
/// Fewest characters of a secret that a vendor issues.
pub const ISSUED_SECRET_CHARS_MIN: usize = 8;

/// A secret: a token, a password or a key. Its `Debug` and `Display` forms hide the text, and it is
/// not `Serialize`: code that stores or shows it has to call [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the secret in clear text, for signing and for the one response that shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it has no text, as an unset key of the configuration.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns its length in characters.
    #[must_use]
    pub fn chars(&self) -> usize {
        self.0.chars().count()
    }

    /// Whether it is shorter than a secret that an operator chooses, [`SECRET_CHARS_MIN`].
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.chars() < SECRET_CHARS_MIN
    }
}

/// Returns the message of a serde error of a wrong type or value without the value, which may be a
/// secret in the wrong place: "invalid type: string \"abc\", expected a map" names "a text".
#[must_use]
pub fn without_value(message: &str) -> String {
    let Some((label, rest)) = ["invalid type: ", "invalid value: "]
        .into_iter()
        .find_map(|label| message.split_once(label).map(|(_, rest)| (label, rest)))
    else {
        return message.to_owned();
    };
    let kind = match rest.split([' ', ',']).next() {
        Some("string") => "a text",
        Some("integer" | "floating") => "a number",
        Some("byte" | "character") => "a value",
        _ => return message.to_owned(),
    };
    let before = message.split(label).next().unwrap_or_default();
    // The value may have these words, too; what serde adds comes last.
    let after = rest.rfind(", expected ").and_then(|at| rest.get(at..)).unwrap_or_default();
    format!("{before}{label}{kind}{after}")
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_it_shows_the_text() {
        let secret: Secret = serde_json::from_str("\"hidden text\"").unwrap();
        assert_eq!(secret.reveal(), "hidden text");
        for shown in [format!("{secret:?}"), format!("{secret:#?}"), format!("{secret}")] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
    }

    #[test]
    fn errors_of_wrong_types_show_no_value() {
        let hidden = "a hidden, expected secret";
        for value in
            [serde_json::json!(hidden), serde_json::json!(47_114_711), serde_json::json!(4711.5)]
        {
            let error = serde_json::from_value::<Vec<u8>>(value).unwrap_err().to_string();
            let shown = without_value(&error);
            assert!(!shown.contains("hidden") && !shown.contains("4711"), "{shown}");
            assert!(shown.ends_with("expected a sequence"), "{shown}");
        }
        for kept in ["missing field `key`", "invalid type: null, expected a map"] {
            assert_eq!(without_value(kept), kept);
        }
    }

    #[test]
    fn length_counts_characters() {
        let secret = Secret::new("é".repeat(SECRET_CHARS_MIN - 1));
        assert!(secret.is_short() && secret.reveal().len() > SECRET_CHARS_MIN);
        assert!(!Secret::new("x".repeat(SECRET_CHARS_MIN)).is_short());
    }
}
