//! Date and CalendarDate. Evaluation has no user, so all time zones are UTC.

use jiff::{SignedDuration, Span, Timestamp, ToSpan, civil, tz::Offset};

use crate::budget::Budget;
use crate::builtin::{Arguments, EvalResult, unknown_member};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::STEPS_PER_NUMBER_TEXT;
use crate::text::{civil_of, iso_day, iso_instant, number_text};
use crate::value::{Member, Type, Value};

/// Steps of a date method, in addition to those of a call: calendar arithmetic divides often.
const STEPS_PER_CALL: u32 = 8;

/// `new Date()`, `new Date(ms)`, `new Date(text)`
pub(super) fn new_date<'v>(
    now_ms: i64,
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    match arguments.get(0) {
        None => Ok(Value::Date(now_ms)),
        Some(Value::Number(ms)) => {
            #[expect(clippy::cast_possible_truncation, reason = "`as` saturates; checked below")]
            let whole = *ms as i64;
            if ms.is_nan() || Timestamp::from_millisecond(whole).is_err() {
                return Err(bad_date(&number_text(*ms)));
            }
            Ok(Value::Date(whole))
        }
        Some(Value::Date(ms)) => Ok(Value::Date(*ms)),
        Some(_) => {
            let text = arguments.text(0)?.as_str();
            charge_reading(text, budget)?;
            parse_instant(text).map(Value::Date).ok_or_else(|| bad_date(text))
        }
    }
}

/// `new CalendarDate()`, `new CalendarDate(text)`
pub(super) fn new_calendar_date<'v>(
    now_ms: i64,
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    if arguments.get(0).is_none() {
        return Ok(Value::CalendarDate(civil_of(now_ms).date()));
    }
    let text = arguments.text(0)?.as_str();
    charge_reading(text, budget)?;
    match text.parse() {
        Ok(day) if text.len() == "2008-09-15".len() => Ok(Value::CalendarDate(day)),
        _ => Err(bad_date(text)),
    }
}

/// Charges for parsing text as a date; the text may be far longer than a date.
fn charge_reading<'v>(text: &str, budget: &mut Budget) -> Result<(), Fault<'v>> {
    budget.charge(2 * STEPS_PER_NUMBER_TEXT)?;
    budget.charge_search(text.len())
}

/// Returns the text of a date and charges for it.
fn written<'v>(text: String, budget: &mut Budget) -> EvalResult<'v> {
    budget.charge(STEPS_PER_NUMBER_TEXT)?;
    budget.charge_text_allocation(text.len())?;
    Ok(Value::text(text))
}

/// ISO 8601 with an offset (`Z`, `+05:00` or `+0500`); without one the zone is UTC.
fn parse_instant(text: &str) -> Option<i64> {
    let instant = match text.parse::<Timestamp>() {
        Ok(instant) => instant,
        Err(_) => Offset::UTC.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok()?,
    };
    Some(instant.as_millisecond())
}

fn bad_date<'v>(text: &str) -> Fault<'v> {
    let shown: String = text.chars().take(40).collect();
    Fault::new(Code::BadDate, format!("`{shown}` is not a date"))
}

pub(super) fn call<'v>(
    ms: i64,
    member: Member,
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    budget.charge(STEPS_PER_CALL)?;
    let at = civil_of(ms);
    let number = |number: i64| Ok(number_of(number));
    match member {
        Member::ToString | Member::ToIsoString => written(iso_instant(ms), budget),
        Member::ToCalendarDate | Member::ToCalendarDateUtc => Ok(Value::CalendarDate(at.date())),
        Member::GetTime | Member::ValueOf => number(ms),
        Member::GetTimezoneOffset => number(0),
        Member::GetHours | Member::GetUtcHours => number(at.hour().into()),
        Member::GetMinutes | Member::GetUtcMinutes => number(at.minute().into()),
        Member::GetSeconds | Member::GetUtcSeconds => number(at.second().into()),
        Member::GetMilliseconds | Member::GetUtcMilliseconds => number(at.millisecond().into()),
        _ => {
            if let Some(value) = day_part(at.date(), member) {
                return Ok(value);
            }
            let Some(shift) = Shift::of(member, arguments)? else {
                return Err(unknown_member(Type::Date, member.name()));
            };
            shift.instant(at).map(Value::Date)
        }
    }
}

pub(super) fn call_calendar<'v>(
    day: civil::Date,
    member: Member,
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    budget.charge(STEPS_PER_CALL)?;
    match member {
        Member::ToString | Member::ToIsoString => written(iso_day(day), budget),
        _ => {
            if let Some(value) = day_part(day, member) {
                return Ok(value);
            }
            let Some(shift) = Shift::of(member, arguments)? else {
                return Err(unknown_member(Type::CalendarDate, member.name()));
            };
            shift.day(day).map(Value::CalendarDate)
        }
    }
}

/// The getters that Date and CalendarDate share. Months and weekdays count from 0.
fn day_part<'v>(day: civil::Date, member: Member) -> Option<Value<'v>> {
    let number = match member {
        Member::GetFullYear | Member::GetUtcFullYear => i64::from(day.year()),
        Member::GetMonth | Member::GetUtcMonth => i64::from(day.month()) - 1,
        Member::GetDate | Member::GetUtcDate => i64::from(day.day()),
        Member::GetDay | Member::GetUtcDay => i64::from(day.weekday().to_sunday_zero_offset()),
        _ => return None,
    };
    Some(number_of(number))
}

fn number_of<'v>(number: i64) -> Value<'v> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of all dates stay below 2^53")]
    let number = number as f64;
    Value::Number(number)
}

/// The offset of `plus...` and `minus...`.
enum Shift {
    Months(i64),
    Milliseconds(i64),
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

impl Shift {
    /// The offset that a method adds; none for other methods.
    fn of<'v>(member: Member, arguments: Arguments<'_, 'v>) -> Result<Option<Shift>, Fault<'v>> {
        let (unit, sign) = match member {
            Member::PlusMonths => (None, 1),
            Member::MinusMonths => (None, -1),
            Member::PlusDays => (Some(DAY_MS), 1),
            Member::MinusDays => (Some(DAY_MS), -1),
            Member::PlusHours => (Some(HOUR_MS), 1),
            Member::MinusHours => (Some(HOUR_MS), -1),
            Member::PlusMinutes => (Some(MINUTE_MS), 1),
            Member::MinusMinutes => (Some(MINUTE_MS), -1),
            _ => return Ok(None),
        };
        let number = arguments.number(0)?;
        if number.is_nan() {
            return Err(out_of_range());
        }
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, then is refused")]
        let count = (number as i64).saturating_mul(sign);
        Ok(Some(match unit {
            None => Shift::Months(count),
            Some(unit) => Shift::Milliseconds(count.saturating_mul(unit)),
        }))
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
