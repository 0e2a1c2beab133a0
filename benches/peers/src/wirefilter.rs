//! `wirefilter`: each filter compiled to closures, evaluated one after the other.

use wirefilter::{ExecutionContext, Filter, Scheme, Type};

use crate::Peer;
use crate::facts::Facts;
use crate::workload::FilterSpec;

pub(crate) struct All {
    filters: Vec<(u32, Filter<'static>)>,
    context: ExecutionContext<'static>,
}

impl All {
    pub(crate) fn new(filters: &[(u32, FilterSpec)]) -> Self {
        let texts = ["project", "kind", "priority", "status", "summary"];
        let fields = texts.map(|name| (name.to_owned(), Type::Bytes));
        let fields = fields.into_iter().chain([("points".to_owned(), Type::Int)]);
        // A scheme outlives its filters, and these the values of events.
        let scheme = &*Box::leak(Box::new(Scheme::try_from_iter(fields).expect("a scheme")));
        let compile = |spec| {
            let text: &'static str = Box::leak(filter(spec).into_boxed_str());
            scheme.parse(text).expect("a filter").compile()
        };
        Self {
            filters: filters.iter().map(|(number, spec)| (*number, compile(*spec))).collect(),
            context: ExecutionContext::new(scheme),
        }
    }
}

fn filter(spec: FilterSpec) -> String {
    match spec {
        FilterSpec::Kind { project, kind } => {
            format!(r#"project == "P{project}" && kind == "{kind}""#)
        }
        FilterSpec::Priority { project, kind, priority } => {
            format!(r#"project == "P{project}" && kind == "{kind}" && priority == "{priority}""#)
        }
        FilterSpec::Projects([a, b, c]) => format!(r#"project in {{"P{a}" "P{b}" "P{c}"}}"#),
        FilterSpec::Points { project, above } => {
            format!(r#"project == "P{project}" && points > {above}"#)
        }
        FilterSpec::Moved { .. } => unreachable!("there are no lists"),
        FilterSpec::Open { project } => format!(r#"project == "P{project}" && status != "Done""#),
        FilterSpec::Word(word) => format!(r#"summary contains "word{word} ""#),
    }
}

impl Peer for All {
    fn matches(&mut self, event: &'static [u8], found: &mut Vec<u32>) {
        let facts = Facts::read(event);
        let texts = [
            ("project", facts.project),
            ("kind", facts.kind),
            ("priority", facts.priority),
            ("status", facts.status),
            ("summary", facts.summary),
        ];
        for (name, value) in texts {
            self.context.set_field_value(name, value).expect("a field");
        }
        let points = i32::try_from(facts.points).expect("a small number");
        self.context.set_field_value("points", points).expect("a field");
        for (number, filter) in &self.filters {
            if filter.execute(&self.context).expect("an answer") {
                found.push(*number);
            }
        }
    }
}
