//! Loads the configuration: defaults, overridden by a file, overridden by environment variables.

use std::path::Path;

use toml::{Table, Value};

use super::check::{check_ranges, check_together};
use super::error::{ConfigError, syntax_error, type_error};
use super::ingest;
use super::sections::Config;
use crate::domain::Secret;

const DEFAULTS: &str = include_str!("../../deploy/switchyard.default.toml");
/// Prefix of the environment variables that set a key.
const ENV_PREFIX: &str = "SWITCHYARD_";
/// Variables with the prefix that are not keys: the admin token has a short name, the others are
/// read by commands.
const ENV_EXCEPTIONS: &[&str] = &[
    "SWITCHYARD_ADMIN_TOKEN",
    "SWITCHYARD_CONFIG",
    "SWITCHYARD_CONTEXT",
    "SWITCHYARD_LOG",
    "SWITCHYARD_OUTPUT",
    "SWITCHYARD_SERVER",
    "SWITCHYARD_TIMEOUT",
    "SWITCHYARD_TOKEN",
    "SWITCHYARD_TOKEN_FILE",
];

impl Config {
    /// Returns the built-in defaults.
    ///
    /// # Errors
    /// Never, as long as the default file is valid, which a test checks.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::from_sources(None, std::iter::empty())
    }

    /// Loads the defaults, overridden by `file` if given, overridden by the `SWITCHYARD_*`
    /// variables of this process.
    ///
    /// # Errors
    /// The file cannot be read, a key or variable is unknown or of the wrong type, or a value is out
    /// of its range.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let variables = std::env::vars().filter(|(name, _)| name.starts_with(ENV_PREFIX));
        Self::from_sources(file, variables)
    }

    /// As [`Config::load`], with the given variables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_sources(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let defaults = parse("built-in defaults", DEFAULTS)?;
        let mut table = defaults.clone();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
            let origin = path.display().to_string();
            overlay(&mut table, parse(&origin, &text)?, &origin, "")
                .map_err(|error| error.with_excerpt(&text))?;
        }
        let mut admin_token = None;
        for (name, value) in variables {
            if name == "SWITCHYARD_ADMIN_TOKEN" {
                admin_token = Some(value);
            } else if !ENV_EXCEPTIONS.contains(&name.as_str()) {
                set_from_variable(&mut table, &name, &value)?;
            }
        }
        check_ranges(&table, &defaults)?;
        let mut config: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| type_error("configuration", &error))?;
        if let Some(token) = admin_token {
            config.admin.token = Secret::new(token);
        }
        check_together(&config)?;
        Ok(config)
    }
}

fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| syntax_error(origin, &error))
}

/// Whether the keys under this path are names of sites rather than settings: those of a product.
fn has_dynamic_keys(path: &str) -> bool {
    path.strip_prefix("ingest.").is_some_and(|product| !product.contains('.'))
}

fn overlay(base: &mut Table, over: Table, origin: &str, path: &str) -> Result<(), ConfigError> {
    for (key, value) in over {
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) if !has_dynamic_keys(&here) => {
                overlay(inner, value, origin, &here)?;
            }
            (Some(slot), value) => *slot = value,
            (None, _) => return Err(unknown_key(base, origin, &here)),
        }
    }
    Ok(())
}

/// Returns the error of an unknown key, with the nearest key or all known keys as help.
fn unknown_key(known: &Table, origin: &str, path: &str) -> ConfigError {
    let name = path.rsplit('.').next().unwrap_or(path);
    let names = || known.keys().map(String::as_str);
    let help = match switchyard_expr::nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", names().collect::<Vec<_>>().join(", ")),
    };
    ConfigError::UnknownKey {
        origin: origin.into(),
        path: path.into(),
        excerpt: String::new(),
        help,
    }
}

fn set_from_variable(table: &mut Table, name: &str, text: &str) -> Result<(), ConfigError> {
    let path = name.trim_start_matches(ENV_PREFIX).to_lowercase();
    let keys: Vec<&str> = path.split("__").collect();
    let wrong = |message| ConfigError::Invalid { origin: name.into(), message };
    if ingest::set_site(table, &keys, text).map_err(wrong)? {
        return Ok(());
    }
    let (Some((last, sections)), origin) = (keys.split_last(), name) else { return Ok(()) };
    let mut at = &mut *table;
    for section in sections {
        let known = at.clone();
        at = match at.get_mut(*section) {
            Some(Value::Table(inner)) => inner,
            _ => return Err(unknown_key(&known, origin, &keys.join("."))),
        };
    }
    let Some(default) = at.get(*last) else {
        return Err(unknown_key(at, origin, &keys.join(".")));
    };
    let value = parse_as(default, text).ok_or_else(|| ConfigError::Invalid {
        origin: origin.into(),
        message: format!("`{text}` is not a {}", default.type_str()),
    })?;
    at.insert((*last).to_owned(), value);
    Ok(())
}

/// Parses an environment value as the type of its default; lists are split at commas.
fn parse_as(default: &Value, text: &str) -> Option<Value> {
    Some(match default {
        Value::String(_) => Value::String(text.into()),
        Value::Integer(_) => Value::Integer(text.trim().parse().ok()?),
        Value::Float(_) => Value::Float(text.trim().parse().ok()?),
        Value::Boolean(_) => Value::Boolean(text.trim().parse().ok()?),
        Value::Array(items) => {
            let example = items.first();
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let read = |part: &str| match example {
                Some(Value::Integer(_)) => part.parse().ok().map(Value::Integer),
                _ => Some(Value::String(part.into())),
            };
            Value::Array(parts.map(read).collect::<Option<_>>()?)
        }
        Value::Datetime(_) | Value::Table(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let owned = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::from_sources(None, owned)
    }

    #[test]
    fn default_file_sets_every_key() {
        let config = Config::defaults().unwrap();
        assert_eq!(config.nats.prefix, "sw");
        assert_eq!(config.delivery.retry_schedule_s.len(), 8);
    }

    #[test]
    fn environment_values_take_the_type_of_the_default() {
        let config = with(&[
            ("SWITCHYARD_DELIVERY__ALLOW_HTTP", "true"),
            ("SWITCHYARD_DELIVERY__ALLOW_CIDRS", "127.0.0.0/8,::1/128"),
            ("SWITCHYARD_DELIVERY__ALLOW_PORTS", "any"),
            ("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1,2"),
            ("SWITCHYARD_LIMITS__STEPS", "7"),
            ("SWITCHYARD_ADMIN_TOKEN", "t"),
            ("SWITCHYARD_INGEST__JIRA__C1__SECRET", "of Jira: 0123456789abcdef0123456789"),
            ("SWITCHYARD_INGEST__CONFLUENCE__C1__UNSIGNED", "true"),
        ])
        .unwrap();
        assert!(config.delivery.allow_http);
        assert_eq!(config.delivery.allow_cidrs.len(), 2);
        assert_eq!(config.delivery.allow_ports, ["any"]);
        assert_eq!(config.delivery.retry_schedule_s, [1, 2]);
        assert_eq!(config.limits.steps, 7);
        assert_eq!(config.admin.token.reveal(), "t");
        let secret = config.ingest["jira"]["c1"].secret.as_ref().map(|secret| secret.reveal());
        assert_eq!(secret, Some("of Jira: 0123456789abcdef0123456789"));
        assert!(config.ingest["confluence"]["c1"].unsigned);
    }

    #[test]
    fn misspelt_variable_is_rejected_by_name() {
        let error = with(&[("SWITCHYARD_DELIVERY__ALOW_HTTP", "true")]).unwrap_err().to_string();
        assert!(error.contains("SWITCHYARD_DELIVERY__ALOW_HTTP"), "{error}");
        assert!(error.contains("alow_http"), "{error}");
    }

    #[test]
    fn sites_of_an_unknown_product_are_rejected() {
        let error = with(&[("SWITCHYARD_INGEST__JIRRA__C1__SECRET", "s")]).unwrap_err().to_string();
        assert!(error.contains("known are confluence, jira"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[ingest.jirra.c1]\nsecret = 's'\n").unwrap();
        let error = Config::from_sources(Some(file.path()), std::iter::empty()).unwrap_err();
        assert!(error.to_string().contains("did you mean `jira`?"), "{error}");
    }

    #[test]
    fn misspelt_key_of_a_file_is_shown_with_the_nearest_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("switchyard.toml");
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let error = Config::from_sources(Some(&path), std::iter::empty()).unwrap_err();
            error.to_string().replace(&path.display().to_string(), "switchyard.toml")
        };
        let expected = "\
switchyard.toml: unknown key `delivery.allow_htp`
 --> 3:3
  |
3 |   allow_htp = true
  |   ^^^^^^^^^
  |
help: did you mean `allow_http`?";
        assert_eq!(refused("[delivery]\ntimeout_ms = 1000\n  allow_htp = true\n"), expected);
        let found = refused("[delivary]\ntimeout_ms = 1000\n");
        assert!(found.contains("\n1 | [delivary]\n  |  ^^^^^^^^\n"), "{found}");
        assert!(found.ends_with("did you mean `delivery`?"), "{found}");
        let found = refused("[limits]\nteapots = 1\n");
        assert!(found.contains("help: known are body, "), "{found}");
    }

    #[test]
    fn value_of_the_wrong_type_is_rejected() {
        assert!(with(&[("SWITCHYARD_LIMITS__STEPS", "many")]).is_err());
    }

    #[test]
    fn file_overrides_defaults_and_unknown_keys_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("switchyard.toml");
        std::fs::write(&path, "[limits]\nsteps = 9\n").unwrap();
        assert_eq!(Config::from_sources(Some(&path), std::iter::empty()).unwrap().limits.steps, 9);
        std::fs::write(&path, "[limits]\nstepz = 9\n").unwrap();
        let error = Config::from_sources(Some(&path), std::iter::empty()).unwrap_err().to_string();
        assert!(error.contains("stepz") && error.contains("switchyard.toml"), "{error}");
    }
}
