//! The effective settings: each with its value, where that comes from, and the values that it replaces.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::sections::Config;

/// Keys whose values are secrets, in addition to those of sites that post webhooks.
const SECRETS: [&str; 5] =
    ["admin.token", "metrics.token", "oidc.client_secret", "secrets.key", "traces.headers"];
/// Ends of the keys of a site whose values are secrets.
const SITE_SECRETS: [&str; 4] = [".secret", ".token", ".previous_secret", ".previous_token"];
/// Shown in place of a secret.
const MASK: &str = "***";

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The default file, which is compiled in.
    Default,
    /// A configuration file.
    File {
        /// Its path.
        path: String,
        /// Line of the key, from 1.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(String),
}

/// A value without its secrets, with its origin.
#[derive(Clone, PartialEq, Debug)]
pub struct ShownValue {
    /// The value; a secret is `***`, unless it is empty.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// One setting.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting {
    /// Its key with the section, such as `delivery.timeout_ms`.
    pub path: String,
    /// The value in force.
    pub current: ShownValue,
    /// The values that it replaces, the most recent first.
    pub replaced: Vec<ShownValue>,
}

/// A loaded configuration, with the source of every value.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Its settings by key, without secrets.
    pub settings: Vec<Setting>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{path}:{line}"),
            Self::File { path, line: None } => f.write_str(path),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// The values of all settings, from the first source to the last.
#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<String, Vec<(Origin, Value)>>);

impl Layers {
    /// Adds the values of a whole table.
    pub(super) fn add_all(&mut self, table: &Table, origin: &dyn Fn(&str) -> Origin) {
        for (path, value) in leaves(table) {
            let origin = origin(&path);
            self.add(path, origin, value);
        }
    }

    /// Adds the value of one setting.
    pub(super) fn add(&mut self, path: String, origin: Origin, value: Value) {
        self.0.entry(path).or_default().push((origin, value));
    }

    /// Returns where the value of a setting comes from.
    pub(super) fn origin(&self, path: &str) -> Option<&Origin> {
        self.0.get(path)?.last().map(|(origin, _)| origin)
    }

    /// Returns the settings by key, without secrets.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let setting = |(path, values): (&String, &Vec<(Origin, Value)>)| {
            let mut shown = values.iter().rev().map(|(origin, value)| ShownValue {
                value: masked(path, value),
                origin: origin.clone(),
            });
            let current = shown.next()?;
            Some(Setting { path: path.clone(), current, replaced: shown.collect() })
        };
        self.0.iter().filter_map(setting).collect()
    }
}

/// Returns the values of a table that are no tables, by their paths.
fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = leaves(inner).into_iter();
                found.extend(inner.map(|(path, value)| (format!("{key}.{path}"), value)));
            }
            value => found.push((key.clone(), value.clone())),
        }
    }
    found
}

fn masked(path: &str, value: &Value) -> Value {
    let is_site_secret =
        path.starts_with("ingest.") && SITE_SECRETS.iter().any(|end| path.ends_with(end));
    match value {
        Value::String(text) if SECRETS.contains(&path) || is_site_secret => {
            Value::String(if text.is_empty() { String::new() } else { MASK.to_owned() })
        }
        Value::String(text) => Value::String(without_password(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| masked(path, item)).collect()),
        value => value.clone(),
    }
}

/// Hides the user and the password, or the token, of a URL.
pub(super) fn without_password(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        Some((_, host)) if scheme.is_empty() => format!("{MASK}@{host}"),
        Some((_, host)) => format!("{scheme}://{MASK}@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_of_the_sections_is_masked() {
        let sections = include_str!("sections.rs");
        let (mut section, mut secrets) = (String::new(), Vec::new());
        for line in sections.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("/// `[") {
                section = name.split(']').next().unwrap().to_owned();
            }
            if let Some(key) = line.strip_prefix("pub ").and_then(|l| l.strip_suffix(": Secret,")) {
                secrets.push(format!("{section}.{key}"));
            }
        }
        secrets.sort_unstable();
        assert_eq!(secrets, SECRETS);
        for key in ["secret", "token", "previous_secret", "previous_token"] {
            let value = masked(&format!("ingest.jira.c1.{key}"), &Value::from("hidden"));
            assert_eq!(value, Value::from(MASK), "{key}");
        }
        assert_eq!(masked("admin.token", &Value::from("")), Value::from(""));
    }

    #[test]
    fn urls_are_shown_without_password() {
        for (url, shown) in [
            ("nats://u:p@ss@host:4222", "nats://***@host:4222"),
            ("u:p@host", "***@host"),
            ("tls://host", "tls://host"),
        ] {
            let value = masked("nats.url", &Value::Array(vec![Value::from(url)]));
            assert_eq!(value, Value::Array(vec![Value::from(shown)]));
        }
    }
}
