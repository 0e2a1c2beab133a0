//! The structural index: finds the tokens of a JSON text, 64 bytes at a time, and checks which
//! token may follow which.
//!
//! First of two passes. String contents (control characters, escapes) and neighbouring tokens are
//! validated here; [`super::scan`] checks what depends on nesting. Tokens are kept as bit masks:
//! writing a list of offsets would take as long as finding them.
//!
//! Design: `docs/design/json-scan.md`.

mod bits;
mod classify;
mod pass;

use bits::{Bits, Words};
pub(super) use classify::BLOCK;
use classify::{CHUNK, Chunk, Classes, InputBlock};
use pass::PassState;
pub(super) use pass::{BlockTokens, Tokens};

/// The token masks of one text; reused from text to text.
#[derive(Debug, Default)]
pub(super) struct StructuralIndex {
    tokens: Vec<Tokens>,
    /// Brackets and colons.
    structurals: Vec<Words>,
    /// Unescaped quotes.
    quotes: Vec<Words>,
    /// Bytes after a backslash that is not itself escaped.
    escaped: Vec<Words>,
    has_escapes: bool,
    has_escaped_names: bool,
    is_ascii: bool,
}

impl StructuralIndex {
    /// Finds the tokens of `text`; false if a string or the token order is invalid.
    pub(super) fn read(&mut self, text: &[u8]) -> bool {
        #[cfg(target_arch = "x86_64")]
        if has_wide_vectors() {
            #[expect(
                unsafe_code,
                reason = "0.26 V, where V is the time serde_json takes to check the bytes, instead \
                          of 0.36 V; what not every processor has cannot be called safely"
            )]
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.read_wide_vectors(text) };
        } else if has_vectors() {
            #[expect(unsafe_code, reason = "0.36 V instead of 2.0 V on words; as above")]
            // SAFETY: as above.
            return unsafe { self.read_vectors(text) };
        }
        self.read_with(text, classify::of_words, classify::prefix_xor_by_shifts)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,pclmulqdq")]
    fn read_vectors(&mut self, text: &[u8]) -> bool {
        use classify::x86::{of_vectors, prefix_xor};
        self.read_with(text, |block| of_vectors(block), |bits| prefix_xor(bits))
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512bw,avx512vl,avx2,bmi1,bmi2,pclmulqdq")]
    fn read_wide_vectors(&mut self, text: &[u8]) -> bool {
        use classify::x86::{of_wide_vectors, prefix_xor};
        self.read_with(text, |block| of_wide_vectors(block), |bits| prefix_xor(bits))
    }

    #[inline(always)]
    fn read_with(
        &mut self,
        text: &[u8],
        classes: impl Fn(&InputBlock) -> Classes,
        prefix_xor: impl Fn(u64) -> u64,
    ) -> bool {
        let (chunks, rest) = text.as_chunks();
        let mut last: Chunk = [b' '; CHUNK];
        let padded = &mut last;
        // Reads the last, partial chunk after the full ones: memory is prefetched in order.
        let last = std::iter::once_with(move || {
            if let Some(start) = padded.get_mut(..rest.len()) {
                start.copy_from_slice(rest);
            }
            &*padded
        });
        self.tokens.clear();
        for row in [&mut self.structurals, &mut self.quotes, &mut self.escaped] {
            row.clear();
        }
        let mut pass = PassState::default();
        for chunk in chunks.iter().chain(last) {
            let masks = pass.chunk(chunk, &classes, &prefix_xor);
            self.tokens.push(masks.tokens);
            self.structurals.push((masks.tokens.brackets | masks.tokens.colons).0);
            self.quotes.push(masks.quotes.0);
            self.escaped.push(masks.escaped.0);
        }
        self.is_ascii = pass.high == 0;
        self.has_escapes = pass.has_escapes;
        self.has_escaped_names = pass.has_escaped_names;
        let is_sound = !pass.is_invalid && pass.controls == 0 && pass.in_text == 0;
        is_sound && (!self.has_escapes || self.are_escapes(text))
    }

    /// Whether all bytes after backslashes are valid escapes.
    fn are_escapes(&self, text: &[u8]) -> bool {
        let mut pair = None;
        let words = self.escaped.as_flattened().iter().zip((0..).step_by(BLOCK));
        words.into_iter().all(|(escaped, start)| {
            bits(*escaped).all(|bit| is_escape(text, start + bit, &mut pair))
        })
    }

    /// Whether the text is ASCII.
    pub(super) fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// Whether a part of the text has an escape.
    #[inline(always)]
    pub(super) fn has_escape(&self, start: usize, end: usize) -> bool {
        let escaped = |block| word(&self.escaped, block);
        let (first, last) = (start / BLOCK, end / BLOCK);
        // Most queries are for a short name far from any escape.
        let is_far = last <= first + 1 && escaped(first) | escaped(last) == 0;
        !is_far && self.has_escape_near(start, end)
    }

    #[cold]
    fn has_escape_near(&self, start: usize, end: usize) -> bool {
        (start / BLOCK..=end / BLOCK).any(|at| {
            let escaped = word(&self.escaped, at);
            bits(escaped).any(|bit| (start..end).contains(&(at * BLOCK + bit)))
        })
    }

    /// Whether a name, or a string where a name could be, has an escape.
    pub(super) fn has_escaped_names(&self) -> bool {
        self.has_escaped_names
    }

    /// Iterates over the tokens of each chunk with the offset of the chunk.
    #[inline(always)]
    pub(super) fn tokens(&self) -> impl Iterator<Item = (usize, &Tokens)> {
        (0..).step_by(CHUNK).zip(&self.tokens)
    }

    /// Returns the number of values, if the text is JSON.
    pub(super) fn values(&self) -> u32 {
        let count = |of: fn(&Tokens) -> Bits| -> u32 {
            self.tokens.iter().flat_map(|tokens| of(tokens).0).map(u64::count_ones).sum()
        };
        let quotes: u32 = self.quotes.as_flattened().iter().map(|word| word.count_ones()).sum();
        let pairs = quotes + count(|tokens| tokens.brackets);
        (pairs / 2 + count(|tokens| tokens.scalars)).saturating_sub(count(|tokens| tokens.colons))
    }

    /// Returns the closing quote of the string that opens at `quote`.
    #[inline(always)]
    pub(super) fn text_end(&self, quote: usize) -> usize {
        let start = quote + 1;
        let mut block = start / BLOCK;
        let quotes = self.quotes.as_flattened();
        let mut left = word(&self.quotes, block) & (u64::MAX << (start % BLOCK));
        while left == 0 {
            block += 1;
            let Some(word) = quotes.get(block) else { return quote };
            left = *word;
        }
        block * BLOCK + left.trailing_zeros() as usize
    }

    /// Returns the opening quote of the string that closes at `quote`.
    #[inline(always)]
    pub(super) fn text_start(&self, quote: usize) -> usize {
        let quotes = |block: usize| word(&self.quotes, block);
        let (block, bit) = (quote / BLOCK, quote % BLOCK);
        let before = block.checked_sub(1).map_or(0, quotes);
        // The 64 bytes before the quote; the nearest one is the highest bit.
        let near = (quotes(block) << 1) << (BLOCK - 1 - bit) | before >> bit;
        if near != 0 { quote - 1 - near.leading_zeros() as usize } else { self.far_start(quote) }
    }

    #[cold]
    fn far_start(&self, quote: usize) -> usize {
        let quotes = |block: usize| word(&self.quotes, block);
        let last = (0..quote / BLOCK).rev().find(|block| quotes(*block) != 0);
        debug_assert!(last.is_some(), "a closing quote has an opening one");
        let last = last.unwrap_or_default();
        (last * BLOCK + BLOCK - 1).saturating_sub(quotes(last).leading_zeros() as usize)
    }

    /// Iterates over the brackets and colons from `offset` on.
    #[inline(always)]
    pub(super) fn structurals_from(&self, offset: usize) -> StructuralIter<'_> {
        let (block, words) = (offset / BLOCK, self.structurals.as_flattened());
        let left = words.get(block).copied().unwrap_or_default();
        StructuralIter { words, block, left: left & (u64::MAX << (offset % BLOCK)) }
    }
}

/// Returns one word of a mask, or zero past its end.
#[inline(always)]
fn word(row: &[Words], block: usize) -> u64 {
    row.as_flattened().get(block).copied().unwrap_or_default()
}

/// Iterator over brackets and colons.
#[derive(Clone, Debug)]
pub(super) struct StructuralIter<'s> {
    words: &'s [u64],
    block: usize,
    /// Bits of the current block that are not returned yet.
    left: u64,
}

/// The offset that marks the end.
pub(super) const END: usize = usize::MAX;

impl StructuralIter<'_> {
    /// Returns the next offset, or [`END`].
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        while self.left == 0 {
            self.block += 1;
            let Some(word) = self.words.get(self.block) else { return END };
            self.left = *word;
        }
        let offset = self.block * BLOCK + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        offset
    }
}

/// Iterates over the positions of the set bits, lowest first.
pub(super) fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then(|| word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        lowest
    })
}

/// Whether the character at `at`, after a backslash, forms a valid escape. `pair` is where the
/// second half of a surrogate pair must be, if one was begun.
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

/// Parses the four hex digits after the `u` at `at`.
pub(super) fn unit(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at + 1..at + 5)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

/// Whether the processor supports [`StructuralIndex::read_vectors`].
#[cfg(target_arch = "x86_64")]
fn has_vectors() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx2") && has!("bmi1") && has!("bmi2") && has!("pclmulqdq")
}

/// Whether the processor supports [`StructuralIndex::read_wide_vectors`].
#[cfg(target_arch = "x86_64")]
fn has_wide_vectors() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has_vectors() && has!("avx512bw") && has!("avx512vl")
}
