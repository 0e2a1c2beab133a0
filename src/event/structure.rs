//! Where the tokens of a JSON text stand: the first of two passes, 64 bytes at a time.
//!
//! A token is a quote that opens text, one of `{}[]:,` outside of text, or the first byte of a
//! number or word. What text holds is checked here (control characters, escapes), so that nobody
//! need look into it again; [`super::scan`] checks the order of the tokens.
//!
//! **Source:** Langdale and Lemire, "Parsing gigabytes of JSON per second", 2019; the masks of
//! quotes and escapes are theirs. They list the tokens; here they stay bits, since writing the list
//! takes as long as finding them.

mod classify;

use classify::{Block, Classes};

const BLOCK: usize = size_of::<Block>();

/// The tokens of one text. Reused from text to text.
#[derive(Debug, Default)]
pub(super) struct Structure {
    masks: Vec<Masks>,
    has_escapes: bool,
    is_ascii: bool,
}

/// A bit for each byte of a block.
#[derive(Clone, Copy, Debug, Default)]
struct Masks {
    tokens: u64,
    /// Stands behind a backslash that is not itself escaped.
    escaped: u64,
}

impl Structure {
    /// Finds the tokens of `text`; false if text in it is not as JSON wants it.
    pub(super) fn read(&mut self, text: &[u8]) -> bool {
        #[cfg(target_arch = "x86_64")]
        if has_vectors() {
            #[expect(
                unsafe_code,
                reason = "0.18 V on vectors, 1.24 V on words, where V is the time serde_json takes \
                          to check the bytes; what not every processor has cannot be called safely"
            )]
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.read_vectors(text) };
        }
        self.read_with(text, classify::of_words, classify::parity_by_shifts)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,pclmulqdq")]
    fn read_vectors(&mut self, text: &[u8]) -> bool {
        use classify::x86::{of_vectors, parity};
        self.read_with(text, |block| of_vectors(block), |bits| parity(bits))
    }

    #[inline(always)]
    fn read_with(
        &mut self,
        text: &[u8],
        classes: impl Fn(&Block) -> Classes,
        parity: impl Fn(u64) -> u64,
    ) -> bool {
        let (blocks, rest) = text.as_chunks();
        let mut last: Block = [b' '; BLOCK];
        if let Some(start) = last.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        self.masks.resize(blocks.len() + 1, Masks::default());
        let mut pass = Pass::default();
        for (block, masks) in blocks.iter().chain([&last]).zip(&mut self.masks) {
            *masks = pass.block(block, classes(block), &parity);
        }
        self.is_ascii = pass.high == 0;
        self.has_escapes = pass.any_escaped != 0;
        let is_closed = pass.in_text == 0;
        is_closed && pass.faults == 0 && (!self.has_escapes || self.are_escapes(text))
    }

    /// Whether what stands behind backslashes makes escapes of JSON.
    fn are_escapes(&self, text: &[u8]) -> bool {
        let mut pair = None;
        self.masks.iter().enumerate().all(|(at, masks)| {
            bits(masks.escaped).all(|bit| is_escape(text, at * BLOCK + bit, &mut pair))
        })
    }

    /// Whether no byte is beyond ASCII.
    pub(super) fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// Whether there is an escape in a part of the text.
    #[inline(always)]
    pub(super) fn has_escape(&self, start: usize, end: usize) -> bool {
        let escaped = |at: usize| self.masks.get(at).map_or(0, |masks| masks.escaped);
        let (first, last) = (start / BLOCK, end / BLOCK);
        // Nearly all that is asked is a short name, far from any escape.
        let is_far = last <= first + 1 && escaped(first) | escaped(last) == 0;
        !is_far && self.has_escape_near(start, end)
    }

    #[cold]
    fn has_escape_near(&self, start: usize, end: usize) -> bool {
        (start / BLOCK..=end / BLOCK).any(|at| {
            let (base, escaped) = (at * BLOCK, self.masks.get(at).map_or(0, |m| m.escaped));
            bits(escaped).any(|bit| (start..end).contains(&(base + bit)))
        })
    }

    /// The tokens from `offset` on.
    #[inline]
    pub(super) fn tokens_from(&self, offset: usize) -> Tokens<'_> {
        let block = offset / BLOCK;
        let left = self.masks.get(block).map_or(0, |masks| masks.tokens);
        Tokens { masks: &self.masks, block, left: left & (u64::MAX << (offset % BLOCK)) }
    }
}

/// Walks over tokens.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'s> {
    masks: &'s [Masks],
    block: usize,
    /// Those of the block that were not met yet.
    left: u64,
}

/// The offset of the end.
pub(super) const END: usize = usize::MAX;

impl Tokens<'_> {
    /// The offset of the next token, or [`END`].
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        while self.left == 0 {
            self.block += 1;
            let Some(masks) = self.masks.get(self.block) else { return END };
            self.left = masks.tokens;
        }
        let place = self.block * BLOCK + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        place
    }
}

/// What a block must know of those before it.
#[derive(Default)]
struct Pass {
    /// Not zero once there was a control character in text.
    faults: u64,
    /// Not zero once there was a byte beyond ASCII.
    high: u64,
    /// Not zero once there was an escape.
    any_escaped: u64,
    /// All ones inside of text.
    in_text: u64,
    /// One if the first byte is escaped.
    escaped: u64,
    /// One if the last byte was part of a number or word.
    plain: u64,
}

impl Pass {
    #[inline(always)]
    fn block(&mut self, block: &Block, classes: Classes, parity: &impl Fn(u64) -> u64) -> Masks {
        let escaped = self.escaped(classes.backslash);
        let quotes = classes.quote & !escaped;
        // From each opening quote up to, and without, the closing one.
        let inside = parity(quotes) ^ self.in_text;
        let blanks = match classes.control & !inside {
            0 => classes.space,
            _ => classes.space | classify::line_blanks(block),
        };
        let plain = !(classes.operator | blanks | quotes | inside);
        let starts = plain & !(plain << 1 | self.plain);
        self.in_text = (inside.cast_signed() >> 63).cast_unsigned();
        self.plain = plain >> 63;
        self.faults |= classes.control & inside;
        self.high |= classes.high;
        self.any_escaped |= escaped;
        let tokens = (classes.operator & !inside) | (quotes & inside) | starts;
        Masks { tokens, escaped }
    }

    /// Which bytes stand behind a backslash that is not itself escaped.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        if backslash == 0 {
            return std::mem::take(&mut self.escaped);
        }
        let starts = backslash & !self.escaped;
        // Subtracting carries through each row of backslashes, so that the bit behind it tells
        // whether their number is even or odd.
        let ends = ((starts << 1) | ODD).wrapping_sub(starts) ^ ODD;
        let escaped = ends ^ (backslash | self.escaped);
        self.escaped = (ends & backslash) >> 63;
        escaped
    }
}

/// The places of the bits that are set, lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then(|| word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        lowest
    })
}

/// Whether the character at `at`, behind a backslash, makes an escape. `pair` is where the second
/// half of a pair has to stand, if one was begun.
fn is_escape(text: &[u8], at: usize, pair: &mut Option<usize>) -> bool {
    let is_second = pair.take() == Some(at);
    match text.get(at) {
        Some(b'u') => match (unit(text, at), is_second) {
            (Some(0xd800..=0xdbff), false) => {
                *pair = Some(at + 6);
                text.get(at + 5..at + 7) == Some(b"\\u")
            }
            (Some(unit), is_second) => matches!(unit, 0xdc00..=0xdfff) == is_second,
            (None, _) => false,
        },
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
        _ => false,
    }
}

/// The number behind the `u` at `at`.
pub(super) fn unit(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at + 1..at + 5)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

/// Whether the processor has the vectors that [`Structure::read`] would rather use.
#[cfg(target_arch = "x86_64")]
fn has_vectors() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx2") && has!("bmi1") && has!("pclmulqdq")
}
