//! Byte classification of a block: one bit mask for each class, by vector instructions or by words.

use super::bits::WORDS;

/// Bytes that are classified together.
pub(in crate::event) const BLOCK: usize = 64;
/// The bytes that are classified together.
pub(super) type InputBlock = [u8; BLOCK];
/// Bytes of one chunk, whose masks are handled as one wide integer.
pub(super) const CHUNK: usize = BLOCK * WORDS;
/// The bytes that are checked together.
pub(super) type Chunk = [u8; CHUNK];

/// One mask for each class; the lowest bit is the first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Classes {
    pub(super) quote: u64,
    pub(super) backslash: u64,
    /// `{` or `[`.
    pub(super) open: u64,
    /// `}` or `]`.
    pub(super) close: u64,
    pub(super) comma: u64,
    pub(super) colon: u64,
    pub(super) space: u64,
    /// Less than the space character.
    pub(super) control: u64,
    /// Not ASCII.
    pub(super) high: u64,
}

/// This bit maps `[` and `]` to `{` and `}`.
const FOLD: u8 = 0x20;

/// Returns the mask of tabs and line ends, the whitespace other than the space.
#[cold]
pub(super) fn line_whitespace(block: &InputBlock) -> u64 {
    let bit = |at: usize, byte: u8| u64::from(matches!(byte, b'\t' | b'\n' | b'\r')) << at;
    block.iter().enumerate().fold(0, |bits, (at, byte)| bits | bit(at, *byte))
}

/// Classifies a block, eight bytes at a time.
///
/// **Source:** Hacker's Delight, 6-1, "find first 0-byte", in the form that is exact for each byte.
pub(super) fn of_words(block: &InputBlock) -> Classes {
    const ONES: u64 = u64::MAX / 255;
    const LOW: u64 = ONES * 0x7f;
    let zeros = |word: u64| !(((word & LOW) + LOW) | word | LOW);
    let is = |word: u64, byte: u8| zeros(word ^ (ONES * u64::from(byte)));
    // Gathers the high bits of the bytes in the highest byte.
    let gathered = |highs: u64| (highs >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let mut all = Classes::default();
    for (at, word) in block.as_chunks().0.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let folded = word | (ONES * u64::from(FOLD));
        let bits = |highs: u64| gathered(highs) << (at * 8);
        all.quote |= bits(is(word, b'"'));
        all.backslash |= bits(is(word, b'\\'));
        all.open |= bits(is(folded, b'{'));
        all.close |= bits(is(folded, b'}'));
        all.comma |= bits(is(word, b','));
        all.colon |= bits(is(word, b':'));
        all.space |= bits(is(word, b' '));
        all.control |= bits(zeros(word & (ONES * 0xe0)));
        all.high |= bits(word & !LOW);
    }
    all
}

/// Sets each bit to the parity of the bits up to and including it (prefix XOR).
pub(super) fn prefix_xor_by_shifts(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::{
        __m256i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_set1_epi8,
        _mm256_cmpeq_epi8, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set_m128i, _mm256_set1_epi8, _mm256_setzero_si256, _mm512_castsi256_si512,
        _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_inserti64x4, _mm512_movepi8_mask,
        _mm512_or_si512, _mm512_set1_epi8,
    };

    use super::{Classes, FOLD, InputBlock};

    /// Classifies a block, 32 bytes at a time.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in super::super) fn of_vectors(block: &InputBlock) -> Classes {
        let mut all = Classes::default();
        for (at, lane) in block.as_chunks().0.iter().enumerate() {
            let lane = load(lane);
            let all_of = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
            let is = |lane: __m256i, byte: u8| _mm256_cmpeq_epi8(lane, all_of(byte));
            let bits = |highs: __m256i| {
                u64::from(_mm256_movemask_epi8(highs).cast_unsigned()) << (at * 32)
            };
            let folded = _mm256_or_si256(lane, all_of(FOLD));
            let capped = _mm256_min_epu8(lane, all_of(b' ' - 1));
            all.quote |= bits(is(lane, b'"'));
            all.backslash |= bits(is(lane, b'\\'));
            all.open |= bits(is(folded, b'{'));
            all.close |= bits(is(folded, b'}'));
            all.comma |= bits(is(lane, b','));
            all.colon |= bits(is(lane, b':'));
            all.space |= bits(is(lane, b' '));
            all.control |= bits(_mm256_cmpeq_epi8(capped, lane));
            all.high |= bits(lane);
        }
        all
    }

    /// Classifies a whole block at once.
    #[target_feature(enable = "avx512bw")]
    #[inline]
    pub(in super::super) fn of_wide_vectors(block: &InputBlock) -> Classes {
        let (halves, _) = block.as_chunks();
        let half =
            |at: usize| halves.get(at).map_or_else(|| _mm256_setzero_si256(), |half| load(half));
        let block = _mm512_inserti64x4(_mm512_castsi256_si512(half(0)), half(1), 1);
        let all_of = |byte: u8| _mm512_set1_epi8(byte.cast_signed());
        let is = |block, byte| _mm512_cmpeq_epi8_mask(block, all_of(byte));
        let folded = _mm512_or_si512(block, all_of(FOLD));
        Classes {
            quote: is(block, b'"'),
            backslash: is(block, b'\\'),
            open: is(folded, b'{'),
            close: is(folded, b'}'),
            comma: is(block, b','),
            colon: is(block, b':'),
            space: is(block, b' '),
            control: _mm512_cmplt_epu8_mask(block, all_of(b' ')),
            high: _mm512_movepi8_mask(block),
        }
    }

    /// Returns the prefix XOR by one carry-less multiplication.
    #[target_feature(enable = "pclmulqdq")]
    #[inline]
    pub(in super::super) fn prefix_xor(bits: u64) -> u64 {
        let (bits, ones) = (_mm_set_epi64x(0, bits.cast_signed()), _mm_set1_epi8(-1));
        _mm_cvtsi128_si64(_mm_clmulepi64_si128(bits, ones, 0)).cast_unsigned()
    }

    /// Compiles to one load instruction without a raw pointer.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(lane: &[u8; 32]) -> __m256i {
        let half = |at: usize| {
            let bytes = lane.as_chunks().0.get(at).copied().unwrap_or_default();
            let bits = u128::from_le_bytes(bytes);
            #[expect(clippy::cast_possible_truncation, reason = "its halves")]
            let (low, high) = (bits as i64, (bits >> 64) as i64);
            _mm_set_epi64x(high, low)
        };
        _mm256_set_m128i(half(1), half(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(block: &InputBlock) -> Classes {
        block.iter().enumerate().fold(Classes::default(), |mut all, (at, byte)| {
            let bit = |is: bool| u64::from(is) << at;
            all.quote |= bit(*byte == b'"');
            all.backslash |= bit(*byte == b'\\');
            all.open |= bit(matches!(byte, b'{' | b'['));
            all.close |= bit(matches!(byte, b'}' | b']'));
            all.comma |= bit(*byte == b',');
            all.colon |= bit(*byte == b':');
            all.space |= bit(*byte == b' ');
            all.control |= bit(*byte < b' ');
            all.high |= bit(*byte >= 0x80);
            all
        })
    }

    fn check(block: &InputBlock) {
        assert_eq!(of_words(block), one_by_one(block), "{block:?}");
        #[cfg(target_arch = "x86_64")]
        if crate::event::structural_index::has_vectors() {
            #[expect(unsafe_code, reason = "the processor has these instructions")]
            // SAFETY: the processor has what the function is compiled for.
            let classes = unsafe { x86::of_vectors(block) };
            assert_eq!(classes, one_by_one(block), "{block:?}");
        }
        #[cfg(target_arch = "x86_64")]
        if crate::event::structural_index::has_wide_vectors() {
            #[expect(unsafe_code, reason = "the processor has these instructions")]
            // SAFETY: the processor has what the function is compiled for.
            let classes = unsafe { x86::of_wide_vectors(block) };
            assert_eq!(classes, one_by_one(block), "{block:?}");
        }
    }

    #[test]
    fn every_byte_has_its_class_at_every_offset() {
        for byte in 0..=u8::MAX {
            for (at, around) in (0..64).flat_map(|at| [(at, b'x'), (at, b'"'), (at, 0xff)]) {
                let mut block = [around; 64];
                block[at] = byte;
                check(&block);
            }
        }
    }

    proptest! {
        #[test]
        fn classes_do_not_depend_on_how_they_are_found(bytes in prop::array::uniform32(any::<[u8; 2]>())) {
            let mut block = [0; 64];
            block.copy_from_slice(bytes.as_flattened());
            check(&block);
        }

        #[test]
        fn parity_counts_the_bits_up_to_each(bits: u64) {
            let expected = (0..64).fold(0, |all, at| {
                all | (u64::from((bits << (63 - at)).count_ones() % 2) << at)
            });
            prop_assert_eq!(prefix_xor_by_shifts(bits), expected);
            #[cfg(target_arch = "x86_64")]
            if crate::event::structural_index::has_vectors() {
                #[expect(unsafe_code, reason = "the processor has these instructions")]
                // SAFETY: the processor has what the function is compiled for.
                let prefix_xor = unsafe { x86::prefix_xor(bits) };
                prop_assert_eq!(prefix_xor, expected);
            }
        }
    }
}
