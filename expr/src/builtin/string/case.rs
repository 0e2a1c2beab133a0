//! The price of a case conversion.

use crate::budget::Budget;
use crate::fault::Fault;

/// Charges for a case conversion: characters beyond ASCII are converted one by one.
pub(super) fn charge_case<'v>(text: &str, budget: &mut Budget) -> Result<(), Fault<'v>> {
    if text.is_ascii() { budget.charge_text(text.len()) } else { budget.charge_each(text.len()) }
}
