//! `switchyard conform`: the language cases against a real Jira, and where the two disagree.
//!
//! Every case that the vendor's endpoints can take is evaluated there; syntax is also asked of the
//! analysis. Nothing on the site is read or changed: the cases bring their own values.
//!
//! **Source:** Jira Cloud platform REST API v3, "Evaluate Jira expression using enhanced search
//! API" with custom context variables of type `json`, and "Analyse Jira expression".

mod jira;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use switchyard_expr::cases::{self, Case, CaseOutcome};
use switchyard_expr::{Env, canonical};

use super::{EXIT_NO, UsageError, print_line, read_input};
use crate::clock;
use jira::{Jira, JiraError};

/// Expressions in one request of the analysis.
const ANALYSED_AT_ONCE: usize = 50;
/// Names that Jira binds itself, so that no case can.
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

/// Flags of `conform`.
#[derive(Debug, Args)]
pub struct ConformArgs {
    /// Address of the site, such as https://your-site.atlassian.net
    #[arg(long, value_name = "URL")]
    pub site: String,
    /// The account that asks; it needs no permission beyond logging in
    #[arg(long, value_name = "EMAIL")]
    pub email: String,
    /// File with the account's API token
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Files of language cases
    #[arg(required = true, value_name = "CASES")]
    pub cases: Vec<PathBuf>,
    /// Writes the disagreements as cases with what Jira yields
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// What Jira makes of an expression.
#[derive(Clone, PartialEq, Debug)]
enum Answer {
    Value(Value),
    Error(String),
}

/// A case on which the two disagree.
struct Disagreement<'c> {
    case: &'c Case,
    ours: Answer,
    jiras: Answer,
}

/// Asks Jira. Exit code 0 when nothing differs, 1 when something does, 3 when the site does not
/// answer, 4 when it refuses the account.
///
/// # Errors
/// A file cannot be read or written, or the site is no address.
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
            eprintln!("error: {error}");
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}

struct Report<'c> {
    asked: usize,
    analysed: usize,
    left_out: usize,
    found: Vec<Disagreement<'c>>,
}

async fn compare<'c>(jira: &Jira, cases: &'c [Case]) -> Result<Report<'c>, JiraError> {
    let env = Env::at(clock::now_ms());
    let (sent, left_out): (Vec<_>, Vec<_>) = cases.iter().partition(|case| can_be_asked(case));
    let mut found = Vec::new();
    for case in &sent {
        let ours = match cases::run(case, &env).outcome {
            CaseOutcome::Value(value) => Answer::Value(value),
            CaseOutcome::Error { message, .. } => Answer::Error(message),
        };
        let jiras = jira.evaluate(&case.expr, &case.context).await?;
        if !agree(&ours, &jiras) {
            found.push(Disagreement { case, ours, jiras });
        }
    }
    let mut expressions: HashMap<&str, &Case> = HashMap::new();
    for case in &left_out {
        expressions.entry(&case.expr).or_insert(case);
    }
    let mut expressions: Vec<_> = expressions.into_iter().collect();
    expressions.sort_by_key(|(_, case)| &case.id);
    for part in expressions.chunks(ANALYSED_AT_ONCE) {
        let sources: Vec<&str> = part.iter().map(|(source, _)| *source).collect();
        for ((source, case), jiras) in part.iter().zip(jira.analyse(&sources).await?) {
            let ours = match canonical(source) {
                Ok(_) => Answer::Value("valid".into()),
                Err(rejected) => Answer::Error(rejected.to_string()),
            };
            if !agree(&ours, &jiras) {
                found.push(Disagreement { case, ours, jiras });
            }
        }
    }
    let analysed = expressions.len();
    Ok(Report { asked: sent.len(), analysed, left_out: left_out.len(), found })
}

/// Variables of a request are objects, and not those that Jira binds.
fn can_be_asked(case: &Case) -> bool {
    case.context
        .iter()
        .all(|(name, value)| value.is_object() && !BOUND_BY_JIRA.contains(&name.as_str()))
}

fn agree(ours: &Answer, jiras: &Answer) -> bool {
    match (ours, jiras) {
        (Answer::Value(ours), Answer::Value(jiras)) => cases::same(ours, jiras),
        // The words differ, and so does the sorting of errors into kinds.
        (Answer::Error(_), Answer::Error(_)) => true,
        _ => false,
    }
}

impl Report<'_> {
    fn print(&self, args: &ConformArgs) -> anyhow::Result<ExitCode> {
        for Disagreement { case, ours, jiras } in &self.found {
            let (id, source) = (&case.id, &case.expr);
            print_line(&format!(
                "{id}: {source}\n  here: {}\n  Jira: {}",
                ours.told(),
                jiras.told()
            ))?;
        }
        print_line(&format!(
            "{} evaluated, {} analysed for their syntax (of {} that Jira cannot be given), {} disagreements",
            self.asked,
            self.analysed,
            self.left_out,
            self.found.len()
        ))?;
        if let Some(file) = &args.write {
            let cases: Vec<Value> =
                self.found.iter().map(|found| found.as_case(&args.site)).collect();
            let text = serde_json::to_string_pretty(&cases)?;
            std::fs::write(file, text + "\n")
                .with_context(|| UsageError(format!("cannot write {}", file.display())))?;
        }
        Ok(if self.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
    }
}

impl Answer {
    fn told(&self) -> String {
        match self {
            Answer::Value(value) => value.to_string(),
            Answer::Error(message) => format!("error: {message}"),
        }
    }
}

impl Disagreement<'_> {
    /// A case of the corpus with what Jira yields. The kind of an error is for a reader to judge.
    fn as_case(&self, site: &str) -> Value {
        let (expect, note) = match &self.jiras {
            Answer::Value(value) => (json!({ "value": value }), String::new()),
            Answer::Error(message) => (json!({ "error": "runtime" }), message.clone()),
        };
        json!({
            "id": format!("jira-{}", self.case.id), "expr": self.case.expr,
            "context": self.case.context, "expect": expect,
            "source": format!("observed: evaluated by {site}"), "note": note,
        })
    }
}
