//! Repeat counts.

use crate::builtin::number::to_count;
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::REPEAT_MAX;

/// Converts a repeat count: 0 to 100, truncated.
pub(super) fn repeat_count<'v>(number: f64, of: &str) -> Result<usize, Fault<'v>> {
    let whole = number.trunc();
    // NaN counts as 0, as in JavaScript.
    if !whole.is_nan() && !(0.0..=REPEAT_MAX).contains(&whole) {
        let message = format!("`{of}` counts from 0 to {REPEAT_MAX}");
        return Err(Fault::new(Code::BadCount, message));
    }
    Ok(to_count(whole, usize::MAX))
}
