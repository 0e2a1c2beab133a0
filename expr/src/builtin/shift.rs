//! Date arithmetic: adding months, days, hours and minutes.

use jiff::{SignedDuration, Span, ToSpan, civil, tz::Offset};

use crate::budget::Budget;
use crate::builtin::Arguments;
use crate::builtin::civil::STEPS_PER_CALL;
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::text::civil_of;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The unit of a shift.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Months,
    Days,
    Hours,
    Minutes,
}

/// Adds the Number argument times `sign` units to an instant, and charges the call.
pub(super) fn shift_instant<'v>(
    ms: i64,
    (unit, sign): (Unit, i64),
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
) -> Result<i64, Fault<'v>> {
    budget.charge(STEPS_PER_CALL)?;
    Shift::of(unit, sign, arguments)?.instant(civil_of(ms))
}

/// Adds the Number argument times `sign` units to a day, and charges the call.
pub(super) fn shift_day<'v>(
    day: civil::Date,
    (unit, sign): (Unit, i64),
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
) -> Result<civil::Date, Fault<'v>> {
    budget.charge(STEPS_PER_CALL)?;
    Shift::of(unit, sign, arguments)?.day(day)
}

/// The offset of `plus...` and `minus...`.
enum Shift {
    Months(i64),
    Milliseconds(i64),
}

impl Shift {
    fn of<'v>(unit: Unit, sign: i64, arguments: Arguments<'_, 'v>) -> Result<Shift, Fault<'v>> {
        let number = arguments.number(0)?;
        if number.is_nan() {
            return Err(out_of_range());
        }
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, then is refused")]
        let count = (number as i64).saturating_mul(sign);
        Ok(match unit {
            Unit::Months => Shift::Months(count),
            Unit::Days => Shift::Milliseconds(count.saturating_mul(DAY_MS)),
            Unit::Hours => Shift::Milliseconds(count.saturating_mul(HOUR_MS)),
            Unit::Minutes => Shift::Milliseconds(count.saturating_mul(MINUTE_MS)),
        })
    }

    fn instant<'v>(&self, from: civil::DateTime) -> Result<i64, Fault<'v>> {
        let moved = match self {
            // Adding months clamps the day to the end of a shorter month.
            Shift::Months(months) => months_span(*months)
                .and_then(|span| from.checked_add(span).map_err(|_| out_of_range()))?,
            Shift::Milliseconds(ms) => {
                from.checked_add(SignedDuration::from_millis(*ms)).map_err(|_| out_of_range())?
            }
        };
        let instant = Offset::UTC.to_timestamp(moved).map_err(|_| out_of_range())?;
        Ok(instant.as_millisecond())
    }

    fn day<'v>(&self, from: civil::Date) -> Result<civil::Date, Fault<'v>> {
        match self {
            Shift::Months(months) => months_span(*months)
                .and_then(|span| from.checked_add(span).map_err(|_| out_of_range())),
            Shift::Milliseconds(ms) => {
                from.checked_add(SignedDuration::from_millis(*ms)).map_err(|_| out_of_range())
            }
        }
    }
}

fn months_span<'v>(months: i64) -> Result<Span, Fault<'v>> {
    0.days().try_months(months).map_err(|_| out_of_range())
}

fn out_of_range<'v>() -> Fault<'v> {
    Fault::new(Code::BadDate, "The date is out of range")
}
