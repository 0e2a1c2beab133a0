//! The packed parameters of one filter: one string that starts with an offset table.

use crate::constant_table::{ConstantTable, Key};
use crate::span::slice;

/// Bytes that the parameters of a filter may have together.
pub(crate) const BYTES_MAX: usize = (1 << 15) - 1;

/// Digits of an offset in the table.
const DIGITS: usize = 3;
/// Bits of a digit. Each digit is an ASCII character, so that offsets and texts form one `str`.
const DIGIT_BITS: u32 = 7;
/// Flag in the end offset of a number; offsets stay far below it.
const NUMBER: u32 = 1 << 20;

/// The constants in which filters of one template differ: strings without escapes and numbers, with
/// their sign, in source order and as they are written.
///
/// The layout is the offset of the first parameter, the end offset of each parameter, then the
/// texts. That takes one allocation for any number of parameters, and none if there are none.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    packed: Box<str>,
    /// The tables of long lists, each with the position of its first parameter, in order.
    tables: Option<Box<[(u32, ConstantTable)]>>,
}

/// One parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Parameter<'c> {
    Number(f64),
    Text(&'c str),
}

impl<'c> Parameter<'c> {
    /// Reads a parameter as it is written.
    #[inline]
    pub(crate) fn of(text: &'c str, is_number: bool) -> Parameter<'c> {
        if is_number { Parameter::Number(number(text.as_bytes())) } else { Parameter::Text(text) }
    }
}

impl Parameters {
    /// Packs the parameters, given as text and whether it is a number. Returns none if they are too
    /// long.
    pub(crate) fn pack<'s>(
        parts: impl Iterator<Item = (&'s str, bool)> + Clone,
    ) -> Option<Parameters> {
        let count = parts.clone().count();
        if count == 0 {
            return Some(Parameters::default());
        }
        let len: usize = parts.clone().map(|(text, _)| text.len()).sum();
        let start = DIGITS * (count + 1);
        if len > BYTES_MAX || start + len >= NUMBER as usize {
            return None;
        }
        let mut packed = String::with_capacity(start + len);
        let mut at = u32::try_from(start).ok()?;
        push_offset(&mut packed, at);
        for (text, is_number) in parts.clone() {
            at += u32::try_from(text.len()).ok()?;
            push_offset(&mut packed, if is_number { at | NUMBER } else { at });
        }
        packed.extend(parts.map(|(text, _)| text));
        Some(Parameters { packed: packed.into(), tables: None })
    }

    /// Builds the tables of lists, each given by the position of its first parameter and its length,
    /// in order.
    pub(crate) fn with_tables(mut self, lists: impl Iterator<Item = (u32, u32)>) -> Parameters {
        let tables: Box<[_]> = lists
            .filter_map(|(start, len)| {
                let list = ParameterList::new(&self, start, len);
                Some((start, ConstantTable::of(list.len(), |at| list.key(at))?))
            })
            .collect();
        self.tables = (!tables.is_empty()).then_some(tables);
        self
    }

    /// The text of the parameter at `at`, without quotes.
    pub(crate) fn text(&self, at: usize) -> &str {
        let (start, end, _) = self.entry(at);
        slice(&self.packed, start..end)
    }

    /// The parameter at `at`.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Parameter<'_> {
        let (start, end, is_number) = self.entry(at);
        Parameter::of(slice(&self.packed, start..end), is_number)
    }

    /// The start and end offset of the parameter, and whether it is a number.
    #[inline]
    fn entry(&self, at: usize) -> (usize, usize, bool) {
        // Start and end offset are adjacent, so one table access reads both.
        let behind = self.packed.as_bytes().get(DIGITS * at..).and_then(<[u8]>::first_chunk);
        debug_assert!(behind.is_some(), "each parameter has offsets in the table");
        let Some([a, b, c, d, e, f]) = behind else { return (0, 0, false) };
        let (start, end) = (joined([*a, *b, *c]), joined([*d, *e, *f]));
        ((start & !NUMBER) as usize, (end & !NUMBER) as usize, end & NUMBER != 0)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let tables = self.tables.as_deref().unwrap_or_default();
        let of_tables = tables.iter().map(|(_, table)| table.heap_bytes()).sum::<usize>();
        self.packed.len() + size_of_val(tables) + of_tables
    }
}

#[inline]
fn joined(digits: [u8; DIGITS]) -> u32 {
    digits.iter().fold(0, |offset, digit| offset << DIGIT_BITS | u32::from(*digit))
}

fn push_offset(packed: &mut String, offset: u32) {
    let digit = |at: u32| (offset >> (at * DIGIT_BITS)).to_le_bytes()[0] & ((1 << DIGIT_BITS) - 1);
    packed.extend([2, 1, 0].map(|at| char::from(digit(at))));
}

/// Whether a number is short enough to be parsed without the general parser.
pub(crate) fn is_short_number(text: &str) -> bool {
    /// Numbers of so many digits are exact in `f64` and fit into `u32`.
    const DIGITS_MAX: usize = 9;
    text.len() <= DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses a short number, which may have a sign.
#[inline]
fn number(text: &[u8]) -> f64 {
    match text {
        [b'-', digits @ ..] => -unsigned(digits),
        digits => unsigned(digits),
    }
}

#[inline]
fn unsigned(digits: &[u8]) -> f64 {
    let digit = |byte: &u8| u32::from(byte.wrapping_sub(b'0'));
    let value =
        digits.iter().fold(0_u32, |value, byte| value.wrapping_mul(10).wrapping_add(digit(byte)));
    f64::from(value)
}

/// Adjacent parameters that form a list.
#[derive(Clone, Copy, Debug)]
pub struct ParameterList<'c> {
    of: &'c Parameters,
    start: u32,
    len: u32,
}

impl<'c> ParameterList<'c> {
    /// The list of `len` parameters from `start` on.
    pub(crate) fn new(of: &'c Parameters, start: u32, len: u32) -> ParameterList<'c> {
        ParameterList { of, start, len }
    }

    /// Number of elements.
    pub(crate) fn len(self) -> usize {
        self.len as usize
    }

    /// The table of the list, if it is long.
    pub(crate) fn table(self) -> Option<&'c ConstantTable> {
        let tables = self.of.tables.as_deref()?;
        let at = tables.binary_search_by_key(&self.start, |(start, _)| *start).ok()?;
        tables.get(at).map(|(_, table)| table)
    }

    /// The element at `at` as key of a table.
    pub(crate) fn key(self, at: usize) -> Option<Key<'c>> {
        self.get(at).map(|parameter| match parameter {
            Parameter::Number(number) => Key::Number(number),
            Parameter::Text(text) => Key::Text(text),
        })
    }

    /// The element at `at`.
    pub(crate) fn get(self, at: usize) -> Option<Parameter<'c>> {
        (at < self.len()).then(|| self.of.get(self.start as usize + at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_what_was_packed() {
        for count in [0, 1, 7, 8, 300, 3_000] {
            let written: Vec<(String, bool)> = (0..count)
                .map(|at| match at % 3 {
                    0 if at % 2 == 0 => (format!("{at}"), true),
                    0 => (format!("-{at}"), true),
                    1 => (format!("é{at}"), false),
                    _ => (String::new(), false),
                })
                .collect();
            let parts = written.iter().map(|(text, number)| (text.as_str(), *number));
            let packed = Parameters::pack(parts).unwrap();
            for (at, (text, is_number)) in written.iter().enumerate() {
                assert_eq!(packed.text(at), text);
                let expected = match is_number {
                    true => Parameter::Number(text.parse().unwrap()),
                    false => Parameter::Text(text),
                };
                assert_eq!(packed.get(at), expected);
            }
        }
    }

    #[test]
    fn numbers_are_read_as_the_lexer_reads_them() {
        for text in ["0.1", "1000000000", "1e3", "5.50"] {
            assert!(!is_short_number(text), "{text}");
        }
        for text in ["0", "7", "007", "123456789", "999999999"] {
            assert!(is_short_number(text), "{text}");
            assert_eq!(
                number(text.as_bytes()).to_bits(),
                text.parse::<f64>().unwrap().to_bits(),
                "{text}"
            );
            let negative = format!("-{text}");
            assert_eq!(
                number(negative.as_bytes()).to_bits(),
                negative.parse::<f64>().unwrap().to_bits(),
                "{negative}"
            );
        }
    }

    #[test]
    fn too_much_is_not_packed() {
        let long = "x".repeat(BYTES_MAX);
        assert!(Parameters::pack([(long.as_str(), false)].into_iter()).is_some());
        assert!(Parameters::pack([(long.as_str(), false), ("y", false)].into_iter()).is_none());
    }
}
