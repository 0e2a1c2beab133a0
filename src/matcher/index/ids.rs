//! Ids of the index: positions in the tables of one segment, as newtypes over small integers.
//!
//! A constructor fails if the position does not fit. That fails the build of the segment, which is
//! then split, see `partition`; an id never saturates.

use std::ops::Range;

use thiserror::Error;

/// A segment cannot be built, because a table would have more entries than its ids can number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a segment has at most {max} {of}")]
pub(in crate::matcher) struct SegmentTooLarge {
    of: &'static str,
    max: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $repr:ty, $of:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub(in crate::matcher) struct $name($repr);

        impl $name {
            /// Number of different ids. The largest integer is no id.
            pub(in crate::matcher) const COUNT_MAX: usize = $max;

            /// Returns the id of a position.
            ///
            /// # Errors
            /// The position is not below [`Self::COUNT_MAX`].
            pub(in crate::matcher) fn new(at: usize) -> Result<Self, SegmentTooLarge> {
                let too_large = SegmentTooLarge { of: $of, max: Self::COUNT_MAX };
                if at >= Self::COUNT_MAX {
                    return Err(too_large);
                }
                <$repr>::try_from(at).map(Self).map_err(|_| too_large)
            }

            /// Returns the position.
            #[inline(always)]
            pub(in crate::matcher) fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

const U32_COUNT_MAX: usize = u32::MAX as usize;
const U16_COUNT_MAX: usize = u16::MAX as usize;

id! {
    /// Position of a listener in its segment. A group of listeners with an equal filter, which is
    /// decided once for all of them, is identified by the position of its first listener.
    ListenerId, u32, "listeners", U32_COUNT_MAX
}

macro_rules! bytes {
    ($name:ident) => {
        impl $name {
            /// The id as bytes, which need no alignment.
            pub(super) fn to_bytes(self) -> [u8; 4] {
                self.0.to_ne_bytes()
            }

            /// Reads what [`Self::to_bytes`] returned.
            #[inline(always)]
            pub(super) fn from_bytes(bytes: [u8; 4]) -> Self {
                Self(u32::from_ne_bytes(bytes))
            }
        }
    };
}

bytes!(ListenerId);
bytes!(RowId);

impl ListenerId {
    /// Yields this id and those after it.
    pub(super) fn following(self) -> impl Iterator<Item = Self> {
        (self.0..u32::MAX).map(Self)
    }
}

id! {
    /// Position of a column in its segment. Tests use a small limit, so that segments are split.
    ColumnId, u16, "columns", if cfg!(test) { 24 } else { U16_COUNT_MAX }
}

id! {
    /// Number of a constant in its column.
    ConstantId, u32, "constants in a column", U32_COUNT_MAX
}

impl ColumnId {
    /// Its bytes, for the key of a constant.
    pub(super) fn to_le_bytes(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }
}

impl ConstantId {
    /// Not the id of any constant.
    pub(super) const NONE: Self = Self(u32::MAX);
}

id! {
    /// Position of a row, or of a posting list, among all rows of a segment.
    RowId, u32, "tests and row headers", U32_COUNT_MAX
}

id! {
    /// Number of tests in a row, or in a group of tests. Tests use a small limit.
    TestCount, u16, "tests in a filter", if cfg!(test) { 64 } else { U16_COUNT_MAX }
}

impl TestCount {
    /// One test.
    pub(super) const ONE: Self = Self(1);
}

impl RowId {
    /// The second entry of the table of rows; the first is an empty posting list.
    pub(super) const SECOND: Self = Self(1);
}

id! {
    /// Position of a number in the table of bounds.
    BoundId, u32, "numbers", U32_COUNT_MAX
}

id! {
    /// Position of a set of constants among all sets.
    SetId, u32, "lists of constants", U32_COUNT_MAX
}

id! {
    /// Position in another table of a segment: keys, searches, members of list items, postings.
    Offset, u32, "table entries", U32_COUNT_MAX
}

/// Converts a range of positions in a table of a segment.
pub(super) fn range(positions: Range<usize>) -> Result<Range<u32>, SegmentTooLarge> {
    Ok(Offset::new(positions.start)?.0..Offset::new(positions.end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_beyond_the_range_of_an_id_are_refused() {
        assert_eq!(ColumnId::new(ColumnId::COUNT_MAX - 1).map(ColumnId::index), Ok(23));
        let error = ColumnId::new(ColumnId::COUNT_MAX).unwrap_err();
        assert_eq!(error.to_string(), "a segment has at most 24 columns");
        assert!(RowId::new(u32::MAX as usize - 1).is_ok());
        assert!(RowId::new(u32::MAX as usize).is_err() && RowId::new(usize::MAX).is_err());
        assert!(ConstantId::new(u32::MAX as usize).is_err(), "`NONE` is no id");
    }
}
