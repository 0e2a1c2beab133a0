//! The trait by which evaluation reads an event, one node at a time and without copying it.

/// A handle to one JSON value inside a [`View`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(pub u32);

/// The value of a node.
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
        /// Number of elements.
        len: u32,
    },
    /// An object and its number of members.
    Map {
        /// Number of members; a repeated name counts once.
        len: u32,
    },
}

/// Read access to JSON values.
///
/// Implementations accept every handle they returned. A request that does not fit the node (such as
/// a child of a number) returns none; it does not panic.
pub trait View {
    /// The value bound to a free name. A program calls this at most once per use.
    fn variable(&self, name: &str) -> Option<NodeId>;

    /// The value of the node.
    fn read(&self, node: NodeId) -> NodeValue<'_>;

    /// The member `name` of a map. Of a repeated name this is the last value.
    fn member(&self, node: NodeId, name: &str) -> Option<NodeId>;

    /// First element of a list or first value of a map.
    fn first_child(&self, node: NodeId) -> Option<NodeId>;

    /// The node after `node` in the same list or map.
    fn next_sibling(&self, node: NodeId) -> Option<NodeId>;

    /// The name of `node` in its map; empty for other nodes.
    fn name(&self, node: NodeId) -> &str;
}
