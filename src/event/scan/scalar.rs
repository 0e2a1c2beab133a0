//! Numbers and literals of JSON: validation, and the value of numbers.

/// Checks the number or literal that begins at `at`, including the byte after it.
#[inline(always)]
pub(super) fn scalar(text: &[u8], at: usize) -> Option<()> {
    let rest = text.get(at..)?;
    let end = match rest.first_chunk() {
        Some(b"null" | b"true") => at + 4,
        Some(b"fals") if rest.get(4) == Some(&b'e') => at + 5,
        _ => number(text, at)?,
    };
    // A value directly after it is rejected by the token order check.
    matches!(text.get(end), None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r'))
        .then_some(())
}

/// Returns the end of the number that begins at `start`.
fn number(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + usize::from(byte(text, start) == b'-');
    at = match byte(text, at) {
        b'0' => at + 1,
        _ => digits(text, at)?,
    };
    if byte(text, at) == b'.' {
        at = digits(text, at + 1)?;
    }
    let mut is_long = at - start > LONG_DIGITS;
    if matches!(byte(text, at), b'e' | b'E') {
        let sign = usize::from(matches!(byte(text, at + 1), b'+' | b'-'));
        let exponent = at + 1 + sign;
        at = digits(text, exponent)?;
        is_long |= at - exponent > SHORT_EXPONENT;
    }
    // Only long numbers can be out of range.
    (!is_long || parse_number(text.get(start..at)?).is_some()).then_some(at)
}

/// A number of up to this many bytes, with an exponent of up to [`SHORT_EXPONENT`] digits, is in
/// range.
const LONG_DIGITS: usize = 200;
const SHORT_EXPONENT: usize = 2;

/// Skips at least one digit.
#[inline]
fn digits(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while byte(text, at).is_ascii_digit() {
        at += 1;
    }
    (at > start).then_some(at)
}

/// Parses a number as the tape does; not always the nearest double.
pub(in crate::event) fn parse_number(text: &[u8]) -> Option<f64> {
    // Short integers are exact; most numbers are.
    if text.len() <= EXACT_DIGITS && text.iter().all(u8::is_ascii_digit) {
        let number = text.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
        return (!text.is_empty()).then(|| f64::from(number));
    }
    serde_json::from_slice(text).ok()
}

/// Number of digits that always fit 32 bits.
const EXACT_DIGITS: usize = 9;

/// Returns the byte at `at`, or zero, which is not part of a number, at the end.
#[inline(always)]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or_default()
}
