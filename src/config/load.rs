//! Loads the configuration: defaults, overridden by a file, overridden by environment variables.

use std::path::Path;

use toml::{Table, Value};

use super::check::{check_ranges, check_together};
use super::effective::{Layers, Origin, Setting};
use super::error::{ConfigError, syntax_error, type_message};
use super::positions::KeyPositions;
use super::sections::Config;
use super::{ingest, types};

const DEFAULTS: &str = include_str!("../../deploy/switchyard.default.toml");
/// Prefix of the environment variables that set a key.
const ENV_PREFIX: &str = "SWITCHYARD_";
/// The short name of the variable of `admin.token`.
const ADMIN_TOKEN: &str = "SWITCHYARD_ADMIN_TOKEN";
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
];

/// A loaded configuration, with the source of every value.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Its settings by key, without secrets.
    pub settings: Vec<Setting>,
}

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
        LoadedConfig::load(file).map(|loaded| loaded.config)
    }

    /// As [`Config::load`], with the given variables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_sources(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        LoadedConfig::from_sources(file, variables).map(|loaded| loaded.config)
    }
}

impl LoadedConfig {
    /// As [`Config::load`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_sources(file, variables()?.into_iter())
    }

    /// As [`Config::load`], with the given variables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_sources(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?,
            None => String::new(),
        };
        let name = file.map(|path| path.display().to_string()).unwrap_or_default();
        let file = ConfigFile { name: &name, positions: KeyPositions::of(&text) };
        let mut sources = Sources::new()?;
        sources.add_file(&file, &text)?;
        // The short name of the admin token wins.
        let (short, others): (Vec<_>, Vec<_>) =
            variables.partition(|(name, _)| name == ADMIN_TOKEN);
        for (name, value) in others.into_iter().chain(short) {
            sources.add_variable(&name, &value)?;
        }
        sources.finish(&file)
    }
}

/// Returns the variables of this process that may set keys.
fn variables() -> Result<Vec<(String, String)>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else {
            continue;
        };
        let value = value.into_string();
        let value = value.map_err(|_| ConfigError::invalid(name, "its value is not UTF-8 text"))?;
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// A configuration file.
struct ConfigFile<'t> {
    name: &'t str,
    positions: KeyPositions<'t>,
}

/// The values of all sources so far.
struct Sources {
    defaults: Table,
    table: Table,
    layers: Layers,
}

impl Sources {
    fn new() -> Result<Self, ConfigError> {
        let defaults = parse("built-in defaults", DEFAULTS)?;
        let mut layers = Layers::default();
        layers.add_all(&defaults, &|_| Origin::Default);
        Ok(Self { table: defaults.clone(), defaults, layers })
    }

    fn add_file(&mut self, file: &ConfigFile<'_>, text: &str) -> Result<(), ConfigError> {
        let read = parse(file.name, text)?;
        overlay(&mut self.table, read.clone(), file, "")?;
        let (path, positions) = (file.name, &file.positions);
        self.layers.add_all(&read, &|key| Origin::File {
            path: path.to_owned(),
            line: positions.line(key),
        });
        Ok(())
    }

    fn add_variable(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
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
    fn finish(self, file: &ConfigFile<'_>) -> Result<LoadedConfig, ConfigError> {
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
    let defaults = DEFAULTS.parse::<Table>().unwrap_or_default();
    let mut layers = Layers::default();
    layers.add_all(&defaults, &|_| Origin::Default);
    layers.settings().into_iter().map(|setting| setting.path).collect()
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
        assert_eq!(
            error,
            "SWITCHYARD_DELIVERY__ALOW_HTTP: unknown key `delivery.alow_http`\n\
             help: did you mean `SWITCHYARD_DELIVERY__ALLOW_HTTP`?"
        );
        for (name, help) in [
            ("SWITCHYARD_DELIVERY_ALLOW_HTTP", "did you mean `SWITCHYARD_DELIVERY__ALLOW_HTTP`?"),
            ("SWITCHYARD_TOKNE", "did you mean `SWITCHYARD_TOKEN`?"),
            ("SWITCHYARD_SERVER__TIMEOUT_MS", "it is in another section: `delivery.timeout_ms`"),
            ("SWITCHYARD_DELIVERY", "variables of its keys begin with `SWITCHYARD_DELIVERY__`"),
            ("SWITCHYARD_TEAPOT", "known are admin, "),
        ] {
            let error = with(&[(name, "1")]).unwrap_err().to_string();
            assert!(error.contains(help), "{name}: {error}");
        }
    }

    #[test]
    fn wrong_value_is_shown_with_its_place_and_what_is_expected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("switchyard.toml");
        for (text, message) in [
            (
                "[limits]\nsteps = 'many'\n",
                "`limits.steps` is a text; it must be a whole number, such as 50000 (the default)",
            ),
            ("[limits]\n\nsteps = 0\n", "`limits.steps` is 0; it must be from 1 to"),
            ("[nats]\nurl = 'x'\n", "`nats.url` is a text; it must be a list of texts"),
            ("[delivery]\nlog_responses = 'some'\n", "`delivery.log_responses`: unknown variant"),
            ("nats = 1\n", "`nats` is a whole number; it must be a section"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Config::from_sources(Some(&path), std::iter::empty()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(message), "{error}");
            let line = text.lines().count();
            assert!(error.contains(&format!("--> {line}:1\n")), "{error}");
        }
    }

    #[test]
    fn every_value_has_its_origin_and_those_that_it_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("switchyard.toml");
        std::fs::write(&path, "[limits]\nsteps = 9\n[admin]\ntoken = 'hidden'\n").unwrap();
        let variables = [("SWITCHYARD_LIMITS__STEPS", "7"), ("SWITCHYARD_ADMIN_TOKEN", "hidden")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = LoadedConfig::from_sources(Some(&path), variables.into_iter()).unwrap();
        assert_eq!(loaded.config.limits.steps, 7);
        assert!(!format!("{loaded:?}").contains("hidden"));
        let of = |path: &str| loaded.settings.iter().find(|one| one.path == path).unwrap();
        let steps = of("limits.steps");
        assert_eq!(steps.current.value, Value::from(7));
        assert_eq!(steps.current.origin, Origin::Variable("SWITCHYARD_LIMITS__STEPS".into()));
        let replaced: Vec<_> =
            steps.replaced.iter().map(|one| (one.value.as_integer(), &one.origin)).collect();
        let file = Origin::File { path: path.display().to_string(), line: Some(2) };
        assert_eq!(replaced, [(Some(9), &file), (Some(50_000), &Origin::Default)]);
        assert_eq!(of("admin.token").replaced.len(), 2);
        assert_eq!(of("limits.body").current.origin, Origin::Default);
    }

    #[test]
    fn every_setting_of_the_default_file_has_its_comment() {
        let mut before = "";
        for line in DEFAULTS.lines() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(before.starts_with("# "), "no comment above `{line}`");
            }
            before = line;
        }
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
