//! Dictionary keys: constants and values as bytes, equal if and only if they are equal in the sense of
//! `==`.

use switchyard_expr::predicate::Constant;

use super::ids::ColumnId;
use crate::event::projection::JsonValue;

/// Starts the key of a constant of a column.
pub(super) fn begin_key(key: &mut Vec<u8>, column: ColumnId) {
    key.clear();
    key.extend_from_slice(&column.to_le_bytes());
}

/// Appends a constant.
pub(super) fn push_constant(key: &mut Vec<u8>, constant: &Constant) {
    match constant {
        Constant::Null => key.push(b'0'),
        Constant::Bool(truth) => push_bool(key, *truth),
        Constant::Number(number) => push_number(key, *number),
        Constant::String(text) => {
            let is_pushed = push_text(key, text.as_bytes());
            debug_assert!(is_pushed, "a filter has at most 10,000 characters");
        }
    }
}

/// Appends a value of an event; returns false for a list or map, which equals no constant.
pub(super) fn push_value(key: &mut Vec<u8>, value: JsonValue<'_>) -> bool {
    match value {
        JsonValue::Missing | JsonValue::Null => key.push(b'0'),
        JsonValue::Bool(truth) => push_bool(key, truth),
        JsonValue::Number(number) => push_number(key, number),
        JsonValue::Text(text) => return push_text(key, text),
        JsonValue::List(_) | JsonValue::LongList | JsonValue::Map => return false,
    }
    true
}

fn push_bool(key: &mut Vec<u8>, truth: bool) {
    key.push(if truth { b't' } else { b'f' });
}

fn push_number(key: &mut Vec<u8>, number: f64) {
    key.push(b'n');
    let bits = if number == 0.0 { 0 } else { number.to_bits() };
    key.extend_from_slice(&bits.to_le_bytes());
}

/// Returns false for a text that is longer than any constant. The length comes first, so that no tuple
/// of constants is a prefix of another.
fn push_text(key: &mut Vec<u8>, text: &[u8]) -> bool {
    let Ok(len) = u32::try_from(text.len()) else { return false };
    key.push(b's');
    key.extend_from_slice(&len.to_le_bytes());
    key.extend_from_slice(text);
    true
}
