//! Methods of String. Positions and lengths count UTF-16 units, as in JavaScript; half of a
//! surrogate pair, which our text cannot hold, becomes U+FFFD.

use crate::builtin::{
    Arguments, Found, Machine, Outcome, element_index, from_count, regex, slice_range, to_count,
    unknown_member,
};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::REPEAT_MAX;
use crate::meter::Meter;
use crate::operator::build_list;
use crate::value::{Member, Text, Type, Value};

pub(super) fn call<'v, M: Machine<'v>>(
    machine: &mut M,
    receiver: &Text<'v>,
    member: Member,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
    let text = receiver.as_str();
    let meter = machine.meter();
    meter.read_text(text.len())?;
    match member {
        Member::Trim => built(text.trim_matches(is_space), meter),
        Member::ToLowerCase => built(&text.to_lowercase(), meter),
        Member::ToUpperCase => built(&text.to_uppercase(), meter),
        Member::Split => split(receiver, arguments, meter),
        Member::Slice => {
            let (start, end) = (arguments.number(0)?, arguments.optional_number(1)?);
            slice(text, start, end, meter)
        }
        Member::Includes => Ok(Value::Bool(text.contains(arguments.text(0)?.as_str()))),
        Member::IndexOf => Ok(match text.find(arguments.text(0)?.as_str()) {
            Some(at) => from_count(units(text.get(..at).unwrap_or_default())),
            None => Value::Number(-1.0),
        }),
        Member::PadStart => pad(text, arguments, meter, |text, fill| format!("{fill}{text}")),
        Member::PadEnd => pad(text, arguments, meter, |text, fill| format!("{text}{fill}")),
        Member::Repeat => {
            let count = count(arguments.number(0)?, "repeat")?;
            meter.memory(text.len() * count)?;
            Ok(Value::text(text.repeat(count)))
        }
        Member::Replace => regex::replace(machine, text, arguments),
        Member::Match => regex::first_match(machine, text, arguments),
        Member::MatchAll => regex::all_matches(machine, text, arguments),
        _ => Err(unknown_member(Type::String, member.name())),
    }
}

fn built<'v>(text: &str, meter: &mut Meter) -> Outcome<'v> {
    meter.memory(text.len())?;
    Ok(Value::text(text))
}

/// `length`
pub(super) fn length<'v>(text: &str, meter: &mut Meter) -> Outcome<'v> {
    meter.read_text(text.len())?;
    Ok(from_count(units(text)))
}

fn units(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// `text[number]`
pub(super) fn unit_at<'v>(
    text: &Text<'v>,
    number: f64,
    meter: &mut Meter,
) -> Result<Found<'v>, Fault<'v>> {
    let text = text.as_str();
    meter.read_text(text.len())?;
    let Some(at) = element_index(number, units(text)) else {
        return Ok(Found::Missing(None));
    };
    Ok(Found::Value(sliced(text, at..at + 1, meter)?))
}

fn slice<'v>(text: &str, start: f64, end: Option<f64>, meter: &mut Meter) -> Outcome<'v> {
    sliced(text, slice_range(start, end, units(text)), meter)
}

/// The units of `range`.
fn sliced<'v>(text: &str, range: std::ops::Range<usize>, meter: &mut Meter) -> Outcome<'v> {
    if text.is_ascii() {
        return built(text.get(range).unwrap_or_default(), meter);
    }
    let units: Vec<u16> = text.encode_utf16().skip(range.start).take(range.len()).collect();
    built(&String::from_utf16_lossy(&units), meter)
}

/// Byte offset of the last character that starts at or before `unit`; none behind the end.
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

fn split<'v>(receiver: &Text<'v>, arguments: Arguments<'_, 'v>, meter: &mut Meter) -> Outcome<'v> {
    let text = receiver.as_str();
    let parts = match arguments.optional_text(0)?.map(Text::as_str) {
        None => vec![Value::String(receiver.clone())],
        Some("") => {
            meter.memory(text.len() * 2 * crate::operator::VALUE_BYTES)?;
            text.encode_utf16().map(|unit| Value::text(String::from_utf16_lossy(&[unit]))).collect()
        }
        Some(separator) => {
            let mut parts = Vec::new();
            for part in text.split(separator) {
                meter.memory(crate::operator::VALUE_BYTES)?;
                parts.push(built(part, meter)?);
            }
            parts
        }
    };
    build_list(parts, meter)
}

fn pad<'v>(
    text: &str,
    arguments: Arguments<'_, 'v>,
    meter: &mut Meter,
    glue: fn(&str, &str) -> String,
) -> Outcome<'v> {
    let wanted = count(arguments.number(0)?, "padStart and padEnd")?;
    let fill = arguments.optional_text(1)?.map_or(" ", |fill| fill.as_str());
    let missing = wanted.saturating_sub(units(text));
    meter.read_text(fill.len())?;
    // Of a longer fill only the first units are used.
    let fill: Vec<u16> = fill.encode_utf16().take(missing).collect();
    let fill: Vec<u16> = fill.into_iter().cycle().take(missing).collect();
    built(&glue(text, &String::from_utf16_lossy(&fill)), meter)
}

/// A repeat count: the fraction is cut off, 0 to 100.
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
pub(super) fn to_number<'v>(value: &Value<'v>, meter: &mut Meter) -> Outcome<'v> {
    Ok(Value::Number(match value {
        Value::Number(number) => *number,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::String(text) => {
            meter.read_text(text.as_str().len())?;
            read_number(text.as_str().trim_matches(is_space))
        }
        _ => f64::NAN,
    }))
}

/// A decimal number or `Infinity`; NaN otherwise.
fn read_number(text: &str) -> f64 {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        "Infinity" if text.starts_with('-') => return f64::NEG_INFINITY,
        "Infinity" => return f64::INFINITY,
        _ => {}
    }
    // The parser of Rust also reads words such as `inf`.
    let decimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if decimal { text.parse().unwrap_or(f64::NAN) } else { f64::NAN }
}

/// White space of JavaScript: that of Unicode with the byte order mark, without U+0085.
fn is_space(c: char) -> bool {
    c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}')
}
