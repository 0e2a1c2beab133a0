//! The JSON scanner: validates a text and records where its lists and maps end, without copying or
//! building a tree.
//!
//! The first pass, [`super::structural_index`], classifies bytes and checks neighbouring tokens.
//! This second pass checks what depends on nesting (brackets, numbers, literals).
//! [`super::projection`] then extracts values by skipping whole lists and maps. With vector
//! instructions a scan takes less than half of the time in which `serde_json` validates the text;
//! building a [`Tape`](switchyard_expr::Tape), which filters are evaluated on, takes more than
//! three times as long.
//!
//! Guarantee: the scanner accepts exactly what the tape accepts; tests compare both on JSON and
//! near-JSON. For a rejected text the tape produces the error message.
//!
//! Design: `docs/design/json-scan.md`.

mod scalar;

use std::borrow::Cow;

use switchyard_expr::TapeLimits;

use super::members::MemberSpans;
use super::structural_index::{BLOCK, BlockTokens, StructuralIndex, StructuralIter, bits};
pub(super) use scalar::parse_number;
use scalar::scalar;

/// The scan result of one text, without the text; reused from text to text.
#[derive(Debug, Default)]
pub(super) struct Scan {
    structure: StructuralIndex,
    spans: Vec<ContainerSpan>,
    open: Vec<OpenContainer>,
}

/// A list or map, in the order of the opening brackets.
#[derive(Clone, Copy, Debug, Default)]
struct ContainerSpan {
    /// Offset of its closing bracket.
    end: u32,
    /// Index of the next list or map after its end.
    next: u32,
}

/// A list or map whose closing bracket was not reached yet.
#[derive(Clone, Copy, Debug)]
struct OpenContainer {
    span: u32,
    /// Whether its parent is a map: all ones or zero.
    outer: u64,
}

impl Scan {
    /// Whether `text` is JSON within `limits`.
    pub(super) fn read(&mut self, text: &[u8], limits: &TapeLimits) -> bool {
        self.spans.clear();
        self.open.clear();
        // The same bound as the tape's.
        text.len() <= (u32::MAX / 2) as usize
            && self.structure.read(text)
            && (self.structure.is_ascii() || std::str::from_utf8(text).is_ok())
            && self.check_order(text, limits).is_some()
    }

    /// Checks brackets, numbers and literals iteratively. `None` if they are not valid JSON.
    fn check_order(&mut self, text: &[u8], limits: &TapeLimits) -> Option<()> {
        let Self { structure, spans, open } = self;
        let mut brackets = BracketMatcher { text, spans, open, in_map: 0, depth_max: limits.depth };
        for (start, chunk) in structure.tokens() {
            for (start, tokens) in (start..).step_by(BLOCK).zip(chunk.blocks()) {
                brackets.block(start, &tokens)?;
                for bit in bits(tokens.scalars) {
                    scalar(text, start + bit)?;
                }
            }
        }
        let is_closed = brackets.open.is_empty();
        let is_small = text.len() <= limits.nodes as usize || structure.values() <= limits.nodes;
        (is_closed && is_small && self.is_one_value(text)).then_some(())
    }

    /// Whether the root is the only top-level value.
    fn is_one_value(&self, text: &[u8]) -> bool {
        let inside = text.trim_ascii();
        match self.spans.first() {
            Some(root) => {
                let before = text.len() - text.trim_ascii_start().len();
                before + inside.len() == root.end as usize + 1
                    && matches!(inside.first(), Some(b'{' | b'['))
            }
            None => self.structure.values() == 1 && !inside.ends_with(b","),
        }
    }

    /// Returns the members of `text`, which must be the accepted object, with their byte ranges;
    /// `None` if a name has an escape.
    pub(super) fn member_spans<'a>(&self, text: &'a [u8]) -> Option<MemberSpans<'a>> {
        let mut cursor = self.cursor(text);
        let mut outline = MemberSpans::new();
        cursor.next();
        cursor.enter();
        let mut mark = cursor.next();
        while cursor.byte(mark) == b':' {
            let name = cursor.name(mark);
            if cursor.has_escaped_names() && cursor.has_escape(name) {
                return None;
            }
            let name = std::str::from_utf8(text.get(name.0..name.1)?).ok()?;
            let start = cursor.token(mark + 1);
            let end = match cursor.byte(start) {
                b'{' | b'[' => {
                    cursor.next();
                    cursor.skip()
                }
                b'"' => cursor.inside(start).1 + 1,
                _ => cursor.scalar_end(start),
            };
            outline.push((Cow::Borrowed(name), start..end));
            mark = cursor.next();
        }
        Some(outline)
    }

    /// Returns a cursor over `text`, which must be the accepted text.
    pub(super) fn cursor<'a>(&'a self, text: &'a [u8]) -> ScanCursor<'a> {
        let structurals = self.structure.structurals_from(0);
        ScanCursor { text, structure: &self.structure, spans: &self.spans, structurals, span: 0 }
    }
}

/// Matches opening and closing brackets while the text is scanned.
struct BracketMatcher<'a> {
    text: &'a [u8],
    spans: &'a mut Vec<ContainerSpan>,
    open: &'a mut Vec<OpenContainer>,
    /// All ones inside a map.
    in_map: u64,
    depth_max: u32,
}

impl BracketMatcher<'_> {
    /// Matches the brackets of a block and checks the tokens between them.
    #[inline(always)]
    fn block(&mut self, start: usize, tokens: &BlockTokens) -> Option<()> {
        let mut left = tokens.brackets;
        // The innermost container is the same up to and including the next bracket.
        let mut range = u64::MAX;
        while left != 0 {
            let up_to = left ^ (left - 1);
            (self.violations(tokens) & range & up_to == 0).then_some(())?;
            range = !up_to;
            self.bracket(start + left.trailing_zeros() as usize)?;
            left &= range;
        }
        (self.violations(tokens) & range == 0).then_some(())
    }

    /// Returns the tokens that are not allowed: unnamed members in a map, colons in a list or at
    /// the top level.
    #[inline(always)]
    fn violations(&self, tokens: &BlockTokens) -> u64 {
        (tokens.unnamed & self.in_map) | (tokens.colons & !self.in_map)
    }

    #[inline(always)]
    fn bracket(&mut self, at: usize) -> Option<()> {
        let bracket = byte(self.text, at);
        if matches!(bracket, b'{' | b'[') {
            (self.open.len() < self.depth_max as usize).then_some(())?;
            self.open.push(OpenContainer { span: offset(self.spans.len()), outer: self.in_map });
            self.spans.push(ContainerSpan::default());
            self.in_map = if bracket == b'{' { u64::MAX } else { 0 };
            return Some(());
        }
        let last = self.open.pop()?;
        ((bracket == b'}') == (self.in_map != 0)).then_some(())?;
        self.in_map = last.outer;
        let next = offset(self.spans.len());
        let span = self.spans.get_mut(last.span as usize)?;
        *span = ContainerSpan { end: offset(at), next };
        Some(())
    }
}

/// Returns the byte at `at`, or zero, which is not a JSON token, at the end.
#[inline(always)]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or_default()
}

/// Converts an offset; texts are shorter than `u32::MAX`.
pub(super) fn offset(at: usize) -> u32 {
    debug_assert!(u32::try_from(at).is_ok(), "a text is shorter than u32::MAX");
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A cursor over the brackets and colons of an accepted text, which can skip a whole list or map.
#[derive(Clone, Debug)]
pub(super) struct ScanCursor<'a> {
    text: &'a [u8],
    structure: &'a StructuralIndex,
    spans: &'a [ContainerSpan],
    structurals: StructuralIter<'a>,
    /// Index of the next list or map to open.
    span: usize,
}

impl<'a> ScanCursor<'a> {
    /// Advances to the next bracket or colon and returns its offset.
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        self.structurals.next()
    }

    /// Advances to the next colon or closing bracket of the current map. Skips colons that
    /// `is_candidate` rejects, and nested lists and maps.
    #[inline(always)]
    pub(super) fn next_candidate(&mut self, is_candidate: impl Fn(&[u8], usize) -> bool) -> usize {
        let (mut structurals, mut open) = (self.structurals.clone(), self.span);
        let at = loop {
            let at = structurals.next();
            match byte(self.text, at) {
                b':' if !is_candidate(self.text, at) => {}
                b'{' | b'[' => {
                    debug_assert!(open < self.spans.len(), "brackets of this text");
                    let ContainerSpan { end, next } =
                        self.spans.get(open).copied().unwrap_or_default();
                    structurals = self.structure.structurals_from(end as usize + 1);
                    open = next as usize;
                }
                _ => break at,
            }
        };
        (self.structurals, self.span) = (structurals, open);
        at
    }

    /// Returns the byte at an offset.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        byte(self.text, at)
    }

    /// Returns the offset of the first byte from `at` on that is not whitespace.
    #[inline(always)]
    pub(super) fn token(&self, mut at: usize) -> usize {
        while is_whitespace(self.byte(at)) {
            at += 1;
        }
        at
    }

    /// Enters the list or map whose opening bracket was passed last; returns its index.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> usize {
        self.span += 1;
        self.span - 1
    }

    /// Skips the list or map whose opening bracket was passed last; returns the offset after it.
    #[inline]
    pub(super) fn skip(&mut self) -> usize {
        self.leave(self.span)
    }

    /// Leaves a list or map that was entered; returns the offset after it.
    #[inline(always)]
    pub(super) fn leave(&mut self, span: usize) -> usize {
        debug_assert!(span < self.spans.len(), "brackets of this text");
        let ContainerSpan { end, next } = self.spans.get(span).copied().unwrap_or_default();
        self.structurals = self.structure.structurals_from(end as usize + 1);
        self.span = next as usize;
        end as usize + 1
    }

    /// Returns the range of the member name before `colon`, without its quotes.
    #[inline(always)]
    pub(super) fn name(&self, colon: usize) -> (usize, usize) {
        let mut close = colon.saturating_sub(1);
        // Only whitespace is allowed between a name and its colon.
        while self.byte(close) != b'"' && close > 0 {
            close -= 1;
        }
        (self.structure.text_start(close) + 1, close)
    }

    /// Returns the range of the string that opens at `quote`, without its quotes.
    #[inline(always)]
    pub(super) fn inside(&self, quote: usize) -> (usize, usize) {
        (quote + 1, self.structure.text_end(quote))
    }

    /// Returns the end of the number or literal that begins at `start`.
    #[inline]
    pub(super) fn scalar_end(&self, start: usize) -> usize {
        let mut at = start;
        while matches!(self.byte(at), b'0'..=b'9' | b'a'..=b'z' | b'.' | b'-' | b'+' | b'E') {
            at += 1;
        }
        at
    }

    /// Returns the whole text.
    #[inline]
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Returns a part of the text.
    #[inline]
    pub(super) fn part(&self, (start, end): (usize, usize)) -> &'a [u8] {
        debug_assert!(start <= end && end <= self.text.len(), "a part of this text");
        self.text.get(start..end).unwrap_or_default()
    }

    /// Whether a part of the text has an escape.
    #[inline]
    pub(super) fn has_escape(&self, (start, end): (usize, usize)) -> bool {
        self.structure.has_escape(start, end)
    }

    /// Whether any member name may have an escape.
    #[inline]
    pub(super) fn has_escaped_names(&self) -> bool {
        self.structure.has_escaped_names()
    }
}

fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
}

#[cfg(test)]
pub(super) mod tests;
