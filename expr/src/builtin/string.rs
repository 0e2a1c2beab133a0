//! Methods of String. Positions and lengths count UTF-16 units, as in JavaScript; a lone surrogate,
//! which UTF-8 cannot represent, becomes U+FFFD.

use crate::budget::Budget;
use crate::builtin::{
    Arguments, EvalResult, Machine, MemberLookup, element_index, from_count, regex, slice_range,
    to_count, unknown_member,
};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::{REPEAT_MAX, SEARCH_BYTES_PER_STEP, STEPS_PER_NUMBER_TEXT};
use crate::operator::{ListBuilder, build_list};
use crate::value::{Member, Text, Type, Value};

/// Steps for each unit of padding.
const STEPS_PER_PADDED: usize = 2;
/// Steps of finding the ends of a slice.
const STEPS_PER_SLICE: u32 = 4;

pub(super) fn call<'v, M: Machine<'v>>(
    machine: &mut M,
    receiver: &Text<'v>,
    member: Member,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let text = receiver.as_str();
    let budget = machine.budget();
    match member {
        Member::Trim => {
            budget.charge_search(text.len())?;
            part(receiver, text.trim_matches(is_space), budget)
        }
        Member::ToLowerCase => {
            charge_case(text, budget)?;
            built(&text.to_lowercase(), budget)
        }
        Member::ToUpperCase => {
            charge_case(text, budget)?;
            built(&text.to_uppercase(), budget)
        }
        Member::Split => split(receiver, arguments, budget),
        Member::Slice => {
            budget.charge(STEPS_PER_SLICE)?;
            let (start, end) = (arguments.number(0)?, arguments.optional_number(1)?);
            budget.charge_search(text.len())?;
            sliced(receiver, slice_range(start, end, units(text)), budget)
        }
        Member::Includes => {
            let wanted = searched(text, arguments, budget)?;
            Ok(Value::Bool(text.contains(wanted)))
        }
        Member::IndexOf => {
            let wanted = searched(text, arguments, budget)?;
            Ok(match text.find(wanted) {
                Some(at) => from_count(units(text.get(..at).unwrap_or_default())),
                None => Value::Number(-1.0),
            })
        }
        Member::PadStart => pad(text, arguments, budget, |text, fill| format!("{fill}{text}")),
        Member::PadEnd => pad(text, arguments, budget, |text, fill| format!("{text}{fill}")),
        Member::Repeat => {
            let count = count(arguments.number(0)?, "repeat")?;
            budget.charge_text_allocation(text.len() * count)?;
            Ok(Value::text(text.repeat(count)))
        }
        Member::Replace => regex::replace(machine, text, arguments),
        Member::Match => regex::first_match(machine, text, arguments),
        Member::MatchAll => regex::all_matches(machine, text, arguments),
        _ => Err(unknown_member(Type::String, member.name())),
    }
}

/// Returns built text and charges for it and its buffer.
fn built<'v>(text: &str, budget: &mut Budget) -> EvalResult<'v> {
    budget.charge_text_allocation(text.len())?;
    Ok(Value::text(text))
}

/// Returns `part` of `whole`, borrowed if `whole` is borrowed.
fn part<'v>(whole: &Text<'v>, part: &str, budget: &mut Budget) -> EvalResult<'v> {
    match whole {
        Text::Borrowed(text) => {
            // Both point into the same text, so the difference of their addresses is the offset of
            // the part.
            let start = part.as_ptr().addr() - text.as_ptr().addr();
            let part = text.get(start..start + part.len()).unwrap_or_default();
            Ok(Value::String(Text::Borrowed(part)))
        }
        Text::Built(_) => built(part, budget),
    }
}

/// Returns the text that `includes` and `indexOf` search for, and charges for the search.
fn searched<'a, 'v>(
    text: &str,
    arguments: Arguments<'a, 'v>,
    budget: &mut Budget,
) -> Result<&'a str, Fault<'v>> {
    let wanted = arguments.text(0)?.as_str();
    charge_substring_search(text, wanted, budget)?;
    Ok(wanted)
}

/// Charges for preparing the searched text, which costs more than searching.
fn charge_substring_search<'v>(
    text: &str,
    wanted: &str,
    budget: &mut Budget,
) -> Result<(), Fault<'v>> {
    budget.charge_search(text.len())?;
    budget.charge_each(3 * (wanted.len() / SEARCH_BYTES_PER_STEP))
}

/// Charges for a case conversion: characters beyond ASCII are converted one by one.
fn charge_case<'v>(text: &str, budget: &mut Budget) -> Result<(), Fault<'v>> {
    if text.is_ascii() { budget.charge_text(text.len()) } else { budget.charge_each(text.len()) }
}

/// `length`
pub(super) fn length<'v>(text: &str, budget: &mut Budget) -> EvalResult<'v> {
    budget.charge_search(text.len())?;
    Ok(from_count(units(text)))
}

fn units(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// `text[number]`
pub(super) fn unit_at<'v>(
    text: &Text<'v>,
    number: f64,
    budget: &mut Budget,
) -> Result<MemberLookup<'v>, Fault<'v>> {
    budget.charge_search(text.as_str().len())?;
    let Some(at) = element_index(number, units(text.as_str())) else {
        return Ok(MemberLookup::Missing(None));
    };
    Ok(MemberLookup::Value(sliced(text, at..at + 1, budget)?))
}

/// Returns the units of `range`. The search is already charged.
fn sliced<'v>(
    whole: &Text<'v>,
    range: std::ops::Range<usize>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    let text = whole.as_str();
    if text.is_ascii() {
        return part(whole, text.get(range).unwrap_or_default(), budget);
    }
    budget.charge_each(range.len())?;
    budget.charge_memory(range.len() * 3 * size_of::<u16>())?;
    let units: Vec<u16> = text.encode_utf16().skip(range.start).take(range.len()).collect();
    built(&String::from_utf16_lossy(&units), budget)
}

/// Byte offset of the last character that starts at or before `unit`; none after the end.
pub(super) fn byte_of_unit(text: &str, unit: usize) -> Option<usize> {
    let mut before = 0;
    for (offset, c) in text.char_indices() {
        if before + c.len_utf16() > unit {
            return Some(offset);
        }
        before += c.len_utf16();
    }
    None
}

fn split<'v>(
    receiver: &Text<'v>,
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    let text = receiver.as_str();
    let parts = match arguments.optional_text(0)?.map(Text::as_str) {
        None => vec![Value::String(receiver.clone())],
        Some("") => {
            let mut units = ListBuilder::default();
            for unit in text.encode_utf16() {
                let unit = built(&String::from_utf16_lossy(&[unit]), budget)?;
                units.push(unit, budget)?;
            }
            return units.finish(budget);
        }
        Some(separator) => {
            charge_substring_search(text, separator, budget)?;
            let mut parts = ListBuilder::default();
            for piece in text.split(separator) {
                budget.charge(1)?;
                let piece = part(receiver, piece, budget)?;
                parts.push(piece, budget)?;
            }
            return parts.finish(budget);
        }
    };
    build_list(parts, budget)
}

fn pad<'v>(
    text: &str,
    arguments: Arguments<'_, 'v>,
    budget: &mut Budget,
    glue: fn(&str, &str) -> String,
) -> EvalResult<'v> {
    let wanted = count(arguments.number(0)?, "padStart and padEnd")?;
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

/// Converts a repeat count: 0 to 100, truncated.
fn count<'v>(number: f64, of: &str) -> Result<usize, Fault<'v>> {
    let whole = number.trunc();
    // NaN counts as 0, as in JavaScript.
    if !whole.is_nan() && !(0.0..=REPEAT_MAX).contains(&whole) {
        let message = format!("`{of}` counts from 0 to {REPEAT_MAX}");
        return Err(Fault::new(Code::BadCount, message));
    }
    Ok(to_count(whole, usize::MAX))
}

/// `Number(x)`
pub(super) fn to_number<'v>(value: &Value<'v>, budget: &mut Budget) -> EvalResult<'v> {
    Ok(Value::Number(match value {
        Value::Number(number) => *number,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::String(text) => {
            budget.charge(STEPS_PER_NUMBER_TEXT)?;
            budget.charge_search(text.as_str().len())?;
            read_number(text.as_str().trim_matches(is_space))
        }
        _ => f64::NAN,
    }))
}

/// Parses a decimal number or `Infinity`; NaN otherwise.
fn read_number(text: &str) -> f64 {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        "Infinity" if text.starts_with('-') => return f64::NEG_INFINITY,
        "Infinity" => return f64::INFINITY,
        _ => {}
    }
    // Rust's parser also accepts words such as `inf`.
    let decimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if decimal { text.parse().unwrap_or(f64::NAN) } else { f64::NAN }
}

/// White space of JavaScript: Unicode white space and the byte order mark, without U+0085.
fn is_space(c: char) -> bool {
    c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}')
}
