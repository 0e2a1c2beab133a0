//! `a-tree`: all filters in one graph of shared sub-expressions.

use a_tree::{ATree, AttributeDefinition};

use crate::Peer;
use crate::facts::Facts;
use crate::workload::FilterSpec;

pub(crate) struct Tree(ATree<u32>);

impl Tree {
    pub(crate) fn new(filters: &[(u32, FilterSpec)]) -> Self {
        let texts = ["project", "kind", "priority", "status"].map(AttributeDefinition::string);
        let [project, kind, priority, status] = texts;
        let points = AttributeDefinition::integer("points");
        let changes = AttributeDefinition::string_list("changes");
        let mut tree =
            ATree::new(&[project, kind, priority, status, points, changes]).expect("attributes");
        for (number, spec) in filters {
            tree.insert(number, &filter(*spec)).expect("a filter");
        }
        Self(tree)
    }
}

/// There are no lists of objects: field and new value of a change are joined.
fn filter(spec: FilterSpec) -> String {
    match spec {
        FilterSpec::Kind { project, kind } => format!("project = 'P{project}' and kind = '{kind}'"),
        FilterSpec::Priority { project, kind, priority } => {
            format!("project = 'P{project}' and kind = '{kind}' and priority = '{priority}'")
        }
        FilterSpec::Projects([a, b, c]) => format!("project in ['P{a}', 'P{b}', 'P{c}']"),
        FilterSpec::Points { project, above } => {
            format!("project = 'P{project}' and points is not null and points > {above}")
        }
        FilterSpec::Moved { project, to } => {
            format!("project = 'P{project}' and changes one of ['status={to}']")
        }
        FilterSpec::Open { project } => format!("project = 'P{project}' and status <> 'Done'"),
        FilterSpec::Word(_) => unreachable!("there are no substrings"),
    }
}

impl Peer for Tree {
    fn matches(&mut self, event: &'static [u8], found: &mut Vec<u32>) {
        let facts = Facts::read(event);
        let changes: Vec<String> =
            facts.changes().map(|(field, to)| format!("{field}={to}")).collect();
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let mut event = self.0.make_event();
        let texts = [
            ("project", facts.project),
            ("kind", facts.kind),
            ("priority", facts.priority),
            ("status", facts.status),
        ];
        for (name, value) in texts {
            event.with_string(name, value).expect("an attribute");
        }
        event.with_integer("points", facts.points).expect("an attribute");
        event.with_string_list("changes", &changes).expect("an attribute");
        let event = event.build().expect("an event");
        let report = self.0.search(&event).expect("an answer");
        found.extend(report.matches().iter().map(|number| **number));
    }
}
