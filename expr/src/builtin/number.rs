//! Numbers of the language as counts and positions.

use std::ops::Range;

use crate::value::Value;

/// Clamps a number to `0..=max`, NaN to 0, and truncates the fraction.
pub(super) fn to_count(number: f64, max: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is what clamping means"
    )]
    let count = number as usize;
    count.min(max)
}

/// Converts a length or position to a number of the language.
pub(super) fn from_count<'v>(count: usize) -> Value<'v> {
    #[expect(clippy::cast_precision_loss, reason = "sizes are bounded far below 2^52")]
    let number = count as f64;
    Value::Number(number)
}

/// Returns a whole number from 0 to `len` exclusive, or none.
pub(super) fn element_index(number: f64, len: usize) -> Option<usize> {
    let at = to_count(number, len);
    // Negative, fractional and too large numbers change when clamped.
    #[expect(clippy::cast_precision_loss, reason = "lists are far shorter than 2^52")]
    let same = at as f64 == number;
    (same && at < len).then_some(at)
}

/// Converts the arguments of `slice(start, end?)` to a range: negative numbers count from the end.
pub(super) fn slice_range(start: f64, end: Option<f64>, len: usize) -> Range<usize> {
    let position = |number: f64| {
        if number < 0.0 {
            len.saturating_sub(to_count(-number, len))
        } else {
            to_count(number, len)
        }
    };
    let start = position(start);
    start..end.map_or(len, position).max(start)
}
