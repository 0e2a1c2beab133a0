//! `switchyard explain`: explains the verdict of a filter on an event.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use switchyard_expr::explain::{self, Explanation};
use switchyard_expr::{Diagnostic, Env, Verdict, render};

use super::exit::EXIT_NEGATIVE;
use super::io::{Output, print_line, read_sample};
use crate::clock;

/// Explains the verdict of a filter on an event, part by part; no server needed
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  switchyard explain -e \"event.issue.fields.priority.name == 'High'\" --with event.json"
)]
pub struct ExplainArgs {
    /// The filter
    #[arg(short, long, value_name = "EXPR")]
    pub expression: String,
    /// File with the event, or an envelope line with the event under `data`; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub with: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Explains the verdict of a filter. Exit code 1 only for an invalid filter.
///
/// # Errors
/// The file cannot be read or is not an event.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let explained = explain_one(&args.expression, &args.with, args.output)?;
    Ok(explained.map_or(ExitCode::from(EXIT_NEGATIVE), |_| ExitCode::SUCCESS))
}

/// Prints and returns the explanation of a verdict; prints the diagnostics and returns none if the
/// filter is invalid.
pub(super) fn explain_one(
    expression: &str,
    event: &Path,
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
