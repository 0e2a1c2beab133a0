//! The inputs of `check`: modules and expressions, with their positions in a file.

use std::rc::Rc;

use serde_json::{Map, Value};
use switchyard_expr::Severity;

use crate::registry::review::{Review, Reviewer};
use crate::registry::{ModuleSpec, Problem, TRIGGER};

/// One trigger, or a single filter.
pub(super) struct CheckInput {
    pub(super) origin: String,
    /// Whether it is a module or a filter, not only a list of problems of the file.
    pub(super) is_module: bool,
    /// Problems of the module.
    pub(super) problems: Vec<(Severity, Problem)>,
    pub(super) filters: Vec<FilterText>,
    /// The payload that handlers get; none for a single filter.
    pub(super) body: Option<PayloadRequest>,
    /// The key of the module, if it has one.
    pub(super) key: Option<ModuleKeyText>,
    /// The trigger, if it is one.
    pub(super) trigger: Option<TriggerText>,
}

/// A trigger and its path in the file.
pub(super) struct TriggerText {
    pub(super) data: Map<String, Value>,
    /// Its installation; empty if the file does not name one.
    pub(super) owner: String,
    /// `modules.trigger[0]`
    pub(super) path: String,
}

/// A file, or a line of it.
pub(super) struct Source {
    file: String,
    /// The file, with the number of the line.
    origin: String,
    text: Rc<str>,
    first_line: usize,
}

impl Source {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self { file: file.into(), origin: file.into(), text: text.into(), first_line: 1 }
    }

    /// Line `number` of a file.
    pub(super) fn line(file: &str, number: usize, text: &str) -> Self {
        Self {
            file: file.into(),
            origin: format!("{file}:{number}"),
            text: text.into(),
            first_line: number,
        }
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}

impl CheckInput {
    /// An input of which nothing is known but its problems.
    pub(super) fn of_problems(origin: &str, problems: Vec<(Severity, Problem)>) -> Self {
        Self {
            origin: origin.into(),
            is_module: false,
            problems,
            filters: Vec::new(),
            body: None,
            key: None,
            trigger: None,
        }
    }
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
        is_module: true,
        filters: vec![filter],
        ..CheckInput::of_problems(file, Vec::new())
    }
}

/// Returns the data of a trigger, or a line of a registration file, as input.
pub(super) fn trigger(
    reviewer: &Reviewer,
    source: &Source,
    module: &Map<String, Value>,
) -> CheckInput {
    let Some(inner) = module.get("data") else {
        let review = reviewer.trigger(module, TRIGGER);
        return of_review(source, review, module, TRIGGER, module);
    };
    let path = "data";
    let Value::Object(data) = inner else {
        let problem = crate::registry::review::not_an_object(path);
        return CheckInput::of_problems(source.origin(), vec![(Severity::Error, problem)]);
    };
    let input = of_review(source, reviewer.trigger(data, path), data, path, module);
    CheckInput { key: key(module, module, "").or(input.key), ..input }
}

/// Returns a trigger of a manifest as input.
pub(super) fn static_trigger(
    reviewer: &Reviewer,
    source: &Source,
    data: &Map<String, Value>,
    path: &str,
) -> CheckInput {
    of_review(source, reviewer.static_trigger(data, path), data, path, data)
}

/// Returns a Forge module as input; `given` is the key that its app chose.
pub(super) fn forge_module(
    reviewer: &Reviewer,
    source: &Source,
    spec: &ModuleSpec,
    given: Option<&str>,
) -> CheckInput {
    let review = reviewer.forge_module(spec);
    let mut input = of_review(source, review, &spec.data, "data", &spec.data);
    if spec.module_type != TRIGGER {
        input.trigger = None;
    }
    let text = given.map(str::to_owned);
    let key = text.map(|text| ModuleKeyText { text, owner: String::new(), path: "key".to_owned() });
    CheckInput { key: key.or(input.key), ..input }
}

/// An input of the data at `path`; `outer` names the installation, if anything does.
fn of_review(
    source: &Source,
    review: Review,
    data: &Map<String, Value>,
    path: &str,
    outer: &Map<String, Value>,
) -> CheckInput {
    let body = PayloadRequest {
        path: join(path, "payload.include.fields"),
        events: review.events,
        fields: review.fields,
    };
    let errors = review.problems.into_iter().map(|problem| (Severity::Error, problem));
    let warnings = review.warnings.into_iter().map(|problem| (Severity::Warning, problem));
    let filters = review.filters.into_iter().map(|filter| FilterText {
        origin: format!("{}#{}", source.origin, filter.path),
        file: source.file.clone(),
        text: Rc::clone(&source.text),
        first_line: source.first_line,
        source: filter.source,
        events: filter.events,
        delivers_on_error: filter.delivers_on_error,
    });
    CheckInput {
        origin: source.origin.clone(),
        is_module: true,
        problems: errors.chain(warnings).collect(),
        filters: filters.collect(),
        body: Some(body),
        key: key(data, outer, path),
        trigger: Some(TriggerText {
            data: data.clone(),
            owner: owner(outer),
            path: path.to_owned(),
        }),
    }
}

fn owner(module: &Map<String, Value>) -> String {
    module.get("installationId").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn key(
    module: &Map<String, Value>,
    outer: &Map<String, Value>,
    path: &str,
) -> Option<ModuleKeyText> {
    let text = module.get("key")?.as_str()?.to_owned();
    Some(ModuleKeyText { text, owner: owner(outer), path: join(path, "key") })
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
