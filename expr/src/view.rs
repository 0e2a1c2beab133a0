//! How evaluation reads an event: a node at a time, never as a copied document.

/// A handle to one JSON value inside a [`View`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(pub u32);

/// What a node is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum NodeValue<'v> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number.
    Number(f64),
    /// Text, escapes resolved.
    String(&'v str),
    /// A list and its number of elements.
    List {
        /// Elements.
        len: u32,
    },
    /// An object and its number of members.
    Map {
        /// Members; a repeated name counts once.
        len: u32,
    },
}

/// JSON values as an expression sees them.
///
/// Implementations answer every call for every handle they gave out; a handle that fits no
/// question (such as a child of a number) has no answer rather than a panic.
pub trait View {
    /// The value bound to a free name. A program asks at most once per use.
    fn variable(&self, name: &str) -> Option<NodeId>;

    /// What the node is.
    fn read(&self, node: NodeId) -> NodeValue<'_>;

    /// The member `name` of a map. A repeated name means its last value.
    fn member(&self, node: NodeId, name: &str) -> Option<NodeId>;

    /// First element of a list or first value of a map.
    fn first_child(&self, node: NodeId) -> Option<NodeId>;

    /// The value behind `node` in the same list or map.
    fn next_sibling(&self, node: NodeId) -> Option<NodeId>;

    /// The name of `node` in its map; empty elsewhere.
    fn name(&self, node: NodeId) -> &str;
}
