//! Padding at either end.

use super::count::repeat_count;
use crate::budget::Budget;
use crate::builtin::units::{built, units};
use crate::builtin::{Arguments, EvalResult};

/// Steps for each unit of padding.
const STEPS_PER_PADDED: usize = 2;

/// Pads `text` with the arguments of `padStart` and `padEnd`; `glue` joins text and padding.
pub(super) fn pad<'v>(
    text: &str,
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
    glue: fn(&str, &str) -> String,
) -> EvalResult<'v> {
    let wanted = repeat_count(arguments.number(0)?, "padStart and padEnd")?;
    let fill = arguments.optional_text(1)?.map_or(" ", |fill| fill.as_str());
    budget.charge_search(text.len())?;
    let missing = wanted.saturating_sub(units(text));
    budget.charge_each(STEPS_PER_PADDED * missing)?;
    // Only the first units of a longer fill are used.
    let fill: String = if fill.is_ascii() {
        fill.chars().cycle().take(missing).collect()
    } else {
        let fill: Vec<u16> = fill.encode_utf16().take(missing).collect();
        let fill: Vec<u16> = fill.into_iter().cycle().take(missing).collect();
        String::from_utf16_lossy(&fill)
    };
    built(&glue(text, &fill), budget)
}
