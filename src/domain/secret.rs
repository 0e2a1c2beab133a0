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
    fn length_counts_characters() {
        let secret = Secret::new("é".repeat(SECRET_CHARS_MIN - 1));
        assert!(secret.is_short() && secret.reveal().len() > SECRET_CHARS_MIN);
        assert!(!Secret::new("x".repeat(SECRET_CHARS_MIN)).is_short());
    }
}
