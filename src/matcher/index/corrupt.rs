//! The error of a lookup, or of a build, that meets a position outside of its table.

use std::ops::Range;

use thiserror::Error;

/// A table of a segment does not have the entry that another table refers to: a defect of the
/// build. If a lookup meets it, the event is matched without this segment's index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("no {0} at the position that the index refers to")]
pub(in crate::matcher) struct CorruptSegment(pub(super) &'static str);

/// Returns the part of a table that `range` refers to.
pub(super) fn part<'a, T>(
    all: &'a [T],
    range: &Range<u32>,
    of: &'static str,
) -> Result<&'a [T], CorruptSegment> {
    all.get(range.start as usize..range.end as usize).ok_or(CorruptSegment(of))
}
