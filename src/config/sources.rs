//! The sources of settings, one over the other: the defaults, a file, variables. Each value is checked against the type of
//! its default, and remembers where it comes from.

use toml::{Table, Value};

use super::check::{check_ranges, check_together};
use super::effective::{Layers, LoadedConfig, Origin};
use super::error::{ConfigError, syntax_error, type_message};
use super::positions::KeyPositions;
use super::{ingest, types};

/// The default file.
pub(super) const DEFAULTS: &str = include_str!("../../deploy/switchyard.default.toml");
/// Prefix of the environment variables that set a key.
pub(super) const ENV_PREFIX: &str = "SWITCHYARD_";
/// The short name of the variable of `admin.token`.
pub(super) const ADMIN_TOKEN: &str = "SWITCHYARD_ADMIN_TOKEN";
/// Variables with the prefix that are not named like keys: the admin token has a short name, the others are
/// read by commands.
const ENV_EXCEPTIONS: &[&str] = &[
    ADMIN_TOKEN,
    "SWITCHYARD_CONFIG",
    "SWITCHYARD_CONTEXT",
    "SWITCHYARD_LOG",
    "SWITCHYARD_OUTPUT",
    "SWITCHYARD_SERVER",
    "SWITCHYARD_TIMEOUT",
    "SWITCHYARD_TOKEN",
    "SWITCHYARD_TOKEN_FILE",
    "SWITCHYARD_VERIFY_SECRET",
];

/// A configuration file.
pub(super) struct ConfigFile<'t> {
    pub(super) name: &'t str,
    pub(super) positions: KeyPositions<'t>,
}

/// The values of all sources so far.
pub(super) struct Sources {
    defaults: Table,
    table: Table,
    layers: Layers,
}

impl Sources {
    pub(super) fn new() -> Result<Self, ConfigError> {
        let defaults = parse("built-in defaults", DEFAULTS)?;
        let mut layers = Layers::default();
        layers.add_all(&defaults, &|_| Origin::Default);
        Ok(Self { table: defaults.clone(), defaults, layers })
    }

    pub(super) fn add_file(
        &mut self,
        file: &ConfigFile<'_>,
        text: &str,
    ) -> Result<(), ConfigError> {
        let read = parse(file.name, text)?;
        overlay(&mut self.table, read.clone(), file, "")?;
        let (path, positions) = (file.name, &file.positions);
        self.layers.add_all(&read, &|key| Origin::File {
            path: path.to_owned(),
            line: positions.line(key),
        });
        Ok(())
    }

    pub(super) fn add_variable(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let keys = match name {
            ADMIN_TOKEN => "admin__token".to_owned(),
            name if ENV_EXCEPTIONS.contains(&name) => return Ok(()),
            name => name.trim_start_matches(ENV_PREFIX).to_lowercase(),
        };
        let keys: Vec<&str> = keys.split("__").collect();
        let value = set_from_variable(&mut self.table, name, &keys, value)?;
        self.layers.add(keys.join("."), Origin::Variable(name.into()), value);
        Ok(())
    }

    /// Checks all values, and reads them.
    pub(super) fn finish(self, file: &ConfigFile<'_>) -> Result<LoadedConfig, ConfigError> {
        let Self { defaults, table, layers } = self;
        let wrong = |path: &str, message: String| {
            let origin = layers.origin(path).cloned();
            let excerpt = match origin {
                Some(Origin::File { .. }) => file.positions.excerpt(path),
                _ => String::new(),
            };
            let origin = match origin {
                Some(Origin::File { path, .. }) => path,
                Some(Origin::Variable(name)) => name,
                _ => "configuration".into(),
            };
            ConfigError::Invalid { origin, message, excerpt }
        };
        check_ranges(&table, &defaults).map_err(|(path, message)| wrong(path, message))?;
        let config = serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
            let path = error.path().to_string();
            let message = type_message(&path, error.inner());
            wrong(&path, message)
        })?;
        check_together(&config)?;
        Ok(LoadedConfig { config, settings: layers.settings() })
    }
}

fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| syntax_error(origin, &error))
}

/// Whether the keys under this path are names of sites rather than settings: those of a product.
fn has_dynamic_keys(path: &str) -> bool {
    path.strip_prefix("ingest.").is_some_and(|product| !product.contains('.'))
}

fn overlay(
    base: &mut Table,
    over: Table,
    file: &ConfigFile<'_>,
    path: &str,
) -> Result<(), ConfigError> {
    for (key, value) in over {
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) if !has_dynamic_keys(&here) => {
                overlay(inner, value, file, &here)?;
            }
            (Some(slot), value) => {
                if let Some(expected) = types::mismatch(slot, &value) {
                    let message =
                        format!("`{here}` is {}; it must be {expected}", types::kind(&value));
                    let (origin, excerpt) = (file.name.into(), file.positions.excerpt(&here));
                    return Err(ConfigError::Invalid { origin, message, excerpt });
                }
                *slot = value;
            }
            (None, _) => {
                return Err(ConfigError::UnknownKey {
                    origin: file.name.into(),
                    excerpt: file.positions.excerpt(&here),
                    help: nearest_key(base, &here),
                    path: here,
                });
            }
        }
    }
    Ok(())
}

/// Says which key is meant: the nearest of the section, one of another section, or one of all of the section.
fn nearest_key(known: &Table, path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let names = || known.keys().map(String::as_str);
    if let Some(near) = switchyard_expr::nearest(name, names()) {
        return format!("did you mean `{near}`?");
    }
    let elsewhere = default_keys().into_iter().find(|key| key.ends_with(&format!(".{name}")));
    match elsewhere {
        Some(key) => format!("it is in another section: `{key}`"),
        None => format!("known are {}", names().collect::<Vec<_>>().join(", ")),
    }
}

/// Returns all keys of the defaults with their sections.
fn default_keys() -> Vec<String> {
    let Ok(sources) = Sources::new() else { return Vec::new() };
    sources.layers.settings().into_iter().map(|setting| setting.path).collect()
}

/// Returns the error of a variable that sets no key, with the nearest variable as help.
fn unknown_variable(known: &Table, name: &str, path: &str) -> ConfigError {
    let variable = |key: &String| key.to_uppercase().replace('.', "__");
    let others = ENV_EXCEPTIONS.iter().map(|name| name.trim_start_matches(ENV_PREFIX).to_owned());
    let all: Vec<String> = default_keys().iter().map(variable).chain(others).collect();
    let written = name.trim_start_matches(ENV_PREFIX);
    let help = match switchyard_expr::nearest(written, all.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{ENV_PREFIX}{near}`?"),
        None if known.contains_key(path) => {
            format!("it is a section; variables of its keys begin with `{name}__`")
        }
        None => nearest_key(known, path),
    };
    let (origin, path, excerpt) = (name.into(), path.into(), String::new());
    ConfigError::UnknownKey { origin, path, excerpt, help }
}

/// Sets the key of a variable; returns its value.
fn set_from_variable(
    table: &mut Table,
    name: &str,
    keys: &[&str],
    text: &str,
) -> Result<Value, ConfigError> {
    let path = &*keys.join(".");
    let of_site = ingest::set_site(table, keys, text);
    if let Some(value) = of_site.map_err(|message| ConfigError::invalid(name, message))? {
        return Ok(value);
    }
    let Some((last, sections)) = keys.split_last() else {
        return Err(unknown_variable(table, name, path));
    };
    let mut at = &mut *table;
    for section in sections {
        let known = at.clone();
        at = match at.get_mut(*section) {
            Some(Value::Table(inner)) => inner,
            _ => return Err(unknown_variable(&known, name, path)),
        };
    }
    let Some(default) = at.get(*last).filter(|default| !default.is_table()) else {
        return Err(unknown_variable(at, name, path));
    };
    let value = parse_as(default, text).ok_or_else(|| {
        ConfigError::invalid(name, format!("`{text}` is not {}", types::expected(default)))
    })?;
    at.insert((*last).to_owned(), value.clone());
    Ok(value)
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
