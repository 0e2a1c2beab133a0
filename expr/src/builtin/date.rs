//! Members of Date.

mod get_date;
mod get_day;
mod get_full_year;
mod get_hours;
mod get_milliseconds;
mod get_minutes;
mod get_month;
mod get_seconds;
mod get_time;
mod get_timezone_offset;
mod get_utc_date;
mod get_utc_day;
mod get_utc_full_year;
mod get_utc_hours;
mod get_utc_milliseconds;
mod get_utc_minutes;
mod get_utc_month;
mod get_utc_seconds;
mod minus_days;
mod minus_hours;
mod minus_minutes;
mod minus_months;
mod plus_days;
mod plus_hours;
mod plus_minutes;
mod plus_months;
mod to_calendar_date;
mod to_calendar_date_utc;
mod to_iso_string;
mod to_string;
mod value_of;

use super::signature::builtins;

builtins! {
    i64;
    to_string::ToString,
    to_iso_string::ToIsoString,
    to_calendar_date::ToCalendarDate,
    to_calendar_date_utc::ToCalendarDateUtc,
    plus_months::PlusMonths,
    minus_months::MinusMonths,
    plus_days::PlusDays,
    minus_days::MinusDays,
    plus_hours::PlusHours,
    minus_hours::MinusHours,
    plus_minutes::PlusMinutes,
    minus_minutes::MinusMinutes,
    get_date::GetDate,
    get_day::GetDay,
    get_full_year::GetFullYear,
    get_hours::GetHours,
    get_milliseconds::GetMilliseconds,
    get_minutes::GetMinutes,
    get_month::GetMonth,
    get_seconds::GetSeconds,
    get_time::GetTime,
    get_timezone_offset::GetTimezoneOffset,
    get_utc_date::GetUtcDate,
    get_utc_day::GetUtcDay,
    get_utc_full_year::GetUtcFullYear,
    get_utc_hours::GetUtcHours,
    get_utc_milliseconds::GetUtcMilliseconds,
    get_utc_minutes::GetUtcMinutes,
    get_utc_month::GetUtcMonth,
    get_utc_seconds::GetUtcSeconds,
    value_of::ValueOf,
}
