//! Bounds of what one filter, and one installation, may have in the index. Predicates beyond them are
//! evaluated, so that a filter costs time where it is charged to its owner.

use switchyard_expr::Program;

/// Most paths of one filter that the index tests. Each is read for every event of the site, whatever
/// the filter matches.
pub(super) const PATHS_MAX: usize = if cfg!(test) { 6 } else { 64 };
/// Most tests and constants of one filter in the index. Filters of 10,000 characters stay below it,
/// unless they consist of one-digit numbers.
pub(super) const ENTRIES_MAX: u32 = 4096;
/// Most index entries of one installation, over all of its filters and event types: 100 modules
/// with 1,000 constants each. Further filters are evaluated for every event.
pub(in crate::matcher) const INSTALLATION_ENTRIES_MAX: usize =
    if cfg!(test) { 4096 } else { 256 * 1024 };
/// This much text of a filter counts as one entry: tables and searches hold its constants.
const BYTES_PER_ENTRY: usize = 8;

/// Whether some predicates of the filter are evaluated because they exceed the bounds of the index.
pub(in crate::matcher) fn exceeds_bounds(program: &Program) -> bool {
    let size = program.index_size();
    size.entries > ENTRIES_MAX || size.paths as usize > PATHS_MAX
}

/// The size of a filter in the index, in entries: its tests, constants, paths and text. Time and
/// memory of a build are proportional to it.
pub(in crate::matcher) fn entries(program: Option<&Program>) -> usize {
    let Some(program) = program else { return 1 };
    let size = program.index_size();
    let tests = size.entries.min(ENTRIES_MAX) as usize;
    let paths = (size.paths as usize).min(PATHS_MAX);
    1 + tests + paths + program.source_len() / BYTES_PER_ENTRY
}
