//! `switchyard explain`: explains what was decided on stored events, or the verdict of a filter on an
//! event in a file.

mod stored;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use switchyard_expr::explain::{self, Explanation};
use switchyard_expr::{Diagnostic, Env, Verdict, render};

use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, print_line, read_sample};
use super::server_args::ServerArgs;
use crate::clock;
use stored::StoredArgs;

/// Explains why stored events reached subscriptions, or not; or the verdict of a filter on an event
#[derive(Debug, Args)]
#[command(
    after_help = "Name the subscriptions (--subscription, --installation or --site) and the events \
    (--entity, --event, --sequence, or only --since). Exit code 1 if no such event is stored.\n\n\
    With -e and --with no server is needed: the verdict of a filter is explained part by part. Exit \
    code 1 for an invalid filter.\n\n\
    Examples:\n  \
    switchyard explain --installation acme --entity ABC-1 --since 15m\n  \
    switchyard explain --subscription acme/assign --event 8c1f0e2a\n  \
    switchyard explain --site 1e2d... --since 5m -o json\n  \
    switchyard explain --sequence 120311\n  \
    switchyard explain -e \"event.issue.fields.priority.name == 'High'\" --with event.json"
)]
pub struct ExplainArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    stored: StoredArgs,
    /// A filter, to be explained without a server
    #[arg(short, long, value_name = "EXPR", requires = "with", conflicts_with = "StoredArgs")]
    expression: Option<String>,
    /// File with the event, or an envelope line with the event under `data`; `-` for standard input
    #[arg(long, value_name = "FILE", requires = "expression")]
    with: Option<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Explains stored events, or the verdict of a filter.
///
/// # Errors
/// The router does not answer or rejects the request; the file cannot be read or is not an event.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    match (&args.expression, &args.with) {
        (Some(expression), Some(event)) => {
            let explained = explain_one(expression, event, args.output)?;
            Ok(explained.map_or(ExitCode::from(EXIT_NEGATIVE), |_| ExitCode::SUCCESS))
        }
        _ if args.stored.is_empty() => {
            let message = "name subscriptions and events, or give -e EXPR --with FILE; see --help";
            Err(UsageError(message.to_owned()).into())
        }
        _ => stored::run(&args.server, &args.stored, args.output),
    }
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
