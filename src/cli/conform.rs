//! `switchyard conform`: runs the language cases against a real Jira and reports the differences.
//!
//! Cases that the vendor's endpoint can evaluate are evaluated there; for the others only the
//! syntax is analysed. Nothing on the site is read or changed: cases carry their own values.
//!
//! **Source:** Jira Cloud platform REST API v3, "Evaluate Jira expression using enhanced search
//! API" with custom context variables of type `json`, and "Analyse Jira expression".

mod evaluation;
mod jira;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use switchyard_expr::cases::{self, Case, CaseOutcome};
use switchyard_expr::{Env, canonical};

use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{print_error, print_line, read_input};
use crate::clock;
use evaluation::Evaluation;
use jira::{Jira, JiraError};

/// Expressions in one analysis request.
const ANALYSED_AT_ONCE: usize = 50;
/// Variables that Jira binds itself, so that a case cannot.
const BOUND_BY_JIRA: [&str; 12] = [
    "user",
    "app",
    "issue",
    "originalIssue",
    "issues",
    "project",
    "sprint",
    "board",
    "serviceDesk",
    "customerRequest",
    "transition",
    "workflow",
];

/// Runs the language cases against a real Jira Cloud and reports the differences
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  switchyard conform --site https://your-site.atlassian.net --email you@example.com \\\n    --token-file token.txt --write jira.json expr/tests/corpus/*.json\n\nExit codes: 3 the site does not answer, 4 the site rejects the account."
)]
pub struct ConformArgs {
    /// Address of the site, such as https://your-site.atlassian.net
    #[arg(long, value_name = "URL")]
    pub site: String,
    /// The account; it needs no permission beyond logging in
    #[arg(long, value_name = "EMAIL")]
    pub email: String,
    /// File with the account's API token
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Files of language cases
    #[arg(required = true, value_name = "CASES")]
    pub cases: Vec<PathBuf>,
    /// Writes the differences as cases with Jira's results
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// A case with different results.
struct Disagreement<'c> {
    case: &'c Case,
    ours: Evaluation,
    jiras: Evaluation,
}

/// Compares the results. Exit code 0 without differences, 1 with any, 3 if the site does not
/// answer, 4 if it rejects the account.
///
/// # Errors
/// A file cannot be read or written, or the address of the site is invalid.
pub fn run(args: &ConformArgs) -> anyhow::Result<ExitCode> {
    let mut cases = Vec::new();
    for file in &args.cases {
        let found = cases::parse(&read_input(file)?)
            .with_context(|| UsageError(format!("{} is not a case file", file.display())))?;
        cases.extend(found);
    }
    let token = read_input(&args.token_file)?;
    let jira = Jira::new(&args.site, &args.email, token.trim())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(compare(&jira, &cases)) {
        Ok(report) => report.print(args),
        Err(error) => {
            print_error(&format!("error: {error}"));
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}

struct Report<'c> {
    evaluated: usize,
    analysed: usize,
    not_evaluable: usize,
    found: Vec<Disagreement<'c>>,
}

async fn compare<'c>(jira: &Jira, cases: &'c [Case]) -> Result<Report<'c>, JiraError> {
    let env = Env::at(clock::now_ms());
    let (sent, not_evaluable): (Vec<_>, Vec<_>) =
        cases.iter().partition(|case| jira_can_evaluate(case));
    let mut found = Vec::new();
    for case in &sent {
        let ours = match cases::run(case, &env).outcome {
            CaseOutcome::Value(value) => Evaluation::Value(value),
            CaseOutcome::Error { message, .. } => Evaluation::Error(message),
        };
        let jiras = jira.evaluate(&case.expr, &case.context).await?;
        if !agree(&ours, &jiras) {
            found.push(Disagreement { case, ours, jiras });
        }
    }
    let mut expressions: HashMap<&str, &Case> = HashMap::new();
    for case in &not_evaluable {
        expressions.entry(&case.expr).or_insert(case);
    }
    let mut expressions: Vec<_> = expressions.into_iter().collect();
    expressions.sort_by_key(|(_, case)| &case.id);
    for part in expressions.chunks(ANALYSED_AT_ONCE) {
        let sources: Vec<&str> = part.iter().map(|(source, _)| *source).collect();
        for ((source, case), jiras) in part.iter().zip(jira.analyse(&sources).await?) {
            let ours = match canonical(source) {
                Ok(_) => Evaluation::Value("valid".into()),
                Err(rejected) => Evaluation::Error(rejected.to_string()),
            };
            if !agree(&ours, &jiras) {
                found.push(Disagreement { case, ours, jiras });
            }
        }
    }
    let analysed = expressions.len();
    Ok(Report { evaluated: sent.len(), analysed, not_evaluable: not_evaluable.len(), found })
}

/// Whether Jira can evaluate a case: variables of a request must be objects, and not bound by Jira.
fn jira_can_evaluate(case: &Case) -> bool {
    case.context
        .iter()
        .all(|(name, value)| value.is_object() && !BOUND_BY_JIRA.contains(&name.as_str()))
}

fn agree(ours: &Evaluation, jiras: &Evaluation) -> bool {
    match (ours, jiras) {
        (Evaluation::Value(ours), Evaluation::Value(jiras)) => cases::same(ours, jiras),
        // Messages differ, and so do the kinds of errors.
        (Evaluation::Error(_), Evaluation::Error(_)) => true,
        _ => false,
    }
}

impl Report<'_> {
    fn print(&self, args: &ConformArgs) -> anyhow::Result<ExitCode> {
        for Disagreement { case, ours, jiras } in &self.found {
            let (id, source) = (&case.id, &case.expr);
            print_line(&format!(
                "{id}: {source}\n  here: {}\n  Jira: {}",
                ours.describe(),
                jiras.describe()
            ))?;
        }
        print_line(&format!(
            "{} evaluated, {} analysed for their syntax (of {} that Jira cannot evaluate), {} disagreements",
            self.evaluated,
            self.analysed,
            self.not_evaluable,
            self.found.len()
        ))?;
        if let Some(file) = &args.write {
            let cases: Vec<Value> =
                self.found.iter().map(|found| found.as_case(&args.site)).collect();
            let text = serde_json::to_string_pretty(&cases)?;
            std::fs::write(file, text + "\n")
                .with_context(|| UsageError(format!("cannot write {}", file.display())))?;
        }
        Ok(if self.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
    }
}

impl Disagreement<'_> {
    /// Returns a corpus case with Jira's result. The kind of an error must be reviewed by hand.
    fn as_case(&self, site: &str) -> Value {
        let (expect, note) = match &self.jiras {
            Evaluation::Value(value) => (json!({ "value": value }), String::new()),
            Evaluation::Error(message) => (json!({ "error": "runtime" }), message.clone()),
        };
        json!({
            "id": format!("jira-{}", self.case.id), "expr": self.case.expr,
            "context": self.case.context, "expect": expect,
            "source": format!("observed: evaluated by {site}"), "note": note,
        })
    }
}
