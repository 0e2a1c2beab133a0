//! Conversion of values to text, for `+`, templates and `JSON.stringify`.

use std::fmt::Write;

use jiff::{Timestamp, civil, tz::Offset};

use crate::budget::Budget;
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::{STEPS_PER_ELEMENT, STEPS_PER_NUMBER_TEXT};
use crate::value::Value;
use crate::view::View;

/// Memory factor of text: the doubling buffer and the final text.
const TEXT_GROWTH: usize = 3;

/// A text buffer that charges the budget.
pub(crate) struct TextBuilder {
    text: String,
}

impl TextBuilder {
    pub(crate) fn new<'v>(budget: &mut Budget) -> Result<TextBuilder, Fault<'v>> {
        budget.charge_allocation(0)?;
        Ok(TextBuilder { text: String::new() })
    }

    /// Appends text.
    pub(crate) fn push<'v>(&mut self, text: &str, budget: &mut Budget) -> Result<(), Fault<'v>> {
        budget.charge(1)?;
        budget.charge_memory(text.len() * TEXT_GROWTH)?;
        self.text.push_str(text);
        Ok(())
    }

    /// Appends a value as `+` and templates format it. Functions have no text.
    pub(crate) fn push_value<'v, V: View>(
        &mut self,
        value: &Value<'v>,
        view: &'v V,
        budget: &mut Budget,
    ) -> Result<(), Fault<'v>> {
        match value {
            Value::Null => self.push("null", budget),
            Value::Bool(value) => self.push(if *value { "true" } else { "false" }, budget),
            Value::Number(number) => {
                budget.charge(STEPS_PER_NUMBER_TEXT)?;
                self.push(&number_text(*number), budget)
            }
            Value::String(text) | Value::RichText(text) => self.push(text.as_str(), budget),
            Value::List(list) => {
                for (at, item) in list.iter(view).enumerate() {
                    budget.charge(STEPS_PER_ELEMENT)?;
                    if at > 0 {
                        self.push(",", budget)?;
                    }
                    self.push_value(&item, view, budget)?;
                }
                Ok(())
            }
            Value::Map(_) => {
                let json = stringify(value, view, budget)?;
                self.text.push_str(&json);
                Ok(())
            }
            Value::Date(ms) => {
                budget.charge(STEPS_PER_NUMBER_TEXT)?;
                self.push(&iso_instant(*ms), budget)
            }
            Value::CalendarDate(day) => {
                budget.charge(STEPS_PER_NUMBER_TEXT)?;
                self.push(&iso_day(*day), budget)
            }
            Value::Error(error) => self.push(&error.message, budget),
            Value::Function(_) => Err(Fault::new(Code::BadOperand, "A Function has no text")),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn finish<'v>(self) -> Value<'v> {
        Value::text(self.text)
    }

    pub(crate) fn into_string(self) -> String {
        self.text
    }
}

/// Formats a number in the shortest form, as JavaScript does.
pub(crate) fn number_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let mut text = String::new();
    // `{:e}` prints the shortest digits that read back as the same number: `d.ddde±x`.
    let scientific = format!("{:e}", number.abs());
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number < 0.0 {
        text.push('-');
    }
    if (-6..21).contains(&exponent) {
        let plain = number.abs();
        // Writing to a string cannot fail.
        let _ = write!(text, "{plain}");
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(text, "{digits}e{sign}{}", exponent.abs());
    }
    text
}

/// Formats a value as compact JSON. Dates become text; functions and non-finite numbers become
/// null.
pub(crate) fn stringify<'v, V: View>(
    value: &Value<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<String, Fault<'v>> {
    let mut out = TextBuilder::new(budget)?;
    write_value(value, view, budget, &mut out)?;
    Ok(out.into_string())
}

fn write_value<'v, V: View>(
    value: &Value<'v>,
    view: &'v V,
    budget: &mut Budget,
    out: &mut TextBuilder,
) -> Result<(), Fault<'v>> {
    match value {
        Value::Null | Value::Function(_) => out.push("null", budget),
        Value::Bool(value) => out.push(if *value { "true" } else { "false" }, budget),
        Value::Number(number) if number.is_finite() => {
            budget.charge(STEPS_PER_NUMBER_TEXT)?;
            out.push(&number_text(*number), budget)
        }
        Value::Number(_) => out.push("null", budget),
        Value::String(text) | Value::RichText(text) => write_text(text.as_str(), budget, out),
        Value::Date(ms) => {
            budget.charge(STEPS_PER_NUMBER_TEXT)?;
            write_text(&iso_instant(*ms), budget, out)
        }
        Value::CalendarDate(day) => {
            budget.charge(STEPS_PER_NUMBER_TEXT)?;
            write_text(&iso_day(*day), budget, out)
        }
        Value::Error(error) => write_text(&error.message, budget, out),
        Value::List(list) => {
            let mut before = "[";
            for item in list.iter(view) {
                budget.charge(STEPS_PER_ELEMENT)?;
                out.push(before, budget)?;
                write_value(&item, view, budget, out)?;
                before = ",";
            }
            out.push(if before == "[" { "[]" } else { "]" }, budget)
        }
        Value::Map(map) => {
            let mut before = "{";
            budget.charge_entries(map.len())?;
            for (name, item) in map.entries(view) {
                out.push(before, budget)?;
                write_text(name.as_str(), budget, out)?;
                out.push(":", budget)?;
                write_value(&item, view, budget, out)?;
                before = ",";
            }
            out.push(if before == "{" { "{}" } else { "}" }, budget)
        }
    }
}

fn write_text<'v>(text: &str, budget: &mut Budget, out: &mut TextBuilder) -> Result<(), Fault<'v>> {
    budget.charge_text_allocation(text.len())?;
    budget.charge_search(text.len())?;
    match serde_json::to_string(text) {
        Ok(quoted) => out.push(&quoted, budget),
        Err(error) => {
            debug_assert!(false, "every str has a JSON form: {error}");
            Ok(())
        }
    }
}

/// The UTC date and time of an instant.
pub(crate) fn civil_of(ms: i64) -> civil::DateTime {
    // Dates are range-checked when they are created, so the fallback is unreachable.
    Timestamp::from_millisecond(ms)
        .map_or(civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0), |instant| {
            Offset::UTC.to_datetime(instant)
        })
}

/// `2008-09-15T10:53:00.000Z`
pub(crate) fn iso_instant(ms: i64) -> String {
    let at = civil_of(ms);
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    let millisecond = at.millisecond();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z", iso_day(at.date()))
}

/// `2008-09-15`
pub(crate) fn iso_day(day: civil::Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), day.month(), day.day())
}
