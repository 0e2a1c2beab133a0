//! Constructors of `new`.

mod calendar_date;
mod date;
mod map;
mod rich_text;

use super::signature::builtins;

builtins! {
    ();
    date::Date,
    calendar_date::CalendarDate,
    map::NewMap,
    rich_text::RichText,
}
