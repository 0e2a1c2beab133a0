//! `switchyard check`: validates filters and modules, and reports errors and warnings.

mod body_size;
mod finding;
mod input;
mod report;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use switchyard_expr::{CheckProfile, Diagnostic, Severity, Usage, compile_for};

use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, read_input, read_sample};
use crate::event::Sample;
use crate::registry::{Problem, catalog, code};
use finding::{Checked, Finding, FindingKind};
use input::{CheckInput, FilterText};

/// Checks filters: syntax, names, types, limits; no server needed
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  switchyard check -e \"event.issue.fields.project.key == 'OPS'\"\n  \
    switchyard check -e \"event.issue.key\" --event avi:jira:created:issue -o json\n  \
    switchyard check manifest.yml --format github\n  switchyard check module.json --format sarif"
)]
pub struct CheckArgs {
    /// A filter, a module (JSON), registrations (NDJSON) or a Forge manifest (YAML); `-` for
    /// standard input
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
    let inputs = match (&args.expression, &args.file) {
        (Some(expression), _) => {
            vec![input::expression("<arg>", expression.clone(), &args.events)]
        }
        (None, Some(file)) => {
            input::read(&file.display().to_string(), &read_input(file)?, &args.events)?
        }
        (None, None) => {
            anyhow::bail!(UsageError("nothing to check: give a FILE, `-`, or -e EXPR".into()))
        }
    };
    let sample = args.with.as_deref().map(read_sample).transpose()?;
    let mut findings = unknown_events(&args.events);
    findings.extend(duplicate_keys(&inputs));
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
    Checked { findings, filters }
}

fn diagnostics(filter: &FilterText) -> Vec<Diagnostic> {
    let events: Vec<&str> = filter.events.iter().map(String::as_str).collect();
    let usage = Usage { events: &events, delivers_on_error: filter.delivers_on_error };
    match compile_for(&filter.source, CheckProfile::Filter, &usage) {
        Ok(compiled) => compiled.warnings,
        Err(rejected) => rejected.diagnostics,
    }
}
