//! Builds a tape in one pass over UTF-8 text, without recursion.
//!
//! The common forms (strings without escapes, short integers) are parsed here. Any other token is
//! passed to `serde_json`, and so is a text that is not JSON, for the position of the error. The
//! tape therefore accepts exactly the texts that `serde_json` accepts, with the same values.

use std::borrow::Cow;

use super::error::{TapeError, TapeLimits};
use super::node::{Cell, ContainerKind, NONE, Node, OpenContainer, Range, hash, slice};
use super::strict;
use crate::span::slice as text_slice;

/// Members from which on a map has an index.
const INDEXED_FROM: u32 = 16;
/// Integers of so many digits always fit into 64 bits.
const DIGITS_MAX: usize = 18;

/// The reason why the pass stops early.
enum Stop {
    /// The text is not JSON; `serde_json` finds the position.
    Syntax,
    Depth,
    Nodes,
}

pub(super) struct Builder<'t> {
    text: &'t str,
    /// Offset of the next byte.
    at: usize,
    escaped: &'t mut String,
    nodes: &'t mut Vec<Node>,
    index: &'t mut Vec<(u32, u32)>,
    /// Open lists and maps, outermost first.
    frames: &'t mut Vec<OpenContainer>,
    limits: TapeLimits,
}

impl<'t> Builder<'t> {
    pub(super) fn new(
        text: &'t str,
        escaped: &'t mut String,
        nodes: &'t mut Vec<Node>,
        index: &'t mut Vec<(u32, u32)>,
        frames: &'t mut Vec<OpenContainer>,
        limits: TapeLimits,
    ) -> Builder<'t> {
        Builder { text, at: 0, escaped, nodes, index, frames, limits }
    }

    pub(super) fn build(mut self) -> Result<(), TapeError> {
        self.document().map_err(|stop| match stop {
            Stop::Syntax => strict::error_of(self.text),
            Stop::Depth => TapeError::Depth,
            Stop::Nodes => TapeError::Nodes,
        })
    }

    fn document(&mut self) -> Result<(), Stop> {
        self.value(Range::default())?;
        while let Some(frame) = self.frames.last() {
            let (kind, is_empty) = (frame.kind, frame.first == NONE);
            match (self.byte_after_blanks(), kind) {
                (Some(b'}'), ContainerKind::Map) | (Some(b']'), ContainerKind::List) => {
                    self.close()
                }
                (Some(b','), _) if !is_empty => {
                    self.at += 1;
                    self.child(kind)?;
                }
                (Some(_), _) if is_empty => self.child(kind)?,
                _ => return Err(Stop::Syntax),
            }
        }
        match self.byte_after_blanks() {
            None => Ok(()),
            Some(_) => Err(Stop::Syntax),
        }
    }

    /// Reads an element, or a member with its name.
    fn child(&mut self, of: ContainerKind) -> Result<(), Stop> {
        if of == ContainerKind::List {
            return self.value(Range::default());
        }
        let Some(b'"') = self.byte_after_blanks() else { return Err(Stop::Syntax) };
        let name = self.string()?;
        let Some(b':') = self.byte_after_blanks() else { return Err(Stop::Syntax) };
        self.at += 1;
        self.value(name)
    }

    /// Reads a scalar, or opens a list or map.
    fn value(&mut self, name: Range) -> Result<(), Stop> {
        let cell = match self.byte_after_blanks() {
            Some(b'"') => Cell::String(self.string()?),
            Some(b'{') => return self.open(ContainerKind::Map, name),
            Some(b'[') => return self.open(ContainerKind::List, name),
            Some(b'-' | b'0'..=b'9') => Cell::Number(self.number()?),
            Some(b't') => self.literal("true", Cell::Bool(true))?,
            Some(b'f') => self.literal("false", Cell::Bool(false))?,
            Some(b'n') => self.literal("null", Cell::Null)?,
            _ => return Err(Stop::Syntax),
        };
        self.push(cell, name).map(drop)
    }

    fn open(&mut self, kind: ContainerKind, name: Range) -> Result<(), Stop> {
        if self.frames.len() >= self.limits.depth as usize {
            return Err(Stop::Depth);
        }
        self.at += 1;
        let node = self.push(Cell::Null, name)?;
        self.frames.push(OpenContainer::new(node, kind));
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        let Some(frame) = self.frames.pop() else { return };
        let cell = match frame.kind {
            ContainerKind::Map => self.map_of(&frame),
            ContainerKind::List => Cell::List { len: frame.len },
        };
        if let Some(node) = self.nodes.get_mut(frame.node as usize) {
            node.cell = cell;
        }
    }

    #[inline]
    fn rest(&self) -> &'t [u8] {
        debug_assert!(self.at <= self.text.len(), "no token reaches beyond the text");
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn byte_after_blanks(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                byte => return byte,
            }
        }
    }

    fn literal(&mut self, word: &str, cell: Cell) -> Result<Cell, Stop> {
        let rest = self.rest();
        if !rest.starts_with(word.as_bytes()) {
            return Err(Stop::Syntax);
        }
        self.at += word.len();
        Ok(cell)
    }

    /// Reads the string that starts here.
    fn string(&mut self) -> Result<Range, Stop> {
        let open = self.at;
        let end = plain_end(self.text.as_bytes(), open + 1);
        match self.text.as_bytes().get(end) {
            Some(b'"') => {
                self.at = end + 1;
                Ok(Range { start: offset(open + 1), len: offset(end - open - 1) })
            }
            Some(b'\\') => self.escaped_string(open, end),
            _ => Err(Stop::Syntax),
        }
    }

    /// Reads the string that starts at `open` and has its first escape at `end`.
    #[cold]
    fn escaped_string(&mut self, open: usize, mut end: usize) -> Result<Range, Stop> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end = plain_end(bytes, end + 2),
                _ => return Err(Stop::Syntax),
            }
        }
        self.at = end + 1;
        let quoted = text_slice(self.text, open..self.at);
        let text: Cow<'_, str> = serde_json::from_str(quoted).map_err(|_| Stop::Syntax)?;
        let start = offset(self.text.len() + self.escaped.len());
        self.escaped.push_str(&text);
        Ok(Range { start, len: offset(text.len()) })
    }

    fn number(&mut self) -> Result<f64, Stop> {
        let rest = self.rest();
        let (sign, digits) = match rest.split_first() {
            Some((b'-', digits)) => (-1.0, digits),
            _ => (1.0, rest),
        };
        let (mut number, mut len) = (0_u64, 0);
        while let Some(digit @ b'0'..=b'9') = digits.get(len) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            len += 1;
        }
        let leading_zero = len > 1 && digits.first() == Some(&b'0');
        let goes_on = matches!(digits.get(len), Some(b'.' | b'e' | b'E'));
        if len == 0 || len > DIGITS_MAX || leading_zero || goes_on {
            return self.unusual_number();
        }
        self.at += rest.len() - digits.len() + len;
        #[expect(clippy::cast_precision_loss, reason = "numbers of the language are doubles")]
        let number = number as f64;
        Ok(sign * number)
    }

    #[cold]
    fn unusual_number(&mut self) -> Result<f64, Stop> {
        let rest = text_slice(self.text, self.at..);
        let part = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let len = rest.bytes().position(|byte| !part(byte)).unwrap_or(rest.len());
        self.at += len;
        // None of these bytes can follow a valid number, so passing all of them on rejects no valid
        // text.
        serde_json::from_str(text_slice(rest, ..len)).map_err(|_| Stop::Syntax)
    }

    /// Adds a node as the last child of the innermost list or map.
    fn push(&mut self, cell: Cell, name: Range) -> Result<u32, Stop> {
        let id = offset(self.nodes.len());
        if id >= self.limits.nodes {
            return Err(Stop::Nodes);
        }
        let mut node = Node { cell, name, hash: 0, next: NONE };
        let Some(frame) = self.frames.last_mut() else {
            self.nodes.push(node);
            return Ok(id);
        };
        if frame.kind == ContainerKind::Map {
            let text = slice(self.text, self.escaped, name);
            node.hash = hash(text);
            // In larger maps `map_of` finds duplicates by sorting.
            if frame.len < INDEXED_FROM && frame.may_have(node.hash) {
                frame.unlink(text, self.nodes, |range| slice(self.text, self.escaped, range));
            }
        }
        self.nodes.push(node);
        match self.nodes.get_mut(frame.last as usize) {
            Some(last) => last.next = id,
            None => frame.first = id,
        }
        frame.last = id;
        frame.len += 1;
        Ok(id)
    }

    fn name_of(&self, node: u32) -> &str {
        let range = self.nodes.get(node as usize).map(|node| node.name);
        debug_assert!(range.is_some(), "children are nodes of the tape");
        let range = range.unwrap_or_default();
        slice(self.text, self.escaped, range)
    }

    fn map_of(&mut self, frame: &OpenContainer) -> Cell {
        if frame.len < INDEXED_FROM {
            return Cell::Map { len: frame.len, first: frame.first, index: NONE };
        }
        let index = self.index.len();
        let mut at = frame.first;
        while let Some(node) = self.nodes.get(at as usize) {
            self.index.push((node.hash, at));
            at = node.next;
        }
        debug_assert!(index <= self.index.len(), "children are appended to the index");
        let children = self.index.get_mut(index..).unwrap_or_default();
        children.sort_unstable_by_key(|(hash, child)| u64::from(*hash) << 32 | u64::from(*child));
        if children.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return self.map_with_repeats(index);
        }
        Cell::Map { len: frame.len, first: frame.first, index: offset(index) }
    }

    /// Builds the map whose children are in the index from `index` on, some of them with equal
    /// hashes.
    #[cold]
    fn map_with_repeats(&mut self, index: usize) -> Cell {
        let mut children = self.index.split_off(index);
        let name = |child: &(u32, u32)| (child.0, self.name_of(child.1));
        // The last child of a name sorts first and is kept.
        children.sort_unstable_by(|a, b| name(a).cmp(&name(b)).then(b.1.cmp(&a.1)));
        children.dedup_by(|later, kept| name(later) == name(kept));
        self.index.extend(&children);
        // Siblings keep the order of the text.
        children.sort_unstable_by_key(|(_, child)| *child);
        let mut next = NONE;
        for (_, child) in children.iter().rev() {
            if let Some(node) = self.nodes.get_mut(*child as usize) {
                node.next = std::mem::replace(&mut next, *child);
            }
        }
        Cell::Map { len: offset(children.len()), first: next, index: offset(index) }
    }
}

impl OpenContainer {
    fn new(node: u32, kind: ContainerKind) -> OpenContainer {
        OpenContainer { node, kind, first: NONE, last: NONE, len: 0, seen: 0 }
    }

    /// Records the name and returns whether a member may already have it.
    fn may_have(&mut self, hash: u32) -> bool {
        let bit = 1_u64 << (hash % 64);
        let seen = self.seen & bit != 0;
        self.seen |= bit;
        seen
    }

    /// Removes the member of that name: a repeated name replaces its earlier value.
    #[cold]
    fn unlink<'t>(&mut self, name: &str, nodes: &mut [Node], text_of: impl Fn(Range) -> &'t str) {
        let (mut before, mut at) = (NONE, self.first);
        let after = loop {
            match nodes.get(at as usize) {
                Some(node) if text_of(node.name) == name => break node.next,
                Some(node) => (before, at) = (at, node.next),
                None => return,
            }
        };
        match nodes.get_mut(before as usize) {
            Some(node) => node.next = after,
            None => self.first = after,
        }
        if self.last == at {
            self.last = before;
        }
        self.len -= 1;
    }
}

/// Sources are shorter than `u32::MAX`, and so are all offsets into them.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}

/// Offset of the first byte from `at` on that ends plain text in a string: a quote, a backslash or
/// a control character; beyond the end if there is none. Reads eight bytes at a time.
///
/// **Source:** Hacker's Delight, 6-1, "find first 0-byte"; the lowest byte found is exact.
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let zero_where = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let found = below(word, b' ') | zero_where(word, b'"') | zero_where(word, b'\\');
        let found = found & HIGHS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    while bytes.get(at).is_some_and(|byte| !special(*byte)) {
        at += 1;
    }
    at
}
