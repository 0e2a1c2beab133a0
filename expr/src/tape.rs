//! JSON text as a [`View`]: one pass into a flat node array, with buffers reused between events.
//!
//! Text without escapes is not copied out of the tape's copy of the source. A tape that has read
//! its largest event does not allocate for the next one.

mod build;
mod strict;

use crate::tape::build::Builder;
use crate::view::{NodeId, NodeValue, View};

/// Limits of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TapeLimits {
    /// Nesting depth of lists and maps.
    pub depth: u32,
    /// Total number of values.
    pub nodes: u32,
}

impl Default for TapeLimits {
    fn default() -> TapeLimits {
        TapeLimits { depth: 512, nodes: 200_000 }
    }
}

/// The reason why a text is not an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TapeError {
    /// The bytes are not UTF-8.
    #[error("the text is not UTF-8 from byte {offset} on")]
    Utf8 {
        /// Number of valid bytes.
        offset: usize,
    },
    /// The text is not JSON.
    #[error("the text is not JSON at line {line}, column {column}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1; 0 if the line ended first.
        column: usize,
    },
    /// Lists and maps nest deeper than the limit.
    #[error("the text nests too deep")]
    Depth,
    /// There are more values than the limit.
    #[error("the text holds too many values")]
    Nodes,
    /// The text is too long for 32-bit offsets.
    #[error("the text is too long")]
    Length,
}

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
    frames: Vec<Frame>,
    binding: RootBinding,
}

/// No node: the end of a sibling list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    cell: Cell,
    name: Range,
    /// Hash of the name; differs for nearly all other names.
    hash: u32,
    next: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ContainerKind {
    List,
    Map,
}

/// An open list or map.
#[derive(Debug)]
struct Frame {
    node: u32,
    kind: ContainerKind,
    /// First and last child so far, or none, and their number.
    first: u32,
    last: u32,
    len: u32,
    /// A bit for each hash of a name so far, so that most names need no search for a duplicate.
    seen: u64,
}

/// A range of `text` or, after its end, of `escaped`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Range {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    Null,
    Bool(bool),
    Number(f64),
    String(Range),
    /// The first child is the next node.
    List {
        len: u32,
    },
    /// Children in order from `first` on; if large, also sorted by hash and name from `index` on.
    Map {
        len: u32,
        first: u32,
        index: u32,
    },
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

fn slice<'t>(text: &'t str, escaped: &'t str, range: Range) -> &'t str {
    let (start, len) = (range.start as usize, range.len as usize);
    let found = match start.checked_sub(text.len()) {
        None => text.get(start..start + len),
        Some(start) => escaped.get(start..start + len),
    };
    found.unwrap_or_default()
}

/// Returns a cheap hash of a name, which orders the members of large maps.
fn hash(name: &str) -> u32 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let rest = rest.iter().fold(name.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mixed = words
        .fold(rest.wrapping_mul(MIX), |hash, word| (hash.rotate_left(29) ^ word).wrapping_mul(MIX));
    let [a, b, c, d, ..] = mixed.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
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

#[cfg(test)]
mod tests;
