//! The error of a segment that cannot be built.

use thiserror::Error;

use super::corrupt::CorruptSegment;
use super::ids::SegmentTooLarge;

/// Why a segment cannot be built. Its listeners are split, see `partition`: the index never leaves
/// one out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(in crate::matcher) enum BuildError {
    /// The filters need more ids than there are.
    #[error(transparent)]
    TooLarge(#[from] SegmentTooLarge),
    /// One table refers to an entry that another does not have: a defect of the build.
    #[error(transparent)]
    Corrupt(#[from] CorruptSegment),
}

#[cfg(test)]
impl BuildError {
    /// A defect for tests.
    pub(in crate::matcher) const DEFECT: Self = Self::Corrupt(CorruptSegment("entry"));
}
