//! Searching text for text.

use crate::budget::Budget;
use crate::builtin::Arguments;
use crate::fault::Fault;
use crate::limits::SEARCH_BYTES_PER_STEP;

/// Returns the text that `includes` and `indexOf` search for, and charges for the search.
pub(super) fn search_argument<'a, 'v>(
    text: &str,
    arguments: Arguments<'a, 'v>,
    budget: &mut Budget,
) -> Result<&'a str, Fault<'v>> {
    let wanted = arguments.text(0)?.as_str();
    charge_substring_search(text, wanted, budget)?;
    Ok(wanted)
}

/// Charges for preparing the searched text, which costs more than searching.
pub(super) fn charge_substring_search<'v>(
    text: &str,
    wanted: &str,
    budget: &mut Budget,
) -> Result<(), Fault<'v>> {
    budget.charge_search(text.len())?;
    budget.charge_each(3 * (wanted.len() / SEARCH_BYTES_PER_STEP))
}
