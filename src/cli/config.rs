//! `switchyard config`: shows the effective settings with their origins, and checks a configuration file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, print_error, print_line, print_row};
use super::jobs::text;
use super::serve::config_file;
use super::table::{Column, ListFlags, ListOf, ListOutput, Tone, plain, print_list};
use crate::config::{Config, ConfigError, LoadedConfig, Origin, Setting, ShownValue};
use crate::delivery::EgressGuard;
use crate::telemetry::logs;
use crate::telemetry::subscriptions::TopSubscriptions;

const LIST: ListOf<'static> = ListOf { id: "setting", if_empty: "there are no settings" };
const COLUMNS: [Column; 4] = [
    Column::text("SETTING", 0),
    Column::text("VALUE", 0),
    Column::text("ORIGIN", 1),
    Column::text("INSTEAD OF", 2),
];

/// Shows the effective settings, or checks a configuration file
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  switchyard config show --origin\n  switchyard config check switchyard.toml\n\n\
    Exit codes: 0 valid, 1 invalid, 2 the file cannot be read."
)]
pub struct ConfigArgs {
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints every setting that `serve` would use, without secrets
    Show {
        /// Says where each value comes from, and what it replaces
        #[arg(long)]
        origin: bool,
        /// Configuration file [default: ./switchyard.toml if it exists]
        #[arg(long, value_name = "FILE", env = "SWITCHYARD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Checks a file over the defaults, without the variables of this environment
    Check {
        /// The file
        file: PathBuf,
    },
}

/// Executes the action.
///
/// # Errors
/// The file cannot be read; with `show`, the settings are invalid.
pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Show { origin, config } => {
            let loaded = LoadedConfig::load(config_file(config.as_deref()));
            let loaded = loaded.map_err(|error| UsageError(error.to_string()))?;
            show(args.flags, &loaded.settings, *origin)?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Check { file } => check(args.flags.output.plain(), file),
    }
}

fn show(flags: ListFlags, settings: &[Setting], with_origin: bool) -> anyhow::Result<()> {
    let is_wide = flags.output == ListOutput::Wide;
    if flags.output.plain() == Output::Text
        && flags.output != ListOutput::Name
        && !with_origin
        && !is_wide
    {
        // As a file has them.
        return settings
            .iter()
            .try_for_each(|one| print_row(&format!("{} = {}", one.path, one.current.value)));
    }
    let items: Vec<_> = settings.iter().map(setting_view).collect();
    // The items are those of the settings, in their order.
    let texts: HashMap<_, _> = settings.iter().map(|one| (one.path.as_str(), one)).collect();
    print_list(flags, LIST, &items, &COLUMNS, |item| {
        let Some(one) = texts.get(text(item, "setting")) else { return Vec::new() };
        let replaced = one.replaced.iter().map(|old| format!("{} ({})", old.value, old.origin));
        let ShownValue { value, origin } = &one.current;
        let tone = if *origin == Origin::Default { Tone::Dim } else { Tone::Plain };
        let replaced = replaced.collect::<Vec<_>>().join(", ");
        vec![
            plain(one.path.as_str()),
            plain(value.to_string()),
            (origin.to_string(), tone),
            plain(replaced),
        ]
    })
}

fn setting_view(setting: &Setting) -> Value {
    json!({
        "setting": setting.path,
        "value": setting.current.value,
        "origin": origin_view(&setting.current.origin),
        "replaced": setting.replaced.iter().map(|old| {
            json!({ "value": old.value, "origin": origin_view(&old.origin) })
        }).collect::<Vec<_>>(),
    })
}

fn origin_view(origin: &Origin) -> Value {
    match origin {
        Origin::Default => json!({ "kind": "default" }),
        Origin::File { path, line } => json!({ "kind": "file", "path": path, "line": line }),
        Origin::Variable(name) => json!({ "kind": "environment", "name": name }),
    }
}

fn check(output: Output, file: &Path) -> anyhow::Result<ExitCode> {
    let found = match LoadedConfig::from_sources(Some(file), std::iter::empty()) {
        Err(error @ ConfigError::Read { .. }) => anyhow::bail!(UsageError(error.to_string())),
        found => found.map_err(anyhow::Error::from),
    };
    let found = found.and_then(|loaded| {
        check_values(&loaded.config)
            .map_err(|error| anyhow::anyhow!("{}: {error:#}", file.display()))?;
        Ok(loaded)
    });
    let is_set = |one: &&Setting| one.current.origin != Origin::Default;
    match (&found, output) {
        (Ok(loaded), Output::Text) => {
            let set = loaded.settings.iter().filter(is_set).count();
            print_row(&format!("{}: valid, {set} settings", file.display()))?;
        }
        (Ok(loaded), _) => {
            let set: Vec<Value> = loaded.settings.iter().filter(is_set).map(setting_view).collect();
            print_line(&json!({ "valid": true, "settings": set }).to_string())?;
        }
        (Err(error), Output::Text) => print_error(&format!("error: {error}")),
        (Err(error), _) => {
            print_line(&json!({ "valid": false, "error": error.to_string() }).to_string())?;
        }
    }
    Ok(if found.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
}

/// Checks values that the stages which use them read.
fn check_values(config: &Config) -> anyhow::Result<()> {
    logs::check_settings(&config.log.format, &config.log.filter)?;
    TopSubscriptions::parse(&config.metrics.subscriptions, &config.metrics.pinned)
        .map_err(anyhow::Error::msg)?;
    EgressGuard::new(&config.delivery)?;
    Ok(())
}
