//! `cel`: each filter an expression of the Common Expression Language, evaluated one after the other.

use ::cel::{Context, Program, Value};

use crate::Peer;
use crate::workload::Wish;

pub(crate) struct All(Vec<(u32, Program)>);

impl All {
    pub(crate) fn new(filters: &[(u32, Wish)]) -> Self {
        let compile = |wish| Program::compile(&filter(wish)).expect("a filter");
        Self(filters.iter().map(|(number, wish)| (*number, compile(*wish))).collect())
    }
}

fn filter(wish: Wish) -> String {
    let of = |project: usize| format!("event.issue.fields.project.key == 'P{project}'");
    let kind = |kind: &str| format!("event.issue.fields.issuetype.name == '{kind}'");
    match wish {
        Wish::Kind { project, kind: name } => format!("{} && {}", of(project), kind(name)),
        Wish::Priority { project, kind: name, priority } => format!(
            "{} && {} && event.issue.fields.priority.name == '{priority}'",
            of(project),
            kind(name)
        ),
        Wish::Projects([a, b, c]) => {
            format!("event.issue.fields.project.key in ['P{a}', 'P{b}', 'P{c}']")
        }
        Wish::Points { project, above } => {
            let points = "event.issue.fields.customfield_10016";
            format!("{} && {points} != null && {points} > {above}u", of(project))
        }
        Wish::Moved { project, to } => format!(
            "{} && event.changelog.items.exists(i, i.field == 'status' && i.toString == '{to}')",
            of(project)
        ),
        Wish::Open { project } => {
            format!("{} && event.issue.fields.status.name != 'Done'", of(project))
        }
        Wish::Word(word) => format!("event.issue.fields.summary.contains('word{word} ')"),
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
