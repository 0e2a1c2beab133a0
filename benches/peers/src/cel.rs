//! `cel`: each filter an expression of the Common Expression Language, evaluated one after the other.

use ::cel::{Context, Program, Value};

use crate::Peer;
use crate::workload::FilterSpec;

pub(crate) struct All(Vec<(u32, Program)>);

impl All {
    pub(crate) fn new(filters: &[(u32, FilterSpec)]) -> Self {
        let compile = |spec| Program::compile(&filter(spec)).expect("a filter");
        Self(filters.iter().map(|(number, spec)| (*number, compile(*spec))).collect())
    }
}

fn filter(spec: FilterSpec) -> String {
    let of = |project: usize| format!("event.issue.fields.project.key == 'P{project}'");
    let kind = |kind: &str| format!("event.issue.fields.issuetype.name == '{kind}'");
    match spec {
        FilterSpec::Kind { project, kind: name } => format!("{} && {}", of(project), kind(name)),
        FilterSpec::Priority { project, kind: name, priority } => format!(
            "{} && {} && event.issue.fields.priority.name == '{priority}'",
            of(project),
            kind(name)
        ),
        FilterSpec::Projects([a, b, c]) => {
            format!("event.issue.fields.project.key in ['P{a}', 'P{b}', 'P{c}']")
        }
        FilterSpec::Points { project, above } => {
            let points = "event.issue.fields.customfield_10016";
            format!("{} && {points} != null && {points} > {above}u", of(project))
        }
        FilterSpec::Moved { project, to } => format!(
            "{} && event.changelog.items.exists(i, i.field == 'status' && i.toString == '{to}')",
            of(project)
        ),
        FilterSpec::Open { project } => {
            format!("{} && event.issue.fields.status.name != 'Done'", of(project))
        }
        FilterSpec::Word(word) => format!("event.issue.fields.summary.contains('word{word} ')"),
    }
}

impl Peer for All {
    fn matches(&mut self, event: &'static [u8], found: &mut Vec<u32>) {
        let event: serde_json::Value = serde_json::from_slice(event).expect("JSON");
        let mut context = Context::default();
        context.add_variable("event", event).expect("a value");
        for (number, program) in &self.0 {
            if program.execute(&context) == Ok(Value::Bool(true)) {
                found.push(*number);
            }
        }
    }
}
