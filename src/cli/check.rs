//! `switchyard check`: whether a filter is one, and what is wrong with it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use switchyard_expr::{Diagnostic, Profile, Severity, render};

use super::{EXIT_NO, Output, print_line, read_input};

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// File that holds the filter, `-` for standard input
    #[arg(required_unless_present = "expression", conflicts_with = "expression")]
    pub file: Option<PathBuf>,
    /// The filter itself
    #[arg(short, long, value_name = "EXPR")]
    pub expression: Option<String>,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Checks one filter. Exit code 0 when it can be registered, 1 when not.
///
/// # Errors
/// The file cannot be read.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (name, source) = match (&args.expression, &args.file) {
        (Some(expression), _) => ("<arg>".to_owned(), expression.clone()),
        (None, Some(file)) => (file.display().to_string(), read_input(file)?),
        (None, None) => anyhow::bail!("nothing to check: give a FILE, `-`, or -e EXPR"),
    };
    let (valid, diagnostics) = match switchyard_expr::compile(&source, Profile::Filter) {
        Ok(compiled) => (true, compiled.warnings),
        Err(rejected) => (false, rejected.diagnostics),
    };
    match args.output {
        Output::Text => print_text(&name, &source, valid, &diagnostics)?,
        Output::Json | Output::Jsonl => {
            let list: Vec<Value> = diagnostics.iter().map(|d| as_json(&source, d)).collect();
            print_line(&json!({ "valid": valid, "diagnostics": list }).to_string())?;
        }
    }
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

fn print_text(
    name: &str,
    source: &str,
    valid: bool,
    diagnostics: &[Diagnostic],
) -> anyhow::Result<()> {
    if !diagnostics.is_empty() {
        print_line(&render::render(diagnostics, source, name))?;
    }
    if valid {
        print_line("the filter is valid")?;
    }
    Ok(())
}

/// A diagnostic as the operator API shows it.
pub(crate) fn as_json(source: &str, diagnostic: &Diagnostic) -> Value {
    let at = diagnostic.position(source);
    let mut value = json!({
        "code": diagnostic.code.to_string(),
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": diagnostic.message,
        "offset": at.offset,
        "offset16": at.offset16,
        "length": at.length,
        "line": at.line,
        "column": at.column,
    });
    if let (Some(help), Some(object)) = (&diagnostic.help, value.as_object_mut()) {
        object.insert("help".into(), json!(help));
    }
    value
}
