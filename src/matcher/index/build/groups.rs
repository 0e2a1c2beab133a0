//! Groups: the listeners of a segment with an equal filter.

use std::ops::Range;
use std::sync::Arc;

use super::access::{AccessPredicate, set_of};
use crate::domain::InstallationId;
use crate::matcher::index::conjunction::{Test, TestTables};
use crate::matcher::index::corrupt::CorruptSegment;
use crate::matcher::index::ids::{ColumnId, ConstantId};
use crate::matcher::index::listener::Listener;

/// The listeners of one filter, with its tests.
#[derive(Debug)]
pub(super) struct FilterGroup {
    /// Range of listeners, which are sorted by group.
    pub(super) listeners: Range<usize>,
    /// Range of tests.
    pub(super) tests: Range<usize>,
    pub(super) access_predicate: Option<AccessPredicate>,
}

impl FilterGroup {
    /// The tests of which one holds whenever the filter is true; none if it has no access predicate.
    pub(super) fn access_tests(&self) -> &[Test] {
        self.access_predicate.as_ref().map_or(&[], |predicate| &predicate.tests)
    }

    /// Appends the columns and constants whose posting lists contain it.
    pub(super) fn add_constants(
        &self,
        tables: &TestTables,
        out: &mut Vec<(ColumnId, ConstantId)>,
    ) -> Result<(), CorruptSegment> {
        for test in self.access_tests() {
            match test {
                Test::Is { column, constant } | Test::MayBe { column, constant } => {
                    out.push((*column, *constant));
                }
                Test::IsOneOf { column, set } => {
                    out.extend(set_of(tables, *set)?.iter().map(|constant| (*column, *constant)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Sorts listeners by filter and returns the range of each group. Equal filters are one program; those
/// that depend on the app, such as those that read `event.permissions`, are grouped by installation.
/// Filters that are not in the index are groups of their own.
pub(super) fn group_by_filter(listeners: &mut [Listener]) -> Vec<Range<usize>> {
    let key = |listener: &Listener| -> (usize, bool, Option<InstallationId>) {
        let program = listener.program();
        let own = program.is_some_and(|program| program.is_app_specific());
        let installation = own.then(|| listener.subscription.owner.id.clone());
        let program = program.map_or(0, |program| Arc::as_ptr(program) as usize);
        (program, listener.is_indexed, installation)
    };
    listeners.sort_by_cached_key(key);
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut last = None;
    for (at, listener) in listeners.iter().enumerate() {
        let key = key(listener);
        if last.as_ref() == Some(&key)
            && let Some(group) = groups.last_mut()
        {
            group.end = at + 1;
        } else {
            groups.push(at..at + 1);
            last = Some(key);
        }
    }
    groups
}
