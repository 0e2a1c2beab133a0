//! Parses the input of `check`: an expression, a module, a file of registrations, a Forge manifest.

use std::rc::Rc;

use anyhow::Context;
use serde_json::{Map, Value};
use switchyard_expr::Severity;

use crate::cli::exit::UsageError;
use crate::registry::Problem;
use crate::registry::review::{not_an_object, review};

/// One trigger, or a single filter.
pub(super) struct CheckInput {
    pub(super) origin: String,
    /// Problems of the module.
    pub(super) problems: Vec<(Severity, Problem)>,
    pub(super) filters: Vec<FilterText>,
    /// The payload that handlers get; none for a single filter.
    pub(super) body: Option<PayloadRequest>,
    /// The key of the module, if it has one.
    pub(super) key: Option<ModuleKeyText>,
}

/// The key of a module and its path in the file.
pub(super) struct ModuleKeyText {
    pub(super) text: String,
    /// Its installation; empty if the file does not name one.
    pub(super) owner: String,
    /// `modules.trigger[0].key`; `key` in a file of registrations.
    pub(super) path: String,
}

/// The payload that a module requests.
pub(super) struct PayloadRequest {
    /// Its path: `data.payload.include.fields`.
    pub(super) path: String,
    /// The event types that are delivered.
    pub(super) events: Vec<String>,
    /// Top-level issue fields that are kept; empty = all.
    pub(super) fields: Vec<String>,
}

/// An expression, its event types and its position in the file.
pub(super) struct FilterText {
    /// Origin in messages: `manifest.yml#modules.trigger[0].filter.expression`.
    pub(super) origin: String,
    /// The file.
    pub(super) file: String,
    /// Text of the file from line `first_line`.
    text: Rc<str>,
    first_line: usize,
    pub(super) source: String,
    pub(super) events: Vec<String>,
    pub(super) delivers_on_error: bool,
}

/// Returns a single expression as input.
pub(super) fn expression(file: &str, source: String, events: &[String]) -> CheckInput {
    let filter = FilterText {
        origin: file.into(),
        file: file.into(),
        text: source.as_str().into(),
        first_line: 1,
        source,
        events: events.to_vec(),
        delivers_on_error: false,
    };
    CheckInput {
        origin: file.into(),
        problems: Vec::new(),
        filters: vec![filter],
        body: None,
        key: None,
    }
}

/// Parses a file. Its form is detected: a manifest has `modules:`, a module is a JSON object, a
/// registration file has one JSON object a line; anything else is an expression.
pub(super) fn read(file: &str, text: &str, events: &[String]) -> anyhow::Result<Vec<CheckInput>> {
    let is_yaml = file.ends_with(".yml") || file.ends_with(".yaml");
    if is_yaml || text.lines().any(|line| line.trim_end() == "modules:") {
        return manifest(file, text);
    }
    if !text.trim_start().starts_with('{') {
        return Ok(vec![expression(file, text.trim_end().to_owned(), events)]);
    }
    if let Ok(module) = serde_json::from_str::<Value>(text) {
        return Ok(vec![trigger(file, text, &module, "")]);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let inputs = lines.map(|(at, line)| {
        let number = at + 1;
        let module = serde_json::from_str::<Value>(line)
            .with_context(|| UsageError(format!("{file}:{number} is not a JSON object")))?;
        let mut input = trigger(&format!("{file}:{number}"), line, &module, "");
        for filter in &mut input.filters {
            filter.file = file.into();
            filter.first_line = number;
        }
        Ok(input)
    });
    inputs.collect()
}

/// Parses every trigger of a Forge manifest.
fn manifest(file: &str, text: &str) -> anyhow::Result<Vec<CheckInput>> {
    let manifest: Value =
        serde_saphyr::from_str(text).with_context(|| UsageError(format!("{file} is not YAML")))?;
    let triggers = manifest.pointer("/modules/trigger").and_then(Value::as_array);
    let triggers =
        triggers.with_context(|| UsageError(format!("{file} has no `modules.trigger`")))?;
    let inputs = triggers.iter().enumerate().map(|(at, module)| {
        let path = format!("modules.trigger[{at}]");
        data(file, text, module, &path)
    });
    Ok(inputs.collect())
}

/// Parses a module with a `data` member, or the data itself.
fn trigger(file: &str, text: &str, module: &Value, path: &str) -> CheckInput {
    match module.get("data") {
        Some(inner) => {
            let input = data(file, text, inner, &join(path, "data"));
            let outer = module.as_object().and_then(|module| key(module, path));
            CheckInput { key: outer.or(input.key), ..input }
        }
        None => data(file, text, module, path),
    }
}

fn data(file: &str, text: &str, data: &Value, path: &str) -> CheckInput {
    let Some(data) = data.as_object() else {
        let problems = vec![(Severity::Error, not_an_object(path))];
        return CheckInput {
            origin: file.into(),
            problems,
            filters: Vec::new(),
            body: None,
            key: None,
        };
    };
    let path = if path.is_empty() { "trigger" } else { path };
    let review = review(data, path);
    let body = PayloadRequest {
        path: join(path, "payload.include.fields"),
        events: review.events,
        fields: review.fields,
    };
    let errors = review.problems.into_iter().map(|problem| (Severity::Error, problem));
    let warnings = review.warnings.into_iter().map(|problem| (Severity::Warning, problem));
    let text: Rc<str> = text.into();
    let filters = review.filters.into_iter().map(|filter| FilterText {
        origin: format!("{file}#{}", filter.path),
        file: file.into(),
        text: Rc::clone(&text),
        first_line: 1,
        source: filter.source,
        events: filter.events,
        delivers_on_error: filter.delivers_on_error,
    });
    CheckInput {
        origin: file.into(),
        problems: errors.chain(warnings).collect(),
        filters: filters.collect(),
        body: Some(body),
        key: key(data, path),
    }
}

fn key(module: &Map<String, Value>, path: &str) -> Option<ModuleKeyText> {
    let text = module.get("key")?.as_str()?.to_owned();
    let owner = module.get("installationId").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(ModuleKeyText { text, owner, path: join(path, "key") })
}

impl FilterText {
    /// Returns line and column in the file, both from 1, of a byte offset in the expression.
    /// Returns the start of the file if its text differs from the expression, because of escapes
    /// for example.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let position = self.lines().find_map(|(number, line)| {
            let column = starts_at(line, &self.source)?;
            self.follow(number, column, offset)
        });
        position.map_or((self.first_line, 1), |(line, column)| (self.first_line + line, column))
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate()
    }

    /// Aligns the expression with the text of the file: a YAML block indents and may fold lines.
    fn follow(&self, number: usize, column: usize, offset: usize) -> Option<(usize, usize)> {
        let mut read = 0;
        let mut column = column;
        for (number, line) in self.lines().skip(number) {
            let written = line.get(column..)?;
            let rest = self.source.get(read..)?;
            let same = written.bytes().zip(rest.bytes()).take_while(|(a, b)| a == b).count();
            if offset <= read + same {
                let before = line.get(..column + offset.checked_sub(read)?)?;
                return Some((number, before.chars().count() + 1));
            }
            read += same;
            read += self.source.get(read..)?.len() - self.source.get(read..)?.trim_start().len();
            let next = self.text.lines().nth(number + 1)?;
            column = next.len() - next.trim_start().len();
        }
        None
    }
}

/// Returns the byte offset in `line` at which `source` starts.
fn starts_at(line: &str, source: &str) -> Option<usize> {
    let first = source.lines().next().unwrap_or_default().trim_end();
    if first.is_empty() {
        return None;
    }
    // A line of a folded block holds only the start of the expression.
    let words = line.trim();
    let folded = words.len() >= FOLDED_BYTES_MIN && source.starts_with(words);
    line.find(first).or_else(|| folded.then(|| line.len() - line.trim_start().len()))
}

/// Shorter lines are too ambiguous to be matched as the start of an expression.
const FOLDED_BYTES_MIN: usize = 6;

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(file: &str, text: &str) -> Vec<FilterText> {
        let inputs = read(file, text, &[]).unwrap();
        inputs.into_iter().flat_map(|input| input.filters).collect()
    }

    const MANIFEST: &str = "\
modules:
  trigger:
    - key: a
      function: main
      events: [avi:jira:created:issue]
      filter:
        expression: >-
          event.issue.key == 'A-1'
            && event.issue.kex == 'ü'
    - key: b
      function: main
      events: [avi:jira:updated:issue]
      filter:
        expression: event.issue.kex == 'A-2'
        onError: RECEIVE
";

    #[test]
    fn every_trigger_of_a_manifest_is_found_with_its_events() {
        let found = filters("manifest.yml", MANIFEST);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].origin, "manifest.yml#modules.trigger[0].filter.expression");
        assert_eq!(found[0].events, ["avi:jira:created:issue"]);
        assert!(found[1].delivers_on_error && !found[0].delivers_on_error);
    }

    #[test]
    fn positions_are_those_of_the_file_also_in_folded_blocks() {
        for filter in filters("manifest.yml", MANIFEST) {
            let (line, column) = filter.position(filter.source.find("kex").unwrap());
            let there: String =
                MANIFEST.lines().nth(line - 1).unwrap().chars().skip(column - 1).take(3).collect();
            assert_eq!(there, "kex", "{}", filter.source);
        }
    }

    #[test]
    fn keys_are_read_with_their_installations() {
        let keys = |file: &str, text: &str| -> Vec<(String, String, String)> {
            let keys = read(file, text, &[]).unwrap().into_iter().filter_map(|found| found.key);
            keys.map(|key| (key.owner, key.text, key.path)).collect()
        };
        let found = keys("manifest.yml", MANIFEST);
        assert_eq!(found[1], (String::new(), "b".into(), "modules.trigger[1].key".into()));
        let line = r#"{"installationId":"i","key":"k","data":{"events":["a"],"function":"f"}}"#;
        assert_eq!(keys("x.json", line), [("i".into(), "k".into(), "key".into())]);
    }

    #[test]
    fn modules_and_registration_lines_are_distinguished_from_expressions() {
        let data = r#"{"events":["avi:jira:created:issue"],"function":"f","filter":{"expression":"true"}}"#;
        let module = format!(r#"{{"key":"k","type":"trigger","data":{data}}}"#);
        assert_eq!(filters("x.json", data)[0].origin, "x.json#trigger.filter.expression");
        assert_eq!(filters("x.json", &module)[0].origin, "x.json#data.filter.expression");
        let two = filters("x.ndjson", &format!("{module}\n\n{module}\n"));
        assert_eq!(two[1].origin, "x.ndjson:3#data.filter.expression");
        assert_eq!(two[1].position(0).0, 3);
        assert_eq!(filters("x.txt", "event.a == 1\n")[0].source, "event.a == 1");
        assert!(read("x.yml", "a: 1", &[]).is_err());
        assert!(read("x.ndjson", "{}\n{", &[]).is_err());
    }
}
