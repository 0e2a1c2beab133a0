//! The [`View`] of a decoded event that filters are evaluated on.

use switchyard_expr::view::{NodeId, NodeValue};
use switchyard_expr::{Tape, View};

use super::permissions::Permissions;

/// Node ids of the two derived values; no tape is long enough to use them.
const TRUE: NodeId = NodeId(u32::MAX);
const FALSE: NodeId = NodeId(u32::MAX - 1);
/// Ids of the nodes of the permissions begin here; no tape is long enough to reach it.
const PERMISSIONS_FIRST: u32 = 1 << 31;
/// The members whose values depend on the app that reads them.
const SELF_GENERATED: &str = "selfGenerated";
const PERMISSIONS: &str = "permissions";

/// The values of an event that depend on who reads it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppValues<'a> {
    /// `event.selfGenerated`.
    pub self_generated: bool,
    /// `event.permissions`; none leaves the member to the event.
    pub permissions: Option<&'a Permissions>,
}

/// The body of an event, with the values that depend on the app. They are read by name; a filter that
/// iterates over `event` itself sees the members of the body.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    tape: &'a Tape,
    self_generated: bool,
    permissions: Option<&'a Tape>,
}

impl<'a> EventView<'a> {
    pub(super) fn new(tape: &'a Tape, values: AppValues<'a>) -> Self {
        let AppValues { self_generated, permissions } = values;
        Self { tape, self_generated, permissions: permissions.map(Permissions::tape) }
    }

    fn is_root(&self, node: NodeId) -> bool {
        self.tape.variable("event") == Some(node)
    }

    /// Returns the tape of a node, and the node in it.
    #[inline]
    fn locate(&self, node: NodeId) -> (&'a Tape, NodeId) {
        match (self.permissions, node.0.checked_sub(PERMISSIONS_FIRST)) {
            (Some(permissions), Some(inside)) => (permissions, NodeId(inside)),
            _ => (self.tape, node),
        }
    }

    /// Returns the node that `find` returns for the tape of `node`.
    #[inline]
    fn related(
        &self,
        node: NodeId,
        find: impl FnOnce(&'a Tape, NodeId) -> Option<NodeId>,
    ) -> Option<NodeId> {
        let (tape, inside) = self.locate(node);
        let found = find(tape, inside)?;
        Some(if inside == node { found } else { NodeId(found.0 | PERMISSIONS_FIRST) })
    }
}

impl View for EventView<'_> {
    fn variable(&self, name: &str) -> Option<NodeId> {
        self.tape.variable(name)
    }

    fn read(&self, node: NodeId) -> NodeValue<'_> {
        match node {
            TRUE => NodeValue::Bool(true),
            FALSE => NodeValue::Bool(false),
            node => {
                let (tape, inside) = self.locate(node);
                tape.read(inside)
            }
        }
    }

    fn member(&self, node: NodeId, name: &str) -> Option<NodeId> {
        if name == SELF_GENERATED && self.is_root(node) {
            return Some(if self.self_generated { TRUE } else { FALSE });
        }
        if name == PERMISSIONS
            && let Some(permissions) = self.permissions
            && self.is_root(node)
        {
            return Some(NodeId(permissions.root().0 | PERMISSIONS_FIRST));
        }
        self.related(node, |tape, node| tape.member(node, name))
    }

    fn first_child(&self, node: NodeId) -> Option<NodeId> {
        self.related(node, Tape::first_child)
    }

    fn next_sibling(&self, node: NodeId) -> Option<NodeId> {
        self.related(node, Tape::next_sibling)
    }

    fn name(&self, node: NodeId) -> &str {
        let (tape, inside) = self.locate(node);
        tape.name(inside)
    }
}

/// Returns the value of a top-level member if it is a string.
pub(super) fn text<'t>(tape: &'t Tape, name: &str) -> Option<&'t str> {
    let node = tape.member(tape.variable("event")?, name)?;
    match tape.read(node) {
        NodeValue::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use switchyard_expr::{CheckProfile, Env, EvalScratch, TapeLimits, Verdict, compile};

    fn verdict(filter: &str, body: &str, permissions: Option<&Permissions>) -> Verdict {
        let mut tape = Tape::new();
        tape.parse(body.as_bytes(), &TapeLimits { depth: 9, nodes: 99 }).unwrap();
        let view = EventView::new(&tape, AppValues { self_generated: false, permissions });
        let program = compile(filter, CheckProfile::Filter).unwrap().program;
        let env = Env { now_ms: 0, steps_max: 10_000 };
        program.verdict(&view, &env, &mut EvalScratch::new())
    }

    #[test]
    fn permissions_are_those_of_the_app_however_they_are_read() {
        let external = json!({"fetch": {"backend": ["*.a.example", "\u{e9}"], "client": []}});
        let scopes = ["read:jira-work".to_owned(), "write:jira-work".to_owned()];
        let permissions = Permissions::new(&scopes, external.as_object());
        let body = r#"{"permissions":{"scopes":["admin"]},"a":{"permissions":7}}"#;
        for holds in [
            "event.permissions.scopes.includes('write:jira-work')",
            "!event.permissions.scopes.includes('admin')",
            "event?.permissions['scopes'].length == 2",
            "event['permissions'].scopes[0] == 'read:jira-work'",
            "[event].some(e => e.permissions.scopes.includes('read:jira-work'))",
            "event.permissions.scopes.map(s => s.split(':')[1]).join() == 'jira-work,jira-work'",
            "(event.permissions.external?.fetch?.backend || []).includes('*.a.example')",
            "(event.permissions.external?.fetch?.images || []).length == 0",
            "event.permissions.external.fetch.backend[1] == '\u{e9}'",
            "event.a.permissions == 7",
        ] {
            let found = verdict(holds, body, Some(&permissions));
            assert!(matches!(found, Verdict::Match), "{holds}: {found:?}");
        }
        let none = Permissions::new(&[], None);
        let found = verdict("event.permissions.external == null", body, Some(&none));
        assert!(matches!(found, Verdict::Match));
        let found = verdict("event.permissions.scopes.length == 0", "{}", Some(&none));
        assert!(matches!(found, Verdict::Match));
        let found = verdict("event.permissions.scopes.includes('admin')", body, None);
        assert!(matches!(found, Verdict::Match), "without an app the event is as given");
    }
}
