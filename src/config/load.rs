//! Loads the configuration: defaults, overridden by a file, overridden by environment variables.

use std::path::Path;

use super::effective::LoadedConfig;
use super::error::ConfigError;
use super::positions::KeyPositions;
use super::sections::Config;
use super::sources::{ADMIN_TOKEN, ConfigFile, ENV_PREFIX, Sources};

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

#[cfg(test)]
mod tests {
    use toml::Value;

    use super::*;
    use crate::config::effective::Origin;
    use crate::config::sources::DEFAULTS;

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
