//! `switchyard test`: one filter on one event, or a file of language cases.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use switchyard_expr::diagnostic::Position;
use switchyard_expr::{Diagnostic, Env, Profile, Scratch, Verdict, cases, limits, render};

use super::{EXIT_NO, Output, print_line, read_input};
use crate::clock;
use crate::event::{Decoder, Headers};

/// Largest event body, as in the router.
const EVENT_BYTES_MAX: usize = 1 << 20;

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
        _ => anyhow::bail!("give --cases FILE, or -e EXPR --with FILE"),
    }
}

fn run_cases(file: &std::path::Path, output: Output) -> anyhow::Result<ExitCode> {
    let text = read_input(file)?;
    let cases =
        cases::parse(&text).with_context(|| format!("{} is not a case file", file.display()))?;
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
        cases::Outcome::Value(value) => json!({ "id": report.id, "value": value }),
        cases::Outcome::Error { kind, code, message } => json!({
            "id": report.id, "error": kind.as_str(), "code": code.to_string(), "message": message,
        }),
    }
}

struct NoHeaders;

impl Headers for NoHeaders {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

fn run_one(expression: &str, event: &std::path::Path, output: Output) -> anyhow::Result<ExitCode> {
    let compiled = match switchyard_expr::compile(expression, Profile::Filter) {
        Ok(compiled) => compiled,
        Err(rejected) => {
            print_line(&render::render(&rejected.diagnostics, expression, "<arg>"))?;
            return Ok(ExitCode::from(EXIT_NO));
        }
    };
    let body = event_body(&read_input(event)?)?;
    let mut decoder = Decoder::new(EVENT_BYTES_MAX, true);
    decoder
        .decode("file.in.file.event.-", &NoHeaders, body, 0)
        .map_err(|error| anyhow::anyhow!("{}: {error}", event.display()))?;
    let env = Env { now_ms: clock::now_ms(), steps_max: limits::STEPS_MAX };
    let mut scratch = Scratch::default();
    let view = decoder.view(decoder.says_self_generated());
    let verdict = compiled.program.verdict(&view, &env, &mut scratch);
    let steps = scratch.steps();
    print_verdict(expression, &verdict, steps, &compiled.warnings, output)?;
    Ok(if matches!(verdict, Verdict::Match) { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

/// The event itself, or the `data` of an envelope around it.
fn event_body(text: &str) -> anyhow::Result<Bytes> {
    let mut value: Value = serde_json::from_str(text).context("the event is not JSON")?;
    let is_envelope = value.get("headers").is_some() || value.get("subject").is_some();
    if is_envelope && let Some(data) = value.get_mut("data") {
        value = data.take();
    }
    Ok(value.to_string().into())
}

fn print_verdict(
    expression: &str,
    verdict: &Verdict,
    steps: u32,
    warnings: &[Diagnostic],
    output: Output,
) -> anyhow::Result<()> {
    let word = match verdict {
        Verdict::Match => "true",
        Verdict::NoMatch => "false",
        Verdict::Failed(_) => "error",
    };
    if output != Output::Text {
        let mut answer = json!({ "verdict": word, "steps": steps, "stepsMax": limits::STEPS_MAX });
        if let (Verdict::Failed(error), Some(object)) = (verdict, answer.as_object_mut()) {
            let at = Position::of(error.span, expression);
            object.insert(
                "error".into(),
                json!({ "code": error.code.to_string(), "kind": error.kind().as_str(),
                    "message": error.message, "offset": at.offset, "line": at.line,
                    "column": at.column }),
            );
        }
        if let Some(object) = answer.as_object_mut() {
            let list: Vec<Value> =
                warnings.iter().map(|w| render::as_json(w, expression)).collect();
            object.insert("warnings".into(), Value::Array(list));
        }
        return print_line(&answer.to_string());
    }
    if !warnings.is_empty() {
        print_line(&render::render(warnings, expression, "<arg>"))?;
    }
    match verdict {
        Verdict::Match => print_line("true  (would be delivered)")?,
        Verdict::NoMatch => print_line("false  (would not be delivered)")?,
        Verdict::Failed(error) => {
            print_line("error  (delivered only if onError is RECEIVE or RECEIVE_AND_LOG)")?;
            let diagnostic = Diagnostic::error(error.code, error.span, error.message.clone());
            print_line(&render::render(&[diagnostic], expression, "<arg>"))?;
        }
    }
    print_line(&format!("steps {steps} of {}", limits::STEPS_MAX))
}
