//! Conformance cases: files of expressions with their expected results.
//!
//! A file is an array of `{id, expr, context, expect, source, note}`; `context` binds names to JSON
//! values, `expect` is `{"value": json}` or `{"error": "syntax|type|runtime|limit"}`. Each case
//! runs on both evaluators, which must agree.

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::diagnostic::{Code, CompileError, ErrorKind};
use crate::env::Env;
use crate::eval::EvalScratch;
use crate::fault::EvalError;
use crate::frontend::compile;
use crate::profile::CheckProfile;
use crate::reference::Tree;
use crate::tape::{Tape, TapeLimits};
use crate::value::Value;
use crate::view::View;

/// One case.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Unique name.
    pub id: String,
    /// The expression.
    pub expr: String,
    /// Names and their values.
    #[serde(default)]
    pub context: Map<String, Json>,
    /// The expected result.
    pub expect: Expect,
}

/// The expected result of a case.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// A value.
    Value(Json),
    /// An error of a kind: `syntax`, `type`, `runtime` or `limit`.
    Error(String),
}

/// The result of an evaluation.
#[derive(Clone, PartialEq, Debug)]
pub enum CaseOutcome {
    /// A value as JSON; Dates are text.
    Value(Json),
    /// An error, at compile time or later.
    Error {
        /// Its family.
        kind: ErrorKind,
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
}

/// The report on one case.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The id of the case.
    pub id: String,
    /// The result of the compiled form.
    pub outcome: CaseOutcome,
    /// The reason of the failure, if the case failed.
    pub failure: Option<String>,
}

/// Parses a case file.
///
/// # Errors
/// The text is not an array of cases.
pub fn parse(text: &str) -> Result<Vec<Case>, serde_json::Error> {
    serde_json::from_str(text)
}

/// Runs one case on both evaluators.
pub fn run(case: &Case, env: &Env) -> Report {
    let context = Json::Object(case.context.clone()).to_string();
    let mut tape = Tape::new();
    let outcome = match tape.parse_context(context.as_bytes(), &TapeLimits::default()) {
        Ok(()) => compiled(&case.expr, &tape, env),
        Err(error) => (
            CaseOutcome::Error {
                kind: ErrorKind::Limit,
                code: Code::TooMuchMemory,
                message: error.to_string(),
            },
            0,
        ),
    };
    let naive = reference(&case.expr, &tape, env);
    let mut failure = expectation(&case.expect, &outcome.0);
    if failure.is_none() && naive != outcome {
        failure = Some(format!("the reference evaluator yields {naive:?}"));
    }
    Report { id: case.id.clone(), outcome: outcome.0, failure }
}

/// The difference between the expected and the actual result.
fn expectation(expect: &Expect, outcome: &CaseOutcome) -> Option<String> {
    match (expect, outcome) {
        (Expect::Value(wanted), CaseOutcome::Value(found)) if same(wanted, found) => None,
        (Expect::Error(wanted), CaseOutcome::Error { kind, .. }) if wanted == kind.as_str() => None,
        (Expect::Value(wanted), found) => Some(format!("expected {wanted}, found {found:?}")),
        (Expect::Error(wanted), found) => {
            Some(format!("expected a {wanted} error, found {found:?}"))
        }
    }
}

/// JSON equality, with all numbers as doubles and without the order of members.
pub fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

/// Evaluates the compiled form and returns the number of steps as the second value.
pub fn compiled<V: View>(source: &str, view: &V, env: &Env) -> (CaseOutcome, u32) {
    let program = match compile(source, CheckProfile::General) {
        Ok(compiled) => compiled.program,
        Err(rejected) => return (refused(&rejected), 0),
    };
    let mut scratch = EvalScratch::new();
    let outcome = outcome(program.eval(view, env, &mut scratch), view);
    (outcome, scratch.steps())
}

/// Evaluates the tree and returns the number of steps as the second value.
pub fn reference<V: View>(source: &str, view: &V, env: &Env) -> (CaseOutcome, u32) {
    match Tree::parse(source, CheckProfile::General) {
        Ok(tree) => {
            let (evaluated, steps) = tree.eval(view, env);
            (outcome(evaluated, view), steps)
        }
        Err(rejected) => (refused(&rejected), 0),
    }
}

fn refused(rejected: &CompileError) -> CaseOutcome {
    let code = rejected.first_error().map_or(Code::Expected, |first| first.code);
    CaseOutcome::Error { kind: code.kind(), code, message: rejected.to_string() }
}

fn outcome<'v, V: View>(result: Result<Value<'v>, EvalError>, view: &'v V) -> CaseOutcome {
    match result {
        Ok(value) => CaseOutcome::Value(to_json(&value, view)),
        Err(error) => CaseOutcome::Error {
            kind: error.kind(),
            code: error.code,
            message: error.message.into_owned(),
        },
    }
}

/// Converts a value to JSON. Dates, errors and documents become text, functions `"Function"`, and
/// non-finite numbers null.
pub fn to_json<'v, V: View>(value: &Value<'v>, view: &'v V) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(number) => Json::from(*number),
        Value::String(text) | Value::RichText(text) => Json::from(text.as_str()),
        Value::Date(ms) => Json::from(crate::text::iso_instant(*ms)),
        Value::CalendarDate(day) => Json::from(crate::text::iso_day(*day)),
        Value::Error(error) => Json::from(error.message.as_ref()),
        Value::Function(_) => Json::from("Function"),
        Value::List(list) => list.iter(view).map(|item| to_json(&item, view)).collect(),
        Value::Map(map) => {
            let entries = map.entries(view).into_iter();
            let entries =
                entries.map(|(name, value)| (name.as_str().to_owned(), to_json(&value, view)));
            Json::Object(entries.collect())
        }
    }
}
