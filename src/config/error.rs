//! Errors of the configuration, with excerpts of the file.

use std::path::PathBuf;

use thiserror::Error;

use crate::domain::without_value;

/// Why the configuration is rejected; the message says where, and what to write instead.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration file {path}: {cause}; --config or SWITCHYARD_CONFIG names it, and without \
         them ./switchyard.toml is read if it exists"
    )]
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
    #[error("{origin}: {message}{excerpt}")]
    Invalid {
        /// File or variable.
        origin: String,
        /// What is wrong.
        message: String,
        /// Excerpt of the file with the key marked; empty for a variable, and for several keys.
        excerpt: String,
    },
}

impl ConfigError {
    /// Returns the error of settings that are invalid.
    pub(super) fn invalid(origin: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { origin: origin.into(), message: message.into(), excerpt: String::new() }
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
    ConfigError::invalid(origin, message)
}

/// Returns what is wrong with the value of a key, without the value.
pub(super) fn type_message(path: &str, error: &toml::de::Error) -> String {
    format!("`{path}`: {}", without_value(error.message()))
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
        let shown = type_message("url", &error);
        assert!(!shown.contains("hidden") && shown.contains("a text, expected"), "{shown}");
    }
}
