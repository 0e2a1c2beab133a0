//! The nodes of a tape.

/// No node: the end of a sibling list.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) cell: Cell,
    pub(super) name: Range,
    /// Hash of the name; differs for nearly all other names.
    pub(super) hash: u32,
    pub(super) next: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ContainerKind {
    List,
    Map,
}

/// An open list or map.
#[derive(Debug)]
pub(super) struct OpenContainer {
    pub(super) node: u32,
    pub(super) kind: ContainerKind,
    /// First and last child so far, or none, and their number.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) len: u32,
    /// A bit for each hash of a name so far, so that most names need no search for a duplicate.
    pub(super) seen: u64,
}

/// A range of `text` or, after its end, of `escaped`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) len: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
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

pub(super) fn slice<'t>(text: &'t str, escaped: &'t str, range: Range) -> &'t str {
    let (start, len) = (range.start as usize, range.len as usize);
    let found = match start.checked_sub(text.len()) {
        None => text.get(start..start + len),
        Some(start) => escaped.get(start..start + len),
    };
    debug_assert!(found.is_some(), "ranges are inside of the text they are taken from");
    found.unwrap_or_default()
}

/// Returns a cheap hash of a name, which orders the members of large maps.
pub(super) fn hash(name: &str) -> u32 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let rest = rest.iter().fold(name.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mixed = words
        .fold(rest.wrapping_mul(MIX), |hash, word| (hash.rotate_left(29) ^ word).wrapping_mul(MIX));
    let [a, b, c, d, ..] = mixed.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
