//! Errors of the configuration, with excerpts of the file.

use std::path::PathBuf;

use thiserror::Error;

use crate::domain::without_value;

/// Why the configuration is rejected; the message says where, and what to write instead.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{path}`{excerpt}\nhelp: {help}")]
    UnknownKey {
        /// File or variable.
        origin: String,
        /// The key with its sections.
        path: String,
        /// Excerpt of the file with the key marked; empty for a variable.
        excerpt: String,
        /// The nearest key, or the known keys.
        help: String,
    },
    /// The file is not TOML, or a value is of the wrong type or out of its range.
    #[error("{origin}: {message}")]
    Invalid {
        /// File or variable.
        origin: String,
        /// What is wrong.
        message: String,
    },
}

impl ConfigError {
    /// Adds an excerpt of `text` with the unknown key marked by carets.
    pub(super) fn with_excerpt(self, text: &str) -> Self {
        let Self::UnknownKey { origin, path, help, .. } = self else { return self };
        let excerpt = key_excerpt(text, &path).unwrap_or_default();
        Self::UnknownKey { origin, path, excerpt, help }
    }
}

/// Returns the error of a file that is not TOML. The lines that it quotes end at their `=`: a value that
/// is not quoted correctly may be a secret.
pub(super) fn syntax_error(origin: &str, error: &toml::de::Error) -> ConfigError {
    let text = error.to_string();
    let shown = text.lines().map(|line| {
        let quoted =
            line.split_once(" | ").filter(|(number, _)| number.trim().parse::<u32>().is_ok());
        match quoted.and_then(|_| line.split_once('=')) {
            Some((before, _)) => format!("{before}= ..."),
            None => line.to_owned(),
        }
    });
    let message = shown.collect::<Vec<_>>().join("\n");
    ConfigError::Invalid { origin: origin.into(), message }
}

/// Returns the error of a value of the wrong type, without the value.
pub(super) fn type_error(origin: &str, error: &toml::de::Error) -> ConfigError {
    let message = without_value(&error.to_string());
    ConfigError::Invalid { origin: origin.into(), message }
}

/// Replaces the texts of a line: they may be secrets.
fn without_texts(line: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(line.len()), line);
    while let Some((before, after)) = rest.split_once(['"', '\'']) {
        let quote = rest.get(before.len()..=before.len()).unwrap_or("\"");
        let closed = after.split_once(quote).map_or("", |(_, rest)| rest);
        shown.extend([before, quote, "...", quote]);
        rest = closed;
    }
    shown.push_str(rest);
    shown
}

/// Renders ` --> 3:1` and the line with carets below the key, or below the section's name.
fn key_excerpt(text: &str, path: &str) -> Option<String> {
    let mut section = String::new();
    for (at, line) in text.lines().enumerate() {
        let written = line.trim();
        let name = if let Some(header) = written.strip_prefix('[') {
            section = header.split(']').next().unwrap_or_default().trim().to_owned();
            (section == path).then(|| section.rsplit('.').next().unwrap_or_default().to_owned())
        } else {
            let key = written.split('=').next().unwrap_or_default().trim();
            let full = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            (full == path).then(|| key.to_owned())
        };
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let before = line.get(..line.find(&name)?)?.chars().count();
            let (number, column) = (at + 1, before + 1);
            let gutter = " ".repeat(number.to_string().len());
            let line = without_texts(line);
            let (indent, carets) = (" ".repeat(before), "^".repeat(name.chars().count()));
            return Some(format!(
                "\n{gutter}--> {number}:{column}\n{gutter} |\n{number} | {line}\n{gutter} | {indent}{carets}\n{gutter} |"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use toml::Table;

    use super::*;

    #[test]
    fn errors_of_a_file_show_no_value() {
        for text in ["[admin]\ntoken = \"hidden", "[admin]\ntoken = hidden", "token = 'hidden' x"] {
            let error = text.parse::<Table>().unwrap_err();
            assert!(error.to_string().contains("hidden"), "the parser shows it: {error}");
            let shown = syntax_error("file", &error).to_string();
            assert!(!shown.contains("hidden") && shown.contains("token = ..."), "{shown}");
        }
        let table: Table = "url = \"nats://u:hidden\\\", expected@h\"".parse().unwrap();
        let error =
            table.try_into::<std::collections::BTreeMap<String, Vec<String>>>().unwrap_err();
        let shown = type_error("file", &error).to_string();
        assert!(!shown.contains("hidden") && shown.contains("a text, expected"), "{shown}");
        let excerpt = key_excerpt("[admin]\ntokn = \"hidden\" # 'x'\n", "admin.tokn").unwrap();
        assert!(!excerpt.contains("hidden") && excerpt.contains("tokn = \"...\""), "{excerpt}");
        assert_eq!(without_texts("a = \"b"), "a = \"...\"");
        assert_eq!(without_texts("a = 1"), "a = 1");
    }
}
