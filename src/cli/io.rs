//! Input and output of commands: output formats, lines on stdout, files and standard input.

use std::io::{BufRead as _, Write};
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

use super::exit::UsageError;
use crate::event::Sample;
use crate::telemetry::Escaped;

/// Output format of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// Human-readable
    #[default]
    Text,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
}

/// Writes a text of one or more lines to stdout. On a closed pipe `main` exits successfully.
///
/// Every command writes through this and the next functions: strangers choose some of the text, and it
/// must not control the terminal.
pub(super) fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", Escaped::lines(text))?;
    Ok(())
}

/// Writes a text of one line to stdout; breaks in it are escaped, too.
pub(super) fn print_row(text: &str) -> anyhow::Result<()> {
    print_line(&Escaped::line(text).to_string())
}

/// Writes a text of one or more lines to stderr.
pub fn print_error(text: &str) {
    // Without stderr there is nowhere to report to.
    let _ = writeln!(std::io::stderr().lock(), "{}", Escaped::lines(text));
}

/// Writes the `hints` of an answer to stderr, a line each.
pub(super) fn print_hints(answer: &Value) {
    let hints = answer.get("hints").and_then(Value::as_array).into_iter().flatten();
    hints.filter_map(Value::as_str).for_each(|hint| print_error(&format!("hint: {hint}")));
}

/// Asks a question on the terminal; returns whether the answer is `yes`.
pub(super) fn is_confirmed(question: &str) -> anyhow::Result<bool> {
    print_error(question);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Reads an event, with or without an envelope, from a file or standard input.
pub(super) fn read_sample(path: &Path) -> anyhow::Result<Sample> {
    let value = serde_json::from_str(&read_input(path)?)
        .with_context(|| UsageError(format!("{}: the event is not JSON", path.display())))?;
    Sample::read(value).map_err(|error| UsageError(format!("{}: {error}", path.display())).into())
}

/// Reads a file, or standard input for `-`.
pub(super) fn read_input(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin())
            .context(UsageError("cannot read standard input".into()));
    }
    read_file(path)
}

/// Reads a file.
pub(super) fn read_file(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| UsageError(format!("cannot read {}", path.display())))
}
