//! The tokens that authenticate operators: a fixed one, and those of a file, which may change.

use std::sync::Arc;

use arc_swap::ArcSwap;
use subtle::{Choice, ConstantTimeEq};

use crate::domain::Secret;
use crate::registry::digest;

/// Maximum number of tokens in a file.
const TOKENS_MAX: usize = 64;

/// The tokens of operators; clones share them. Without a token every request is rejected.
#[derive(Clone, Debug, Default)]
pub struct AdminTokens {
    fixed: Option<Secret>,
    of_file: Arc<ArcSwap<Vec<Secret>>>,
}

impl AdminTokens {
    /// Creates the tokens of a configuration; an empty token is none.
    #[must_use]
    pub fn new(fixed: Secret, of_file: Vec<Secret>) -> Self {
        let fixed = Some(fixed).filter(|token| !token.is_empty());
        Self { fixed, of_file: Arc::new(ArcSwap::from_pointee(of_file)) }
    }

    /// Replaces the tokens of the file.
    pub fn replace(&self, of_file: Vec<Secret>) {
        self.of_file.store(Arc::new(of_file));
    }

    /// Returns one of them, for a client in the same process.
    #[must_use]
    pub fn any(&self) -> Option<Secret> {
        self.fixed.clone().or_else(|| self.of_file.load().first().cloned())
    }

    /// Whether `presented` is one of them. The time depends on their number only.
    #[must_use]
    pub fn accepts(&self, presented: &str) -> bool {
        self.accepts_digest(&digest(presented))
    }

    /// Whether `presented` is the [`digest`] of one of them. The time depends on their number only.
    #[must_use]
    pub fn accepts_digest(&self, presented: &str) -> bool {
        // Digests have equal length, so the comparison does not leak the length of a token.
        let of_file = self.of_file.load();
        let all = self.fixed.iter().chain(of_file.iter());
        let found = all.fold(Choice::from(0), |found, token| {
            found | digest(token.reveal()).as_bytes().ct_eq(presented.as_bytes())
        });
        found.into()
    }
}

/// Parses a file of tokens: one a line, without empty lines and lines that start with `#`.
///
/// # Errors
/// It has no token, or more than 64. The message has no part of the text.
pub fn parse_token_file(text: &str) -> Result<Vec<Secret>, String> {
    let lines = text.lines().map(str::trim);
    let tokens = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tokens: Vec<Secret> = tokens.map(Secret::new).collect();
    match tokens.len() {
        0 => Err("it has no token; write one a line".into()),
        1..=TOKENS_MAX => Ok(tokens),
        count => Err(format!("it has {count} tokens; at most {TOKENS_MAX} are read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_accepted_and_nothing_else() {
        let tokens = AdminTokens::new(
            Secret::new("fixed"),
            vec!["a".into(), "b".into()].into_iter().map(|t: String| Secret::new(t)).collect(),
        );
        for accepted in ["fixed", "a", "b"] {
            assert!(tokens.accepts(accepted), "{accepted}");
        }
        assert!(tokens.accepts_digest(&digest("a")) && !tokens.accepts_digest("a"));
        tokens.clone().replace(vec![Secret::new("c")]);
        assert!(tokens.accepts("c") && tokens.accepts("fixed"));
        for rejected in ["", "a", "b", "fixe", "fixed2"] {
            assert!(!tokens.accepts(rejected), "{rejected}");
        }
        assert!(!AdminTokens::new(Secret::new(""), Vec::new()).accepts(""), "no token at all");
    }

    #[test]
    fn file_has_a_token_a_line() {
        let tokens = parse_token_file("# of the week\n one \n\ntwo\r\n").unwrap();
        let tokens: Vec<_> = tokens.iter().map(Secret::reveal).collect();
        assert_eq!(tokens, ["one", "two"]);
        assert!(parse_token_file("# none\n").is_err());
        let many = "t\n".repeat(TOKENS_MAX + 1);
        assert!(parse_token_file(&many).unwrap_err().contains("65 tokens"));
    }
}
