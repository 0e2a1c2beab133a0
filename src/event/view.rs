//! The [`View`] of a decoded event that filters are evaluated on.

use switchyard_expr::view::{NodeId, NodeValue};
use switchyard_expr::{Tape, View};

/// Node ids of the two derived values; no tape is long enough to use them.
const TRUE: NodeId = NodeId(u32::MAX);
const FALSE: NodeId = NodeId(u32::MAX - 1);
/// The member whose value depends on the app that reads it.
const SELF_GENERATED: &str = "selfGenerated";

/// The body of an event, with `event.selfGenerated` derived for one app.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    tape: &'a Tape,
    self_generated: bool,
}

impl<'a> EventView<'a> {
    pub(super) fn new(tape: &'a Tape, self_generated: bool) -> Self {
        Self { tape, self_generated }
    }

    fn is_root(&self, node: NodeId) -> bool {
        self.tape.variable("event") == Some(node)
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
            node => self.tape.read(node),
        }
    }

    fn member(&self, node: NodeId, name: &str) -> Option<NodeId> {
        if name == SELF_GENERATED && self.is_root(node) {
            return Some(if self.self_generated { TRUE } else { FALSE });
        }
        self.tape.member(node, name)
    }

    fn first_child(&self, node: NodeId) -> Option<NodeId> {
        self.tape.first_child(node)
    }

    fn next_sibling(&self, node: NodeId) -> Option<NodeId> {
        self.tape.next_sibling(node)
    }

    fn name(&self, node: NodeId) -> &str {
        self.tape.name(node)
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
