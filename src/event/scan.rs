//! Where the values of a JSON text stand: one validating walk over the bytes that copies nothing,
//! unescapes nothing and parses no number until it is asked for.
//!
//! Most events are decided by a few of their values. A scan costs about as much as checking the
//! text, a [`Tape`](switchyard_expr::Tape), which filters are evaluated on, three times that. What
//! a scan cannot answer as the tape would (text with escapes) it says, and the tape is asked.
//!
//! Guarantee: a text that is accepted is accepted by the tape, and every answer is the tape's; the
//! tests hold that against any JSON and near-JSON. A text that is not accepted may still be JSON:
//! the tape decides, and words the error.

use std::borrow::Cow;
use std::cell::Cell;

use switchyard_expr::view::{NodeId, Read};
use switchyard_expr::{TapeLimits, View};

use super::members::Outline;

/// No node: the end of a row of siblings.
const NONE: u32 = u32::MAX;

/// The structure of one text, without the text. Reused from event to event.
#[derive(Debug, Default)]
pub(super) struct Scan {
    nodes: Vec<Node>,
    /// Members of large maps by the hash of their names: rows of twice their number, rounded up to
    /// a power of two, with `NONE` where nothing stands.
    tables: Vec<u32>,
}

/// One value. Offsets are into the text.
#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    name_len: u16,
    name: u32,
    start: u32,
    /// Behind the value; text without its quotes.
    end: u32,
    /// The next value of the same list or map. The first child follows the node.
    next: u32,
    /// Children of a list or map, repeated names included.
    len: u32,
    /// Where the table of a large map starts.
    table: u32,
}

/// Maps of this many members or more have a table: the fields of an issue are a hundred and more,
/// and filters ask for ten of them.
const TABLED_FROM: u32 = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Null,
    True,
    False,
    Number,
    String,
    /// Text with backslashes.
    Escaped,
    List,
    Map,
}

impl Scan {
    /// Whether `text` is JSON within `limits`, whose values can be found from now on.
    pub(super) fn read(&mut self, text: &str, limits: &TapeLimits) -> bool {
        self.nodes.clear();
        self.tables.clear();
        let (nodes, tables) = (&mut self.nodes, &mut self.tables);
        let mut walk = Walk { bytes: text.as_bytes(), at: 0, nodes, tables, limits };
        let accepted = u32::try_from(text.len()).is_ok() && walk.document().is_some();
        if !accepted {
            self.nodes.clear();
        }
        accepted
    }

    /// The values, with the text that was read.
    pub(super) fn view<'a>(&'a self, text: &'a str) -> ScanView<'a> {
        ScanView { scan: self, text, stuck: Cell::new(self.nodes.is_empty()) }
    }
}

/// A cursor that checks as it goes. `None` means not JSON, or not in a form that is kept.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: &'a mut Vec<Node>,
    tables: &'a mut Vec<u32>,
    limits: &'a TapeLimits,
}

impl Walk<'_> {
    fn document(&mut self) -> Option<()> {
        self.blank();
        self.value(0, 0, 0)?;
        self.blank();
        (self.at == self.bytes.len()).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Reads a value that has a name of its own and is nested `depth` deep. Recursion is bounded by
    /// the limit on depth.
    fn value(&mut self, name: u32, name_len: u16, depth: u32) -> Option<u32> {
        let id = u32::try_from(self.nodes.len()).ok().filter(|id| *id < self.limits.nodes)?;
        let start = offset(self.at);
        let kind = Kind::Null;
        let (end, next, len, table) = (start, NONE, 0, NONE);
        self.nodes.push(Node { kind, name_len, name, start, end, next, len, table });
        let kind = match self.peek()? {
            b'"' => {
                self.at += 1;
                let escaped = self.string()?;
                let kind = if escaped { Kind::Escaped } else { Kind::String };
                let node = self.nodes.get_mut(id as usize)?;
                (node.kind, node.start, node.end) = (kind, start + 1, offset(self.at - 1));
                return Some(id);
            }
            b'{' => self.map(id, depth + 1)?,
            b'[' => self.list(id, depth + 1)?,
            b't' => self.word(b"true", Kind::True)?,
            b'f' => self.word(b"false", Kind::False)?,
            b'n' => self.word(b"null", Kind::Null)?,
            _ => self.number()?,
        };
        let end = offset(self.at);
        let node = self.nodes.get_mut(id as usize)?;
        (node.kind, node.end) = (kind, end);
        Some(id)
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Option<Kind> {
        let end = self.at + word.len();
        (self.bytes.get(self.at..end)? == word).then(|| self.at = end)?;
        Some(kind)
    }

    fn map(&mut self, id: u32, depth: u32) -> Option<Kind> {
        self.open(depth)?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(Kind::Map);
        }
        let (mut last, mut len) = (NONE, 0);
        loop {
            (self.peek()? == b'"').then_some(())?;
            self.at += 1;
            let name = self.at;
            // The name would have to be unescaped to be found.
            if self.string()? {
                return None;
            }
            let name_len = u16::try_from(self.at - 1 - name).ok()?;
            self.blank();
            (self.peek()? == b':').then_some(())?;
            self.at += 1;
            self.blank();
            let child = self.value(offset(name), name_len, depth)?;
            self.link(last, child);
            (last, len) = (child, len + 1);
            if self.more(b'}')? {
                self.close(id, len);
                if len >= TABLED_FROM {
                    self.tabulate(id, len);
                }
                return Some(Kind::Map);
            }
        }
    }

    fn list(&mut self, id: u32, depth: u32) -> Option<Kind> {
        self.open(depth)?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(Kind::List);
        }
        let (mut last, mut len) = (NONE, 0);
        loop {
            let child = self.value(0, 0, depth)?;
            self.link(last, child);
            (last, len) = (child, len + 1);
            if self.more(b']')? {
                self.close(id, len);
                return Some(Kind::List);
            }
        }
    }

    fn open(&mut self, depth: u32) -> Option<()> {
        (depth <= self.limits.depth).then_some(())?;
        self.at += 1;
        self.blank();
        Some(())
    }

    /// Goes on behind a comma, or ends a list or map.
    fn more(&mut self, close: u8) -> Option<bool> {
        self.blank();
        let byte = self.peek()?;
        self.at += 1;
        if byte == b',' {
            self.blank();
            return Some(false);
        }
        (byte == close).then_some(true)
    }

    fn close(&mut self, id: u32, len: u32) {
        if let Some(node) = self.nodes.get_mut(id as usize) {
            node.len = len;
        }
    }

    /// Makes the table of a map. Of repeated names the last stands in it.
    fn tabulate(&mut self, id: u32, len: u32) {
        let start = self.tables.len();
        let mask = (len as usize * 2).next_power_of_two() - 1;
        self.tables.resize(start + mask + 1, NONE);
        let mut child = id + 1;
        while let Some(node) = self.nodes.get(child as usize) {
            let name = name_of(self.bytes, node);
            let mut at = quick_hash(name) & mask;
            while let Some(place) = self.tables.get_mut(start + at) {
                let known = self.nodes.get(*place as usize);
                if known.is_none_or(|known| name_of(self.bytes, known) == name) {
                    *place = child;
                    break;
                }
                at = (at + 1) & mask;
            }
            child = node.next;
        }
        if let Some(node) = self.nodes.get_mut(id as usize) {
            node.table = offset(start);
        }
    }

    fn link(&mut self, last: u32, child: u32) {
        if let Some(node) = self.nodes.get_mut(last as usize) {
            node.next = child;
        }
    }

    /// Goes behind the closing quote; yields whether there are escapes.
    #[inline]
    fn string(&mut self) -> Option<bool> {
        let mut escaped = false;
        loop {
            self.at += plain(self.bytes.get(self.at..)?);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 2;
                Some(())
            }
            b'u' => match self.unit()? {
                // Half of a pair needs the other half.
                0xd800..=0xdbff => {
                    (self.bytes.get(self.at..self.at + 2)? == b"\\u").then_some(())?;
                    matches!(self.unit()?, 0xdc00..=0xdfff).then_some(())
                }
                0xdc00..=0xdfff => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    /// The number behind `\u`.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at + 2..self.at + 6)?;
        self.at += 6;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    }

    fn number(&mut self) -> Option<Kind> {
        let start = self.at;
        self.at += usize::from(self.peek()? == b'-');
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits()?,
            _ => return None,
        }
        let is_whole = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek()?, b'+' | b'-'));
            self.digits()?;
        }
        // Only long numbers and exponents may be out of range.
        if !is_whole || self.at - start > LONG_DIGITS {
            number(std::str::from_utf8(self.bytes.get(start..self.at)?).ok()?)?;
        }
        Some(Kind::Number)
    }

    /// At least one digit.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

fn name_of<'t>(bytes: &'t [u8], node: &Node) -> &'t [u8] {
    let start = node.name as usize;
    bytes.get(start..start + usize::from(node.name_len)).unwrap_or_default()
}

/// Tells names of one map apart in a few instructions. The end of a name counts most, for the sake
/// of `customfield_10001` and its siblings.
fn quick_hash(name: &[u8]) -> usize {
    let tail = name.last_chunk().map_or_else(
        || name.iter().fold(0, |hash: u32, byte| (hash << 8) | u32::from(*byte)),
        |tail| u32::from_le_bytes(*tail),
    );
    let hash = (tail ^ offset(name.len())).wrapping_mul(0x9e37_79b1);
    (hash >> 12) as usize
}

/// Whole numbers of up to this many digits are in range.
const LONG_DIGITS: usize = 300;

/// The number as the tape reads it, which is not always the nearest double.
fn number(text: &str) -> Option<f64> {
    serde_json::from_str(text).ok()
}

/// Sources are shorter than `u32::MAX`.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}

/// How many bytes from the start are neither quote, backslash nor control character: eight at a
/// time. **Source:** "Bit Twiddling Hacks", determine if a word has a byte less than n.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let quotes = word ^ (ONES * b'"' as u64);
        let slashes = word ^ (ONES * b'\\' as u64);
        // A byte below the bound borrows from its high bit; only the lowest such bit is exact.
        let found = ((quotes.wrapping_sub(ONES) & !quotes)
            | (slashes.wrapping_sub(ONES) & !slashes)
            | (word.wrapping_sub(ONES * 0x20) & !word))
            & HIGHS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + rest.iter().position(special).unwrap_or(rest.len())
}

/// The values of a scanned text, for lookups: maps may show a repeated name twice to who walks
/// over them, but [`View::member`] finds the last.
#[derive(Debug)]
pub struct ScanView<'a> {
    scan: &'a Scan,
    text: &'a str,
    stuck: Cell<bool>,
}

impl<'a> ScanView<'a> {
    /// Whether a question could not be answered, so that all answers are to be had from the tape.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.stuck.get()
    }

    fn node(&self, node: NodeId) -> Option<&Node> {
        self.scan.nodes.get(node.0 as usize)
    }

    fn slice(&self, start: u32, end: u32) -> &'a str {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Where the members of the document stand; none if nothing was scanned.
    pub(super) fn outline(&self) -> Option<Outline<'a>> {
        let mut outline = Outline::new();
        let mut next = (self.node(NodeId(0))?.len > 0).then_some(1);
        while let Some(member) = next.and_then(|at| self.node(NodeId(at))) {
            let name = self.slice(member.name, member.name + u32::from(member.name_len));
            let quote = u32::from(matches!(member.kind, Kind::String | Kind::Escaped));
            let value = (member.start - quote) as usize..(member.end + quote) as usize;
            outline.push((Cow::Borrowed(name), value));
            next = (member.next != NONE).then_some(member.next);
        }
        Some(outline)
    }

    /// The text at a top-level name.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let node = self.node(self.member(NodeId(0), name)?)?;
        self.stuck.set(self.stuck.get() || node.kind == Kind::Escaped);
        (node.kind == Kind::String).then(|| self.slice(node.start, node.end))
    }
}

impl View for ScanView<'_> {
    fn variable(&self, name: &str) -> Option<NodeId> {
        (name == "event").then_some(NodeId(0))
    }

    fn read(&self, node: NodeId) -> Read<'_> {
        let Some(&Node { kind, start, end, len, .. }) = self.node(node) else { return Read::Null };
        match kind {
            Kind::Null => Read::Null,
            Kind::True => Read::Bool(true),
            Kind::False => Read::Bool(false),
            Kind::Number => number(self.slice(start, end)).map_or(Read::Null, Read::Number),
            Kind::String => Read::String(self.slice(start, end)),
            Kind::Escaped => {
                self.stuck.set(true);
                Read::Null
            }
            Kind::List => Read::List { len },
            // Nobody who looks values up asks how many there are.
            Kind::Map => Read::Map { len: 0 },
        }
    }

    fn member(&self, node: NodeId, name: &str) -> Option<NodeId> {
        if self.node(node)?.kind != Kind::Map {
            return None;
        }
        let (bytes, name) = (self.text.as_bytes(), name.as_bytes());
        let &Node { len, table, .. } = self.node(node)?;
        if table != NONE {
            let mask = (len as usize * 2).next_power_of_two() - 1;
            let mut at = quick_hash(name) & mask;
            loop {
                let child = *self.scan.tables.get(table as usize + at)?;
                if name_of(bytes, self.scan.nodes.get(child as usize)?) == name {
                    return Some(NodeId(child));
                }
                at = (at + 1) & mask;
            }
        }
        let mut found = None;
        let mut at = self.first_child(node)?.0;
        while let Some(child) = self.scan.nodes.get(at as usize) {
            if usize::from(child.name_len) == name.len() && name_of(bytes, child) == name {
                found = Some(NodeId(at));
            }
            at = child.next;
        }
        found
    }

    fn first_child(&self, node: NodeId) -> Option<NodeId> {
        (self.node(node)?.len > 0).then_some(NodeId(node.0 + 1))
    }

    fn next_sibling(&self, node: NodeId) -> Option<NodeId> {
        let next = self.node(node)?.next;
        (next != NONE).then_some(NodeId(next))
    }

    fn name(&self, node: NodeId) -> &str {
        self.node(node)
            .map_or("", |node| self.slice(node.name, node.name + u32::from(node.name_len)))
    }
}

#[cfg(test)]
mod tests;
