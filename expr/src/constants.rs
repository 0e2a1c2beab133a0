//! The constants of one filter, packed: one text and where each of them ends in it.

use std::sync::Arc;

/// Most bytes that the constants of a filter may have together.
pub(crate) const BYTES_MAX: usize = END as usize;

/// The bits of an end that say where; the other one says that it is a number.
const END: u16 = u16::MAX >> 1;
/// As many ends take no memory of their own.
const FEW: usize = 7;

/// What stands in a source where others of the same shape have something else: texts without
/// escapes and numbers, in the order of the source and as they are written there.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    text: Box<str>,
    ends: Ends,
}

#[derive(Debug)]
enum Ends {
    Few([u16; FEW]),
    Many(Box<Arc<[u16]>>),
}

impl Default for Ends {
    fn default() -> Ends {
        Ends::Few([0; FEW])
    }
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Constant<'c> {
    Number(f64),
    Text(&'c str),
}

impl Constants {
    /// Packs the constants; texts of numbers are such that they parse. None if they are too long.
    pub(crate) fn pack<'s>(
        parts: impl Iterator<Item = (&'s str, bool)> + Clone,
    ) -> Option<Constants> {
        let len = parts.clone().map(|(text, _)| text.len()).sum();
        if len > BYTES_MAX {
            return None;
        }
        let mut text = String::with_capacity(len);
        let mut end = |(part, is_number): (&str, bool)| {
            text.push_str(part);
            let at = u16::try_from(text.len()).unwrap_or(END);
            at | if is_number { !END } else { 0 }
        };
        let ends = if parts.clone().nth(FEW).is_none() {
            let mut few = [0; FEW];
            few.iter_mut().zip(parts).for_each(|(place, part)| *place = end(part));
            Ends::Few(few)
        } else {
            Ends::Many(Box::new(parts.map(end).collect()))
        };
        Some(Constants { text: text.into(), ends })
    }

    #[inline]
    fn ends(&self) -> &[u16] {
        match &self.ends {
            Ends::Few(few) => few,
            Ends::Many(many) => many,
        }
    }

    /// How the constant at `at` is written, without quotes.
    pub(crate) fn text(&self, at: usize) -> &str {
        self.place(at).0
    }

    /// The constant at `at`.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Constant<'_> {
        match self.place(at) {
            (text, false) => Constant::Text(text),
            (text, true) => Constant::Number(number(text)),
        }
    }

    /// How it is written, and whether it is a number.
    #[inline]
    fn place(&self, at: usize) -> (&str, bool) {
        let ends = self.ends();
        let start = match at {
            0 => 0,
            _ => ends.get(at - 1).map_or(0, |end| usize::from(end & END)),
        };
        let end = ends.get(at).copied().unwrap_or_default();
        let text = self.text.get(start..usize::from(end & END)).unwrap_or_default();
        (text, end & !END != 0)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let many = match &self.ends {
            Ends::Few(_) => 0,
            Ends::Many(many) => {
                size_of::<Arc<[u16]>>() + 2 * size_of::<usize>() + size_of_val(&**many)
            }
        };
        self.text.len() + many
    }
}

/// Whether a number is a few digits, which need no general parser.
pub(crate) fn is_short_number(text: &str) -> bool {
    /// As many digits are exact in an `f64`, and in a `u32`.
    const DIGITS_MAX: usize = 9;
    text.len() <= DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The short number that `text` writes.
#[inline]
fn number(text: &str) -> f64 {
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
    let value =
        text.bytes().fold(0_u32, |value, byte| value.wrapping_mul(10).wrapping_add(digit(byte)));
    f64::from(value)
}

/// Constants that stand side by side: a list.
#[derive(Clone, Copy, Debug)]
pub struct ConstantList<'c> {
    of: &'c Constants,
    start: u32,
    len: u32,
}

impl<'c> ConstantList<'c> {
    /// `len` constants from `start` on.
    pub(crate) fn new(of: &'c Constants, start: u32, len: u32) -> ConstantList<'c> {
        ConstantList { of, start, len }
    }

    /// How many there are.
    pub(crate) fn len(self) -> usize {
        self.len as usize
    }

    /// The one at `at`.
    pub(crate) fn get(self, at: usize) -> Option<Constant<'c>> {
        (at < self.len()).then(|| self.of.get(self.start as usize + at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_what_was_packed() {
        for count in [0, 1, FEW, FEW + 1, 300] {
            let written: Vec<(String, bool)> = (0..count)
                .map(|at| match at % 3 {
                    0 => (format!("{at}"), true),
                    1 => (format!("é{at}"), false),
                    _ => (String::new(), false),
                })
                .collect();
            let parts = written.iter().map(|(text, number)| (text.as_str(), *number));
            let packed = Constants::pack(parts).unwrap();
            for (at, (text, is_number)) in written.iter().enumerate() {
                assert_eq!(packed.text(at), text);
                let expected = match is_number {
                    true => Constant::Number(text.parse().unwrap()),
                    false => Constant::Text(text),
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
            assert_eq!(number(text).to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
    }

    #[test]
    fn too_much_is_not_packed() {
        let long = "x".repeat(BYTES_MAX);
        assert!(Constants::pack([(long.as_str(), false)].into_iter()).is_some());
        assert!(Constants::pack([(long.as_str(), false), ("y", false)].into_iter()).is_none());
    }

    #[test]
    fn a_few_constants_take_one_block() {
        assert!(size_of::<Constants>() <= 32);
    }
}
