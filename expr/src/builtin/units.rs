//! UTF-16 units and white space of text, as in JavaScript. A lone surrogate, which UTF-8 cannot
//! represent, becomes U+FFFD.

use std::ops::Range;

use crate::budget::Budget;
use crate::builtin::EvalResult;
use crate::span::slice;
use crate::value::{Text, Value};

pub(super) fn units(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// Returns built text and charges for it and its buffer.
pub(super) fn built<'v>(text: &str, budget: &mut Budget) -> EvalResult<'v> {
    budget.charge_text_allocation(text.len())?;
    Ok(Value::text(text))
}

/// Returns `part` of `whole`, borrowed if `whole` is borrowed.
pub(super) fn part<'v>(whole: &Text<'v>, part: &str, budget: &mut Budget) -> EvalResult<'v> {
    match whole {
        Text::Borrowed(text) => {
            // Both point into the same text, so the difference of their addresses is the offset of
            // the part.
            let start = part.as_ptr().addr() - text.as_ptr().addr();
            let part = slice(text, start..start + part.len());
            Ok(Value::String(Text::Borrowed(part)))
        }
        Text::Built(_) => built(part, budget),
    }
}

/// Returns the units of `range`. The search is already charged.
pub(super) fn sliced<'v>(
    whole: &Text<'v>,
    range: Range<usize>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    let text = whole.as_str();
    if text.is_ascii() {
        return part(whole, slice(text, range), budget);
    }
    budget.charge_each(range.len())?;
    budget.charge_memory(range.len() * 3 * size_of::<u16>())?;
    let units: Vec<u16> = text.encode_utf16().skip(range.start).take(range.len()).collect();
    built(&String::from_utf16_lossy(&units), budget)
}

/// Byte offset of the last character that starts at or before `unit`; none after the end.
pub(super) fn byte_of_unit(text: &str, unit: usize) -> Option<usize> {
    let mut before = 0;
    for (offset, c) in text.char_indices() {
        if before + c.len_utf16() > unit {
            return Some(offset);
        }
        before += c.len_utf16();
    }
    None
}

/// White space of JavaScript: Unicode white space and the byte order mark, without U+0085.
pub(super) fn is_space(c: char) -> bool {
    c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}')
}
