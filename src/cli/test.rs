//! `switchyard test`: evaluates a filter on an event, or runs a file of language cases.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use switchyard_expr::{Env, Verdict, cases};

use super::exit::{EXIT_NEGATIVE, UsageError};
use super::explain::explain_one;
use super::io::{Output, print_error, print_line, read_input};
use crate::clock;

/// Evaluates a filter on an event, or runs a file of language cases; no server needed
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  switchyard test -e \"event.issue.fields.priority.name == 'High'\" --with event.json\n  \
    switchyard test --cases expr/tests/corpus/documented.json"
)]
pub struct TestArgs {
    /// The filter to evaluate
    #[arg(short, long, value_name = "EXPR", requires = "with", conflicts_with = "cases")]
    pub expression: Option<String>,
    /// File with the event, or an envelope line with the event under `data`; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// File of language cases: a JSON array of {id, expr, context, expect}
    #[arg(long, value_name = "FILE", required_unless_present = "expression")]
    pub cases: Option<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Evaluates a filter or cases. Exit code 0 if the filter matches or all cases pass, 1 otherwise.
///
/// # Errors
/// A file cannot be read or is not a case file or event.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    match (&args.cases, &args.expression, &args.with) {
        (Some(file), _, _) => run_cases(file, args.output),
        (None, Some(expression), Some(event)) => run_one(expression, event, args.output),
        _ => anyhow::bail!(UsageError("give --cases FILE, or -e EXPR --with FILE".into())),
    }
}

fn run_cases(file: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let text = read_input(file)?;
    let cases = cases::parse(&text)
        .with_context(|| UsageError(format!("{} is not a case file", file.display())))?;
    let env = Env::at(clock::now_ms());
    let mut failed = 0;
    for case in &cases {
        let report = cases::run(case, &env);
        failed += usize::from(report.failure.is_some());
        if output != Output::Text {
            print_line(&as_json(&report).to_string())?;
        } else if let Some(why) = &report.failure {
            print_line(&format!("FAIL {}: {why}", report.id))?;
        }
    }
    let summary = format!("{} passed, {failed} failed", cases.len() - failed);
    if output == Output::Text {
        print_line(&summary)?;
    } else {
        print_error(&summary);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
}

fn as_json(report: &cases::Report) -> Value {
    match &report.outcome {
        cases::CaseOutcome::Value(value) => json!({ "id": report.id, "value": value }),
        cases::CaseOutcome::Error { kind, code, message } => json!({
            "id": report.id, "error": kind.as_str(), "code": code.to_string(), "message": message,
        }),
    }
}

fn run_one(expression: &str, event: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let Some(explanation) = explain_one(expression, event, output)? else {
        return Ok(ExitCode::from(EXIT_NEGATIVE));
    };
    Ok(match explanation.verdict {
        Verdict::Match => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_NEGATIVE),
    })
}
