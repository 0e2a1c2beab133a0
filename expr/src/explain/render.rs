//! Explanations as text, for terminals, and as JSON, for tools.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::model::{
    ExplainedPart, Explanation, FUNCTION, FunctionCalls, PartOutcome, ValueSummary,
};
use crate::eval::Verdict;
use crate::fault::EvalError;
use crate::render::span_as_json;
use crate::span::Span;

impl fmt::Display for ValueSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueSummary::Plain(value) => write!(f, "{value}"),
            ValueSummary::Large(FUNCTION, _) => f.write_str("a function"),
            ValueSummary::Large(name, count) => write!(f, "{name} of {count}"),
        }
    }
}

/// Characters of source in a row.
const SOURCE_CHARS_MAX: usize = 72;

/// A row of the table.
struct Row {
    source: String,
    outcome: String,
    because: String,
}

impl Explanation {
    /// The verdict, a row for each part, and the cost.
    pub fn text(&self) -> String {
        let mut out = String::from(match &self.verdict {
            Verdict::Match => "true  (would be delivered)\n",
            Verdict::NoMatch => "false  (would not be delivered)\n",
            Verdict::Failed(_) => {
                "error  (delivered only if onError is RECEIVE or RECEIVE_AND_LOG)\n"
            }
        });
        let mut rows = Vec::new();
        for part in &self.parts {
            // The first line shows the verdict; the rows show the parts of the expression.
            if part.parts.is_empty() {
                self.rows(part, 1, &mut rows);
            }
            part.parts.iter().for_each(|part| self.rows(part, 1, &mut rows));
        }
        let width = |text: &str| text.chars().count();
        let sources = rows.iter().map(|row| width(&row.source)).max().unwrap_or(0);
        let outcomes = rows.iter().map(|row| width(&row.outcome)).max().unwrap_or(0);
        for Row { source, outcome, because } in &rows {
            let line = format!("{source:sources$}   {outcome:outcomes$}   {because}");
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out.push_str(&self.cost());
        out
    }

    fn cost(&self) -> String {
        let mut line = format!("steps {} of {}", self.steps, self.steps_max);
        if self.indexed.is_empty() {
            line.push_str(" · no index key");
        } else {
            let _ = write!(line, " · index key: {}", self.indexed.join(", "));
        }
        let left: Vec<String> = self.residual.iter().map(|span| self.source_of(*span)).collect();
        if !self.indexed.is_empty() && !left.is_empty() {
            let _ = write!(line, "\nleft to decide for each candidate: {}", left.join(" && "));
        }
        line
    }

    fn rows(&self, part: &ExplainedPart, depth: usize, rows: &mut Vec<Row>) {
        let mut because: Vec<String> =
            part.reads.iter().map(|reading| reading.value.to_string()).collect();
        let outcome = match &part.outcome {
            PartOutcome::Value(value) => value.to_string(),
            PartOutcome::Skipped => "not evaluated".to_owned(),
            PartOutcome::Error(error) => {
                let missing = part.reads.iter().find(|reading| {
                    reading.value == ValueSummary::Plain(Value::Null) && error.code.number() == 3401
                });
                because = vec![missing.map_or_else(
                    || error.message.to_string(),
                    |reading| format!("{} is null", self.source_of(reading.span)),
                )];
                "error".to_owned()
            }
        };
        if part.decides {
            because.push("<- decided here".to_owned());
        }
        let source = format!("{}{}", "  ".repeat(depth), self.source_of(part.span));
        rows.push(Row { source, outcome, because: because.join("   ") });
        part.parts.iter().for_each(|part| self.rows(part, depth + 1, rows));
        part.functions.iter().for_each(|calls| self.calls(calls, depth + 1, rows));
    }

    /// Adds the calls of a function, each with its number in its first row.
    fn calls(&self, calls: &FunctionCalls, depth: usize, rows: &mut Vec<Row>) {
        for call in &calls.shown {
            let start = rows.len();
            for part in &call.parts {
                self.rows(part, depth, rows);
            }
            if let Some(first) = rows.get_mut(start) {
                let indent = "  ".repeat(depth);
                first.source = format!("{indent}[{}] {}", call.index, first.source.trim_start());
            }
        }
        let hidden = calls.count - calls.shown.len();
        if hidden > 0 {
            let source = format!("{}… {hidden} more of {}", "  ".repeat(depth), calls.count);
            rows.push(Row { source, outcome: String::new(), because: String::new() });
        }
    }

    /// A part of the source on one line, truncated if it is long.
    pub(super) fn source_of(&self, span: Span) -> String {
        let words: Vec<&str> = span.text(&self.source).split_whitespace().collect();
        let line = words.join(" ");
        let mut cut: String = line.chars().take(SOURCE_CHARS_MAX).collect();
        if cut.len() < line.len() {
            cut.push('…');
        }
        cut
    }

    /// `verdict` (`true`, `false`, `error`), `error`, `steps`, `stepsMax`, `parts`, `index`
    /// (`keys`, `residual`), `warnings`.
    pub fn as_json(&self) -> Value {
        let (verdict, error) = match &self.verdict {
            Verdict::Match => ("true", None),
            Verdict::NoMatch => ("false", None),
            Verdict::Failed(error) => ("error", Some(error)),
        };
        let residual = self.residual.iter().map(|span| self.span_with_text(*span));
        let warnings = self.warnings.iter().map(|w| crate::render::as_json(w, &self.source));
        let mut answer = json!({
            "verdict": verdict,
            "steps": self.steps,
            "stepsMax": self.steps_max,
            "parts": self.parts.iter().map(|part| self.part_as_json(part)).collect::<Vec<_>>(),
            "index": { "keys": self.indexed, "residual": residual.collect::<Vec<_>>() },
            "warnings": warnings.collect::<Vec<_>>(),
        });
        if let (Some(error), Some(object)) = (error, answer.as_object_mut()) {
            object.insert("error".into(), self.error_as_json(error));
        }
        answer
    }

    /// A span with its text.
    pub(super) fn span_with_text(&self, span: Span) -> Value {
        let mut shown = span_as_json(span, &self.source);
        if let Some(object) = shown.as_object_mut() {
            object.insert("source".into(), span.text(&self.source).into());
        }
        shown
    }

    fn error_as_json(&self, error: &EvalError) -> Value {
        let mut shown = self.span_with_text(error.span);
        if let Some(object) = shown.as_object_mut() {
            object.insert("code".into(), error.code.to_string().into());
            object.insert("kind".into(), error.kind().as_str().into());
            object.insert("message".into(), error.message.as_ref().into());
        }
        shown
    }

    fn part_as_json(&self, part: &ExplainedPart) -> Value {
        let mut shown = self.span_with_text(part.span);
        let Some(object) = shown.as_object_mut() else { return shown };
        let (name, outcome) = self.outcome_as_json(&part.outcome);
        object.insert(name.into(), outcome);
        if part.decides {
            object.insert("decides".into(), true.into());
        }
        let reads = part.reads.iter().map(|reading| {
            json!({
                "path": reading.span.text(&self.source), "value": shown_as_json(&reading.value),
            })
        });
        object.insert("reads".into(), reads.collect());
        object.insert("parts".into(), part.parts.iter().map(|p| self.part_as_json(p)).collect());
        if !part.functions.is_empty() {
            let functions = part.functions.iter().map(|calls| self.calls_as_json(calls));
            object.insert("functions".into(), functions.collect());
        }
        shown
    }

    /// A span with `count` and `calls`: `index`, `element`, `value` or `error`, `parts`.
    fn calls_as_json(&self, calls: &FunctionCalls) -> Value {
        let shown = calls.shown.iter().map(|call| {
            let (name, outcome) = self.outcome_as_json(&call.outcome);
            let parts: Value = call.parts.iter().map(|part| self.part_as_json(part)).collect();
            json!({
                "index": call.index, "element": shown_as_json(&call.element), name: outcome,
                "parts": parts,
            })
        });
        let shown: Value = shown.collect();
        let mut call = self.span_with_text(calls.span);
        if let Some(object) = call.as_object_mut() {
            object.insert("count".into(), calls.count.into());
            object.insert("calls".into(), shown);
        }
        call
    }

    fn outcome_as_json(&self, outcome: &PartOutcome) -> (&'static str, Value) {
        match outcome {
            PartOutcome::Value(value) => ("value", shown_as_json(value)),
            PartOutcome::Error(error) => ("error", self.error_as_json(error)),
            PartOutcome::Skipped => ("skipped", true.into()),
        }
    }
}

/// A plain value as it is, a large one as `{"type", "count"}`.
pub(super) fn shown_as_json(value: &ValueSummary) -> Value {
    match value {
        ValueSummary::Plain(value) => value.clone(),
        ValueSummary::Large(name, count) => json!({ "type": name, "count": count }),
    }
}
