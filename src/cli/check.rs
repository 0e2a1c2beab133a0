//! `switchyard check`: validates filters and modules, and reports errors and warnings.

mod body_size;
mod detect;
mod finding;
mod input;
mod manifest;
mod report;
mod requests;
mod variables;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use switchyard_expr::{CheckProfile, Diagnostic, Severity, Usage, compile_for};

use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, read_input, read_sample};
use crate::config::{Config, manifest_variable};
use crate::event::Sample;
use crate::registry::review::Reviewer;
use crate::registry::{AppSpec, Problem, Settings, catalog, code};
use detect::Options;
use finding::{Checked, Finding, FindingKind};
use input::{CheckInput, FilterText, TriggerText};
pub use requests::RequestApi;
use variables::Values;

/// Checks filters: syntax, names, types, limits; no server needed
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  switchyard check -e \"event.issue.fields.project.key == 'OPS'\"\n  \
    switchyard check -e \"event.issue.key\" --event avi:jira:created:issue -o json\n  \
    switchyard check manifest.yml --var TEAM=OPS --format github\n  \
    switchyard check module.json --app app.json --format sarif"
)]
pub struct CheckArgs {
    /// A filter, a module or request (JSON), registrations (NDJSON) or a Forge manifest (YAML); `-`
    /// for standard input
    #[arg(required_unless_present = "expression", conflicts_with = "expression")]
    pub file: Option<PathBuf>,
    /// The filter
    #[arg(short, long, value_name = "EXPR")]
    pub expression: Option<String>,
    /// Event type of the filter; may be repeated. Modules name their own event types
    #[arg(long = "event", value_name = "TYPE")]
    pub events: Vec<String>,
    /// A sample event; warns if the vendor would drop the body that a module's handler gets of it
    #[arg(long, value_name = "FILE", conflicts_with = "expression")]
    pub with: Option<PathBuf>,
    /// A variable of a manifest; may be repeated. Variables are also read from the environment
    #[arg(long = "var", value_name = "NAME=VALUE", conflicts_with = "expression")]
    pub variables: Vec<String>,
    /// The app (JSON, as for `PUT /admin/v1/apps`) whose handlers and scopes modules may use
    #[arg(long, value_name = "FILE", conflicts_with = "expression")]
    pub app: Option<PathBuf>,
    /// The API that the file is a request to; by default it is detected
    #[arg(long, value_enum, value_name = "API", conflicts_with = "expression")]
    pub api: Option<RequestApi>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Report format for other tools: GitHub workflow annotations, or SARIF for code scanning
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
}

/// Report formats of `check`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// Human-readable
    Text,
    /// One JSON document
    Json,
    /// Workflow annotations
    Github,
    /// Static Analysis Results Interchange Format 2.1.0
    Sarif,
}

/// Checks the input. Exit code 0 if it can be registered, 1 if not.
///
/// # Errors
/// The file cannot be read or has an unknown form.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let given = given_variables(&args.variables)?;
    let values = Values { given: &given, environment: manifest_variable };
    let options = Options { events: &args.events, api: args.api, values: &values };
    let reviewer = reviewer(args)?;
    let (inputs, reviewer) = match (&args.expression, &args.file) {
        (Some(expression), _) => {
            (vec![input::expression("<arg>", expression.clone(), &args.events)], reviewer)
        }
        (None, Some(file)) => {
            detect::read(&file.display().to_string(), &read_input(file)?, reviewer, &options)?
        }
        (None, None) => {
            anyhow::bail!(UsageError("nothing to check: give a FILE, `-`, or -e EXPR".into()))
        }
    };
    let sample = args.with.as_deref().map(read_sample).transpose()?;
    let mut findings = unknown_events(&args.events);
    findings.extend(duplicate_keys(&inputs));
    findings.extend(property_paths(&inputs, &reviewer));
    let checked = check(inputs, sample.as_ref(), findings);
    let valid = !checked.findings.iter().any(Finding::is_error);
    match (args.format, args.output) {
        (Some(Format::Github), _) => report::github(&checked)?,
        (Some(Format::Sarif), _) => report::sarif(&checked)?,
        (Some(Format::Json), _) | (None, Output::Json | Output::Jsonl) => {
            report::json(&checked, valid)?;
        }
        (Some(Format::Text), _) | (None, Output::Text) => report::text(&checked, valid)?,
    }
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
}

/// The reviewer of modules, with the default settings, and the app if there is one.
fn reviewer(args: &CheckArgs) -> anyhow::Result<Reviewer> {
    let reviewer = Reviewer::new(Settings::new(&Config::defaults()?, ""));
    let Some(file) = &args.app else { return Ok(reviewer) };
    let app: AppSpec = serde_json::from_str(&read_input(file)?)
        .map_err(|error| UsageError(format!("{} is not an app: {error}", file.display())))?;
    Ok(reviewer.with_app(app))
}

/// Parses `NAME=VALUE`.
fn given_variables(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(UsageError(format!("`--var {text}` has no form NAME=VALUE")).into()),
    };
    texts.iter().map(pair).collect()
}

/// Returns errors for installations whose triggers together read too many entity properties.
fn property_paths(inputs: &[CheckInput], reviewer: &Reviewer) -> Vec<Finding> {
    let mut owners: BTreeMap<&str, Vec<(&CheckInput, &TriggerText)>> = BTreeMap::new();
    for input in inputs {
        let Some(trigger) = &input.trigger else { continue };
        owners.entry(&trigger.owner).or_default().push((input, trigger));
    }
    let findings = owners.into_values().filter_map(|triggers| {
        let (input, last) = *triggers.last()?;
        let data: Vec<_> = triggers.iter().map(|(_, trigger)| trigger.data.clone()).collect();
        // The problem is that of the list, as in an app record.
        let path = last.path.rsplit_once('[').map_or(&*last.path, |(list, _)| list);
        let problem = reviewer.property_path_problem(&data, path)?;
        let kind = FindingKind::Module(Severity::Error, Box::new(problem));
        Some(Finding { origin: input.origin.clone(), kind })
    });
    findings.collect()
}

/// Returns errors for event types of `--event` that are not in the catalogue.
fn unknown_events(events: &[String]) -> Vec<Finding> {
    let unknown = events.iter().filter(|event| catalog::find(event).is_none());
    let findings = unknown.map(|event| {
        let message = format!("no such event `{event}`");
        let mut problem = Problem::new(code::UNKNOWN_EVENT, "--event", message);
        problem.help = catalog::nearest(event).map(|near| format!("did you mean `{near}`?"));
        let kind = FindingKind::Module(Severity::Error, Box::new(problem));
        Finding { origin: "<arg>".into(), kind }
    });
    findings.collect()
}

/// Returns errors for modules with the key of an earlier one. In a registration file keys are
/// compared within one installation.
fn duplicate_keys(inputs: &[CheckInput]) -> Vec<Finding> {
    let mut known: HashMap<(&str, &str), String> = HashMap::new();
    let mut findings = Vec::new();
    for input in inputs {
        let Some(key) = &input.key else { continue };
        let location = format!("{}#{}", input.origin, key.path);
        match known.entry((&key.owner, &key.text)) {
            Entry::Vacant(entry) => {
                entry.insert(location);
            }
            Entry::Occupied(first) => {
                let message = format!("two modules have the key `{}`", key.text);
                let help = format!(
                    "the other is {}; the vendor ignores both, Switchyard rejects the second",
                    first.get()
                );
                let problem = Problem::new(code::DUPLICATE, &key.path, message).with_help(help);
                let kind = FindingKind::Module(Severity::Error, Box::new(problem));
                findings.push(Finding { origin: input.origin.clone(), kind });
            }
        }
    }
    findings
}

fn check(inputs: Vec<CheckInput>, sample: Option<&Sample>, mut findings: Vec<Finding>) -> Checked {
    let modules = inputs.iter().filter(|input| input.is_module).count();
    let mut filters = Vec::new();
    for mut input in inputs {
        let too_large = input.body.as_ref().zip(sample).and_then(|(b, s)| body_size::warning(b, s));
        input.problems.extend(too_large.map(|problem| (Severity::Warning, problem)));
        for (severity, problem) in input.problems {
            let kind = FindingKind::Module(severity, Box::new(problem));
            findings.push(Finding { origin: input.origin.clone(), kind });
        }
        for filter in input.filters {
            let at = filters.len();
            for diagnostic in diagnostics(&filter) {
                let kind = FindingKind::Filter(at, Box::new(diagnostic));
                findings.push(Finding { origin: filter.origin.clone(), kind });
            }
            filters.push(filter);
        }
    }
    Checked { findings, filters, modules }
}

fn diagnostics(filter: &FilterText) -> Vec<Diagnostic> {
    let events: Vec<&str> = filter.events.iter().map(String::as_str).collect();
    let usage = Usage { events: &events, delivers_on_error: filter.delivers_on_error };
    match compile_for(&filter.source, CheckProfile::Filter, &usage) {
        Ok(compiled) => compiled.warnings,
        Err(rejected) => rejected.diagnostics,
    }
}
