//! `switchyard test` and `explain`: one filter on one event and why, or a file of language cases.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use switchyard_expr::explain::{self, Explanation};
use switchyard_expr::{Diagnostic, Env, Verdict, cases, render};

use super::{EXIT_NO, Output, UsageError, print_line, read_input, read_sample};
use crate::clock;

/// Flags of `test`.
#[derive(Debug, Args)]
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
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Evaluates. Exit code 0 when the filter matches or all cases pass, 1 otherwise.
///
/// # Errors
/// A file cannot be read or is no case file or event.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    match (&args.cases, &args.expression, &args.with) {
        (Some(file), _, _) => run_cases(file, args.output),
        (None, Some(expression), Some(event)) => run_one(expression, event, args.output),
        _ => anyhow::bail!(UsageError("give --cases FILE, or -e EXPR --with FILE".into())),
    }
}

fn run_cases(file: &std::path::Path, output: Output) -> anyhow::Result<ExitCode> {
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
        eprintln!("{summary}");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

fn as_json(report: &cases::Report) -> Value {
    match &report.outcome {
        cases::CaseOutcome::Value(value) => json!({ "id": report.id, "value": value }),
        cases::CaseOutcome::Error { kind, code, message } => json!({
            "id": report.id, "error": kind.as_str(), "code": code.to_string(), "message": message,
        }),
    }
}

fn run_one(expression: &str, event: &std::path::Path, output: Output) -> anyhow::Result<ExitCode> {
    let Some(explanation) = explain_one(expression, event, output)? else {
        return Ok(ExitCode::from(EXIT_NO));
    };
    Ok(match explanation.verdict {
        Verdict::Match => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_NO),
    })
}

/// Flags of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The filter
    #[arg(short, long, value_name = "EXPR")]
    pub expression: String,
    /// File with the event, or an envelope line with the event under `data`; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub with: PathBuf,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Explains a verdict, whatever it is. Exit code 1 only for a filter with mistakes.
///
/// # Errors
/// The file cannot be read or is no event.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let explained = explain_one(&args.expression, &args.with, args.output)?;
    Ok(explained.map_or(ExitCode::from(EXIT_NO), |_| ExitCode::SUCCESS))
}

/// Prints why a filter says what it says; none if it has mistakes, which are printed instead.
fn explain_one(
    expression: &str,
    event: &std::path::Path,
    output: Output,
) -> anyhow::Result<Option<Explanation>> {
    let sample = read_sample(event)?;
    match explain::explain(expression, &sample.view(), &Env::at(clock::now_ms())) {
        Ok(explanation) => {
            print_explanation(&explanation, output)?;
            Ok(Some(explanation))
        }
        Err(rejected) => {
            print_line(&render::render(&rejected.diagnostics, expression, "<arg>"))?;
            Ok(None)
        }
    }
}

fn print_explanation(explanation: &Explanation, output: Output) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_line(&explanation.as_json().to_string());
    }
    if !explanation.warnings.is_empty() {
        print_line(&render::render(&explanation.warnings, &explanation.source, "<arg>"))?;
    }
    print_line(&explanation.text())?;
    if let Verdict::Failed(error) = &explanation.verdict {
        let diagnostic = Diagnostic::error(error.code, error.span, error.message.clone());
        print_line(&format!("\n{}", render::render(&[diagnostic], &explanation.source, "<arg>")))?;
    }
    Ok(())
}
