//! What the URL of a page asks for, and what its forms post.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::operator_api::{ApiPath, encoded};

/// The parameters of a URL or a form by name; of several of one name the last counts.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Asked(BTreeMap<String, String>);

impl Asked {
    /// Creates it of pairs.
    pub(super) fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// Sets a parameter.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Returns a parameter without spaces around it; "" if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map(|value| value.trim()).unwrap_or_default()
    }

    /// Returns a parameter as it is, such as a filter with its line breaks.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Adds these parameters to a question.
    pub(super) fn ask(&self, mut path: ApiPath, names: &[&str]) -> ApiPath {
        for name in names {
            path = path.with(name, self.get(name));
        }
        path
    }

    /// Adds which page of a list is asked for, of 50 entries each.
    pub(super) fn one_page(&self, path: &ApiPath) -> ApiPath {
        path.clone().with("cursor", self.get("cursor")).with("limit", "50")
    }

    /// Returns the URL of a page with these parameters, and one of them replaced.
    pub(super) fn link(&self, page: &str, names: &[&str], (name, value): (&str, &str)) -> String {
        let kept = names.iter().filter(|kept| **kept != name).map(|kept| (*kept, self.get(kept)));
        let pairs = kept.chain([(name, value)]).filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> =
            pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        if pairs.is_empty() { page.to_owned() } else { format!("{page}?{}", pairs.join("&")) }
    }

    /// Returns the flags of the command line for these parameters, each value quoted for a shell.
    pub(super) fn flags(&self, names: &[&str]) -> String {
        let given = names.iter().map(|name| (*name, self.get(name)));
        let given = given.filter(|(_, value)| !value.is_empty());
        let flags = given.map(|(name, value)| match value {
            "true" => format!(" --{name}"),
            value => format!(" --{name} {}", shell_word(value)),
        });
        flags.collect()
    }
}

/// Quotes a text for a shell, unless it needs no quotes.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,=".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_what_was_asked_and_replace_one_parameter() {
        let pairs = [("q", "a b"), ("cursor", "9"), ("state", "")];
        let asked = Asked::of(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(asked.link("/x", &["q", "state", "cursor"], ("cursor", "")), "/x?q=a%20b");
        assert_eq!(asked.link("/x", &["q"], ("state", "paused")), "/x?q=a%20b&state=paused");
        assert_eq!(asked.link("/x", &[], ("q", "")), "/x");
        assert_eq!(asked.flags(&["q", "state"]), " --q 'a b'");
    }

    #[test]
    fn a_word_cannot_leave_its_quotes() {
        assert_eq!(shell_word("acme/key-1"), "acme/key-1");
        assert_eq!(shell_word("a'; rm -rf /"), "'a'\\''; rm -rf /'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("$(x)`y`\n"), "'$(x)`y`\n'");
    }
}
