//! Members of CalendarDate, a day without time and zone.

mod get_date;
mod get_day;
mod get_full_year;
mod get_month;
mod minus_days;
mod minus_months;
mod plus_days;
mod plus_months;
mod to_iso_string;
mod to_string;

use jiff::civil;

use super::signature::builtins;

builtins! {
    civil::Date;
    get_day::GetDay,
    get_date::GetDate,
    get_month::GetMonth,
    get_full_year::GetFullYear,
    to_iso_string::ToIsoString,
    to_string::ToString,
    plus_months::PlusMonths,
    minus_months::MinusMonths,
    plus_days::PlusDays,
    minus_days::MinusDays,
}
