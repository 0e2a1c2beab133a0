//! Errors of the configuration, with excerpts of the file.

use std::path::PathBuf;

use thiserror::Error;

/// Why the configuration is rejected; the message says where, and what to write instead.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
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
            let (indent, carets) = (" ".repeat(before), "^".repeat(name.chars().count()));
            return Some(format!(
                "\n{gutter}--> {number}:{column}\n{gutter} |\n{number} | {line}\n{gutter} | {indent}{carets}\n{gutter} |"
            ));
        }
    }
    None
}
