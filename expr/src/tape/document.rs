//! A parsed JSON text, and its [`View`].

use super::build::Builder;
use super::error::{TapeError, TapeLimits};
use super::node::{Cell, NONE, Node, OpenContainer, Range, hash, slice};
use crate::view::{NodeId, NodeValue, View};

/// The free names of an expression on a tape.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum RootBinding {
    /// `event` is the root value.
    #[default]
    Event,
    /// Each member of the root is a variable.
    Members,
}

/// A parsed JSON text.
#[derive(Debug, Default)]
pub struct Tape {
    text: String,
    /// Decoded strings that had escapes. Their offsets continue those of `text`.
    escaped: String,
    nodes: Vec<Node>,
    /// Hashes and children of large maps, sorted by hash and name.
    index: Vec<(u32, u32)>,
    /// Scratch memory of a pass.
    frames: Vec<OpenContainer>,
    binding: RootBinding,
}

impl Tape {
    /// Creates an empty tape, which is a view of null.
    pub fn new() -> Tape {
        Tape::default()
    }

    /// Replaces the contents by `text`, with the root bound to `event`.
    ///
    /// # Errors
    /// The text is not one JSON value within `limits`. The tape is empty then.
    pub fn parse(&mut self, text: &[u8], limits: &TapeLimits) -> Result<(), TapeError> {
        self.binding = RootBinding::Event;
        self.fill(text, limits).inspect_err(|_| self.clear())
    }

    /// Like [`Tape::parse`], with each member of the root bound to its name.
    ///
    /// # Errors
    /// As [`Tape::parse`].
    pub fn parse_context(&mut self, text: &[u8], limits: &TapeLimits) -> Result<(), TapeError> {
        self.binding = RootBinding::Members;
        self.fill(text, limits).inspect_err(|_| self.clear())
    }

    fn clear(&mut self) {
        self.text.clear();
        self.escaped.clear();
        self.nodes.clear();
        self.index.clear();
        self.frames.clear();
    }

    fn fill(&mut self, text: &[u8], limits: &TapeLimits) -> Result<(), TapeError> {
        self.clear();
        let text = std::str::from_utf8(text)
            .map_err(|error| TapeError::Utf8 { offset: error.valid_up_to() })?;
        // Decoded text is never longer than its source, so both fit into one address space.
        if u32::try_from(text.len()).is_ok_and(|len| len <= u32::MAX / 2) {
            self.text.push_str(text);
        } else {
            return Err(TapeError::Length);
        }
        let (nodes, index, frames) = (&mut self.nodes, &mut self.index, &mut self.frames);
        Builder::new(&self.text, &mut self.escaped, nodes, index, frames, *limits).build()
    }

    /// The root value.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// Whether the root is an object, as every event is.
    pub fn is_object(&self) -> bool {
        matches!(self.cell(self.root()), Cell::Map { .. })
    }

    /// The parsed text.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node.0 as usize)
    }

    fn cell(&self, node: NodeId) -> Cell {
        self.node(node).map_or(Cell::Null, |node| node.cell)
    }

    fn slice(&self, range: Range) -> &str {
        slice(&self.text, &self.escaped, range)
    }
}

impl View for Tape {
    fn variable(&self, name: &str) -> Option<NodeId> {
        match self.binding {
            RootBinding::Event => (name == "event").then(|| self.root()),
            RootBinding::Members => self.member(self.root(), name),
        }
    }

    fn read(&self, node: NodeId) -> NodeValue<'_> {
        match self.cell(node) {
            Cell::Null => NodeValue::Null,
            Cell::Bool(value) => NodeValue::Bool(value),
            Cell::Number(number) => NodeValue::Number(number),
            Cell::String(range) => NodeValue::String(self.slice(range)),
            Cell::List { len } => NodeValue::List { len },
            Cell::Map { len, .. } => NodeValue::Map { len },
        }
    }

    fn member(&self, node: NodeId, name: &str) -> Option<NodeId> {
        let Cell::Map { len, first, index } = self.cell(node) else { return None };
        let key = hash(name);
        if index == NONE {
            let mut child = first;
            while let Some(node) = self.nodes.get(child as usize) {
                if node.hash == key && self.slice(node.name) == name {
                    return Some(NodeId(child));
                }
                child = node.next;
            }
            return None;
        }
        let index = index as usize;
        let sorted = self.index.get(index..index + len as usize)?;
        let from = sorted.partition_point(|(hash, _)| *hash < key);
        let same_hash = sorted.get(from..)?.iter().take_while(|(hash, _)| *hash == key);
        let mut children = same_hash.map(|(_, child)| NodeId(*child));
        children.find(|child| self.name(*child) == name)
    }

    fn first_child(&self, node: NodeId) -> Option<NodeId> {
        match self.cell(node) {
            Cell::List { len } if len > 0 => Some(NodeId(node.0 + 1)),
            Cell::Map { first, .. } if first != NONE => Some(NodeId(first)),
            _ => None,
        }
    }

    fn next_sibling(&self, node: NodeId) -> Option<NodeId> {
        let next = self.node(node)?.next;
        (next != NONE).then_some(NodeId(next))
    }

    fn name(&self, node: NodeId) -> &str {
        self.node(node).map_or("", |node| self.slice(node.name))
    }
}
