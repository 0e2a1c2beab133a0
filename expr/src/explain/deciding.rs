//! The part that decided a verdict, in one sentence and as JSON.

use serde_json::{Map, Value};

use super::model::{ExplainedPart, Explanation, PartOutcome, ValueSummary};
use super::render::shown_as_json;
use crate::eval::Verdict;

/// Values that the sentence names.
const NAMED_MAX: usize = 3;

impl Explanation {
    /// Returns the part that decided the verdict; none if no single one did.
    pub fn deciding(&self) -> Option<&ExplainedPart> {
        self.parts.iter().find_map(deciding_in)
    }

    /// Says in one sentence why the verdict is what it is.
    pub fn because(&self) -> String {
        let Some(part) = self.deciding() else {
            return match &self.verdict {
                Verdict::Match => "the filter is true".to_owned(),
                Verdict::NoMatch => "the filter is false".to_owned(),
                Verdict::Failed(error) => format!("the filter failed: {}", error.message),
            };
        };
        let source = self.source_of(part.span);
        let mut text = match &part.outcome {
            PartOutcome::Error(error) => format!("{source} failed: {}", error.message),
            PartOutcome::Value(value) => format!("{source} is {value}"),
            PartOutcome::Skipped => source,
        };
        let others = part.reads.iter().filter(|read| read.span != part.span);
        for read in others.take(NAMED_MAX) {
            text.push_str(&format!(", {} is {}", self.source_of(read.span), read.value));
        }
        text
    }

    /// Returns the span of the deciding part with its text, and the values that it read by their paths.
    pub fn deciding_as_json(&self) -> Option<(Value, Value)> {
        let part = self.deciding()?;
        let mut values = Map::new();
        for read in &part.reads {
            let shown = shown_as_json(&read.value);
            values.insert(read.span.text(&self.source).to_owned(), shown);
        }
        if let PartOutcome::Value(value @ ValueSummary::Plain(_)) = &part.outcome {
            values.entry(part.span.text(&self.source)).or_insert(shown_as_json(value));
        }
        Some((self.span_with_text(part.span), Value::Object(values)))
    }
}

/// Returns the innermost part that decided, of this one and its own ones.
fn deciding_in(part: &ExplainedPart) -> Option<&ExplainedPart> {
    let in_calls = part.functions.iter().flat_map(|calls| &calls.shown);
    let mut own = part.parts.iter().chain(in_calls.flat_map(|call| &call.parts));
    own.find_map(deciding_in).or_else(|| part.decides.then_some(part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::explain::explain;
    use crate::{Env, Tape, TapeLimits};

    const EVENT: &str = r#"{"issue": {"key": "XYZ-12", "fields": {"priority": null,
        "labels": ["a", "b"]}}}"#;

    fn because(source: &str) -> String {
        let mut tape = Tape::new();
        tape.parse(EVENT.as_bytes(), &TapeLimits::default()).unwrap();
        explain(source, &tape, &Env::at(0)).unwrap().because()
    }

    #[test]
    fn the_deciding_part_is_named_with_its_values() {
        for (source, expected) in [
            (
                "event.issue.id == null && event.issue.key == 'A'",
                r#"event.issue.key == 'A' is false, event.issue.key is "XYZ-12""#,
            ),
            (
                "event.issue.key == 'A' || event.issue.fields.priority.name == 'High'",
                "event.issue.fields.priority",
            ),
            ("event.issue.fields.labels.some(label => label == 'c')", "is false"),
            ("true", "true"),
        ] {
            let found = because(source);
            assert!(found.contains(expected), "{source}: {found}");
        }
        assert!(because("event.issue.fields.priority.name == 'High'").contains("failed"));
    }

    #[test]
    fn the_values_are_those_of_the_deciding_part() {
        let mut tape = Tape::new();
        tape.parse(EVENT.as_bytes(), &TapeLimits::default()).unwrap();
        let source = "event.issue.fields.labels.length > 0 && event.issue.key == 'A'";
        let explanation = explain(source, &tape, &Env::at(0)).unwrap();
        let (span, values) = explanation.deciding_as_json().unwrap();
        assert_eq!(span["source"], "event.issue.key == 'A'");
        assert_eq!(values["event.issue.key"], json!("XYZ-12"));
        assert!(values.get("event.issue.fields.labels.length").is_none());
    }
}
