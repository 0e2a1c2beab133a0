//! Bit masks with one bit for each byte of a chunk, as one wide integer.

use std::array::from_fn;
use std::ops::{BitAnd, BitOr, BitXor, Not};

/// Words of one chunk: one AVX2 vector. Eight words were slower, also with wider vectors.
pub(super) const WORDS: usize = 4;

pub(super) type Words = [u64; WORDS];

/// The lowest bit of the first word is the first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::event) struct Bits(pub(super) Words);

impl Bits {
    pub(super) const ALL: Self = Self([u64::MAX; WORDS]);

    #[inline(always)]
    pub(super) fn set(&mut self, at: usize, word: u64) {
        if let Some(lane) = self.0.get_mut(at) {
            *lane = word;
        }
    }

    #[inline(always)]
    pub(super) fn any(self) -> bool {
        self.0.into_iter().fold(0, |all, word| all | word) != 0
    }

    /// Whether the last bit is set.
    #[inline(always)]
    pub(super) fn last(self) -> bool {
        let [.., last] = self.0;
        last >> 63 != 0
    }

    /// Shifts all bits up by one; `carry` is the new first bit.
    #[inline(always)]
    pub(super) fn up(self, carry: bool) -> Self {
        let [a, b, c, _] = self.0;
        let below = [u64::from(carry) << 63, a, b, c];
        Self(zip(self.0, below, |word, below| word << 1 | below >> 63))
    }

    /// Adds two masks; returns the sum and the carry out. Not inlined, so that the carry stays in
    /// its flag: between vector operations the words would be moved back and forth.
    #[inline(never)]
    pub(super) fn plus(&self, other: &Self, mut carry: bool) -> (Self, bool) {
        let sum = zip(self.0, other.0, |a, b| {
            let (sum, beyond) = a.carrying_add(b, carry);
            carry = beyond;
            sum
        });
        (Self(sum), carry)
    }
}

#[inline(always)]
fn zip(a: Words, b: Words, mut with: impl FnMut(u64, u64) -> u64) -> Words {
    from_fn(|at| match (a.get(at), b.get(at)) {
        (Some(a), Some(b)) => with(*a, *b),
        _ => 0,
    })
}

impl BitAnd for Bits {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(zip(self.0, other.0, |a, b| a & b))
    }
}

impl BitOr for Bits {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(zip(self.0, other.0, |a, b| a | b))
    }
}

impl BitXor for Bits {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(zip(self.0, other.0, |a, b| a ^ b))
    }
}

impl Not for Bits {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        self ^ Self::ALL
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(bits: Bits) -> Vec<bool> {
        bits.0.iter().flat_map(|word| (0..64).map(move |at| word >> at & 1 == 1)).collect()
    }

    /// With runs of ones, so that carries propagate.
    fn words() -> impl Strategy<Value = Words> {
        prop::array::uniform4(prop_oneof![Just(0), Just(u64::MAX), Just(1), any::<u64>()])
    }

    proptest! {
        #[test]
        fn up_moves_each_bit_by_one(words in words(), carry: bool) {
            let bits = Bits(words);
            let mut expected = places(bits);
            prop_assert_eq!(bits.last(), expected[expected.len() - 1]);
            expected.rotate_right(1);
            expected[0] = carry;
            prop_assert_eq!(places(bits.up(carry)), expected);
        }

        #[test]
        fn sums_carry_from_word_to_word(a in words(), b in words(), mut carry: bool) {
            let (sum, beyond) = Bits(a).plus(&Bits(b), carry);
            for ((a, b), sum) in places(Bits(a)).into_iter().zip(places(Bits(b))).zip(places(sum)) {
                prop_assert_eq!(sum, a ^ b ^ carry);
                carry = u8::from(a) + u8::from(b) + u8::from(carry) > 1;
            }
            prop_assert_eq!(beyond, carry);
        }
    }
}
