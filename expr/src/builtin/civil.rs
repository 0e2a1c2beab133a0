//! Dates and times as civil values in UTC: evaluation has no user, so there is no other time zone.

use jiff::{Timestamp, civil, tz::Offset};

use crate::budget::Budget;
use crate::builtin::EvalResult;
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::STEPS_PER_NUMBER_TEXT;
use crate::value::Value;

/// Steps of a date method, in addition to those of a call: calendar arithmetic divides often.
pub(super) const STEPS_PER_CALL: u32 = 8;

/// Charges for parsing text as a date; the text may be far longer than a date.
pub(super) fn charge_reading<'v>(text: &str, budget: &mut Budget) -> Result<(), Fault<'v>> {
    budget.charge(2 * STEPS_PER_NUMBER_TEXT)?;
    budget.charge_search(text.len())
}

/// Returns the text of a date and charges for it.
pub(super) fn written<'v>(text: String, budget: &mut Budget) -> EvalResult<'v> {
    budget.charge(STEPS_PER_NUMBER_TEXT)?;
    budget.charge_text_allocation(text.len())?;
    Ok(Value::text(text))
}

/// ISO 8601 with an offset (`Z`, `+05:00` or `+0500`); without one the zone is UTC.
pub(super) fn parse_instant(text: &str) -> Option<i64> {
    let instant = match text.parse::<Timestamp>() {
        Ok(instant) => instant,
        Err(_) => Offset::UTC.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok()?,
    };
    Some(instant.as_millisecond())
}

/// The error of a text or number that is not a date.
pub(super) fn bad_date<'v>(text: &str) -> Fault<'v> {
    let shown: String = text.chars().take(40).collect();
    Fault::new(Code::BadDate, format!("`{shown}` is not a date"))
}

/// Converts a part of a date to a number of the language.
pub(super) fn number_of<'v>(number: i64) -> Value<'v> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of all dates stay below 2^53")]
    let number = number as f64;
    Value::Number(number)
}

/// The full year of a day.
pub(super) fn full_year<'v>(day: civil::Date) -> Value<'v> {
    number_of(day.year().into())
}

/// The month of a day, from 0.
pub(super) fn month<'v>(day: civil::Date) -> Value<'v> {
    number_of(i64::from(day.month()) - 1)
}

/// The day of the month, from 1.
pub(super) fn day_of_month<'v>(day: civil::Date) -> Value<'v> {
    number_of(day.day().into())
}

/// The day of the week, from 0 for Sunday.
pub(super) fn day_of_week<'v>(day: civil::Date) -> Value<'v> {
    number_of(day.weekday().to_sunday_zero_offset().into())
}
