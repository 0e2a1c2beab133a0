//! Whether a text is JSON within bounds, and where its lists and maps end: one walk over its tokens
//! that copies nothing and looks into no value but numbers and words.
//!
//! Most events are decided by a few of their values, which [`super::pick`] then finds by stepping
//! over lists and maps that nobody asks for. A scan costs half of what `serde_json` takes to check
//! the text; a [`Tape`](switchyard_expr::Tape), which filters are evaluated on, three times that.
//!
//! Guarantee: a text is accepted exactly if the tape accepts it; the tests hold that against any
//! JSON and near-JSON. The tape words the error of one that is not.

use std::borrow::Cow;

use switchyard_expr::TapeLimits;

use super::members::Outline;
use super::structure::{END, Structure, Tokens};

/// What is known of one text, without the text. Reused from text to text.
#[derive(Debug, Default)]
pub(super) struct Scan {
    structure: Structure,
    spans: Vec<Span>,
    open: Vec<Open>,
}

/// A list or map, in the order of their first bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    /// Offset of its last byte.
    end: u32,
    /// The first list or map behind it.
    next: u32,
}

/// A list or map whose end was not met yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    span: u32,
    is_map: bool,
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
            && self.order(text, limits).is_some()
    }

    /// Checks the order of the tokens, without recursion. `None` if it is not that of JSON.
    fn order(&mut self, text: &[u8], limits: &TapeLimits) -> Option<()> {
        let Self { structure, spans, open } = self;
        let mut tokens = structure.tokens_from(0);
        let mut at = tokens.next();
        let mut nodes = 0;
        loop {
            nodes += 1;
            (nodes <= limits.nodes).then_some(())?;
            match byte(text, at) {
                b'"' => {}
                bracket @ (b'{' | b'[') => {
                    (open.len() < limits.depth as usize).then_some(())?;
                    let is_map = bracket == b'{';
                    open.push(Open { span: offset(spans.len()), is_map });
                    spans.push(Span::default());
                    at = tokens.next();
                    if byte(text, at) != close(is_map) {
                        at = if is_map { member(text, at, &mut tokens)? } else { at };
                        continue;
                    }
                    end(spans, open, at);
                }
                _ => scalar(text, at)?,
            }
            // Behind a value: up to the next one, or to the end.
            loop {
                at = tokens.next();
                let Some(&Open { is_map, .. }) = open.last() else {
                    return (at == END).then_some(());
                };
                if byte(text, at) == b',' {
                    at = tokens.next();
                    at = if is_map { member(text, at, &mut tokens)? } else { at };
                    break;
                }
                (byte(text, at) == close(is_map)).then_some(())?;
                end(spans, open, at);
            }
        }
    }

    /// Where the members of `text` stand, an object and the one accepted last; none if the name of
    /// one has an escape.
    pub(super) fn outline<'a>(&self, text: &'a [u8]) -> Option<Outline<'a>> {
        let mut walk = self.walk(text);
        let mut outline = Outline::new();
        walk.next();
        walk.enter();
        let mut at = walk.next();
        while walk.byte(at) == b'"' {
            let colon = walk.next();
            let name = walk.inside(at, colon);
            if walk.has_escape(name) {
                return None;
            }
            let name = std::str::from_utf8(text.get(name.0..name.1)?).ok()?;
            let value = walk.next();
            at = walk.over(value);
            let len = walk.part((value, at)).trim_ascii_end().len();
            outline.push((Cow::Borrowed(name), value..value + len));
            if walk.byte(at) == b',' {
                at = walk.next();
            }
        }
        Some(outline)
    }

    /// The values of `text`, which must be the one accepted last.
    pub(super) fn walk<'a>(&'a self, text: &'a [u8]) -> Walk<'a> {
        let tokens = self.structure.tokens_from(0);
        Walk { text, structure: &self.structure, spans: &self.spans, tokens, span: 0 }
    }
}

fn close(is_map: bool) -> u8 {
    if is_map { b'}' } else { b']' }
}

/// Closes the list or map that was opened last, at its last byte.
#[inline]
fn end(spans: &mut [Span], open: &mut Vec<Open>, at: usize) {
    let next = offset(spans.len());
    if let Some(last) = open.pop()
        && let Some(span) = spans.get_mut(last.span as usize)
    {
        *span = Span { end: offset(at), next };
    }
}

/// The byte of a token; zero, which is none, at the end.
#[inline(always)]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or_default()
}

/// Goes over the name at `at` and its colon to the value.
#[inline(always)]
fn member(text: &[u8], at: usize, tokens: &mut Tokens<'_>) -> Option<usize> {
    let colon = tokens.next();
    (byte(text, at) == b'"' && byte(text, colon) == b':').then(|| tokens.next())
}

/// Checks the number or word that begins at `at`, up to its end.
#[inline]
fn scalar(text: &[u8], at: usize) -> Option<()> {
    let rest = text.get(at..)?;
    let end = match rest.first()? {
        b't' if rest.starts_with(b"true") => at + 4,
        b'f' if rest.starts_with(b"false") => at + 5,
        b'n' if rest.starts_with(b"null") => at + 4,
        _ => number(text, at)?,
    };
    // What no value is put right behind, the order of the tokens tells.
    matches!(text.get(end), None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r'))
        .then_some(())
}

/// The end of the number that begins at `start`.
fn number(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + usize::from(byte(text, start) == b'-');
    at = match byte(text, at) {
        b'0' => at + 1,
        _ => digits(text, at)?,
    };
    if byte(text, at) == b'.' {
        at = digits(text, at + 1)?;
    }
    let mut is_long = at - start > LONG_DIGITS;
    if matches!(byte(text, at), b'e' | b'E') {
        let sign = usize::from(matches!(byte(text, at + 1), b'+' | b'-'));
        let exponent = at + 1 + sign;
        at = digits(text, exponent)?;
        is_long |= at - exponent > SHORT_EXPONENT;
    }
    // Only these may be out of range.
    (!is_long || parse_number(text.get(start..at)?).is_some()).then_some(at)
}

/// Numbers of up to this many bytes are in range, with an exponent of this many digits, too.
const LONG_DIGITS: usize = 200;
const SHORT_EXPONENT: usize = 2;

/// Goes over at least one digit.
#[inline]
fn digits(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while byte(text, at).is_ascii_digit() {
        at += 1;
    }
    (at > start).then_some(at)
}

/// The number as the tape reads it, which is not always the nearest double.
pub(super) fn parse_number(text: &[u8]) -> Option<f64> {
    // These are exact, and nearly all there are.
    if text.len() <= EXACT_DIGITS && text.iter().all(u8::is_ascii_digit) {
        let number = text.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
        return (!text.is_empty()).then(|| f64::from(number));
    }
    serde_json::from_slice(text).ok()
}

/// Digits whose number fits 32 bits.
const EXACT_DIGITS: usize = 9;

/// Sources are shorter than `u32::MAX`.
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Goes over the tokens of an accepted text, or over all of a list or map at once.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    text: &'a [u8],
    structure: &'a Structure,
    spans: &'a [Span],
    tokens: Tokens<'a>,
    /// The list or map that opens next.
    span: usize,
}

impl<'a> Walk<'a> {
    /// The offset of the next token.
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        self.tokens.next()
    }

    /// The byte of a token.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        byte(self.text, at)
    }

    /// Stays inside the list or map whose first byte was the last token; yields its number.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> usize {
        self.span += 1;
        self.span - 1
    }

    /// Goes behind the list or map whose first byte was the last token.
    #[inline]
    pub(super) fn skip(&mut self) {
        self.leave(self.span);
    }

    /// Goes over the value at the last token, `at`; yields the token behind it.
    #[inline(always)]
    pub(super) fn over(&mut self, at: usize) -> usize {
        if matches!(self.byte(at), b'{' | b'[') {
            self.skip();
        }
        self.next()
    }

    /// Goes behind a list or map that was entered.
    pub(super) fn leave(&mut self, span: usize) {
        let Span { end, next } = self.spans.get(span).copied().unwrap_or_default();
        self.tokens = self.structure.tokens_from(end as usize + 1);
        self.span = next as usize;
    }

    /// Where the text that opens at `quote` stands without its quotes, if `next` is the token
    /// behind it.
    #[inline(always)]
    pub(super) fn inside(&self, quote: usize, next: usize) -> (usize, usize) {
        let mut close = next.min(self.text.len()).saturating_sub(1);
        // Between a text and the next token there are only blanks.
        while byte(self.text, close) != b'"' && close > quote {
            close -= 1;
        }
        (quote + 1, close)
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
}

#[cfg(test)]
pub(super) mod tests;
