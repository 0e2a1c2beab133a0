//! Whether a text is JSON within bounds, and where its lists and maps end: one walk over brackets,
//! numbers and words that copies nothing. What neighbouring tokens tell, [`super::structural_index`] knows.
//!
//! Most events are decided by a few of their values, which [`super::pick`] then finds by stepping
//! over lists and maps that nobody asks for. On vectors a scan costs less than half of what
//! `serde_json` takes to check the text; a [`Tape`](switchyard_expr::Tape), which filters are
//! evaluated on, more than three times that.
//!
//! Guarantee: a text is accepted exactly if the tape accepts it; the tests hold that against any
//! JSON and near-JSON. The tape words the error of one that is not.

mod scalar;

use std::borrow::Cow;

use switchyard_expr::TapeLimits;

use super::members::MemberSpans;
use super::structural_index::{BLOCK, BlockTokens, StructuralIndex, StructuralIter, bits};
pub(super) use scalar::parse_number;
use scalar::scalar;

/// What is known of one text, without the text. Reused from text to text.
#[derive(Debug, Default)]
pub(super) struct Scan {
    structure: StructuralIndex,
    spans: Vec<ContainerSpan>,
    open: Vec<OpenContainer>,
}

/// A list or map, in the order of their first bytes.
#[derive(Clone, Copy, Debug, Default)]
struct ContainerSpan {
    /// Offset of its last byte.
    end: u32,
    /// The first list or map behind it.
    next: u32,
}

/// A list or map whose end was not met yet.
#[derive(Clone, Copy, Debug)]
struct OpenContainer {
    span: u32,
    /// Whether it is in a map: all ones, or none.
    outer: u64,
}

impl Scan {
    /// Whether `text` is JSON within `limits`.
    pub(super) fn read(&mut self, text: &[u8], limits: &TapeLimits) -> bool {
        self.spans.clear();
        self.open.clear();
        // As the tape, whose addresses go twice as far.
        text.len() <= (u32::MAX / 2) as usize
            && self.structure.read(text)
            && (self.structure.is_ascii() || std::str::from_utf8(text).is_ok())
            && self.check_order(text, limits).is_some()
    }

    /// Checks brackets, numbers and words, without recursion. `None` if they are not those of JSON.
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

    /// Whether nothing is beside the root.
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

    /// Where the members of `text` stand, an object and the one accepted last; none if the name of
    /// one has an escape.
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

    /// The values of `text`, which must be the one accepted last.
    pub(super) fn cursor<'a>(&'a self, text: &'a [u8]) -> ScanCursor<'a> {
        let structurals = self.structure.structurals_from(0);
        ScanCursor { text, structure: &self.structure, spans: &self.spans, structurals, span: 0 }
    }
}

/// What is open while a text is gone through.
struct BracketMatcher<'a> {
    text: &'a [u8],
    spans: &'a mut Vec<ContainerSpan>,
    open: &'a mut Vec<OpenContainer>,
    /// All ones in a map.
    in_map: u64,
    depth_max: u32,
}

impl BracketMatcher<'_> {
    /// Goes through the brackets of a block, and whether between them is what may be.
    #[inline(always)]
    fn block(&mut self, start: usize, tokens: &BlockTokens) -> Option<()> {
        let mut left = tokens.brackets;
        // Up to and with the next bracket, what is open stays so.
        let mut run = u64::MAX;
        while left != 0 {
            let upto = left ^ (left - 1);
            (self.violations(tokens) & run & upto == 0).then_some(())?;
            run = !upto;
            self.bracket(start + left.trailing_zeros() as usize)?;
            left &= run;
        }
        (self.violations(tokens) & run == 0).then_some(())
    }

    /// What must not stand in a map, or in a list and beside the root.
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

/// The byte at a place; zero, which is none of JSON, at the end.
#[inline(always)]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or_default()
}

/// Sources are shorter than `u32::MAX`.
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Goes over the brackets and colons of an accepted text, or over all of a list or map at once.
#[derive(Clone, Debug)]
pub(super) struct ScanCursor<'a> {
    text: &'a [u8],
    structure: &'a StructuralIndex,
    spans: &'a [ContainerSpan],
    structurals: StructuralIter<'a>,
    /// The list or map that opens next.
    span: usize,
}

impl<'a> ScanCursor<'a> {
    /// The offset of the next bracket or colon.
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        self.structurals.next()
    }

    /// The next colon or closing bracket in a map that was entered: of colons, only those that
    /// `is_candidate` wanted, given the text and their place in it. Goes over the lists and maps between.
    #[inline(always)]
    pub(super) fn next_candidate(&mut self, is_candidate: impl Fn(&[u8], usize) -> bool) -> usize {
        let (mut structurals, mut open) = (self.structurals.clone(), self.span);
        let at = loop {
            let at = structurals.next();
            match byte(self.text, at) {
                b':' if !is_candidate(self.text, at) => {}
                b'{' | b'[' => {
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

    /// The byte at an offset.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        byte(self.text, at)
    }

    /// The first byte from `at` on that is no blank.
    #[inline(always)]
    pub(super) fn token(&self, mut at: usize) -> usize {
        while is_whitespace(self.byte(at)) {
            at += 1;
        }
        at
    }

    /// Stays inside the list or map whose first byte was the last mark; yields its number.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> usize {
        self.span += 1;
        self.span - 1
    }

    /// Goes behind the list or map whose first byte was the last mark; yields where that is.
    #[inline]
    pub(super) fn skip(&mut self) -> usize {
        self.leave(self.span)
    }

    /// Goes behind a list or map that was entered; yields where that is.
    #[inline(always)]
    pub(super) fn leave(&mut self, span: usize) -> usize {
        let ContainerSpan { end, next } = self.spans.get(span).copied().unwrap_or_default();
        self.structurals = self.structure.structurals_from(end as usize + 1);
        self.span = next as usize;
        end as usize + 1
    }

    /// Where the name before the colon at `colon` stands, without its quotes.
    #[inline(always)]
    pub(super) fn name(&self, colon: usize) -> (usize, usize) {
        let mut close = colon.saturating_sub(1);
        // Between a name and its colon there are only blanks.
        while self.byte(close) != b'"' && close > 0 {
            close -= 1;
        }
        (self.structure.text_start(close) + 1, close)
    }

    /// Where the text that opens at `quote` stands without its quotes.
    #[inline(always)]
    pub(super) fn inside(&self, quote: usize) -> (usize, usize) {
        (quote + 1, self.structure.text_end(quote))
    }

    /// The end of the number or word that begins at `start`.
    #[inline]
    pub(super) fn scalar_end(&self, start: usize) -> usize {
        let mut at = start;
        while matches!(self.byte(at), b'0'..=b'9' | b'a'..=b'z' | b'.' | b'-' | b'+' | b'E') {
            at += 1;
        }
        at
    }

    /// All of the text.
    #[inline]
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// A part of the text.
    #[inline]
    pub(super) fn part(&self, (start, end): (usize, usize)) -> &'a [u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    /// Whether there is an escape in a part of the text.
    #[inline]
    pub(super) fn has_escape(&self, (start, end): (usize, usize)) -> bool {
        self.structure.has_escape(start, end)
    }

    /// Whether there may be an escape in a name.
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
