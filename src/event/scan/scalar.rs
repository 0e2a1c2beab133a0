//! Numbers and words: whether they are those of JSON, and what numbers say.

/// Checks the number or word that begins at `at`, up to its end.
#[inline(always)]
pub(super) fn scalar(text: &[u8], at: usize) -> Option<()> {
    let rest = text.get(at..)?;
    let end = match rest.first_chunk() {
        Some(b"null" | b"true") => at + 4,
        Some(b"fals") if rest.get(4) == Some(&b'e') => at + 5,
        _ => number(text, at)?,
    };
    // What no value is put right behind, the order of the tokens tells.
    matches!(text.get(end), None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r'))
        .then_some(())
}

/// The end of the number that begins at `start`.
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
    // Only these may be out of range.
    (!is_long || parse_number(text.get(start..at)?).is_some()).then_some(at)
}

/// Numbers of up to this many bytes are in range, with an exponent of this many digits, too.
const LONG_DIGITS: usize = 200;
const SHORT_EXPONENT: usize = 2;

/// Goes over at least one digit.
#[inline]
fn digits(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while byte(text, at).is_ascii_digit() {
        at += 1;
    }
    (at > start).then_some(at)
}

/// The number as the tape reads it, which is not always the nearest double.
pub(in crate::event) fn parse_number(text: &[u8]) -> Option<f64> {
    // These are exact, and nearly all there are.
    if text.len() <= EXACT_DIGITS && text.iter().all(u8::is_ascii_digit) {
        let number = text.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
        return (!text.is_empty()).then(|| f64::from(number));
    }
    serde_json::from_slice(text).ok()
}

/// Digits whose number fits 32 bits.
const EXACT_DIGITS: usize = 9;

/// The byte at a place; zero, which is part of no number, at the end.
#[inline(always)]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or_default()
}
