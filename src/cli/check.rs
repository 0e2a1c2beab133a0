//! `switchyard check`: whether filters are some, and what is wrong with them or odd about them.

mod report;
mod size;
mod subject;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use switchyard_expr::diagnostic::Page;
use switchyard_expr::{CheckProfile, Code, Diagnostic, Severity, Usage, compile_for};

use super::{EXIT_NO, Output, UsageError, print_line, read_input, read_sample};
use crate::codes;
use crate::event::Sample;
use crate::registry::{Problem, catalog, code};
use subject::{FilterText, Subject};

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A filter, a module (JSON), registrations (NDJSON) or a Forge manifest (YAML); `-` for
    /// standard input
    #[arg(required_unless_present = "expression", conflicts_with = "expression")]
    pub file: Option<PathBuf>,
    /// The filter itself
    #[arg(short, long, value_name = "EXPR")]
    pub expression: Option<String>,
    /// Event type that the filter is for; may be repeated. Modules name their own
    #[arg(long = "event", value_name = "TYPE")]
    pub events: Vec<String>,
    /// A sample event; warns if the vendor would not deliver what a module's handler gets of it
    #[arg(long, value_name = "FILE", conflicts_with = "expression")]
    pub with: Option<PathBuf>,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Prints for a tool instead: workflow annotations of GitHub, or SARIF for code scanning
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
}

/// Forms that other tools read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// Workflow annotations
    Github,
    /// Static Analysis Results Interchange Format 2.1.0
    Sarif,
}

/// Everything that was found.
struct Checked {
    findings: Vec<Finding>,
    filters: Vec<FilterText>,
}

/// One finding and where it is.
struct Finding {
    /// File, and where in it: `manifest.yml#modules.trigger[0].filter.expression`.
    origin: String,
    what: What,
}

enum What {
    /// About an expression: which of [`Checked::filters`], and what.
    Filter(usize, Box<Diagnostic>),
    /// About the module around it.
    Module(Severity, Box<Problem>),
}

impl Finding {
    fn is_error(&self) -> bool {
        match &self.what {
            What::Filter(_, diagnostic) => diagnostic.severity == Severity::Error,
            What::Module(severity, _) => *severity == Severity::Error,
        }
    }
}

/// Checks what it is given. Exit code 0 when it can be registered, 1 when not.
///
/// # Errors
/// The file cannot be read, or is none of the forms that are known.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let subjects = match (&args.expression, &args.file) {
        (Some(expression), _) => {
            vec![subject::expression("<arg>", expression.clone(), &args.events)]
        }
        (None, Some(file)) => {
            subject::read(&file.display().to_string(), &read_input(file)?, &args.events)?
        }
        (None, None) => {
            anyhow::bail!(UsageError("nothing to check: give a FILE, `-`, or -e EXPR".into()))
        }
    };
    let sample = args.with.as_deref().map(read_sample).transpose()?;
    let mut findings = unknown_events(&args.events);
    findings.extend(shared_keys(&subjects));
    let checked = check(subjects, sample.as_ref(), findings);
    let valid = !checked.findings.iter().any(Finding::is_error);
    match (args.format, args.output) {
        (Some(Format::Github), _) => report::github(&checked)?,
        (Some(Format::Sarif), _) => report::sarif(&checked)?,
        (Some(Format::Json), _) | (None, Output::Json | Output::Jsonl) => {
            report::json(&checked, valid)?;
        }
        (Some(Format::Text), _) | (None, Output::Text) => report::text(&checked, valid)?,
    }
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

/// Names given by `--event` that no catalogue knows.
fn unknown_events(events: &[String]) -> Vec<Finding> {
    let unknown = events.iter().filter(|event| catalog::find(event).is_none());
    let findings = unknown.map(|event| {
        let message = format!("no such event `{event}`");
        let mut problem = Problem::new(code::UNKNOWN_EVENT, "--event", message);
        problem.help = catalog::nearest(event).map(|near| format!("did you mean `{near}`?"));
        let what = What::Module(Severity::Error, Box::new(problem));
        Finding { origin: "<arg>".into(), what }
    });
    findings.collect()
}

/// Modules that have the key of an earlier one. Lines of a registration file say whose they are, so
/// that only modules of one installation clash.
fn shared_keys(subjects: &[Subject]) -> Vec<Finding> {
    let mut known: HashMap<(&str, &str), String> = HashMap::new();
    let mut findings = Vec::new();
    for subject in subjects {
        let Some(key) = &subject.key else { continue };
        let place = format!("{}#{}", subject.origin, key.path);
        match known.entry((&key.owner, &key.text)) {
            Entry::Vacant(entry) => {
                entry.insert(place);
            }
            Entry::Occupied(first) => {
                let message = format!("two modules have the key `{}`", key.text);
                let help = format!(
                    "the other is {}; the vendor would ignore both, here the later is refused",
                    first.get()
                );
                let problem = Problem::new(code::DUPLICATE, &key.path, message).with_help(help);
                let what = What::Module(Severity::Error, Box::new(problem));
                findings.push(Finding { origin: subject.origin.clone(), what });
            }
        }
    }
    findings
}

fn check(subjects: Vec<Subject>, sample: Option<&Sample>, mut findings: Vec<Finding>) -> Checked {
    let mut filters = Vec::new();
    for mut subject in subjects {
        let too_large = subject.body.as_ref().zip(sample).and_then(|(b, s)| size::warning(b, s));
        subject.problems.extend(too_large.map(|problem| (Severity::Warning, problem)));
        for (severity, problem) in subject.problems {
            let what = What::Module(severity, Box::new(problem));
            findings.push(Finding { origin: subject.origin.clone(), what });
        }
        for filter in subject.filters {
            let at = filters.len();
            for diagnostic in diagnostics(&filter) {
                let what = What::Filter(at, Box::new(diagnostic));
                findings.push(Finding { origin: filter.origin.clone(), what });
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

/// Flags of `explain-code`.
#[derive(Debug, Args)]
pub struct ExplainCodeArgs {
    /// The code, such as SY-3103; without one all are listed
    pub code: Option<String>,
}

/// Prints what a code means. Exit code 1 for a code that does not exist.
///
/// # Errors
/// Standard output cannot be written.
pub fn explain_code(args: &ExplainCodeArgs) -> anyhow::Result<ExitCode> {
    let all = every_code();
    let Some(text) = &args.code else {
        for (code, title, _) in all {
            print_line(&format!("{code}  {title}"))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let found = all.iter().find(|(code, ..)| code.strip_prefix("SY-") == Some(digits));
    let Some((code, title, page)) = found else {
        print_line(&format!("there is no code `{text}`; without one all are listed"))?;
        return Ok(ExitCode::from(EXIT_NO));
    };
    let mut told = format!("{code}: {title}\n\n{}\n", page.cause);
    if !page.example.is_empty() {
        told.push_str(&format!("\n  {}\n", page.example.replace('\n', "\n  ")));
    }
    let fix = if page.fix.ends_with('.') { page.fix.to_owned() } else { format!("  {}", page.fix) };
    print_line(&format!("{told}\nInstead:\n\n{fix}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Every code with its title and page, ascending.
fn every_code() -> Vec<(String, &'static str, Page)> {
    let language = Code::ALL.iter().map(|code| (code.to_string(), code.title(), code.page()));
    let others = codes::ENTRIES.iter().map(|e| (e.code.to_owned(), e.title, e.page));
    let mut all: Vec<_> = language.chain(others).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// What is known of an accepted filter beside its mistakes.
fn summary(filter: &FilterText) -> Option<String> {
    let compiled = switchyard_expr::compile(&filter.source, CheckProfile::Filter).ok()?;
    let keys: Vec<String> = compiled.program.facts().indexed().map(ToString::to_string).collect();
    let index = match keys.as_slice() {
        [] => "no index key".to_owned(),
        keys => format!("index key: {}", keys.join(", ")),
    };
    let complexity = compiled.complexity;
    let lists =
        complexity.variables().map(|(name, list)| format!("{name} is the length of {list}"));
    let lists: Vec<String> = lists.collect();
    let walks = if lists.is_empty() { String::new() } else { format!(", {}", lists.join(", ")) };
    Some(format!("complexity {complexity}{walks} · {index}"))
}
